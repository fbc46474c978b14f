package policy

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func person(id string, groups ...string) func(*Facts) {
	return func(f *Facts) { f.User = User{Subject: id, Issuer: "i", Email: id + "@example.com", Groups: groups} }
}

// A percentage is about as many people, always the same ones, and more of them when it grows.
func TestPropertyShareIsStableAndGrows(t *testing.T) {
	const people = 5000
	was := map[string]bool{}
	for _, percent := range []int{0, 1, 10, 20, 50, 99, 100} {
		p := mustCompile(t, fmt.Sprintf("rules: [{name: vpn, when: ip.vpn, then: block, enforce: {percent: %d}}]", percent))
		q := mustCompile(t, fmt.Sprintf("rules: [{name: other, when: ip.tor, then: block}, {name: vpn, when: ip.vpn && ip.asn == 0, then: block, enforce: {percent: %d}}]", percent))
		blocked := map[string]bool{}
		for i := range people {
			id := fmt.Sprint("p", i)
			f := facts(vpn, person(id))
			d := p.Decide(f)
			switch {
			case d.Action == Block && len(d.Reported) == 0:
				blocked[id] = true
			case d.Action == Allow && reflect.DeepEqual(d.Reported, []Reported{{Rule: "vpn", Action: Block}}):
			default:
				t.Fatalf("%s: neither enforced nor reported: %+v", id, d)
			}
			if was[id] && !blocked[id] {
				t.Fatalf("%s is out again at %d %%", id, percent)
			}
			if again := q.Decide(f); again.Action != d.Action {
				t.Fatalf("%s: %+v, and after an edit elsewhere %+v", id, d, again)
			}
		}
		if got := 100 * float64(len(blocked)) / people; math.Abs(got-float64(percent)) > 1.5 {
			t.Errorf("%d %%: %.1f %% are blocked", percent, got)
		}
		was = blocked
	}
}

func TestShare(t *testing.T) {
	p := mustCompile(t, `
thresholds: {step_up: 50}
rules:
  - {name: vpn, when: ip.vpn, then: block, enforce: {groups: [security, ops]}}
  - {name: relay, when: ip.relay, score: 50, enforce: {groups: [ops]}}
`)
	for _, tt := range []struct {
		name    string
		changes []func(*Facts)
		want    Decision
	}{
		{"a member", []func(*Facts){vpn, person("a", "x", "ops")}, Decision{
			Action: Block, Rules: []string{"vpn"}, Causes: []Cause{CauseNetwork}}},
		{"somebody else", []func(*Facts){vpn, person("a", "x")}, Decision{
			Action: Allow, Reported: []Reported{{Rule: "vpn", Action: Block}}}},
		{"nobody", []func(*Facts){vpn, nobody, purposed(PurposeSignIn)}, Decision{
			Action: Allow, Reported: []Reported{{Rule: "vpn", Action: Block}}}},
		{"a score of a member", []func(*Facts){stale, func(f *Facts) { f.IP.Relay = true }, person("a", "ops")}, Decision{
			Action: StepUp, Rules: []string{"relay"}, Causes: []Cause{CauseNetwork}, MaxAge: 15 * time.Minute,
			Score: 50}},
		{"a score of somebody else", []func(*Facts){stale, func(f *Facts) { f.IP.Relay = true }, person("a")}, Decision{
			Action: Allow, Reported: []Reported{{Rule: "relay", Action: StepUp, Score: 50}}}},
	} {
		if diff := cmp.Diff(tt.want, p.Decide(facts(tt.changes...))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	e := p.Explain(facts(vpn, person("a")))
	if r := e.Rules[0]; r.Outcome != OutcomeReported || r.Why != "it is enforced for others (security, ops)" || r.Enforce != "security, ops" {
		t.Errorf("%+v", r)
	}
}

// What a score would have done is about all that contributes to the sum: this address does not answer
// a question that another rule makes one about the network.
func TestReportedScoreAsksWhatTheSumAsks(t *testing.T) {
	p := mustCompile(t, `
thresholds: {step_up: 50}
rules:
  - {name: relay, when: ip.relay, score: 30}
  - {name: wiki, when: 'request.route == "wiki"', score: 30, mode: report}
`)
	f := facts(route("wiki"), func(f *Facts) { f.IP.Relay, f.Session.VerifiedAge, f.Session.VerifiedHere = true, 0, false })
	want := Decision{Action: Allow, Score: 30, Reported: []Reported{{Rule: "wiki", Action: StepUp, Score: 30}}}
	if diff := cmp.Diff(want, p.Decide(f)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A person who cannot be told apart is not in the share, and people are told apart by issuer and subject.
func TestShareKnowsPeople(t *testing.T) {
	s := &enforcement{percent: 100}
	if s.includes(DrawKey{}, "r", User{}) || !s.includes(DrawKey{}, "r", User{Email: "a@example.com"}) || !s.includes(DrawKey{}, "r", User{Subject: "a"}) {
		t.Error("who is in 100 %")
	}
	in := map[bool]int{}
	for i := range 100 {
		u := User{Subject: "same", Issuer: fmt.Sprint(i), Email: "same@example.com"}
		in[(&enforcement{percent: 50}).includes(DrawKey{}, "r", u)]++
	}
	if in[true] == 0 || in[false] == 0 {
		t.Errorf("the issuer makes no difference: %v", in)
	}
}
