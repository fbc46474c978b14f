package expr

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sallyport/policy/strictyaml"

	"cel.dev/cel-go/common/ast"
)

// names checks every name in a parsed expression against the environment. The type
// checker would refuse the same ones; but it only knows that "ip" is undeclared, not that
// ip.contry looks like ip.country.
type names struct {
	env      *Env
	text     []rune
	parsed   *ast.AST
	info     *ast.SourceInfo
	locals   []string
	problems []Problem
}

func (n *names) add(offset int, p Problem) {
	p.Offset = offset
	n.problems = append(n.problems, p)
}

// find returns the offset of word near the node: CEL puts a selection at its dot and
// a call at its bracket.
func (n *names) find(id int64, word string) int {
	return findWord(n.text, n.info, id, word)
}

func findWord(text []rune, info *ast.SourceInfo, id int64, word string) int {
	r, _ := info.GetOffsetRange(id)
	start := max(0, min(int(r.Start), len(text)))
	w := []rune(word)
	if start < len(text) && text[start] == '(' {
		end := start
		for end > 0 && text[end-1] == ' ' {
			end--
		}
		if end >= len(w) && string(text[end-len(w):end]) == word {
			return end - len(w)
		}
	}
	for i := start; i+len(w) <= len(text); i++ {
		if string(text[i:i+len(w)]) == word {
			return i
		}
	}
	return start
}

func (n *names) isGroup(name string) bool {
	return !slices.Contains(n.locals, name) && (name == "lists" || slices.Contains(n.env.schema.groups, name))
}

func (n *names) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		n.visitName(e)
	case ast.SelectKind:
		operand := e.AsSelect().Operand()
		if operand.Kind() == ast.IdentKind && n.isGroup(operand.AsIdent()) {
			n.visitQualified(e, operand.AsIdent(), e.AsSelect().FieldName())
			return
		}
		n.visit(operand)
	case ast.CallKind:
		n.visitCall(e)
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			n.visit(x)
		}
	case ast.ComprehensionKind:
		n.visitComprehension(e)
	case ast.MapKind, ast.StructKind:
		n.add(n.find(e.ID(), "{"), Problem{Message: "maps and messages cannot be built in a rule",
			Expected: "a list: [\"a\", \"b\"]"})
	}
}

func (n *names) visitName(e ast.Expr) {
	name := e.AsIdent()
	if strings.HasPrefix(name, "@") || slices.Contains(n.locals, name) {
		return
	}
	at := n.find(e.ID(), name)
	if n.isGroup(name) {
		n.add(at, Problem{Message: fmt.Sprintf("%s is a group of names, not a value", name),
			Expected: "one of " + list(n.members(name))})
		return
	}
	p := Problem{Message: fmt.Sprintf("unknown name %s", name), Expected: "a fact such as ip.country, or lists.NAME", Suggestion: n.anywhere(name)}
	if p.Suggestion == "" {
		p.Expected, p.Suggestion = "a fact such as ip.country, lists.NAME, or quotes around a text", strconv.Quote(name)
	}
	n.add(at, p)
}

// anywhere finds a fact whose last part is the name: the author forgot the group.
func (n *names) anywhere(name string) string {
	var fields, full []string
	for _, f := range n.env.schema.facts {
		if f.Field == name {
			return f.Name
		}
		fields, full = append(fields, f.Field), append(full, f.Name)
	}
	for l := range n.env.lists {
		if strings.TrimPrefix(l, "lists.") == name {
			return l
		}
	}
	if g := strictyaml.Nearest(name, append(slices.Clone(n.env.schema.groups), "lists")); g != "" {
		return g
	}
	if f := strictyaml.Nearest(name, fields); f != "" {
		return full[slices.Index(fields, f)]
	}
	return ""
}

// members returns the qualified names in a group.
func (n *names) members(group string) []string {
	var out []string
	for _, f := range n.env.schema.facts {
		if f.Group == group {
			out = append(out, f.Name)
		}
	}
	for l := range n.env.lists {
		if group == "lists" {
			out = append(out, l)
		}
	}
	for f := range n.env.functions {
		if strings.HasPrefix(f, group+".") {
			out = append(out, f+"()")
		}
	}
	slices.Sort(out)
	return out
}

