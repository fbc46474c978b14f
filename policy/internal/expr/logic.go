package expr

import (
	"math"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Literal is a condition that and, or and not are made of, or the negation of one.
type Literal struct {
	Text string // as CEL prints the condition, without the negation
	Not  bool
	// Total: it has a value whatever the facts are. What is not total may fail to be
	// evaluated, and then it is neither true nor false.
	Total bool
	// Subject is what is compared with constants ("ip.asn", "size(user.groups)"), and Values what
	// it has to be for the literal to hold, the negation considered. "": it is no such comparison.
	Subject string
	Values  Values
	Offset  int // of the condition in the expression, in characters
}

// maxCases bounds the alternatives that an expression is multiplied out to.
const maxCases = 256

// Cases returns the condition, or its negation, as alternatives of which each is a conjunction:
// its disjunctive normal form. CEL's logic with errors is Kleene's with three values, in which the laws
// of De Morgan and of distribution hold: an expression is false exactly when all its cases are. It
// reports false if there are too many.
func (p *Program) Cases(negated bool) ([][]Literal, bool) {
	l := &logic{p: p, info: p.ast.NativeRep().SourceInfo(), text: []rune(p.text)}
	cases := l.cases(p.ast.NativeRep().Expr(), negated)
	return cases, cases != nil
}

// Literals returns every literal of the expression.
func (p *Program) Literals() []Literal {
	l := &logic{p: p, info: p.ast.NativeRep().SourceInfo(), text: []rune(p.text)}
	return l.all(p.ast.NativeRep().Expr(), false)
}

// Loops reports whether the expression goes through lists (exists, all, filter, map). On very large
// facts such an expression can run into the cost limit as a whole.
func (p *Program) Loops() bool {
	loops := false
	ast.PostOrderVisit(p.ast.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) { loops = loops || e.Kind() == ast.ComprehensionKind }))
	return loops
}

type logic struct {
	p    *Program
	info *ast.SourceInfo
	text []rune
}

// cases returns nil if there are too many, and one empty case for true.
func (l *logic) cases(e ast.Expr, not bool) [][]Literal {
	if e.Kind() == ast.LiteralKind {
		if (e.AsLiteral() == types.True) != not {
			return [][]Literal{{}}
		}
		return [][]Literal{{{Text: "false", Total: true, Subject: "false", Offset: l.offset(e)}}}
	}
	if e.Kind() == ast.CallKind {
		args := e.AsCall().Args()
		switch fn := e.AsCall().FunctionName(); {
		case fn == operators.LogicalNot:
			return l.cases(args[0], !not)
		case fn == operators.LogicalAnd && !not, fn == operators.LogicalOr && not:
			return product(l.cases(args[0], not), l.cases(args[1], not))
		case fn == operators.LogicalAnd, fn == operators.LogicalOr:
			a, b := l.cases(args[0], not), l.cases(args[1], not)
			if a == nil || b == nil || len(a)+len(b) > maxCases {
				return nil
			}
			return append(slices.Clone(a), b...)
		}
	}
	return [][]Literal{{l.literal(e, not)}}
}

func product(a, b [][]Literal) [][]Literal {
	if a == nil || b == nil || len(a)*len(b) > maxCases {
		return nil
	}
	var out [][]Literal
	for _, x := range a {
		for _, y := range b {
			out = append(out, append(slices.Clone(x), y...))
		}
	}
	return out
}

func (l *logic) all(e ast.Expr, not bool) []Literal {
	if e.Kind() == ast.CallKind {
		switch args := e.AsCall().Args(); e.AsCall().FunctionName() {
		case operators.LogicalNot:
			return l.all(args[0], !not)
		case operators.LogicalAnd, operators.LogicalOr:
			return append(l.all(args[0], not), l.all(args[1], not)...)
		}
	}
	return []Literal{l.literal(e, not)}
}

func (l *logic) offset(e ast.Expr) int {
	// The first of its parts: CEL puts a comparison at its operator.
	first := len(l.text)
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if r, ok := l.info.GetOffsetRange(e.ID()); ok {
			first = min(first, startOfName(l.text, int(r.Start)))
		}
	}))
	return first
}

func (l *logic) print(e ast.Expr) string {
	text, err := cel.ExprToString(e, l.info)
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(text, "\n", " ")
}

func (l *logic) literal(e ast.Expr, not bool) Literal {
	out := Literal{Text: l.print(e), Not: not, Total: l.total(e), Offset: l.offset(e)}
	subject, values, ok := l.comparison(e)
	if !ok || out.Text == "" {
		return out
	}
	if not {
		values = values.Not()
	}
	out.Subject, out.Values = subject, values
	return out
}

// comparison takes apart what compares one subject with constants.
func (l *logic) comparison(e ast.Expr) (string, Values, bool) {
	if f, ok := l.fact(e); ok && f.Kind == Bool {
		return f.Name, Between(1, 1), true
	}
	if e.Kind() != ast.CallKind || len(e.AsCall().Args()) != 2 || e.AsCall().IsMemberFunction() {
		return "", Values{}, false
	}
	fn, args := e.AsCall().FunctionName(), e.AsCall().Args()
	if fn == operators.In {
		subject, kind := l.subject(args[0])
		values, ok := l.members(args[1], kind)
		return subject, values, ok && subject != ""
	}
	turned := map[string]string{operators.Equals: operators.Equals, operators.NotEquals: operators.NotEquals, operators.Less: operators.Greater,
		operators.Greater: operators.Less, operators.LessEquals: operators.GreaterEquals, operators.GreaterEquals: operators.LessEquals}
	if turned[fn] == "" {
		return "", Values{}, false
	}
	subject, kind := l.subject(args[0])
	constant := args[1]
	if subject == "" {
		subject, kind = l.subject(args[1])
		constant, fn = args[0], turned[fn]
	}
	if subject == "" {
		return "", Values{}, false
	}
	values, ok := l.compared(fn, kind, constant)
	return subject, values, ok
}

