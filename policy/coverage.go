package policy

// RuleCoverage says which branches of a rule the tests went through: each is a number of
// tests in which the rule was asked.
type RuleCoverage struct {
	Rule       string `json:"rule"`
	Line       int    `json:"line"`
	Matched    int    `json:"matched"`
	NotMatched int    `json:"not_matched"`
	// Unknown counts the tests in which something that the rule reads was not known (country "ZZ",
	// seen.known false, ...) or the rule could not be evaluated.
	Unknown int `json:"unknown"`
	// CanBeUnknown is false for rules that read nothing which can be unknown.
	CanBeUnknown bool `json:"can_be_unknown"`
}

// Branches returns how many of the rule's branches were seen, and how many there are.
func (c RuleCoverage) Branches() (seen, of int) {
	of = 2
	for _, n := range []int{c.Matched, c.NotMatched} {
		if n > 0 {
			seen++
		}
	}
	if c.CanBeUnknown {
		of++
		if c.Unknown > 0 {
			seen++
		}
	}
	return seen, of
}

// unknown tells whether a fact has the value of what is not known. Facts that are not here, by their
// name or by their group, are always known.
var unknown = map[string]func(*Facts) bool{
	"ip.country":        func(f *Facts) bool { return f.IP.Country == "ZZ" || f.IP.Country == "" },
	"ip.subdivisions":   func(f *Facts) bool { return len(f.IP.Subdivisions) == 0 },
	"ip.asn":            func(f *Facts) bool { return f.IP.ASN == 0 },
	"ip.org":            func(f *Facts) bool { return f.IP.Org == "" },
	"user.countries":    func(f *Facts) bool { return len(f.User.Countries) == 0 },
	"user.time_zone":    func(f *Facts) bool { return f.User.TimeZone == "" },
	"user.started_days": func(f *Facts) bool { return f.User.StartedDays < 0 },
	"seen":              func(f *Facts) bool { return !f.Seen.Known },
	"travel":            func(f *Facts) bool { return !f.Travel.Known },
	"address":           func(f *Facts) bool { return !f.Address.Known },
	"device":            func(f *Facts) bool { return !f.Device.Known },
	"activity":          func(f *Facts) bool { return !f.Activity.Known },
	"browser":           func(f *Facts) bool { return !f.Browser.TimezoneKnown },
	"handoff":           func(f *Facts) bool { return !f.Handoff.Known },
	"tls.ja4":           func(f *Facts) bool { return f.TLS.JA4 == "" },
}

// cover counts one test.
func (p *Policy) cover(to []RuleCoverage, f *Facts) {
	k, f := keyOf(f), p.complete(f)
	scope := p.env.Acquire(f)
	defer scope.Release()
	var other readings
	defer other.release()
	for i := range p.rules {
		r := &p.rules[i]
		if r.notApplicable(k) != "" {
			continue
		}
		matched, _, err := p.asked(r, f, scope, &other)
		if matched {
			to[i].Matched++
		} else {
			to[i].NotMatched++
		}
		if p.unknownTo(r, f) || err != nil {
			to[i].Unknown++
		}
	}
}

// newCoverage is the coverage of no tests.
func (p *Policy) newCoverage() []RuleCoverage {
	out := make([]RuleCoverage, len(p.rules))
	for i := range p.rules {
		r := &p.rules[i]
		out[i] = RuleCoverage{Rule: r.name, Line: r.line, CanBeUnknown: len(p.unknowns(r)) > 0}
	}
	return out
}

// unknowns are the tests for not being known of what the rule reads.
func (p *Policy) unknowns(r *rule) (out []func(*Facts) bool) {
	for _, name := range r.reads.Facts {
		fact, _ := p.schema.Lookup(name)
		if u := unknown[name]; u != nil {
			out = append(out, u)
		} else if u := unknown[fact.Group]; u != nil {
			out = append(out, u)
		}
	}
	return out
}

func (p *Policy) unknownTo(r *rule, f *Facts) bool {
	for _, u := range p.unknowns(r) {
		if u(f) {
			return true
		}
	}
	return false
}
