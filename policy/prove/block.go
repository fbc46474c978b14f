package prove

import (
	"slices"
	"strings"

	"github.com/go-air/gini/z"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

// The other claims are that verdicts are strict enough, so that what the circuit leaves
// out makes them only truer: a rule is asked about other readings of the path and of the
// address too, and matches if it does in one of them. `never: block` is the other way
// round. Here a comparison of an address or a path may therefore come out in any way, beside
// the one that the request as written has.

// blocks is the literal that a rule not in except may block, alone or by its score, or that
// missing data does.
// With written, only the request as written counts.
func (p *prover) blocks(except []string, written bool) z.Lit {
	c, out, culprit := p.c, p.c.F, p.c.F
	var scores []weighted
	for i := range p.m.Rules {
		r := &p.m.Rules[i]
		if r.Action == policy.StepUp && r.Score == 0 {
			continue
		}
		may, spared := p.mayMatch(r, written), slices.Contains(except, r.Name)
		if r.Score > 0 {
			scores = append(scores, weighted{may, r.Score})
		}
		switch {
		case spared:
		case r.Score > 0:
			culprit = c.Or(culprit, may)
		case r.Action == policy.Block:
			out = c.Or(out, may)
		}
	}
	if p.m.BlockAt > 0 {
		out = c.Or(out, c.And(culprit, p.atLeast(scores, p.m.BlockAt)))
	}
	if p.m.Missing == policy.Block {
		out = c.Or(out, p.lists["ip.data_missing"].some)
	}
	return out
}

// mayMatch is the literal that a rule may be enforced, and may match in some reading.
func (p *prover) mayMatch(r *policy.ModelRule, written bool) z.Lit {
	c, enforced := p.c, p.enforced(r)
	if r.Enforce != nil && r.Enforce.Percent > 0 && !r.Report {
		enforced = c.T // any person may be drawn
	}
	if enforced == c.F {
		return c.F
	}
	if written {
		return c.And(enforced, p.matches(*r))
	}
	when := p.loose(p.trees[r.When])
	out := c.Ands(enforced, p.applies(*r), when.f.Not())
	if r.Unless != nil {
		out = c.And(out, c.And(when.t, p.loose(p.trees[r.Unless]).t).Not())
	}
	return out
}

// loose is dualRail, with comparisons that are made in several readings left free.
func (p *prover) loose(n *expr.Node) dualRail {
	if !slices.ContainsFunc(n.Facts, readInSeveralWays) {
		return p.dualRail(n)
	}
	c := p.c
	switch n.Op {
	case expr.And:
		a, b := p.loose(n.Args[0]), p.loose(n.Args[1])
		return dualRail{c.And(a.t, b.t), c.Or(a.f, b.f)}
	case expr.Or:
		a, b := p.loose(n.Args[0]), p.loose(n.Args[1])
		return dualRail{c.Or(a.t, b.t), c.And(a.f, b.f)}
	case expr.Not:
		a := p.loose(n.Args[0])
		return dualRail{a.f, a.t}
	}
	if r := p.dualRail(n); r.f == r.t.Not() {
		return p.truth(c.Lit())
	}
	return dualRail{c.Lit(), c.Lit()} // and it may fail, in one reading or the other
}

func readInSeveralWays(fact string) bool {
	return strings.HasPrefix(fact, "ip.") || fact == "request.path" || fact == "request.path_folded"
}

// blocked reports whether the production evaluator blocks by a rule that is no exception.
func (s *solver) blocked(v policy.Invariant, f *policy.Facts) bool {
	d, came := s.m.Policy.Judge(f, policy.Partial{})
	if d.Action != policy.Block {
		return false
	}
	if s.m.Missing == policy.Block && len(f.IP.DataMissing) > 0 || len(came.Decided) == 0 {
		return true
	}
	return slices.ContainsFunc(came.Decided, func(i int) bool { return !slices.Contains(v.Except, s.m.Rules[i].Name) })
}
