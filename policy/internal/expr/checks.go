package expr

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"sallyport/policy/strictyaml"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Comparison is a fact, or the result of a function, compared with constants: what its
// caller needs to notice a comparison that can never hold.
type Comparison struct {
	Subject string // "ip.country", "time.weekday"
	// How is Equal for ==, != and in; Less and its like, with the subject on the left;
	// or Method, which is named by Method.
	How    Op
	Method string // "startsWith", "endsWith", "contains", "matches"
	// Lower: not the subject is compared but its lowerAscii().
	Lower  bool
	Values []Value
	List   string // the name of the list compared with, and no Values
}

// Asks is how a message says what the comparison asks of its subject.
func (c Comparison) Asks() string {
	switch c.Method {
	case "startsWith":
		return "begins with"
	case "endsWith":
		return "ends with"
	case "contains":
		return "contains"
	case "matches":
		return "matches"
	}
	return "is"
}

// Value is one constant that is compared with.
type Value struct {
	Text   string // in Go's spelling of the value: US, 42
	Offset int
}

// checks walks a type-checked expression: it refuses what type checking cannot, binds
// functions to constant arguments, and collects what is read and compared.
type checks struct {
	env      *Env
	text     []rune
	info     *ast.SourceInfo
	aliases  []alias // entries of list facts, inside comprehensions
	calls    map[int64]Bound
	read     map[string]bool
	lists    []string
	compare  []Comparison
	texts    []Value
	problems []Problem
}

type alias struct{ variable, fact string }

func (c *checks) offset(e ast.Expr) int {
	r, _ := c.info.GetOffsetRange(e.ID())
	return startOfName(c.text, max(0, min(int(r.Start), len(c.text))))
}

func (c *checks) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		if _, ok := c.env.schema.byName[e.AsIdent()]; ok {
			c.read[e.AsIdent()] = true
		}
		if name, ok := strings.CutPrefix(e.AsIdent(), "lists."); ok && !slices.Contains(c.lists, name) {
			c.lists = append(c.lists, name)
		}
	case ast.LiteralKind:
		if s, ok := e.AsLiteral().(types.String); ok {
			c.texts = append(c.texts, Value{string(s), c.offset(e)})
		}
	case ast.SelectKind:
		c.visit(e.AsSelect().Operand())
	case ast.ListKind:
		c.visitList(e)
	case ast.CallKind:
		c.visitCall(e)
	case ast.ComprehensionKind:
		f := e.AsComprehension()
		c.visit(f.IterRange())
		depth := len(c.aliases)
		c.aliases = append(c.aliases, alias{f.IterVar(), c.subject(f.IterRange())})
		for _, x := range []ast.Expr{f.AccuInit(), f.LoopCondition(), f.LoopStep(), f.Result()} {
			c.visit(x)
		}
		c.aliases = c.aliases[:depth]
	}
}

// visitList refuses a list of texts and numbers: one of the two kinds is never found in it.
func (c *checks) visitList(e ast.Expr) {
	var first Kind
	for _, x := range e.AsList().Elements() {
		c.visit(x)
		kind := Invalid
		if x.Kind() == ast.LiteralKind {
			switch x.AsLiteral().(type) {
			case types.String:
				kind = String
			case types.Int:
				kind = Int
			case types.Double:
				kind = Double
			}
		}
		if first == Invalid {
			first = kind
		} else if kind != Invalid && kind != first {
			p := Problem{Offset: c.offset(x), Message: "the list mixes " + kindWords[first.String()] + " and " + kindWords[kind.String()] + ": nothing equals both",
				Expected: "entries of one kind"}
			if n, ok := strictyaml.NumberMeant(fmt.Sprint(x.AsLiteral().Value())); ok && first == Int {
				p.Suggestion = strconv.FormatInt(n, 10)
			}
			c.problems = append(c.problems, p)
			return
		}
	}
}

