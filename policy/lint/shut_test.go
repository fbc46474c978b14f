package lint

import (
	"strings"
	"testing"
	"time"
)

// Rules that block every person at one of the moments that there are.
func TestLintBlocksEveryPerson(t *testing.T) {
	const everywhere, soon, signing, showing = "a blocks every person: ", "a blocks every person as soon as", "a blocks every person while they sign in", "a blocks every person while they show"
	for _, tt := range []struct{ name, rule, want string }{
		{"all requests of tools", when(`request.purpose == "access"`, "then: block"), everywhere},
		{"all but enrolling", when(`request.purpose != "enroll"`, "then: block"), everywhere},
		{"signing in", when(`request.purpose == "sign_in"`, "then: block"), signing},
		{"showing a passkey", when(`request.purpose == "step_up"`, "then: block"), showing},
		{"each route", when(`request.route in ["wiki", "treasury"]`, "then: block"), everywhere},
		{"those who are verified", when(`session.level == "verified"`, "then: block"), everywhere},
		{"those who are not yet", when(`session.level != "verified"`, "then: block"), soon},
		{"those who are not yet, on a route", when(`session.level == "signed_in"`, "routes: [wiki], then: block"), "a blocks every person on wiki as soon as"},
		{"an index that no list has", when(`user.groups[-1] == "ops"`, "then: block"), "a matches every request"},
		{"a division by zero", when(`user.started_days / 0 > 1`, "then: block"), "a matches every request"},
		{"a remainder of zero", when(`5 < ip.asn % 0 + 1`, "then: block"), "a matches every request"},
		{"a time that has passed", when(`time.now > timestamp("2020-01-01T00:00:00Z")`, "then: block"), everywhere},
		{"the same, turned", when(`!(time.now < timestamp("2020-01-01T00:00:00Z"))`, "then: block"), everywhere},
		{"an address has letters", when(`size(user.email) > 0`, "then: block"), "a matches every request"},
		{"and some more", when(`size(user.email) >= 3`, "then: block"), "a matches every request"},
		{"any address", when(`user.email.matches("^.*$")`, "then: block"), "a matches every request"},
		{"any address with its @", when(`user.email.matches("^[^@]+@[^@]+$")`, "then: block"), "a matches every request"},
		{"an @", when(`user.email.contains("@")`, "then: block"), "a matches every request"},
		{"in small letters", when(`user.email.lowerAscii() != ""`, "then: block"), "a matches every request"},
		{"no capitals", when(`!user.email.matches("^.*[A-Z].*$")`, "then: block"), "a matches every request"},
		{"a person has a number", when(`user.subject.matches("^.+$") || size(user.subject) != 0`, "then: block"), "a matches every request"},
		{"any path", when(`request.path.startsWith("/")`, "then: block"), "a matches every request"},
		{"any path, as a pattern", when(`request.path.matches("^/.*$")`, "then: block"), "a matches every request"},
		{"a fact and itself", when(`ip.country == ip.country`, "then: block"), "a matches every request"},
		{"a number and itself", when(`ip.asn <= ip.asn`, "then: block"), "a matches every request"},
		{"what nothing provides", when(`!tls.client_cert`, "then: block"), everywhere},
		{"a text that nothing provides", when(`tls.ja4 == ""`, "then: block"), everywhere},
		{"days that nothing provides", when(`user.started_days < 0`, "then: block"), everywhere},
		{"by an exception that is never so", when(`ip.vpn || !ip.vpn`, "unless: tls.client_cert, then: block"), everywhere},
		{"between them", when(`request.path.startsWith("/a")`, "then: block") + `, {name: b, when: '!request.path.startsWith("/a") && session.level == "verified"', then: block}`, "every person is blocked: one of these rules"},
		{"by points", when(`request.purpose == "access"`, "score: 50"), "every person is blocked: for each request"},

		{"one route", when(`request.route == "wiki"`, "then: block"), ""},
		{"one route, by its key", when(`true`, "routes: [wiki], then: block"), ""},
		{"a time to come", when(`time.now > timestamp("2040-01-01T00:00:00Z")`, "then: block"), ""},
		{"only enrolling", when(`request.purpose == "enroll"`, "then: block"), ""},
		{"asked", when(`session.level != "verified"`, "then: step_up"), ""},
		{"reported", when(`request.purpose == "access"`, "then: block, mode: report"), ""},
		{"for some", when(`request.purpose == "access"`, "then: block, enforce: {percent: 50}"), ""},
		{"some addresses", when(`user.email.matches("^.*@example.com$")`, "then: block"), ""},
		{"some paths", when(`request.path.startsWith("/a")`, "then: block"), ""},
		{"long addresses", when(`size(user.email) > 5`, "then: block"), ""},
		{"a division that can be made", when(`user.started_days / 7 > 1`, "then: block"), ""},
		{"an entry that may be there", when(`size(user.groups) > 0 && user.groups[0] == "ops"`, "then: block"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			thresholds := ""
			if strings.Contains(tt.rule, "score") {
				thresholds = "thresholds: {block: 50}\n"
			}
			got := ""
			for _, f := range lintOf(t, thresholds+"rules: ["+tt.rule+"]", func(c *Config) {
				c.Now = func() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) }
				c.NoSource = map[string]string{"tls.client_cert": "x", "tls.ja4": "x", "user.started_days": "x"}
			}) {
				if f.Severity == Error {
					got += f.Message + "\n"
				}
			}
			if !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") || strings.Count(got, "\n") > 1 {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What always holds, or never, is often && for ||, or || for &&: lintOf tries what is to be written instead.
func TestLintKnowsWhatIsMeant(t *testing.T) {
	for _, tt := range []struct{ when, want string }{
		{`!ip.within("10.0.0.0/8") || !ip.within("192.168.0.0/16")`, `!ip.within("10.0.0.0/8") && !ip.within("192.168.0.0/16")`},
		{`ip.country != "US" || ip.country != "GB" || ip.tor`, `ip.tor || (ip.country != "ZZ" && ip.country != "US" && ip.country != "GB")`},
		{`user.email != "a@example.com" || user.email != "b@example.com"`, `!(user.email in ["a@example.com", "b@example.com"])`},
		{`ip.vpn || !ip.vpn`, ""},
		{`ip.country == "US" && ip.country == "CA"`, `ip.country in ["US", "CA"]`},
		{`time.hour("UTC") >= 18 && time.hour("UTC") <= 6`, `time.hour("UTC") >= 18 || time.hour("UTC") <= 6`},
		{`session.age > duration("8h") && session.age < duration("1h")`, `session.age > duration("8h") || session.age < duration("1h")`},
		{`ip.country == "US" && ip.asn == 5 && ip.asn == 6`, ""},
	} {
		t.Run(tt.when, func(t *testing.T) {
			got := ""
			for _, f := range lintOf(t, "rules: ["+when(tt.when, "then: block")+"]") {
				if f.Code == "always-matches" || f.Code == "unreachable-rule" {
					got = f.Write
				}
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
