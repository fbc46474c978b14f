package prove

import (
	"strings"
	"testing"

	"sallyport/policy"
)

// Those who can mend a policy must get in under any policy, but for what is named.
func TestNeverBlock(t *testing.T) {
	const glass = `'"break-glass" in user.groups'`
	spared := `when: 'ip.tor && !("break-glass" in user.groups)', then: block`
	for name, c := range map[string]struct {
		rules, except, top string
		want               Status
	}{
		"no rule blocks":                   {"{name: a, when: ip.vpn, then: step_up}", "", "", Proven},
		"a rule that spares them":          {"{name: a, " + spared + "}", "", "", Proven},
		"a rule with that exception":       {"{name: a, when: ip.tor, unless: " + glass + ", then: block}", "", "", Proven},
		"a rule that does not":             {"{name: a, when: ip.tor, then: block}", "", "", Refuted},
		"it may":                           {"{name: a, when: ip.tor, then: block}", "a", "", Proven},
		"it may, and another may not":      {"{name: a, when: ip.tor, then: block}\n  - {name: b, when: ip.vpn, then: block}", "a", "", Refuted},
		"it reports":                       {"{name: a, when: ip.tor, then: block, mode: report}", "", "", Proven},
		"for a tenth of the people":        {"{name: a, when: 'user.started_days < 30', then: block, enforce: {percent: 10}}", "", "", Refuted},
		"for none of the people":           {"{name: a, when: ip.tor, then: block, enforce: {percent: 0}}", "", "", Proven},
		"for another group":                {"{name: a, when: ip.tor, then: block, enforce: {groups: [staff]}}", "", "", Refuted},
		"other people alone":               {"{name: a, when: 'ip.tor && user.groups == []', then: block}", "", "", Proven},
		"a sum that does":                  {"{name: a, when: ip.tor, score: 5}\n  - {name: b, when: ip.vpn, score: 5}", "", "thresholds: {block: 10}\n", Refuted},
		"a sum that does, partly excepted": {"{name: a, when: ip.tor, score: 5}\n  - {name: b, when: ip.vpn, score: 5}", "a", "thresholds: {block: 10}\n", Refuted},
		"a sum that may":                   {"{name: a, when: ip.tor, score: 5}\n  - {name: b, when: ip.vpn, score: 5}", "a, b", "thresholds: {block: 10}\n", Proven},
		"a sum that cannot":                {"{name: a, when: ip.tor, score: 5}", "", "thresholds: {block: 10}\n", Proven},
		"missing data":                     {"{name: a, when: ip.tor, then: step_up}", "", "missing_data: block\n", Refuted},
		"a condition that can fail":        {`{name: a, when: 'time.hour(user.time_zone) == 3 && time.hour(user.time_zone) == 4', then: block}`, "", "", Refuted},
		"another reading of the path":      {`{name: a, when: 'request.path == "/admin" && request.path == "/admin/x"', then: block}`, "", "", Undecided},
		"another reading of the address":   {"{name: a, when: 'ip.country == \"KP\" && ip.country == \"IR\"', then: block}", "", "", Undecided},
		"readings, and they are spared":    {`{name: a, when: 'request.path.startsWith("/admin") || ip.country == "KP"', unless: ` + glass + ", then: block}", "", "", Proven},
	} {
		except := ""
		if c.except != "" {
			except = ", except: [" + c.except + "]"
		}
		p, err := policy.Compile(policy.Config{Name: "p.yaml", Source: []byte("version: 1\n" + c.top + "rules:\n  - " + c.rules + "\ninvariants:\n  - {name: glass, never: block" + except + ", when: " + glass + "}\n")})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r := Check(p)[0]
		if r.Status != c.want || r.Vacuous {
			t.Errorf("%s: %s (vacuous %v), %s", name, r.Status, r.Vacuous, r.Reason)
		}
		if r.Status == Refuted && (r.Decision.Action != policy.Block || !strings.Contains(r.Test, "break-glass")) {
			t.Errorf("%s: %+v\n%s", name, r.Decision, r.Test)
		}
	}
}

// The entry that refutes a claim fails until the rules are mended, and passes then, also where
// another rule asks.
func TestNeverBlockEntry(t *testing.T) {
	const glass = `'"break-glass" in user.groups'`
	for name, c := range map[string]struct{ asks, want string }{
		"nothing else":      {"", "allow"},
		"a question":        {"  - {name: ask, when: ip.vpn, then: step_up}\n", "step_up"},
		"one that is not":   {"  - {name: ask, when: '!ip.vpn', then: step_up}\n", "allow"},
		"one that reports":  {"  - {name: ask, when: ip.vpn, then: step_up, mode: report}\n", "allow"},
		"an older question": {"  - {name: ask, when: session.age >= duration(\"0s\"), then: step_up, require: [device_bound]}\n", "step_up"},
	} {
		rules := func(unless string) string {
			return "rules:\n" + c.asks + "  - {name: vpn, when: ip.vpn, " + unless + "then: block}"
		}
		entry := Check(compile(t, rules("")+"\ninvariants:\n  - {name: glass, never: block, when: "+glass+"}"))[0].Test
		if !strings.Contains(entry, "{action: "+c.want+"}") {
			t.Errorf("%s: %s", name, entry)
		}
		for unless, passes := range map[string]bool{"": false, "unless: " + glass + ", ": true} {
			if r := pasted(t, compile(t, rules(unless)), rules(unless), entry); r.Passed != passes {
				t.Errorf("%s, %q: %+v\n%s", name, unless, r, entry)
			}
		}
	}
}