func (c *checks) visitCall(e ast.Expr) {
	call := e.AsCall()
	if call.IsMemberFunction() {
		c.visit(call.Target())
	}
	for _, a := range call.Args() {
		c.visit(a)
	}
	fn, args := call.FunctionName(), call.Args()
	if f, ok := c.env.functions[fn]; ok {
		for _, r := range f.Reads {
			c.read[r] = true
		}
		c.bind(e, f, args[0])
		return
	}
	switch fn {
	case "matches":
		pattern := args[len(args)-1]
		if c.checkPattern(pattern) && call.IsMemberFunction() {
			c.addComparison(Comparison{How: Method, Method: fn}, call.Target(), pattern)
		}
	case "startsWith", "endsWith", "contains":
		c.addComparison(Comparison{How: Method, Method: fn}, call.Target(), args[0])
	case operators.Equals, operators.NotEquals:
		c.addComparison(Comparison{How: Equal}, args[0], args[1])
		c.addComparison(Comparison{How: Equal}, args[1], args[0])
	case operators.In:
		c.refuseEmpty(args[1])
		c.addComparison(Comparison{How: Equal}, args[0], args[1])
		c.addComparison(Comparison{How: Equal}, args[1], args[0])
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		c.addComparison(Comparison{How: comparisons[fn]}, args[0], args[1])
		c.addComparison(Comparison{How: comparisons[fn].Flip()}, args[1], args[0])
	}
}

// refuseEmpty refuses a list that is written out and empty: nothing is ever in it. One
// under `lists:` may wait for its first entry.
func (c *checks) refuseEmpty(list ast.Expr) {
	if list.Kind() == ast.ListKind && len(list.AsList().Elements()) == 0 {
		c.problems = append(c.problems, Problem{Offset: c.offset(list),
			Message: "nothing is ever in an empty list", Expected: "entries, or == [] to ask whether a fact has none"})
	}
}

// subject returns the name of the fact, list or function that an expression is, or "".
func (c *checks) subject(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		name := e.AsIdent()
		for i := len(c.aliases) - 1; i >= 0; i-- {
			if c.aliases[i].variable == name {
				return c.aliases[i].fact
			}
		}
		if _, ok := c.env.schema.byName[name]; ok {
			return name
		}
		if _, ok := c.env.lists[name]; ok {
			return name
		}
	case ast.CallKind:
		if _, ok := c.env.functions[e.AsCall().FunctionName()]; ok {
			return e.AsCall().FunctionName()
		}
	}
	return ""
}

// addComparison completes a comparison with its subject and what that is compared with.
func (c *checks) addComparison(cmp Comparison, subject, constant ast.Expr) {
	if subject.Kind() == ast.CallKind && subject.AsCall().FunctionName() == "lowerAscii" {
		subject, cmp.Lower = subject.AsCall().Target(), true
	}
	if cmp.Subject = c.subject(subject); cmp.Subject == "" || strings.HasPrefix(cmp.Subject, "lists.") {
		return
	}
	switch constant.Kind() {
	case ast.LiteralKind:
		cmp.Values = c.literal(nil, constant)
	case ast.ListKind:
		for _, x := range constant.AsList().Elements() {
			cmp.Values = c.literal(cmp.Values, x)
		}
	case ast.IdentKind: // a list, or an entry of one inside a comprehension
		if list, ok := strings.CutPrefix(c.subject(constant), "lists."); ok {
			cmp.List = list
		}
	}
	if len(cmp.Values) > 0 || cmp.List != "" {
		c.compare = append(c.compare, cmp)
	}
}

func (c *checks) literal(to []Value, e ast.Expr) []Value {
	if e.Kind() != ast.LiteralKind {
		return to
	}
	switch v := e.AsLiteral().(type) {
	case types.String:
		return append(to, Value{string(v), c.offset(e)})
	case types.Int:
		return append(to, Value{fmt.Sprint(int64(v)), c.offset(e)})
	}
	return to
}

