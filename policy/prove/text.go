package prove

import (
	"slices"
	"strings"

	"github.com/go-air/gini/z"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

// pattern is a condition on one text: membership in a set of constants, or something that
// can be computed for a constant.
type pattern struct {
	values []string   // the set; or
	node   *expr.Node // the condition
	// other is what holds for a text that is none of the constants: yes, no, or it depends.
	other tri
}

type tri int

const (
	no tri = iota
	yes
	depends
)

// use is a pattern about one member.
type use struct {
	pattern
	id          int
	unknown     bool // it was too much to compute
	free, refer z.Lit
}

// member is a fact that is one text, or a list of texts. Those that rules compare with
// one another share a domain.
type member struct {
	name   string // of the fact or function
	isList bool
	closed []string // all values that there are; nil: not known
	// possible is what the constants in closed fit.
	possible int
	uses     []*use
	byKey    map[string]*use
	domain   *domain
	// in are its variables by region: it is in that region, or has an entry there. other
	// is the same for all texts that are no constants.
	in    []z.Lit
	other z.Lit
}

// text is a text fact, or the text that a function gives.
type text struct {
	member
	node  *expr.Node
	fails z.Lit // it cannot be evaluated; 0: it always can
}

// list is a fact that is a list of texts.
type list struct {
	member
	some z.Lit // it is not empty
	size *number
}

// enumerations are the texts of which facts.go lists all.
var enumerations = map[string][]string{
	"session.level":    {"none", "signed_in", "verified"},
	"credential.class": {"none", "synced", "unattested", "attested"},
	"request.purpose":  {policy.PurposeAccess, policy.PurposeSignIn, policy.PurposeEnroll, policy.PurposeStepUp},
	"time.weekday":     {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"},
}

func (p *prover) text(node *expr.Node) *text {
	name := node.Name
	if node.Op == expr.Call {
		name = node.Text
	}
	t := p.texts[name]
	if t != nil {
		return t
	}
	t = &text{member: member{name: name, byKey: map[string]*use{}}, node: node}
	p.texts[name] = t
	if p.knows(enums) {
		t.closed = enumerations[node.Name]
	}
	if name == "request.route" && p.m.Routes != nil && p.knows(enums) {
		t.closed = append([]string{""}, p.m.Routes...)
	}
	t.fails = p.fails(node)
	return t
}

// fails is the variable that a function cannot be evaluated, or 0 if it always can. One
// of a time zone that is a fact fails exactly when that is none.
func (p *prover) fails(call *expr.Node) z.Lit {
	if !call.Fallible {
		return 0
	}
	fails := p.c.Lit()
	if arg := call.Args[0]; arg.Op == expr.FactOp && arg.Kind == expr.String {
		p.zones = append(p.zones, zone{p.text(arg), fails})
	}
	return fails
}

type zone struct {
	text  *text
	fails z.Lit
}

// relateZones states it for the constants.
func (p *prover) relateZones() {
	for _, zone := range p.zones {
		for r, in := range zone.text.in {
			region := zone.text.domain.regions[r]
			bad := slices.DeleteFunc(slices.Clone(region.values), isZone)
			switch {
			case len(bad) == 0 && len(region.values) < fewValues:
				p.either(in.Not(), zone.fails.Not())
			case region.single:
				p.either(in.Not(), zone.fails)
			}
		}
	}
}

func (p *prover) list(name string) *list {
	l := p.lists[name]
	if l == nil {
		l = &list{member: member{name: name, isList: true, byKey: map[string]*use{}}}
		if name == "ip.lists" && p.m.Lists != nil && p.knows(enums) {
			l.closed = p.m.Lists
		}
		p.lists[name] = l
	}
	return l
}

// use notes that a pattern is asked about a member.
func (p *prover) use(m *member, what *pattern) *use {
	key := "=" + strings.Join(what.values, "\x00")
	if what.node != nil {
		key = what.node.Text
		if key == "" {
			key = what.node.Name
		}
	}
	if u := m.byKey[key]; u != nil && (what.node == nil || u.node == what.node || what.node.Text != "") {
		return u
	}
	u := &use{pattern: *what}
	m.uses = append(m.uses, u)
	m.byKey[key] = u
	return u
}

// oneOf is the atom that a text is one of the constants.
func (p *prover) oneOf(a *atom, subject *expr.Node, constant any) bool {
	values, ok := constant.([]string)
	if v, one := constant.(string); one {
		values, ok = []string{v}, true
	}
	if !ok {
		return false
	}
	t := p.text(subject)
	u := p.use(&t.member, &pattern{values: values})
	a.free = subject.Op == expr.Call
	a.make = func() dualRail { return t.dualRail(p, a, u) }
	return true
}

// pattern is an atom about one text fact that can be computed for constants.
func (p *prover) pattern(a *atom, n *expr.Node) bool {
	if len(n.Facts) != 1 || n.Fallible {
		return false
	}
	f, ok := p.m.Schema.Lookup(n.Facts[0])
	if !ok || f.Kind != expr.String || f.Name == "ip.address" {
		return false
	}
	isFact := func(n *expr.Node) bool { return n.Op == expr.FactOp }
	if !computable(n, isFact) {
		return false
	}
	t := p.text(&expr.Node{Op: expr.FactOp, Name: f.Name, Kind: f.Kind})
	other := otherwise(n, isFact)
	if other == depends {
		if other = certain(n, f.Name, isFact); other != depends {
			p.use(&t.member, &pattern{values: []string{""}}) // of which it does not speak
		}
	}
	u := p.use(&t.member, &pattern{node: n, other: other})
	a.make = func() dualRail { return t.dualRail(p, a, u) }
	return true
}

// loop is exists() or all() over a list fact.
func (p *prover) loop(a *atom, n *expr.Node) bool {
	source, condition := n.Args[0], n.Args[1]
	isEntry := func(n *expr.Node) bool { return n.Op == expr.Entry }
	if source.Op != expr.FactOp || source.Kind != expr.Strings || condition.Fallible || len(condition.Facts) > 0 || !computable(condition, isEntry) {
		return false
	}
	l := p.list(source.Name)
	what := &pattern{node: condition, other: otherwise(condition, isEntry)}
	not := n.Op == expr.All // all(x, c) is !exists(x, !c)
	if set, ok := condition.Args, condition.Op == expr.In || condition.Op == expr.Equal; ok && isEntry(set[0]) && set[1].Op == expr.ValueOp {
		switch v := set[1].Value.(type) { // without computing it for every constant
		case string:
			what = &pattern{values: []string{v}}
		case []string:
			what = &pattern{values: v}
		}
	}
	u := p.use(&l.member, what)
	if what.node != nil && what.other == depends {
		a.free = true
	}
	a.make = func() dualRail { return p.negated(not, l.exists(p, u, not)) }
	return true
}

func (t *text) dualRail(p *prover, a *atom, u *use) dualRail {
	m := t.holds(p, u)
	a.free = a.free || u.node != nil && u.other == depends || u.unknown
	if t.fails != 0 {
		return p.failing(p.truth(m), t.fails)
	}
	return p.truth(m)
}

// holds is the literal that a text fits a pattern.
func (m *member) holds(p *prover, u *use) z.Lit {
	if m.ignores(p, u) {
		return p.c.Lit()
	}
	out := p.c.F
	for r, in := range m.in {
		if m.domain.regions[r].fits[u.id] {
			out = p.c.Or(out, in)
		}
	}
	switch u.other {
	case yes:
		out = p.c.Or(out, m.other)
	case depends:
		out = p.c.Or(out, p.c.And(m.other, u.free))
	}
	return out
}

// exists is the literal that an entry of a list fits a pattern, or (not) that one does
// not.
func (m *member) exists(p *prover, u *use, not bool) z.Lit {
	if m.ignores(p, u) {
		return p.c.Lit()
	}
	out := p.c.F
	for r, in := range m.in {
		if m.domain.regions[r].fits[u.id] != not {
			out = p.c.Or(out, in)
		}
	}
	switch {
	case u.other == depends && not:
		out = p.c.Or(out, u.refer)
	case u.other == depends:
		out = p.c.Or(out, u.free)
	case (u.other == yes) != not:
		out = p.c.Or(out, m.other)
	}
	return out
}

func (m *member) ignores(p *prover, u *use) bool {
	return u.unknown || !p.knows(sets) || u.node != nil && !p.knows(patterns)
}

// otherwise is what a condition says of a text that is none of the constants in it.
func otherwise(n *expr.Node, subject func(*expr.Node) bool) tri {
	switch (&computation{subject: subject, other: true}).eval(n) {
	case true:
		return yes
	case false:
		return no
	}
	return depends
}

// constants are the texts that a pattern mentions.
func (u *pattern) constants() []string {
	if u.node == nil {
		return u.values
	}
	var out []string
	for _, c := range u.node.Constants {
		switch c := c.(type) {
		case string:
			out = append(out, c)
		case []string:
			out = append(out, c...)
		}
	}
	return out
}

// fact is the name of the fact without the argument of a function.
func (m *member) fact() string {
	name, _, _ := strings.Cut(m.name, "(")
	return name
}

// allows reports whether a member can have this value.
func (m *member) allows(p *prover, v string) bool {
	return (m.closed == nil || slices.Contains(m.closed, v)) && p.m.Words.Check(m.fact(), v) == nil
}