func (l *logic) compared(fn string, kind Kind, constant ast.Expr) (Values, bool) {
	if text, ok := text(constant); ok && kind == String {
		switch fn {
		case operators.Equals:
			return Texts(text), true
		case operators.NotEquals:
			return Texts(text).Not(), true
		}
		return Values{}, false
	}
	n, ok := number(constant, kind)
	if !ok || n <= math.MinInt64+1 || n >= math.MaxInt64-1 { // so that one more or less is a number too
		return Values{}, false
	}
	last := int64(math.MaxInt64)
	if kind == Double {
		last-- // "not a number" is neither more nor less
	}
	switch fn {
	case operators.Equals:
		return Between(n, n), true
	case operators.NotEquals:
		return Between(n, n).Not(), true
	case operators.Less:
		return Between(math.MinInt64, n-1), true
	case operators.LessEquals:
		return Between(math.MinInt64, n), true
	case operators.Greater:
		return Between(n+1, last), true
	default:
		return Between(n, last), true
	}
}

// subject names what can be compared, if it is always the same for the same facts.
func (l *logic) subject(e ast.Expr) (string, Kind) {
	if f, ok := l.fact(e); ok {
		return f.Name, f.Kind
	}
	if e.Kind() != ast.CallKind {
		return "", Invalid
	}
	call := e.AsCall()
	if f, ok := l.p.env.functions[call.FunctionName()]; ok && f.Result != Bool {
		return l.print(e), f.Result
	}
	of := call.Args()
	if call.IsMemberFunction() {
		of = append([]ast.Expr{call.Target()}, of...)
	}
	if call.FunctionName() == "size" && len(of) == 1 {
		if f, ok := l.fact(of[0]); ok {
			return "size(" + f.Name + ")", Int
		}
	}
	return "", Invalid
}

func (l *logic) fact(e ast.Expr) (Fact, bool) {
	if e.Kind() != ast.IdentKind {
		return Fact{}, false
	}
	return l.p.env.schema.Lookup(e.AsIdent())
}

// members are the values of a constant list.
func (l *logic) members(e ast.Expr, kind Kind) (Values, bool) {
	var list List
	switch e.Kind() {
	case ast.IdentKind:
		s, ok := l.p.env.lists[e.AsIdent()]
		if !ok {
			return Values{}, false
		}
		list = s.list
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			if t, ok := text(x); ok {
				list.Strings = append(list.Strings, t)
			} else if n, ok := number(x, Int); ok {
				list.Ints = append(list.Ints, n)
			} else {
				return Values{}, false
			}
		}
	default:
		return Values{}, false
	}
	switch {
	case kind == String && len(list.Ints) == 0:
		return Texts(list.Strings...), true
	case kind == Int && len(list.Strings) == 0 && len(list.Ints) <= maxCases:
		var out Values
		for _, n := range list.Ints {
			out = out.Or(Between(n, n))
		}
		return out, true
	}
	return Values{}, false
}

func text(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	t, ok := e.AsLiteral().(types.String)
	return string(t), ok
}

// number is a constant of a kind, in the order of [Values].
func number(e ast.Expr, kind Kind) (int64, bool) {
	if e.Kind() == ast.LiteralKind {
		switch v := e.AsLiteral().(type) {
		case types.Int:
			return int64(v), kind == Int
		case types.Double:
			return ordered(float64(v)), kind == Double
		case types.Bool:
			return map[bool]int64{true: 1}[bool(v)], kind == Bool
		}
		return 0, false
	}
	if e.Kind() != ast.CallKind {
		return 0, false
	}
	args := e.AsCall().Args()
	switch fn := e.AsCall().FunctionName(); {
	case fn == "duration" && kind == Duration:
		t, _ := text(args[0])
		d, err := time.ParseDuration(t)
		return int64(d), err == nil
	case fn == operators.Multiply && kind == Int:
		a, okA := number(args[0], kind)
		b, okB := number(args[1], kind)
		const small = 1 << 30
		return a * b, okA && okB && -small < a && a < small && -small < b && b < small
	}
	return 0, false
}

// totals are the functions that have a result for all arguments of their types.
var totals = []string{operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Equals, operators.NotEquals,
	operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals, operators.In, operators.Conditional,
	"size", "contains", "startsWith", "endsWith", "matches", "lowerAscii"}

// total reports whether an expression has a value whatever the facts are.
func (l *logic) total(e ast.Expr) bool {
	switch e.Kind() {
	case ast.LiteralKind, ast.IdentKind:
		return true
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			if !l.total(x) {
				return false
			}
		}
		return true
	case ast.CallKind:
		call := e.AsCall()
		if _, isNumber := number(e, Duration); isNumber {
			return true
		}
		if _, isNumber := number(e, Int); isNumber {
			return true
		}
		if f, ok := l.p.env.functions[call.FunctionName()]; ok {
			return f.Total && l.p.calls[e.ID()] != nil
		}
		if call.IsMemberFunction() && !l.total(call.Target()) {
			return false
		}
		for _, a := range call.Args() {
			if !l.total(a) {
				return false
			}
		}
		return slices.Contains(totals, call.FunctionName())
	}
	return false
}
