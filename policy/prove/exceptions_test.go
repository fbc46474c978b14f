package prove

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

// A claim is proven of the policy with its exceptions: one that breaks it is refused, with
// the exception named; one that another rule covers, or that has expired, is not.
func TestInvariantsHoldInSpiteOfExceptions(t *testing.T) {
	const source = `version: 1
rules:
  - {name: embargoed, when: 'ip.country in ["KP", "IR"]', then: block}
  - {name: abroad, when: 'ip.country != "ZZ" && ip.country != "US"', then: block}
  - {name: contractors, when: '"contractors" in user.groups && ip.vpn', then: block}
invariants:
  - {name: no one from KP, always: block, when: ip.country == "KP"}
  - {name: Spain is closed, always: block, when: ip.country == "ES"}
  - {name: contractors use no VPN, always: block, when: '"contractors" in user.groups && ip.vpn && ip.country == "US"'}
`
	for name, c := range map[string]struct {
		entry, broken string
	}{
		"another country":        {"rules: [abroad], countries: [PT]", ""},
		"covered by another":     {"rules: [abroad], countries: [KP]", ""},
		"the country itself":     {"rules: [abroad], countries: [PT, ES]", "Spain is closed"},
		"everywhere":             {"rules: [abroad]", "Spain is closed"},
		"another rule":           {"rules: [contractors]", "contractors use no VPN"},
		"from elsewhere":         {"rules: [contractors], countries: [CA]", ""},
		"both rules of KP":       {"rules: [abroad, embargoed], countries: [KP]", "no one from KP"},
		"in a network anywhere":  {"rules: [abroad], networks: [198.51.100.0/24]", "Spain is closed"},
		"on a route":             {"rules: [abroad], routes: [wiki]", "Spain is closed"},
		"over, and so not asked": {"rules: [abroad, embargoed], from: 2026-01-01", ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := &policy.Exceptions{Name: "exceptions.yaml", Source: fmt.Appendf(nil, "exceptions:\n  - {user: ana@corp.example, %s, until: 2026-12-31, approved_by: ciso@corp.example, why: ticket 4711}\n", c.entry)}
			if strings.HasPrefix(name, "over") {
				x.Now = time.Date(2027, time.January, 1, 0, 0, 0, 0, time.UTC)
			}
			p, err := policy.Compile(policy.Config{Name: "policy.yaml", Source: []byte(source), Routes: []string{"wiki", "vault"}, Exceptions: x})
			if err != nil {
				t.Fatal(err)
			}
			err = Verify(p)
			switch {
			case c.broken == "" && err != nil:
				t.Error(err)
			case c.broken != "" && (err == nil || !strings.Contains(err.Error(), c.broken) || !strings.Contains(err.Error(), "because an exception suspends") || !strings.Contains(err.Error(), "approved by ciso@corp.example")):
				t.Error(err)
			}
			if err := Verify(p.Unexcepted()); err != nil {
				t.Errorf("without it: %v", err)
			}
		})
	}
}

// Many exceptions are proven in time.
func TestManyExceptionsAreProven(t *testing.T) {
	var b strings.Builder
	b.WriteString("exceptions:\n")
	for i := range 500 {
		fmt.Fprintf(&b, "  - {user: p%d@corp.example, rules: [abroad], countries: [PT, ES], networks: [10.%d.%d.0/24], until: 2026-12-%02d, approved_by: ciso@corp.example, why: x}\n", i, i/250, i%250, 1+i%31)
	}
	p, err := policy.Compile(policy.Config{Name: "policy.yaml", Source: []byte(`version: 1
rules:
  - {name: embargoed, when: 'ip.country in ["KP", "IR"]', then: block}
  - {name: abroad, when: 'ip.country != "ZZ" && ip.country != "US"', then: block}
invariants:
  - {name: no one from KP, always: block, when: ip.country == "KP"}
  - {name: Spain is closed, always: block, when: ip.country == "ES"}
`), Exceptions: &policy.Exceptions{Name: "exceptions.yaml", Source: []byte(b.String())}})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	results := Check(p)
	if results[0].Status != Proven || results[1].Status != Refuted {
		t.Errorf("%s, %s %s", results[0].Status, results[1].Status, results[1].Reason)
	}
	t.Log(time.Since(begin))
}
