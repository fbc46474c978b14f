package policy

import (
	"strings"
	"testing"
)

// A pattern that is not anchored matches inside a longer text.
func TestAttackPatternWithoutAnchors(t *testing.T) {
	for _, pattern := range []string{"admin", "^admin", "admin$", "^a|b$"} {
		d := diagnose(t, "version: 1\nrules: [{name: a, then: block, when: 'user.name.matches(\""+pattern+"\")'}]")
		if !strings.Contains(d[0].Message, "not anchored") || d[0].Line != 2 || d[0].Column != 57 {
			t.Errorf("%s: %v", pattern, d)
		}
	}
	mustCompile(t, `rules: [{name: a, then: block, when: 'user.name.matches("^(a|b)$")'}]`)
}

// A policy file that is empty, misspelt, or locks everyone out is not loaded.
func TestAttackEmptyOrMisspeltPolicy(t *testing.T) {
	rule := "[{name: a, when: ip.vpn, then: block}]"
	for name, source := range map[string]string{
		"empty":                  "",
		"blank":                  "\n\n",
		"comments":               "# version: 1\n",
		"null":                   "null\n",
		"only a version":         "version: 1\n",
		"rules null":             "version: 1\nrules:\n",
		"rules empty":            "version: 1\nrules: []\n",
		"rules a mapping":        "version: 1\nrules: {a: b}\n",
		"key misspelt":           "version: 1\nrule: " + rule + "\n",
		"a second, empty":        "version: 1\nrules: " + rule + "\n---\n",
		"cut off":                "version: 1\nrules: [{name: a, when: ip.vpn, th",
		"rule key misspelt":      "version: 1\nrules: [{name: a, when: ip.vpn, then: block, unles: ip.tor}]\n",
		"locks everybody out":    "version: 1\nrules: [{name: a, when: true, then: block}]\n",
		"locks out, in disguise": "version: 1\nrules: [{name: a, when: 'size(\"x\") == 1 || 2 in [1]', then: block}]\n",
		"NUL":                    "version: 1\x00\nrules: " + rule,
		"not UTF-8":              "version: 1\nrules: [{name: \xff, when: ip.vpn, then: block}]",
	} {
		t.Run(name, func(t *testing.T) { diagnose(t, source) })
	}
	// What is limited, or only asks, is a person's intention.
	mustCompile(t, "rules: [{name: closed, when: true, routes: [treasury], then: block}]")
	mustCompile(t, "rules: [{name: hourly, when: true, then: step_up, max_age: 1h}]")
	mustCompile(t, "rules: [{name: what-if, when: true, then: block, mode: report}]")
}

// Being somewhere is not being a known person. No rule lets anyone in.
func TestAttackNoRuleGrantsAccess(t *testing.T) {
	d := diagnose(t, "version: 1\nlists: {offices: [192.0.2.0/24]}\nrules: [{name: office, when: ip.within(lists.offices), then: allow}]")
	if !strings.Contains(d[0].Message, "cannot allow") {
		t.Error(d)
	}
	p := mustCompile(t, "lists: {offices: [192.0.2.0/24]}\nrules: [{name: abroad, when: ip.vpn, unless: ip.within(lists.offices), then: block}]",
		func(c *Config) { c.Grants = map[string]Grant{"treasury": {Groups: []string{"treasury"}}} })
	if d := p.Decide(facts(nobody, route("treasury"))); d.Action != StepUp {
		t.Errorf("nobody in the office: %+v", d)
	}
	if d := p.Decide(facts(route("treasury"))); d.Action != Block {
		t.Errorf("a stranger in the office: %+v", d)
	}
}
