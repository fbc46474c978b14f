package policy

import (
	"fmt"
	"slices"
	"time"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
)

type scope = expr.Scope

// The baseline: rules that no policy file can remove. Names of rules in a file never
// begin like this.
const (
	baselineSignIn = "baseline.sign-in" // a person has to be signed in
	baselineVerify = "baseline.verify"  // and verified by a passkey in this session, to get access
	baselineGrant  = "baseline.grant"   // and be named by the route's `allow`
	baselineData   = "baseline.ip-data" // no configured IP source may be missing (missing_data)
)

// BaselineRules returns the names of the rules that no file can remove.
func BaselineRules() []string {
	return []string{baselineSignIn, baselineVerify, baselineGrant, baselineData}
}

// clockTolerance is how far in the future an assertion may lie before it counts as not
// made: the clocks of two replicas differ a little, and a clock that was set back is no
// freshness.
const clockTolerance = time.Minute

// baselineHolds reports whether sign-in and verification ask for nothing.
//
// Signing in does not require a signed-in person. Enrolling and stepping up make a person
// verified, and require a signed-in person.
func (k key) baselineHolds() bool {
	switch k.purpose {
	case signIn:
		return true
	case enroll, stepUp:
		return k.level >= levelSignedIn
	default:
		return k.level >= levelVerified
	}
}

// standing is a rule that matched and is not satisfied: it has a say in the verdict.
type standing struct {
	rule         int // its index; -1: of the baseline
	name, reason string
	action       Action
	causes       []Cause
	maxAge       time.Duration
	require      []string
}

// verdict weighs the baseline and the rules that matched. The strictest wins.
//
// Package prove states the same semantics as a circuit (prove/verdict.go). Its
// counter-examples are judged here again; its proofs rest on the copy. A change here must
// be made there too, and in internal/reference, which says it a third time, slowly: its
// tests compare all three.
func (p *Policy) verdict(f *Facts, s Partial, matches []match) (Decision, Outcomes) {
	j := judgement{policy: p, facts: f, key: s.key}
	j.baseline(s)
	score, q := j.score(matches, false)
	j.rules(matches, score, q)
	d := j.decision()
	d.Excepted = j.excepted(matches)
	d.Score = score
	return d, j.outcomes(d.Action, matches)
}

type judgement struct {
	policy   *Policy
	facts    *Facts
	key      key
	standing []standing
	reported []Reported
	reports  []int // the rules of reported
	excepts  []int // the rules of excepted
}

func (j *judgement) outcomes(verdict Action, matches []match) Outcomes {
	o := Outcomes{matches: matches, Reported: j.reports, Excepted: j.excepts}
	for _, s := range j.standing {
		if s.rule >= 0 && s.action == verdict {
			o.Decided = append(o.Decided, s.rule)
		}
	}
	return o
}

func (j *judgement) baseline(s Partial) {
	add := func(name string, action Action, cause Cause, maxAge time.Duration) {
		j.standing = append(j.standing, standing{rule: -1, name: name, action: action, causes: []Cause{cause}, maxAge: maxAge})
	}
	switch {
	case s.key.baselineHolds():
	case s.key.level == levelNone:
		add(baselineSignIn, StepUp, CauseSignIn, 0)
	default:
		add(baselineVerify, StepUp, CauseUnverified, 0)
	}
	if s.refused {
		add(baselineGrant, Block, CauseGrant, 0)
	}
	if a := j.policy.missing; s.missing && a != Allow && (a == Block || j.stands(question{maxAge: file.DefaultMaxAge, here: true})) {
		add(baselineData, a, CauseNetwork, file.DefaultMaxAge)
	}
}

// question is what a step-up asks for.
type question struct {
	maxAge  time.Duration
	paused  bool // maxAge is not asked for at this hour
	require []string
	here    bool // the assertion has to be made from the present address
	browser bool // and with the present browser
}

// stands reports whether a question changes the verdict, so that it has to be answered.
//
// A person who is signing in or stepping up is about to prove themselves: for them only
// blocks matter. Enrolling proves nothing: there the question stands, and a person who
// cannot answer it does not enrol.
func (j *judgement) stands(q question) bool {
	if j.key.purpose == signIn || j.key.purpose == stepUp {
		return false
	}
	// A paused question asks nothing of an assertion for its age, so none is too old for it.
	return j.policy.nothingAnswers && !q.paused || q.tooOld(j.facts) || unanswered(j.facts, q) != ""
}

// tooOld reports whether the last assertion is older than the question allows.
func (q question) tooOld(f *Facts) bool { return !q.paused && f.Session.VerifiedAge > q.maxAge }

// unanswered says why the assertion of this session does not answer the question, or "".
//
// An assertion made elsewhere does not answer a question about the network: the person at
// home proved that they are at home, not that it is them who now calls from a VPN exit.
func unanswered(f *Facts, q question) string {
	switch age := f.Session.VerifiedAge; {
	case levelOf(f.Session) != levelVerified:
		return "no passkey was used in this session"
	case q.tooOld(f):
		return fmt.Sprintf("the last passkey assertion is %s old, and %s is allowed", age.Round(time.Second), q.maxAge)
	case age < -clockTolerance:
		return "the last passkey assertion lies in the future"
	case q.here && !f.Session.VerifiedHere:
		return "the last passkey assertion was made from another address"
	}
	if q.browser && (f.Session.UAChanged || f.Session.TLSChanged) {
		return "the last passkey assertion was made with another browser"
	}
	for _, r := range q.require {
		if !meets(f.Credential, r) {
			return "the passkey is not " + r
		}
	}
	return ""
}

