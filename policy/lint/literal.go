package lint

import (
	"cmp"
	"slices"
	"time"

	"sallyport/policy/internal/expr"
)

// literal is a condition that and, or and not are made of, as it stands in an expression.
type literal struct {
	*expr.Node
	not bool
}

func literals(n *expr.Node, not bool) []literal {
	switch n.Op {
	case expr.Not:
		return literals(n.Args[0], !not)
	case expr.And, expr.Or:
		return append(literals(n.Args[0], not), literals(n.Args[1], not)...)
	}
	return []literal{{n, not}}
}

// holds reports whether what compares one fact with constants holds for a text or, with
// nil, for the zero of the fact. It names the fact; "": the literal is no such
// comparison.
func (x literal) holds(text any) (fact string, yes bool) {
	op, subject, constant := x.Op, x.Node, &expr.Node{Value: true}
	switch op {
	case expr.FactOp:
		op = expr.Equal
	case expr.Equal, expr.NotEqual, expr.Less, expr.LessEqual, expr.Greater, expr.GreaterEqual, expr.In:
		subject, constant = x.Args[0], x.Args[1]
		if subject.Op == expr.ValueOp && op != expr.In {
			op, subject, constant = op.Flip(), constant, subject
		}
	}
	if subject.Op != expr.FactOp || constant.Value == nil {
		return "", false
	}
	value := text
	if value == nil {
		value = zero(subject.Kind)
	}
	yes, ok := compared(op, value, constant.Value)
	if !ok {
		return "", false
	}
	return subject.Name, yes != x.not
}

func zero(k expr.Kind) any {
	switch k {
	case expr.Bool:
		return false
	case expr.Int:
		return int64(0)
	case expr.Double:
		return 0.0
	case expr.Duration:
		return time.Duration(0)
	case expr.String:
		return ""
	}
	return nil
}

// compared compares a value with a constant; it reports false if it does not know how.
func compared(op expr.Op, value, constant any) (yes, ok bool) {
	switch constant := constant.(type) {
	case []string:
		v, ok := value.(string)
		return slices.Contains(constant, v), ok && op == expr.In
	case []int64:
		v, ok := value.(int64)
		return slices.Contains(constant, v), ok && op == expr.In
	case bool:
		return (value == constant) == (op == expr.Equal), true
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