func (n *names) visitQualified(e ast.Expr, group, field string) {
	name := group + "." + field
	if _, ok := n.env.schema.byName[name]; ok {
		return
	}
	if _, ok := n.env.lists[name]; ok {
		return
	}
	p := Problem{Message: fmt.Sprintf("there is no fact %s", name), Suggestion: n.nearestMember(group, name)}
	if group == "lists" {
		p.Message = fmt.Sprintf("there is no list %s", name)
		p.Expected = fmt.Sprintf("a list that is declared at the top level: lists: {%s: [...]}", field)
		if declared := n.members(group); len(declared) > 0 {
			p.Expected += "; there are " + list(declared)
		}
	}
	if _, ok := n.env.functions[name]; ok {
		p = Problem{Message: fmt.Sprintf("%s is a function", name), Expected: name + "(...)"}
	}
	if p.Suggestion == "" && p.Expected == "" {
		p.Expected = "one of " + list(n.members(group))
	}
	n.add(n.find(e.ID(), field), p)
}

func (n *names) nearestMember(group, name string) string {
	// The right field under the wrong group: user.country for ip.country.
	field := strings.TrimPrefix(name, group+".")
	for _, f := range n.env.schema.facts {
		if f.Field == field {
			return f.Name
		}
	}
	var fields []string
	for _, m := range n.members(group) {
		fields = append(fields, strings.TrimPrefix(m, group+"."))
	}
	if f := strictyaml.Nearest(field, fields); f != "" {
		return group + "." + f
	}
	return ""
}

func (n *names) visitCall(e ast.Expr) {
	call := e.AsCall()
	fn := call.FunctionName()
	if n.visitForeign(e, fn) {
		return
	}
	for _, a := range call.Args() {
		n.visit(a)
	}
	if call.IsMemberFunction() {
		target := call.Target()
		if target.Kind() == ast.IdentKind && n.isGroup(target.AsIdent()) {
			n.visitQualifiedCall(e, target.AsIdent()+"."+fn)
			return
		}
		n.visit(target)
	}
	switch {
	case fn == "has":
		n.add(n.find(e.ID(), fn), Problem{Message: "has() is not needed: a fact always has a value",
			Expected: `a comparison with the value for "not known", such as ip.country != "ZZ" or size(user.groups) > 0`})
	case slices.Contains(macros, fn):
		n.add(n.find(e.ID(), fn), Problem{Message: fn + "() takes a name for the entry and a condition on it",
			Expected: "for example user.groups." + fn + `(g, g.startsWith("ops-"))`})
	case isWord(fn) && !slices.Contains(n.env.names, fn):
		p := Problem{Message: fmt.Sprintf("unknown function %s()", fn), Suggestion: callOf(strictyaml.Nearest(fn, n.env.names))}
		if p.Suggestion == "" {
			p.Expected = "one of " + list(n.env.names)
		}
		n.add(n.find(e.ID(), fn), p)
	}
}

// foreign are functions of other languages, with what does the same here: the first that
// compiles. T stands for what the function is called on, and A and B for its arguments.
var foreign = func() map[string][]string {
	out := map[string][]string{}
	for names, meant := range map[string][]string{
		"includes include has contain indexOf": {"A in T", "T.contains(A)"},
		"equals eq is":                         {"T == A"},
		"isEmpty empty":                        {"T == []", `T == ""`},
		"len length count":                     {"size(T)"},
		"toLower toLowerCase lower lowercase to_lower casefold": {"T.lowerAscii()"},
		"any some anyMatch":                     {"T.exists(A, B)"},
		"every allMatch":                        {"T.all(A, B)"},
		"none noneMatch":                        {"!T.exists(A, B)"},
		"match regex regexMatch test isMatch":   {"T.matches(A)"},
		"hasPrefix beginsWith":                  {"T.startsWith(A)"},
		"hasSuffix":                             {"T.endsWith(A)"},
		"getHours getHour hour hours":           {`time.hour("Europe/Zurich")`},
		"getDay getDayOfWeek dayOfWeek weekday": {`time.weekday("Europe/Zurich")`},
		"now":                                   {"time.now"},
		"cidr inCidr in_cidr cidrMatch ipInRange inSubnet": {"ip.within(A)", "ip.within(B)"},
	} {
		for name := range strings.FieldsSeq(names) {
			out[name] = meant
		}
	}
	return out
}()

