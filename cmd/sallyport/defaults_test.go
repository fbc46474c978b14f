package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ownDefaults are the fields that have a default outside of package config, and why: each
// is no setting, so there is no key of sallyport.yaml that it could differ from.
var ownDefaults = map[string]string{
	"authn/authntest Title":           "a fake",
	"authn/authntest CountriesClaim":  "a fake",
	"authn/enroll Expires":            "a flag of the command that makes a ticket",
	"authn/session CacheSize":         "memory, not behaviour",
	"policy/behavior People":          "memory, not behaviour",
	"policy/behavior Queue":           "memory, not behaviour",
	"policy/filewatch Poll":           "the product leaves it out; tests are faster",
	"policy/ipintel Poll":             "the product leaves it out; tests are faster",
	"policy/ipintel Country":          "a value of the data: the country is not known",
	"policy/internal/expr Expected":   "a text of a message",
	"proxy/assertion JWKSMaxAge":      "the product leaves it out; tests are faster",
	"proxy/audit Name":                "the name in every log of the product",
	"proxy/audit CheckpointEvery":     "the product leaves it out; tests are faster",
	"proxy/audit RepeatEvery":         "the product leaves it out; tests are faster",
	"proxy/audit MaxRepeats":          "memory, not behaviour",
	"proxy/edge StreamsPerConnection": "the same on every server of the product",
	"proxy/edge HeaderTimeout":        "of the data server; the operators' port has less",
	"proxy/edge IdleTimeout":          "of the data server; the others have less",
	"proxy/edge Patience":             "of the data server; the redirects have less",
	"proxy/edge MinRate":              "the same on every server of the product",
	"proxy/edge Linger":               "of the other servers; the data server has less",
	"proxy/edge Keys":                 "memory, not behaviour",
	"proxy/edge MemoryHigh":           "a share of the memory limit, which is the runtime's",
	"proxy/edge MemoryFull":           "a share of the memory limit, which is the runtime's",
	"proxy/streams Grace":             "all streams are over within 100 ms, on every installation",
	"proxy/streams Linger":            "the product leaves it out; tests are faster",
	"proxy/trace Every":               "the product leaves it out; tests are faster",
	"proxy/upstream Prefix":           "a value that was read: the path of a URL without one",
}

// defaultsFolders may give a setting its default.
var defaultsFolders = []string{"cmd/sallyport/internal/config", "proxy/proxytest"}

// A setting has one default, in package config. A package that fills a zero with a number
// of its own would come to differ from it, and a caller that forgot the setting would not
// notice.
func TestDefinitionsOfDefaults(t *testing.T) {
	files, constants := map[string][]*ast.File{}, map[string]map[string]bool{}
	eachFile(t, func(path string, _ *token.FileSet, file *ast.File) {
		rel, err := filepath.Rel(filepath.Join("..", ".."), filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.ToSlash(rel)
		files[folder] = append(files[folder], file)
		if constants[folder] == nil {
			constants[folder] = map[string]bool{}
		}
		for _, name := range constantsIn(file) {
			constants[folder][name] = true
		}
	})
	found := map[string]int{}
	for folder, list := range files {
		for _, file := range list {
			for _, field := range defaultsIn(file, constants[folder]) {
				found[folder]++
				found[folder+" "+field]++
				if _, ok := ownDefaults[folder+" "+field]; !ok && !slices.Contains(defaultsFolders, folder) {
					t.Errorf("%s gives %s a default: refuse a zero, and let the number come from package config (or proxytest, in tests)", folder, field)
				}
			}
		}
	}
	for name := range ownDefaults {
		if found[name] == 0 {
			t.Errorf("stale row: %s has no default", name)
		}
	}
	for _, folder := range defaultsFolders {
		if found[folder] < 5 {
			t.Errorf("found %d defaults in %s, which has more", found[folder], folder)
		}
	}
}

func TestDefaultsAreFoundByTheirShape(t *testing.T) {
	for code, want := range map[string]string{
		"if c.Limits.MaxBytes == 0 { c.Limits.MaxBytes = 1 << 20 }":                           "MaxBytes",
		"if c.Poll <= 0 { c.Poll = time.Minute }":                                             "Poll",
		"if c.Every < 1 { c.Every = 90 * 24 * time.Hour }":                                    "Every",
		"if c.Name == \"\" { c.Name = \"sallyport\" }":                                        "Name",
		"if len(c.Scopes) == 0 { c.Scopes = []string{\"openid\"} }":                           "Scopes",
		"if c.Scopes == nil { c.Scopes = []string{\"openid\"} }":                              "Scopes",
		"if c.Size == 0 { c.Size = own }":                                                     "Size",
		"switch { case c.Size == 0: c.Size = 8 }":                                             "Size",
		"c.Size = cmp.Or(c.Size, 1<<20)":                                                      "Size",
		"l := Limits{Size: cmp.Or(o.Bytes, 1<<20)}":                                           "Bytes",
		"c.Claim = cmp.Or(c.Claim, \"email\")":                                                "Claim",
		"orDefault(&c.Keys, 1<<16)":                                                           "Keys",
		"orDefault(&c.High, max(0.95, c.Low))":                                                "High",
		"if c.Now == nil { c.Now = time.Now }":                                                "", // no number
		"if c.Size == 0 { return errors.New(\"no size\") }":                                   "",
		"if c.Size <= 0 || c.Size > 9 { b.at(c.Size); c.Other = 1 }":                          "",
		"if v.held == 0 { v.held = 1 }":                                                       "", // no field of a configuration
		"fmt.Print(cmp.Or(r.Path, \"without a path\")); sort(cmp.Or(a.Line-b.Line, a.X-b.X))": "",
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\nconst own = 5\nfunc f() {\n"+code+"\n}", parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(code, err)
		}
		got := defaultsIn(file, map[string]bool{"own": true})
		if strings.Join(got, " ") != want || !slices.Equal(constantsIn(file), []string{"own"}) {
			t.Errorf("%s: %q, want %q", code, got, want)
		}
	}
}

