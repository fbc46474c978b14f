package company

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

// side is whose requests something was seen in.
type side int

const (
	honest side = iota
	hostile
	sides
)

func (k kind) side() side {
	if k.hostile() {
		return hostile
	}
	return honest
}

// part is a piece of what a rule asks: a condition, or several joined by and, or or.
// Negations are pushed down to the conditions, so that each part is something that has to
// hold for the rule to match, or may.
type part struct {
	op      expr.Op // And, Or; anything else: a condition
	kids    []*part
	text    string // of a condition, with its negation
	facts   []string
	program *expr.Program // nil: the condition could not be taken out of its rule, and counts as holding
	not     bool

	held   [sides]bool
	failed [sides]bool // of a condition: a request that it did not hold for was looked at
}

// partsOf takes a rule apart: all that has to hold for it to do something. That it is
// limited to routes, and enforced for groups, are conditions too.
func partsOf(m *policy.Model, r *policy.ModelRule) (whole []*part) {
	if r.Routes != nil {
		whole = append(whole, written(m, "request.route in "+quoted(r.Routes)))
	}
	if e := r.Enforce; e != nil && e.Percent == 0 && len(e.Groups) > 0 {
		whole = append(whole, written(m, "user.groups.exists(g, g in "+quoted(e.Groups)+")"))
	}
	if r.When != nil {
		whole = append(whole, conjuncts(partOf(m, r.When.Tree(), false))...)
	}
	if r.Unless != nil {
		whole = append(whole, conjuncts(partOf(m, r.Unless.Tree(), true))...)
	}
	return whole
}

func quoted(list []string) string {
	parts := make([]string, len(list))
	for i, s := range list {
		parts[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func conjuncts(p *part) []*part {
	if p.op == expr.And {
		return slices.Concat(conjuncts(p.kids[0]), conjuncts(p.kids[1]))
	}
	return []*part{p}
}

func partOf(m *policy.Model, n *expr.Node, not bool) *part {
	switch n.Op {
	case expr.Not:
		return partOf(m, n.Args[0], !not)
	case expr.And, expr.Or:
		op := n.Op
		if not {
			op = expr.And + expr.Or - n.Op
		}
		return &part{op: op, kids: []*part{partOf(m, n.Args[0], not), partOf(m, n.Args[1], not)}}
	case expr.If: // c ? a : b is c && a || !c && b
		both := func(c bool, then *expr.Node) *part {
			return &part{op: expr.And, kids: []*part{partOf(m, n.Args[0], c), partOf(m, then, not)}}
		}
		return &part{op: expr.Or, kids: []*part{both(false, n.Args[1]), both(true, n.Args[2])}}
	case expr.FactOp:
		p := written(m, n.Name)
		return p.negated(not)
	case expr.ValueOp:
		return written(m, fmt.Sprint(n.Value)).negated(not)
	}
	return written(m, n.Text).negated(not)
}

func (p *part) negated(not bool) *part {
	if p.not = not; not {
		p.text = "!" + p.text
		if strings.ContainsAny(p.text, " ") {
			p.text = "!(" + p.text[1:] + ")"
		}
	}
	return p
}

// written is a condition by its text.
func written(m *policy.Model, text string) *part {
	p := &part{op: expr.Opaque, text: text}
	if p.program, _ = m.Env.Compile(text); p.program != nil {
		p.facts = p.program.Reads()
	}
	return p
}

// String is the part as a rule would say it.
func (p *part) String() string {
	switch p.op {
	case expr.And, expr.Or:
		join := map[expr.Op]string{expr.And: " && ", expr.Or: " || "}[p.op]
		texts := make([]string, len(p.kids))
		for i, k := range p.kids {
			if texts[i] = k.String(); p.op == expr.And && k.op == expr.Or {
				texts[i] = "(" + texts[i] + ")"
			}
		}
		return strings.Join(texts, join)
	}
	return p.text
}

// reads are the facts of the part, each once.
func (p *part) reads() (facts []string) {
	facts = p.facts
	for _, k := range p.kids {
		for _, f := range k.reads() {
			if !slices.Contains(facts, f) {
				facts = append(slices.Clone(facts), f)
			}
		}
	}
	return facts
}

// conditions calls f for the conditions that the part is made of.
func (p *part) conditions(f func(*part)) {
	if len(p.kids) == 0 {
		f(p)
	}
	for _, k := range p.kids {
		k.conditions(f)
	}
}

// note evaluates the part on a request, as far as that can tell something new. needed: the
// caller looks at the result.
func (p *part) note(at side, scope *expr.Scope, isNew func(facts []string) bool, needed bool) (holds bool) {
	switch p.op {
	case expr.And, expr.Or:
		needed = needed || !p.held[at]
		a, b := p.kids[0].note(at, scope, isNew, needed), p.kids[1].note(at, scope, isNew, needed)
		holds = a && b || p.op == expr.Or && (a || b)
	default:
		holds = p.condition(at, scope, isNew, needed)
		p.failed[at] = p.failed[at] || !holds
	}
	p.held[at] = p.held[at] || holds
	return holds
}

func (p *part) condition(at side, scope *expr.Scope, isNew func(facts []string) bool, needed bool) bool {
	// Of one fact, all values that it had were looked at. Old values of several facts can
	// come together in a new way.
	old := len(p.facts) == 1 && !isNew(p.facts)
	switch {
	case p.program == nil:
		return true
	case old && (!needed || p.held[at] != p.failed[at]):
		return p.held[at]
	}
	yes, err := p.program.Eval(scope)
	return err != nil || yes != p.not // what cannot be evaluated makes its rule match
}

// settled reports whether there is nothing left to find out.
func (p *part) settled() bool {
	known := p.held[honest] && p.held[hostile]
	p.conditions(func(c *part) {
		known = known && c.held[honest] && c.held[hostile] && (!c.not || c.failed[honest] && c.failed[hostile])
	})
	return known
}

// merge adds what the same part of the same rule was in another run.
func (p *part) merge(o *part) {
	for s := range sides {
		p.held[s], p.failed[s] = p.held[s] || o.held[s], p.failed[s] || o.failed[s]
	}
	for i, k := range p.kids {
		k.merge(o.kids[i])
	}
}
