package expr

import (
	"cmp"
	"slices"
	"time"
)

// Literal is a condition that and, or and not are made of, as it stands in an expression.
type Literal struct {
	*Node
	Not bool
}

// Literals returns the literals of a condition.
func (n *Node) Literals() []Literal { return literals(n, false) }

func literals(n *Node, not bool) []Literal {
	switch n.Op {
	case Not:
		return literals(n.Args[0], !not)
	case And, Or:
		return append(literals(n.Args[0], not), literals(n.Args[1], not)...)
	}
	return []Literal{{n, not}}
}

// Holds reports whether what compares one fact with constants holds for a text or, with
// nil, for the zero of the fact. It names the fact; "": the literal is no such
// comparison.
func (x Literal) Holds(text any) (fact string, yes bool) {
	op, subject, constant := x.Op, x.Node, &Node{Value: true}
	switch op {
	case FactOp:
		op = Equal
	case Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual, In:
		subject, constant = x.Args[0], x.Args[1]
		if subject.Op == ValueOp && op != In {
			op, subject, constant = op.Flip(), constant, subject
		}
	}
	if subject.Op != FactOp || constant.Value == nil {
		return "", false
	}
	value := text
	if value == nil {
		value = subject.Kind.Zero()
	}
	yes, ok := compared(op, value, constant.Value)
	if !ok {
		return "", false
	}
	return subject.Name, yes != x.Not
}

// Zero is what a fact of the kind is where it is not known; nil for a kind that has no
// order and no one zero.
func (k Kind) Zero() any {
	switch k {
	case Bool:
		return false
	case Int:
		return int64(0)
	case Double:
		return 0.0
	case Duration:
		return time.Duration(0)
	case String:
		return ""
	}
	return nil
}

// compared compares a value with a constant; it reports false if it does not know how.
func compared(op Op, value, constant any) (yes, ok bool) {
	switch constant := constant.(type) {
	case []string:
		v, ok := value.(string)
		return slices.Contains(constant, v), ok && op == In
	case []int64:
		v, ok := value.(int64)
		return slices.Contains(constant, v), ok && op == In
	case bool:
		return (value == constant) == (op == Equal), true
	case string:
		v, ok := value.(string)
		return op.Holds(cmp.Compare(v, constant)), ok
	}
	a, okA := number(value)
	b, okB := number(constant)
	return op.Holds(cmp.Compare(a, b)), okA && okB
}

// number converts what has an order, exactly enough for a comparison with zero.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case time.Duration:
		return float64(v), true
	}
	return 0, false
}
