package policy

import (
	"iter"
	"slices"

	"sallyport/policy/internal/expr"
)

// Partial is the part of a judgement that stays the same for one session token, address,
// route and purpose, as long as the data behind the facts is the same: it may be kept and
// given to [Policy.Finish] for every request of that kind. The zero value is "not judged
// yet".
type Partial struct {
	policy  *Policy
	key     key
	matches []match // of stable rules, in file order
	refused bool    // the route's grant does not name the person
	missing bool    // IP sources are missing
	clock   bool
}

// ClockBound reports that a rule in it reads something that changes with time
// alone: keep it for at most one second.
func (s Partial) ClockBound() bool { return s.clock }

// key is what decides which rules apply, besides the facts that they read.
type key struct {
	level   level
	purpose purpose
	route   string
}

type purpose uint8

const (
	access purpose = iota // an unknown purpose is judged most strictly
	signIn
	enroll
	stepUp
)

func keyOf(f *Facts) key {
	k := key{level: levelOf(f.Session), route: f.Request.Route}
	switch f.Request.Purpose {
	case PurposeSignIn:
		k.purpose = signIn
	case PurposeEnroll:
		k.purpose = enroll
	case PurposeStepUp:
		k.purpose = stepUp
	}
	return k
}

// match is a rule whose condition holds, or could not be evaluated.
type match struct {
	rule int
	err  error
	by   *exception // that suspends it, so that it counts as not matching; nil: none
}

// Decide judges one request, whole. It reads f and nothing else, and does not change it.
func (p *Policy) Decide(f *Facts) Decision { return p.Finish(f, p.Partial(f)) }

// Partial evaluates the rules that read of the request only its route and purpose, and
// the route's grant.
func (p *Policy) Partial(f *Facts) Partial {
	s := Partial{policy: p, key: keyOf(f), missing: len(f.IP.DataMissing) > 0}
	s.refused = p.refuses(f, s.key)
	s.matches, s.clock = p.evaluate(f, s.key, p.stable, nil)
	return s
}

// refuses reports that the route's grant does not name the person. Without a person it is
// false: they are sent to sign in.
func (p *Policy) refuses(f *Facts, k key) bool {
	return p.grants != nil && k.purpose == access && k.route != "" && k.level != levelNone && !p.grants[k.route].Permits(f.User)
}

// Finish evaluates the rules that read the request itself, and how fresh the person's
// assertion is, and gives the verdict. Decide(f) equals Finish(f, Partial(f)).
//
// A Partial that was made by another policy, or for another route, purpose or level, is
// not used but made again: after a reload an old memory must not decide.
func (p *Policy) Finish(f *Facts, s Partial) Decision {
	d, _ := p.Judge(f, s)
	return d
}

// Judge is Finish that also says what came of the rules.
func (p *Policy) Judge(f *Facts, s Partial) (Decision, Outcomes) {
	k := keyOf(f)
	if s.policy != p || s.key != k {
		s = p.Partial(f)
	}
	matches := s.matches
	if len(p.perRequest) > 0 {
		if more, _ := p.evaluate(f, k, p.perRequest, nil); len(more) > 0 {
			matches = append(slices.Clone(matches), more...)
			slices.SortFunc(matches, func(a, b match) int { return a.rule - b.rule })
		}
	}
	return p.weigh(f, s, matches)
}

// Outcomes says what came of the rules for one request. A rule is its index in
// [Policy.Rules]. The fixed rules of the baseline are not in it.
type Outcomes struct {
	matches []match
	// Decided are the rules whose action is the verdict: not a step-up beside a block, and
	// not one whose question is answered already.
	Decided []int
	// Reported are the rules of [Decision.Reported], and Excepted those of
	// [Decision.Excepted].
	Reported, Excepted []int
}

// Matched are the rules whose condition held, or could not be evaluated, in file order,
// whether or not anything followed from that.
func (o *Outcomes) Matched() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, m := range o.matches {
			if m.by == nil && !yield(m.rule) {
				return
			}
		}
	}
}

