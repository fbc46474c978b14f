package format

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/policy"
	"sallyport/policy/internal/policygen"
)

const unformatted = `# The policy of a company.

rules:
# --- Networks ---

# First.
- when:   ip.vpn ||
      ip.tor   # anonymised
  # by which it is known
  name: anonymised
  max_age: 5m
  then: step_up
  # mode: report


- {then: block, when: 'ip.country in ["KP", "IR"]', name: embargoed}   # certain
- name: folded
  reason: "a, b: {c}"
  then: block
  unless: >-
      ip.within(["10.0.0.0/8"]) ||

      ip.private
  when: |
    ip.proxy
    # not a comment in YAML
lists:
    a: [x]  # why


    b:
        - y
        # z
version: 1
tests:
- expect: {action: allow}
  name: t
  given:
    ip: {country: US}
# the end
`

const formatted = `# The policy of a company.

version: 1

lists:
  a: [x]  # why


  b:
      - y
      # z

rules:
  # --- Networks ---

  # First.
  # by which it is known
  - name: anonymised
    when: ip.vpn ||
        ip.tor   # anonymised
    then: step_up
    max_age: 5m
    # mode: report

  - {name: embargoed, when: 'ip.country in ["KP", "IR"]', then: block}   # certain

  - name: folded
    when: |
      ip.proxy
      # not a comment in YAML
    unless: >-
        ip.within(["10.0.0.0/8"]) ||

        ip.private
    then: block
    reason: "a, b: {c}"

tests:
  - name: t
    given:
      ip: {country: US}
    expect: {action: allow}

# the end
...
`

func TestFormat(t *testing.T) {
	got, err := File("p.yaml", []byte(unformatted))
	if err != nil || string(got) != formatted {
		t.Errorf("%v\n%s", err, got)
	}
	for name, tt := range map[string]struct{ in, out string }{
		"CRLF and BOM":      {"\ufeffversion: 1\r\nmissing_data:   block  \r\n\r\n\r\n", "version: 1\nmissing_data: block\n"},
		"no newline":        {"version: 1", "version: 1\n"},
		"flow":              {"{version: 1, rules: [{then: block, name: a}]}\n", "{version: 1, rules: [{then: block, name: a}]}\n...\n"},
		"a file of tests":   {"policy: p.yaml\ntests: []\n", "policy: p.yaml\ntests: []\n"},
		"the mark is there": {"rules: []\nversion: 1\n...\n# why\n\n", "version: 1\nrules: []\n\n# why\n...\n"},
		"dash on a line":    {"rules:\n-\n  then: block\n  name: a\n", "rules:\n-\n  then: block\n  name: a\n...\n"},
		"unknown keys last": {"zeta: 1\nversion: 1\n", "version: 1\nzeta: 1\n"},
		"short rules":       {"rules:\n  - {name: a}\n  - {name: b}\n\n\n  - {name: c}\n", "rules:\n  - {name: a}\n  - {name: b}\n\n  - {name: c}\n...\n"},
	} {
		if got, err := File("p.yaml", []byte(tt.in)); err != nil || string(got) != tt.out {
			t.Errorf("%s: %v\n%q", name, err, got)
		}
	}
	var d policy.Diagnostics
	if _, err := File("p.yaml", []byte("a: [")); !errors.As(err, &d) {
		t.Errorf("what is not YAML: %v", err)
	}
}

