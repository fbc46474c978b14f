package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// floors is the building: a package imports packages on lower floors only. A
// package that is not here, or a row without a package, fails the test.
var floors = map[string]int{
	"authn":                           0,
	"authn/clocktest":                 0,
	"policy/internal/expr":            1,
	"cmd/sallyport/internal/certtest": 0,
	"cmd/sallyport/internal/sitetest": 0,
	"policy/internal/policygen":       0,
	"policy/internal/fold":            0,
	"policy/filewatch":                0,
	"policy/ipv4in6":                  0,
	"policy/strictyaml":               0,
	"proxy/clientip":                  0,
	"proxy/hostname":                  0,
	"proxy/grpc":                      0,
	"authn/passkey":                   1,
	"authn/session":                   1,
	"authn/signin":                    1,
	"policy/internal/file":            2,
	"authn/enroll":                    2,
	"policy/internal/vocabulary":      3,
	"policy/whole":                    3,
	"policy/changes":                  3,
	"policy/internal/reference":       5,
	"policy":                          4,
	"policy/behavior":                 5,
	"policy/format":                   5,
	"policy/ipintel":                  5,
	"policy/policytest":               5,
	"policy/rehearse":                 5,
	"policy/schema":                   5,
	"policy/whatif":                   5,
	"proxy/assertion":                 5,
	"proxy/audit":                     5,
	"proxy/jsonrpc":                   5,
	"proxy/observe":                   5,
	"proxy/streams":                   5,
	"authn/authntest":                 6,
	"policy/behavior/behaviortest":    6,
	"policy/company":                  6,
	"policy/prove":                    6,
	"proxy/edge":                      6,
	"proxy/portal":                    6,
	"proxy/trace":                     6,
	"proxy/upstream":                  6,
	"proxy/upstream/h1":               0,
	"policy/load":                     7,
	"proxy":                           7,
	"policy/lint":                     8,
	"proxy/proxytest":                 7,
	"proxy/rollout":                   8,
	"cmd/sallyport/internal/config":   9,
	"cmd/sallyport/internal/demo":     9,
	"cmd/sallyport/internal/sqlstore": 9,
	"cmd/sallyport/internal/ops":      9,
	"cmd/sallyport/internal/app":      10,
	"cmd/sallyport":                   11,
}

// owners names the only packages that may import a library, so that it can be
// replaced, or its traps known, in one place. The reason is part of the row.
var owners = map[string]struct {
	packages []string
	reason   string
}{
	"cel.dev/cel-go":                        {[]string{"policy/internal/expr"}, "one closed expression environment"},
	"github.com/go-webauthn/webauthn":       {[]string{"authn/passkey"}, "the latched user-verification flag is handled once"},
	"github.com/coreos/go-oidc":             {[]string{"authn/signin"}, "a logout token must never pass as an ID token"},
	"golang.org/x/oauth2":                   {[]string{"authn/signin"}, "tokens stay where they are verified"},
	"github.com/gorilla":                    {[]string{"authn/session"}, "the library's cookie defaults are unsafe; set once"},
	"github.com/oschwald":                   {[]string{"policy/ipintel"}, "closing a reader in use crashes; the gates are there"},
	"database/sql":                          {[]string{"cmd/sallyport/internal/sqlstore"}, "one place knows SQL"},
	"modernc.org/sqlite":                    {[]string{"cmd/sallyport/internal/sqlstore"}, "one place knows SQL"},
	"github.com/pressly/goose":              {[]string{"cmd/sallyport/internal/sqlstore"}, "one place knows SQL"},
	"go.yaml.in/yaml":                       {[]string{"policy", "policy/strictyaml", "policy/internal/file", "policy/changes", "policy/policytest", "policy/format", "cmd/sallyport/internal/config"}, "one strict loader, the trees of three formats, and the layout of one"},
	"github.com/fsnotify/fsnotify":          {[]string{"policy/filewatch"}, "one way to notice that a file was replaced"},
	"github.com/pires/go-proxyproto":        {[]string{"proxy/clientip"}, "one reader of who the peer says it is"},
	"golang.org/x/mod/sumdb":                {[]string{"proxy/audit"}, "one Merkle log"},
	"golang.org/x/text":                     {[]string{"policy/internal/fold", "policy/internal/vocabulary"}, "one way to fold a path; the codes of countries"},
	"github.com/mileusna/useragent":         {[]string{"proxy"}, "what it makes of made-up text is bounded once"},
	"github.com/go-air/gini":                {[]string{"policy/prove"}, "one place asks a SAT solver, within a time"},
	"go.opentelemetry.io":                   {[]string{"proxy/trace"}, "off costs nothing, and nothing of people leaves"},
	"github.com/alecthomas/kong":            {[]string{"cmd/sallyport"}, "one command line"},
	"sallyport/authn/authntest":             {[]string{"cmd/sallyport/internal/demo"}, "the demo plays the OpenID provider; nothing else in the product may"},
	"sallyport/authn/clocktest":             {nil, "the product has no clock that can be moved"},
	"sallyport/proxy/proxytest":             {nil, "the limits of the product come from its configuration"},
	"sallyport/cmd/sallyport/internal/demo": {[]string{"cmd/sallyport"}, "nothing of the demo is reachable from serve"},
}

