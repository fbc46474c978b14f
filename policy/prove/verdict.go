package prove

import (
	"fmt"
	"slices"

	"github.com/go-air/gini/z"

	"sallyport/policy"
)

// know states what facts have to do with one another, beyond what single facts are.
func (p *prover) know() {
	if !p.knows(knowledge) {
		return
	}
	c := p.c
	verified, none, none0 := p.level["verified"].lit(), p.class["none"].lit(), p.level["none"].lit()
	eligible, backedUp := p.flag("credential.backup_eligible"), p.flag("credential.backed_up")
	p.always(c.Xor(verified, none)) // a passkey was used, or there is none
	p.always(c.Implies(p.class["synced"].lit(), eligible))
	p.always(c.Implies(eligible, c.Or(p.class["synced"].lit(), p.class["attested"].lit())))
	p.always(c.Implies(backedUp, eligible)) // BE=0 with BS=1 is refused when the passkey is used
	if internal, ok := p.flags["ip.internal"]; ok {
		p.always(c.Implies(internal, p.flag("ip.private")))
	}
	if texts := p.nobody; texts[0] != nil { // a session has a subject; without one there is no person
		p.always(c.Xor(none0, texts[0].lit().Not()))
		p.always(c.Implies(none0, texts[1].lit()))
	}
	access, nowhere := p.purpose[policy.PurposeAccess].lit(), p.route[""].lit()
	p.always(c.Implies(access.Not(), nowhere)) // the sign-in pages are no route
	if len(p.m.Routes) > 0 {
		p.always(c.Implies(access, nowhere.Not()))
	}
}

// matches is the literal that a rule applies and matches. A condition that cannot be
// evaluated matches, `unless` and exceptions or not.
func (p *prover) matches(r policy.ModelRule) z.Lit {
	c, when := p.c, p.dualRail(p.trees[r.When])
	out := c.And(p.applies(r), when.f.Not())
	for _, unless := range append(slices.Clone(r.Exceptions), r.Unless) {
		if unless != nil {
			out = c.And(out, c.And(when.t, p.dualRail(p.trees[unless]).t).Not())
		}
	}
	return out
}

// applies is the literal that a rule is asked at all.
func (p *prover) applies(r policy.ModelRule) z.Lit {
	c, out := p.c, p.c.T
	switch r.From {
	case "signed_in":
		out = c.And(out, p.level["none"].lit().Not())
	case "verified":
		out = c.And(out, p.level["verified"].lit())
	}
	if r.Routes != nil {
		out = c.Ands(out, p.purpose[policy.PurposeAccess].lit(), p.route[r.Name].lit())
	}
	return out
}

func (p *prover) constant(b bool) z.Lit {
	if b {
		return p.c.T
	}
	return p.c.F
}

// verdict makes the literals that the verdict is a block, and that a step-up stands,
// under the rules given. With unanswered it is judged as for an assertion that answers
// nothing.
func (p *prover) verdict(rules []policy.ModelRule, unanswered bool) (block, stepUp z.Lit) {
	c := p.c
	block, stepUp = c.F, c.F
	var scores []weighted
	here, browser := c.F, c.F
	for i := range rules {
		r := &rules[i]
		switch match := p.match[i]; { // and is enforced
		case r.Score > 0:
			scores = append(scores, weighted{match, r.Score})
			here, browser = c.Or(here, c.And(match, p.constant(r.Asks.Here))), c.Or(browser, c.And(match, p.constant(r.Asks.Browser)))
		case r.Action == policy.Block:
			block = c.Or(block, match)
		default:
			stepUp = c.Or(stepUp, c.And(match, p.stands(p.ask(r), unanswered)))
		}
	}
	if p.m.BlockAt > 0 {
		block = c.Or(block, p.atLeast(scores, p.m.BlockAt))
	}
	if p.m.StepUpAt > 0 {
		stepUp = c.Or(stepUp, c.And(p.atLeast(scores, p.m.StepUpAt),
			p.stands(asking{p.m.Scored, here, browser, p.older(p.m.Scored.MaxAge).lit(), c.F}, unanswered)))
	}
	missing := p.lists["ip.data_missing"].some
	switch q := p.m.MissingAsks; p.m.Missing {
	case policy.Block:
		block = c.Or(block, missing)
	case policy.StepUp:
		stepUp = c.Or(stepUp, c.And(missing, p.stands(asking{q, p.constant(q.Here), p.constant(q.Browser), p.older(q.MaxAge).lit(), c.F}, unanswered)))
	}
	signedIn, verified := p.level["none"].lit().Not(), p.level["verified"].lit()
	baseline := c.Or(p.purpose[policy.PurposeSignIn].lit(),
		c.Or(c.And(c.Or(p.purpose[policy.PurposeEnroll].lit(), p.purpose[policy.PurposeStepUp].lit()), signedIn), verified))
	return block, c.Or(stepUp, baseline.Not())
}

