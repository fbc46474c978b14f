package prove

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-air/gini/z"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

// atom returns the atom of a condition that is not made of others. Conditions that read
// the same are one atom.
func (p *prover) atom(n *expr.Node) *atom {
	key := n.Text
	switch {
	case n.Op == expr.ValueOp:
		key = fmt.Sprint(n.Value)
	case n.Op == expr.FactOp:
		key = n.Name
	case key == "":
		key = fmt.Sprintf("%p", n)
	}
	if a := p.atoms[key]; a != nil {
		return a
	}
	a := &atom{node: n}
	p.atoms[key] = a
	p.order = append(p.order, a)
	if !p.classify(a, n) {
		p.opaque(a)
	}
	return a
}

// opaque leaves an atom free.
func (p *prover) opaque(a *atom) {
	a.free = true
	a.make = func() dualRail {
		m := p.c.Lit()
		if !a.node.Fallible {
			return p.truth(m)
		}
		return p.failing(p.truth(m), p.c.Lit())
	}
}

// failing is a condition that cannot be evaluated if e holds.
func (p *prover) failing(r dualRail, e z.Lit) dualRail {
	return dualRail{p.c.And(r.t, e.Not()), p.c.And(r.f, e.Not())}
}

// classify recognises what is understood about an atom; false: nothing.
func (p *prover) classify(a *atom, n *expr.Node) bool {
	if v, ok := written(n); ok {
		a.make = func() dualRail { return p.truth(p.constant(v)) }
		return true
	}
	if alwaysFails(n) {
		a.make = func() dualRail { return dualRail{p.c.F, p.c.F} }
		return true
	}
	if len(n.Args) == 2 && n.Args[0].Op == expr.FactOp && n.Args[1].Op == expr.FactOp && n.Args[0].Name == n.Args[1].Name && n.Op != expr.In {
		a.make = func() dualRail { return p.truth(p.constant(n.Op.Holds(0))) } // no fact differs from itself
		return true
	}
	switch n.Op {
	case expr.FactOp:
		m := p.flag(n.Name)
		a.make = func() dualRail { return p.truth(m) }
		return true
	case expr.Call:
		return n.Name == "ip.within" && n.Args[0].Op == expr.ValueOp && p.within(a, n.Args[0].Value)
	case expr.Exists, expr.All:
		return p.loop(a, n)
	case expr.Equal, expr.NotEqual, expr.Less, expr.LessEqual, expr.Greater, expr.GreaterEqual, expr.In:
		return p.comparison(a, n) || p.pattern(a, n)
	}
	return p.pattern(a, n)
}

// alwaysFails reports whether a condition can be evaluated for no request: it divides by
// zero, or looks in front of a list.
func alwaysFails(n *expr.Node) bool {
	switch n.Op {
	case expr.Opaque:
		if len(n.Args) != 2 {
			return false
		}
		v, written := n.Args[1].Value.(int64)
		switch n.Name {
		case "_/_", "_%_":
			if written && v == 0 {
				return true
			}
		case "_[_]":
			if written && v < 0 {
				return true
			}
		case "_+_", "_-_", "_*_":
		default:
			return false
		}
	case expr.Equal, expr.NotEqual, expr.Less, expr.LessEqual, expr.Greater, expr.GreaterEqual, expr.In, expr.Size, expr.Method:
	default:
		return false // it may do without a part
	}
	return slices.ContainsFunc(n.Args, alwaysFails)
}

// written is the value of a condition that reads no facts: true, 1 < 2.
func written(n *expr.Node) (value, ok bool) {
	none := func(*expr.Node) bool { return false }
	if len(n.Facts) > 0 || n.Fallible || !computable(n, none) {
		return false, false
	}
	value, ok = (&computation{subject: none}).eval(n).(bool)
	return value, ok
}

