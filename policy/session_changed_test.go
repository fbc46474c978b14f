package policy

import "testing"

// A question that is asked because the session moved is not answered by the proof from
// before it moved, however fresh that is.
func TestMovedSessionsAreAskedAgain(t *testing.T) {
	for name, move := range map[string]struct {
		when string
		move func(*Facts)
	}{
		"address":  {"!session.verified_here", elsewhere},
		"country":  {"session.country_changed", func(f *Facts) { f.Session.CountryChanged, f.Session.VerifiedHere = true, false }},
		"network":  {"session.asn_changed", func(f *Facts) { f.Session.ASNChanged, f.Session.VerifiedHere = true, false }},
		"browser":  {"session.ua_changed", func(f *Facts) { f.Session.UAChanged = true }},
		"TLS":      {"session.tls_changed", func(f *Facts) { f.Session.TLSChanged = true }},
		"journey":  {"travel.known && travel.speed_kmh > 900.0", func(f *Facts) { f.Travel, f.Session.VerifiedHere = Travel{true, 9000, 9000}, false }},
		"crowd":    {"address.people_30d > 2", func(f *Facts) { f.Address.People30d, f.Session.VerifiedHere = 5, false }},
		"new here": {"seen.new_country", func(f *Facts) { f.Seen.NewCountry, f.Session.VerifiedHere = true, false }},
	} {
		t.Run(name, func(t *testing.T) {
			for _, outcome := range []string{"then: step_up, max_age: 1h", "score: 50"} {
				p := mustCompile(t, "thresholds: {step_up: 50, max_age: 1h}\nrules: [{name: moved, when: '"+move.when+"', "+outcome+"}, {name: other, when: ip.vpn, score: 1}]")
				if d := p.Decide(facts(move.move)); d.Action != StepUp {
					t.Errorf("%s: %+v", outcome, d)
				}
				if d := p.Decide(facts()); d.Action != Allow && name != "address" {
					t.Errorf("%s, where nothing moved: %+v", outcome, d)
				}
			}
		})
	}
}
