package lint

import (
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

func TestExceptionFindings(t *testing.T) {
	const source = `version: 1
rules:
  - {name: abroad, when: 'ip.country == "PT"', then: block}
  - {name: watched, when: ip.vpn, then: block, mode: report}
  - {name: vault, when: ip.tor, routes: [vault], then: block}
tests:
  - {name: t, given: {ip: {country: PT, vpn: true, tor: true}, request: {route: vault}}, expect: {action: block}}
`
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct{ entry, want, message string }{
		"fine":         {"rules: [abroad], until: 2026-12-31", "", ""},
		"an address":   {"rules: [abroad], until: 2026-12-31, user: ana@corp.example", "exception-of-an-address", "each account that is given that address"},
		"over":         {"rules: [abroad, gone], until: 2026-11-27", "exception-expired", "since 2 days"},
		"over today":   {"rules: [abroad], until: '2026-11-30T11:00:00Z'", "exception-expired", "since less than a day"},
		"soon":         {"rules: [abroad], until: 2026-12-03", "exception-ends-soon", "ends in 3 days"},
		"no one":       {"rules: [abroad], until: 2026-12-31, user: eve@corp.example", "exception-of-no-one", "eve@corp.example is not in the roster"},
		"only reports": {"rules: [watched], until: 2026-12-31", "exception-without-effect", "only reports"},
		"other routes": {"rules: [vault], routes: [wiki], until: 2026-12-31", "exception-without-effect", "other routes"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(c.entry, "user:") {
				c.entry += ", user: ana@corp.example"
			}
			if c.want != "exception-of-an-address" {
				c.entry += ", subject: 'https://idp.example|ana'"
			}
			found, err := Check(Config{People: []string{"ana@corp.example"}, Now: func() time.Time { return now }, Policy: policy.Config{Name: "policy.yaml", Source: []byte(source), Routes: []string{"wiki", "vault"},
				Exceptions: &policy.Exceptions{Name: "exceptions.yaml", Now: now, Source: []byte("exceptions:\n  - {id: x1, " + c.entry + ", approved_by: ciso@corp.example, why: x}\n")}}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				if f.File == "exceptions.yaml" {
					got = append(got, f.Code)
					if f.Line != 2 || !strings.Contains(f.Message, c.message) || f.Excerpt == "" || f.danger() < 0 {
						t.Errorf("%+v", f)
					}
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("found %q", got)
			}
		})
	}
}
