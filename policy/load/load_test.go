package load_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/policy/load"
)

// diagnose loads a policy that must not be loaded.
func diagnose(t testing.TB, source string) policy.Diagnostics {
	t.Helper()
	p, err := load.Tested(policy.Config{Name: "p.yaml", Source: []byte(source), Routes: []string{"treasury", "wiki"}})
	var d policy.Diagnostics
	if p != nil || !errors.As(err, &d) || len(d) == 0 {
		t.Fatalf("accepted, or not refused with diagnostics (%v):\n%s", err, source)
	}
	return d
}

// A mistake in a test, and a test that fails, are mistakes in the policy file.
func TestMistakesInTests(t *testing.T) {
	const ok = "rules: [{name: a, when: ip.vpn, then: block}]\n"
	for _, tt := range []struct{ name, source, at, message, hint string }{
		{"test without name", "version: 1\n" + ok + "tests: [{expect: {action: allow}}]", "3:9", "has no name", ""},
		{"test without expect", "version: 1\n" + ok + "tests: [{name: t}]", "3:9", "expects nothing", ""},
		{"test without action", "version: 1\n" + ok + "tests: [{name: t, expect: {rules: [a]}}]", "3:27", "expects no action", ""},
		{"test of an unknown action", "version: 1\n" + ok + "tests: [{name: t, expect: {action: deny}}]", "3:36", `no action "deny"`, "block"},
		{"test of an unknown rule", "version: 1\n" + ok + "tests: [{name: t, expect: {action: block, rules: [b]}}]", "3:51", `no rule "b"`, "a"},
		{"test with an unknown group", "version: 1\n" + ok + "tests: [{name: t, given: {ipp: {}}, expect: {action: block}}]", "3:27", `no key "ipp"`, "ip"},
		{"test with an unknown fact", "version: 1\n" + ok + "tests: [{name: t, given: {ip: {vnp: true}}, expect: {action: block}}]", "3:32", `no key "vnp"`, "vpn"},
		{"test with a wrong type", "version: 1\n" + ok + "tests: [{name: t, given: {ip: {vpn: 5}}, expect: {action: block}}]", "3:37", "ip.vpn cannot be", "bool"},
		{"test with a wrong list", "version: 1\n" + ok + "tests: [{name: t, given: {user: {groups: ops}}, expect: {action: allow}}]", "3:42", "has to be a list", ""},
		{"test with a wrong time", "version: 1\n" + ok + "tests: [{name: t, given: {time: {now: noon}}, expect: {action: allow}}]", "3:39", "time.now cannot be", "2026"},
		{"test with a country that is none", "version: 1\n" + ok + "tests: [{name: t, given: {ip: {country: us}}, expect: {action: allow}}]", "3:41", "never", "US"},
		{"test with no value", "version: 1\n" + ok + "tests: [{name: t, given: {ip: {vpn: null}}, expect: {action: block}}]", "3:37", "ip.vpn cannot be", "bool"},
		{"test with nothing behind a key", "version: 1\n" + ok + "tests: [{name: t, given: {ip: {asn: }}, expect: {action: block}}]", "3:37", "ip.asn cannot be", "int"},
		{"test with a number that YAML reads as octal", "version: 1\n" + ok + "tests: [{name: t, given: {ip: {asn: 010}}, expect: {action: block}}]", "3:37", "ip.asn cannot be", "int"},
		{"test with a tag in front of a value", "version: 1\n" + ok + "tests: [{name: t, given: {ip: {vpn: ! true}}, expect: {action: block}}]", "3:37", "tag", ""},
		{"test that fails", "version: 1\n" + ok + "tests: [{name: t, given: {ip: {vpn: true}}, expect: {action: allow}}]", "3:16", `the test "t" fails: expected action allow, got block (a)`, ""},
		{"test with other rules", "version: 1\n" + ok + "tests: [{name: t, given: {ip: {vpn: true}}, expect: {action: block, rules: []}}]", "3:16", "expected rules [], got [a]", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := diagnose(t, tt.source)[0]
			if !strings.Contains(d.Message, tt.message) || !strings.Contains(d.Expected+" "+d.Suggestion, tt.hint) {
				t.Errorf("got %s\nwant %q, hint %q", d.Error(), tt.message, tt.hint)
			}
			if at := fmt.Sprintf("%d:%d", d.Line, d.Column); at != tt.at {
				t.Errorf("at %s, want %s\n%s", at, tt.at, d.Error())
			}
		})
	}
}

