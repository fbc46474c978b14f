package proxy

import (
	"slices"

	"sallyport/policy"
	"sallyport/proxy/audit"
)

// shadowed is the decision of the policy in shadow. Only records and a metric use it; it
// decides nothing.
type shadowed struct {
	judged   bool
	decision policy.Decision
}

// decide asks the policy in force about the facts of v, and the policy in shadow, if there
// is one, and counts what came of their rules. The partials are what is known of each of
// them already, or zero.
func (v *Verdict) decide(partial, shadow policy.Partial) {
	s := v.snapshot
	v.Decision = s.counts.judge(s.Policy, &v.Facts, partial)
	if s.Shadow != nil {
		v.shadow = shadowed{true, s.shadowCounts.judge(s.Shadow, &v.Facts, shadow)}
	}
}

// differs reports whether the policy in shadow would act differently, or the same for
// other reasons.
func (s *shadowed) differs(d *policy.Decision) bool {
	return s.judged && (s.decision.Action != d.Action || !slices.Equal(s.decision.Rules, d.Rules))
}

// shadowRecord is the record's entry beside the verdict; nil if both agree.
func (v *Verdict) shadowRecord(f *policy.Facts) *audit.Shadow {
	if v.snapshot == nil || v.snapshot.Shadow == nil {
		return nil
	}
	s := v.shadow
	if !s.judged { // an event of one of our own pages
		s = shadowed{true, v.snapshot.Shadow.Decide(f)}
	}
	if !s.differs(&v.Decision) {
		return nil
	}
	return &audit.Shadow{Policy: v.snapshot.Shadow.Hash(), Action: s.decision.Action.String(), Rules: append([]string{}, s.decision.Rules...)}
}
