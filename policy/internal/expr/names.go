package expr

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sallyport/policy/strictyaml"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
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
		if !n.foreignName(e) {
			n.visit(operand)
		}
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
		p := Problem{Message: fmt.Sprintf("%s is a group of names, not a value", name), Expected: "one of " + list(n.members(name))}
		if fact := map[string]string{"ip": "ip.address", "user": "user.email"}[name]; n.known(fact) && n.helps(at, name, fact) {
			p.Suggestion, p.patch = fact, span(at, at+len([]rune(name)), fact)
		}
		n.add(at, p)
		return
	}
	p := Problem{Message: fmt.Sprintf("unknown name %s", name), Expected: "a fact such as ip.country, or lists.NAME"}
	if strings.TrimSpace(string(n.text)) == name && truths[strings.ToLower(name)] != "" {
		n.add(at, Problem{Message: fmt.Sprintf("%s says nothing of a request", name), Expected: "a condition such as ip.vpn; for no exception, no `unless`"})
		return
	}
	if name == "_" {
		p.Message, p.Expected = "_ stands for no entry", "in, which looks at each entry of a list: \"ops\" in user.groups"
	}
	if p.Suggestion = n.meant(e.ID(), at, name, n.candidates(name)); p.Suggestion != "" {
		p.patch = span(at, at+len([]rune(name)), p.Suggestion)
	}
	if p.Suggestion == strconv.Quote(name) {
		p.Expected = "a fact such as ip.country, lists.NAME, or quotes around a text"
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
	if p.Suggestion != "" && group != "lists" && slices.Contains(n.beside(e.ID(), name), p.Suggestion) && !strings.Contains(p.Suggestion, field) {
		p.Suggestion = "" // what it is compared with
	}
	if fact := n.synonym(field); fact != "" && p.Suggestion == "" && group != "lists" {
		if p.Expected = fact; n.env.schema.facts[n.env.schema.byName[fact]].Kind == Strings {
			p.Expected = `"..." in ` + fact
		}
		if at := startOfName(n.text, n.find(e.ID(), ".")); strings.HasPrefix(string(n.text[at:]), name) && n.helps(at, name, fact) {
			p.Expected, p.Suggestion = "", fact
		}
	}
	if group == "lists" {
		p.Message = fmt.Sprintf("there is no list %s", name)
		p.Expected = fmt.Sprintf("a list that is declared at the top level: lists: {%s: [...]}", field)
		if declared := n.members(group); len(declared) > 0 {
			p.Expected += "; there are " + list(declared)
		}
	}
	if _, ok := n.env.functions[name]; ok {
		p = Problem{Message: fmt.Sprintf("%s is a function", name), Expected: called(name)}
	}
	if said := absent[field]; said != "" && p.Suggestion == "" && group != "lists" {
		p.Expected = said
	}
	if p.Suggestion == "" && p.Expected == "" {
		p.Expected = "one of " + list(n.members(group))
	}
	if at := startOfName(n.text, n.find(e.ID(), ".")); p.Suggestion != "" && strings.HasPrefix(string(n.text[at:]), name) {
		p.patch = span(at, at+len([]rune(name)), p.Suggestion)
	}
	n.add(n.find(e.ID(), field), p)
}

// absent says what there is instead of something that is no fact.
var absent = map[string]string{
	"headers": "request.user_agent: no other header is a fact, since a client chooses them",
	"header":  "request.user_agent: no other header is a fact, since a client chooses them",
	"cookies": "session.level and the like: no cookie is a fact",
	"query":   "request.path, which has no query; request.rpc_methods for calls of JSON-RPC",
	"body":    "request.rpc_methods: of a body only calls of JSON-RPC are facts",
	"managed": "tls.client_cert, for devices that have a certificate; nothing else is known of how one is managed",
}

// called is a function with an example of its argument.
func called(name string) string {
	if strings.HasPrefix(name, "time.") {
		return name + `("Europe/Zurich")`
	}
	return name + `("203.0.113.0/24")`
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
		if library := n.library(call); library != "" {
			n.unknownFunction(e, library+"."+fn, fn)
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
		n.unknownFunction(e, fn, fn)
	}
}

// unknownFunction is about a function fn that is called by a name.
func (n *names) unknownFunction(e ast.Expr, name, fn string) {
	p, at := Problem{Message: fmt.Sprintf("unknown function %s()", name)}, n.find(e.ID(), fn)
	if near := strictyaml.Nearest(fn, n.env.names); near != "" && name == fn && n.helps(at, fn, near) {
		p.Suggestion, p.patch = near+"()", span(at, at+len([]rune(fn)), near)
	} else {
		p.Expected = "one of " + list(n.env.names)
	}
	n.add(at, p)
}

