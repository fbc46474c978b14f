package prove

import (
	"errors"
	"slices"

	"github.com/go-air/gini/z"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

// IdleRule is a rule that could as well not be there: it never matches, or never changes
// what happens to a request.
type IdleRule struct {
	Rule int // in file order, from 0
	// By are rules. Wherever this one matches, at least one of them matches too and is as
	// strict. None: this one never matches.
	By []int
	// Excepted: it never matches because of its `unless`.
	Excepted bool
	// Facts are those about which its condition contradicts itself; empty for a constant.
	Facts []string
}

// Idle finds the rules that can do nothing, in file order: those that match no request at
// all, and the enforced ones that never change what happens to a request (the action, and
// what a step-up asks for), because whenever they match, others do that are at least as
// strict. Of rules that make each other pointless the first is kept. Without all of these
// together every verdict is the same.
//
// What is not returned may still be of no effect. The error says that not every rule was
// looked at, for the policy is too large; what was found until then counts.
func Idle(p *policy.Policy) ([]IdleRule, error) {
	m := p.Model()
	var goals []conditions
	s, err := newSolver(&m, nil, func(p *prover) (roots []z.Lit) {
		p.rules(false) // one that only reports can be unreachable too
		goals, roots = p.conditions()
		return append(roots, p.match...)
	})
	if err != nil {
		return nil, err
	}
	s.patience = maxTime / 10
	var out []IdleRule
	idle, late := make([]bool, len(m.Rules)), false
	for i := len(m.Rules) - 1; i >= 0; i-- {
		found, answer := IdleRule{Rule: i}, s.solve(s.match[i])
		switch {
		case answer == unsatisfiable:
			s.unreachable(&found, goals[i])
			idle[i] = true
		case answer == satisfiable && enforcedForAll(&m.Rules[i]):
			found.By, answer = s.covered(i, stricter(m.Rules, i, idle))
			idle[i] = answer == unsatisfiable
		}
		late = late || answer == unknown
		if idle[i] {
			out = append(out, found)
		}
	}
	slices.Reverse(out)
	if late {
		return out, errTime
	}
	return out, nil
}

var errTime = errors.New("looking at all requests took too long")

// enforcedForAll reports whether a rule is enforced for every person.
func enforcedForAll(r *policy.ModelRule) bool { return !r.Report && r.Enforce == nil }

// stricter are the rules, of those that are kept, beside which rule i has no say.
func stricter(rules []policy.ModelRule, i int, gone []bool) (out []int) {
	for j, other := range rules {
		if j != i && !gone[j] && enforcedForAll(&other) && atLeastAsStrict(other, rules[i]) {
			out = append(out, j)
		}
	}
	return out
}

// atLeastAsStrict reports whether r has no say whenever a matches too.
func atLeastAsStrict(a, r policy.ModelRule) bool {
	switch {
	case a.Action == policy.Block:
		return true
	case a.Action != policy.StepUp || r.Action != policy.StepUp:
		return false // a score adds up: only a block makes it idle
	case a.Reverify != nil || r.Reverify != nil:
		return false // who asks at a drawn time may ask before the other does, and after it
	}
	return a.Asks.MaxAge <= r.Asks.MaxAge && implies(r.Asks.DeviceBound, a.Asks.DeviceBound) && implies(r.Asks.Attested, a.Asks.Attested) &&
		implies(r.Asks.Here, a.Asks.Here) && implies(r.Asks.Browser, a.Asks.Browser)
}

func implies(a, b bool) bool { return !a || b }

// covered says unsatisfiable if one of the stricter rules matches whenever rule i does,
// and names as many of them as that needs.
func (s *solver) covered(i int, stricter []int) ([]int, answer) {
	assume := []z.Lit{s.match[i]}
	for _, j := range stricter {
		assume = append(assume, s.match[j].Not())
	}
	if a := s.solve(assume...); a != unsatisfiable {
		return nil, a
	}
	core := s.core()
	var by []int
	for _, j := range stricter {
		if m := s.match[j].Not(); core[m] {
			core[m] = false // of rules that match alike, one
			by = append(by, j)
		}
	}
	return by, unsatisfiable
}

// core is a part of what was assumed that is contradictory by itself.
func (s *solver) core() map[z.Lit]bool {
	core := map[z.Lit]bool{}
	for _, m := range s.sat.Why(nil) {
		core[m] = true
	}
	return core
}

// conditions of a rule: that it applies, its `when`, and what that is made of.
type conditions struct {
	applies z.Lit
	when    *part
	unless  *expr.Node // nil: none
	spared  z.Lit      // that it does not hold
}

// part of a condition: that it holds, or cannot be evaluated; and, if it is an
// alternative, its arms.
type part struct {
	node *expr.Node
	all  []*part // it is all of these
	any  []*part // it is one of these
	lit  z.Lit
}

func (p *prover) conditions() (out []conditions, roots []z.Lit) {
	var take func(n *expr.Node) *part
	take = func(n *expr.Node) *part {
		x := &part{node: n, lit: p.dualRail(n).f.Not()}
		roots = append(roots, x.lit)
		switch n.Op {
		case expr.And:
			x.all = []*part{take(n.Args[0]), take(n.Args[1])}
		case expr.Or:
			x.any = []*part{take(n.Args[0]), take(n.Args[1])}
		}
		return x
	}
	for _, r := range p.m.Rules {
		c := conditions{applies: p.applies(r), when: take(p.trees[r.When])}
		if r.Unless != nil {
			c.unless = p.trees[r.Unless]
			c.spared = p.dualRail(c.unless).t.Not()
			roots = append(roots, c.spared)
		}
		roots = append(roots, c.applies)
		out = append(out, c)
	}
	return out, roots
}

// unreachable says why a rule matches nothing.
func (s *solver) unreachable(x *IdleRule, c conditions) {
	facts, answer := s.contradiction(c.when, c.applies)
	if answer != unsatisfiable { // its `when` can hold
		x.Excepted = true
		facts, _ = s.contradiction(c.when, c.applies, c.spared)
		facts = append(facts, c.unless.Facts...)
	}
	slices.Sort(facts)
	x.Facts = slices.Compact(facts)
}

// contradiction says unsatisfiable if a condition never holds where all of the literals
// do, and names the facts that it has to do with.
func (s *solver) contradiction(x *part, where ...z.Lit) (facts []string, _ answer) {
	parts := x.conjuncts()
	assume := func(parts []*part) answer {
		lits := slices.Clone(where)
		for _, c := range parts {
			lits = append(lits, c.lit)
		}
		return s.solve(lits...)
	}
	if a := assume(parts); a != unsatisfiable {
		return nil, a
	}
	core := s.core()
	parts = slices.DeleteFunc(parts, func(c *part) bool { return !core[c.lit] })
	for i := 0; i < len(parts); { // the solver's core may hold more than it takes
		fewer := slices.Delete(slices.Clone(parts), i, i+1)
		if assume(fewer) == unsatisfiable {
			parts = fewer
		} else {
			i++
		}
	}
	if len(parts) == 1 && parts[0].any != nil { // each arm for a reason of its own
		for _, arm := range parts[0].any {
			of, _ := s.contradiction(arm, where...)
			facts = append(facts, of...)
		}
		return facts, unsatisfiable
	}
	for _, c := range parts {
		facts = append(facts, c.node.Facts...)
	}
	return facts, unsatisfiable
}

func (x *part) conjuncts() []*part {
	if x.all == nil {
		return []*part{x}
	}
	return append(x.all[0].conjuncts(), x.all[1].conjuncts()...)
}
