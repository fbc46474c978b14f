package lint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
	"sallyport/policy/prove"
)

// idle reports the rules that can do nothing, as prove.Idle found them. What it found
// before an error counts.
func (l *linter) idle(found []prove.IdleRule, err error) {
	for _, x := range found {
		if len(x.By) > 0 {
			l.subsumed(x)
		} else {
			l.unreachable(x)
		}
	}
	if err != nil {
		l.at(1, 1, Finding{Code: "rules-undecided", Severity: Note,
			Message: "there may be rules that never match or change nothing, and not all could be found: " + err.Error(),
			Fix:     "fewer rules, or shorter lists in them"})
	}
}

// vacuous reports the invariants that say nothing of the rules. The pinned ones stand in
// a file of their own.
func (l *linter) vacuous(results []prove.Result) {
	for _, r := range results {
		if !r.Vacuous {
			continue
		}
		at, severity := r.At(), Warning
		if r.Status == prove.Proven {
			severity = Note // it is true, and can be meant for the day on which rules change
		}
		l.found = append(l.found, Finding{Code: "vacuous-invariant", Severity: severity, File: at.File, Line: at.Line, Column: at.Column, Excerpt: at.Excerpt,
			Message: policy.Printable(fmt.Sprintf("the invariant %s is vacuous: %s", r.Name, r.Reason)),
			Fix:     "a condition that can hold and that rules have to do with, or no such invariant"})
	}
}

func (l *linter) unreachable(x prove.IdleRule) {
	source, name := l.document.Rules[x.Rule], l.rules[x.Rule].Name
	f, at := Finding{Code: "unreachable-rule", Severity: Warning, Fix: "another condition, or no such rule"}, source.When
	why := "a constant"
	if len(x.Facts) > 0 {
		why = strings.Join(x.Facts, ", ")
	}
	f.Message = fmt.Sprintf("%s never matches: its condition cannot hold (%s)", name, why)
	if x.Excepted {
		f.Message = fmt.Sprintf("%s never matches: whenever its condition holds, so does its exception (%s)", name, why)
		f.Fix, at = "a narrower unless, or no such rule", source.Unless
	}
	if !x.Excepted {
		if fix, write := meantByNever(l.rules[x.Rule].When.Tree()); fix != "" {
			f.Fix, f.Write = fix, write
		}
	}
	l.in(x.Rule, at, 0, f)
}

// meantByNever recognises two comparisons of one fact that exclude each other: with two
// values, or the hours of a night. write is the condition as a whole, or "".
func meantByNever(n *expr.Node) (fix, write string) {
	if n.Op != expr.And || n.Args[0].Op == expr.And || n.Args[1].Op == expr.And {
		return "", ""
	}
	a, b := n.Args[0], n.Args[1]
	if len(a.Args) != 2 || len(b.Args) != 2 || a.Args[1].Op != expr.ValueOp || b.Args[1].Op != expr.ValueOp || subject(a.Args[0]) == "" || subject(a.Args[0]) != subject(b.Args[0]) {
		return "", ""
	}
	after := func(n *expr.Node) bool { return n.Op == expr.Greater || n.Op == expr.GreaterEqual }
	before := func(n *expr.Node) bool { return n.Op == expr.Less || n.Op == expr.LessEqual }
	switch {
	case a.Op == expr.Equal && b.Op == expr.Equal:
		_, value, ok := strings.Cut(a.Text, " == ")
		_, other, ok2 := strings.Cut(b.Text, " == ")
		if !ok || !ok2 {
			return "", ""
		}
		write = fmt.Sprintf("%s in [%s, %s]", subject(a.Args[0]), value, other)
		return write + ": a fact is one value", write
	case (after(a) && before(b) && apart(a.Args[1].Value, b.Args[1].Value) || before(a) && after(b) && apart(b.Args[1].Value, a.Args[1].Value)) &&
		(strings.HasPrefix(subject(a.Args[0]), "time.hour(") || strings.HasPrefix(subject(a.Args[0]), "session.")): // which are always known
		write = a.Text + " || " + b.Text
		return "|| instead of &&, if what lies outside of the two is meant, such as the hours over midnight", write
	}
	return "", ""
}

// apart reports whether one constant is beyond another.
func apart(after, before any) bool {
	switch a := after.(type) {
	case int64:
		b, ok := before.(int64)
		return ok && a > b
	case time.Duration:
		b, ok := before.(time.Duration)
		return ok && a > b
	}
	return false
}

// subject is what a comparison is about, as it is written; "": it is no fact or function.
func subject(n *expr.Node) string {
	switch n.Op {
	case expr.FactOp:
		return n.Name
	case expr.Call:
		return n.Text
	}
	return ""
}

func (l *linter) subsumed(x prove.IdleRule) {
	name, names, places := l.rules[x.Rule].Name, []string{}, []string{}
	for _, j := range slices.Sorted(slices.Values(x.By)) {
		names = append(names, l.rules[j].Name)
		places = append(places, fmt.Sprintf("%s (line %d)", l.rules[j].Name, l.rules[j].Line))
	}
	f := Finding{Code: "subsumed-rule", Severity: Warning,
		Message: fmt.Sprintf("%s changes no verdict: wherever it matches, so does %s, which is at least as strict", name, places[0]),
		Fix:     fmt.Sprintf("no %s; or if the two should differ, a narrower %s, or a stricter %[1]s", name, names[0])}
	if len(names) > 1 {
		f.Message = fmt.Sprintf("%s changes no verdict: wherever it matches, so does one of %s, which is at least as strict", name, shorten(places))
		f.Fix = fmt.Sprintf("no %s; or if they should differ, one of the others narrower, or a stricter %[1]s", name)
	}
	l.rule(x.Rule, f)
}

// shorten joins names, if they are many only the first.
func shorten(names []string) string {
	if most := 5; len(names) > most {
		return fmt.Sprintf("%s, and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
