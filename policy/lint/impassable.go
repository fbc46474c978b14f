package lint

import (
	"fmt"
	"slices"
	"time"

	"sallyport/policy"
)

// impassable finds questions that no one can keep up with: each request asks again, and a
// route with such a rule is as good as closed.
func (l *linter) impassable() {
	say := func(what string, age time.Duration) Finding {
		return Finding{Code: "impassable-max-age", Severity: Warning,
			Message: fmt.Sprintf("%s asks for an assertion of the last %s: a step-up and the page behind it take longer, and each request asks again", what, age),
			Fix:     "max_age: 1m, or more"}
	}
	for i, r := range l.rules {
		if r.Action == policy.StepUp && r.Score == 0 && r.Asks.MaxAge < policy.LeastMaxAge {
			f := say(r.Name, r.Asks.MaxAge)
			if r.Report {
				f.Severity = Note
			}
			l.rule(i, f)
		}
	}
	if t := l.document.Thresholds; t != nil && t.StepUpNode != nil && t.MaxAge < policy.LeastMaxAge {
		l.node(t.StepUpNode, say("the threshold step_up", t.MaxAge))
	}
}

// exceptNoRule finds names in the `except` of a pinned invariant that no rule has: an author
// of the policy could add a rule of that name, which may then block.
func (l *linter) exceptNoRule() {
	for _, v := range l.policy.Model().Invariants {
		for _, name := range v.Except {
			if slices.ContainsFunc(l.rules, func(r policy.ModelRule) bool { return r.Name == name }) {
				continue
			}
			l.found = append(l.found, Finding{Code: "except-without-rule", Severity: Warning, File: v.At.File, Line: v.At.Line, Column: v.At.Column, Excerpt: v.At.Excerpt,
				Message: policy.Printable(fmt.Sprintf("the invariant %s excepts the rule %s, which the policy does not have: a rule that is added by that name may block", v.Name, name)),
				Fix:     "no such name in except, until there is the rule"})
		}
	}
}
