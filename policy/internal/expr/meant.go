package expr

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/policy/strictyaml"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"
)

// meaning rewrites calls whose operands do not fit together as their author probably meant
// them. What it offers compiles: a suggestion that leads to another mistake is worse than
// none.
type meaning struct {
	env    *Env
	parsed *ast.AST
}

// node returns the part of the parsed expression with an ID, or nil.
func (m *meaning) node(id int64) ast.NavigableExpr {
	found := ast.MatchDescendants(ast.NavigateAST(m.parsed), func(e ast.NavigableExpr) bool { return e.ID() == id })
	if len(found) == 0 {
		return nil
	}
	return found[0]
}

// text is an expression as it is written, or "".
func (m *meaning) text(e ast.Expr) string {
	text, err := parser.Unparse(e, m.parsed.SourceInfo(), parser.WrapOnColumn(MaxText))
	if err != nil {
		return ""
	}
	return text
}

// operand is text(e), in brackets where an operator beside it could take it apart.
func (m *meaning) operand(e ast.Expr) string {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() != operators.Index && !isWord(e.AsCall().FunctionName()) && !strings.Contains(e.AsCall().FunctionName(), ".") {
		return "(" + m.text(e) + ")"
	}
	return m.text(e)
}

// compiles returns text if it is a condition, and "" otherwise. One with the name of an
// entry of a loop is none by itself.
func (m *meaning) compiles(text string) string {
	if text == "" {
		return ""
	}
	checked, issues := m.env.cel.Compile(text)
	if issues.Err() != nil || checked.OutputType() != types.BoolType {
		return ""
	}
	return text
}

// kindWords are what people call the types.
var kindWords = map[string]string{"int": "a whole number", "double": "a number with a fraction", "string": "text", "bool": "true or false",
	"duration": "a duration", "timestamp": "a point in time", "null": "null", "list(string)": "a list of texts", "list(int)": "a list of numbers"}

// described says what an operand is: ip.asn, a whole number.
func (m *meaning) described(e ast.Expr, kind string) string {
	word := kindWords[kind]
	if word == "" {
		word = article(kind)
	}
	text := m.text(e)
	if text == "" || len(text) > 60 || word == text {
		return word
	}
	return text + " (" + word + ")"
}

// isCompare reports whether a function is a comparison, and the text of it.
func isCompare(fn string) (string, bool) {
	switch fn {
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return strings.Trim(fn, "_"), true
	}
	return "", false
}

// compared returns the comparison of a and b, of the types ta and tb, as it was probably
// meant, and what the operands have to be.
func (m *meaning) compared(op string, a, b ast.Expr, ta, tb string) (meant, expected string) {
	not := func(condition string) string {
		if op == "!=" && condition != "" {
			return "!(" + condition + ")"
		}
		return condition
	}
	equality := op == "==" || op == "!="
	switch {
	case ta == "null" || tb == "null":
		fact, kind := a, ta
		if ta == "null" {
			fact, kind = b, tb
		}
		return m.unknown(op, fact, kind)
	case equality && ta == "list("+tb+")":
		return m.compiles(not(m.operand(b) + " in " + m.operand(a))), "in, which looks for one entry"
	case equality && tb == "list("+ta+")":
		return m.compiles(not(m.operand(a) + " in " + m.operand(b))), "in, which looks in a list"
	}
	if ta == "bool" && a.Kind() == ast.CallKind && len(a.AsCall().Args()) == 2 {
		if _, chained := isCompare(a.AsCall().FunctionName()); chained { // 9 <= x < 17
			return m.compiles(m.text(a) + " && " + m.operand(a.AsCall().Args()[1]) + " " + op + " " + m.operand(b)), "two comparisons, with &&"
		}
	}
	constant, fact, kind, flipped := b, a, ta, false
	if a.Kind() == ast.LiteralKind {
		constant, fact, kind, flipped = a, b, tb, true
	}
	if constant.Kind() != ast.LiteralKind {
		return "", "two values of one kind"
	}
	if kind == "bool" {
		if c, n := fact.AsCall(), constant.AsLiteral().Value(); fact.Kind() == ast.CallKind && (c.FunctionName() == operators.In || c.FunctionName() == "contains") {
			switch fmt.Sprint(op, n) { // what indexOf() gives
			case ">=0", ">-1", "!=-1":
				return m.compiles(m.text(fact)), "the condition by itself: it is true or false"
			case "<0", "==-1":
				return m.compiles("!" + m.operand(fact)), "the condition by itself: it is true or false"
			}
		}
		yes, known := truth(constant)
		if !known || !equality {
			return "", "true or false, without quotes"
		}
		if yes == (op == "==") {
			return m.compiles(m.text(fact)), "the fact by itself: it is true or false"
		}
		return m.compiles("!" + m.operand(fact)), "the fact by itself: it is true or false"
	}
	fitting, expected := fit(constant, kind)
	if fitting == "" {
		return "", expected
	}
	if flipped {
		return m.compiles(fitting + " " + op + " " + m.operand(fact)), expected
	}
	return m.compiles(m.operand(fact) + " " + op + " " + fitting), expected
}

