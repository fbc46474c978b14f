package policy

import (
	"strings"
	"testing"
)

// A comparison that never holds is a rule that never matches: the file is not loaded, and the text says
// what to write instead.
func TestComparisonsThatNeverHold(t *testing.T) {
	for _, tt := range []struct{ when, message, hint string }{
		{`ip.country == "EU"`, `ip.country is never "EU"`, "lists: {eu: [AT, BE, "},
		{`ip.country in ["CH", "eu"]`, `never "eu"`, "lists: {eu:"},
		{`ip.country == "AP"`, `never "AP"`, "a list of countries"},
		{`ip.country == "gbr"`, "never", "GB"},
		{`ip.country == "North Korea"`, "never", "KP"},
		{`handoff.country == "UK"`, "never", "GB"},
		{`ip.country.startsWith("u")`, `never begins with "u"`, "U"},
		{`ip.country.startsWith("USA")`, `never begins with "USA"`, "one of"},
		{`ip.country.matches("^(usa|uk)$")`, "never matches", "one of"},
		{`user.countries.exists(c, c.endsWith("b"))`, `never ends with "b"`, "B"},
		{`lists.eu.exists(c, c == ip.country)`, `never "uk"`, "GB"},
		{`ip.country.lowerAscii() == "US"`, "never", "us"},

		{`user.email == " bob@example.com"`, `never " bob@example.com"`, "bob@example.com"},
		{`user.email == "bob@example.com "`, "never", "bob@example.com"},
		{`user.email in ["ann@example.com", "b\u043eb@example.com"]`, "never", "ASCII"},
		{`user.email == "b\u200bob@example.com"`, "never", "ASCII"},
		{`user.email == "bob@"`, "never", "a whole address"},
		{`user.email == "bob@example..com"`, "never", "a whole address"},
		{`user.email == "Bob <bob@example.com>"`, "never", "a whole address"},
		{`user.email.endsWith("@ex\u0430mple.com")`, "never ends with", "ASCII"},
		{`user.email.endsWith("@example.com ")`, "never ends with", "@example.com"},
		{`user.email.startsWith(" bob@")`, "never begins with", "bob@"},
		{`user.email.endsWith("@Example.com")`, `never ends with "@Example.com"`, "@example.com"},
		{`user.email.contains("Contractor")`, `never contains "Contractor"`, "contractor"},
		{`lists.domains.exists(d, user.email.endsWith(d))`, `never ends with "@Partner.example"`, "@partner.example"},
		{`user.email.matches("^.*@Example[.]com$")`, "never matches", "lower case"},
		{`user.email.matches("^(Ann|Bob)@example[.]com$")`, "never matches", "lower case"},
		{`user.email.startsWith("@example.com")`, "never begins with", "endsWith"},
		{`user.email.lowerAscii().endsWith("@Example.com")`, "never ends with", "@example.com"},

		{`request.path.startsWith("admin")`, `never begins with "admin"`, "/admin"},
		{`request.path_folded == "admin"`, "never", "/admin"},
		{`request.path.matches("^admin.*$")`, "never matches", "^/"},
		{`request.path.matches("^(admin|root)$")`, "never matches", "^/"},

		{`user.time_zone == "europe/zurich"`, `never "europe/zurich"`, "Europe/Zurich"},
		{`user.time_zone == "America/New York"`, "never", "America/New_York"},
		{`user.time_zone in ["Europe/Zurich", "CEST"]`, `never "CEST"`, "IANA"},
		{`user.time_zone.startsWith("europe/")`, "never begins with", "Europe/"},
		{`time.hour("europe/zurich") < 6`, "there is no time zone", "Europe/Zurich"},

		{`request.method in ["POST", "put"]`, `never "put"`, "PUT"},
		{`request.method.startsWith("p")`, "never begins with", "P"},
		{`request.host == "pay.example.com:8443"`, "never", "pay.example.com"},
		{`request.host == "Pay.example.com"`, "never", "pay.example.com"},
		{`request.host == "https://pay.example.com/"`, "never", "pay.example.com"},
		{`request.host == "[2001:db8::1]"`, "never", "2001:db8::1"},
		{`request.host.endsWith(".example.com:8443")`, "never ends with", ".example.com"},
		{`request.host.endsWith(".Example.com")`, "never ends with", ".example.com"},
		{`request.host.startsWith("https://")`, "never begins with", "without scheme"},
		{`handoff.host == "Pay.example.com"`, "never", "pay.example.com"},
		{`session.level.startsWith("Ver")`, "never begins with", "ver"},
		{`request.route.startsWith("pay")`, "never begins with", "one of"},

		{`ip.asn == "AS123"`, "cannot compare ip.asn (a whole number)", "123"},
		{`"123" != string(ip.asn) && ip.asn == 'as9009' && ip.vpn`, "cannot compare ip.asn (a whole number)", "9009"},
		{`ip.asn in ["AS1", "AS2"]`, "cannot look for ip.asn (a whole number)", "[1, 2]"},

		{`time.hour("UTC") >= 24`, "never at least 24", "0 to 23"},
		{`23 < time.hour("UTC")`, "never more than 23", "0 to 23"},
		{`time.hour("UTC") < 0`, "never less than 0", "0 to 23"},
		{`time.hour("UTC") == -1`, `never "-1"`, "0 to 23"},
		{`time.now < timestamp("2026-02-30T00:00:00Z")`, "not a timestamp", "RFC 3339"},
		{`time.now < timestamp("2026-02-28T25:00:00Z")`, "no such day or hour", "RFC 3339"},
		{`time.now < timestamp("2026-12-31")`, "not a timestamp", "RFC 3339"},
		{`time.now < "2026-12-31"`, "cannot compare time.now (a point in time)", `timestamp("2026-12-31T00:00:00Z")`},

		{`ip.country in []`, "nothing is ever in an empty list", "entries"},
		{`!(ip.asn in [])`, "nothing is ever in an empty list", "entries"},
		{`ip.within([])`, "nothing is ever in an empty list", "entries"},
	} {
		t.Run(tt.when, func(t *testing.T) {
			source := "version: 1\nlists: {eu: [CH, uk], domains: ['@Partner.example']}\nrules:\n  - name: a\n    when: >-\n      " + tt.when + "\n    then: block\n"
			d := diagnose(t, source)[0]
			if !strings.Contains(d.Message, tt.message) || !strings.Contains(d.Expected+" "+d.Suggestion, tt.hint) || d.Line != 6 && d.Line != 2 {
				t.Errorf("got %s\nwant %q, hint %q", d.Error(), tt.message, tt.hint)
			}
		})
	}
}

