package expr

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"sallyport/policy/strictyaml"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

var (
	overloadMessage  = regexp.MustCompile(`^found no matching overload for '(.*)' applied to '(.*)'$`)
	mismatchMessage  = regexp.MustCompile(`^expected type '(.*)' but found '(.*)'$`)
	selectionMessage = regexp.MustCompile(`^type '(.*)' does not support field selection$`)
	rangeMessage     = regexp.MustCompile(`^expression of type '(.*)' cannot be range`)
)

// explainTypes turns the type checker's errors into problems. Unknown names are left
// out: [names] has reported those, and better.
func (e *Env) explainTypes(text []rune, parsed *ast.AST, issues *cel.Issues) []Problem {
	var out []Problem
	m, info := &meaning{e, parsed}, parsed.SourceInfo()
	for _, issue := range issues.Errors() {
		if strings.HasPrefix(issue.Message, "undeclared reference") {
			continue
		}
		p := m.explain(issue)
		p.Offset = offsetAt(text, issue.Location.Line(), issue.Location.Column())
		if mismatchMessage.MatchString(issue.Message) || rangeMessage.MatchString(issue.Message) {
			p.Offset = startOfName(text, p.Offset)
		}
		if o := overloadMessage.FindStringSubmatch(issue.Message); o != nil && isWord(o[1]) {
			p.Offset = findWord(text, info, issue.ExprID, o[1][strings.LastIndexByte(o[1], '.')+1:])
		}
		out = append(out, p)
	}
	return out
}

// explain says what is wrong with a call, in the words of its operands where they are
// known.
func (m *meaning) explain(issue *common.Error) Problem {
	call := m.node(issue.ExprID)
	if o := overloadMessage.FindStringSubmatch(issue.Message); o != nil && call != nil && call.Kind() == ast.CallKind {
		if p := m.operands(call, o[1], o[2]); p.Message != "" {
			if p.patch == nil && !strings.Contains(p.Suggestion, ": ") { // a list is declared elsewhere
				p.patch = ofNode(call.ID(), p.Suggestion)
			}
			return p
		}
	}
	if o := selectionMessage.FindStringSubmatch(issue.Message); o != nil && call != nil && call.Kind() == ast.SelectKind {
		p := m.field(call, o[1])
		p.patch = ofNode(call.ID(), p.Suggestion)
		return p
	}
	if o := mismatchMessage.FindStringSubmatch(issue.Message); o != nil && call != nil && o[1] == "bool" {
		return m.condition(call, o[2])
	}
	switch {
	case strings.Contains(issue.Message, "invalid duration argument"):
		p := Problem{Message: "this is not a duration", Expected: `hours, minutes and seconds, such as "8h" or "1h30m"`}
		text := m.argument(call)
		switch meant := strictyaml.DurationMeant(text); {
		case meant != "":
			p.Suggestion = fmt.Sprintf("duration(%q)", meant)
			p.patch = ofCall(call, p.Suggestion, meant)
		case text != "" && strings.Trim(text, " 0123456789") == "":
			p.Expected = fmt.Sprintf(`a number with its unit: duration("%[1]ss"), duration("%[1]sm") or duration("%[1]sh")`, strings.TrimSpace(text))
		}
		return p
	case strings.Contains(issue.Message, "invalid timestamp argument"):
		p := Problem{Message: "this is not a timestamp, or no such day or hour exists", Expected: `RFC 3339, such as "2026-01-31T09:00:00Z"`}
		if t, ok := moment(m.argument(call)); ok {
			p.Suggestion = fmt.Sprintf("timestamp(%q)", t)
			p.patch = ofCall(call, p.Suggestion, t)
		}
		return p
	}
	return explainType(issue.Message)
}

// argument is the text that a function is called with, or the text itself.
func (m *meaning) argument(e ast.NavigableExpr) string {
	var literal ast.Expr = e
	if e != nil && e.Kind() == ast.CallKind && len(e.AsCall().Args()) == 1 {
		literal = e.AsCall().Args()[0]
	}
	if e == nil || literal.Kind() != ast.LiteralKind {
		return ""
	}
	text, _ := literal.AsLiteral().Value().(string)
	return text
}

