package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/policy/load"
	"sallyport/policy/policytest"
)

// root is the folder of the module.
const root = "../../../.."

// block is a piece of YAML in a document.
type block struct {
	line int
	text string
}

// blocks returns what a document shows as YAML: all blocks that are fenced as such. A block
// that looks like YAML and is indented, or fenced as nothing, is a mistake: no test reads it.
func blocks(name, text string) (list []block, mistakes []string) {
	looksLike := regexp.MustCompile(`^(- )?\{?"?[a-z][a-z_]*"?:( |$)`)
	fence, start, before := "", 0, ""
	var lines []string
	for i, line := range strings.Split(text, "\n") {
		mark, info, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch inside := fence != ""; {
		case !inside && strings.HasPrefix(mark, "```"):
			fence, start, lines = mark+" "+info, i+1, nil
		case inside && mark == "```":
			switch first := slices.IndexFunc(lines, func(l string) bool { return l != "" }); {
			case strings.HasPrefix(fence, "```yaml"):
				list = append(list, block{start + 1, strings.Join(lines, "\n") + "\n"})
			case strings.HasPrefix(fence, "``` ") && first >= 0 && looksLike.MatchString(lines[first]):
				mistakes = append(mistakes, fmt.Sprintf("%s:%d: a block that looks like YAML is not fenced as yaml", name, start))
			}
			fence = ""
		case inside:
			lines = append(lines, line)
		case before == "" && strings.HasPrefix(line, "    ") && looksLike.MatchString(strings.TrimSpace(line)):
			mistakes = append(mistakes, fmt.Sprintf("%s:%d: a block that looks like YAML is indented, not fenced as yaml", name, i+1))
		}
		before = line
	}
	return list, mistakes
}

// documents returns every document of the repository, by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if err == nil && (d.Name() == ".git" || d.Name() == "node_modules") {
				return filepath.SkipDir
			}
			return err
		}
		if filepath.Ext(path) == ".md" {
			var text []byte
			text, err = os.ReadFile(path)
			texts[path] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// Every piece of YAML in every document is read by the reader of what it is: a policy, its
// tests, invariants, exceptions, or a configuration. What a document shows of a configuration need not be
// a whole one, but its keys and the kinds of its values are the product's.
func TestYAMLInDocuments(t *testing.T) {
	found := map[string]int{}
	for path, text := range documents(t) {
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		list, mistakes := blocks(name, text)
		for _, m := range mistakes {
			t.Error(m)
		}
		for _, b := range list {
			kind, err := readBlock(name, b.text)
			found[kind]++
			if err != nil {
				t.Errorf("%s:%d: %s: %v", name, b.line, kind, err)
			}
		}
	}
	for kind, atLeast := range map[string]int{"policy": 8, "invariants": 1, "exceptions": 1, "tests": 2, "configuration": 5} {
		if found[kind] < atLeast {
			t.Errorf("%d blocks of %s were found: %v", found[kind], kind, found)
		}
	}
}

// least is a policy that is as small as one can be.
const least = "version: 1\nrules: [{name: embargo, when: 'ip.country == \"KP\"', then: block}]\n"

func readBlock(name, text string) (kind string, err error) {
	first := regexp.MustCompile(`(?m)^[a-z_]+:`).FindString(text)
	switch {
	case strings.HasPrefix(text, "# invariants"):
		_, err = policy.Compile(policy.Config{Name: name, Source: []byte(least), Pinned: &policy.Pinned{Name: name, Source: []byte(text)}})
		return "invariants", err
	case first == "exceptions:":
		_, err = policy.ReadExceptions(policy.Exceptions{Name: name, Source: []byte(text)})
		return "exceptions", err
	case first == "version:":
		_, err = load.Tested(policy.Config{Name: name, Source: []byte(text), Routes: []string{"treasury"}})
		return "policy", err
	case first == "tests:" || first == "policy:" && strings.Contains(text, "\ntests:"):
		p, err := load.Read(policy.Config{Name: name, Source: []byte(least), Routes: []string{"treasury"}})
		if err == nil {
			_, err = p.Test(policytest.File{Name: name, Source: []byte(text)})
		}
		return "tests", err
	case first == "exceptions:":
		_, err = policy.ReadExceptions(policy.Exceptions{Name: name, Source: []byte(text)})
		return "exceptions", err
	default:
		r, f := newReader(name, []byte(text)), defaults()
		r.parse([]byte(text), &f)
		return "configuration", r.Err()
	}
}

// Every link of a document to another one, and to a heading, leads there.
func TestLinksInDocuments(t *testing.T) {
	texts, headings := documents(t), map[string]map[string]bool{}
	for path, text := range texts {
		texts[path] = regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
		headings[path] = map[string]bool{"": true}
		for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(texts[path], -1) {
			headings[path][anchor(m[1])] = true
		}
	}
	links := 0
	for path, text := range texts {
		for _, m := range regexp.MustCompile(`\]\(([^()\s]+)\)`).FindAllStringSubmatch(text, -1) {
			target, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, ":") {
				continue // elsewhere
			}
			links++
			full := path
			if target != "" {
				full = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(full); err != nil {
				t.Errorf("%s: there is no %s", path, m[1])
			} else if h, ok := headings[full]; ok && !h[heading] {
				t.Errorf("%s: %s has no heading %s", path, full, heading)
			}
		}
	}
	if links < 100 {
		t.Errorf("only %d links were found", links)
	}
}

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	heading = strings.ToLower(strings.TrimSpace(heading))
	heading = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`).ReplaceAllString(heading, "")
	return strings.ReplaceAll(heading, " ", "-")
}

// TestYAMLInDocuments finds what it is for.
func TestBlocksOfDocuments(t *testing.T) {
	for name, c := range map[string]struct {
		text, mistake string
		blocks        int
	}{
		"a fenced block":            {"text\n\n```yaml\nlisten: :80\n```\n", "", 1},
		"two":                       {"```yaml\na: 1\n```\ntext\n```yaml sallyport.yaml\nb: 1\n```\n", "", 2},
		"commands":                  {"text\n\n    sallyport check\n\n```\nsallyport: x\n```\n", "fenced", 0},
		"an indented block":         {"text\n\n    listen: :80\n", "indented", 0},
		"an indented list":          {"text\n\n    - {name: x}\n", "indented", 0},
		"the second line of a list": {"- point\n    listen: :80\n", "", 0},
	} {
		list, mistakes := blocks("x.md", c.text)
		if len(list) != c.blocks || (c.mistake == "") != (len(mistakes) == 0) || !strings.Contains(strings.Join(mistakes, " "), c.mistake) {
			t.Errorf("%s: %v, %v", name, list, mistakes)
		}
	}
	for _, wrong := range []string{"lissten: :80\n", "tls: {acme: {folder: x}}\n", "limits: {header_bytes: many}\n", "version: 1\nrules: [{name: a, when: nothing, then: block}]\n", "tests: [{name: x, expect: {}, give: 1}]\n", "exceptions: [{user: a@corp.example}]\n"} {
		if _, err := readBlock("x.md", wrong); err == nil {
			t.Errorf("%q is read", wrong)
		}
	}
}
