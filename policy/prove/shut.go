package prove

import (
	"slices"
	"time"

	"github.com/go-air/gini/z"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

// Moment is what people do.
type Moment int

const (
	Access   Moment = iota // of a verified person
	Signed                 // access of a person who has signed in and not yet shown a passkey
	SignIn                 // signing in
	StepUp                 // showing a passkey
	nMoments = iota
)

// Shut is a route, or all of them, on which rules block every request; or another moment
// at which they do.
type Shut struct {
	Moment Moment
	Route  string // "": every route
	// Rules are blocking ones, of which one matches each request; none: it takes the score.
	Rules []int
}

// World is what is known of an installation beside the policy.
type World struct {
	Now    time.Time // requests come later; zero: it is not known
	Absent []Unknown // what is never known: nothing provides it
}

// ShutRoutes finds the moments, and the routes, at which every request is blocked, however
// it comes about: the first moment at which one is. A percentage of people may leave any
// person out. Of a policy that is too large it returns none.
func ShutRoutes(p *policy.Policy, w World) (out []Shut) {
	m := p.Model()
	routes := append([]string{""}, m.Routes...)
	on := make([]*atom, len(routes))
	var moments [nMoments][]z.Lit
	var open z.Lit
	var known []z.Lit
	var later *atom
	s, err := newSolver(&m, nil, func(p *prover) []z.Lit {
		p.rules(true)
		p.person()
		block, _ := p.verdict(p.m.Rules, false)
		open = block.Not()
		access, signedIn, verified := p.purpose[policy.PurposeAccess].lit(), p.level["signed_in"].lit(), p.level["verified"].lit()
		moments = [...][]z.Lit{
			Access: {access, verified},
			Signed: {access, signedIn},
			SignIn: {p.purpose[policy.PurposeSignIn].lit(), signedIn},
			StepUp: {p.purpose[policy.PurposeStepUp].lit(), signedIn},
		}
		for _, u := range w.Absent {
			if p.reads(u) {
				known = append(known, p.given(u)...)
			}
		}
		if later != nil {
			known = append(known, later.lit())
		}
		roots := append(append(slices.Clone(p.match), open), known...)
		for _, at := range moments {
			roots = append(roots, at...)
		}
		for _, a := range on[1:] {
			roots = append(roots, a.lit())
		}
		return roots
	}, func(p *prover) {
		for i, name := range routes {
			on[i] = p.is("request.route", name)
		}
		p.collectPerson()
		for _, u := range w.Absent {
			if p.reads(u) {
				p.unknown(u)
			}
		}
		if !w.Now.IsZero() && p.numbers["time.now"] != nil {
			later = p.after(w.Now)
		}
	})
	if err != nil {
		return nil
	}
	s.patience = maxTime / 10
	for moment, where := range moments {
		where = append(slices.Clone(known), where...)
		for i, name := range routes {
			at := slices.Clone(where)
			if i > 0 {
				if moment >= int(SignIn) { // the sign-in pages are no route
					break
				}
				at = append(at, on[i].lit())
			}
			if s.solve(append(slices.Clone(at), open)...) != unsatisfiable || s.solve(at...) != satisfiable {
				continue
			}
			out = append(out, Shut{Moment(moment), name, s.blockers(at)})
			if i == 0 {
				break
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}

// given are the literals that what is not known is as it then is.
func (p *prover) given(u Unknown) (lits []z.Lit) {
	for _, a := range p.unknown(u) {
		m := a.lit()
		if a.node.Op == expr.FactOp {
			m = m.Not()
		}
		lits = append(lits, m)
	}
	return lits
}

// after is the atom `time.now > t`.
func (p *prover) after(t time.Time) *atom {
	const fact = "time.now"
	subject := &expr.Node{Op: expr.FactOp, Name: fact, Kind: expr.Time, Facts: []string{fact}}
	return p.atom(&expr.Node{Op: expr.Greater, Kind: expr.Bool, Text: fact + " > " + t.String(), Facts: subject.Facts,
		Args: []*expr.Node{subject, {Op: expr.ValueOp, Kind: expr.Time, Value: t}}})
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
