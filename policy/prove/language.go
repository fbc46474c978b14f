package prove

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"unicode"

	"sallyport/policy/internal/expr"
)

// languages are what texts that are not empty are like, of facts whose texts have something
// in common: an address has its @, and a path begins with a slash.
var languages = map[string]string{
	"user.email":          emailLanguage(),
	"request.path":        `^/[^\x00-\x1f\x7f]*$`,
	"request.path_folded": `^/[^\x00-\x1f\x7f]*$`,
	"user.subject":        `^(?s:.)+$`,
	"user.issuer":         `^(?s:.)+$`,
}

// emailLanguage is that of authn.ParseEmail.
func emailLanguage() string {
	const word = `[!#$%&'*+\-/0-9=?^_\x60a-z{|}~]+`
	return `^(?:` + word + `|\.)+@` + word + `(?:\.` + word + `)*$`
}

// certain is what a condition says of every text of a fact but the empty one: yes, no, or
// it depends.
func certain(n *expr.Node, fact string, subject func(*expr.Node) bool) tri {
	language := languages[fact]
	if language == "" {
		return depends
	}
	var is func(n *expr.Node, want bool) bool
	is = func(n *expr.Node, want bool) bool {
		switch n.Op {
		case expr.Not:
			return is(n.Args[0], !want)
		case expr.And, expr.Or:
			a, b := is(n.Args[0], want), is(n.Args[1], want)
			if (n.Op == expr.And) == want {
				return a && b
			}
			return a || b
		}
		pattern, not := asPattern(n, subject)
		switch {
		case pattern == "":
			return false
		case not != want:
			return includes(language, pattern)
		}
		return disjoint(language, pattern)
	}
	switch {
	case is(n, true):
		return yes
	case is(n, false):
		return no
	}
	return depends
}

// asPattern is a condition on one text as a regular expression for all of it, and whether
// the condition is that it does not match; "": there is none. Facts with a language are in
// small letters, or it has both.
func asPattern(n *expr.Node, subject func(*expr.Node) bool) (pattern string, not bool) {
	is := func(n *expr.Node) bool {
		return subject(n) || n.Op == expr.Method && n.Name == "lowerAscii" && subject(n.Args[0])
	}
	if len(n.Args) != 2 || n.Args[1].Op != expr.ValueOp {
		return "", false
	}
	op, left, value := n.Op, n.Args[0], n.Args[1].Value
	text, isText := value.(string)
	number, isNumber := value.(int64)
	quoted := regexp.QuoteMeta(text)
	switch {
	case isText && is(left) && (op == expr.Equal || op == expr.NotEqual):
		return "^" + quoted + "$", op == expr.NotEqual
	case isText && is(left) && op == expr.Method:
		switch n.Name {
		case "startsWith":
			return "^" + quoted + "(?s:.*)$", false
		case "endsWith":
			return "^(?s:.*)" + quoted + "$", false
		case "contains":
			return "^(?s:.*)" + quoted + "(?s:.*)$", false
		case "matches":
			return "^(?s:.*?)(?:" + text + ")(?s:.*)$", false
		}
	case isNumber && left.Op == expr.Size && is(left.Args[0]) && number >= 0 && number < 100:
		switch op {
		case expr.Greater, expr.LessEqual:
			number++
		case expr.GreaterEqual, expr.Less:
		case expr.Equal, expr.NotEqual:
			return fmt.Sprintf("^(?s:.{%d})$", number), op == expr.NotEqual
		default:
			return "", false
		}
		return fmt.Sprintf("^(?s:.{%d,})$", number), op == expr.Less || op == expr.LessEqual
	}
	return "", false
}

// includes reports whether every text that one regular expression matches the other matches
// too; false also if that takes too long to find out.
func includes(language, pattern string) bool {
	return explore(language, pattern, func(in, matched bool) bool { return !in || matched })
}

// disjoint reports whether no text matches both.
func disjoint(language, pattern string) bool {
	return explore(language, pattern, func(in, matched bool) bool { return !in || !matched })
}

const maxStates = 4000