const module = "sallyport"

// imports returns, for each package folder below root, the import paths of its
// non-test files. It reads the files rather than asking `go list`, whose answer
// depends on build tags and caches.
func imports(t *testing.T, root string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			_, nested := os.Stat(filepath.Join(path, "go.mod"))
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || nested == nil) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		found[pkg] = append(found[pkg], "")
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			found[pkg] = append(found[pkg], name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestImportsGoDownTheFloors(t *testing.T) {
	found := imports(t, filepath.Join("..", ".."))
	for pkg, list := range found {
		if strings.HasPrefix(pkg, "examples/") || strings.HasPrefix(pkg, "deploy/") {
			continue // programs that stand on their own
		}
		floor, ok := floors[pkg]
		if !ok {
			t.Errorf("package %s is on no floor: add it to the table", pkg)
			continue
		}
		for _, path := range list {
			dep, inside := strings.CutPrefix(path, module+"/")
			if !inside {
				continue
			}
			if below, ok := floors[dep]; ok && below >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d)", pkg, floor, dep, below)
			}
		}
	}
	for pkg := range floors {
		if _, ok := found[pkg]; !ok {
			t.Errorf("floor table has a stale row: there is no package %s", pkg)
		}
	}
}

func TestLibrariesHaveOneOwner(t *testing.T) {
	found := imports(t, filepath.Join("..", ".."))
	for lib, owner := range owners {
		used := map[string]bool{}
		for pkg, list := range found {
			for _, path := range list {
				if path != lib && !strings.HasPrefix(path, lib+"/") {
					continue
				}
				used[pkg] = true
				if !slices.Contains(owner.packages, pkg) && !strings.HasPrefix(pkg, "examples/") {
					t.Errorf("%s imports %s, which is for %v only: %s", pkg, path, owner.packages, owner.reason)
				}
			}
		}
		for _, pkg := range owner.packages {
			if !used[pkg] {
				t.Errorf("stale row: %s does not import %s", pkg, lib)
			}
		}
	}
}

func TestVocabularyNeedsOnlyTheStandardLibrary(t *testing.T) {
	for _, path := range imports(t, filepath.Join("..", ".."))["authn"] {
		if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") || first == module {
			t.Errorf("authn imports %s", path)
		}
	}
}

// policy.Compile neither runs tests nor proves invariants. A caller of it could enforce a
// policy that package load refuses.
func TestPoliciesComeFromOnePlace(t *testing.T) {
	for _, root := range []string{filepath.Join("..", "..", "cmd"), filepath.Join("..", "..", "proxy")} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && (s.Sel.Name == "Compile" || s.Sel.Name == "CompileDocument") {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "policy" {
						t.Errorf("%s calls policy.%s: call package policy/load", path, s.Sel.Name)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// One name for one attribute: what reads the log looks for "error".
func TestLogAttributesHaveOneName(t *testing.T) {
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && (strings.Contains(string(text), `"err", `) || strings.Contains(string(text), `("err"`)) {
			t.Errorf("%s names an attribute of a log line err", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A constructor checks its configuration once. An embedded Config or Options could be
// changed after that, field by field, from any package.
func TestNoConfigIsEmbedded(t *testing.T) {
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || !spec.Name.IsExported() {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range s.Fields.List {
				if name := embedded(f); name == "Config" || name == "Options" {
					t.Errorf("%s: %s embeds %s: give it an unexported name", path, spec.Name, name)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// embedded is the name of the type that a field without a name has, or "".
func embedded(f *ast.Field) string {
	if len(f.Names) > 0 {
		return ""
	}
	typ := f.Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	switch typ := typ.(type) {
	case *ast.Ident:
		return typ.Name
	case *ast.SelectorExpr:
		return typ.Sel.Name
	}
	return ""
}