// checkPattern refuses a pattern that is not anchored at both ends. RE2 matches anywhere
// in the text: "admin\.example\.com" also matches "admin.example.com.attacker.net". ^a|b$
// is not anchored either, so it is the parsed pattern that is looked at.
func (c *checks) checkPattern(e ast.Expr) (ok bool) {
	literal := ref.Val(nil)
	if e.Kind() == ast.LiteralKind {
		literal = e.AsLiteral()
	}
	pattern, isText := literal.(types.String)
	if !isText {
		c.problems = append(c.problems, Problem{Offset: c.offset(e),
			Message: "the pattern of matches() has to be written out in the rule", Expected: `a text such as "^[a-z]+-admin$"`})
		return false
	}
	re, err := syntax.Parse(string(pattern), syntax.Perl)
	if err != nil {
		c.problems = append(c.problems, Problem{Offset: c.offset(e), Message: "the pattern does not read as one: " + err.Error(), Expected: re2(string(pattern))})
		return false
	}
	if m := delimited.FindStringSubmatch(string(pattern)); m != nil {
		meant := m[1]
		if strings.Contains(m[2], "i") {
			meant = "(?i)" + meant
		}
		c.problems = append(c.problems, Problem{Offset: c.offset(e), Message: "slashes around a pattern, and flags behind it, would be a part of it",
			Expected: "the pattern alone; (?i) in front makes no difference between small letters and capitals", Suggestion: strconv.Quote(strings.ReplaceAll(meant, `\/`, "/"))})
		return false
	}
	if !anchored(re, true) || !anchored(re, false) {
		c.problems = append(c.problems, Problem{Offset: c.offset(e),
			Message:    "the pattern is not anchored at both ends: it would match anywhere inside a longer text",
			Expected:   "^ in front and $ at the end, around all alternatives",
			Suggestion: fmt.Sprintf("%q, or contains() if anywhere is meant", "^(?:"+strings.TrimSuffix(strings.TrimPrefix(string(pattern), "^"), "$")+")$")})
		return false
	}
	return true
}

// re2 says what there is instead of what the language of patterns does not have.
func re2(pattern string) string {
	switch {
	case strings.Contains(pattern, "(?!"), strings.Contains(pattern, "(?<!"):
		return "RE2 syntax, which cannot look ahead: what is left out is a condition of its own, such as && !user.email.startsWith(\"...\")"
	case strings.Contains(pattern, "(?="), strings.Contains(pattern, "(?<="):
		return "RE2 syntax, which cannot look ahead: a condition of its own with &&"
	}
	return "RE2 syntax"
}

// delimited is a pattern as JavaScript and Perl write it.
var delimited = regexp.MustCompile(`^/(\^.*\$)/([a-z]*)$`)

// anchored reports whether every match begins (or, with start false, ends) at the end of
// the text.
func anchored(re *syntax.Regexp, start bool) bool {
	switch re.Op {
	case syntax.OpBeginText:
		return start
	case syntax.OpEndText:
		return !start
	case syntax.OpCapture, syntax.OpPlus:
		return anchored(re.Sub[0], start)
	case syntax.OpConcat:
		if start {
			return anchored(re.Sub[0], start)
		}
		return anchored(re.Sub[len(re.Sub)-1], start)
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if !anchored(sub, start) {
				return false
			}
		}
		return true
	}
	return false
}

// bind resolves the argument of one of the environment's functions.
func (c *checks) bind(e ast.Expr, f Function, arg ast.Expr) {
	constant, ok := c.constant(arg)
	if !ok {
		if f.Dynamic == nil {
			c.problems = append(c.problems, Problem{Offset: c.offset(arg),
				Message: f.Name + "() has to know its argument when the policy is loaded", Expected: "lists.NAME, or a list written out"})
		}
		return
	}
	c.refuseEmpty(arg)
	call, err := f.Bind(constant)
	if err == nil {
		c.calls[e.ID()] = call
		return
	}
	p := Problem{Offset: c.offset(arg), Message: err.Error()}
	var argument *ArgumentError
	if errors.As(err, &argument) {
		p.Message, p.Expected, p.Suggestion = argument.Message, argument.Expected, argument.Suggestion
	}
	var entry *EntryError
	if errors.As(err, &entry) {
		p.List, p.Entry = constant.List, entry.Entry
		if arg.Kind() == ast.ListKind {
			p.Offset = c.offset(arg.AsList().Elements()[entry.Entry])
		}
	}
	c.problems = append(c.problems, p)
}

func (c *checks) constant(e ast.Expr) (Constant, bool) {
	switch e.Kind() {
	case ast.LiteralKind:
		if s, ok := e.AsLiteral().(types.String); ok {
			return Constant{Strings: []string{string(s)}}, true
		}
	case ast.ListKind:
		var out Constant
		for _, x := range e.AsList().Elements() {
			if x.Kind() != ast.LiteralKind {
				return Constant{}, false
			}
			s, ok := x.AsLiteral().(types.String)
			if !ok {
				return Constant{}, false
			}
			out.Strings = append(out.Strings, string(s))
		}
		return out, true
	case ast.IdentKind:
		if l, ok := c.env.lists[e.AsIdent()]; ok {
			return Constant{List: strings.TrimPrefix(e.AsIdent(), "lists."), Strings: l.list.Strings, Ints: l.list.Ints}, true
		}
	}
	return Constant{}, false
}
