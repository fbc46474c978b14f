package company

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

// conditionsOn are conditions on a fact of any kind: one that is likely, and one that is
// not.
func conditionsOn(f expr.Fact) []string {
	switch f.Kind {
	case expr.Bool:
		return []string{f.Name, "!" + f.Name}
	case expr.Int, expr.Double:
		number := map[expr.Kind]string{expr.Int: "7919", expr.Double: "7919.5"}[f.Kind]
		return []string{f.Name + " != " + number, f.Name + " == " + number, f.Name + " == 4"}
	case expr.Duration:
		return []string{f.Name + ` != duration("7919s")`, f.Name + ` == duration("7919s")`}
	case expr.Time:
		return []string{f.Name + ` > timestamp("2001-01-01T00:00:00Z")`, f.Name + ` < timestamp("2001-01-01T00:00:00Z")`}
	}
	return []string{"size(" + f.Name + ") < 200", "size(" + f.Name + ") == 201"}
}

// A rule over any fact there is is exercised, or said not to be: there is no zero without
// a word.
func TestEveryFactIsExercisedOrSaidNotToBe(t *testing.T) {
	var source strings.Builder
	source.WriteString("version: 1\nrules:\n")
	facts := map[string]string{} // by rule
	for i, f := range policy.FactSchema().Facts() {
		for j, when := range conditionsOn(f) {
			p := fmt.Sprintf("version: 1\nrules:\n  - {name: a, then: block, mode: report, when: '%s'}\n", when)
			if _, err := policy.Compile(policy.Config{Source: []byte(p)}); err != nil {
				continue // the compiler says already that it never holds
			}
			name := fmt.Sprintf("r%d-%d", i, j)
			fmt.Fprintf(&source, "  - {name: %s, then: block, mode: report, when: '%s'}\n", name, when)
			facts[name] = f.Name
		}
	}
	s := summary(t, Config{Policy: compile(t, source.String()), Days: 4, Seed: 3}, 1)
	covered := map[string]bool{}
	for _, r := range s.Rules {
		fact := facts[r.Name]
		covered[fact] = true
		for side, x := range map[string]struct {
			e   *Effect
			why string
		}{"honest": {r.Honest, r.NotExercised.Honest}, "hostile": {r.Hostile, r.NotExercised.Hostile}} {
			switch {
			case (x.e == nil) != (x.why != ""):
				t.Errorf("%s over %s: %s: effect %v, and not exercised %q", r.Name, fact, side, x.e, x.why)
			case x.e == nil && (!strings.Contains(x.why, "reads "+fact) || !slices.Contains(r.NotExercised.Facts, fact)):
				t.Errorf("%s over %s: %s does not name the fact: %q", r.Name, fact, side, x.why)
			case x.e != nil && x.e.Ever.N == 0:
				t.Errorf("%s over %s: %s: one condition that held, and a zero: %+v", r.Name, fact, side, *x.e)
			}
		}
	}
	for _, f := range policy.FactSchema().Facts() {
		if !covered[f.Name] {
			t.Errorf("no rule over %s could be made", f.Name)
		}
	}
	var text bytes.Buffer
	if err := s.Text(&text); err != nil {
		t.Fatal(err)
	}
	if zero := regexp.MustCompile(`\b0\.0+ ?%`).FindString(text.String()); zero != "" {
		t.Errorf("%q in\n%s", zero, &text)
	}
}

