package prove

import (
	"slices"

	"github.com/go-air/gini/z"

	"sallyport/policy"
)

// Unreachable reports for sums of scores whether no request reaches them, of a person for
// which each rule is enforced. Of a policy that is too large it says so of none.
func Unreachable(p *policy.Policy, sums ...int) []bool {
	out := make([]bool, len(sums))
	m := p.Model()
	var reached []z.Lit
	s, err := newSolver(&m, nil, func(p *prover) []z.Lit {
		p.rules(false)
		var scores []weighted
		for i, r := range p.m.Rules {
			if r.Score > 0 && !r.Report {
				scores = append(scores, weighted{p.match[i], r.Score})
			}
		}
		for _, least := range sums {
			reached = append(reached, p.atLeast(scores, least))
		}
		return append(slices.Clone(p.match), reached...)
	})
	if err != nil {
		return out
	}
	s.patience = maxTime / 10
	for i, m := range reached {
		out[i] = s.solve(m) == unsatisfiable
	}
	return out
}
