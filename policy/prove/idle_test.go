package prove

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sallyport/policy"
)

// idle splits what Idle finds into rules that never match, and "rule by others".
func idle(t testing.TB, p *policy.Policy) (never, shadowed []string) {
	t.Helper()
	found, err := Idle(p)
	if err != nil {
		t.Fatal(err)
	}
	rules := p.Model().Rules
	for _, f := range found {
		if f.By == nil {
			never = append(never, rules[f.Rule].Name)
			continue
		}
		by := rules[f.Rule].Name + " by"
		for _, j := range f.By {
			by += " " + rules[j].Name
		}
		shadowed = append(shadowed, by)
	}
	return never, shadowed
}

func TestUnreachable(t *testing.T) {
	p := compile(t, lists+`rules:
  - {name: never, when: 'ip.country == "KP" && ip.country == "US"', then: block}
  - {name: excepted, when: 'ip.country == "KP"', unless: ip.country in lists.embargoed, then: block}
  - {name: not-while-enrolling, when: 'request.purpose == "enroll"', routes: [wiki], then: block}
  - {name: not-for-nobody, when: 'session.level == "none"', then: block}
  - {name: report, when: 'session.age > duration("8h") && session.age < duration("7h")', then: block, mode: report}
  - {name: fine, when: ip.vpn, then: block}
  - {name: perhaps, when: 'user.groups[0] == "a" && user.groups == []', then: block}
  - {name: elsewhere, when: 'request.route == "wiki"', routes: [vault], then: step_up}
`, routes("wiki", "vault"))
	got, _ := idle(t, p)
	if want := []string{"never", "excepted", "not-while-enrolling", "not-for-nobody", "report", "elsewhere"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestShadowed(t *testing.T) {
	p := compile(t, lists+`rules:
  - {name: tor, when: ip.tor, then: step_up, max_age: 5m}
  - {name: later, when: ip.tor && ip.relay, then: step_up, max_age: 10m}
  - {name: sooner, when: ip.tor && ip.relay, then: step_up, max_age: 1m}
  - {name: bound, when: ip.tor, then: step_up, max_age: 10m, require: [device_bound]}
  - {name: all, when: 'ip.country in ["KP", "DE"]', then: block}
  - {name: one, when: 'ip.country == "KP"', then: block}
  - {name: same, when: 'ip.country in ["KP", "DE"]', then: block}
  - {name: split, when: 'ip.country == "SE" && ip.vpn', then: block}
  - {name: split-too, when: 'ip.country == "SE" && !ip.vpn', then: block}
  - {name: sweden, when: 'ip.country == "SE"', then: step_up}
  - {name: person, when: '"a" in user.groups && ip.country == "KP"', then: step_up}
  - {name: narrower, when: 'ip.country == "NO" && "a" in user.groups', then: block}
  - {name: wider, when: 'ip.country == "NO"', then: block, routes: [wiki]}
`)
	want := []string{"later by tor", "one by all", "same by all", "sweden by split split-too", "person by all"}
	if _, got := idle(t, p); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Without its shadowed rules a policy does the same, and an unreachable rule never matches.
func TestPropertyFindingsChangeNothing(t *testing.T) {
	found := 0
	for n, w := range worlds() {
		r := rand.New(rand.NewPCG(uint64(n), 11))
		for range 25 {
			source, _, _ := strings.Cut(randomPolicy(r, w), "invariants:")
			p := compilable(source)
			if p == nil {
				continue
			}
			names, shadowed := idle(t, p)
			never, gone := map[string]bool{}, map[string]bool{}
			for _, name := range names {
				never[name], gone[name] = true, true
			}
			for _, by := range shadowed {
				name, _, _ := strings.Cut(by, " ")
				gone[name] = true
			}
			q := compilable(without(source, gone))
			if len(gone) == 0 || q == nil {
				continue
			}
			found++
			m := p.Model()
			w.all(&m, func(f *policy.Facts) bool {
				a, b := p.Decide(f), q.Decide(f)
				if a.Action != b.Action || a.MaxAge != b.MaxAge || needs(a) != needs(b) {
					t.Fatalf("%v, and without %v: %v\n%+v\n%s", a, gone, b, *f, source)
				}
				for _, reported := range a.Reported {
					if never[reported.Rule] {
						t.Fatalf("%s matches\n%s", reported.Rule, source)
					}
				}
				return true
			})
		}
	}
	if found < 30 {
		t.Errorf("only %d policies had anything", found)
	}
}

// needs is what a step-up requires: an attested passkey is device-bound as well.
func needs(d policy.Decision) string {
	switch {
	case slices.Contains(d.Require, "attested"):
		return "attested"
	case len(d.Require) == 0:
		return ""
	}
	return "device_bound"
}

// without drops rules from a policy that randomPolicy wrote, and adds one that never matches here: a policy has to have one.
func without(source string, names map[string]bool) string {
	var out []string
	for _, line := range strings.Split(source, "\n") {
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "- {name: "), ",")
		if !names[name] {
			out = append(out, line)
		}
	}
	return strings.Join(append(out, fmt.Sprintf("  - {name: last, when: '%s', then: step_up}", `ip.org == "none such"`)), "\n")
}
