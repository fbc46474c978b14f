package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// definitions are what has one place in the product. A text that only a definition needs
// is forbidden elsewhere: a second one would come to differ.
var definitions = []struct {
	what  string
	texts []string
	in    []string // the folders that may have it
}{
	{
		"which addresses are private", []string{".IsPrivate()", ".IsLinkLocalUnicast()", `"10.0.0.0/8"`, `"fc00::/7"`, `"100.64.0.0/10"`},
		[]string{"policy/ipv4in6"},
	},
	{
		"the bounds of a YAML file, and what is said of one that is none",
		[]string{"yaml.Load(", "yaml.Unmarshal(", "yaml.NewDecoder(", "yaml.NewLoader(", "yaml.LoadError", "loaderlimits"},
		[]string{"policy/strictyaml", "policy/format"}, // format lays out what strictyaml has read
	},
	{
		"the edit distance", []string{"[j-1]+1", "[j-1] + 1", "func edits(", "func closest(", "evenshtein"},
		[]string{"policy/strictyaml"},
	},
	{
		"which hosts a wildcard covers", []string{`strings.Cut(host, ".")`, `, parent, ok := strings.Cut(`, "func parentOf("},
		[]string{"proxy/hostname"},
	},
	{
		"the log line of a limit", []string{`"limit exceeded",`},
		[]string{"proxy/observe"},
	},
	{
		"how much of an IPv6 address is one client", []string{".Prefix(64)", ".Prefix(56)", "PrefixFrom(a, 64)", "PrefixFrom(addr, 64)"},
		nil,
	},
}

func TestDefinitionsStandInOnePlace(t *testing.T) {
	root := filepath.Join("..", "..")
	found := make([]bool, len(definitions))
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		folder := filepath.ToSlash(filepath.Dir(rel))
		if strings.HasPrefix(folder, "examples") || strings.HasPrefix(folder, "deploy") {
			return nil // programs that stand on their own
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, one := range definitions {
			for _, text := range one.texts {
				switch {
				case !strings.Contains(string(source), text):
				case slices.Contains(one.in, folder):
					found[i] = true
				default:
					t.Errorf("%s has %s: %s is for %v only", rel, text, one.what, one.in)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, one := range definitions {
		if one.in != nil && !found[i] {
			t.Errorf("stale row: %v has nothing of %q", one.in, one.what)
		}
	}
}
