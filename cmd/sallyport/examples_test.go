package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy/company"
	"sallyport/policy/load"
)

// TestExamples: every configuration below examples/ is right, its policy's tests pass,
// it has some, and lint finds nothing. A folder without a sallyport.yaml is something else.
func TestExamples(t *testing.T) {
	root := filepath.Join("..", "..", "examples")
	folders, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no folder examples") // the package alone, without the repository around it
	}
	if err != nil {
		t.Fatal(err)
	}
	found, models, excepting := 0, 0, 0
	for _, f := range folders {
		file := filepath.Join(root, f.Name(), "sallyport.yaml")
		if _, err := os.Stat(file); err != nil {
			continue
		}
		found++
		t.Run(f.Name(), func(t *testing.T) {
			c, err := config.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			if status, stdout, stderr := command(t, "check", "--config", file); status != 0 {
				t.Errorf("check: status %d\n%s%s", status, stdout, stderr)
			}
			status, stdout, stderr := command(t, "policy", "test", "--config", file)
			if status != 0 || !strings.Contains(stdout, "\nok    ") && !strings.HasPrefix(stdout, "ok    ") {
				t.Errorf("policy test: status %d\n%s%s", status, stdout, stderr)
			}
			status, stdout, stderr = command(t, "policy", "lint", "--config", file, "--json")
			if status != 0 {
				t.Errorf("policy lint: status %d\n%s%s", status, stdout, stderr)
			}
			for line := range strings.Lines(stdout) { // a group that only exceptions name is the provider's to know
				if !strings.Contains(line, `"unknown-group"`) {
					t.Errorf("policy lint: %s", line)
				}
			}
			if x := c.PolicyExceptions; x != nil {
				excepting++
				shown(t, c)
			}
			if text, err := os.ReadFile(filepath.Join(root, f.Name(), "model.yaml")); err == nil {
				models++
				m, err := company.ReadModel("model.yaml", text, c.RouteNames())
				if err != nil {
					t.Error(err)
				} else if again, err := company.ReadModel("printed", []byte(m.YAML()), c.RouteNames()); err != nil || !reflect.DeepEqual(m, again) {
					t.Errorf("the model does not read as it was printed: %v\n%s", err, m.YAML())
				}
			}
			if _, err := os.Stat(filepath.Dir(c.AuditFile)); err == nil {
				t.Errorf("%s holds state: an example is not a deployment", filepath.Dir(c.AuditFile))
			}
		})
	}
	if found == 0 || models == 0 || excepting == 0 {
		t.Error("no example configuration was found, or none with a model, or with exceptions")
	}
}

// shown compiles the exceptions that the comments of a file show, under the policy beside
// it. No example can have them in force: they end.
func shown(t *testing.T, c *config.Config) {
	t.Helper()
	text := "exceptions:\n"
	for line := range strings.Lines(string(c.PolicyExceptions.Source)) {
		if entry, ok := strings.CutPrefix(line, "#   - {"); ok {
			text += "  - {" + entry
		}
	}
	x := *c.PolicyExceptions
	x.Source, x.Most = []byte(text), 0
	what := c.Policies().Enforced
	what.Exceptions = &x
	if p, err := load.Proven(what); err != nil || len(p.Exceptions()) == 0 {
		t.Errorf("the exceptions in the comments: %v\n%s", err, text)
	}
}

// An address on GitHub is that of the commit that was read: a branch says something else tomorrow.
var pinned = regexp.MustCompile(`^# From: https://github\.com/[^/]+/[^/]+/blob/[0-9a-f]{40}/\S+\.(toml|py|ya?ml|mdx?|proto)$`)

// The policies of others say where they come from, that it was read, and what they leave out. Their tests pass and
// go through each branch of each rule, and see each rule leave something alone; the linter finds notes alone.
func TestExamplesOfOthers(t *testing.T) {
	folder := filepath.Join("..", "..", "examples", "foreign")
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("there is no folder examples/foreign")
	}
	index, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	site, found := filepath.Join(folder, "site.yaml"), 0
	for _, file := range files {
		if file == site {
			continue
		}
		found++
		t.Run(filepath.Base(file), func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := string(source)
			if !strings.Contains(text, "\n# Read: ") && !strings.Contains(text, "this is after the ") {
				t.Error("nothing says what was read of the original")
			}
			if !strings.Contains(text, "\n# Not expressed: ") {
				t.Error("nothing says what is not expressed")
			}
			from := 0
			for line := range strings.Lines(text) {
				line = strings.TrimSpace(line)
				if !strings.HasPrefix(line, "# From: ") {
					continue
				}
				from++
				if strings.Contains(line, "github") && !pinned.MatchString(line) {
					t.Errorf("not the address of one file at one commit: %s", line)
				}
			}
			if from == 0 {
				t.Error("no original is named")
			}
			if !strings.Contains(string(index), "\n| ["+strings.TrimSuffix(filepath.Base(file), ".yaml")+"]("+filepath.Base(file)+") | ") {
				t.Error("the table in README.md does not list it")
			}
			allows := strings.Count(text, "expect: {action: allow}")
			if rules := strings.Count(text, "\n    then: "); allows == 0 || allows < rules/2 {
				t.Errorf("%d rules, and %d tests of what the original leaves alone", rules, allows)
			}
			if status, stdout, stderr := command(t, "policy", "test", "--min-coverage", "100", "--config", site, file); status != 0 || !strings.Contains(stdout, "ok    ") {
				t.Errorf("policy test: status %d\n%s%s", status, stdout, stderr)
			}
			if status, stdout, stderr := command(t, "policy", "lint", "--config", site, file); status != 0 {
				t.Errorf("policy lint: status %d\n%s%s", status, stdout, stderr)
			}
		})
	}
	if found < 10 {
		t.Errorf("%d sets", found)
	}
	for name := range strings.FieldsFuncSeq(string(index), func(r rune) bool { return r == '(' || r == ')' }) {
		if strings.HasSuffix(name, ".yaml") && !strings.ContainsAny(name, " /") {
			if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
				t.Error(err)
			}
		}
	}
}
