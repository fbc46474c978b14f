package lint

import "testing"

// Comparisons that compile and say something else than they seem to.
func TestLintSilentComparisons(t *testing.T) {
	const found = "silent-comparison warning"
	for _, tt := range []struct{ name, rule, want string }{
		{"a domain without its @", when(`ip.vpn`, "unless: 'user.email.endsWith(\"meridian.example\")', then: block"), found},
		{"a domain anywhere", when(`ip.vpn`, "unless: 'user.email.contains(\"@meridian.example\")', then: block"), found},
		{"what a client says of itself", when(`ip.vpn`, "unless: 'request.user_agent.contains(\"corp\")', then: block"), found},
		{"addresses in the order of text", when(`ip.address >= "10.0.0.0" && ip.address <= "10.0.0.255"`, "then: block"), found + ", " + found},
		{"the beginning of an address", when(`ip.address.startsWith("10.1")`, "then: block"), found},
		{"whole numbers of an address", when(`ip.address.startsWith("10.1.")`, "then: block"), "silent-comparison note"},
		{"a star in a path", when(`request.path == "/admin/*"`, "then: block"), found},
		{"stars in a path", when(`request.path.startsWith("/admin/**")`, "then: block"), found},
		{"methods in one text", when(`request.method == "POST,PUT"`, "then: block"), found},
		{"a number that no system has", when(`ip.asn == 4294967296`, "then: block"), found},
		{"entries of a map", when(`user.groups.map(g, g == "ops").size() > 0`, "then: block"), found},
		{"everything in a list", `{name: a, when: ip.vpn, unless: 'ip.within(lists.all)', then: block}`, found},

		{"a domain", when(`user.email.endsWith("@meridian.example")`, "then: block"), ""},
		{"a part of a domain", when(`user.email.endsWith(".example")`, "then: block"), ""},
		{"a client that is asked", when(`request.user_agent.contains("curl")`, "then: step_up"), ""},
		{"a network", when(`ip.within("10.0.0.0/8")`, "then: block"), ""},
		{"one address", when(`ip.address == "203.0.113.7"`, "then: block"), ""},
		{"a pattern of a path", when(`request.path.matches("^/admin/.*$")`, "then: block"), ""},
		{"methods in a list", when(`request.method in ["POST", "PUT"]`, "then: block"), ""},
		{"the last number", when(`ip.asn == 4294967295`, "then: block"), ""},
		{"entries of a filter", when(`user.groups.filter(g, g == "ops").size() > 0`, "then: block"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			for _, f := range lintOf(t, "lists: {all: [0.0.0.0/0, 10.0.0.0/8]}\nrules: ["+tt.rule+"]") {
				if f.Code == "silent-comparison" && (f.Message[0] != '0' || tt.name == "everything in a list") {
					if got != "" {
						got += ", "
					}
					got += f.Code + " " + f.Severity.String()
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
