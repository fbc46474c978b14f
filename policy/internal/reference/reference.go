// Package reference judges requests as policy/reference.md says it, for tests.
//
// It is a second opinion. It was written from the reference alone, and shares with the
// evaluator only the types of facts and verdicts: it neither reads a policy file nor
// compiles a condition, and it does nothing to be fast. Tests compare with it what
// package policy decides and what package prove claims; a difference is a mistake in one
// of the three, or in the reference.
//
// What it is not: a specification. It leaves out other spellings of paths and addresses,
// and it takes what is drawn by a key as given ([Draws]).
package reference

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/policy"
)

// Policy is what a policy file says.
type Policy struct {
	MissingData     policy.Action
	StepUpAt, Block int // thresholds of the score; 0: none
	ScoreMaxAge     time.Duration
	Rules           []Rule
	Exceptions      []Exception
	Invariants      []Invariant
	Grants          map[string]policy.Grant // nil: every route is granted to all people
}

// Rule is one rule.
type Rule struct {
	Name    string
	When    Condition
	Unless  *Condition // nil: none
	Routes  []string   // nil: all, and every purpose
	Then    policy.Action
	Score   int // 0: Then is what it does
	MaxAge  time.Duration
	Every   time.Duration // 0: MaxAge
	Jitter  time.Duration
	Hours   *Hours
	Require []string
	Report  bool
	Enforce *Enforce
}

// Hours are minutes of the day: From is one of them, To is not.
type Hours struct{ From, To int }

// Enforce says which people a rule is enforced for.
type Enforce struct {
	Percent int
	Groups  []string
}

// Exception is one entry of a file of exceptions.
type Exception struct {
	ID, User        string
	Subject, Issuer string
	Rules           []string
	Routes          []string // empty: everywhere, as for the other two
	Countries       []string
	Networks        []netip.Prefix
	From            time.Time // zero: there is no beginning
	Until           time.Time
}

// Invariant is one invariant.
type Invariant struct {
	Claim  policy.Claim
	When   Condition
	Except []string // rules that may break NeverBlock
}

// Draws are what the key of an installation draws for one request.
type Draws struct {
	Place func(rule string) int           // of the person, 0 to 99: in a percentage above it
	Due   func(rule string) time.Duration // how old an assertion may be, of a rule with jitter
}

// Verdict is what is decided, and why. Rules and Require are sorted.
type Verdict struct {
	Action   policy.Action
	Rules    []string
	MaxAge   time.Duration // of a step-up
	Require  []string      // of a step-up
	Score    int
	Reported map[string]policy.Action
	Excepted map[string]string // the exception by which a rule is not in Rules
	Blockers []string          // those of Rules, and of the baseline, that block
}

// Case is one request under one policy.
type Case struct {
	Policy *Policy
	Facts  *policy.Facts
	Draws  Draws
	// Session: it is judged between its requests, so that rules over the request are not
	// asked.
	Session bool
	// Unanswered: it is judged as for a person whose assertion answers nothing.
	Unanswered bool
}

func (c Case) level() string   { return c.Facts.Session.Level }
func (c Case) purpose() string { return c.Facts.Request.Purpose }

// Judge is "How a verdict comes about", step by step, and what exceptions made of it: the
// rules that stand without any exception, and from which there is one.
func (c Case) Judge() Verdict {
	v := c.judge()
	v.Excepted = map[string]string{}
	if len(c.Policy.Exceptions) == 0 {
		return v
	}
	without := *c.Policy
	without.Exceptions = nil
	strict := Case{&without, c.Facts, c.Draws, c.Session, c.Unanswered}
	for _, name := range strict.judge().Rules {
		for _, r := range c.Policy.Rules {
			if x := c.exception(r); r.Name == name && r.When.Of(c.Facts) == True && x != nil {
				v.Excepted[name] = x.ID
			}
		}
	}
	return v
}

