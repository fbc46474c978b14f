package lint

import (
	"fmt"
	"slices"
	"time"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

// newcomers finds rules that refuse the first passkey of every new person. For a person
// who was never let through everything is new, and a step-up cannot be answered while
// enrolling: there is no passkey yet.
//
// The linter tries it: a new person enrols, from a network that no source or rule objects
// to, and so does a person who has been there for a year. What stands in the way of the
// first alone does so because they are new.
func (l *linter) newcomers() {
	veteran := l.enrolsAgain()
	newcomer := veteran
	newcomer.User.StartedDays = 0
	newcomer.Seen.NewCountry, newcomer.Seen.NewASN, newcomer.Seen.NewDevice, newcomer.Seen.FirstDays = true, true, true, 0
	newcomer.Activity = policy.Activity{Known: true, LongestBreak48h: 48 * time.Hour}

	now, before := l.policy.Decide(&newcomer), l.policy.Decide(&veteran)
	if before.Action == now.Action {
		return // the same obstacles apply to both
	}
	for i := range l.rules {
		name := l.rules[i].Name
		if !slices.Contains(now.Rules, name) || slices.Contains(before.Rules, name) {
			continue
		}
		f := Finding{Code: "newcomer-refused", Severity: Warning, Fix: "seen.first_days > 0 && in front, for those who were let through before",
			Message: fmt.Sprintf("%s matches for every new person, also while they enrol: without a passkey they cannot answer it, and never get one", name)}
		if !slices.Contains(l.rules[i].Reads.Facts, "request.purpose") {
			const guard = `request.purpose != "enroll"`
			f.Fix = guard + " && in front; or " + f.Fix
			f.Write = l.rules[i].When.Guarded(guard, l.differing(guard, i, &newcomer, &veteran)...)
		}
		if now.Action == policy.Block {
			f.Message = fmt.Sprintf("%s matches for every new person, also while they enrol: they are blocked, and never get a passkey", name)
		}
		l.rule(i, f)
	}
}

// enrolsAgain is a person who has been there for a year and enrols, at home in a country that
// they declared, if there is one in which the policy lets them: many let people in from a few
// countries alone.
func (l *linter) enrolsAgain() policy.Facts {
	anywhere := policy.Ordinary("signed_in")
	anywhere.Request.Purpose = policy.PurposeEnroll
	anywhere.IP.Country = "US"
	if l.policy.Decide(&anywhere).Action == policy.Allow {
		return anywhere
	}
	for _, country := range append([]string{anywhere.IP.Country}, l.countries()...) {
		f := anywhere
		f.IP.Country, f.User.Countries, f.User.HomeKM = country, []string{country}, 0
		if l.policy.Decide(&f).Action == policy.Allow {
			return f
		}
	}
	return anywhere
}

// countries are those that rules compare the address's with.
func (l *linter) countries() (out []string) {
	for _, p := range l.parts() {
		for _, c := range p.program.Comparisons() {
			if c.Subject != "ip.country" {
				continue
			}
			for _, v := range c.Values {
				out = append(out, v.Text)
			}
			if list := l.document.Lists[c.List]; list != nil {
				out = append(out, list.Values.Strings...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// differing are the literals of a rule's condition that it takes to hold for one person and
// not for the other, by where they begin.
func (l *linter) differing(guard string, i int, one, other *policy.Facts) (at []int) {
	m, when := l.policy.Model(), l.rules[i].When
	holds := func(text string, f *policy.Facts) bool {
		program, _ := m.Env.Compile(text)
		if program == nil {
			return true
		}
		yes, err := m.Holds(program, f)
		return err != nil || yes
	}
	for _, x := range when.Tree().Literals() {
		text := x.Text
		if x.Op == expr.FactOp {
			text = x.Name
		}
		if holds(text, one) != holds(text, other) {
			at = append(at, x.Offset)
		}
	}
	for i := 0; i < len(at) && len(at) > 1; { // what only holds beside another is not the reason
		if fewer := slices.Delete(slices.Clone(at), i, i+1); !holds(when.Guarded(guard, fewer...), one) {
			at = fewer
		} else {
			i++
		}
	}
	return at
}