// operands says why the operands of a call do not fit.
func (m *meaning) operands(call ast.NavigableExpr, fn, signature string) Problem {
	args := call.AsCall().Args()
	if call.AsCall().IsMemberFunction() {
		target, with, _ := strings.Cut(signature, ".(")
		if len(args) != 1 {
			return Problem{}
		}
		tt, ta := target, strings.TrimSuffix(with, ")")
		p := Problem{Message: fmt.Sprintf("%s() does not go with %s and %s", fn, m.described(call.AsCall().Target(), tt), m.described(args[0], ta))}
		p.Suggestion, p.Expected = m.member(fn, call.AsCall().Target(), args[0], tt, ta)
		return p
	}
	kinds := splitTypes(inner(signature))
	if f, ok := m.env.functions[fn]; ok {
		return Problem{Message: fmt.Sprintf("%s() does not take %s", fn, signature), Expected: called(f.Name)}
	}
	switch {
	case fn == "string" && strings.Contains(signature, "list(") && len(args) == 1:
		return Problem{Message: "string() gives the text of a number, not of " + m.described(args[0], inner(signature)), Expected: `in, which looks for an entry of a list: "..." in ` + m.text(args[0])}
	case fn == operators.Add && signature == "(bool, bool)":
		return Problem{Message: "true and false cannot be added up", Expected: "&& where all of them have to hold, || where one has to; or a score of each in rules of their own"}
	case fn == operators.LogicalNot && len(args) == 1:
		p := Problem{Message: "! negates a condition; this is " + m.described(args[0], inner(signature)),
			Expected: "brackets around what is negated", Suggestion: m.negated(call)}
		if parent, ok := call.Parent(); ok {
			p.patch = ofNode(parent.ID(), p.Suggestion)
		}
		return p
	case len(kinds) != 2 || len(args) != 2:
		return Problem{}
	case fn == operators.In:
		p := Problem{Message: fmt.Sprintf("`in` cannot look for %s in %s", m.described(args[0], kinds[0]), m.described(args[1], kinds[1]))}
		p.Suggestion, p.Expected = m.within(args[0], args[1], kinds[0], kinds[1])
		return p
	}
	if op, ok := isCompare(fn); ok {
		p := Problem{Message: fmt.Sprintf("%s cannot compare %s with %s", op, m.described(args[0], kinds[0]), m.described(args[1], kinds[1]))}
		p.Suggestion, p.Expected = m.compared(op, args[0], args[1], kinds[0], kinds[1])
		return p
	}
	return Problem{}
}

// ofCall is the patch of a call with another argument, for the call or the argument.
func ofCall(e ast.NavigableExpr, call, argument string) *patch {
	switch {
	case e == nil:
		return nil
	case e.Kind() == ast.LiteralKind:
		return ofNode(e.ID(), strconv.Quote(argument))
	}
	return ofNode(e.ID(), call)
}

// condition is about a value where a condition has to be.
func (m *meaning) condition(e ast.NavigableExpr, kind string) Problem {
	p := Problem{Message: "this is " + m.described(e, kind) + ", where a condition has to be", Expected: "something that is true or false"}
	if parent, ok := e.Parent(); ok && isOr(parent) {
		p.Expected, p.Suggestion = "a condition on each side of ||", m.either(parent)
		for up, ok := parent.Parent(); ok && isOr(up); up, ok = up.Parent() {
			parent = up
		}
		p.patch = ofNode(parent.ID(), p.Suggestion)
	} else if ok && parent.Kind() == ast.CallKind && parent.AsCall().FunctionName() == operators.LogicalAnd {
		p.Expected = "a condition on each side of &&"
	}
	return p
}

// splitTypes splits "int, list(string)" at its commas.
func splitTypes(signature string) []string {
	if signature == "" {
		return nil
	}
	return strings.Split(signature, ", ") // no type that a fact has holds a comma
}

func explainType(message string) Problem {
	if m := overloadMessage.FindStringSubmatch(message); m != nil {
		return explainOverload(m[1], m[2])
	}
	if m := mismatchMessage.FindStringSubmatch(message); m != nil {
		return Problem{Message: fmt.Sprintf("this is %s where %s has to be", article(m[2]), article(m[1]))}
	}
	if m := selectionMessage.FindStringSubmatch(message); m != nil {
		return Problem{Message: fmt.Sprintf("%s has no fields", article(m[1]))}
	}
	if m := rangeMessage.FindStringSubmatch(message); m != nil {
		return Problem{Message: fmt.Sprintf("exists(), all(), filter() and map() go through a list; this is %s", article(m[1]))}
	}
	if strings.Contains(message, "regex") {
		return Problem{Message: message, Expected: "a shorter pattern"}
	}
	if strings.Contains(message, "nesting limit") {
		return Problem{Message: "loops (exists, all, filter, map) are nested too deeply", Expected: "at most one inside another"}
	}
	return Problem{Message: message}
}

func explainOverload(fn, signature string) Problem {
	operator := strings.Trim(fn, "_@")
	switch fn {
	case "_?_:_":
		return Problem{Message: "the three parts of ?: do not fit: " + signature,
			Expected: "a condition, and two values of one type"}
	}
	if target, args, ok := strings.Cut(signature, ".("); ok {
		return Problem{Message: fmt.Sprintf("%s() is not a function of %s with (%s)", fn, article(target), strings.TrimSuffix(args, ")"))}
	}
	if len(operator) < 3 {
		return Problem{Message: fmt.Sprintf("%s cannot be applied to %s", operator, signature)}
	}
	return Problem{Message: fmt.Sprintf("%s() does not take %s", fn, signature)}
}

// inner takes the brackets off a signature: (int, list(string)).
func inner(signature string) string {
	return strings.TrimSuffix(strings.TrimPrefix(signature, "("), ")")
}

func article(kind string) string {
	if strings.HasPrefix(kind, "int") {
		return "an " + kind
	}
	return "a " + kind
}