func (p *prover) comparison(a *atom, n *expr.Node) bool {
	op, left, right := n.Op, n.Args[0], n.Args[1]
	if left.Op == expr.ValueOp && op != expr.In {
		op, left, right = op.Flip(), right, left
	}
	isList := func(n *expr.Node) bool { return n.Op == expr.FactOp && n.Kind == expr.Strings }
	isText := func(n *expr.Node) bool { return n.Op == expr.FactOp && n.Kind == expr.String }
	equality := op == expr.Equal || op == expr.NotEqual
	switch {
	case right.Op == expr.ValueOp && isList(left): // only == [] says something
		values, ok := right.Value.([]string)
		l := p.list(left.Name)
		a.make = func() dualRail { return p.negated(op == expr.Equal, l.some) }
		return ok && len(values) == 0 && equality
	case right.Op == expr.ValueOp && (op == expr.In || equality) && left.Op == expr.FactOp && left.Name == "ip.address":
		return p.within(a, right.Value) && p.flip(a, op == expr.NotEqual)
	case right.Op == expr.ValueOp && (op == expr.In || equality) && (isText(left) || left.Op == expr.Call && left.Kind == expr.String):
		return p.oneOf(a, left, right.Value) && p.flip(a, op == expr.NotEqual)
	case right.Op == expr.ValueOp:
		return p.compare(a, op, left, right.Value)
	case op == expr.In && left.Op == expr.ValueOp && isList(right):
		value, ok := left.Value.(string)
		l := p.list(right.Name)
		use := p.use(&l.member, &pattern{values: []string{value}})
		a.make = func() dualRail { return p.truth(l.exists(p, use, false)) }
		return ok
	case op == expr.In && isText(left) && isList(right) && left.Name != "ip.address":
		l := p.list(right.Name)
		a.make = p.link(a, &p.text(left).member, &l.member)
		return true
	case equality && isText(left) && isText(right) && left.Name != "ip.address" && right.Name != "ip.address":
		a.make = p.link(a, &p.text(left).member, &p.text(right).member)
		return p.flip(a, op == expr.NotEqual)
	}
	return false
}

// flip negates an atom if not is set.
func (p *prover) flip(a *atom, not bool) bool {
	if inner := a.make; not {
		a.make = func() dualRail { r := inner(); return dualRail{r.f, r.t} }
	}
	return true
}

func (p *prover) negated(not bool, m z.Lit) dualRail {
	if not {
		return p.truth(m.Not())
	}
	return p.truth(m)
}

// flag returns the variable of a bool fact.
func (p *prover) flag(name string) z.Lit {
	m, ok := p.flags[name]
	if !ok {
		m = p.c.Lit()
		p.flags[name] = m
	}
	return m
}

// is returns the atom `fact in [values]`.
func (p *prover) is(fact string, values ...string) *atom {
	subject := &expr.Node{Op: expr.FactOp, Name: fact, Kind: expr.String, Facts: []string{fact}}
	return p.atom(&expr.Node{Op: expr.In, Kind: expr.Bool, Text: fmt.Sprintf("%s in %q", fact, values),
		Args: []*expr.Node{subject, {Op: expr.ValueOp, Kind: expr.Strings, Value: values}}})
}

// older returns the atom `session.verified_age > d`.
func (p *prover) older(d time.Duration) *atom { return p.age(expr.Greater, d) }

// fromFuture returns the atom that the assertion lies too far in the future to answer
// anything.
func (p *prover) fromFuture() *atom { return p.age(expr.Less, -policy.ClockTolerance) }

func (p *prover) age(op expr.Op, d time.Duration) *atom {
	const fact = "session.verified_age"
	subject := &expr.Node{Op: expr.FactOp, Name: fact, Kind: expr.Duration, Facts: []string{fact}}
	return p.atom(&expr.Node{Op: op, Kind: expr.Bool, Text: fmt.Sprintf("%s %d %d", fact, op, d),
		Args: []*expr.Node{subject, {Op: expr.ValueOp, Kind: expr.Duration, Value: d}}})
}