// DecideSession judges a session between its requests: rules that read the request itself
// are not asked.
func (p *Policy) DecideSession(f *Facts, s Partial) Decision {
	if k := keyOf(f); s.policy != p || s.key != k {
		s = p.Partial(f)
	}
	d, _ := p.weigh(f, s, s.matches)
	return d
}

// weigh is verdict, without its cost where there is nothing to weigh.
func (p *Policy) weigh(f *Facts, s Partial, matches []match) (Decision, Outcomes) {
	if len(matches) == 0 && !s.refused && !s.missing && s.key.baselineHolds() {
		return Decision{Action: Allow}, Outcomes{}
	}
	return p.verdict(f, s, matches)
}

// evaluate appends the rules among the given ones that apply and match. clock reports
// whether one that applies reads something that changes with time.
func (p *Policy) evaluate(f *Facts, k key, rules []int, to []match) (matches []match, clock bool) {
	if len(rules) == 0 {
		return to, false
	}
	f = p.complete(f)
	scope := p.env.Acquire(f)
	defer scope.Release()
	var other readings
	defer other.release()
	own := p.own(f)
	for _, i := range rules {
		r := &p.rules[i]
		if r.notApplicable(k) != "" {
			continue
		}
		clock = clock || r.reads.Clock
		if o := p.evaluateReadings(r, own[i], f, scope, &other); o.matched || o.by != nil {
			to = append(to, match{i, o.err, o.by})
			clock = clock || own[i] != nil // exceptions begin and end
		}
	}
	return to, clock
}

// notApplicable says why the rule is not asked, or "".
func (r *rule) notApplicable(k key) string {
	switch {
	case k.level < r.reads.from && r.reads.from == levelSignedIn:
		return "no one is signed in"
	case k.level < r.reads.from:
		return "no passkey was used in this session"
	case r.routes != nil && k.purpose != access:
		return "it is limited to routes, and this is not a request for one"
	case r.routes != nil && !slices.Contains(r.routes, k.route):
		return "it is limited to other routes"
	}
	return ""
}

// outcome is how a rule came out in one reading of a request.
type outcome struct {
	matched bool
	err     error      // it could not be evaluated, and so it matches
	by      *exception // it would match, if this did not suspend it
}

// conditions are those of a rule, in one reading.
type conditions struct {
	when, unless *expr.Program // unless may be nil
	own          []*exception  // of the person, from the rule
}

// evaluate evaluates the conditions. If that fails, the rule matches: an error must not be
// a way past a rule. The error is then part of the reason. An exception that holds is as
// good as `unless`, and no better: it does not excuse a `when` that cannot be evaluated.
func (c conditions) evaluate(scope *scope) outcome {
	when, err := c.when.Eval(scope)
	switch {
	case err != nil:
		return outcome{matched: true, err: err}
	case !when:
		return outcome{}
	}
	if c.unless != nil {
		var unless bool
		if unless, err = c.unless.Eval(scope); unless && err == nil {
			return outcome{}
		}
	}
	if by := holding(c.own, scope); by != nil {
		return outcome{by: by}
	}
	return outcome{matched: true, err: err}
}

// Match is how one rule came out for a request.
type Match struct {
	Applies bool  // false: the rule was not asked
	Matched bool  // and no exception suspends it
	Err     error // it could not be evaluated, and so it matches
}

// Matches asks every rule, in file order, as [Policy.Decide] does. It is for tools that
// count.
func (p *Policy) Matches(f *Facts) []Match {
	k, f := keyOf(f), p.complete(f)
	scope := p.env.Acquire(f)
	defer scope.Release()
	var other readings
	defer other.release()
	out, own := make([]Match, len(p.rules)), p.own(f)
	for i := range p.rules {
		if r := &p.rules[i]; r.notApplicable(k) == "" {
			o := p.evaluateReadings(r, own[i], f, scope, &other)
			out[i] = Match{true, o.matched, o.err}
		}
	}
	return out
}