func TestNotExercised(t *testing.T) {
	m := small()
	m.Groups = map[string]float64{"ops": 0.5}
	m.Routes = map[string]float64{"wiki": 1}
	for _, tt := range []struct{ rule, why, never string }{
		{`when: '"admins" in user.groups'`, `reads user.groups; no request has "admins" in user.groups`, ""},
		{`when: '"ops" in user.groups'`, "", ""},
		{`when: 'ip.country == "AQ"'`, `reads ip.country; no request has ip.country == "AQ"`, ""},
		{`when: 'ip.asn == 64999 && ip.country != "AQ"'`, `reads ip.asn; no request has ip.asn == 64999`, ""},
		{`when: 'ip.tor'`, "reads ip.tor (always false); no request has ip.tor", ""},
		{`when: 'ip.country == "AQ" || ip.tor'`, `reads ip.country, ip.tor (always false); no request has ip.country == "AQ" || ip.tor`, ""},
		{`when: '!(seen.known && ip.country != "AQ")'`, `reads seen.known (always true), ip.country; no request has !seen.known || !(ip.country != "AQ")`, ""},
		{`when: 'true', unless: 'user.email.endsWith("example.com")'`, `reads user.email; no request has !user.email.endsWith("example.com")`, ""},
		{`when: 'true', unless: '"admins" in user.groups'`, "", `"admins" in user.groups`},
		{`when: 'ip.tor || ip.version == 4'`, "", "ip.tor"},
		{`when: 'ip.country == "AQ" ? ip.vpn : ip.version == 4'`, "", `ip.country == "AQ"`},
		{`when: 'ip.version == 4', routes: [payroll]`, `reads request.route (always "wiki"); no request has request.route in ["payroll"]`, ""},
		{`when: 'ip.version == 4', routes: [wiki]`, "", ""},
		{`when: 'ip.version == 4', enforce: {groups: [admins]}`, "", `user.groups.exists(g, g in ["admins"])`},
		{`when: 'user.countries.exists(c, c == ip.country) && ip.country == "AQ"'`, `reads ip.country; no request has ip.country == "AQ"`, ""},
		{`when: 'request.path.startsWith("/Payments")'`, "", ""}, // the path as tools read it
		{`when: 'request.purpose == "enroll"'`, `reads request.purpose (always "access"); no request has request.purpose == "enroll"`, ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			p, err := policy.Compile(policy.Config{Source: []byte("version: 1\nrules: [{name: a, then: block, " + tt.rule + "}]"), Routes: []string{"wiki", "payroll"}})
			if err != nil {
				t.Fatal(err)
			}
			s := summary(t, Config{Policy: p, Days: 4, Model: m, Routes: routes("wiki", "payroll")}, 1)
			r := s.Rules[0]
			if r.NotExercised.Honest != tt.why || (r.Honest == nil) != (tt.why != "") {
				// Where the rule can match, it is enough that it does.
				if tt.why != "" || r.Honest == nil || r.Honest.Ever.N == 0 {
					t.Errorf("got %q, effect %+v", r.NotExercised.Honest, r.Honest)
				}
			}
			if tt.never != "" && !slices.Contains(r.NotExercised.Never, tt.never) {
				t.Errorf("never: %q", r.NotExercised.Never)
			}
		})
	}
}

// Where people are, through whose VPN, how often they enrol and which prompts they leave: a
// rule about each has a figure for ordinary people, and none for what no request has.
func TestOrdinarySources(t *testing.T) {
	conditions := []string{
		`user.region != "" && ip.region != "" && ip.region != user.region`, `user.home_km > 500`, `user.home_km < 0`, `user.home_km == 0`,
		`ip.provider == "Mullvad"`, `address.enrolments_30d >= 1`, `device.enrolments_30d >= 1`, `seen.abandoned_step_ups_24h >= 1`,
	}
	var source strings.Builder
	source.WriteString("version: 1\nrules:\n")
	for i, c := range conditions {
		fmt.Fprintf(&source, "  - {name: r%d, then: block, mode: report, when: '%s'}\n", i, c)
	}
	fmt.Fprintf(&source, "  - {name: never, then: block, mode: report, when: 'ip.provider == \"Elsewhere VPN\"'}\n")
	m := DefaultModel()
	m.Contractors = 0.3
	s := summary(t, Config{Policy: compile(t, source.String()), Days: 21, Seed: 3, Model: m}, 1)
	for i, r := range s.Rules {
		switch {
		case r.Name == "never":
			if r.Honest != nil || r.NotExercised.Honest == "" {
				t.Errorf("%+v", r)
			}
		case r.Honest == nil || r.Honest.Ever.N == 0:
			t.Errorf("%s: %+v, not exercised %q", conditions[i], r.Honest, r.NotExercised.Honest)
		}
	}
	m.PromptLeft, m.NewPasskey, m.Joining, m.Thefts = 0, 0, 0, 0
	s = summary(t, Config{Policy: compile(t, source.String()), Days: 7, Seed: 3, Model: m}, 1)
	for _, i := range []int{5, 6, 7} {
		if s.Rules[i].Honest != nil {
			t.Errorf("%s: %+v of a company in which that never happens", conditions[i], s.Rules[i].Honest)
		}
	}
}

