package lint

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/policy/load"
	"sallyport/policy/prove"
)

// lintRules lints flow rules, one a line from line 4 on, and returns "code line:column" of what can be said of their
// conditions.
func lintRules(t testing.TB, rules ...string) string {
	t.Helper()
	thresholds := "#"
	if strings.Contains(strings.Join(rules, " "), "score: ") {
		thresholds = "thresholds: {step_up: 50}"
	}
	var out []string
	for _, f := range lintOf(t, thresholds+"\nrules:\n  - {"+strings.Join(rules, "}\n  - {")+"}\n") {
		if f.Code == "unreachable-rule" || f.Code == "subsumed-rule" {
			out = append(out, fmt.Sprintf("%s %d:%d", f.Code, f.Line, f.Column))
		}
	}
	return strings.Join(out, " ")
}

func TestLintReach(t *testing.T) {
	rule := func(name, when, more string) string { return "name: " + name + ", when: '" + when + "', " + more }
	tests := []struct {
		name  string
		rules []string
		want  string
	}{
		{"nothing", []string{rule("a", "ip.vpn", "then: block"), rule("b", "ip.tor", "then: block")}, ""},
		{"false", []string{rule("a", "ip.vpn && false", "then: block")}, "unreachable-rule 4:22"},
		{"a and not a", []string{rule("a", "ip.vpn && !ip.vpn", "then: block")}, "unreachable-rule 4:22"},
		{"two countries at once", []string{rule("a", `ip.country == "US" && ip.country == "DE"`, "then: block")}, "unreachable-rule 4:22"},
		{"a country outside its list", []string{rule("a", `ip.country in ["US", "DE"] && !(ip.country in ["DE", "US", "FR"])`, "then: block")}, "unreachable-rule 4:22"},
		{"numbers apart", []string{rule("a", "ip.asn > 10 && ip.asn < 11", "then: block")}, "unreachable-rule 4:22"},
		{"numbers together", []string{rule("a", "ip.asn >= 10 && ip.asn < 11", "then: block")}, ""},
		{"doubles have no next", []string{rule("a", "travel.speed_kmh > 10.0 && travel.speed_kmh < 11.0 && travel.known", "then: block")}, ""},
		{"doubles apart", []string{rule("a", "travel.speed_kmh > 10.0 && travel.speed_kmh < 10.0", "then: block")}, "unreachable-rule 4:22"},
		{"durations apart", []string{rule("a", `session.age > duration("2h") && session.age < duration("1h59m")`, "then: block")}, "unreachable-rule 4:22"},
		{"no hour between", []string{rule("a", `time.hour("UTC") > 22 && time.hour("UTC") < 23`, "then: block")}, "unreachable-rule 4:22"},
		{"25 hours of a day", []string{rule("a", `activity.known && activity.active_hours_24h > 24`, "then: block")}, "unreachable-rule 4:22"},
		{"nobody has a session", []string{rule("a", `session.level == "none"`, "then: block")}, "unreachable-rule 4:22"},
		{"enrolment is not a route", []string{rule("a", `request.purpose == "enroll"`, "routes: [wiki], then: block")}, "unreachable-rule 4:22"},
		{"every alternative", []string{rule("a", `(ip.vpn && !ip.vpn) || (ip.asn < 1 && ip.asn > 1)`, "then: block")}, "unreachable-rule 4:22"},
		{"one alternative is left", []string{rule("a", `(ip.vpn && !ip.vpn) || ip.tor`, "then: block")}, ""},
		{"an exception for all of it", []string{rule("a", `ip.vpn && ip.asn == 5`, "unless: 'ip.asn > 4', then: block")}, "unreachable-rule 4:55"},
		{"an exception that always holds", []string{rule("a", `ip.vpn`, "unless: 'true', then: block")}, "unreachable-rule 4:40"},
		{"what cannot be evaluated matches", []string{rule("a", `user.groups[0] == "x" && !(user.groups[0] == "x")`, "then: block")}, ""},
		{"so does what might not be, exception or not", []string{rule("a", `user.groups[0] == "x"`, "unless: 'true', then: block")}, ""},
		{"the hour of a zone that may not exist", []string{rule("a", `time.hour(user.time_zone) > 5 && time.hour(user.time_zone) < 5`, "then: block")}, ""},

		{"the same twice", []string{rule("a", "ip.vpn", "then: block"), rule("b", "ip.vpn", "then: block")}, "subsumed-rule 5:12"},
		{"the same, stricter later", []string{rule("a", "ip.vpn", "then: step_up"), rule("b", "ip.vpn", "then: block")}, "subsumed-rule 4:12"},
		{"narrower", []string{rule("a", "ip.vpn", "then: block"), rule("b", `ip.asn == 5 && ip.vpn`, "then: block")}, "subsumed-rule 5:12"},
		{"narrower numbers", []string{rule("a", "ip.asn > 5", "then: block"), rule("b", `ip.asn > 5 && ip.asn != 6 && ip.tor`, "then: block")}, "subsumed-rule 5:12"},
		{"two bounds together", []string{rule("a", "ip.asn in [6, 7]", "then: block"), rule("b", `ip.asn > 5 && ip.asn < 8`, "then: block")}, "subsumed-rule 5:12"},
		{"a smaller list", []string{rule("a", `ip.country in ["KP", "IR"]`, "then: block"), rule("b", `ip.country == "KP"`, "then: step_up")}, "subsumed-rule 5:12"},
		{"one alternative of another", []string{rule("a", `ip.vpn || ip.tor`, "then: block"), rule("b", `ip.tor`, "then: block")}, "subsumed-rule 5:12"},
		{"the wider exception", []string{rule("a", `ip.vpn`, "unless: 'ip.relay', then: block"), rule("b", `ip.vpn`, "unless: 'ip.relay || ip.private', then: block")}, "subsumed-rule 5:12"},
		{"the narrower exception is no shadow", []string{rule("a", `ip.vpn`, "unless: 'ip.relay || ip.private', then: block"), rule("b", `ip.vpn`, "unless: 'ip.relay', then: step_up")}, ""},
		{"a milder one is no shadow", []string{rule("a", "ip.vpn", "then: step_up"), rule("b", `ip.vpn && ip.asn == 5`, "then: block")}, ""},
		{"nor is a longer age", []string{rule("a", "ip.vpn", "then: step_up, max_age: 1h"), rule("b", `ip.vpn && ip.asn == 5`, "then: step_up, max_age: 5m")}, ""},
		{"a shorter age is", []string{rule("a", "ip.vpn", "then: step_up, max_age: 1m"), rule("b", `ip.vpn && ip.asn == 5`, "then: step_up, max_age: 5m")}, "subsumed-rule 5:12"},
		{"not without the requirement", []string{rule("a", "ip.vpn", "then: step_up"), rule("b", `ip.vpn && ip.asn == 5`, "then: step_up, require: [device_bound]")}, ""},
		{"not for a question about the network", []string{rule("a", `session.concurrent > 1`, "then: step_up"), rule("b", `session.concurrent > 1 && ip.vpn`, "then: step_up")}, ""},
		{"what only reports shadows nothing", []string{rule("a", "ip.vpn", "then: block, mode: report"), rule("b", "ip.vpn", "then: block")}, ""},
		{"other routes", []string{rule("a", "ip.vpn", "routes: [wiki], then: block"), rule("b", "ip.vpn", "routes: [treasury], then: block")}, ""},
		{"fewer routes", []string{rule("a", "ip.vpn", "routes: [wiki, treasury], then: block"), rule("b", "ip.vpn", "routes: [treasury], then: block")}, "subsumed-rule 5:12"},
		{"a rule that waits for a session shadows none that does not", []string{rule("a", `ip.vpn || "x" in user.groups`, "then: block"), rule("b", "ip.vpn", "then: block")}, ""},
		{"three the same", []string{rule("a", "ip.vpn", "then: block"), rule("b", "ip.vpn", "then: block"), rule("c", "ip.vpn", "then: block")}, "subsumed-rule 5:12 subsumed-rule 6:12"},
		{"scores add up", []string{rule("a", "ip.vpn", "score: 50"), rule("b", "ip.vpn", "score: 50")}, ""},
		{"two that ask at times of their own", []string{rule("a", "ip.vpn", "then: step_up, every: 4h"), rule("b", "ip.vpn", "then: step_up, every: 1h")}, ""},
		{"one that asks at times of its own, beside a question for a day", []string{rule("a", "ip.vpn", "then: step_up, max_age: 24h"), rule("b", "ip.vpn", "then: step_up, every: 1h")}, ""},
		{"and beside a block", []string{rule("a", "ip.vpn", "then: block"), rule("b", "ip.vpn", "then: step_up, every: 1h")}, "subsumed-rule 5:12"},
		{"two of them together", []string{rule("a", "ip.vpn && ip.tor", "then: block"), rule("b", "ip.vpn && !ip.tor", "then: block"), rule("c", "ip.vpn", "then: step_up")}, "subsumed-rule 6:12"},
		{"data from the future", []string{rule("a", "ip.data_age_hours < 0", "then: block")}, "unreachable-rule 4:22"},
		{"who is to start is new", []string{rule("a", "user.started_days < -1", "then: block"), rule("b", "user.started_days < 0", "then: step_up")}, "unreachable-rule 4:22"},
		{"slower than standing still", []string{rule("a", "travel.speed_kmh < 0.0", "then: block")}, "unreachable-rule 4:22"},
		{"more than 48 of 48 hours", []string{rule("a", `activity.longest_break_48h > duration("48h")`, "then: block"), rule("b", `activity.longest_break_48h >= duration("48h")`, "then: block")}, "unreachable-rule 4:22"},
		{"in a loop", []string{rule("a", `user.groups.all(g, g == "a") && "b" in user.groups`, "then: block")}, "unreachable-rule 4:22"},
		{"a score beside a block", []string{rule("a", "ip.vpn", "then: block"), rule("b", "ip.vpn", "score: 50"), rule("c", "ip.tor", "score: 50")}, "subsumed-rule 5:12"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := lintRules(t, tt.rules...); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What is said names what has to be looked at, and no more.
func TestLintSaysWhy(t *testing.T) {
	for name, c := range map[string]struct{ rules, want string }{
		"the two that contradict": {`{name: a, when: 'ip.vpn && ip.asn > 10 && ip.country == "US" && ip.country == "DE"', then: block}`,
			"a never matches: its condition cannot hold (ip.country)"},
		"each alternative": {`{name: a, when: 'ip.tor && ((ip.vpn && !ip.vpn) || (ip.asn < 1 && ip.asn > 1))', then: block}`,
			"a never matches: its condition cannot hold (ip.asn, ip.vpn)"},
		"a constant": {`{name: a, when: 'ip.tor && false', then: block}`, "a never matches: its condition cannot hold (a constant)"},
		"the exception": {`{name: a, when: 'ip.vpn && ip.asn == 5', unless: ip.asn > 4, then: block}`,
			"a never matches: whenever its condition holds, so does its exception (ip.asn)"},
		"one other": {`{name: a, when: ip.tor, then: step_up}, {name: b, when: ip.tor || ip.vpn, then: block}, {name: c, when: ip.asn == 1, then: block}`,
			"a changes no verdict: wherever it matches, so does b (line 2), which is at least as strict"},
		"several others": {`{name: a, when: ip.vpn && ip.tor, then: block}, {name: b, when: ip.vpn && !ip.tor, then: block}, {name: c, when: ip.vpn, then: step_up}`,
			"c changes no verdict: wherever it matches, so does one of a (line 2), b (line 2), which is at least as strict"},
	} {
		t.Run(name, func(t *testing.T) {
			var said []string
			for _, f := range lintOf(t, "rules: ["+c.rules+"]\n") {
				if f.Code == "unreachable-rule" || f.Code == "subsumed-rule" {
					said = append(said, f.Message)
				}
				if f.Fix == "" || f.Excerpt == "" || f.File != "p.yaml" {
					t.Errorf("incomplete: %#v", f)
				}
			}
			if got := strings.Join(said, "\n"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// An invariant that says nothing of the rules is named, with its reason.
func TestLintNamesVacuousInvariants(t *testing.T) {
	found := lintOf(t, `
rules: [{name: vpn, when: ip.vpn, then: block}]
invariants:
  - {name: says-something, always: block, when: ip.vpn}
  - {name: never-holds, always: block, when: ip.asn > 5 && ip.asn < 4}
  - {name: no-rule, always: step_up, when: 'session.level == "signed_in" && request.purpose == "access"'}
`)
	var got []string
	for _, f := range found {
		if f.Code == "vacuous-invariant" {
			got = append(got, fmt.Sprintf("%d:%d %s %s", f.Line, f.Column, f.Severity, f.Message))
		}
	}
	want := []string{"6:12 warning the invariant never-holds is vacuous: there is no request", "7:12 note the invariant no-rule is vacuous: it would hold without any rule"}
	if len(got) != len(want) || !strings.HasPrefix(got[0], want[0]) || !strings.HasPrefix(got[1], want[1]) {
		t.Errorf("%q", got)
	}
}

// A search that was given up is said, beside what it found.
func TestLintSaysWhatItDoesNotKnow(t *testing.T) {
	const source = "version: 1\nrules: [{name: a, when: ip.vpn, then: block}, {name: b, when: ip.vpn, then: block}]\n"
	loaded, err := load.Read(policy.Config{Name: "p.yaml", Source: []byte(source)})
	if err != nil {
		t.Fatal(err)
	}
	l := &linter{policy: loaded.Policy, document: loaded.Document, rules: loaded.Policy.Model().Rules}
	l.idle([]prove.IdleRule{{Rule: 1, By: []int{0}}}, errors.New("there is no time"))
	found := l.found
	var codes []string
	for _, f := range found {
		codes = append(codes, f.Code)
	}
	if got := strings.Join(codes, " "); !strings.Contains(got, "rules-undecided") || !strings.Contains(got, "subsumed-rule") || !strings.Contains(found[len(found)-1].Message, "there is no time") {
		t.Errorf("%v", found)
	}
}

// Lint answers in bounded time for a policy larger than any that people write.
func TestLintIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("lists:\n")
	for i := range 10 {
		fmt.Fprintf(&b, "  l%d: [", i)
		for j := range 2500 {
			fmt.Fprintf(&b, "%d, ", j*(i+1))
		}
		b.WriteString("]\n")
	}
	b.WriteString("rules:\n")
	for i := range 500 {
		fmt.Fprintf(&b, "  - {name: r%d, when: 'ip.asn in lists.l%d && ip.asn != %d && ip.vpn', then: step_up}\n", i, i%10, i)
	}
	began := time.Now()
	lintOf(t, b.String())
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}
