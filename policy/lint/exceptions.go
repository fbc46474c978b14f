package lint

import (
	"fmt"
	"slices"
	"time"

	"sallyport/policy"
	"sallyport/policy/internal/file"
)

// endsSoon is how long before its end an exception is a finding: there is time to renew it.
const endsSoon = 7 * 24 * time.Hour

// exceptions finds entries of the file of exceptions that are over, and those that suspend
// nothing.
func (l *linter) exceptions(list []*policy.Exception) {
	x := l.config.Policy.Exceptions
	if x == nil || len(list) == 0 {
		return
	}
	d, err := file.ReadExceptions(x.Name, x.Source)
	if err != nil {
		return // it was read before
	}
	for i, e := range list {
		n := d.Exceptions[i]
		at := func(n *file.Node, f Finding) {
			f.File, f.Line, f.Column, f.Excerpt = x.Name, n.Line, n.Column, d.Excerpt(n.Line, n.Column)
			f.Message, f.Fix = policy.Printable(f.Message), policy.Printable(f.Fix)
			l.found = append(l.found, f)
		}
		end := fmt.Sprintf("`sallyport policy except end %s`", e.ID)
		if l.config.Now != nil {
			now := l.config.Now()
			if e.State(now) == policy.ExceptionExpired {
				at(n.UntilNode, Finding{Code: "exception-expired", Severity: Warning, Message: fmt.Sprintf("the exception %s of %s is over, since %s", e.ID, e.User, days(now.Sub(e.Until))), Fix: end})
				continue
			}
			if left := e.Until.Sub(now); left < endsSoon {
				at(n.UntilNode, Finding{Code: "exception-ends-soon", Severity: Note, Message: fmt.Sprintf("the exception %s of %s ends in %s", e.ID, e.User, days(left)),
					Fix: "nothing, if it may end; a later until, if it was approved"})
			}
		}
		if e.Subject == "" {
			at(n.User, Finding{Code: "exception-of-an-address", Severity: Note, Message: fmt.Sprintf("the exception %s is for the address %s alone: while it lasts, it is for each account that is given that address", e.ID, e.User),
				Fix: "subject: ISSUER|SUBJECT, which `sallyport policy except add` writes for a person who has signed in; or end it when the person leaves"})
		}
		if l.config.People != nil && !slices.Contains(l.config.People, e.User) {
			at(n.User, Finding{Code: "exception-of-no-one", Severity: Warning, Message: fmt.Sprintf("%s is not in the roster, so the exception %s may be for no one", e.User, e.ID), Fix: "the address that the roster has; or " + end})
		}
		for j, name := range e.Rules {
			if why := l.suspendsNothing(e, name); why != "" {
				at(n.Rules[j], Finding{Code: "exception-without-effect", Severity: Warning, Rule: name, Message: fmt.Sprintf("the exception %s of %s from %s suspends nothing: %s", e.ID, e.User, name, why), Fix: end + fmt.Sprintf(", with --rule %s if it has others", name)})
			}
		}
	}
}

// suspendsNothing says why an exception from a rule does nothing, or "".
func (l *linter) suspendsNothing(e *policy.Exception, name string) string {
	i := slices.IndexFunc(l.rules, func(r policy.ModelRule) bool { return r.Name == name })
	switch {
	case i < 0:
		return "the policy has no such rule"
	case l.rules[i].Report:
		return "the rule only reports"
	case len(e.Routes) > 0 && l.rules[i].Routes != nil && !slices.ContainsFunc(e.Routes, func(r string) bool { return slices.Contains(l.rules[i].Routes, r) }):
		return "the rule is for other routes"
	}
	return ""
}

func days(d time.Duration) string {
	switch n := int(d / (24 * time.Hour)); n {
	case 0:
		return "less than a day"
	case 1:
		return "1 day"
	default:
		return fmt.Sprintf("%d days", n)
	}
}
