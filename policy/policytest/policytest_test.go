package policytest

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/policy/internal/file"
	"sallyport/policy/internal/policygen"
	"sallyport/policy/strictyaml"
)

// compile compiles a policy given without the version line, and reads its tests.
func compile(t testing.TB, source string, with ...func(*policy.Config)) (*policy.Policy, []Test) {
	t.Helper()
	c := policy.Config{Name: "policy.yaml", Source: []byte("version: 1\n" + source)}
	for _, f := range with {
		f(&c)
	}
	d, err := file.ReadPolicy(c.Name, c.Source)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.CompileDocument(c, d)
	if err != nil || p == nil {
		t.Fatal(err, d.Err())
	}
	var rules []string
	for _, r := range p.Rules() {
		rules = append(rules, r.Name)
	}
	tests := Read(d, rules, p.Vocabulary())
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	return p, tests
}

const coveragePolicy = `
rules:
  - {name: unknown, when: 'ip.country == "ZZ"', then: step_up}
  - {name: moved, when: 'seen.new_country', then: step_up}
  - {name: tool, when: 'request.method == "POST"', routes: [wiki], then: block}
  - {name: first-group, when: 'user.groups[0] == "x"', then: step_up, mode: report}
tests:
  - {name: known, given: {ip: {country: US}, user: {groups: [x]}}, expect: {action: allow}}
`

func TestCoverage(t *testing.T) {
	p, own := compile(t, coveragePolicy)
	report, err := Run(p, own, File{Name: "p_test.yaml", Source: []byte(`tests:
  - {name: known, given: {seen: {known: false}, session: {verified_age: 1m}}, expect: {action: allow}}
  - {name: fails, given: {ip: {country: US}, request: {route: wiki, method: POST}, user: {groups: [a]}}, expect: {action: allow}}
`)})
	if err != nil {
		t.Fatal(err)
	}
	want := []Coverage{
		{Rule: "unknown", Line: 4, Matched: 1, NotMatched: 2, Unknown: 1, CanBeUnknown: true},
		{Rule: "moved", Line: 5, NotMatched: 3, Unknown: 1, CanBeUnknown: true},
		{Rule: "tool", Line: 6, Matched: 1},
		// A condition that cannot be evaluated is something else than one that is true.
		{Rule: "first-group", Line: 7, Matched: 2, NotMatched: 1, Unknown: 1},
	}
	if !reflect.DeepEqual(report.Coverage, want) {
		t.Errorf("got  %+v\nwant %+v", report.Coverage, want)
	}
	if seen, of := report.Branches(); seen != 8 || of != 10 || report.Percent() != 80 {
		t.Errorf("%d of %d, %d%%", seen, of, report.Percent())
	}
	if r := report.Results; len(r) != 3 || report.Failed() != 2 || r[0].File != "policy.yaml" || r[2].File != "p_test.yaml" || r[2].Line != 3 || r[2].Passed {
		t.Errorf("%+v", r)
	}
}

