package policy

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func lintOf(t testing.TB, source string, with ...func(*LintConfig)) []Finding {
	t.Helper()
	c := LintConfig{Config: Config{Name: "p.yaml", Source: []byte("version: 1\n" + source), Routes: []string{"treasury", "wiki"}}}
	for _, f := range with {
		f(&c)
	}
	found, err := Lint(c)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

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
		if f.Code == "unreachable-rule" || f.Code == "shadowed-rule" {
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
		{"no such hour", []string{rule("a", `time.hour("UTC") > 23`, "then: block")}, "unreachable-rule 4:22"},
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

		{"the same twice", []string{rule("a", "ip.vpn", "then: block"), rule("b", "ip.vpn", "then: block")}, "shadowed-rule 5:12"},
		{"the same, stricter later", []string{rule("a", "ip.vpn", "then: step_up"), rule("b", "ip.vpn", "then: block")}, "shadowed-rule 4:12"},
		{"narrower", []string{rule("a", "ip.vpn", "then: block"), rule("b", `ip.asn == 5 && ip.vpn`, "then: block")}, "shadowed-rule 5:12"},
		{"narrower numbers", []string{rule("a", "ip.asn > 5", "then: block"), rule("b", `ip.asn > 5 && ip.asn != 6 && ip.tor`, "then: block")}, "shadowed-rule 5:12"},
		{"two bounds together", []string{rule("a", "ip.asn in [6, 7]", "then: block"), rule("b", `ip.asn > 5 && ip.asn < 8`, "then: block")}, "shadowed-rule 5:12"},
		{"a smaller list", []string{rule("a", `ip.country in ["KP", "IR"]`, "then: block"), rule("b", `ip.country == "KP"`, "then: step_up")}, "shadowed-rule 5:12"},
		{"one alternative of another", []string{rule("a", `ip.vpn || ip.tor`, "then: block"), rule("b", `ip.tor`, "then: block")}, "shadowed-rule 5:12"},
		{"the wider exception", []string{rule("a", `ip.vpn`, "unless: 'ip.relay', then: block"), rule("b", `ip.vpn`, "unless: 'ip.relay || ip.private', then: block")}, "shadowed-rule 5:12"},
		{"the narrower exception is no shadow", []string{rule("a", `ip.vpn`, "unless: 'ip.relay || ip.private', then: block"), rule("b", `ip.vpn`, "unless: 'ip.relay', then: step_up")}, ""},
		{"a milder one is no shadow", []string{rule("a", "ip.vpn", "then: step_up"), rule("b", `ip.vpn && ip.asn == 5`, "then: block")}, ""},
		{"nor is a longer age", []string{rule("a", "ip.vpn", "then: step_up, max_age: 1h"), rule("b", `ip.vpn && ip.asn == 5`, "then: step_up, max_age: 5m")}, ""},
		{"a shorter age is", []string{rule("a", "ip.vpn", "then: step_up, max_age: 1m"), rule("b", `ip.vpn && ip.asn == 5`, "then: step_up, max_age: 5m")}, "shadowed-rule 5:12"},
		{"not without the requirement", []string{rule("a", "ip.vpn", "then: step_up"), rule("b", `ip.vpn && ip.asn == 5`, "then: step_up, require: [device_bound]")}, ""},
		{"not for a question about the network", []string{rule("a", `session.concurrent > 1`, "then: step_up"), rule("b", `session.concurrent > 1 && ip.vpn`, "then: step_up")}, ""},
		{"what only reports shadows nothing", []string{rule("a", "ip.vpn", "then: block, mode: report"), rule("b", "ip.vpn", "then: block")}, ""},
		{"other routes", []string{rule("a", "ip.vpn", "routes: [wiki], then: block"), rule("b", "ip.vpn", "routes: [treasury], then: block")}, ""},
		{"fewer routes", []string{rule("a", "ip.vpn", "routes: [wiki, treasury], then: block"), rule("b", "ip.vpn", "routes: [treasury], then: block")}, "shadowed-rule 5:12"},
		{"a rule that waits for a session shadows none that does not", []string{rule("a", `ip.vpn || "x" in user.groups`, "then: block"), rule("b", "ip.vpn", "then: block")}, ""},
		{"three the same", []string{rule("a", "ip.vpn", "then: block"), rule("b", "ip.vpn", "then: block"), rule("c", "ip.vpn", "then: block")}, "shadowed-rule 5:12 shadowed-rule 6:12"},
		{"scores add up", []string{rule("a", "ip.vpn", "score: 50"), rule("b", "ip.vpn", "score: 50")}, ""},
		{"a score beside a block", []string{rule("a", "ip.vpn", "then: block"), rule("b", "ip.vpn", "score: 50"), rule("c", "ip.tor", "score: 50")}, "shadowed-rule 5:12"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := lintRules(t, tt.rules...); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLintFindings(t *testing.T) {
	block := "rules: [{name: a, when: ip.vpn, then: block}, {name: old, when: ip.data_age_hours > 300, then: block}]\n"
	tests := []struct{ name, source, code, in string }{
		{"no test", block, "untested-rule", "a matches in no test"},
		{"ZZ by accident", "rules: [{name: a, when: '!(ip.country in [\"US\"])', then: block}]", "country-without-zz", "this also holds"},
		{"ZZ by accident, against a fact", "rules: [{name: a, when: '!(ip.country in user.countries)', then: block}]", "country-without-zz", "this also holds"},
		{"ZZ excepted by accident", "rules: [{name: a, when: ip.vpn, unless: 'ip.country != \"KP\"', then: block}]", "country-without-zz", "makes an exception"},
		{"ZZ passes", "rules: [{name: a, when: 'ip.country == \"KP\"', then: block}]", "unknown-country-passes", "they pass"},
		{"age", "rules: [{name: a, when: ip.vpn, then: block}]", "data-age-unconsidered", "how old"},
		{"history", "rules: [{name: a, when: seen.countries_1h > 1, then: block}]", "history-unconsidered", "cannot be read"},
		{"zero holds", "rules: [{name: a, when: 'activity.longest_break_48h < duration(\"6h\")', then: block}]", "unknown-holds", "activity.longest_break_48h is zero then"},
		{"zero excepts", "rules: [{name: a, when: ip.vpn, unless: '!seen.new_device', then: block}]", "unknown-holds", "makes an exception"},
		{"empty list", "lists: {none: []}\nrules: [{name: a, when: ip.country in lists.none, then: block}]", "empty-list", "lists.none is empty"},
		{"unused list", "lists: {embargoed: [KP]}\n" + block, "unused-list", "no rule uses lists.embargoed"},
		{"entry twice", "lists: {c: [KP, IR, KP]}\nrules: [{name: a, when: ip.country in lists.c, then: block}]", "repeated-entry", "KP is in lists.c already"},
		{"network in another", "lists: {c: [10.0.0.0/8, 10.1.0.0/16]}\nrules: [{name: a, when: ip.within(lists.c), then: block}]", "repeated-entry", "10.1.0.0/16 is inside 10.0.0.0/8"},
		{"lists overlap", "lists: {c: [KP, IR], d: [CU, KP]}\nrules: [{name: a, when: ip.country in lists.c, then: block}, {name: b, when: ip.country in lists.d, then: step_up}]", "overlapping-lists", "lists.d and lists.c overlap"},
		{"networks overlap", "lists: {c: [10.0.0.0/8], d: [10.1.0.0/16]}\nrules: [{name: a, when: ip.within(lists.c) && ip.within(lists.d), then: block}]", "overlapping-lists", "overlap"},
		{"threshold", "thresholds: {step_up: 30, block: 100}\nrules: [{name: a, when: ip.vpn, score: 60}, {name: b, when: ip.tor, score: 60, mode: report}]", "unreachable-threshold", "no score reaches 100"},
		{"threshold, of two routes", "thresholds: {step_up: 100}\nrules: [{name: a, when: ip.vpn, score: 60, routes: [wiki]}, {name: b, when: ip.tor, score: 60, routes: [treasury]}]", "unreachable-threshold", "add up to 60"},
		{"no source", "rules: [{name: a, when: user.started_days < 90, then: block}]", "fact-without-source", "nothing provides user.started_days"},
		{"hours nowhere", "rules: [{name: a, when: ip.vpn, then: step_up, every: 4h, hours: '09:00-18:00'}]", "fact-without-source", "a has hours"},
		{"no rule", block, "unused-signal", "provide ip.tor"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := lintOf(t, tt.source, func(c *LintConfig) {
				c.NoSource = map[string]string{"user.started_days": "roster", "user.time_zone": "roster"}
				c.Provides = &Provides{Signals: map[string]bool{"vpn": true, "tor": true, "country": true}}
			})
			i := slices.IndexFunc(found, func(f Finding) bool { return f.Code == tt.code && strings.Contains(f.Message, tt.in) })
			if i < 0 {
				t.Fatalf("not found in %v", found)
			}
			if f := found[i]; f.Fix == "" || f.Line < 1 || f.Column < 1 || f.Excerpt == "" || f.File != "p.yaml" {
				t.Errorf("incomplete: %#v", f)
			}
		})
	}
}

// A policy that thinks of everything has no findings.
func TestLintFindsNothing(t *testing.T) {
	found := lintOf(t, `
lists: {embargoed: [KP, IR], offices: [203.0.113.0/24]}
thresholds: {step_up: 50, block: 90}
rules:
  - {name: embargoed, when: ip.country in lists.embargoed, then: block}
  - {name: unknown, when: 'ip.country == "ZZ" && !ip.private', then: step_up}
  - {name: abroad, when: 'ip.country != "ZZ" && !(ip.country in user.countries)', unless: ip.within(lists.offices), then: step_up, max_age: 1h}
  - {name: stale, when: ip.data_age_hours > 300, score: 50}
  - {name: hasty, when: seen.countries_1h >= 2, score: 50}
  - {name: no-history, when: '!seen.known', then: step_up}
  - {name: no-break, when: 'activity.known && activity.longest_break_48h < duration("6h")', then: step_up}
tests:
  - {name: a, given: {ip: {country: KP}}, expect: {action: block}}
  - {name: b, given: {ip: {data_age_hours: 400, country: SE}, user: {countries: [US]}, seen: {countries_1h: 2}}, expect: {action: block}}
  - {name: c, given: {seen: {known: false}, activity: {longest_break_48h: 1h}}, expect: {action: step_up}}
`)
	for _, f := range found {
		t.Error(f.Text())
	}
}

// What is called unreachable never matches, and without the rules that are called shadowed the verdict is the same.
func TestPropertyLintIsCertain(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	atom := func() string {
		a := pick("ip.vpn", "ip.tor", "ip.asn > 5", "ip.asn < 3", "ip.asn in [4, 5, 6]", `ip.country == "KP"`, `ip.country in ["KP", "US"]`,
			`"ops" in user.groups`, `user.groups[0] == "ops"`, "size(user.groups) > 1", `session.level == "signed_in"`, `time.hour("UTC") > 20`,
			`time.hour(user.time_zone) > 5`, `request.purpose == "enroll"`, `credential.class != "synced"`, "ip.data_age_hours > 48", `ip.within("192.0.2.0/24")`)
		return pick("", "", "!") + "(" + a + ")"
	}
	expression := func() string { return atom() + pick(" && ", " && ", " || ") + atom() + pick(" && ", " || ") + atom() }
	unreachable, shadowed := 0, 0
	for range 150 {
		var rules []string
		for i := range 8 {
			rule := fmt.Sprintf("{name: r%d, when: '%s'", i, pick(expression(), atom(), atom()))
			if r.IntN(3) == 0 {
				rule += ", unless: '" + pick(expression(), atom()) + "'"
			}
			rule += pick("", "", ", routes: [wiki]") + pick(", then: block", ", then: step_up", ", then: step_up, max_age: 1h", ", score: 60")
			rules = append(rules, rule+"}")
		}
		head := "thresholds: {step_up: 50, block: 100}\nrules:\n  - "
		whole := policyOf(t, rules)
		dead, out := map[string]bool{}, map[string]bool{}
		for _, f := range lintOf(t, head+strings.Join(rules, "\n  - ")+"\n", func(c *LintConfig) { c.Routes = nil }) {
			switch f.Code {
			case "unreachable-rule":
				dead[f.Rule] = true
				unreachable++
			case "shadowed-rule":
				out[f.Rule] = true
				shadowed++
			}
		}
		var rest []string
		for i, rule := range rules {
			if name := fmt.Sprintf("r%d", i); !dead[name] && !out[name] {
				rest = append(rest, rule)
			}
		}
		if len(rest) == 0 {
			continue
		}
		without := policyOf(t, rest)
		for range 150 {
			f := randomFacts(r)
			f.User.TimeZone = pick("", "UTC", "Mars/Olympus")
			a, b := whole.Decide(f), without.Decide(f)
			if a.Action != b.Action || a.MaxAge != b.MaxAge || !reflect.DeepEqual(sortedStrings(a.Require), sortedStrings(b.Require)) {
				t.Fatalf("%s; without what lint found pointless (%v %v): %s\n%s", describe(a), dead, out, describe(b), strings.Join(rules, "\n"))
			}
			coverage := whole.newCoverage()
			whole.cover(coverage, f)
			for _, c := range coverage {
				if dead[c.Rule] && c.Matched > 0 {
					t.Fatalf("%s is called unreachable, and matches\n%s", c.Rule, strings.Join(rules, "\n"))
				}
			}
		}
	}
	if unreachable < 20 || shadowed < 20 {
		t.Errorf("%d unreachable, %d shadowed: too few to show anything", unreachable, shadowed)
	}
}

func sortedStrings(s []string) []string { return slices.Sorted(slices.Values(s)) }

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
	for i := range maxRules / 4 {
		fmt.Fprintf(&b, "  - {name: r%d, when: 'ip.asn in lists.l%d && ip.asn != %d && ip.vpn', then: step_up}\n", i, i%10, i)
	}
	began := time.Now()
	lintOf(t, b.String())
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}
