package expr

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Direct is a condition as Go functions over one struct of facts: for tools that evaluate
// it a million times. It exists for the conditions that most rules are made of, and gives
// the answer of [Program.Eval] or none.
type Direct struct {
	holds  func() bool
	unsure *bool
}

// Direct returns the condition over facts, a pointer to the struct of the [Schema], which
// may change between evaluations. It is nil for a condition that has a part of another
// kind: arithmetic, an index, a regular expression, a function of an argument that is not
// constant.
func (p *Program) Direct(facts any) *Direct {
	c := &directs{schema: p.env.schema, facts: facts, unsure: new(bool), entry: new(string)}
	holds := c.condition(p.Tree())
	if holds == nil {
		return nil
	}
	return &Direct{holds, c.unsure}
}

// Eval evaluates the condition on the facts as they are now. It is not sure, and
// [Program.Eval] has to be asked, where that might fail: for facts larger than the cost
// estimate assumed, numbers that have no order, functions that give an error.
func (d *Direct) Eval() (holds, sure bool) {
	*d.unsure = false
	holds = d.holds()
	return holds, !*d.unsure
}

// directs makes the functions. Each is nil for a node that has none.
type directs struct {
	schema *Schema
	facts  any
	unsure *bool
	entry  *string // that an Exists or All is looking at
}

func (c *directs) condition(n *Node) func() bool {
	switch n.Op {
	case And, Or, Not, If:
		return c.connective(n)
	case ValueOp:
		if v, ok := n.Value.(bool); ok {
			return func() bool { return v }
		}
	case FactOp:
		if v := field[bool](c, n); v != nil {
			return func() bool { return *v }
		}
	case Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual:
		return c.comparison(n)
	case In:
		return c.member(n.Args[0], n.Args[1])
	case Call:
		return c.call(n)
	case Method:
		return c.method(n)
	case Exists, All:
		return c.each(n)
	}
	return nil
}

func (c *directs) connective(n *Node) func() bool {
	var parts []func() bool
	for _, a := range n.Args {
		part := c.condition(a)
		if part == nil {
			return nil
		}
		parts = append(parts, part)
	}
	a := parts[0]
	switch n.Op {
	case And:
		b := parts[1]
		return func() bool { return a() && b() }
	case Or:
		b := parts[1]
		return func() bool { return a() || b() }
	case Not:
		return func() bool { return !a() }
	}
	then, other := parts[1], parts[2]
	return func() bool {
		if a() {
			return then()
		}
		return other()
	}
}

// comparison compares with a constant of the same kind.
func (c *directs) comparison(n *Node) func() bool {
	a, b, op := n.Args[0], n.Args[1], n.Op
	if a.Op == ValueOp {
		a, b, op = b, a, op.Flip()
	}
	if b.Op != ValueOp || a.Kind != b.Kind {
		return nil
	}
	switch with := b.Value.(type) {
	case string:
		text := c.text(a)
		if text == nil || op != Equal && op != NotEqual {
			return nil
		}
		return func() bool { return (text() == with) == (op == Equal) }
	case bool:
		is := c.condition(a)
		if is == nil || op != Equal && op != NotEqual {
			return nil
		}
		return func() bool { return (is() == with) == (op == Equal) }
	case int64:
		return ordered(c.integer(a), op, with)
	case time.Duration:
		return ordered(c.integer(a), op, int64(with))
	case float64:
		v := field[float64](c, a)
		if v == nil || with != with {
			return nil
		}
		return ordered(func() float64 {
			if *v != *v { // such a number has no order
				*c.unsure = true
			}
			return *v
		}, op, with)
	}
	return nil
}

func ordered[T cmp.Ordered](v func() T, op Op, with T) func() bool {
	if v == nil {
		return nil
	}
	switch op {
	case Equal:
		return func() bool { return v() == with }
	case NotEqual:
		return func() bool { return v() != with }
	case Less:
		return func() bool { return v() < with }
	case LessEqual:
		return func() bool { return v() <= with }
	case Greater:
		return func() bool { return v() > with }
	}
	return func() bool { return v() >= with }
}

// integer reads a whole number, a duration in nanoseconds, or how long a list is.
func (c *directs) integer(n *Node) func() int64 {
	if n.Op == Size {
		if list := c.list(n.Args[0]); list != nil {
			return func() int64 { return int64(len(list())) }
		}
		return nil
	}
	if v := field[int64](c, n); v != nil {
		return func() int64 { return *v }
	}
	if v := field[time.Duration](c, n); v != nil {
		return func() int64 { return int64(*v) }
	}
	return nil
}

func (c *directs) text(n *Node) func() string {
	switch n.Op {
	case ValueOp:
		if v, ok := n.Value.(string); ok {
			return func() string { return v }
		}
	case Entry:
		return func() string { return *c.entry }
	case FactOp:
		if v := field[string](c, n); v != nil {
			return func() string {
				if len(*v) > maxLength {
					*c.unsure = true
				}
				return *v
			}
		}
	}
	return nil
}

// list reads a list of texts.
func (c *directs) list(n *Node) func() []string {
	v := field[[]string](c, n)
	if v == nil {
		return nil
	}
	return func() []string {
		if len(*v) > maxEntries || slices.ContainsFunc(*v, func(s string) bool { return len(s) > maxEntry }) {
			*c.unsure = true
		}
		return *v
	}
}

func (c *directs) member(element, of *Node) func() bool {
	if numbers, ok := of.Value.([]int64); ok {
		v := c.integer(element)
		if v == nil || element.Kind != Int {
			return nil
		}
		known := newSet(List{Ints: numbers}).ints
		return func() bool { _, in := known[v()]; return in }
	}
	text := c.text(element)
	if text == nil {
		return nil
	}
	if texts, ok := of.Value.([]string); ok {
		if len(texts) <= 4 {
			return func() bool { return slices.Contains(texts, text()) }
		}
		known := newSet(List{Strings: texts}).strings
		return func() bool { _, in := known[text()]; return in }
	}
	list := c.list(of)
	if list == nil {
		return nil
	}
	return func() bool { return slices.Contains(list(), text()) }
}

func (c *directs) call(n *Node) func() bool {
	if n.bound == nil || n.Kind != Bool {
		return nil
	}
	return func() bool {
		v, err := n.bound(c.facts)
		holds, ok := v.(bool)
		if err != nil || !ok {
			*c.unsure = true
		}
		return holds
	}
}

func (c *directs) method(n *Node) func() bool {
	of := map[string]func(s, part string) bool{"contains": strings.Contains, "startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix}[n.Name]
	if of == nil || len(n.Args) != 2 {
		return nil
	}
	text, part := c.text(n.Args[0]), c.text(n.Args[1])
	if text == nil || part == nil {
		return nil
	}
	return func() bool { return of(text(), part()) }
}

func (c *directs) each(n *Node) func() bool {
	list, holds := c.list(n.Args[0]), c.condition(n.Args[1])
	if list == nil || holds == nil {
		return nil
	}
	until := n.Op == Exists
	return func() bool {
		for _, s := range list() {
			if *c.entry = s; holds() == until {
				return until
			}
		}
		return !until
	}
}

// field is where a fact of a type is, or nil.
func field[T any](c *directs, n *Node) *T {
	f, ok := c.schema.Lookup(n.Name)
	if n.Op != FactOp || !ok {
		return nil
	}
	v, _ := c.schema.Field(c.facts, f).Addr().Interface().(*T)
	return v
}
