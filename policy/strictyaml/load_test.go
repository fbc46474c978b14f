package strictyaml

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func load(text string) (*Node, Diagnostics) {
	s := NewSource("f.yaml", []byte(text))
	root := s.Load([]byte(text), Format{What: "the file", Empty: "something", Key: "a key"})
	d, _ := errors.AsType[Diagnostics](s.Err())
	return root, d
}

// A reviewer sees a comment, and YAML sees a key: such a file is refused, at the character.
func TestMisleadingCharacters(t *testing.T) {
	for _, c := range []string{
		"\u2028", "\u2029", "\u0085", "\r", "\x00", "\x01", "\x08", "\v", "\f", "\x1b", "\x7f", "\u0080", "\u009b",
		"\u061c", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069",
	} {
		for where, text := range map[string]string{
			"2:5": "a: 1\n# ü " + c + "    b: 2\nc: 3\n",
			"2:6": "a: 1\r\nb: 'x" + c + "y'\r\n",
			"2:7": "a: 1\nb: \"ü " + c + "y\"\n",
			"3:3": "a: |\n  x\n  " + c + "y\n",
			"1:2": "a" + c + ": 1\n",
		} {
			root, d := load(text)
			if root != nil || len(d) != 1 || fmt.Sprintf("%d:%d", d[0].Line, d[0].Column) != where {
				t.Errorf("%q: %v", text, d)
			}
		}
	}
}

func TestPlainCharacters(t *testing.T) {
	for _, text := range []string{
		"a: 1\t# tab\r\nb: 2\r\n", "\ufeffa: 1\nb: 2\n", `{a: "\u2028\u202e\0\r\x85", b: ü}`, "a: '\U0001f511 שלום'\nb: \u00a0\n", "%YAML 1.1\n---\na: 1\nb: 2\n",
	} {
		if root, d := load(text); root == nil || len(root.Content) != 4 {
			t.Errorf("%q: %v", text, d)
		}
	}
	if _, d := load("\ufeffab: 1\nab: @\n"); len(d) != 1 || d[0].Line != 2 || d[0].Column != 5 {
		t.Error(d)
	}
}

func TestWhereItIsNotYAML(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\nb: ü\xff\nc: 3\n":               "2:5: this is not UTF-8: the byte 0xFF",
		"\xff\xfea\x00:\x00 \x001\x00":         "1:1: this is not UTF-8: the byte 0xFF",
		"a: 1\nb: \ufffd\nc: \xc3(\n":          "3:4: this is not UTF-8: the byte 0xC3",
		"a: 1\n\n  \nb: \"x\nc: 1\nd: 2\n":     "4:4: the quote that begins here is not closed",
		"a:\n  - b: 'x\n\n  - c\n":             "2:8: the quote that begins here is not closed",
		"a: 1\nb: {c: ü, d: \"é":               "2:14: the quote that begins here is not closed",
		"a: \"x\n---\nb: 1\n":                  "1:4: the quote that begins here is not closed",
		"a: 1\nb: \"x\nc: 2\nd: \"y\"\ne: 3\n": "2:4: the text that begins with this quote ends in line 4",
		"a:\n  - 'x\n  - 'y'\n":                "2:5: the text that begins with this quote ends in line 3",
		"a: 1\nb: [x, y\n\n\n":                 "2:4: this is not YAML",
		"a: 1\nb: {x: y\n":                     "2:4: this is not YAML",
		"a: \"x\" y\n":                         "1:4: a value that begins with \" needs quotes",
		"a: 1\n%TAG !x! y\n---\n":              "2:1: a line that begins with % is a YAML directive",
		"\ufeff%FOO\n---\na: 1\n":              "1:1: a line that begins with % is a YAML directive",
	} {
		root, d := load(text)
		if root != nil || len(d) != 1 || !strings.HasPrefix(d[0].Error(), "f.yaml:"+want) || d[0].Excerpt == "" {
			t.Errorf("%q: %v", text, d)
		}
	}
}

// The parser compares each %TAG with all others: 77,000 of them took 37 s.
func TestManyDirectives(t *testing.T) {
	var b strings.Builder
	for i := 0; b.Len() < MaxBytes-100; i++ {
		fmt.Fprintf(&b, "%%TAG !%d! x\n", i)
	}
	b.WriteString("---\na: 1\n")
	began := time.Now()
	if root, d := load(b.String()); root != nil || len(d) != 1 {
		t.Error(d)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("refused after %s", took)
	}
}
