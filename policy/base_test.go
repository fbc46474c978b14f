package policy

import (
	"bytes"
	"strings"
	"testing"
)

func TestBase(t *testing.T) {
	const hash = "5f3c1a9b2e4d"
	for name, c := range map[string]struct{ source, base, wrong string }{
		"none":                     {"version: 1\n", "", ""},
		"the first line":           {"# base: " + hash + "\nversion: 1\n", hash, ""},
		"below other comments":     {"# ours\n\n#\n# base: " + hash + "\nversion: 1\n", hash, ""},
		"with CRLF":                {"# base: " + hash + "\r\nversion: 1\r\n", hash, ""},
		"no line break":            {"# base: " + hash, hash, ""},
		"behind a byte order mark": {"\ufeff# base: " + hash + "\r\nversion: 1\r\n", hash, ""},
		"below ---":                {"---\n# base: " + hash + "\nversion: 1\n", hash, ""},
		"below --- and a document": {"--- {version: 1}\n# base: " + hash + "\n", "", ""},
		"behind the first key":     {"version: 1\n# base: " + hash + "\n", "", ""},
		"in a text":                {"version: 1 # base: " + hash + "\n", "", ""},
		"a sentence":               {"# base: the rules of all\nversion: 1\n", "", ""},
		"the first of two":         {"# base: " + hash + "\n# base: 000000\nversion: 1\n", hash, ""},
		"no hash":                  {"# ours\n# base: latest\nversion: 1\n", "", "2:1"},
		"too short":                {"# base: 5f3c1\nversion: 1\n", "", "names no policy"},
		"capitals":                 {"# base: 5F3C1A9B2E4D\nversion: 1\n", "", "names no policy"},
		"longer than any hash":     {"# base: " + strings.Repeat("a", 65) + "\n", "", "names no policy"},
		"an escape for terminal":   {"# base: \x1b[2J\n", "", "names no policy"},
		"empty":                    {"", "", ""},
	} {
		got, err := Base([]byte(c.source))
		if got != c.base || (err != nil) != (c.wrong != "") || err != nil && (!strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), "\x1b")) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// FuzzBase: a policy that names itself keeps its hash and everything else it says.
func FuzzBase(f *testing.F) {
	for _, s := range []string{"version: 1\n", "# a\n# base: 5f3c1a\nversion: 1\n", "# base: latest\nx", "", "# base: 5f3c1a\r\nx\r\n", "# base: 000000\n# base: 111111\n", "\ufeffversion: 1\n", "\ufeff---\n# base: 5f3c1a\n", "---\nversion: 1\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		before := bytes.Clone(source)
		named := NamingItself(source)
		if !bytes.Equal(source, before) {
			t.Fatal("the text was changed")
		}
		if bytes.HasPrefix(source, mark) != bytes.HasPrefix(named, mark) {
			t.Errorf("%q: the byte order mark is not where it was", named)
		}
		if base, err := Base(named); err != nil || base != Hash(source) && !strings.Contains(string(source), baseMark) {
			t.Errorf("%q says %q, %v", named, base, err)
		}
		if got := NamingItself(named); !bytes.Equal(got, named) {
			t.Errorf("%q, and again %q", named, got)
		}
	})
}
