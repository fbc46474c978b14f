package proxy

import (
	"sallyport/policy"
	"sallyport/proxy/observe"
)

// ruleCounts are the counters of one policy's rules, by their index. The zero value counts
// nothing.
type ruleCounts struct {
	policy *policy.Policy
	rules  []observe.RuleCounters
}

// judge is [policy.Policy.Finish], counted. What a request has in common with others of its
// session is judged once and kept, but counted for each of them.
func (c *ruleCounts) judge(p *policy.Policy, f *policy.Facts, s policy.Partial) policy.Decision {
	d, o := p.Judge(f, s)
	if c.policy != p {
		return d
	}
	for i := range o.Matched() {
		c.rules[i].Matched.Inc()
	}
	for _, i := range o.Decided {
		c.rules[i].Decided.Inc()
	}
	for _, i := range o.Reported {
		c.rules[i].Reported.Inc()
	}
	for _, i := range o.Excepted {
		c.rules[i].Excepted.Inc()
	}
	return d
}

// countRules gives s the counters of its policies. Those of a policy that stays are kept.
func (g *Gate) countRules(s *Snapshot) {
	if g.cfg.Observe == nil {
		return
	}
	for _, x := range []struct {
		counts *ruleCounts
		policy *policy.Policy
		label  string
	}{{&s.counts, s.Policy, observe.Enforced}, {&s.shadowCounts, s.Shadow, observe.Shadow}} {
		if x.counts.policy == x.policy {
			continue
		}
		var names []string
		if x.policy != nil {
			for _, r := range x.policy.Rules() {
				names = append(names, r.Name)
			}
		}
		*x.counts = ruleCounts{x.policy, g.cfg.Observe.Rules(x.label, names)}
	}
}
