package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// attackTable is the page that says which tests hold which attacks.
const attackTable = "../../authn/attacks.md"

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	testName = regexp.MustCompile(`^([a-z0-9/-]+)\.((?:Test|Fuzz)\w+)(?:/.+)?$`)
)

// TestTableOfAttacks: every attack in the table has a test, every test in the table exists, and
// every test that is named after an attack is in the table. The files are parsed, those of
// other modules too: a test that does not compile here today is still found.
func TestTableOfAttacks(t *testing.T) {
	page, err := os.ReadFile(attackTable)
	if err != nil {
		t.Fatal(err)
	}
	there := attackTests(t)
	attacks, named := map[string]bool{}, map[string]bool{}
	for _, row := range tableRows(string(page)) {
		attack, tests := row[0], quoted.FindAllStringSubmatch(row[len(row)-1], -1)
		if attacks[attack] {
			t.Errorf("%q is in the table twice", attack)
		}
		attacks[attack] = true
		if len(tests) == 0 {
			t.Errorf("%q has no test", attack)
		}
		for _, quote := range tests {
			name := testName.FindStringSubmatch(quote[1])
			switch {
			case name != nil && there[name[1]+"."+name[2]]:
				named[name[1]+"."+name[2]] = true
			case name == nil && strings.Contains(quote[1], "/"): // a script, or a test in another language
				if _, err := os.Stat(filepath.Join("../..", quote[1])); err != nil {
					t.Errorf("%q: %v", attack, err)
				}
			default:
				t.Errorf("%q: there is no test %s", attack, quote[1])
			}
		}
	}
	if len(attacks) < 50 {
		t.Fatalf("only %d attacks were found: the table is not read as it is written", len(attacks))
	}
	for name := range there {
		if strings.Contains(name, ".TestAttack") && !named[name] {
			t.Errorf("%s is not in %s", name, attackTable)
		}
	}
}

// tableRows returns the cells of all tables of a page, without headings.
func tableRows(page string) (rows [][]string) {
	heading := true
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			heading = true
			continue
		}
		if strings.HasPrefix(line, "|---") {
			heading = false
			continue
		}
		if heading {
			continue
		}
		var row []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			row = append(row, strings.TrimSpace(cell))
		}
		rows = append(rows, row)
	}
	return rows
}

// attackTests returns the tests of all packages of the repository, as "folder.TestName".
func attackTests(t *testing.T) map[string]bool {
	t.Helper()
	there := map[string]bool{}
	err := filepath.WalkDir("../..", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", "node_modules", "testdata"}, d.Name()) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel("../..", filepath.Dir(file))
		if err != nil {
			return err
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				there[filepath.ToSlash(folder)+"."+f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return there
}
