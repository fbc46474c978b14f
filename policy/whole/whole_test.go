package whole_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy/whole"
)

const policyText = `version: 1
missing_data: block
thresholds: {block: 100}
lists: {a: [x, y], b: [z]}
rules:
  - name: r
    when: ip.vpn
    then: block
  - name: s
    when: >-
      ip.tor
      && ip.proxy
    then: step_up
    unless: ip.private
    routes:
      - one
      - two
invariants:
  - {never: allow, when: ip.vpn}
tests:
  - {name: t, given: {}, expect: {action: allow}}
  - {name: u, given: {}, expect: {action: allow, rules: [r, s]}}
`

// No part of a file that ends with the mark has it, wherever the file is cut off.
func TestNoPartOfAFileHasTheMark(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/policy.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	texts := []string{policyText + "...", policyText + "# a\n...\n\n# b\n", strings.ReplaceAll(policyText, "\n", "\r\n") + "...\r\n"}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	for _, text := range texts {
		if !whole.Ended([]byte(text)) {
			t.Fatalf("no mark: %q", text)
		}
		end := strings.LastIndex(text, "\n...") + len("\n...")
		for n := range end {
			if whole.Ended([]byte(text[:n])) {
				t.Errorf("the first %d of %d bytes have the mark: %q", n, len(text), text[max(0, n-40):n])
			}
		}
	}
	for _, text := range []string{"", "\n", "#\n", "....\n", " ...\n", "a: ...\n", "... x\n", "...\na: 1\n", "# ...\n", "a\n..."[:4]} {
		if whole.Ended([]byte(text)) {
			t.Errorf("%q has the mark", text)
		}
	}
}

// What a text lost is named, and what it changed or gained is not.
func TestDropped(t *testing.T) {
	for edit, want := range map[[2]string]string{
		{"", ""}:               "",
		{"name: r", "name: q"}: "the rule r",
		{"name: t", "name: q"}: "the test t",
		{"never: allow, when: ip.vpn", "never: allow, when: ip.tor"}:               "the invariant ip.vpn",
		{"missing_data: block\n", ""}:                                              "missing_data",
		{"thresholds: {block: 100}\n", ""}:                                         "thresholds",
		{", b: [z]", ""}:                                                           "in lists, b",
		{"[x, y]", "[x]"}:                                                          "", // a list that became shorter in the middle of a file was not cut off
		{"when: ip.vpn", "when: ip.tor"}:                                           "",
		{"rules:\n", "rules:\n  - {name: new, when: ip.tor, then: block}\n"}:       "",
		{"rules: [r, s]", "rules: [r]"}:                                            `"s" in the test that the file ends with`,
		{", rules: [r, s]", ""}:                                                    "in the test that the file ends with, rules",
		{"allow, rules: [r, s]}}\n", "allow, rules: [r, s]}}"}:                     "the end of the last line",
		{"  - {name: u, given: {}, expect: {action: allow, rules: [r, s]}}\n", ""}: "the test u",
		{"tests:", "test:"}:                                                        "tests",
		{"version: 1", "version: ["}:                                               "", // no policy
	} {
		after := strings.Replace(policyText, edit[0], edit[1], 1)
		if got := strings.Join(whole.Dropped([]byte(policyText), []byte(after)), "; "); got != want {
			t.Errorf("%q: %s, want %s", edit, got, want)
		}
	}
	rulesLast := policyText[:strings.Index(policyText, "invariants:")]
	for cut, want := range map[string]string{
		"      - two\n": `"two" in the rule that the file ends with`,
		"    routes:\n      - one\n      - two\n":                         "in the rule that the file ends with, routes",
		"    unless: ip.private\n    routes:\n      - one\n      - two\n": "in the rule that the file ends with, unless; in the rule that the file ends with, routes",
	} {
		if got := strings.Join(whole.Dropped([]byte(rulesLast), []byte(strings.TrimSuffix(rulesLast, cut))), "; "); got != want {
			t.Errorf("%q: %s, want %s", cut, got, want)
		}
	}
	if got := whole.Dropped([]byte(policyText+"...\n"), []byte(policyText)); !slices.Equal(got, []string{"the line ... at the end"}) {
		t.Error(got)
	}
}

// Without the mark, a text has to stay as it is for a while; so does one that may be
// half of the text before it.
func TestWait(t *testing.T) {
	const settle = 3 * time.Second
	begin := time.Unix(1e9, 0)
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	var f whole.File
	look := func(second int, text string, want time.Duration) {
		t.Helper()
		f.See([]byte(text), at(second))
		if got := f.Wait(settle, at(second)); got != want {
			t.Errorf("at %d s, %q: wait %s, want %s", second, text, got, want)
		}
	}
	look(0, "a: 1\n", settle)
	look(2, "a: 1\n", time.Second)
	look(3, "a: 1\n", 0)
	look(4, "a: 1\nb: 1\n", settle)
	look(6, "a: 1\n", settle)
	look(9, "a: 1\n", 0)
	look(10, "a: 1\n...\n", 0)
	look(11, "b: 1\n...\n", settle) // as long
	look(14, "b: 1\n...\n", 0)
	look(15, "", settle)
	look(16, "a: 1\nc: 1\n...", settle)
	look(17, "\x00\x00\x00\nc: 1\nd: 1\n...\n", settle)
	look(18, "c: 1\nd: 1\n...\n", 0)
}