// unknown is a comparison with null, which no fact ever is.
func (m *meaning) unknown(op string, fact ast.Expr, kind string) (meant, expected string) {
	value := map[string]string{"string": `""`, "list(string)": "[]", "list(int)": "[]"}[kind]
	if strings.HasSuffix(m.text(fact), ".country") {
		value = `"ZZ"`
	}
	if value != "" && (op == "==" || op == "!=") {
		meant = m.compiles(m.operand(fact) + " " + op + " " + value)
	}
	if kind == "bool" {
		yes := map[string]string{"==": "!" + m.operand(fact), "!=": m.text(fact)}[op]
		return m.compiles(yes), "the fact by itself: where it is not known it is false"
	}
	return meant, "the value that means “not known”: a fact always has one"
}

// truth reads what stands for true or false elsewhere.
func truth(e ast.Expr) (yes, known bool) {
	switch strings.ToLower(fmt.Sprint(e.AsLiteral().Value())) {
	case "true", "yes", "on", "1", "y", "t":
		return true, true
	case "false", "no", "off", "0", "n", "f":
		return false, true
	}
	return false, false
}

// fit returns a constant as one of a kind, or "", and what a constant of the kind is.
func fit(constant ast.Expr, kind string) (fitting, expected string) {
	value := constant.AsLiteral().Value()
	text, isText := value.(string)
	switch kind {
	case "int":
		expected = "a whole number, without quotes"
		if n, ok := strictyaml.NumberMeant(text); ok {
			return strconv.FormatInt(n, 10), expected
		}
		if f, ok := value.(float64); ok && f == float64(int64(f)) {
			return strconv.FormatInt(int64(f), 10), "a whole number, without a fraction"
		}
	case "double":
		expected = "a number with a fraction, such as 900.0"
		if n, ok := value.(int64); ok {
			return strconv.FormatInt(n, 10) + ".0", expected
		}
		if f, err := strconv.ParseFloat(text, 64); err == nil && !strings.ContainsAny(text, "xXpP_nN") {
			fitting = strconv.FormatFloat(f, 'f', -1, 64)
			if !strings.Contains(fitting, ".") {
				fitting += ".0"
			}
			return fitting, expected
		}
	case "string":
		if !isText {
			return strconv.Quote(fmt.Sprint(value)), "text, in quotes"
		}
	case "duration":
		expected = `a duration, such as duration("8h")`
		if n, ok := value.(int64); ok && n > 0 {
			return fmt.Sprintf(`duration("%ds")`, n), expected + ": with its unit"
		}
		if d := strictyaml.DurationMeant(text); isText && d != "" {
			return fmt.Sprintf("duration(%q)", d), expected
		}
	case "timestamp":
		expected = `a point in time, such as timestamp("2026-01-31T09:00:00Z")`
		if t, ok := moment(text); ok {
			return fmt.Sprintf("timestamp(%q)", t), expected
		}
	}
	if expected == "" {
		return "", "two values of one kind"
	}
	return "", expected
}

