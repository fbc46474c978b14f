package policy

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
)

// reverify is a re-verification at random: `every: 4h`, `jitter: 2h`, `hours:
// "09:00-18:00"`.
//
// The time at which it is due is drawn once for each assertion, uniformly from every -
// jitter to every + jitter. The draw is a keyed hash of the policy, the rule, the session
// and the time of the assertion: every replica has the same key from the store and comes
// to the same answer without communication, and a repeated computation does too. An
// insider who has the policy file and all that `whoami` tells cannot work out when the
// next question will come. Another policy, even one that was only formatted, draws anew.
type reverify struct {
	every, jitter time.Duration
	hours         *hours // nil: at any hour
}

func newReverify(f *file.Reverify) *reverify {
	if f == nil {
		return nil
	}
	r := &reverify{every: f.Every, jitter: f.Jitter}
	if f.Hours != nil {
		r.hours = &hours{f.Hours.Text, f.Hours.From, f.Hours.To}
	}
	return r
}

func (a *reverify) String() string {
	s := a.every.String()
	if a.jitter > 0 {
		s += " +-" + a.jitter.String()
	}
	if a.hours != nil {
		s += ", " + a.hours.text
	}
	return s
}

// hours are a part of the day, in minutes from midnight; those that end before they begin
// go past midnight.
type hours struct {
	text     string
	from, to int
}

// in reports whether a minute of the day is inside: from is, to is not.
func (h *hours) in(at int) bool {
	if h.from < h.to {
		return h.from <= at && at < h.to
	}
	return h.from <= at || at < h.to
}

// reverify adds what a re-verification reads besides the rule's conditions. There is
// nothing to verify again before a first assertion: below that level the rule does not
// apply, or it would stand in the way of enrolment.
func (r *Reads) reverify(schema *expr.Schema, a *reverify) {
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

// asserted is when the passkey was last used, to the second: two values derived from one
// clock must not differ by the nanoseconds that a store or a log rounds off.
func asserted(f *Facts) time.Time {
	return f.Time.Now.Add(-f.Session.VerifiedAge).Round(time.Second)
}

// drawn is how long after the assertion of f the rule asks again.
func (p *Policy) drawn(r *rule, f *Facts) time.Duration {
	if r.reverify.jitter == 0 {
		return r.reverify.every
	}
	wide := uint64(2*r.reverify.jitter) + 1
	at := strconv.FormatInt(asserted(f).Unix(), 10)
	return r.reverify.every - r.reverify.jitter + time.Duration(p.draws.draw("again", p.hash, r.name, f.Session.ID, at)%wide)
}

// pauses reports whether it is not the hour to ask. A time zone that is not known, or is
// none, is no way around being asked: then every hour is one.
func (p *Policy) pauses(r *rule, f *Facts) bool {
	if r.reverify.hours == nil || f.User.TimeZone == "" {
		return false
	}
	location, err := p.zones.Load(f.User.TimeZone)
	if err != nil {
		return false
	}
	now := f.Time.Now.In(location)
	return !r.reverify.hours.in(now.Hour()*60 + now.Minute())
}

// next says when a rule asks again, for explanations.
func (p *Policy) next(r *rule, f *Facts) string {
	if r.reverify == nil {
		return ""
	}
	at := asserted(f).Add(p.drawn(r, f))
	s := "; the next is due " + at.UTC().Format(time.RFC3339)
	if left := at.Sub(f.Time.Now); left > 0 {
		s += fmt.Sprintf(", in %s", left.Round(time.Second))
	}
	if p.pauses(r, f) {
		s += fmt.Sprintf(", and not asked for outside of %s in %s", r.reverify.hours.text, f.User.TimeZone)
	}
	return s
}