// library is a name that is none, which another language calls a function of: re in
// re.match(); "": it is something else.
func (n *names) library(call ast.CallExpr) string {
	if !call.IsMemberFunction() || call.Target().Kind() != ast.IdentKind || n.isKnown(call.Target().AsIdent()) {
		return ""
	}
	return call.Target().AsIdent()
}

// foreign are functions of other languages, with what does the same here: the first that
// compiles. T stands for what the function is called on, and A and B for its arguments.
var foreign = func() map[string][]string {
	out := map[string][]string{}
	for names, meant := range map[string][]string{
		"includes include has contain indexOf stringContains strcontains": {"A in T", "T.contains(A)"},
		"equals eq is":     {"T == A"},
		"isEmpty empty":    {"T == []", `T == ""`},
		"len length count": {"size(T)"},
		"toLower toLowerCase lower lowercase to_lower casefold": {"T.lowerAscii()"},
		"any some anyMatch": {"T.exists(A, B)"},
		"every allMatch":    {"T.all(A, B)"},
		"none noneMatch":    {"!T.exists(A, B)"},
		"match regex regexMatch test isMatch search find re_match regex_match": {"T.matches(A)", "A.matches(T)", "T.SEARCH(A)", "A.SEARCH(T)"},
		"fullmatch": {"T.FULL(A)", "A.FULL(T)"},
		"contains":  {"A in T", "T.contains(A)"},
		"startsWith startswith starts_with StartsWith": {"T.startsWith(A)"},
		"endsWith endswith ends_with EndsWith":         {"T.endsWith(A)"},
		"matches":                                      {"T.matches(A)"},
		"lowerAscii":                                   {"T.lowerAscii()"},
		"split":                                        {"T.endsWith(\"@...\")"},
		"lower_case LOWER LCASE tolower":               {"T.lowerAscii()"},
		"COUNT LEN LENGTH SIZE":                        {"size(T)", "T"},
		"isMemberOfGroupName isMemberOfGroup isMemberOf memberOf inGroup hasGroup hasRole isMemberOfAnyGroup": {"A in user.groups", "T in user.groups", "user.groups.exists(g, g in [T, A])"},
		"intersects intersection hasAny containsAny":                                                          {"T.exists(x, x in A)"},
		"can try":                               {"T"},
		"hasPrefix beginsWith":                  {"T.startsWith(A)"},
		"hasSuffix":                             {"T.endsWith(A)"},
		"getHours getHour hour hours":           {`time.hour("Europe/Zurich")`},
		"getDay getDayOfWeek dayOfWeek weekday": {`time.weekday("Europe/Zurich")`},
		"now":                                   {"time.now"},
		"cidr inCidr in_cidr cidrMatch ipInRange inSubnet cidr_match cidr_contains cidrcontains ipInSubnet isInSubnet is_in_subnet in_subnet ip_in_range net_contains cidrhost ipMatches": {"ip.within(A)", "ip.within(T)", "ip.within(B)"},
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
	named := func(name string) bool { return strings.EqualFold(name, fn) }
	if !known || member && slices.ContainsFunc(n.env.names, named) || member && call.Target().Kind() == ast.IdentKind && n.isGroup(call.Target().AsIdent()) || fn == "has" && !member {
		return false
	}
	m := &meaning{n.env, n.parsed}
	operands := call.Args()
	library := n.library(call)
	if library != "" {
		fn, member = library+"."+fn, false
	}
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
		if before, method, ok := strings.Cut(template, "."); ok && (method == "SEARCH(A)" || method == "SEARCH(T)" || method == "FULL(A)" || method == "FULL(T)") {
			if text := n.search(texts[before], texts[method[len(method)-2:len(method)-1]], method[0] == 'F', strings.HasSuffix(library, "re")); text != "" {
				p.Suggestion = text
				break
			}
			continue
		}
		complete := true
		text := placeholders.ReplaceAllStringFunc(template, func(p string) string {
			if texts[p] == "" {
				complete = false
				return "..."
			}
			return texts[p]
		})
		if fn == "can" || fn == "try" { // what is wrong with that is said of it
			p.Suggestion = text
			break
		}
		if complete && uses(template, operands, texts) && n.right(text) {
			p.Suggestion = text
			break
		}
		incomplete = append(incomplete, text)
	}
	if p.patch = ofNode(e.ID(), p.Suggestion); p.Suggestion == "" && len(incomplete) > 0 {
		p.Expected = incomplete[0]
	}
	n.add(n.find(e.ID(), fn[strings.LastIndexByte(fn, '.')+1:]), p)
	return true
}

