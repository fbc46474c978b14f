package expr

import (
	"math"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Op is what a [Node] does with its arguments.
type Op int

const (
	Opaque Op = iota // anything else: only Text, Facts, Constants and Fallible say something
	And              // of two conditions
	Or
	Not
	If      // condition, then, else
	ValueOp // Value
	FactOp  // Name
	Entry   // the entry that an Exists or All is looking at
	Equal
	NotEqual
	Less
	LessEqual
	Greater
	GreaterEqual
	In     // element, list
	Size   // of a text or a list
	Call   // Name, one of the environment's functions, with its argument
	Method // Name, one of contains, startsWith, endsWith, matches, lowerAscii: text, argument
	Exists // list, condition on Entry
	All
)

// Node is a part of an expression, without anything of CEL: for those who reason about
// conditions rather than evaluate them.
type Node struct {
	Op   Op
	Kind Kind // of its value; Invalid where expressions have no name for it
	Args []*Node
	Name string
	// Value of a ValueOp: bool, int64, float64, string, time.Duration, time.Time,
	// []string or []int64.
	Value any
	// Text is the source, for conditions that are not made of others, and for calls.
	Text   string
	Offset int // where it begins in the expression, in characters
	// Facts are the facts that are read in it, and Constants the texts and numbers that
	// are written in it.
	Facts     []string
	Constants []any
	// Fallible: its evaluation can fail (an index, arithmetic, a conversion, a function
	// of an argument that is not known beforehand). Facts larger than the cost estimate
	// assumes can make any evaluation fail, and are not counted.
	Fallible bool

	bound Bound // of a Call of a constant argument
}

// Tree returns the expression as a tree.
func (p *Program) Tree() *Node {
	rep := p.ast.NativeRep()
	t := &trees{program: p, rep: rep, source: []rune(p.text)}
	return t.node(rep.Expr(), "")
}

type trees struct {
	program *Program
	rep     *ast.AST
	source  []rune
}

var comparisons = map[string]Op{operators.Equals: Equal, operators.NotEquals: NotEqual, operators.Less: Less,
	operators.LessEquals: LessEqual, operators.Greater: Greater, operators.GreaterEquals: GreaterEqual, operators.In: In}

// node converts e. entry is the variable of the loop around it, or "".
func (t *trees) node(e ast.Expr, entry string) *Node {
	n := t.convert(e, entry)
	n.Offset = len(t.source)
	if n.Kind == Invalid {
		n.Kind = kindOfType(t.rep.GetType(e.ID()))
	}
	if r, ok := t.rep.SourceInfo().GetOffsetRange(e.ID()); ok {
		n.Offset = startOfName(t.source, int(r.Start))
	}
	for _, a := range n.Args {
		n.Offset = min(n.Offset, a.Offset) // CEL puts a comparison at its operator
		n.Fallible = n.Fallible || a.Fallible
		for _, f := range a.Facts {
			n.read(f)
		}
		n.Constants = append(n.Constants, a.Constants...)
	}
	switch n.Op {
	case And, Or, Not, If, ValueOp, FactOp, Entry:
	default:
		if n.Kind == Bool || n.Op == Call {
			n.Text = t.text(e)
		}
	}
	return n
}

func (n *Node) read(fact string) {
	for _, have := range n.Facts {
		if have == fact {
			return
		}
	}
	n.Facts = append(n.Facts, fact)
}

func (t *trees) text(e ast.Expr) string {
	text, err := cel.ExprToString(e, t.rep.SourceInfo())
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(text, "\n", " ")
}

func (t *trees) convert(e ast.Expr, entry string) *Node {
	switch e.Kind() {
	case ast.LiteralKind:
		return constantNode(e.AsLiteral().Value())
	case ast.IdentKind:
		return t.name(e.AsIdent(), entry)
	case ast.ListKind:
		return t.list(e, entry)
	case ast.CallKind:
		return t.call(e, entry)
	case ast.ComprehensionKind:
		return t.comprehension(e.AsComprehension(), entry)
	}
	return &Node{Fallible: true}
}

func constantNode(v any) *Node {
	n := &Node{Op: ValueOp, Value: v}
	switch v.(type) {
	case bool:
		n.Kind = Bool
	case int64:
		n.Kind = Int
	case float64:
		n.Kind = Double
	case string:
		n.Kind = String
	case time.Duration:
		n.Kind = Duration
	case time.Time:
		n.Kind = Time
	case []string:
		n.Kind = Strings
	case []int64:
		n.Kind = Ints
	default:
		return &Node{}
	}
	n.Constants = []any{v}
	return n
}

func (t *trees) name(name, entry string) *Node {
	if name == entry && entry != "" {
		return &Node{Op: Entry}
	}
	env := t.program.env
	if f, ok := env.schema.Lookup(name); ok {
		return &Node{Op: FactOp, Name: name, Kind: f.Kind, Facts: []string{name}}
	}
	if l, ok := env.lists[name]; ok {
		if l.kind == Ints {
			return constantNode(l.list.Ints)
		}
		return constantNode(l.list.Strings)
	}
	return &Node{} // the variable of another loop
}

func (t *trees) list(e ast.Expr, entry string) *Node {
	n := &Node{}
	var texts []string
	var numbers []int64
	for _, x := range e.AsList().Elements() {
		a := t.node(x, entry)
		n.Args = append(n.Args, a)
		switch v := a.Value.(type) {
		case string:
			texts = append(texts, v)
		case int64:
			numbers = append(numbers, v)
		}
	}
	switch len(n.Args) {
	case len(texts): // also an empty list
		return constantNode(append([]string{}, texts...))
	case len(numbers):
		return constantNode(numbers)
	}
	return n
}

func (t *trees) call(e ast.Expr, entry string) *Node {
	c := e.AsCall()
	n := &Node{Name: c.FunctionName()}
	if c.IsMemberFunction() {
		n.Args = append(n.Args, t.node(c.Target(), entry))
	}
	for _, a := range c.Args() {
		n.Args = append(n.Args, t.node(a, entry))
	}
	if f, ok := t.program.env.functions[n.Name]; ok {
		n.Op = Call
		for _, r := range f.Reads {
			n.read(r)
		}
		n.bound = t.program.calls[e.ID()]
		n.Fallible = n.bound == nil
		return n
	}
	if op, ok := comparisons[n.Name]; ok {
		n.Op = op
		return n
	}
	switch n.Name {
	case operators.LogicalAnd:
		n.Op = And
	case operators.LogicalOr:
		n.Op = Or
	case operators.LogicalNot:
		n.Op = Not
	case operators.Conditional:
		n.Op = If
		if kindOfType(t.rep.GetType(e.ID())) != Bool {
			n.Op = Opaque
		}
	case "contains", "startsWith", "endsWith", "matches", "lowerAscii":
		n.Op = Method
	case "size":
		n.Op = Size
	case "duration", "timestamp", operators.Negate:
		if folded := fold(n); folded != nil {
			return folded
		}
		n.Fallible = true
	case operators.Multiply:
		if folded := product(n); folded != nil {
			return folded
		}
		n.Fallible = true
	case operators.Add: // of texts and lists it cannot fail
		n.Fallible = kindOfType(t.rep.GetType(e.ID())) != String && kindOfType(t.rep.GetType(e.ID())) != Strings
	default:
		n.Fallible = true
	}
	return n
}

// fold computes duration("..."), timestamp("...") and -N, or returns nil.
func fold(n *Node) *Node {
	if len(n.Args) != 1 || n.Args[0].Op != ValueOp {
		return nil
	}
	switch v := n.Args[0].Value.(type) {
	case string:
		var got any
		var err error
		if n.Name == "duration" {
			got, err = time.ParseDuration(v)
		} else {
			got, err = time.Parse(time.RFC3339, v)
		}
		if err == nil {
			return constantNode(got)
		}
	case int64:
		if n.Name == operators.Negate && v != math.MinInt64 {
			return constantNode(-v)
		}
	case float64:
		if n.Name == operators.Negate {
			return constantNode(-v)
		}
	}
	return nil
}

// product computes N * M (24 * 14 hours) where that cannot overflow, or returns nil.
func product(n *Node) *Node {
	a, okA := n.Args[0].Value.(int64)
	b, okB := n.Args[1].Value.(int64)
	const small = 1 << 30
	if !okA || !okB || a <= -small || a >= small || b <= -small || b >= small {
		return nil
	}
	return constantNode(a * b)
}

// comprehension recognises what exists() and all() expand to.
func (t *trees) comprehension(c ast.ComprehensionExpr, entry string) *Node {
	n := &Node{Args: []*Node{t.node(c.IterRange(), entry)}}
	inner := c.IterVar()
	if entry != "" { // a loop inside a loop is not looked into
		inner = ""
	}
	step := c.LoopStep()
	if step.Kind() == ast.CallKind && len(step.AsCall().Args()) == 2 && isName(step.AsCall().Args()[0], c.AccuVar()) && isName(c.Result(), c.AccuVar()) {
		condition := t.node(step.AsCall().Args()[1], inner)
		n.Args = append(n.Args, condition)
		init := c.AccuInit()
		switch fn := step.AsCall().FunctionName(); {
		case inner == "" || c.HasIterVar2() || init.Kind() != ast.LiteralKind:
		case fn == operators.LogicalOr && init.AsLiteral() == types.False:
			n.Op = Exists
		case fn == operators.LogicalAnd && init.AsLiteral() == types.True:
			n.Op = All
		}
		return n
	}
	for _, x := range []ast.Expr{c.AccuInit(), c.LoopCondition(), step, c.Result()} {
		n.Args = append(n.Args, t.node(x, ""))
	}
	n.Fallible = true // exists_one, filter and map do not absorb errors
	return n
}

func isName(e ast.Expr, name string) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == name }

func kindOfType(t *types.Type) Kind {
	for k, v := range kinds {
		if k != Invalid && t != nil && t.IsExactType(v.cel) {
			return k
		}
	}
	return Invalid
}