// visitForeign says what does the same as a function of another language.
func (n *names) visitForeign(e ast.Expr, fn string) bool {
	call := e.AsCall()
	member := call.IsMemberFunction()
	meant, known := foreign[fn]
	if !known || member && call.Target().Kind() == ast.IdentKind && n.isGroup(call.Target().AsIdent()) || fn == "has" && !member {
		return false
	}
	m := &meaning{n.env, n.parsed}
	operands := call.Args()
	if member {
		operands = append([]ast.Expr{call.Target()}, operands...)
	}
	texts := map[string]string{}
	for i, name := range []string{"T", "A", "B"} {
		if i < len(operands) {
			if texts[name] = m.operand(operands[i]); name != "T" && strings.Contains(meant[0], "(A, B)") {
				texts[name] = m.text(operands[i])
			}
		}
	}
	p := Problem{Message: fmt.Sprintf("unknown function %s()", fn)}
	var incomplete []string
	for _, template := range meant {
		complete := true
		text := placeholders.ReplaceAllStringFunc(template, func(p string) string {
			if texts[p] == "" {
				complete = false
				return "..."
			}
			return texts[p]
		})
		if _, issues := n.env.cel.Compile(text); complete && issues.Err() == nil {
			p.Suggestion = text
			break
		}
		incomplete = append(incomplete, text)
	}
	if p.Suggestion == "" {
		p.Expected = incomplete[0]
	}
	n.add(n.find(e.ID(), fn), p)
	return true
}

// placeholders are those of [foreign].
var placeholders = regexp.MustCompile(`\b[TAB]\b`)

func (n *names) visitQualifiedCall(e ast.Expr, name string) {
	if _, ok := n.env.functions[name]; ok {
		return
	}
	_, fn, _ := strings.Cut(name, ".")
	if _, ok := n.env.schema.byName[name]; ok {
		n.add(n.find(e.ID(), fn), Problem{Message: name + " is a fact, not a function", Suggestion: name})
		return
	}
	p := Problem{Message: fmt.Sprintf("unknown function %s()", name)}
	var known []string
	for f := range n.env.functions {
		known = append(known, f)
	}
	if p.Suggestion = callOf(strictyaml.Nearest(name, known)); p.Suggestion == "" {
		slices.Sort(known)
		p.Expected = "one of " + list(known)
	}
	n.add(n.find(e.ID(), fn), p)
}

func (n *names) visitComprehension(e ast.Expr) {
	c := e.AsComprehension()
	n.visit(c.IterRange())
	if v := c.IterVar(); n.isGroup(v) {
		// Inside, ip.country could be read as a field of the entry: say no rather than guess.
		n.add(n.find(e.ID(), v), Problem{Message: fmt.Sprintf("%s already names a group of facts", v),
			Expected: "another name for the entry"})
		return
	}
	depth := len(n.locals)
	n.locals = append(n.locals, c.IterVar(), c.IterVar2(), c.AccuVar())
	for _, x := range []ast.Expr{c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
		n.visit(x)
	}
	n.locals = n.locals[:depth]
}

func isWord(fn string) bool {
	return fn != "" && (fn[0] >= 'a' && fn[0] <= 'z' || fn[0] >= 'A' && fn[0] <= 'Z')
}

func callOf(name string) string {
	if name == "" {
		return ""
	}
	return name + "()"
}

// list joins at most two dozen names.
func list(names []string) string {
	if len(names) > 24 {
		names = append(slices.Clone(names[:24]), "...")
	}
	return strings.Join(names, ", ")
}