// explore runs both regular expressions over all texts, and reports whether what they say
// of each is right.
func explore(language, pattern string, right func(in, matched bool) bool) bool {
	a, okA := newMachine(language)
	b, okB := newMachine(pattern)
	if !okA || !okB {
		return false
	}
	var alphabet []rune
	for _, r := range append(a.edges(), b.edges()...) {
		if r >= 0 && r <= unicode.MaxRune {
			alphabet = append(alphabet, r)
		}
	}
	slices.Sort(alphabet)
	alphabet = slices.Compact(alphabet)
	type state struct{ a, b []uint32 }
	key := func(s state) string { return fmt.Sprint(s.a, s.b) }
	first := state{a.start(), b.start()}
	open, seen := []state{first}, map[string]bool{key(first): true}
	for len(open) > 0 {
		s := open[len(open)-1]
		open = open[:len(open)-1]
		if !right(a.accepts(s.a), b.accepts(s.b)) {
			return false
		}
		for _, r := range alphabet {
			next := state{a.step(s.a, r), b.step(s.b, r)}
			if k := key(next); len(next.a) > 0 && !seen[k] {
				if len(seen) > maxStates {
					return false
				}
				seen[k] = true
				open = append(open, next)
			}
		}
	}
	return true
}

// machine runs a regular expression over one text in all ways at once (K. Thompson, 1968).
// Its states are instructions, in order.
type machine struct{ prog *syntax.Prog }

// newMachine compiles a regular expression; false: it asks for lines or words, which are not
// followed here.
func newMachine(pattern string) (*machine, bool) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, false
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil || len(prog.Inst) > maxStates {
		return nil, false
	}
	for _, i := range prog.Inst {
		if op := syntax.EmptyOp(i.Arg); i.Op == syntax.InstEmptyWidth && op&^(syntax.EmptyBeginText|syntax.EmptyEndText) != 0 {
			return nil, false
		}
	}
	return &machine{prog}, true
}

// edges are where the runes begin that the regular expression tells from those before them.
func (m *machine) edges() []rune {
	out := []rune{0, '\n', '\n' + 1}
	for _, i := range m.prog.Inst {
		if i.Op != syntax.InstRune && i.Op != syntax.InstRune1 {
			continue
		}
		for j, r := range i.Rune {
			out = append(out, r+rune(j%2))
			if len(i.Rune) == 1 {
				out = append(out, r+1)
				for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
					out = append(out, f, f+1)
				}
			}
		}
	}
	return out
}

func (m *machine) start() []uint32 {
	return m.closure([]uint32{uint32(m.prog.Start)}, syntax.EmptyBeginText)
}

func (m *machine) step(states []uint32, r rune) []uint32 {
	var out []uint32
	for _, s := range states {
		if i := &m.prog.Inst[s]; isRune(i) && i.MatchRune(r) {
			out = append(out, i.Out)
		}
	}
	return m.closure(out, 0)
}

// accepts reports whether the text may end here.
func (m *machine) accepts(states []uint32) bool {
	return slices.ContainsFunc(m.closure(states, syntax.EmptyEndText), func(s uint32) bool { return m.prog.Inst[s].Op == syntax.InstMatch })
}

// closure are the states that can be reached without a rune, in a place like this. Those
// that wait for the end of the text are among them.
func (m *machine) closure(from []uint32, place syntax.EmptyOp) (out []uint32) {
	seen := map[uint32]bool{}
	var visit func(s uint32)
	visit = func(s uint32) {
		if seen[s] {
			return
		}
		seen[s] = true
		switch i := &m.prog.Inst[s]; {
		case i.Op == syntax.InstAlt || i.Op == syntax.InstAltMatch:
			visit(i.Out)
			visit(i.Arg)
		case i.Op == syntax.InstCapture || i.Op == syntax.InstNop:
			visit(i.Out)
		case i.Op == syntax.InstEmptyWidth && syntax.EmptyOp(i.Arg)&^place == 0:
			visit(i.Out)
		case i.Op == syntax.InstEmptyWidth && syntax.EmptyOp(i.Arg)&syntax.EmptyBeginText == 0, i.Op == syntax.InstMatch, isRune(i):
			out = append(out, s)
		}
	}
	for _, s := range from {
		visit(s)
	}
	slices.Sort(out)
	return out
}

func isRune(i *syntax.Inst) bool {
	return i.Op == syntax.InstRune || i.Op == syntax.InstRune1 || i.Op == syntax.InstRuneAny || i.Op == syntax.InstRuneAnyNotNL
}
