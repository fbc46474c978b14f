package expr

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// helps reports whether the expression has fewer mistakes with another text in the place of
// a name in it: what is offered must lead somewhere.
func (n *names) helps(at int, old, by string) bool {
	before, _ := n.mistakes(string(n.text))
	text := string(n.text[:at]) + by + string(n.text[at+len([]rune(old)):])
	after, condition := n.mistakes(text)
	if after == 0 && condition {
		_, problems := n.env.compile(text, nil) // a list of texts and numbers passes the type checker
		return len(problems) == 0
	}
	return after > 0 && after < before
}

// mistakes are how many the type checker finds, and whether the text is a condition; -1: it
// does not even parse.
func (n *names) mistakes(text string) (count int, condition bool) {
	parsed, issues := n.env.cel.Parse(text)
	if issues.Err() != nil {
		return -1, false
	}
	checked, issues := n.env.cel.Check(parsed)
	if issues.Err() != nil {
		return len(issues.Errors()), false
	}
	return 0, checked.OutputType() == types.BoolType
}

// beside are the names of facts in the smallest comparison or call around a node, but for its
// own text.
func (n *names) beside(id int64, own string) (facts []string) {
	m := &meaning{n.env, n.parsed}
	e := m.node(id)
	if e == nil {
		return nil
	}
	for parent, ok := e.Parent(); ok; parent, ok = parent.Parent() {
		if parent.Kind() == ast.CallKind {
			text := regexp.MustCompile(`(^|[^\w.])`+regexp.QuoteMeta(own)+`\b`).ReplaceAllString(m.text(parent), "$1")
			for _, f := range n.env.schema.facts {
				if strings.Contains(text, f.Name) {
					facts = append(facts, f.Name)
				}
			}
			return facts
		}
	}
	return nil
}

var systemName = regexp.MustCompile(`^(?i)AS(\d{1,10})$`)