// rules makes the literals that the rules match; with enforced, that they also are.
func (p *prover) rules(enforced bool) {
	for i := range p.m.Rules {
		r := &p.m.Rules[i]
		match := p.c.F
		if !enforced {
			match = p.matches(*r)
		} else if e := p.enforced(r); e != p.c.F {
			match = p.c.And(e, p.matches(*r))
		}
		p.match = append(p.match, match)
	}
}

// invariants makes the literals of the requests that break an invariant.
func (p *prover) invariants() (roots []z.Lit) {
	c := p.c
	p.rules(true)
	p.certain = p.undrawn()
	roots = append(roots, p.certain...)
	for _, v := range p.m.Invariants {
		g := goal{when: p.dualRail(p.trees[v.When]).t}
		if !slices.Contains(v.When.Reads(), "session.level") {
			g.when = c.And(g.when, p.level["verified"].lit())
		}
		if !slices.Contains(v.When.Reads(), "request.purpose") {
			g.when = c.And(g.when, p.purpose[policy.PurposeAccess].lit())
		}
		if v.Claim == policy.NeverBlock {
			g.broken, g.written, g.unruled = p.blocks(v.Except, false), p.blocks(v.Except, true), c.T // no rules at all would fulfil it, and that is the point
		} else {
			g.broken, g.unruled = p.breaks(v.Claim, p.m.Rules), p.breaks(v.Claim, nil)
		}
		p.goals = append(p.goals, g)
		roots = append(roots, g.when, g.broken, g.unruled)
		if v.Claim == policy.NeverBlock {
			roots = append(roots, g.written)
		}
	}
	return roots
}

// breaks is the literal that the verdict under the rules given is milder than claimed.
func (p *prover) breaks(claim policy.Claim, rules []policy.ModelRule) z.Lit {
	k := verdictKey{claim == policy.AlwaysStepUp, len(rules) > 0}
	if _, ok := p.verdicts[k]; !ok {
		block, stepUp := p.verdict(rules, k.unanswered)
		p.verdicts[k] = [2]z.Lit{block, stepUp}
	}
	block, stepUp := p.verdicts[k][0], p.verdicts[k][1]
	if claim == policy.AlwaysBlock {
		return block.Not()
	}
	return p.c.And(block.Not(), stepUp.Not())
}

type verdictKey struct{ unanswered, ruled bool }

// weighted is a literal that adds to a sum.
type weighted struct {
	lit    z.Lit
	weight int
}

// atLeast is the literal that the weights of those that hold add up to at least least. It
// is a decision diagram over what is still missing, so it is exact, and small unless sums
// are many.
func (p *prover) atLeast(all []weighted, least int) z.Lit {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b weighted) int { return b.weight - a.weight })
	rest, step := make([]int, len(all)+1), make([]int, len(all)+1) // sum, and greatest common divisor, from i on
	for i := len(all) - 1; i >= 0; i-- {
		rest[i], step[i] = rest[i+1]+all[i].weight, gcd(step[i+1], all[i].weight)
	}
	type state struct{ i, missing int }
	known := map[state]z.Lit{}
	var from func(i, missing int) z.Lit
	from = func(i, missing int) z.Lit {
		switch {
		case missing <= 0:
			return p.c.T
		case missing > rest[i]:
			return p.c.F
		case len(known) > maxSums:
			p.fail(fmt.Errorf("the scores add up in too many ways: %w", errBounds))
			return p.c.F
		}
		missing = (missing + step[i] - 1) / step[i] * step[i]
		s := state{i, missing}
		m, ok := known[s]
		if !ok {
			m = p.c.Choice(all[i].lit, from(i+1, missing-all[i].weight), from(i+1, missing))
			known[s] = m
		}
		return m
	}
	return from(0, least)
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