func (c Case) judge() Verdict {
	v := Verdict{Action: policy.Allow, Reported: map[string]policy.Action{}}
	stand := func(name string, action policy.Action, maxAge time.Duration, require ...string) {
		v.Rules = append(v.Rules, name)
		if action == policy.Block {
			v.Blockers = append(v.Blockers, name)
		}
		if action < v.Action { // stricter: what was asked for until now no longer counts
			v.Action, v.MaxAge, v.Require = action, 0, nil
		}
		if action != v.Action || action != policy.StepUp {
			return
		}
		if maxAge != 0 && (v.MaxAge == 0 || maxAge < v.MaxAge) {
			v.MaxAge = maxAge
		}
		v.Require = append(v.Require, require...)
	}
	// 1. The baseline.
	switch {
	case c.purpose() == policy.PurposeSignIn: // how a person becomes signed in
	case c.level() == "none":
		stand("baseline.sign-in", policy.StepUp, 0)
	case c.level() == "signed_in" && c.purpose() == policy.PurposeAccess:
		stand("baseline.verify", policy.StepUp, 0)
	}
	if g := c.Policy.Grants; g != nil && c.purpose() == policy.PurposeAccess && c.level() != "none" && !g[c.Facts.Request.Route].Permits(c.Facts.User) {
		stand("baseline.grant", policy.Block, 0)
	}
	if len(c.Facts.IP.DataMissing) > 0 {
		switch about := (question{maxAge: 15 * time.Minute, here: true}); c.Policy.MissingData {
		case policy.Block:
			stand("baseline.ip-data", policy.Block, 0)
		case policy.StepUp:
			if c.stands(about) {
				stand("baseline.ip-data", policy.StepUp, about.maxAge)
			}
		}
	}
	// 2 and 3. The rules that apply and match; enforced, or reporting.
	var enforced, reporting []Rule
	for _, r := range c.Policy.Rules {
		switch {
		case !c.Matches(r):
		case c.enforces(r):
			enforced = append(enforced, r)
		default:
			reporting = append(reporting, r)
		}
	}
	// 5. The score.
	var contributors []Rule
	for _, r := range enforced {
		if r.Score > 0 {
			contributors = append(contributors, r)
		}
	}
	var scored policy.Action
	v.Score, scored = c.score(contributors)
	// 4 and 6. What stands.
	for _, r := range enforced {
		switch {
		case r.Score > 0 && scored != policy.Allow:
			stand(r.Name, scored, c.Policy.ScoreMaxAge)
		case r.Score > 0:
		case r.Then == policy.Block:
			stand(r.Name, policy.Block, 0)
		case c.stands(c.question(r)):
			stand(r.Name, policy.StepUp, r.told(), r.Require...)
		}
	}
	for _, r := range reporting {
		switch {
		case r.Score > 0:
			_, v.Reported[r.Name] = c.score(append(slices.Clone(contributors), r))
		case r.Then == policy.Block || c.stands(c.question(r)):
			v.Reported[r.Name] = r.Then
		}
	}
	slices.Sort(v.Rules)
	slices.Sort(v.Require)
	v.Require = slices.Compact(v.Require)
	return v
}

// Matches reports whether a rule applies and matches.
func (c Case) Matches(r Rule) bool { return c.applies(r) && c.matches(r) }

// applies: rules over people are not asked while it is not known who it is.
func (c Case) applies(r Rule) bool {
	reads := r.reads()
	switch {
	case reads.any("user.", "session.", "seen.", "travel.", "activity.") && c.level() == "none":
		return false
	case (reads.any("credential.", "browser.", "handoff.") || r.Every > 0) && c.level() != "verified":
		return false
	case c.Session && reads.ofRequest():
		return false
	}
	return r.Routes == nil || c.purpose() == policy.PurposeAccess && slices.Contains(r.Routes, c.Facts.Request.Route)
}

// matches: what cannot be evaluated counts as matching.
func (c Case) matches(r Rule) bool {
	when := r.When.Of(c.Facts)
	switch {
	case when == True && c.exception(r) != nil:
		return false
	case when != True || r.Unless == nil:
		return when != False
	}
	return r.Unless.Of(c.Facts) != True
}

// exception is the first exception from a rule that holds for the request, or nil.
func (c Case) exception(r Rule) *Exception {
	f := c.Facts
	for i := range c.Policy.Exceptions {
		switch x := &c.Policy.Exceptions[i]; {
		case x.User != f.User.Email || !slices.Contains(x.Rules, r.Name):
		case x.Subject != "" && (x.Subject != f.User.Subject || x.Issuer != f.User.Issuer):
		case len(x.Routes) > 0 && !slices.Contains(x.Routes, f.Request.Route):
		case len(x.Countries) > 0 && !slices.Contains(x.Countries, f.IP.Country):
		case len(x.Networks) > 0 && !slices.ContainsFunc(x.Networks, func(n netip.Prefix) bool { return n.Contains(f.IP.Addr) }):
		case f.Time.Now.Before(x.From) || !f.Time.Now.Before(x.Until):
		default:
			return x
		}
	}
	return nil
}

