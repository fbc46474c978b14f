package policy_test

import (
	"slices"
	"testing"
	"time"

	"sallyport/policy"
)

// Whichever way a condition names a point in time, it is found.
func TestMoments(t *testing.T) {
	for when, want := range map[string][]string{
		`time.now > timestamp("2026-12-01T00:00:00Z")`:                                                                     {"2026-12-01T00:00:00Z"},
		`!(time.now < timestamp("2026-12-01T00:00:00Z")) && (ip.vpn || time.now < timestamp("2027-01-01T01:00:00+01:00"))`: {"2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		`time.now > timestamp("2026-12-01T00:00:00Z") + duration("24h")`:                                                   {"2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z"},
		`time.now - timestamp("2026-12-01T00:00:00Z") > duration("24h")`:                                                   {"2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z"},
		`int(time.now) > 1796083200`:                                                                                       {"2026-12-01T00:00:00Z"},
		`string(time.now) > "2026-12-01"`:                                                                                  {"2026-12-01T00:00:00Z"},
		`time.hour("UTC") >= 9 && time.weekday("UTC") == "Mon"`:                                                            nil,
		`ip.asn == 1796083200`:                                                                                             nil,
	} {
		p, err := policy.Compile(policy.Config{Name: "p.yaml", Source: []byte("version: 1\nrules:\n  - {name: a, when: '" + when + "', then: block}\n")})
		if err != nil {
			t.Errorf("%s: %v", when, err)
			continue
		}
		var got []string
		for _, m := range p.Moments() {
			got = append(got, m.At.Format(time.RFC3339))
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%s: %v", when, got)
		}
	}
}
