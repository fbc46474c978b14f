package policy

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"sallyport/policy/internal/expr"
)

var update = flag.Bool("update", false, "write the table of facts into README.md")

// The reference lists every fact with what facts.go says about it, and nothing else.
func TestFactTable(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	table := factTable(t)
	block := regexp.MustCompile(`(?s)(<!-- facts: [^\n]*-->\n).*(<!-- /facts -->)`)
	if !block.Match(readme) {
		t.Fatal("README.md has no place for the facts")
	}
	want := block.ReplaceAllString(string(readme), "${1}"+strings.ReplaceAll(table, "$", "$$")+"${2}")
	if want == string(readme) {
		return
	}
	if !*update {
		t.Fatal("README.md is not what facts.go says; run: go test ./policy -run TestFactTable -update")
	}
	if err := os.WriteFile("README.md", []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// factTable reads the doc comments of facts.go.
func factTable(t *testing.T) string {
	file, err := parser.ParseFile(token.NewFileSet(), "facts.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]map[string]string{} // by struct and tag
	for _, d := range file.Decls {
		gen, ok := d.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		for _, spec := range gen.Specs {
			ts := spec.(*ast.TypeSpec)
			st, ok := ts.Type.(*ast.StructType)
			if !ok {
				continue
			}
			fields := map[string]string{"": gen.Doc.Text()}
			for _, f := range st.Fields.List {
				tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("cel")
				fields[tag] = strings.TrimPrefix(f.Doc.Text(), f.Names[0].Name+" ")
			}
			docs[ts.Name.Name] = fields
		}
	}
	schema, err := expr.NewSchema(reflect.TypeFor[Facts]())
	if err != nil {
		t.Fatal(err)
	}
	root := reflect.TypeFor[Facts]()
	var b strings.Builder
	for i := range root.NumField() {
		group := root.Field(i)
		name := group.Tag.Get("cel")
		doc := oneLine(docs[group.Type.Name()][""])
		fmt.Fprintf(&b, "\n**%s**: %s\n\n| fact | type | |\n|---|---|---|\n", name, strings.TrimPrefix(doc, group.Type.Name()+" is "))
		for _, f := range schema.Facts() {
			if f.Group != name {
				continue
			}
			text := oneLine(docs[group.Type.Name()][f.Field])
			if text == "" {
				t.Errorf("%s has no doc comment", f.Name)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, f.Kind, strings.ReplaceAll(text, "|", `\|`))
		}
	}
	return b.String() + "\n"
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// The examples of the reference load, and their tests pass.
func TestReadmeExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range regexp.MustCompile("(?s)```yaml\n(version: 1.*?)```").FindAllStringSubmatch(string(readme), -1) {
		n++
		if _, err := Compile(Config{Name: "README.md", Source: []byte(m[1]), Routes: []string{"treasury"}}); err != nil {
			t.Errorf("%v", err)
		}
	}
	if n != 7 {
		t.Errorf("%d examples were found", n)
	}
}

// Each group of facts says from which level on it is known, and what to tell a refused person.
func TestEveryGroupIsDescribed(t *testing.T) {
	schema, err := expr.NewSchema(reflect.TypeFor[Facts]())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range schema.Groups() {
		if _, ok := groups[g]; !ok {
			t.Errorf("groups.go says nothing about %s", g)
		}
	}
	if len(groups) != len(schema.Groups()) {
		t.Error("groups.go describes a group that is not there")
	}
}