// defaultsIn returns the exported fields that a file gives a constant where they are zero.
func defaultsIn(file *ast.File, constants map[string]bool) (fields []string) {
	constant := func(x ast.Expr) bool { return isConstant(x, constants) }
	zero := func(conditions []ast.Expr, body []ast.Stmt) {
		for _, condition := range conditions {
			is, ok := condition.(*ast.BinaryExpr)
			if !ok {
				continue
			}
			x := is.X
			if call, ok := x.(*ast.CallExpr); ok && types.ExprString(call.Fun) == "len" {
				x = call.Args[0]
			}
			for _, s := range body {
				set, ok := s.(*ast.AssignStmt)
				if ok && len(set.Lhs) == 1 && types.ExprString(set.Lhs[0]) == types.ExprString(x) && constant(set.Rhs[0]) {
					fields = append(fields, exportedField(x)...)
				}
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			zero([]ast.Expr{n.Cond}, n.Body.List)
		case *ast.CaseClause:
			zero(n.List, n.Body)
		case *ast.AssignStmt: // of a text, because other texts are there to be read
			for i, x := range n.Rhs {
				call, ok := x.(*ast.CallExpr)
				if ok && types.ExprString(call.Fun) == "cmp.Or" && len(n.Lhs) == len(n.Rhs) && types.ExprString(n.Lhs[i]) == types.ExprString(call.Args[0]) &&
					isText(call.Args[len(call.Args)-1]) {
					fields = append(fields, exportedField(call.Args[0])...)
				}
			}
		case *ast.CallExpr:
			if len(n.Args) < 2 {
				break
			}
			last := n.Args[len(n.Args)-1]
			switch of, pointer := n.Args[0].(*ast.UnaryExpr); {
			case types.ExprString(n.Fun) == "cmp.Or" && constant(last) && !isText(last):
				fields = append(fields, exportedField(n.Args[0])...)
			case pointer && of.Op == token.AND && len(n.Args) == 2 && constant(last):
				fields = append(fields, exportedField(of.X)...)
			}
		}
		return true
	})
	return fields
}

// exportedField is the name of the field that x selects, if it can be of a configuration.
func exportedField(x ast.Expr) []string {
	if s, ok := x.(*ast.SelectorExpr); ok && s.Sel.IsExported() {
		return []string{s.Sel.Name}
	}
	return nil
}

// isConstant reports whether x is a number, a text or a list of them that the file itself
// says.
func isConstant(x ast.Expr, constants map[string]bool) bool {
	constant := func(x ast.Expr) bool { return isConstant(x, constants) }
	switch x := x.(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return constants[x.Name]
	case *ast.SelectorExpr:
		return slices.Contains([]string{"time.Millisecond", "time.Second", "time.Minute", "time.Hour"}, types.ExprString(x))
	case *ast.ParenExpr:
		return constant(x.X)
	case *ast.BinaryExpr:
		return constant(x.X) && constant(x.Y)
	case *ast.CompositeLit:
		return len(x.Elts) > 0 && !slices.ContainsFunc(x.Elts, func(e ast.Expr) bool { return !constant(e) })
	case *ast.CallExpr: // max(2, c.Other), or a conversion
		return slices.ContainsFunc(x.Args, constant) && slices.Contains([]string{"min", "max", "int", "int64"}, types.ExprString(x.Fun))
	}
	return false
}

func isText(x ast.Expr) bool {
	l, ok := x.(*ast.BasicLit)
	return ok && l.Kind == token.STRING
}

// constantsIn are the names of the constants that a file declares for its package.
func constantsIn(file *ast.File) (names []string) {
	for _, d := range file.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
			for _, s := range g.Specs {
				for _, id := range s.(*ast.ValueSpec).Names {
					names = append(names, id.Name)
				}
			}
		}
	}
	return names
}