// A policy that was formatted decides as before, says where its rules are in the same order, and is in order.
func TestFormatChangesNoDecision(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sources := []string{manyRules}
	for _, f := range append(files, "../../cmd/sallyport/starter/policy.yaml", "../../cmd/sallyport/internal/demo/files/policy.yaml") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, string(text))
	}
	r := rand.New(rand.NewPCG(8, 8))
	for range 40 {
		rules := policygen.Rules(r, 6)
		for i, rule := range rules {
			if r.IntN(2) == 0 { // in block style, with its keys in any order and a comment
				lines := strings.Split(strings.NewReplacer(", unless", "\nunless", ", routes", "\nroutes", ", mode", "\nmode", ", then", "\nthen",
					", require", "\nrequire", ", max_age", "\nmax_age", ", score", "\nscore", ", when", "\nwhen", ", enforce", "\nenforce",
					", every", "\nevery", ", hours", "\nhours").Replace(strings.TrimSuffix(rule[1:], "}")), "\n")
				r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
				rules[i] = strings.Join(lines, "  # c\n    # above\n    ")
			}
		}
		sources = append(sources, "thresholds: {step_up: 50, block: 100}\nrules:\n  - "+strings.Join(rules, "\n  - ")+"\nversion: 1\n")
	}
	for _, source := range sources {
		got, err := File("p.yaml", []byte(source))
		if err != nil {
			t.Fatalf("%v\n%s", err, source)
		}
		again, err := File("p.yaml", got)
		if err != nil || string(again) != string(got) {
			t.Fatalf("formatted twice: %v\n%s\n%s", err, got, again)
		}
		p, errP := policy.Compile(policy.Config{Name: "p.yaml", Source: []byte(source)})
		q, errQ := policy.Compile(policy.Config{Name: "p.yaml", Source: got})
		if errP != nil || errQ != nil {
			t.Fatalf("%v, %v\n%s", errP, errQ, got)
		}
		for range 50 {
			f := randomFacts(r)
			if a, b := p.Decide(f), q.Decide(f); !reflect.DeepEqual(a, b) {
				t.Fatalf("formatted, it decides otherwise: %s\n%s", cmp.Diff(a, b), got)
			}
		}
	}
}

// The examples are formatted as `policy fmt` would.
func TestExamplesAreFormatted(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/policy.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, f := range append(files, "../../cmd/sallyport/starter/policy.yaml", "../../cmd/sallyport/internal/demo/files/policy.yaml") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := File(f, text); err != nil || string(got) != string(text) {
			t.Errorf("%s: %v: run sallyport policy fmt --write", f, err)
		}
	}
}

// FuzzFormat: for every file, formatting says the same and formatting again changes nothing.
func FuzzFormat(f *testing.F) {
	for _, s := range []string{unformatted, formatted, manyRules, "a:\n  - b: |2\n     x\n\n    c: d\n", "rules:\n- a: \"x\n   # y\"\n", "- a\n", "rules:\n  - ? a\n    : b\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		began := time.Now()
		got, err := File("p.yaml", []byte(source))
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("formatted for %s", took)
		}
		if err != nil {
			return
		}
		again, err := File("p.yaml", got)
		if err != nil || string(again) != string(got) {
			t.Errorf("not stable: %v\n%q\n%q", err, got, again)
		}
		p, errP := policy.Compile(policy.Config{Source: []byte(source)})
		q, errQ := policy.Compile(policy.Config{Source: got})
		if (errP == nil) != (errQ == nil) {
			t.Fatalf("%v, and formatted %v", errP, errQ)
		}
		if errP == nil {
			for _, facts := range []*policy.Facts{{}, randomFacts(rand.New(rand.NewPCG(1, 2)))} {
				if a, b := p.Decide(facts), q.Decide(facts); !reflect.DeepEqual(a, b) {
					t.Errorf("formatted, it decides otherwise: %s", cmp.Diff(a, b))
				}
			}
		}
	})
}

const manyRules = "version: 1" + policygen.Many

func randomFacts(r *rand.Rand) *policy.Facts {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	f := policy.Ordinary(pick("verified", "verified", "signed_in", "none"))
	f.IP.VPN, f.IP.Tor, f.IP.Proxy, f.IP.ASN = r.IntN(3) == 0, r.IntN(3) == 0, r.IntN(3) == 0, int64(r.IntN(10))
	f.IP.Country, f.IP.DataAgeHours = pick("US", "KP", "ZZ"), int64(r.IntN(96))
	f.User.Groups = [][]string{nil, {"ops"}, {"a", "ops"}}[r.IntN(3)]
	f.Request.Route, f.Request.Path, f.Request.Method = pick("", "wiki", "vault"), pick("/", "/admin/x"), pick("GET", "POST")
	return &f
}