func TestTestFiles(t *testing.T) {
	p, own := compile(t, coveragePolicy)
	for name, tt := range map[string]struct{ source, message string }{
		"empty":        {"", "the file of tests is empty"},
		"no tests":     {"policy: policy.yaml\n", "the file has no tests"},
		"unknown key":  {"tests: []\nrules: []\n", `has no key "rules"`},
		"a mistake":    {"tests: [{name: t, given: {ip: {vnp: true}}, expect: {action: allow}}]", `no key "vnp"`},
		"unknown rule": {"tests: [{name: t, expect: {action: allow, rules: [movd]}}]", `no rule "movd"`},
		"too long":     {"#" + strings.Repeat("x", strictyaml.MaxBytes), "bytes"},
	} {
		_, err := Run(p, own, File{Name: "x_test.yaml", Source: []byte(tt.source)})
		var d policy.Diagnostics
		if !errors.As(err, &d) || !strings.Contains(d[0].Message, tt.message) || d[0].File != "x_test.yaml" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for source, about := range map[string]string{"policy: a.yaml\ntests: []": "a.yaml", "tests: []": "", "policy: [": "", "": ""} {
		if got := (File{Source: []byte(source)}).About(); got != about {
			t.Errorf("%q is about %q", source, got)
		}
	}
}

const manyRules = policygen.Many

// Of the subdivisions that a test gives follows the region, unless the test says it.
func TestRegionFollowsFromSubdivisions(t *testing.T) {
	p, own := compile(t, `
rules:
  - {name: nevada, when: ip.region == "US-NV", then: block}
tests:
  - {name: follows, given: {ip: {subdivisions: [US-NV, US-CA]}}, expect: {action: block, rules: [nevada]}}
  - {name: of the address too, given: {ip: {address: "2001:db8::1", subdivisions: [US-NV]}}, expect: {action: block}}
  - {name: another, given: {ip: {subdivisions: [US-CA, US-NV]}}, expect: {action: allow}}
  - {name: said, given: {ip: {region: US-CA, subdivisions: [US-NV]}}, expect: {action: allow}}
  - {name: said to be none, given: {ip: {region: "", subdivisions: [US-NV]}}, expect: {action: allow}}
`)
	report, err := Run(p, own)
	if err != nil || len(report.Results) != 5 {
		t.Fatal(report, err)
	}
	for _, r := range report.Results {
		if !r.Passed {
			t.Errorf("%+v", r)
		}
	}
}

func TestPolicyTests(t *testing.T) {
	p, own := compile(t, manyRules+`
tests:
  - {name: defaults, expect: {action: block, rules: [nobodys-group], reported: [], score: 0}, given: {user: {email: a@example.com}}}
  - {name: a VPN, given: {ip: {vpn: true, country: US}}, expect: {action: step_up, rules: [anonymised]}}
  - {name: a VPN again, given: {ip: {vpn: true}, session: {verified_age: 4m, verified_here: true}}, expect: {action: allow}}
  - {name: nobody, given: {session: {level: none}}, expect: {action: step_up, rules: [baseline.sign-in]}}
  - {name: signed in, given: {session: {level: signed_in}}, expect: {action: step_up, rules: [baseline.verify]}}
  - {name: reported, given: {ip: {asn: 64500}}, expect: {action: allow, reported: [watch, watch-step, watch-score]}}
  - {name: score, given: {ip: {tor: true}, time: {now: 2026-02-01T10:00:00Z}}, expect: {action: step_up, score: 60, rules: [tor-score]}}
  - {name: granted anyway, given: {request: {route: treasury}}, expect: {action: allow}}
  - {name: private, given: {ip: {address: 10.0.0.1}, user: {groups: [a, b, c, d, e, f, g, x]}}, expect: {action: allow}}
  - {name: v6, given: {ip: {address: "2001:db8::1"}}, expect: {action: allow}}
`, func(c *policy.Config) {
		c.Routes = []string{"treasury", "broken"}
		c.Grants = map[string]policy.Grant{}
	})
	report, err := Run(p, own)
	if err != nil {
		t.Fatal(err)
	}
	results := report.Results
	if len(results) != 10 {
		t.Errorf("%d results", len(results))
	}
	for _, r := range results {
		if !r.Passed || r.Line == 0 {
			t.Errorf("%+v", r)
		}
	}
}

// What a test does not say of a group that is not known is what the proxy would have then.
func TestGivenOfWhatIsNotKnown(t *testing.T) {
	_, tests := compile(t, `
rules: [{name: vpn, when: ip.vpn, then: block}]
tests:
  - {name: history, given: {activity: {known: false}, seen: {known: false}, address: {known: false}, device: {known: false, enrolments_30d: 2}}, expect: {action: allow}}
  - {name: said, given: {activity: {known: true}, seen: {first_days: 3}}, expect: {action: allow}}
`)
	want := policy.Ordinary("verified")
	want.Seen, want.Address, want.Device, want.Activity = policy.Seen{}, policy.Address{}, policy.Device{Enrolments30d: 2}, policy.Activity{UsualHours: -1}
	got := tests[0].given
	if !reflect.DeepEqual([]any{got.Seen, got.Address, got.Device, got.Activity}, []any{want.Seen, want.Address, want.Device, want.Activity}) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	want = policy.Ordinary("verified")
	if want.Seen.FirstDays = 3; tests[1].given.Seen != want.Seen || tests[1].given.Activity != want.Activity {
		t.Errorf("got  %+v\nwant %+v", tests[1].given, want)
	}
}