// What holds for attackers only says nothing about those who belong here.
func TestExercisedOnOneSideOnly(t *testing.T) {
	s := summary(t, Config{Policy: compile(t, `version: 1
rules: [{name: a, then: block, when: 'ip.country == "KP"'}]`), Days: 30}, 2)
	r := s.Rules[0]
	if r.Honest != nil || r.Hostile == nil || r.Hostile.Ever.N == 0 || r.NotExercised.Honest == "" || r.NotExercised.Hostile != "" {
		t.Errorf("%+v", r)
	}
}

// Each condition held, never both: a zero, with the most that it can mean.
func TestZeroHasABound(t *testing.T) {
	s := summary(t, Config{Policy: compile(t, `version: 1
rules: [{name: a, then: block, when: 'ip.version == 4 && ip.org.contains("access") && ip.address.contains(":")'}]`), Days: 4}, 2)
	e := s.Rules[0].Honest
	if e == nil || e.Ever.N != 0 || e.Ever.Of != 48 || e.Ever.AtMost != 3.0/48 {
		t.Fatalf("%+v", e)
	}
	var text bytes.Buffer
	if err := s.Text(&text); err != nil || strings.Count(text.String(), "0 of 48 (<6.25 %)") < 2 {
		t.Errorf("%v\n%s", err, &text)
	}
}

// A question is credited to the rule without which it would not be, and to none if two
// rules ask it.
func TestCredit(t *testing.T) {
	const always = `when: 'ip.version == 4', then: block`
	effect := func(rules string) (alone, also []float64) {
		s := summary(t, Config{Policy: compile(t, "version: 1\n"+rules), Days: 7}, 1)
		for _, r := range s.Rules {
			alone, also = append(alone, r.Honest.People.Mean), append(also, r.Honest.AlsoMatched.Mean)
		}
		return alone, also
	}
	one, _ := effect("rules:\n  - {name: a, " + always + "}")
	if one[0] == 0 {
		t.Fatal("the rule meets no one")
	}
	for name, tt := range map[string]struct {
		rules       string
		alone, also []bool
	}{
		"two alike":       {"rules:\n  - {name: a, " + always + "}\n  - {name: b, " + always + "}", []bool{false, false}, []bool{true, true}},
		"in report mode":  {"rules:\n  - {name: a, mode: report, " + always + "}", []bool{true}, []bool{false}},
		"report beside":   {"rules:\n  - {name: a, mode: report, " + always + "}\n  - {name: b, " + always + "}", []bool{false, true}, []bool{true, false}},
		"weaker beside":   {"rules:\n  - {name: a, when: 'ip.version == 4', then: step_up, max_age: 1s}\n  - {name: b, " + always + "}", []bool{false, true}, []bool{true, false}},
		"scores together": {"thresholds: {block: 10}\nrules:\n  - {name: a, when: 'ip.version == 4', score: 6}\n  - {name: b, when: 'ip.version == 4', score: 6}", []bool{true, true}, []bool{false, false}},
		"scores to spare": {"thresholds: {block: 5}\nrules:\n  - {name: a, when: 'ip.version == 4', score: 6}\n  - {name: b, when: 'ip.version == 4', score: 6}", []bool{false, false}, []bool{true, true}},
	} {
		alone, also := effect(tt.rules)
		for i := range tt.alone {
			if (alone[i] > 0) != tt.alone[i] || (also[i] > 0) != tt.also[i] {
				t.Errorf("%s: rule %d: alone %v, also %v", name, i, alone, also)
			}
			if tt.alone[i] && alone[i] != one[0] {
				t.Errorf("%s: rule %d: %v people, alone %v", name, i, alone[i], one[0])
			}
		}
	}
}
