package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"sallyport/policy/internal/expr"
)

// condition is when a rule matches, as alternatives: `when` and not `unless`.
//
// A rule also matches when it cannot be evaluated, and every claim here has to hold for that
// too. Where it might not, none is made.
type condition struct {
	cases [][]expr.Literal // nil: too many to look at
	when  [][]expr.Literal // of `when` alone
	sure  bool             // `when` cannot fail, on any facts
	loops bool             // it may run into the cost limit on very large facts
	text  string
}

func conditionOf(r *rule) condition {
	c := condition{loops: r.when.Loops(), sure: true, text: r.when.Text()}
	when, ok := r.when.Cases(false)
	if !ok {
		return c
	}
	c.when = when
	for _, one := range when {
		for _, x := range one {
			c.sure = c.sure && x.Total
		}
	}
	if r.unless == nil {
		c.cases = when
		return c
	}
	c.loops = c.loops || r.unless.Loops()
	c.text += "\x00" + r.unless.Text()
	not, ok := r.unless.Cases(true)
	if !ok || len(not)*len(when) > 256 {
		return c
	}
	for _, a := range when {
		for _, b := range not {
			c.cases = append(c.cases, append(slices.Clone(a), b...))
		}
	}
	return c
}

// domains are the values that facts have at all, where facts.go says so.
var domains = map[string]expr.Values{
	"session.level":             expr.Texts("none", "signed_in", "verified"),
	"credential.class":          expr.Texts("none", "synced", "unattested", "attested"),
	"request.purpose":           expr.Texts(PurposeAccess, PurposeSignIn, PurposeEnroll, PurposeStepUp),
	"ip.data_age_hours":         atLeast(0),
	"ip.asn":                    atLeast(0),
	"user.started_days":         atLeast(-1),
	"session.age":               atLeast(0),
	"session.concurrent":        atLeast(0),
	"credential.age":            atLeast(0),
	"seen.countries_1h":         atLeast(0),
	"seen.countries_24h":        atLeast(0),
	"seen.asns_24h":             atLeast(0),
	"seen.prefixes_24h":         atLeast(0),
	"seen.first_days":           atLeast(0),
	"travel.distance_km":        atLeast(0),
	"travel.speed_kmh":          atLeast(0),
	"address.people_30d":        atLeast(0),
	"device.people_30d":         atLeast(0),
	"activity.active_hours_24h": expr.Between(0, 24),
}

func atLeast(n int64) expr.Values { return expr.Between(n, math.MaxInt64) }

// domain are the values that a subject can have where the rule is asked.
func (l *linter) domain(r *rule, subject string) (expr.Values, bool) {
	switch {
	case subject == "session.level" && r.reads.from == levelVerified:
		return expr.Texts("verified"), true
	case subject == "session.level" && r.reads.from == levelSignedIn:
		return expr.Texts("signed_in", "verified"), true
	case subject == "request.purpose" && r.routes != nil:
		return expr.Texts(PurposeAccess), true
	case subject == "request.route" && r.routes != nil:
		return expr.Texts(r.routes...), true
	case strings.HasPrefix(subject, "time.hour("):
		return expr.Between(0, 23), true
	case strings.HasPrefix(subject, "size("):
		return atLeast(0), true
	}
	v, ok := domains[subject]
	return v, ok
}

// contradiction returns what makes a case impossible, or "".
func (l *linter) contradiction(r *rule, one []expr.Literal) string {
	values := map[string]expr.Values{}
	for i, x := range one {
		switch {
		case !x.Total:
		case x.Subject == "false":
			return "a constant"
		case x.Subject != "":
			v, ok := values[x.Subject]
			if !ok {
				v, ok = l.domain(r, x.Subject)
			}
			if ok {
				x.Values = x.Values.And(v)
			}
			if values[x.Subject] = x.Values; x.Values.Empty() {
				return x.Subject
			}
		case slices.ContainsFunc(one[:i], func(y expr.Literal) bool { return y.Text == x.Text && y.Not != x.Not }):
			return x.Text
		}
	}
	return ""
}

// impossible returns what makes all cases impossible, or "".
func (l *linter) impossible(r *rule, cases [][]expr.Literal) (why string) {
	for _, one := range cases {
		c := l.contradiction(r, one)
		if c == "" {
			return ""
		}
		if !strings.Contains(why, c) {
			why = strings.TrimPrefix(why+", ", ", ") + c
		}
	}
	return why
}

