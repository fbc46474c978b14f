package expr

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Folding says how constants that are compared with some facts are spelled in a second
// reading of an expression, in which those facts are folded too.
type Folding struct {
	Facts []string            // "request.path"
	Whole func(string) string // what is compared with all of a fact
	Part  func(string) string // what is compared with a part of it
}

// Reads reports whether a program reads one of the facts.
func (f *Folding) Reads(p *Program) bool {
	return p != nil && slices.ContainsFunc(p.Reads(), func(name string) bool { return slices.Contains(f.Facts, name) })
}

// CompileFolded compiles a condition with the constants that the facts of f are compared
// with folded. changed is false if all of them are folded as they stand.
func (e *Env) CompileFolded(text string, f *Folding) (p *Program, changed bool, problems []Problem) {
	p, problems = e.compile(text, func(parsed *ast.AST) {
		w := &rewriter{env: e, folding: f, factory: ast.NewExprFactory(), next: ast.MaxID(parsed) + 1}
		w.visit(parsed.Expr())
		changed = w.changed
	})
	return p, changed, problems
}

// rewriter folds constants in a parsed expression.
type rewriter struct {
	env     *Env
	folding *Folding
	factory ast.ExprFactory
	next    int64
	changed bool
}

// mode is how a constant is compared.
type mode int

const (
	none mode = iota
	whole
	part
	pattern
)

var modes = map[string]mode{operators.Equals: whole, operators.NotEquals: whole, operators.In: whole, operators.OldIn: whole,
	operators.Less: part, operators.LessEquals: part, operators.Greater: part, operators.GreaterEquals: part, operators.Add: part,
	"startsWith": part, "endsWith": part, "contains": part, "matches": pattern}

// name is the qualified name that a selection spells, or "".
func name(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent()
	case ast.SelectKind:
		if of := name(e.AsSelect().Operand()); of != "" {
			return of + "." + e.AsSelect().FieldName()
		}
	}
	return ""
}

// visit folds what e compares the facts with, and reports whether it reads one of them.
// how is the comparison in it that is nearest to the fact.
func (w *rewriter) visit(e ast.Expr) (reads bool, how mode) {
	switch e.Kind() {
	case ast.IdentKind, ast.SelectKind:
		if slices.Contains(w.folding.Facts, name(e)) {
			return true, none
		}
		if e.Kind() == ast.SelectKind {
			return w.visit(e.AsSelect().Operand())
		}
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			r, h := w.visit(x)
			reads, how = reads || r, max(how, h)
		}
	case ast.CallKind:
		return w.call(e)
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		reads, how = w.visit(c.IterRange())
		for _, x := range []ast.Expr{c.LoopCondition(), c.LoopStep(), c.Result()} {
			r, h := w.visit(x)
			if r { // the facts are compared with the entries of what is gone through
				w.fold(c.IterRange(), max(h, whole))
			}
			reads, how = reads || r, max(how, h)
		}
	}
	return reads, how
}

func (w *rewriter) call(e ast.Expr) (reads bool, how mode) {
	c := e.AsCall()
	args := slices.Clone(c.Args())
	if c.IsMemberFunction() {
		args = append(args, c.Target())
	}
	for _, a := range args {
		r, h := w.visit(a)
		reads, how = reads || r, max(how, h)
	}
	if m := modes[c.FunctionName()]; reads && m != none {
		for _, a := range args {
			w.fold(a, m)
		}
		how = max(how, m)
	}
	return reads, how
}

// fold folds the constants that a value is made of.
func (w *rewriter) fold(e ast.Expr, m mode) {
	switch e.Kind() {
	case ast.LiteralKind:
		if s, ok := e.AsLiteral().(types.String); ok {
			if folded := w.text(string(s), m); folded != string(s) {
				w.changed = true
				e.SetKindCase(w.factory.NewLiteral(e.ID(), types.String(folded)))
			}
		}
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			w.fold(x, m)
		}
	case ast.SelectKind, ast.IdentKind:
		w.list(e, m)
	case ast.CallKind:
		if c := e.AsCall(); modes[c.FunctionName()] == part {
			for _, a := range c.Args() {
				w.fold(a, part)
			}
		}
	}
}

// list replaces a list of the policy by its entries, folded, if that makes a difference.
func (w *rewriter) list(e ast.Expr, m mode) {
	l, ok := w.env.lists[name(e)]
	if !ok || l.kind != Strings {
		return
	}
	differ := false
	var entries []ast.Expr
	for _, entry := range l.list.Strings {
		folded := w.text(entry, m)
		differ = differ || folded != entry
		entries = append(entries, w.factory.NewLiteral(w.next, types.String(folded)))
		w.next++
	}
	if differ {
		w.changed = true
		e.SetKindCase(w.factory.NewList(e.ID(), entries, nil))
	}
}

func (w *rewriter) text(s string, m mode) string {
	switch {
	case m == whole && strings.HasPrefix(s, "/"):
		return w.folding.Whole(s)
	case m == pattern:
		// What is folded is in lower case. A pattern of lower case only means the same
		// with the flag.
		if strings.ToLower(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) || strings.HasPrefix(s, "(?i)") {
			return s
		}
		return "(?i)" + s
	}
	return w.folding.Part(s)
}