// uses reports whether a template has a place for each operand; the address of the client
// needs none.
func uses(template string, operands []ast.Expr, texts map[string]string) bool {
	if len(operands) > 3 {
		return false
	}
	for i := range operands {
		name := string("TAB"[i])
		if !slices.Contains(placeholders.FindAllString(template, -1), name) && texts[name] != "ip.address" && placeholders.MatchString(template) {
			return false
		}
	}
	return true
}

// right reports whether a text is an expression without mistakes; and if it is a condition,
// without those that only a whole one can have.
func (n *names) right(text string) bool {
	checked, issues := n.env.cel.Compile(text)
	if issues.Err() != nil {
		return false
	}
	if checked.OutputType() != types.BoolType {
		return true
	}
	_, problems := n.env.compile(text, nil)
	return len(problems) == 0
}

// plainPattern is a regular expression that stands for one text.
var plainPattern = regexp.MustCompile(`^\^?(?:[\w/@ :=-]|\\\\[./-])*\$?$`)

// search is a regular expression that is looked for anywhere in a text, or that all of it
// has to match (full) or begin with (start), as a condition; "": it cannot be said.
func (n *names) search(text, quoted string, full, start bool) string {
	pattern, err := strconv.Unquote(quoted)
	if text == "" || err != nil {
		return ""
	}
	begins, ends := full || start || strings.HasPrefix(pattern, "^"), full || strings.HasSuffix(pattern, "$") && !strings.HasSuffix(pattern, `\$`)
	inner := strings.TrimPrefix(pattern, "^")
	if ends {
		inner = strings.TrimSuffix(inner, "$")
	}
	inner, out := strings.ReplaceAll(inner, `\/`, "/"), ""
	if plainPattern.MatchString(pattern) {
		literal := strconv.Quote(strings.NewReplacer(`\.`, ".", `\/`, "/", `\-`, "-").Replace(inner))
		switch {
		case begins && ends:
			out = text + " == " + literal
		case begins:
			out = text + ".startsWith(" + literal + ")"
		case ends:
			out = text + ".endsWith(" + literal + ")"
		default:
			out = text + ".contains(" + literal + ")"
		}
	} else {
		if strings.Contains(inner, "|") {
			inner = "(?:" + inner + ")"
		}
		if !begins && !strings.HasPrefix(inner, ".*") {
			inner = ".*" + inner
		}
		if !ends && !strings.HasSuffix(inner, ".*") {
			inner += ".*"
		}
		out = text + ".matches(" + strconv.Quote("^"+inner+"$") + ")"
	}
	if !n.right(out) {
		return ""
	}
	return out
}

// placeholders are those of [foreign].
var placeholders = regexp.MustCompile(`\b[TAB]\b`)

func (n *names) visitQualifiedCall(e ast.Expr, name string) {
	if _, ok := n.env.functions[name]; ok {
		return
	}
	_, fn, _ := strings.Cut(name, ".")
	if _, ok := n.env.schema.byName[name]; ok {
		n.add(n.find(e.ID(), fn), Problem{Message: name + " is a fact, not a function", Suggestion: name, patch: ofNode(e.ID(), name)})
		return
	}
	p := Problem{Message: fmt.Sprintf("unknown function %s()", name)}
	var known []string
	for f := range n.env.functions {
		known = append(known, f)
	}
	at := n.find(e.ID(), fn)
	group, _, _ := strings.Cut(name, ".")
	if near := strictyaml.Nearest(name, known); near != "" && n.helps(at, fn, strings.TrimPrefix(near, group+".")) && strings.HasPrefix(near, group+".") {
		p.Suggestion, p.patch = near+"()", span(at, at+len([]rune(fn)), strings.TrimPrefix(near, group+"."))
	} else {
		slices.Sort(known)
		p.Expected = "one of " + list(known)
	}
	if meant, ok := foreign[fn]; ok && p.Suggestion == "" && group == "user" {
		if args := e.AsCall().Args(); len(args) == 1 && strings.Contains(meant[0], "user.groups") {
			m := &meaning{n.env, n.parsed}
			if text := m.operand(args[0]) + " in user.groups"; n.right(text) {
				p.Expected, p.Suggestion, p.patch = "", text, ofNode(e.ID(), text)
			}
		}
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

// list joins at most two dozen names.
func list(names []string) string {
	if len(names) > 24 {
		names = append(slices.Clone(names[:24]), "...")
	}
	return strings.Join(names, ", ")
}