// reach finds rules that never match, and rules that others make pointless.
func (l *linter) reach() {
	conditions := make([]condition, len(l.rules))
	alive := make([]bool, len(l.rules))
	for i := range l.rules {
		r := &l.rules[i]
		conditions[i] = conditionOf(r)
		alive[i] = !l.unreachable(i, r, conditions[i])
	}
	im := implications{l: l, known: map[pair]bool{}}
	for i := range l.rules {
		for j := range l.rules {
			if i == j || !alive[i] || !alive[j] || !covers(&l.rules[j], &l.rules[i]) || !im.implies(i, j, conditions[i], conditions[j]) {
				continue
			}
			if j > i && covers(&l.rules[i], &l.rules[j]) && im.implies(j, i, conditions[j], conditions[i]) {
				continue // each makes the other pointless: it is the second that is too many
			}
			l.shadowed(i, j)
			break
		}
	}
}

func (l *linter) unreachable(i int, r *rule, c condition) bool {
	if c.loops || c.cases == nil {
		return false
	}
	f := Finding{Code: "unreachable-rule", Severity: Warning, Fix: "another condition, or no such rule"}
	if why := l.impossible(r, c.when); why != "" {
		f.Message = fmt.Sprintf("%s never matches: its condition cannot hold (%s)", r.name, why)
		l.in(i, l.builder.document.rules[i].when, 0, f)
		return true
	}
	if why := l.impossible(r, c.cases); why != "" && c.sure {
		f.Message = fmt.Sprintf("%s never matches: whenever its condition holds, so does its exception (%s)", r.name, why)
		f.Fix = "a narrower unless, or no such rule"
		l.in(i, l.builder.document.rules[i].unless, 0, f)
		return true
	}
	return false
}

// covers reports whether b, where it matches too, does at least what a does, and is asked
// wherever a is.
func covers(b, a *rule) bool {
	switch {
	case b.report || a.report || b.share != nil || a.share != nil || b.again != nil || b.reads.from > a.reads.from:
		return false
	case b.routes != nil && (a.routes == nil || slices.ContainsFunc(a.routes, func(r string) bool { return !slices.Contains(b.routes, r) })):
		return false
	case b.action == Block:
		return true
	case b.action != StepUp || a.action != StepUp || b.score > 0 || a.score > 0:
		return false
	}
	return b.maxAge <= a.maxAge && (b.reads.network || !a.reads.network) && (b.reads.browser || !a.reads.browser) &&
		!slices.ContainsFunc(a.require, func(r string) bool { return !slices.Contains(b.require, r) })
}

func (l *linter) shadowed(i, j int) {
	a, b := &l.rules[i], &l.rules[j]
	l.rule(i, Finding{Code: "shadowed-rule", Severity: Warning,
		Message: fmt.Sprintf("%s changes no verdict: wherever it matches, so does %s (line %d), which is at least as strict", a.name, b.name, b.line),
		Fix:     fmt.Sprintf("no %s; or if the two should differ, a narrower %s, or a stricter %[1]s", a.name, b.name)})
}

// implications decides whether one condition implies another. It says yes only where that is
// certain; a prover can take its place.
type implications struct {
	l     *linter
	known map[pair]bool // of single literals: long lists are compared once
}

type pair struct {
	have, want       string
	haveNot, wantNot bool
}

// implies reports whether rule j matches wherever rule i does.
func (im implications) implies(i, j int, a, b condition) bool {
	if a.text == b.text {
		return true
	}
	if a.loops || a.cases == nil || b.cases == nil {
		return false
	}
	from := a.cases
	if !a.sure && len(a.cases) > 0 && im.l.rules[i].unless != nil {
		from = a.when // a matches when its condition fails, exception or not
	}
	for _, x := range from {
		if im.l.contradiction(&im.l.rules[i], x) != "" {
			continue
		}
		if !slices.ContainsFunc(b.cases, func(y []expr.Literal) bool { return im.all(x, y) }) {
			return false
		}
	}
	return true
}

// all reports whether the literals of x imply each of y.
func (im implications) all(x, y []expr.Literal) bool {
	for _, want := range y {
		if !slices.ContainsFunc(x, func(have expr.Literal) bool { return im.one(have, want) }) && !together(x, want) {
			return false
		}
	}
	return true
}

func (im implications) one(have, want expr.Literal) bool {
	if have.Text == want.Text {
		return have.Not == want.Not
	}
	if want.Subject == "" || have.Subject != want.Subject {
		return false
	}
	key := pair{have.Text, want.Text, have.Not, want.Not}
	yes, ok := im.known[key]
	if !ok {
		yes = have.Values.In(want.Values)
		im.known[key] = yes
	}
	return yes
}

// together intersects what x says of one subject; only for what is short enough to be
// intersected for each pair of rules.
func together(x []expr.Literal, want expr.Literal) bool {
	if want.Subject == "" || want.Values.Len() > 64 {
		return false
	}
	all, n := want.Values.Not(), 0
	for _, have := range x {
		if have.Subject == want.Subject && have.Values.Len() <= 64 {
			all, n = all.And(have.Values), n+1
		}
	}
	return n > 1 && all.Empty()
}
