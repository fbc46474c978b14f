package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Idle is a rule that could as well not be there: it never matches, or never changes what
// happens to a request.
type Idle struct {
	Rule int // in file order, from 0
	// By are rules of which, wherever this one matches, at least one matches too that is as
	// strict. None: this one never matches.
	By []int
	// Excepted: it never matches because of its `unless`.
	Excepted bool
	// Facts are those of which its condition says what cannot all be; empty for a constant.
	Facts []string
}

// idle reports the rules that can do nothing. To find them takes reasoning about all requests,
// and that is the business of package policy/prove, for which `invariants:` are proven too: it
// stands above this package, so the caller of the linter hands it in.
func (l *linter) idle(find func(*Policy) ([]Idle, error)) {
	if find == nil {
		return
	}
	found, err := find(l.Policy)
	for _, x := range found {
		if len(x.By) > 0 {
			l.shadowed(x)
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

func (l *linter) unreachable(x Idle) {
	source, name := l.builder.document.rules[x.Rule], l.rules[x.Rule].name
	f, at := Finding{Code: "unreachable-rule", Severity: Warning, Fix: "another condition, or no such rule"}, source.when
	why := "a constant"
	if len(x.Facts) > 0 {
		why = strings.Join(x.Facts, ", ")
	}
	f.Message = fmt.Sprintf("%s never matches: its condition cannot hold (%s)", name, why)
	if x.Excepted {
		f.Message = fmt.Sprintf("%s never matches: whenever its condition holds, so does its exception (%s)", name, why)
		f.Fix, at = "a narrower unless, or no such rule", source.unless
	}
	l.in(x.Rule, at, 0, f)
}

func (l *linter) shadowed(x Idle) {
	name, names, places := l.rules[x.Rule].name, []string{}, []string{}
	for _, j := range slices.Sorted(slices.Values(x.By)) {
		names = append(names, l.rules[j].name)
		places = append(places, fmt.Sprintf("%s (line %d)", l.rules[j].name, l.rules[j].line))
	}
	f := Finding{Code: "shadowed-rule", Severity: Warning,
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
