package lint

import (
	"strings"
	"testing"

	"sallyport/policy"
)

func TestLintImpassable(t *testing.T) {
	for _, tt := range []struct{ name, rule, want string }{
		{"a second", when("ip.vpn", "then: step_up, max_age: 1s"), "impassable-max-age warning"},
		{"nine", when("ip.vpn", "then: step_up, max_age: 9s"), "impassable-max-age warning"},
		{"reported", when("ip.vpn", "then: step_up, max_age: 1s, mode: report"), "impassable-max-age note"},
		{"for some", when("ip.vpn", "then: step_up, max_age: 1s, enforce: {percent: 10}"), "impassable-max-age warning"},
		{"ten", when("ip.vpn", "then: step_up, max_age: 10s"), ""},
		{"as ever", when("ip.vpn", "then: step_up"), ""},
		{"a block", when("ip.vpn", "then: block"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := codes(t, tt.rule, "impassable-max-age"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	for thresholds, want := range map[string]bool{"step_up: 5, max_age: 2s": true, "step_up: 5": false, "block: 5, max_age: 2s": false} {
		found := lintOf(t, "thresholds: {"+thresholds+"}\nrules: ["+when("ip.vpn", "score: 5")+"]\n")
		if got := has(found, "impassable-max-age"); got != want {
			t.Errorf("thresholds %s: %v", thresholds, got)
		}
	}
}

func TestLintExceptWithoutRule(t *testing.T) {
	for except, want := range map[string]bool{"[a]": false, "[b]": true, "[a, b]": true} {
		found := lintOf(t, "rules: ["+when("ip.vpn", "then: block")+"]\n", func(c *Config) {
			c.Policy.Pinned = &policy.Pinned{Name: "pinned.yaml", Source: []byte("version: 1\ninvariants:\n  - {name: glass, never: block, except: " + except + ", when: '\"ops\" in user.groups'}\n")}
		})
		if got := has(found, "except-without-rule"); got != want {
			t.Errorf("%s: %v", except, got)
		}
		for _, f := range found {
			if f.Code == "except-without-rule" && (f.File != "pinned.yaml" || f.Line != 3 || f.Excerpt == "" || !strings.Contains(f.Message, "the rule b,")) {
				t.Errorf("%+v", f)
			}
		}
	}
}

func has(found []Finding, code string) bool {
	for _, f := range found {
		if f.Code == code {
			return true
		}
	}
	return false
}