// moment reads a date, with or without a time of the day, as RFC 3339. Without a zone it is
// taken for UTC.
func moment(text string) (string, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02", "2006-01-02 15:04", "2006-01-02T15:04", time.DateTime, "2006-01-02T15:04:05", "2006-01-02Z07:00"} {
		if t, err := time.Parse(layout, strings.TrimSpace(text)); err == nil {
			return t.Format(time.RFC3339), true
		}
	}
	return "", false
}

// separators stand between values that someone wrote into one text.
var separators = regexp.MustCompile(`[,;|\s]+`)

// within returns `a in b`, of the types ta and tb, as it was probably meant, and what the
// operands have to be.
func (m *meaning) within(a, b ast.Expr, ta, tb string) (meant, expected string) {
	left, right := m.operand(a), m.operand(b)
	switch {
	case ta == "list("+tb+")":
		return m.compiles(right + " in " + left), "the list on the right"
	case ta == tb && strings.HasPrefix(ta, "list("):
		return m.compiles(left + ".exists(x, x in " + right + ")"), "one value on the left, or exists() where any entry may be in the list"
	case tb == "string" && b.Kind() == ast.LiteralKind && ta == "string":
		text := b.AsLiteral().Value().(string)
		if parts := separators.Split(strings.TrimSpace(text), -1); len(parts) > 1 {
			for i, p := range parts {
				parts[i] = strconv.Quote(p)
			}
			return m.compiles(left + " in [" + strings.Join(parts, ", ") + "]"), "a list on the right"
		}
		return m.compiles(left + " == " + right), "a list on the right, or == for one value"
	case ta == "string" && tb == "string":
		return m.compiles(right + ".contains(" + m.text(a) + ")"), "a list on the right; contains() looks for a part of a text"
	case !strings.HasPrefix(tb, "list("):
		if b.Kind() != ast.LiteralKind {
			return "", "a list on the right"
		}
		if fitting, _ := fit(b, ta); fitting != "" {
			right = fitting
		}
		return m.compiles(left + " == " + right), "a list on the right, or == for one value"
	}
	if ta == "string" && a.Kind() == ast.CallKind && m.env.functions[a.AsCall().FunctionName()].Name == "time.weekday" {
		return "", `days in quotes, such as ["Sat", "Sun"]`
	}
	if b.Kind() == ast.ListKind {
		var entries []string
		for _, e := range b.AsList().Elements() {
			fitting := m.text(e)
			if e.Kind() == ast.LiteralKind {
				if f, _ := fit(e, ta); f != "" {
					fitting = f
				}
			}
			entries = append(entries, fitting)
		}
		meant = m.compiles(left + " in [" + strings.Join(entries, ", ") + "]")
	}
	if l := m.env.lists[name(b)]; l != nil && ta == "int" {
		return numbers(strings.TrimPrefix(name(b), "lists."), l.list.Strings), "whole numbers without quotes in the list"
	}
	if ta == "int" {
		return meant, "a list of whole numbers, without quotes"
	}
	return meant, "a list of " + ta
}

// numbers is the declaration of a list of text as one of numbers, or "".
func numbers(list string, entries []string) string {
	out := make([]string, len(entries))
	if len(entries) == 0 {
		return ""
	}
	for i, entry := range entries {
		n, ok := strictyaml.NumberMeant(entry)
		if !ok || i == 20 {
			return ""
		}
		out[i] = strconv.FormatInt(n, 10)
	}
	return list + ": [" + strings.Join(out, ", ") + "]"
}

