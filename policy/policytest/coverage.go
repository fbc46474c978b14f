package policytest

import (
	"slices"
	"strings"

	"sallyport/policy"
)

// Coverage says which branches of a rule the tests went through: each is a number of
// tests in which the rule was asked.
type Coverage struct {
	Rule       string `json:"rule"`
	Line       int    `json:"line"`
	Matched    int    `json:"matched"`
	NotMatched int    `json:"not_matched"`
	// Unknown counts the tests in which something that the rule reads was not known
	// (country "ZZ", seen.known false, ...) or the rule could not be evaluated.
	Unknown int `json:"unknown"`
	// CanBeUnknown is false for rules that read nothing which can be unknown.
	CanBeUnknown bool `json:"can_be_unknown"`
}

// Branches returns how many of the rule's branches were seen, and how many there are.
func (c Coverage) Branches() (seen, of int) {
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

// unknown tells whether a fact has the value of what is not known. Facts that are not
// here, by their name or by their group, are always known.
var unknown = map[string]func(*policy.Facts) bool{
	"ip.country":           func(f *policy.Facts) bool { return f.IP.Country == "ZZ" || f.IP.Country == "" },
	"ip.subdivisions":      func(f *policy.Facts) bool { return len(f.IP.Subdivisions) == 0 },
	"ip.asn":               func(f *policy.Facts) bool { return f.IP.ASN == 0 },
	"ip.org":               func(f *policy.Facts) bool { return f.IP.Org == "" },
	"ip.region":            func(f *policy.Facts) bool { return f.IP.Region == "" },
	"user.region":          func(f *policy.Facts) bool { return f.User.Region == "" },
	"ip.provider":          func(f *policy.Facts) bool { return f.IP.Provider == "" },
	"user.countries":       func(f *policy.Facts) bool { return len(f.User.Countries) == 0 },
	"user.time_zone":       func(f *policy.Facts) bool { return f.User.TimeZone == "" },
	"user.started_days":    func(f *policy.Facts) bool { return f.User.StartedDays < 0 },
	"user.devices_30d":     func(f *policy.Facts) bool { return f.User.Devices30d < 0 },
	"user.home_km":         func(f *policy.Facts) bool { return f.User.HomeKM < 0 },
	"activity.usual_hours": func(f *policy.Facts) bool { return !f.Activity.Known || f.Activity.UsualHours < 0 },
	"seen":                 func(f *policy.Facts) bool { return !f.Seen.Known },
	"travel":               func(f *policy.Facts) bool { return !f.Travel.Known },
	"address":              func(f *policy.Facts) bool { return !f.Address.Known },
	"device":               func(f *policy.Facts) bool { return !f.Device.Known },
	"activity":             func(f *policy.Facts) bool { return !f.Activity.Known },
	"browser":              func(f *policy.Facts) bool { return !f.Browser.TimezoneKnown },
	"handoff":              func(f *policy.Facts) bool { return !f.Handoff.Known },
	"tls.ja4":              func(f *policy.Facts) bool { return f.TLS.JA4 == "" },
}

// cover counts tests.
func cover(to []Coverage, p *policy.Policy, tests []Test) {
	rules := p.Rules()
	for i := range tests {
		f := &tests[i].given
		for j, m := range p.Matches(f) {
			switch {
			case !m.Applies:
				continue
			case m.Matched:
				to[j].Matched++
			default:
				to[j].NotMatched++
			}
			if m.Err != nil || isUnknown(rules[j].Reads, f) {
				to[j].Unknown++
			}
		}
	}
}

// newCoverage is the coverage of no tests.
func newCoverage(p *policy.Policy) []Coverage {
	rules := p.Rules()
	out := make([]Coverage, len(rules))
	for i, r := range rules {
		out[i] = Coverage{Rule: r.Name, Line: r.Line, CanBeUnknown: len(unknowns(r.Reads)) > 0}
	}
	return out
}

// unknowns are the tests for not being known of what a rule reads.
func unknowns(reads policy.Reads) (out []func(*policy.Facts) bool) {
	for _, name := range reads.Facts {
		group, _, _ := strings.Cut(name, ".")
		if u := unknown[name]; u != nil {
			out = append(out, u)
		} else if u := unknown[group]; u != nil {
			out = append(out, u)
		}
	}
	return out
}

func isUnknown(reads policy.Reads, f *policy.Facts) bool {
	return slices.ContainsFunc(unknowns(reads), func(u func(*policy.Facts) bool) bool { return u(f) })
}
