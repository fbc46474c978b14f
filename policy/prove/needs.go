package prove

import (
	"slices"

	"github.com/go-air/gini/z"

	"sallyport/policy"
)

// Need is a rule that matches only where a list fact has entries.
type Need struct {
	Rule    int  // in file order, from 0
	Reaches bool // it can match on one of the routes that were asked about
}

// Needs returns the rules that match no request in which a list fact is empty, and
// whether they match one on these routes. Of a policy that is too large it returns none.
func Needs(p *policy.Policy, fact string, routes []string) (out []Need) {
	m := p.Model()
	reads := func(r policy.ModelRule) bool { return slices.Contains(r.Reads.Facts, fact) }
	if !slices.ContainsFunc(m.Rules, reads) {
		return nil
	}
	var on *atom
	var empty, there z.Lit
	s, err := newSolver(&m, nil, func(p *prover) []z.Lit {
		p.rules(false)
		empty, there = p.lists[fact].some.Not(), on.lit()
		return append(slices.Clone(p.match), empty, there)
	}, func(p *prover) {
		p.list(fact)
		on = p.is("request.route", routes...)
	})
	if err != nil {
		return nil
	}
	s.patience = maxTime / 10
	for i, r := range m.Rules {
		if !reads(r) || s.solve(s.match[i], empty) != unsatisfiable || s.solve(s.match[i]) != satisfiable {
			continue
		}
		out = append(out, Need{i, s.solve(s.match[i], there) != unsatisfiable})
	}
	return out
}