// member returns target.fn(arg), of the types tt and ta, as it was probably meant, and what
// would do it.
func (m *meaning) member(fn string, target, arg ast.Expr, tt, ta string) (meant, expected string) {
	of, with := m.operand(target), m.text(arg)
	switch {
	case fn == "contains" && tt == "list("+ta+")":
		return m.compiles(m.operand(arg) + " in " + of), "in, which looks for an entry of a list"
	case fn == "contains" && strings.HasPrefix(tt, "list(") && tt == ta:
		return m.compiles(of + ".exists(x, x in " + m.operand(arg) + ")"), "exists(), where any entry may be in the other list"
	case tt == "list(string)" && ta == "string":
		return m.compiles(fmt.Sprintf("%s.exists(x, x.%s(%s))", of, fn, with)), "exists(), which asks each entry"
	case tt == "string" && ta == "list(string)":
		return m.compiles(fmt.Sprintf("%s.exists(x, %s.%s(x))", m.operand(arg), of, fn)), "one text, or exists() over the list"
	case tt == "int" && ta == "string":
		return m.compiles(fmt.Sprintf("string(%s).%s(%s)", of, fn, with)), "text; a number is compared with ==, <, > or in"
	case tt == "string" && arg.Kind() == ast.LiteralKind:
		if fitting, _ := fit(arg, "string"); fitting != "" {
			return m.compiles(fmt.Sprintf("%s.%s(%s)", of, fn, fitting)), "text, in quotes"
		}
	}
	return "", ""
}

// either returns a || b, where b is a value alone and a compares with one like it: people
// write country == "US" || "GB".
func (m *meaning) either(e ast.NavigableExpr) string {
	for parent, ok := e.Parent(); ok && isOr(parent); parent, ok = parent.Parent() {
		e = parent
	}
	var fact string
	var values []string
	for _, part := range alternatives(e) {
		if part.Kind() == ast.LiteralKind {
			values = append(values, m.text(part))
			continue
		}
		if part.Kind() != ast.CallKind || part.AsCall().FunctionName() != operators.Equals {
			return ""
		}
		args := part.AsCall().Args()
		if text := m.text(args[0]); fact != "" && text != fact || args[1].Kind() != ast.LiteralKind {
			return ""
		}
		fact, values = m.text(args[0]), append(values, m.text(args[1]))
	}
	if fact == "" {
		return ""
	}
	return m.compiles(fact + " in [" + strings.Join(values, ", ") + "]")
}

func isOr(e ast.Expr) bool {
	return e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.LogicalOr
}

// alternatives are the parts of a || b || c, from left to right.
func alternatives(e ast.Expr) []ast.Expr {
	if !isOr(e) {
		return []ast.Expr{e}
	}
	var out []ast.Expr
	for _, a := range e.AsCall().Args() {
		out = append(out, alternatives(a)...)
	}
	return out
}

// negated returns the negation of all that `!a == b` or `!a in b` was about.
func (m *meaning) negated(e ast.NavigableExpr) string {
	parent, ok := e.Parent()
	if !ok || parent.Kind() != ast.CallKind || parent.AsCall().IsMemberFunction() {
		return ""
	}
	call, of := parent.AsCall(), m.operand(e.AsCall().Args()[0])
	if len(call.Args()) != 2 || call.Args()[0].ID() != e.ID() {
		return ""
	}
	other := m.operand(call.Args()[1])
	if op, ok := isCompare(call.FunctionName()); ok {
		return m.compiles("!(" + of + " " + op + " " + other + ")")
	}
	if call.FunctionName() == operators.In {
		return m.compiles("!(" + of + " in " + other + ")")
	}
	return ""
}

// field says what was meant by a field that no value has: user.groups.size.
func (m *meaning) field(e ast.Expr, kind string) Problem {
	name, of := e.AsSelect().FieldName(), m.text(e.AsSelect().Operand())
	p := Problem{Message: fmt.Sprintf("%s has no field %s", m.described(e.AsSelect().Operand(), kind), name)}
	switch {
	case slices.Contains([]string{"size", "length", "len", "count"}, name):
		p.Suggestion = "size(" + of + ")"
	case kind == "string" && name == "domain":
		p.Expected = fmt.Sprintf("%s.endsWith(\"@example.com\")", of)
	case kind == "timestamp":
		p.Expected = `time.hour("Europe/Zurich") or time.weekday("Europe/Zurich")`
	case kind == "bool":
		p.Expected = of + " by itself: it is true or false"
	default:
		p.Expected = "a function of it, such as " + map[bool]string{true: "size(" + of + ")", false: of + `.contains("...")`}[strings.HasPrefix(kind, "list(")]
	}
	return p
}