// The steps differ in what they refuse, and only Proven asks for everything.
func TestSteps(t *testing.T) {
	const rules = "version: 1\nrules: [{name: a, when: ip.vpn, then: block}]\n"
	const fails = "tests: [{name: t, given: {ip: {vpn: true}}, expect: {action: allow}}]\n"
	const broken = "invariants: [{name: i, always: block, when: ip.tor}]\n"
	for name, c := range map[string]struct {
		source               string
		read, tested, proven bool
	}{
		"right":                      {rules, true, true, true},
		"a test fails":               {rules + fails, true, false, false},
		"an invariant does not hold": {rules + broken, true, true, false},
		"both":                       {rules + fails + broken, true, false, false},
		"a mistake":                  {rules + "rule: []\n", false, false, false},
		"a mistake in a test":        {rules + "tests: [{name: t, expect: {action: no}}]\n", false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			what := policy.Config{Name: "p.yaml", Source: []byte(c.source)}
			_, readErr := load.Read(what)
			tested, testedErr := load.Tested(what)
			proven, provenErr := load.Proven(what)
			if (readErr == nil) != c.read || (testedErr == nil) != c.tested || (provenErr == nil) != c.proven {
				t.Errorf("read: %v\ntested: %v\nproven: %v", readErr, testedErr, provenErr)
			}
			if (tested != nil) != c.tested || (proven != nil) != c.proven {
				t.Error("a policy beside an error, or none without one")
			}
		})
	}
}

func TestEveryMistakeIsReportedInOrder(t *testing.T) {
	d := diagnose(t, `version: 1
lists: {embargoed: [KP, UK]}
rules:
  - name: one
    when: ip.contry == "US" && ip.asn == "x"
    then: blok
  - name: two
    whn: ip.vpn
    when: ip.country in lists.embargoed
    then: block
  - name: one
    when: true
    then: block
tests:
  - {name: t, given: {ip: {vnp: true}}, expect: {action: no}}
`)
	var got []string
	for _, one := range d {
		got = append(got, fmt.Sprintf("%d:%d", one.Line, one.Column))
	}
	want := "2:25 5:14 5:39 6:11 8:5 11:11 12:11 15:28 15:58"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v\nwant %s\n%v", got, want, d)
	}
}

// Tests say what the rules do, without exceptions; invariants hold with them.
func TestExceptionsAreNoPartOfTests(t *testing.T) {
	const source = `version: 1
rules: [{name: abroad, when: 'ip.country == "PT"', then: block}]
tests:
  - {name: ana is blocked, given: {ip: {country: PT}, user: {email: ana@corp.example}}, expect: {action: block, rules: [abroad]}}
`
	c := policy.Config{Name: "p.yaml", Source: []byte(source), Exceptions: &policy.Exceptions{Name: "x.yaml",
		Source: []byte("exceptions: [{user: ana@corp.example, rules: [abroad], until: 2026-12-31, approved_by: ciso@corp.example, why: x}]\n")}}
	p, err := load.Proven(c)
	if err != nil {
		t.Fatal(err)
	}
	f := policy.Ordinary("verified")
	f.IP.Country, f.User.Email = "PT", "ana@corp.example"
	if d := p.Decide(&f); d.Action != policy.Allow || len(d.Excepted) != 1 {
		t.Errorf("%+v", d)
	}
	c.Source = []byte(source + "invariants: [{name: Portugal, always: block, when: 'ip.country == \"PT\"'}]\n")
	if _, err := load.Proven(c); err == nil || !strings.Contains(err.Error(), "because an exception suspends abroad") {
		t.Error(err)
	}
}
