package lint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
	"sallyport/policy/internal/vocabulary"
	"sallyport/policy/strictyaml"
)

// part is one expression of a rule, or of an invariant.
type part struct {
	rule    int // -1: of an invariant
	node    *file.Node
	program *expr.Program
	unless  bool
}

func (l *linter) parts() (out []part) {
	for i := range l.rules {
		source := l.document.Rules[i]
		out = append(out, part{i, source.When, l.rules[i].When, false})
		if l.rules[i].Unless != nil {
			out = append(out, part{i, source.Unless, l.rules[i].Unless, true})
		}
	}
	return out
}

// written are the parts, and the conditions of the file's own invariants.
func (l *linter) written() []part {
	out, own := l.parts(), l.document.Invariants
	for _, v := range l.policy.Model().Invariants {
		if !v.Pinned && len(own) > 0 {
			out = append(out, part{-1, own[0].When, v.When, false})
			own = own[1:]
		}
	}
	return out
}

// reader returns the first rule that reads one of the facts, or -1.
func (l *linter) reader(is func(fact string) bool) int {
	return slices.IndexFunc(l.rules, func(r policy.ModelRule) bool { return slices.ContainsFunc(r.Reads.Facts, is) })
}

// countriesUnknown finds policies in which nothing happens where the country is not
// known. Conditions that hold there by accident are findings of their own.
func (l *linter) countriesUnknown() {
	first := l.reader(func(f string) bool { return f == "ip.country" })
	if first < 0 {
		return
	}
	for _, p := range l.parts() {
		for _, x := range p.program.Tree().Literals() {
			if fact, holds := x.Holds("ZZ"); fact == "ip.country" && holds && (!l.mentionsZZ(p.rule) || mentionsZZ(l, p.program) && !p.unless) {
				return
			}
			// The other way to say "anywhere but": ip.country is compared with a list
			// that is a fact.
			if x.Not && x.Op == expr.In && x.Args[0].Name == "ip.country" && x.Args[1].Op == expr.FactOp && !l.mentionsZZ(p.rule) {
				return
			}
		}
	}
	l.rule(first, Finding{Code: "unknown-country-passes", Severity: Note,
		Message: `there are rules about the country, and none for requests whose country is not known ("ZZ"): they pass`,
		Fix:     `a rule with when: ip.country == "ZZ" && !ip.internal, and then: step_up`})
}

// foldedTwice finds rules whose paths are not spelled as they are folded: they mean the
// same, and cost a second look at each request.
func (l *linter) foldedTwice() {
	constants := l.constants("request.path", "request.path_folded")
	for i := range l.rules {
		if !l.rules[i].Respelled {
			continue
		}
		f := Finding{Code: "unfolded-path", Severity: Note,
			Message: l.rules[i].Name + " compares the path with something that is not folded, so it is asked twice: as it is written, and without regard to case",
			Fix:     "lower case, and no slash or dot at the end, unless they begin a comparison with startsWith()"}
		var unfolded []constant
		impossible := false
		for _, c := range constants {
			if c.rule != i || c.folded() == c.value.Text {
				continue
			}
			if why, _ := l.impossiblePath(&c); why != "" { // that is what is wrong with it
				impossible = true
				continue
			}
			unfolded = append(unfolded, c)
		}
		switch {
		case len(unfolded) == 0 && impossible:
		case len(unfolded) == 1:
			l.compared(unfolded[0], unfolded[0].folded(), f)
		default:
			l.rule(i, f)
		}
	}
}

// folded is the text as it is compared with folded paths.
func (c *constant) folded() string {
	switch {
	case c.Method == "matches":
		return c.value.Text
	case c.Method == "" && strings.HasPrefix(c.value.Text, "/"):
		return policy.FoldPath(c.value.Text)
	}
	return strings.ToLower(c.value.Text)
}

// exempt finds rules that leave private addresses alone. Such an address says nothing of
// whose it is: where a proxy in front does not name its clients, it is that of all
// people.
func (l *linter) exempt() {
	for _, p := range l.parts() {
		if slices.Contains(l.rules[p.rule].Reads.Facts, "ip.internal") {
			continue
		}
		for _, x := range p.program.Tree().Literals() {
			if fact, public := x.Holds(nil); fact == "ip.private" && public != p.unless {
				l.in(p.rule, p.node, x.Offset, Finding{Code: "private-exempt", Severity: Warning,
					Write:   strings.ReplaceAll(expr.OneLine(p.program.Text()), "ip.private", "ip.internal"),
					Message: fmt.Sprintf("%s says nothing about private addresses, ours or not: behind a proxy that does not name its clients, every person has one", l.rules[p.rule].Name),
					Fix:     "ip.internal instead of ip.private, and internal_networks in sallyport.yaml"})
			}
		}
	}
}