// What can hold, however odd it looks, is loaded.
func TestComparisonsThatCanHold(t *testing.T) {
	for _, when := range []string{
		`ip.country in ["XK", "ZZ", "GB"]`, `ip.country.startsWith("U")`, `ip.country.matches("^(US|uk)$")`, `ip.country.lowerAscii() == "us"`,
		`user.email.endsWith("@example.com")`, `user.email.contains("@")`, `user.email.matches("^(?i)ANN@example[.]com$")`, `user.email.matches("^[A-Z]?ann@example[.]com$")`,
		`"Contractors-EU" in user.groups`, `user.groups.exists(g, g.startsWith("Ops"))`, `user.name == "Ann Example"`, `ip.org.contains("M247")`,
		`request.path.startsWith("/Admin")`, `request.path.contains("admin")`, `request.path.startsWith("")`, `request.path.matches("^/?admin$")`, `request.path.matches("^.*admin$")`, `request.path.matches("^(/a|b)$")`,
		`user.time_zone == ""`, `user.time_zone == "Europe/Zurich"`, `user.time_zone.startsWith("Europe/")`, `user.time_zone.contains("urich")`,
		`request.host == "2001:db8::1"`, `request.host.startsWith("2001:db8:")`, `request.host.endsWith(".example.com")`,
		`request.user_agent.contains("HeadlessChrome")`, `time.hour("UTC") >= 23 || time.hour("UTC") < 24`, `user.countries == []`,
		`time.now < timestamp("2028-02-29T00:00:00Z")`, `request.route.startsWith("wi")`, `"eth_sendRawTransaction" in request.rpc_methods`, `lists.none.exists(x, x == ip.country)`, `ip.country in lists.none`,
	} {
		mustCompile(t, "lists: {none: []}\nrules:\n  - name: a\n    when: >-\n      "+when+"\n    then: block\n", func(c *Config) { c.Routes = []string{"wiki"} })
	}
}
