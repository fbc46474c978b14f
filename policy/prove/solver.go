package prove

import (
	"errors"
	"time"

	"github.com/go-air/gini"
	"github.com/go-air/gini/z"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

type answer int

const (
	unsatisfiable answer = -1
	unknown       answer = 0
	satisfiable   answer = 1
)

var errBounds = errors.New("the policy is larger than what can be reasoned about here")

// solver is a prover whose circuit is finished and stands in a SAT solver.
type solver struct {
	*prover
	sat      *gini.Gini
	deadline time.Time
	patience time.Duration           // for one answer
	programs map[*atom]*expr.Program // compiled again, alone; nil: that cannot be done
}

// newSolver builds the circuit of the policy's invariants; or, with goals, of those.
// collect adds atoms to those of the policy.
func newSolver(m *policy.Model, without map[theory]bool, goals func(*prover) []z.Lit, collect ...func(*prover)) (*solver, error) {
	p := newProver(m, without)
	s := &solver{prover: p, sat: gini.New(), deadline: time.Now().Add(maxTime), patience: maxTime, programs: map[*atom]*expr.Program{}}
	p.collect()
	for _, more := range collect {
		more(p)
	}
	if goals == nil {
		goals = (*prover).invariants
	}
	p.build()
	roots := goals(p)
	if p.failed != nil {
		return nil, p.failed
	}
	roots = append(roots, p.must...)
	p.c.ToCnfFrom(s.sat, roots...)
	for _, m := range p.must {
		s.clause(m)
	}
	for _, c := range p.clauses {
		s.clause(c...)
	}
	return s, nil
}

func (s *solver) clause(lits ...z.Lit) {
	for _, m := range lits {
		s.sat.Add(m)
	}
	s.sat.Add(z.LitNull)
}

// solve looks for a request for which all the literals hold.
func (s *solver) solve(lits ...z.Lit) answer {
	s.sat.Assume(lits...)
	return answer(s.sat.Try(min(time.Until(s.deadline), s.patience)))
}

// value is a literal's value in the request found last. What no clause mentions is false.
func (s *solver) value(m z.Lit) bool {
	if m.Var() > s.sat.MaxVar() {
		return !m.IsPos()
	}
	return s.sat.Value(m)
}
