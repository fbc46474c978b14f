package expr

import (
	"testing"

	"cel.dev/cel-go/cel"
)

// TestMeant: what people write who know other languages better, with what they meant.
// "" where several things may be meant.
func TestMeant(t *testing.T) {
	e := testEnv(t)
	for text, want := range map[string]string{
		// Numbers as text, and autonomous systems.
		`ip.asn == "AS9009"`:        "ip.asn == 9009",
		`"9009" == ip.asn`:          "9009 == ip.asn",
		`ip.asn != 'as 9009'`:       "ip.asn != 9009",
		`ip.asn == "M247"`:          "",
		`ip.asn in ["9009", "AS1"]`: "ip.asn in [9009, 1]",
		`ip.asn in "9009"`:          "ip.asn == 9009",
		`ip.asn in 9009`:            "ip.asn == 9009",
		`ip.asn < 90.0`:             "ip.asn < 90",
		`ip.asn < 90.5`:             "",
		`ip.speed > 900`:            "ip.speed > 900.0",
		`900 < ip.speed`:            "900.0 < ip.speed",
		`ip.speed > "900"`:          "ip.speed > 900.0",
		`ip.country == 5`:           `ip.country == "5"`,
		`ip.asn in [9009, "x"]`:     "",
		`user.groups.size() == "1"`: "user.groups.size() == 1",

		// Lists.
		`user.groups == "ops"`:                 `"ops" in user.groups`,
		`user.groups != "ops"`:                 `!("ops" in user.groups)`,
		`"ops" == user.groups`:                 `"ops" in user.groups`,
		`user.groups in "ops"`:                 `"ops" in user.groups`,
		`user.groups in ["a", "b"]`:            `user.groups.exists(x, x in ["a", "b"])`,
		`user.groups in lists.bad`:             "user.groups.exists(x, x in lists.bad)",
		`user.groups.contains("ops")`:          `"ops" in user.groups`,
		`user.groups.contains(["a"])`:          `user.groups.exists(x, x in ["a"])`,
		`user.groups.startsWith("ops-")`:       `user.groups.exists(x, x.startsWith("ops-"))`,
		`ip.country == ["US", "GB"]`:           `ip.country in ["US", "GB"]`,
		`ip.country != lists.bad`:              "!(ip.country in lists.bad)",
		`ip.country == "US" || "GB"`:           `ip.country in ["US", "GB"]`,
		`ip.country == "US" || "GB" || "FR"`:   `ip.country in ["US", "GB", "FR"]`,
		`ip.country == "US" || ip.vpn || "FR"`: "",
		`ip.country in "US"`:                   `ip.country == "US"`,
		`ip.country in "US, GB"`:               `ip.country in ["US", "GB"]`,
		`"admin" in user.email`:                `user.email.contains("admin")`,
		`user.email.endsWith(["a", "b"])`:      `["a", "b"].exists(x, user.email.endsWith(x))`,
		`ip.asn.startsWith("90")`:              `string(ip.asn).startsWith("90")`,
		`ip.ports == 80`:                       "80 in ip.ports",

		// True and false, null, negation.
		`ip.vpn == "true"`:      "ip.vpn",
		`ip.vpn != "yes"`:       "!ip.vpn",
		`ip.vpn == 0`:           "!ip.vpn",
		`ip.vpn == "maybe"`:     "",
		`ip.country == null`:    `ip.country == "ZZ"`,
		`user.email != null`:    `user.email != ""`,
		`user.groups == null`:   "user.groups == []",
		`ip.asn == null`:        "",
		`!ip.country == "US"`:   `!(ip.country == "US")`,
		`!"ops" in user.groups`: `!("ops" in user.groups)`,
		`!user.groups`:          "",

		// Time.
		`session.age > "8h"`:               `session.age > duration("8h")`,
		`session.age > "7 days"`:           `session.age > duration("168h")`,
		`session.age > 3600`:               `session.age > duration("3600s")`,
		`session.age > "soon"`:             "",
		`session.now < "2026-12-31"`:       `session.now < timestamp("2026-12-31T00:00:00Z")`,
		`session.now < "2026-12-31 18:00"`: `session.now < timestamp("2026-12-31T18:00:00Z")`,
		`session.now < "31.12.2026"`:       "",

		// Operators of other languages.
		`ip.country not in ["US"]`:                         `!(ip.country in ["US"])`,
		`ip.country NOT IN lists.bad`:                      "!(ip.country in lists.bad)",
		`ip.country in ("US", "GB")`:                       `ip.country in ["US", "GB"]`,
		`ip.asn between 1 and 5`:                           "ip.asn >= 1 && ip.asn <= 5",
		`user.email like "%@partner%"`:                     `user.email.contains("@partner")`,
		`user.email LIKE 'ann%'`:                           `user.email.startsWith("ann")`,
		`user.email like "%.example"`:                      `user.email.endsWith(".example")`,
		`user.email not like "%x%"`:                        `!user.email.contains("x")`,
		`user.email contains "admin"`:                      `user.email.contains("admin")`,
		`user.groups contains "ops"`:                       `"ops" in user.groups`,
		`user.email startswith "ann"`:                      `user.email.startsWith("ann")`,
		`user.email ends_with ".example"`:                  `user.email.endsWith(".example")`,
		`user.email matches "^a$"`:                         `user.email.matches("^a$")`,
		`ip.country is not "US"`:                           `ip.country != "US"`,
		`ip.country equals "US"`:                           `ip.country == "US"`,
		`ip.country is null`:                               `ip.country == "ZZ"`,
		`user.email is not null`:                           `user.email != ""`,
		`user.email == "x is not y"  && ip.tor not in [1]`: "",
		`user.groups.includes("ops")`:                      `"ops" in user.groups`,
		`user.email.includes("ops")`:                       `user.email.contains("ops")`,
		`user.groups.any(g, g == "ops")`:                   `user.groups.exists(g, g == "ops")`,
		`len(user.groups) > 1`:                             "size(user.groups)",
		`user.groups.length > 1`:                           "size(user.groups)",
		`user.groups.isEmpty()`:                            "user.groups == []",
		`user.email.isEmpty()`:                             `user.email == ""`,
		`user.email.toLowerCase() == "x"`:                  "user.email.lowerAscii()",
		`user.email.hasSuffix(".example")`:                 `user.email.endsWith(".example")`,
	} {
		p, problems := e.Compile(text)
		if p != nil || len(problems) == 0 {
			t.Errorf("%s: accepted", text)
			continue
		}
		if got := problems[0].Suggestion; got != want {
			t.Errorf("%s: %q, want %q (%s)", text, got, want, problems[0])
		}
		if want == "" {
			continue
		}
		if checked, issues := e.cel.Compile(want); issues.Err() != nil || checked.OutputType() == cel.DynType {
			t.Errorf("%s: what is suggested, %s, does not compile: %v", text, want, issues.Err())
		}
	}
}
