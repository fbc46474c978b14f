package policy

import (
	"slices"
	"time"

	"sallyport/policy/internal/expr"
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
	Again        bool     // it asks again at times of its own
	// From is the level below which the rule is not asked: "none", "signed_in" or "verified".
	From string
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
	attested := slices.Contains(q.require, requireAttested)
	return Question{q.maxAge, attested || slices.Contains(q.require, requireDeviceBound), attested, q.here, q.browser}
}

// asks is what the rule asks of every person. When a question comes again at a drawn
// time, that is as good as never: who reasons about all requests must not count on it.
func (r *rule) asks() question {
	q := question{maxAge: r.maxAge, require: r.require, here: r.reads.network, browser: r.reads.browser}
	if r.again != nil {
		q.maxAge = unforeseen
	}
	return q
}

const unforeseen = 100 * 365 * 24 * time.Hour

// ClockTolerance is how far in the future an assertion may lie and still answer.
const ClockTolerance = clockTolerance

// Model takes the policy apart.
func (p *Policy) Model() Model {
	m := Model{Invariants: p.invariants, StepUpAt: p.thresholds.stepUp, BlockAt: p.thresholds.block,
		Scored: question{maxAge: p.thresholds.maxAge}.public(), Missing: p.missing,
		MissingAsks: question{maxAge: defaultMaxAge, here: true}.public(), Routes: p.words.routes, Schema: p.schema, Env: p.env, policy: p}
	if v := p.words.provides; v != nil && v.Lists != nil {
		m.Lists = []string{}
		for l := range v.Lists {
			m.Lists = append(m.Lists, l)
		}
		slices.Sort(m.Lists)
	}
	levels := map[level]string{levelNone: "none", levelSignedIn: "signed_in", levelVerified: "verified"}
	for i := range p.rules {
		r := &p.rules[i]
		m.Rules = append(m.Rules, ModelRule{Name: r.name, Line: r.line, When: r.when, Unless: r.unless, Routes: r.routes,
			Action: r.action, Score: r.score, Report: r.report || r.share != nil, Asks: r.asks().public(), Again: r.again != nil, From: levels[r.reads.from]})
	}
	return m
}

// Asked is [Policy.Decide] as for a person whose assertion answers nothing: every question
// that is asked stands.
func (p *Policy) Asked(f *Facts) Decision {
	q := *p
	q.nothingAnswers = true
	return q.Decide(f)
}

// Judge is Decide, or Asked, with the grants of routes taken as given, as in tests.
func (m *Model) Judge(f *Facts, asked bool) Decision {
	q := *m.policy
	q.grants, q.nothingAnswers = nil, asked
	return q.Decide(f)
}

// Holds evaluates a condition of the policy.
func (m *Model) Holds(condition *expr.Program, f *Facts) (bool, error) {
	scope := m.Env.Acquire(f)
	defer scope.Release()
	return condition.Eval(scope)
}

// Range returns the least and the most that a numeric fact can be, where facts.go says so; whole
// numbers, nanoseconds, or whole parts of a double.
func (m *Model) Range(fact string) (least, most int64, ok bool) {
	r, ok := ranges[fact]
	return r[0], r[1], ok
}

// Possible reports whether a fact (or an entry of it) can have this value at all.
func (m *Model) Possible(fact, value string) bool { return m.policy.words.check(fact, value) == nil }

// Ordinary returns what a test of this session.level begins with: a person that no fact speaks against.
func (m *Model) Ordinary(level string) Facts {
	f := testFacts()
	if level != f.Session.Level {
		levelDefaults(&f, level)
		f.Session.Level = level
	}
	return f
}

// Name returns the file name of the policy.
func (m *Model) Name() string { return m.policy.name }

// Refused reports whether the route's grant does not name the person, and the grant.
func (m *Model) Refused(f *Facts) (Grant, bool) {
	p := m.policy
	return p.grants[f.Request.Route], p.Stable(f).refused
}
