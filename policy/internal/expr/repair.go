package expr

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/parser"
)

// patch is what ends a mistake, if it is not known for certain either: a text in the place of
// characters, or of a node of the parsed expression.
type patch struct {
	by         string
	start, end int
	node       int64 // 0: characters
}

func span(start, end int, by string) *patch { return &patch{by: by, start: start, end: end} }

func ofNode(id int64, by string) *patch {
	if by == "" {
		return nil
	}
	return &patch{by: by, node: id}
}

// operatorsHere is what stands between values, for a message.
const operatorsHere = "an operator of CEL: ==, !=, <, <=, >, >=, in; or a function such as contains(), startsWith(), matches()"

const (
	maxRepairs   = 8   // of an expression, one after the other
	maxSuggested = 200 // characters of a condition that is suggested as a whole
)

// suggest keeps a suggestion that leads to a condition that compiles. Where it takes several,
// one after the other, the whole condition as it was probably meant is put in the place of
// the first. Where they do not lead to one, an operator is only suggested if the text at
// least parses with it, and something is known of what then is wrong.
func (e *Env) suggest(text string, problems []Problem) {
	first := slices.IndexFunc(problems, func(p Problem) bool { return p.patch != nil })
	if first < 0 {
		return
	}
	if meant, steps := e.repaired(text, problems); meant != "" {
		if steps > 1 && utf8.RuneCountInString(meant) <= maxSuggested {
			problems[first].Suggestion, problems[first].Expected = meant, ""
		}
		return
	}
	if _, issues := e.cel.Parse(text); issues.Err() == nil {
		return // what is suggested was tried by itself
	}
	if after := e.patched(text, problems); after != "" {
		if _, issues := e.cel.Parse(after); issues.Err() == nil {
			if _, left := e.compile(after, nil); slices.ContainsFunc(left, func(p Problem) bool { return p.Suggestion != "" }) {
				return
			}
		}
	}
	for i := range problems {
		if problems[i].patch != nil {
			problems[i].Suggestion, problems[i].Expected = "", cmp.Or(problems[i].Expected, operatorsHere)
		}
	}
}

// repaired is an expression without its mistakes, or "", and how many patches it took.
func (e *Env) repaired(text string, problems []Problem) (meant string, steps int) {
	for range maxRepairs {
		next := e.patched(text, problems)
		if next == "" || next == text {
			return "", 0
		}
		for _, p := range problems {
			if p.patch != nil {
				steps++
			}
		}
		program, left := e.compile(next, nil)
		if program != nil {
			return OneLine(next), steps
		}
		text, problems = next, left
	}
	return "", 0
}

// patched applies the patches of characters; or if there are none, the first one of a node.
func (e *Env) patched(text string, problems []Problem) string {
	var spans []*patch
	var node *patch
	for _, p := range problems {
		switch {
		case p.patch == nil:
		case p.patch.node == 0:
			spans = append(spans, p.patch)
		case node == nil:
			node = p.patch
		}
	}
	if len(spans) == 0 {
		if node == nil {
			return ""
		}
		return e.replaced(text, node)
	}
	slices.SortFunc(spans, func(a, b *patch) int { return b.start - a.start })
	out, before := []rune(text), len([]rune(text))
	for _, s := range spans {
		if s.end > before || s.start > s.end {
			continue // it overlaps
		}
		out = slices.Concat(out[:s.start], []rune(s.by), out[s.end:])
		before = s.start
	}
	return string(out)
}

// placeholder is a name that no expression has.
const placeholder = "__here__"

// replaced is an expression with another text for one of its nodes, or "".
func (e *Env) replaced(text string, p *patch) string {
	parsed, issues := e.cel.Parse(text)
	if issues.Err() != nil {
		return ""
	}
	rep := parsed.NativeRep()
	found := ast.MatchDescendants(ast.NavigateAST(rep), func(n ast.NavigableExpr) bool { return n.ID() == p.node })
	if len(found) == 0 {
		return ""
	}
	rep.SourceInfo().ClearMacroCall(p.node)
	found[0].SetKindCase(ast.NewExprFactory().NewIdent(p.node, placeholder))
	out, err := parser.Unparse(rep.Expr(), rep.SourceInfo(), parser.WrapOnColumn(MaxText))
	if err != nil || strings.Count(out, placeholder) != 1 {
		return ""
	}
	by := p.by
	if out != placeholder && strings.ContainsAny(by, " ") && !strings.HasSuffix(by, ")") && !strings.HasSuffix(by, "]") || strings.HasPrefix(by, "!") && out != placeholder {
		by = "(" + by + ")"
	}
	if at := strings.Index(out, placeholder); at > 0 && out[at-1] == '(' && strings.HasPrefix(out[at+len(placeholder):], ")") {
		by = p.by
	}
	return strings.Replace(out, placeholder, by, 1)
}