func (l *linter) mentionsZZ(i int) bool {
	r := &l.rules[i]
	return mentionsZZ(l, r.When) || r.Unless != nil && mentionsZZ(l, r.Unless)
}

func mentionsZZ(l *linter, p *expr.Program) bool {
	return slices.ContainsFunc(p.Comparisons(), func(c expr.Comparison) bool {
		list := l.document.Lists[c.List]
		return c.Subject == "ip.country" && c.How == expr.Equal && !c.Lower && (slices.ContainsFunc(c.Values, func(v expr.Value) bool { return v.Text == "ZZ" }) ||
			list != nil && slices.Contains(list.Values.Strings, "ZZ"))
	})
}

// expired finds conditions on a time that has passed.
func (l *linter) expired() {
	if l.config.Now == nil {
		return
	}
	now := l.config.Now()
	for _, p := range l.parts() {
		for _, x := range p.program.Tree().Literals() {
			if len(x.Args) != 2 {
				continue
			}
			op, fact, until := x.Op, x.Args[0], x.Args[1]
			if fact.Op == expr.ValueOp {
				op, fact, until = x.Op.Flip(), until, fact
			}
			at, ok := until.Value.(time.Time)
			before := op == expr.Less || op == expr.LessEqual
			after := op == expr.Greater || op == expr.GreaterEqual
			if !ok || fact.Name != "time.now" || !at.Before(now) || !(before && !x.Not || after && x.Not) {
				continue
			}
			l.in(p.rule, p.node, x.Offset, Finding{Code: "expired-condition", Severity: Warning,
				Message: fmt.Sprintf("this part of %s held until %s, and never does again", l.rules[p.rule].Name, at.Format(time.RFC3339)),
				Fix:     "a later time; or without it what is left of the rule"})
		}
	}
}

// history finds policies in which an unreadable history passes.
func (l *linter) history() {
	history := func(f string) bool {
		return strings.HasPrefix(f, "seen.") || strings.HasPrefix(f, "activity.") || f == "user.devices_30d"
	}
	first := l.reader(history)
	if first < 0 || l.reader(func(f string) bool { return f == "seen.known" || f == "activity.known" }) >= 0 {
		return
	}
	l.rule(first, Finding{Code: "history-unconsidered", Severity: Warning,
		Message: "there are rules about the person's history, and none for when it cannot be read: then they all pass",
		Fix:     "a rule with when: '!seen.known', and then: step_up"})
}

// sources finds facts without a source, sources without a rule, and policies that ignore
// the age of the data.
func (l *linter) sources() {
	for _, p := range l.parts() {
		for _, name := range p.program.Reads() {
			if source := l.config.NoSource[name]; source != "" {
				l.in(p.rule, p.node, max(0, strictyaml.RuneIndex(p.node.Value, name)), Finding{Code: "fact-without-source", Severity: Warning,
					Message: fmt.Sprintf("nothing provides %s here: it always has the value for what is not known", name),
					Fix:     source + ", or no rule over it"})
			}
		}
	}
	for i := range l.rules {
		if a := l.document.Rules[i].Reverify; a != nil && a.Hours != nil && l.config.NoSource["user.time_zone"] != "" {
			l.rule(i, Finding{Code: "fact-without-source", Severity: Warning, Fix: l.config.NoSource["user.time_zone"] + ", or no hours",
				Message: l.rules[i].Name + " has hours, and nothing provides user.time_zone here: it asks at any hour"})
		}
	}
	first := l.reader(func(f string) bool {
		group, signal, _ := strings.Cut(f, ".")
		return group == "ip" && (slices.Contains(vocabulary.Signals, signal) || signal == "lists")
	})
	if first >= 0 && l.reader(func(f string) bool { return f == "ip.data_age_hours" }) < 0 {
		l.rule(first, Finding{Code: "data-age-unconsidered", Severity: Note,
			Message: "there are rules about IP data, and none looks at how old that data is (ip.data_age_hours): when updates stop, no rule notices",
			Fix:     "a rule with when: ip.data_age_hours > 24 * 14, and then: step_up"})
	}
	words := l.policy.Vocabulary()
	var unused []string
	for _, signal := range []string{"vpn", "hosting", "tor", "proxy", "residential_proxy", "relay"} {
		if words.Provides(signal) && l.reader(func(f string) bool { return f == "ip."+signal }) < 0 {
			unused = append(unused, "ip."+signal)
		}
	}
	if len(unused) > 0 {
		l.at(1, 1, Finding{Code: "unused-signal", Severity: Note,
			Message: fmt.Sprintf("the configured IP sources provide %s, which no rule reads", strings.Join(unused, ", ")),
			Fix:     fmt.Sprintf("a rule over %s; mode: report shows what it would do", strings.Join(unused, " || "))})
	}
}
