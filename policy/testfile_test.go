package policy

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

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
	p := mustCompile(t, coveragePolicy)
	report, err := p.Test(TestFile{Name: "p_test.yaml", Source: []byte(`tests:
  - {name: known, given: {seen: {known: false}, session: {verified_age: 1m}}, expect: {action: allow}}
  - {name: fails, given: {ip: {country: US}, request: {route: wiki, method: POST}, user: {groups: [a]}}, expect: {action: allow}}
`)})
	if err != nil {
		t.Fatal(err)
	}
	want := []RuleCoverage{
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
	p := mustCompile(t, coveragePolicy)
	for name, tt := range map[string]struct{ source, message string }{
		"empty":        {"", "the policy is empty"},
		"no tests":     {"policy: policy.yaml\n", "the file has no tests"},
		"unknown key":  {"tests: []\nrules: []\n", `has no key "rules"`},
		"a mistake":    {"tests: [{name: t, given: {ip: {vnp: true}}, expect: {action: allow}}]", `no key "vnp"`},
		"unknown rule": {"tests: [{name: t, expect: {action: allow, rules: [movd]}}]", `no rule "movd"`},
		"too long":     {"#" + strings.Repeat("x", maxSource), "bytes"},
	} {
		_, err := p.Test(TestFile{Name: "x_test.yaml", Source: []byte(tt.source)})
		var d Diagnostics
		if !errors.As(err, &d) || !strings.Contains(d[0].Message, tt.message) || d[0].File != "x_test.yaml" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for source, about := range map[string]string{"policy: a.yaml\ntests: []": "a.yaml", "tests: []": "", "policy: [": "", "": ""} {
		if got := (TestFile{Source: []byte(source)}).About(); got != about {
			t.Errorf("%q is about %q", source, got)
		}
	}
}

// Every group that says of itself whether it is known can be unknown in coverage.
func TestUnknownsAreFacts(t *testing.T) {
	p := mustCompile(t, coveragePolicy)
	for name := range unknown {
		if _, ok := p.schema.Lookup(name); !ok && knowns[name] == "" {
			t.Errorf("%s is neither a fact nor a group that can be unknown", name)
		}
	}
	for group := range knowns {
		if f := (Facts{}); unknown[group] == nil || !unknown[group](&f) {
			t.Errorf("%s is known in facts that say nothing", group)
		}
	}
}
