package policy

import (
	"slices"
	"time"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
	"sallyport/policy/internal/vocabulary"
)

// Model is a policy taken apart, for package policy/prove, which reasons about all requests at
// once. Its programs and slices are the policy's own: they are read, not changed.
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
	Routes       []string      // nil: every route and purpose
	Action       Action        // Allow for a rule that adds to the score
	Score        int
	Report       bool     // for everybody or, with `enforce`, for somebody
	Asks         Question // for StepUp; of a rule with a score only Here and Browser
	Reverify     bool     // it asks again at times of its own
	// From is the level below which the rule is not asked: "none", "signed_in" or "verified".
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

// asks is what the rule asks of every person. When a question comes again at a drawn
// time, that is as good as never: who reasons about all requests must not count on it.
func (r *rule) asks() question {
	q := question{maxAge: r.maxAge, require: r.require, here: r.reads.network, browser: r.reads.browser}
	if r.reverify != nil {
		q.maxAge = unforeseen
	}
	return q
}

const unforeseen = 100 * 365 * 24 * time.Hour

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
		m.Rules = append(m.Rules, ModelRule{Name: r.name, Line: r.line, When: r.when, Unless: r.unless, Routes: r.routes,
			Action: r.action, Score: r.score, Report: r.report || r.enforce != nil, Asks: r.asks().public(), Reverify: r.reverify != nil, From: levels[r.reads.from], Reads: r.reads,
			Respelled: r.folded != nil && r.folded.always})
	}
	return m
}

// Unanswered returns the policy as for a person whose assertion answers nothing: every
// question that is asked stands. Never for a policy that is to be enforced.
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
