package policy

import (
	"slices"
	"time"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
	"sallyport/policy/internal/vocabulary"
)

// Model is a policy taken apart, for package policy/prove, which reasons about all
// requests at once. Its programs and slices are the policy's own: they are read, not
// changed.
type Model struct {
	Rules      []ModelRule // in file order
	Invariants []Invariant
	// StepUpAt and BlockAt are the thresholds of the score; 0: none.
	StepUpAt, BlockAt int
	Scored            Question // what the score asks for, besides what the rules that contribute to it read
	Missing           Action   // when an IP source is missing
	MissingAsks       Question
	// Routes are all that there are, besides "". Nil: not known.
	Routes []string
	// Lists are all names that ip.lists can hold. Nil: not known.
	Lists []string

	Schema *expr.Schema
	Env    *expr.Env
	Words  *vocabulary.Vocabulary
	Policy *Policy // with the grants of routes taken as given, as in tests
	policy *Policy
}

// ModelRule is one compiled rule.
type ModelRule struct {
	Name         string
	Line         int
	When, Unless *expr.Program // Unless may be nil
	// Exceptions are further conditions, of single people: one that holds is as good as
	// Unless.
	Exceptions []*expr.Program
	Routes     []string // nil: every route and purpose
	Action     Action   // Allow for a rule that adds to the score
	Score      int
	Report     bool            // it changes nothing, for any person
	Enforce    *Enforcement    // nil: unless Report, it is enforced for every person
	Asks       Question        // for StepUp; of a rule with a score only Here and Browser
	Reverify   *Reverification // nil: MaxAge is what it asks for
	// From is the level below which the rule is not asked: "none", "signed_in" or
	// "verified".
	From string
	// Reads is what the rule looks at.
	Reads Reads
	// Respelled: it compares paths with constants that folding changes, so it is evaluated
	// about the path as written and, with other constants, about the folded one.
	Respelled bool
}

// Question is what a step-up asks of the session's last passkey assertion.
type Question struct {
	MaxAge      time.Duration
	DeviceBound bool // the passkey cannot be copied to another device
	Attested    bool // and its make is proven
	Here        bool // it was made from the present address
	Browser     bool // and with the present browser
}

func (q question) public() Question {
	attested := slices.Contains(q.require, file.Attested)
	return Question{q.maxAge, attested || slices.Contains(q.require, file.DeviceBound), attested, q.here, q.browser}
}

// Enforcement says which people a rule is enforced for; it reports for the others.
type Enforcement struct {
	Percent int      // drawn, unless it is 0 or 100
	Groups  []string // and all members of these
}

// Reverification is when a rule asks again. The age at which it does is drawn for each
// assertion: an older one than Latest is too old for certain, and none up to Earliest is.
type Reverification struct {
	Earliest, Latest time.Duration
	// Asks reports whether it asks in this minute of the day in user.time_zone; nil: it
	// always does. Where the zone is not known it asks at any hour.
	Asks func(minute int) bool
}

// asks is what the rule asks of every person, but for the time that a rule with `every`
// draws.
func (r *rule) asks() question {
	return question{maxAge: r.maxAge, require: r.require, here: r.reads.network, browser: r.reads.browser}
}

// public is the enforcement for package prove; report: the rule changes nothing for any
// person.
func (s *enforcement) public() (report bool, _ *Enforcement) {
	if s == nil {
		return false, nil
	}
	return s.percent == 0 && len(s.groups) == 0, &Enforcement{s.percent, s.groups}
}

func (a *reverify) public() *Reverification {
	if a == nil {
		return nil
	}
	out := &Reverification{Earliest: a.every - a.jitter, Latest: a.every + a.jitter}
	if a.hours != nil {
		out.Asks = a.hours.in
	}
	return out
}

// ClockTolerance is how far in the future an assertion may lie and still answer.
const ClockTolerance = clockTolerance

// Model takes the policy apart.
func (p *Policy) Model() Model {
	m := Model{Invariants: p.invariants, StepUpAt: p.thresholds.StepUp, BlockAt: p.thresholds.Block,
		Scored: question{maxAge: p.thresholds.MaxAge}.public(), Missing: p.missing,
		MissingAsks: question{maxAge: file.DefaultMaxAge, here: true}.public(), Routes: p.words.Routes(), Lists: p.words.Lists(),
		Schema: p.schema, Env: p.env, Words: p.words, Policy: p.Ungranted(), policy: p}
	levels := map[level]string{levelNone: "none", levelSignedIn: "signed_in", levelVerified: "verified"}
	for i := range p.rules {
		r := &p.rules[i]
		never, some := r.enforce.public()
		m.Rules = append(m.Rules, ModelRule{Name: r.name, Line: r.line, When: r.when, Unless: r.unless, Routes: r.routes,
			Action: r.action, Score: r.score, Report: r.report || never, Enforce: some, Asks: r.asks().public(), Reverify: r.reverify.public(),
			Exceptions: p.exceptionConditions(i), From: levels[r.reads.from], Reads: r.reads, Respelled: r.folded != nil && r.folded.always})
	}
	return m
}

// Unanswered returns the policy as for a person whose assertion answers nothing: every
// question that is asked stands. A rule with `hours` does not ask for the age outside of
// them; of such a rule only what is left of its question counts, judged by the facts.
// Never for a policy that is to be enforced.
func (p *Policy) Unanswered() *Policy {
	q := *p
	q.nothingAnswers = true
	return &q
}

// Holds evaluates a condition of the policy.
func (m *Model) Holds(condition *expr.Program, f *Facts) (bool, error) {
	scope := m.Env.Acquire(f)
	defer scope.Release()
	return condition.Eval(scope)
}

// Name returns the file name of the policy.
func (m *Model) Name() string { return m.policy.name }

// Refused reports whether the route's grant does not name the person, and the grant.
func (m *Model) Refused(f *Facts) (Grant, bool) {
	p := m.policy
	return p.grants[f.Request.Route], p.Partial(f).refused
}
