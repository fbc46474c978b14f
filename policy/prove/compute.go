package prove

import (
	"cmp"
	"regexp"
	"strings"
	"unicode/utf8"

	"sallyport/policy/internal/expr"
)

// computable reports whether a condition is made of nothing but the subject, constants,
// and what computation can do with them.
func computable(n *expr.Node, subject func(*expr.Node) bool) bool {
	if subject(n) {
		return true
	}
	switch n.Op {
	case expr.ValueOp:
		return true
	case expr.Method:
		if n.Name == "matches" && n.Args[1].Op != expr.ValueOp {
			return false
		}
	case expr.And, expr.Or, expr.Not, expr.Equal, expr.NotEqual, expr.Less, expr.LessEqual, expr.Greater, expr.GreaterEqual, expr.In, expr.Size:
	default:
		return false
	}
	for _, a := range n.Args {
		if !computable(a, subject) {
			return false
		}
	}
	return true
}

// computation evaluates a computable condition for one text; or for any text that is none
// of the constants in it (other), of which much is not known.
type computation struct {
	subject func(*expr.Node) bool
	value   string
	other   bool
}

// eval returns a bool, string, int64 or list; nil: it depends on the text.
func (c *computation) eval(n *expr.Node) any {
	switch {
	case c.subject(n):
		if c.other {
			return nil
		}
		return c.value
	case n.Op == expr.ValueOp:
		return n.Value
	case c.other && (n.Op == expr.Equal || n.Op == expr.NotEqual || n.Op == expr.In):
		if c.subject(n.Args[0]) && n.Args[1].Op == expr.ValueOp || c.subject(n.Args[1]) && n.Args[0].Op == expr.ValueOp {
			return n.Op == expr.NotEqual
		}
	}
	args := make([]any, len(n.Args))
	for i, a := range n.Args {
		args[i] = c.eval(a)
	}
	switch n.Op { // what one side can settle
	case expr.And:
		return kleene(args, false)
	case expr.Or:
		return kleene(args, true)
	}
	for _, a := range args {
		if a == nil {
			return anyText(n)
		}
	}
	switch n.Op {
	case expr.Not:
		return args[0] != true
	case expr.Equal:
		return same(args[0], args[1])
	case expr.NotEqual:
		return negation(same(args[0], args[1]))
	case expr.In:
		return isIn(args[0], args[1])
	case expr.Size:
		if s, ok := args[0].(string); ok {
			return int64(utf8.RuneCountInString(s))
		}
		return nil
	case expr.Method:
		return method(n.Name, args)
	}
	return ordered(n.Op, args[0], args[1])
}

// anyText is a condition on a text that is not known, where it is the same for any: each
// begins with "", and none is shorter than nothing. nil: it is not.
func anyText(n *expr.Node) any {
	switch {
	case n.Op == expr.Method && n.Name != "lowerAscii" && n.Name != "matches" && n.Args[1].Value == "":
		return true
	case len(n.Args) == 2 && n.Args[0].Op == expr.Size:
		least, ok := n.Args[1].Value.(int64)
		switch {
		case ok && (n.Op == expr.GreaterEqual && least <= 0 || n.Op == expr.Greater && least < 0):
			return true
		case ok && (n.Op == expr.Less && least <= 0 || n.Op == expr.LessEqual && least < 0):
			return false
		}
	}
	return nil
}

// kleene is `and` (by false) or `or` (by true) of conditions that may not be known.
func kleene(args []any, by bool) any {
	if args[0] == by || args[1] == by {
		return by
	}
	if args[0] == nil || args[1] == nil {
		return nil
	}
	return !by
}

func same(a, b any) any {
	switch a.(type) {
	case string, bool, int64:
		return a == b
	}
	return nil
}

func negation(v any) any {
	if b, ok := v.(bool); ok {
		return !b
	}
	return nil
}

func isIn(v, list any) any {
	switch list := list.(type) {
	case []string:
		for _, x := range list {
			if x == v {
				return true
			}
		}
		return false
	case []int64:
		for _, x := range list {
			if x == v {
				return true
			}
		}
		return false
	}
	return nil
}

func method(name string, args []any) any {
	s, ok := args[0].(string)
	if name == "lowerAscii" {
		b := []byte(s)
		for i, c := range b {
			if 'A' <= c && c <= 'Z' {
				b[i] = c + 'a' - 'A'
			}
		}
		return string(b)
	}
	arg, isText := args[1].(string)
	if !ok || !isText {
		return nil
	}
	switch name {
	case "contains":
		return strings.Contains(s, arg)
	case "startsWith":
		return strings.HasPrefix(s, arg)
	case "endsWith":
		return strings.HasSuffix(s, arg)
	case "matches":
		re, err := regexp.Compile(arg)
		if err != nil {
			return nil
		}
		return re.MatchString(s)
	}
	return nil
}

func ordered(op expr.Op, a, b any) any {
	var order int
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		if !ok {
			return nil
		}
		order = strings.Compare(a, b)
	case int64:
		b, ok := b.(int64)
		if !ok {
			return nil
		}
		order = cmp.Compare(a, b)
	default:
		return nil
	}
	switch op {
	case expr.Less, expr.LessEqual, expr.Greater, expr.GreaterEqual:
		return op.Holds(order)
	}
	return nil
}
