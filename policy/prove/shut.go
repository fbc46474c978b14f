package prove

import (
	"slices"

	"github.com/go-air/gini/z"

	"sallyport/policy"
)

// Shut is a route, or all of them, on which rules block every request.
type Shut struct {
	Route string // "": every route
	// Rules are blocking ones, of which one matches each request; none: it takes the score.
	Rules []int
}

// ShutRoutes finds the routes on which every request of a verified person is blocked,
// however it comes about. A percentage of people may leave any person out. Of a policy
// that is too large it returns none.
func ShutRoutes(p *policy.Policy) (out []Shut) {
	m := p.Model()
	routes := append([]string{""}, m.Routes...)
	on := make([]*atom, len(routes))
	var where []z.Lit
	var open z.Lit
	s, err := newSolver(&m, nil, func(p *prover) []z.Lit {
		p.rules(true)
		block, _ := p.verdict(p.m.Rules, false)
		open, where = block.Not(), []z.Lit{p.purpose[policy.PurposeAccess].lit(), p.level["verified"].lit()}
		roots := append(slices.Clone(p.match), open, where[0], where[1])
		for _, a := range on[1:] {
			roots = append(roots, a.lit())
		}
		return roots
	}, func(p *prover) {
		for i, name := range routes {
			on[i] = p.is("request.route", name)
		}
	})
	if err != nil {
		return nil
	}
	s.patience = maxTime / 10
	for i, name := range routes {
		at := slices.Clone(where)
		if i > 0 {
			at = append(at, on[i].lit())
		}
		if s.solve(append(slices.Clone(at), open)...) != unsatisfiable {
			continue
		}
		out = append(out, Shut{name, s.blockers(at)})
		if i == 0 {
			return out
		}
	}
	return out
}

// blockers are rules of which one matches every request; nil: there are none.
func (s *solver) blockers(at []z.Lit) (rules []int) {
	for i, r := range s.m.Rules {
		if r.Action == policy.Block && r.Score == 0 {
			rules = append(rules, i)
		}
	}
	without := func(rules []int) answer {
		lits := slices.Clone(at)
		for _, i := range rules {
			lits = append(lits, s.match[i].Not())
		}
		return s.solve(lits...)
	}
	if without(rules) != unsatisfiable {
		return nil
	}
	core := s.core()
	rules = slices.DeleteFunc(rules, func(i int) bool { return !core[s.match[i].Not()] })
	for i := 0; i < len(rules); { // the solver's core may hold more than it takes
		if fewer := slices.Delete(slices.Clone(rules), i, i+1); without(fewer) == unsatisfiable {
			rules = fewer
		} else {
			i++
		}
	}
	return rules
}
