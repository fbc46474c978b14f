package observe

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// What a policy is to the requests: the label "policy" of the counters of its rules.
const (
	Enforced = "enforced"
	Shadow   = "shadow"
)

// MaxRules is how many rules of each policy have series of their own, four each. The
// others share those of otherRules.
const MaxRules = 500

// otherRules also counts a rule of this name, if there is one.
const otherRules = "other"

// RuleCounters count what came of one rule.
type RuleCounters struct {
	Matched  prometheus.Counter // its condition held, or could not be evaluated
	Decided  prometheus.Counter // and its action became the verdict
	Reported prometheus.Counter // or would have, but it only reports
	Excepted prometheus.Counter // or would have, but an exception suspends it for the person
}

func newRules() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_policy_rule_total", Help: "Judgements that a rule had to do with, by rule, policy and outcome."}, []string{"rule", "policy", "outcome"})
}

// Rules gives the counters of a policy's rules, in the order of names, for the label
// Enforced or Shadow, and removes those of rules that the policy before it had and this one
// has not. A rule that keeps its name keeps its counters.
func (o *Observer) Rules(label string, names []string) []RuleCounters {
	o.mu.Lock()
	defer o.mu.Unlock()
	own := names
	if len(names) > MaxRules {
		own = append(slices.Clone(names[:MaxRules]), otherRules)
	}
	for _, name := range o.ruled[label] {
		if !slices.Contains(own, name) {
			o.rules.DeletePartialMatch(prometheus.Labels{"rule": name, "policy": label})
		}
	}
	o.ruled[label] = own
	counters := make([]RuleCounters, len(names))
	for i, name := range names {
		if i >= MaxRules {
			name = otherRules
		}
		of := func(outcome string) prometheus.Counter { return o.rules.WithLabelValues(name, label, outcome) }
		counters[i] = RuleCounters{of("matched"), of("decided"), of("reported"), of("excepted")}
	}
	return counters
}
