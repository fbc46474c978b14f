package policy

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/internal/expr"
)

// again is a re-verification at random: `every: 4h`, `jitter: 2h`, `hours: "09:00-18:00"`.
//
// When it is due is drawn once for each assertion, uniformly from every - jitter to every + jitter: a keyed hash
// of the policy, the rule, the session and the time of the assertion. So every replica, which has the same key from the
// store, comes to the same answer without talking, a computation made again comes to the same answer, and somebody
// who has the policy file and all that `whoami` tells cannot work out when the next question will come. Another
// policy, even one that was only formatted, draws anew.
type again struct {
	every, jitter time.Duration
	hours         *hours // nil: at any hour
}

func (a *again) String() string {
	s := a.every.String()
	if a.jitter > 0 {
		s += " +-" + a.jitter.String()
	}
	if a.hours != nil {
		s += ", " + a.hours.text
	}
	return s
}

// hours are a part of the day, in minutes from midnight; those that end before they begin go
// past midnight.
type hours struct {
	text     string
	from, to int
}

var hoursPattern = regexp.MustCompile(`^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$`)

// in reports whether a time of day is inside: from is, to is not.
func (h *hours) in(t time.Time) bool {
	at := t.Hour()*60 + t.Minute()
	if h.from < h.to {
		return h.from <= at && at < h.to
	}
	return h.from <= at || at < h.to
}

func (s *source) readAgain(f map[string]*yaml.Node) *again {
	every := f["every"]
	for _, key := range []string{"jitter", "hours"} {
		if f[key] != nil && every == nil {
			s.at(f[key], Diagnostic{Message: key + " belongs to every", Expected: "every: 4h beside it"})
		}
	}
	if every == nil {
		return nil
	}
	if f["max_age"] != nil {
		s.at(every, Diagnostic{Message: "a rule has either max_age or every", Expected: "one of them"})
	}
	a := &again{every: s.maxAge(every)}
	if n := f["jitter"]; n != nil {
		jitter, ok := s.duration(n, "jitter")
		if ok && (jitter < 0 || jitter > a.every-time.Second) {
			s.at(n, Diagnostic{Message: "jitter has to be less than every", Expected: "such as every: 4h, jitter: 2h: between two and six hours"})
		} else {
			a.jitter = jitter
		}
	}
	if a.every > math.MaxInt64/4 {
		s.at(every, Diagnostic{Message: "every is longer than anybody's session", Expected: "such as 4h"})
	}
	if n := f["hours"]; n != nil {
		a.hours = s.readHours(n)
	}
	return a
}

func (s *source) readHours(n *yaml.Node) *hours {
	m := hoursPattern.FindStringSubmatch(n.Value)
	if n.Kind != yaml.ScalarNode || m == nil || m[1] == m[3] && m[2] == m[4] {
		s.at(n, Diagnostic{Message: fmt.Sprintf("hours cannot be %q", n.Value), Expected: `such as "09:00-18:00", or "22:00-06:00" past midnight`})
		return nil
	}
	var at [4]int
	for i, digits := range m[1:] {
		at[i] = int(digits[0]-'0')*10 + int(digits[1]-'0')
	}
	return &hours{text: n.Value, from: at[0]*60 + at[1], to: at[2]*60 + at[3]}
}

// again adds what a re-verification reads besides the rule's conditions. There is nothing to verify again
// before a first assertion: below that level the rule does not apply, or it would stand in the way of enrolment.
func (r *Reads) again(schema *expr.Schema, a *again) {
	more := []string{"session.id", "session.verified_age", "time.now"}
	if a.hours != nil {
		more = append(more, "user.time_zone")
	}
	r.Clock, r.from = true, max(r.from, levelVerified)
	have := append(slices.Clone(r.Facts), more...)
	r.Facts = nil
	for _, f := range schema.Facts() {
		if slices.Contains(have, f.Name) {
			r.Facts = append(r.Facts, f.Name)
		}
	}
}

// asserted is when the passkey was last used, to the second: what is derived from two readings of one
// clock must not differ by the nanoseconds that a store or a log rounds off.
func asserted(f *Facts) time.Time {
	return f.Time.Now.Add(-f.Session.VerifiedAge).Round(time.Second)
}

// drawn is how long after the assertion of f the rule asks again.
func (p *Policy) drawn(r *rule, f *Facts) time.Duration {
	if r.again.jitter == 0 {
		return r.again.every
	}
	wide := uint64(2*r.again.jitter) + 1
	at := strconv.FormatInt(asserted(f).Unix(), 10)
	return r.again.every - r.again.jitter + time.Duration(p.draws.draw("again", p.hash, r.name, f.Session.ID, at)%wide)
}

// due is how old the assertion of f may be: as drawn, and any age outside of the hours.
func (p *Policy) due(r *rule, f *Facts) time.Duration {
	if p.pauses(r, f) {
		return math.MaxInt64
	}
	return p.drawn(r, f)
}

// pauses reports whether it is not the hour to ask. A time zone that is not known, or is none, is no way
// around being asked: then every hour is one.
func (p *Policy) pauses(r *rule, f *Facts) bool {
	if r.again.hours == nil || f.User.TimeZone == "" {
		return false
	}
	location, err := p.zones.load(f.User.TimeZone)
	return err == nil && !r.again.hours.in(f.Time.Now.In(location))
}

// next says when a rule asks again, for explanations.
func (p *Policy) next(r *rule, f *Facts) string {
	if r.again == nil {
		return ""
	}
	at := asserted(f).Add(p.drawn(r, f))
	s := "; the next is due " + at.UTC().Format(time.RFC3339)
	if left := at.Sub(f.Time.Now); left > 0 {
		s += fmt.Sprintf(", in %s", left.Round(time.Second))
	}
	if p.pauses(r, f) {
		s += fmt.Sprintf(", and not asked for outside of %s in %s", r.again.hours.text, f.User.TimeZone)
	}
	return s
}