func meets(c Credential, requirement string) bool {
	switch requirement {
	case file.Attested:
		return c.Class == "attested" && !c.BackupEligible
	case file.DeviceBound:
		return (c.Class == "attested" || c.Class == "unattested") && !c.BackupEligible
	}
	return false
}

// question is what a rule asks of the person of f.
func (p *Policy) question(r *rule, f *Facts) question {
	q := r.asks()
	if r.reverify != nil {
		q.maxAge, q.paused = p.drawn(r, f), p.pauses(r, f)
	}
	return q
}

// score adds up the enforced rules that have a score, and says what the sum does. The
// question that the sum asks is about everything that its contributors read. With all,
// rules that an exception suspends count too.
func (j *judgement) score(matches []match, all bool) (sum int, q question) {
	q.maxAge = j.policy.thresholds.MaxAge
	for _, m := range matches {
		if r := &j.policy.rules[m.rule]; r.score > 0 && (all || m.by == nil) && !j.policy.reports(r, j.facts) {
			sum, q = sum+r.score, q.with(r)
		}
	}
	return sum, q
}

// with is the question of a sum that the rule contributes to too.
func (q question) with(r *rule) question {
	q.here, q.browser = q.here || r.reads.network, q.browser || r.reads.browser
	return q
}

func (j *judgement) scoreAction(sum int, q question) Action {
	t := j.policy.thresholds
	switch {
	case t.Block > 0 && sum >= t.Block:
		return Block
	case t.StepUp > 0 && sum >= t.StepUp && j.stands(q):
		return StepUp
	}
	return Allow
}

// rules adds the matching rules that have a say, and what report-only rules would have
// said.
func (j *judgement) rules(matches []match, score int, q question) {
	scored := j.scoreAction(score, q)
	for _, m := range matches {
		if m.by != nil {
			continue
		}
		r := &j.policy.rules[m.rule]
		action, maxAge := r.action, r.maxAge
		if r.score > 0 {
			action, maxAge = scored, j.policy.thresholds.MaxAge
		}
		if j.policy.reports(r, j.facts) {
			j.report(m.rule, score, q)
			continue
		}
		if action == Allow || r.score == 0 && action == StepUp && !j.stands(j.policy.question(r, j.facts)) {
			continue
		}
		reason := r.reason
		if m.err != nil {
			if reason != "" {
				reason += " "
			}
			reason += fmt.Sprintf("(%s could not be evaluated, so it counts as matching: %v)", r.name, m.err)
		}
		j.standing = append(j.standing, standing{m.rule, r.name, reason, action, r.causes, maxAge, r.require})
	}
}

// excepted are the suspended rules that would have had a say without any exception. What
// an assertion answers anyway, or only reports, was not let through by one.
func (j *judgement) excepted(matches []match) (out []Excepted) {
	scored, known := Allow, false
	for _, m := range matches {
		r := &j.policy.rules[m.rule]
		if m.by == nil || j.policy.reports(r, j.facts) {
			continue
		}
		action := r.action
		if r.score > 0 {
			if !known {
				scored, known = j.scoreAction(j.score(matches, true)), true
			}
			action = scored
		}
		if action == Allow || r.score == 0 && action == StepUp && !j.stands(j.policy.question(r, j.facts)) {
			continue
		}
		out = append(out, Excepted{r.name, m.by.ID, m.by.Until, m.by.ApprovedBy, m.by.Why})
		j.excepts = append(j.excepts, m.rule)
	}
	return out
}

func (j *judgement) report(rule, score int, q question) {
	r := &j.policy.rules[rule]
	action := r.action
	switch {
	case r.score > 0:
		action = j.scoreAction(score+r.score, q.with(r))
	case action == StepUp && !j.stands(j.policy.question(r, j.facts)):
		return
	}
	j.reported = append(j.reported, Reported{Rule: r.name, Action: action, Score: r.score})
	j.reports = append(j.reports, rule)
}

// decision combines all that stands. It names all of it; the person sees, and is asked
// for, only what decided.
func (j *judgement) decision() Decision {
	d := Decision{Action: Allow, Reported: j.reported}
	for _, s := range j.standing {
		d.Action = min(d.Action, s.action)
	}
	if len(j.standing) == 0 {
		return d
	}
	var causes []Cause
	for _, s := range j.standing {
		d.Rules = append(d.Rules, s.name)
		if s.reason != "" {
			d.Reasons = append(d.Reasons, s.reason)
		}
		if s.action != d.Action {
			continue
		}
		causes = append(causes, s.causes...)
		if d.Action == StepUp {
			if s.maxAge > 0 && (d.MaxAge == 0 || s.maxAge < d.MaxAge) {
				d.MaxAge = s.maxAge
			}
			for _, r := range s.require {
				if !slices.Contains(d.Require, r) {
					d.Require = append(d.Require, r)
				}
			}
		}
	}
	d.Causes = inOrder(causes)
	return d
}

// inOrder sorts and deduplicates causes; those of further groups of facts come last.
func inOrder(causes []Cause) []Cause {
	if len(causes) < 2 {
		return causes
	}
	var out []Cause
	for _, c := range append(slices.Clone(causeOrder), causes...) {
		if slices.Contains(causes, c) && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}