func (c Case) enforces(r Rule) bool {
	if r.Report || r.Enforce == nil {
		return !r.Report
	}
	for _, g := range r.Enforce.Groups {
		if slices.Contains(c.Facts.User.Groups, g) {
			return true
		}
	}
	return c.level() != "none" && c.Draws.Place(r.Name) < r.Enforce.Percent
}

// question is what a step-up asks of the last passkey assertion.
type question struct {
	maxAge        time.Duration
	anyAge        bool
	require       []string
	here, browser bool
}

func (c Case) question(r Rule) question {
	reads := r.reads()
	q := question{maxAge: r.MaxAge, require: r.Require, here: reads.ofNetwork(), browser: reads.ofBrowser()}
	if r.Every == 0 {
		return q
	}
	q.maxAge = r.Every
	if r.Jitter > 0 {
		q.maxAge = c.Draws.Due(r.Name)
	}
	if now, known := local(c.Facts); r.Hours != nil && known {
		q.anyAge = !r.Hours.hold(now.Hour()*60 + now.Minute())
	}
	return q
}

func (h Hours) hold(minute int) bool {
	for m := h.From; m != h.To; m = (m + 1) % (24 * 60) {
		if m == minute {
			return true
		}
	}
	return false
}

// told is the age that the person is told: with `every`, one below which the rule never
// asks.
func (r Rule) told() time.Duration {
	if r.Every > 0 {
		return r.Every - r.Jitter
	}
	return r.MaxAge
}

// stands reports whether a question changes the verdict.
func (c Case) stands(q question) bool {
	s, passkey := c.Facts.Session, c.Facts.Credential
	switch {
	case c.purpose() == policy.PurposeSignIn || c.purpose() == policy.PurposeStepUp:
		return false
	case c.level() != "verified":
		return true
	case c.Unanswered && !q.anyAge:
		return true
	case s.VerifiedAge > q.maxAge && !q.anyAge:
		return true
	case s.VerifiedAge < -time.Minute:
		return true
	case q.here && !s.VerifiedHere:
		return true
	case q.browser && (s.UAChanged || s.TLSChanged):
		return true
	}
	for _, want := range q.require {
		bound := !passkey.BackupEligible && (passkey.Class == "attested" || passkey.Class == "unattested")
		if !bound || want == "attested" && passkey.Class != "attested" {
			return true
		}
	}
	return false
}

// score adds up rules, and says what the sum does.
func (c Case) score(rules []Rule) (sum int, _ policy.Action) {
	q := question{maxAge: c.Policy.ScoreMaxAge}
	for _, r := range rules {
		sum += r.Score
		q.here, q.browser = q.here || r.reads().ofNetwork(), q.browser || r.reads().ofBrowser()
	}
	switch p := c.Policy; {
	case p.Block > 0 && sum >= p.Block:
		return sum, policy.Block
	case p.StepUpAt > 0 && sum >= p.StepUpAt && c.stands(q):
		return sum, policy.StepUp
	}
	return sum, policy.Allow
}

// Meant reports whether an invariant speaks of the request.
func (c Case) Meant(v Invariant) bool {
	return v.When.Of(c.Facts) == True &&
		(c.level() == "verified" || v.When.Reads.any("session.level")) &&
		(c.purpose() == policy.PurposeAccess || v.When.Reads.any("request.purpose"))
}

// Breaks reports whether the request breaks an invariant.
func (c Case) Breaks(v Invariant) bool {
	if !c.Meant(v) {
		return false
	}
	granted := *c.Policy
	granted.Grants = nil
	c.Policy = &granted
	c.Unanswered = v.Claim == policy.AlwaysStepUp
	verdict := c.Judge()
	switch v.Claim {
	case policy.AlwaysBlock:
		return verdict.Action != policy.Block
	case policy.NeverBlock:
		return slices.ContainsFunc(verdict.Blockers, func(name string) bool { return !slices.Contains(v.Except, name) })
	default:
		return verdict.Action == policy.Allow
	}
}
