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
	"unicode/utf8"
)

// vagueWords hide who or what a sentence is about. Name the person or the thing instead:
// the client, the insider, the operator, the caller.
var vagueWords = regexp.MustCompile(`(?i)\b(whom|whoever|whatever|nobody|somebody|everybody|anybody)\b`)

// widestComment is in columns, with a tab as four.
const widestComment = 100

func TestEnglishOfComments(t *testing.T) {
	eachFile(t, func(path string, fset *token.FileSet, file *ast.File) {
		checkWords(t, fset, file)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for _, group := range file.Comments {
			for _, c := range group.List {
				at := fset.Position(c.Pos())
				line := strings.ReplaceAll(lines[at.Line-1], "\t", "    ")
				if strings.HasPrefix(strings.TrimSpace(line), "//") && utf8.RuneCountInString(line) > widestComment {
					t.Errorf("%s: the comment is wider than %d columns: wrap it at 90", at, widestComment)
				}
			}
		}
	})
}

// The comments of tests say what is proven, so the same words are vague there.
func TestEnglishOfTests(t *testing.T) {
	fset, files := token.NewFileSet(), 0
	for _, root := range []string{"authn", "policy", "proxy", "cmd", "examples"} {
		err := filepath.WalkDir(filepath.Join("..", "..", root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			files++
			checkWords(t, fset, file)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 300 {
		t.Errorf("found %d files; the tests have more", files)
	}
}

// checkWords reports the vague words in the comments of a file.
func checkWords(t *testing.T, fset *token.FileSet, file *ast.File) {
	declared := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			declared[id.Name] = true
		}
		return true
	})
	for _, group := range file.Comments {
		for _, c := range group.List {
			for _, word := range vagueWords.FindAllString(c.Text, -1) {
				if !declared[word] {
					t.Errorf("%s: the comment says %q: name the person or the thing", fset.Position(c.Pos()), word)
				}
			}
		}
	}
}

// Texts for people are sentences: a string of one word is a name or a value.
func TestEnglishOfTexts(t *testing.T) {
	eachFile(t, func(path string, fset *token.FileSet, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			text, ok := n.(*ast.BasicLit)
			if !ok || text.Kind != token.STRING || !strings.Contains(text.Value, " ") {
				return true
			}
			for _, word := range vagueWords.FindAllString(text.Value, -1) {
				t.Errorf("%s: the text says %q: name the person or the thing", fset.Position(text.Pos()), word)
			}
			return true
		})
	})
}

// Documents, pages, and the comments of configurations and policies.
func TestEnglishOfDocuments(t *testing.T) {
	found := map[string]int{}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		switch kind := filepath.Ext(path); {
		case err != nil:
			return err
		case d.Name() == "node_modules" || d.Name() == "testdata":
			return filepath.SkipDir
		case !d.IsDir() && slices.Contains([]string{".md", ".yaml", ".html", ".txt"}, kind):
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found[kind]++
			for i, line := range strings.Split(string(text), "\n") {
				for _, word := range vagueWords.FindAllString(line, -1) {
					t.Errorf("%s:%d: the text says %q: name the person or the thing", path, i+1, word)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found[".md"] < 15 || found[".yaml"] < 25 || found[".html"] < 5 {
		t.Errorf("found %v documents; the product has more", found)
	}
}

// Every package has one doc comment, so that `go doc` reads like a manual page.
func TestEnglishOfPackages(t *testing.T) {
	docs, names := map[string]int{}, map[string]string{}
	eachFile(t, func(path string, fset *token.FileSet, file *ast.File) {
		dir, name := filepath.Dir(path), file.Name.Name
		names[dir] = name
		if file.Doc == nil {
			return
		}
		docs[dir]++
		if first := firstWords(file, dir); !slices.Contains(first, strings.Join(strings.Fields(file.Doc.Text())[:2], " ")) &&
			!slices.Contains(first, strings.Fields(file.Doc.Text())[0]) {
			t.Errorf("%s: the doc comment must begin with %s", path, strings.Join(first, " or "))
		}
	})
	for dir, name := range names {
		if docs[dir] != 1 {
			t.Errorf("%s: package %s has %d doc comments, want 1", dir, name, docs[dir])
		}
	}
}

// firstWords are how the doc comment of a package or a command may begin.
func firstWords(file *ast.File, dir string) []string {
	if name := file.Name.Name; name != "main" {
		return []string{"Package " + name}
	}
	dir, _ = filepath.Abs(dir)
	name := filepath.Base(dir)
	return []string{"Command " + name, strings.ToUpper(name[:1]) + name[1:]}
}

// A log message is a short constant, so that it can be searched for and counted. What
// varies is an attribute, and advice is the attribute "hint".
func TestEnglishOfLogs(t *testing.T) {
	levels := map[string]int{"Debug": 0, "Info": 0, "Warn": 0, "Error": 0,
		"DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1, "LogAttrs": 2}
	loggers := map[string]bool{"Logger": true, "logger": true, "log": true, "slog": true}
	const longest = 72
	found := 0
	eachFile(t, func(path string, fset *token.FileSet, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			at, ok := levels[method.Sel.Name]
			if !ok || len(call.Args) <= at || !loggers[lastName(method.X)] {
				return true
			}
			found++
			message, ok := call.Args[at].(*ast.BasicLit)
			switch {
			case !ok:
				t.Errorf("%s: the message of the log is not a constant", fset.Position(call.Pos()))
			case strings.Contains(message.Value, ";") || utf8.RuneCountInString(message.Value) > longest+2:
				t.Errorf("%s: %s has two clauses or more than %d characters: advice is the attribute \"hint\"",
					fset.Position(call.Pos()), message.Value, longest)
			}
			return true
		})
	})
	if found < 50 {
		t.Errorf("found %d lines of the log; the product has more", found)
	}
}

// lastName is the last identifier of a selector: "Logger" of g.cfg.Logger.
func lastName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}

// eachFile parses every file of the product, tests excepted.
func eachFile(t *testing.T, check func(path string, fset *token.FileSet, file *ast.File)) {
	t.Helper()
	fset, files := token.NewFileSet(), 0
	for _, root := range []string{"authn", "policy", "proxy", "cmd"} {
		err := filepath.WalkDir(filepath.Join("..", "..", root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err == nil {
				files++
				check(path, fset, file)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 300 {
		t.Errorf("found %d files; the product has more", files)
	}
}