// truths are words that other languages, and YAML, have for true and false.
var truths = map[string]string{"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}

// synonyms are what others call a fact.
var synonyms = func() map[string]string {
	out := map[string]string{}
	for fact, names := range map[string]string{
		"ip.address":           "ip ip_address addr client_ip remote_ip remote_addr source_ip src_ip clientip",
		"ip.asn":               "as as_number asnumber asn_number",
		"ip.country":           "country_code countrycode country_name countryname geo",
		"ip.org":               "isp as_org asorg organisation organization as_name carrier",
		"ip.subdivisions":      "region state province subdivision city",
		"ip.residential_proxy": "is_residential_proxy residential",
		"user.email":           "login username user_name mail email_address upn principal",
		"user.groups":          "role roles memberof member_of is_admin admin isadmin",
		"user.started_days":    "tenure hired hire_date started start_date",
		"user.countries":       "country_list home_country home",
		"user.home_km":         "home_distance distance_from_home distance",
		"request.host":         "hostname domain server_name",
		"request.path":         "uri url request_uri pathname",
		"request.method":       "verb http_method",
		"request.user_agent":   "ua agent useragent",
		"time.now":             "now timestamp date datetime",
		"session.age":          "session_age login_age",
		"credential.class":     "passkey authenticator factor mfa",
		"request.route":        "app application service upstream",
	} {
		for name := range strings.FieldsSeq(names) {
			out[name] = fact
		}
	}
	return out
}()

// synonym is the fact that others call by this name; "": there is none.
func (n *names) synonym(name string) string {
	name = strings.ToLower(name)
	for _, s := range []string{name, strings.TrimPrefix(name, "is_")} {
		if fact := synonyms[s]; fact != "" {
			if _, ok := n.env.schema.byName[fact]; ok {
				return fact
			}
		}
	}
	for _, f := range n.env.schema.facts {
		if "is_"+f.Field == name {
			return f.Name
		}
	}
	return ""
}

// candidates are what may be meant by a name that is none, the likeliest first.
func (n *names) candidates(name string) (out []string) {
	if m := systemName.FindStringSubmatch(name); m != nil {
		out = append(out, m[1])
	}
	if word := truths[strings.ToLower(name)]; word != "" {
		out = append(out, word)
	}
	out = append(out, n.anywhere(name), n.synonym(name), strconv.Quote(name))
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// meant is the first candidate for a name at an offset that helps; "": none does.
func (n *names) meant(id int64, at int, name string, candidates []string) string {
	beside := n.beside(id, name)
	for _, c := range candidates {
		if !slices.Contains(beside, c) && (isGroupName(c, n) || n.helps(at, name, c)) {
			return c
		}
	}
	return ""
}

// isGroupName reports whether a candidate is a group of facts, with which a longer name may
// go on.
func isGroupName(c string, n *names) bool {
	return c == "lists" || slices.Contains(n.env.schema.groups, c)
}

// root is the name that a.b.c begins with, and what follows it; "": it is no such name.
func root(e ast.Expr) (name string, fields []string) {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent(), nil
	case ast.SelectKind:
		name, fields = root(e.AsSelect().Operand())
		return name, append(fields, e.AsSelect().FieldName())
	}
	return "", nil
}

// foreignName says what is meant by a.b.c where there is no a: what is behind it, if that is
// a fact, or a fact that has the last part for its name.
func (n *names) foreignName(e ast.Expr) bool {
	name, fields := root(e)
	if name == "" || len(fields) == 0 || n.isKnown(name) {
		return false
	}
	m := &meaning{n.env, n.parsed}
	whole := m.text(e)
	at := n.find(e.ID(), ".") - len([]rune(name))
	if whole != strings.Join(append([]string{name}, fields...), ".") || at < 0 {
		return false
	}
	at = startOfName(n.text, min(n.find(e.ID(), "."), len(n.text)-1))
	if at < 0 || at+len([]rune(whole)) > len(n.text) || string(n.text[at:at+len([]rune(whole))]) != whole {
		return false
	}
	var candidates []string
	for i := range fields {
		if rest := strings.Join(fields[i:], "."); n.known(rest) {
			candidates = append(candidates, rest)
		}
	}
	last := fields[len(fields)-1]
	for _, group := range []string{"user", "ip", "request"} { // of a name that several groups have
		if full := group + "." + last; n.known(full) {
			candidates = append(candidates, full)
		}
	}
	if s := n.synonym(last); s != "" {
		candidates = append(candidates, s)
	}
	if l := "lists." + last; n.known(l) {
		candidates = append(candidates, l)
	}
	if group := n.anywhere(name); isGroupName(group, n) && group != "" {
		candidates = append([]string{group + "." + strings.Join(fields, ".")}, candidates...)
		if full := candidates[0]; !n.known(full) {
			if field := n.nearestMember(group, group+"."+last); field != "" && len(fields) == 1 {
				candidates[0] = field
			}
		} else if !slices.Contains(n.beside(e.ID(), whole), full) && n.helps(at, whole, full) {
			n.add(at, Problem{Message: "unknown name " + name, Expected: "a fact such as ip.country, or lists.NAME", Suggestion: group, patch: span(at, at+len([]rune(whole)), full)})
			return true
		}
	}
	p := Problem{Message: "unknown name " + name, Expected: "a fact such as ip.country, or lists.NAME"}
	if slices.Contains([]string{"local", "locals", "data", "params", "config", "vars"}, name) {
		p.Expected = fmt.Sprintf("lists.%s, and the list itself under `lists:`", last)
	}
	if p.Suggestion = n.meant(e.ID(), at, whole, candidates); p.Suggestion != "" {
		p.patch = span(at, at+len([]rune(whole)), p.Suggestion)
	}
	if p.Suggestion == "" && len(candidates) > 0 && n.known(candidates[len(candidates)-1]) {
		p.Expected = "a fact: " + candidates[len(candidates)-1] + " is the nearest"
	}
	n.add(at, p)
	return true
}

func (n *names) known(name string) bool {
	_, fact := n.env.schema.byName[name]
	_, list := n.env.lists[name]
	return fact || list
}

// isKnown reports whether a name is one by itself: of a group, or of an entry of a loop.
func (n *names) isKnown(name string) bool {
	return strings.HasPrefix(name, "@") || slices.Contains(n.locals, name) || n.isGroup(name) || n.known(name)
}
