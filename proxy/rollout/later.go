package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/policy"
)

// A rule or an exception may begin or end at a point in time that it names. Judged as of now
// only, a rule that blocks all people from the first of a month passes the guard, and locks
// them out on that day, when no one changes anything. So what is alive and what was recorded
// is judged again just behind each such moment, as if it happened then.

// laterDates bounds how often that is: each one takes as long as the judgement as of now.
const laterDates = 8

// date is a moment behind which people are judged.
type date struct {
	at    time.Time
	clock func(time.Time) time.Time
}

// dates are the nearest moments to come: first those of what the policies do not share, then
// those of what both say, which a change may bring to bear. If some are left, unjudged is the
// next of them; but for exceptions that both have, which are many, and end strictly. Where a
// moment lies between since and now, the records from before it are judged as of now, too.
func dates(before, next []policy.Moment, since, now time.Time) (list []date, unjudged time.Time) {
	of := func(moments []policy.Moment) map[string]bool {
		texts := map[string]bool{}
		for _, m := range moments {
			texts[m.Of] = true
		}
		return texts
	}
	had, has := of(before), of(next)
	var own, shared, rules, all []time.Time
	recent := false
	for _, m := range slices.Concat(before, next) {
		switch {
		case m.At.IsZero(): // see unclear
		case !m.At.After(now):
			recent = recent || m.At.After(since)
		case had[m.Of] && has[m.Of]:
			shared, all = append(shared, m.At), append(all, m.At)
			if m.Rule != "" {
				rules = append(rules, m.At)
			}
		default:
			own, all = append(own, m.At), append(all, m.At)
		}
	}
	sorted := func(times []time.Time) []time.Time {
		slices.SortFunc(times, time.Time.Compare)
		return slices.CompactFunc(times, time.Time.Equal)
	}
	own, all = sorted(own), sorted(all)
	if len(own) > laterDates {
		own, unjudged = own[:laterDates], own[laterDates]
	}
	for _, at := range sorted(shared) {
		if len(own) < laterDates && !slices.ContainsFunc(own, at.Equal) {
			own = append(own, at)
		}
	}
	for _, at := range sorted(rules) {
		if !slices.ContainsFunc(own, at.Equal) && (unjudged.IsZero() || at.Before(unjudged)) {
			unjudged = at
		}
	}
	chosen := sorted(own)
	if recent {
		chosen = append([]time.Time{now.UTC()}, chosen...)
	}
	for _, at := range chosen {
		end := at.AddDate(1, 0, 0)
		if i := slices.IndexFunc(all, func(t time.Time) bool { return t.After(at) }); i >= 0 {
			end = all[i]
		}
		list = append(list, date{at, clockBehind(at, end)})
	}
	return list, unjudged
}

// unclear are the rules of a candidate that the policy before does not have, and that read
// the time in a way from which it is not known when they change.
func unclear(before, next []policy.Moment) (rules []string) {
	for _, m := range next {
		if m.At.IsZero() && !slices.Contains(before, m) && !slices.Contains(rules, m.Rule) {
			rules = append(rules, m.Rule)
		}
	}
	return rules
}

// refuseUnclear refuses them: what they do later is not judged.
func (r *Report) refuseUnclear(rules []string) {
	if r.Refused == "" && len(rules) > 0 {
		r.Refused, r.because = fmt.Sprintf(`it is not known when the rule %s changes by itself, so it cannot be judged before it does; compare time.now with timestamp("2026-12-31T00:00:00Z") alone, give or take durations`, some(rules, 5)), nil
	}
}

// clockBehind moves times to behind a moment, and not past the next one. The time of the day
// stays, in UTC, where there is room for that, and so does the day of the week: other rules
// are about them. In less than a week, all of its days have some.
func clockBehind(at, end time.Time) func(time.Time) time.Time {
	const day = 24 * time.Hour
	at = at.Add(time.Second)
	room := max(end.Sub(at), 1)
	days := min((room+day-1)/day*day, 7*day)
	return func(t time.Time) time.Time {
		behind := t.Sub(at) % days
		if behind < 0 {
			behind += days
		}
		if behind >= room && room > day {
			behind -= day
		}
		return at.Add(behind % room)
	}
}

// later adds what a change does from a day on to what it does now.
func (r *Report) later(l Report) {
	if l.Refused != "" && r.Refused == "" {
		r.Refused, r.because, r.limit = "from "+l.from()+" on, "+l.Refused, l.because, l.limit
	}
	l.Blocked, l.Allowed = others(l.Blocked, r.Blocked), others(l.Allowed, r.Allowed)
	l.AskedMore = nil
	if l.Refused != "" || len(l.Blocked)+len(l.Allowed) > 0 {
		r.Later = append(r.Later, l)
	}
}

// others are the people of a list that another one does not have.
func others(list, than []Person) []Person {
	return slices.DeleteFunc(list, func(p Person) bool {
		return slices.ContainsFunc(than, func(q Person) bool { return q.User == p.User && q.InVain == p.InVain && q.AskedLess == p.AskedLess })
	})
}

// everBlocked are those who are blocked now and those who are later.
func (r Report) everBlocked() []Person {
	list := slices.Clone(r.Blocked)
	for _, l := range r.Later {
		list = append(list, others(slices.Clone(l.Blocked), list)...)
	}
	return list
}

func (r Report) from() string { return r.At.UTC().Format(time.DateTime) + " UTC" }

func (r Report) laterText(b *strings.Builder) {
	for _, l := range r.Later {
		fmt.Fprintf(b, "From %s on, by itself:\n", l.from())
		if len(l.Blocked) > 0 {
			l.blockedText(b)
		}
		l.closedText(b)
		l.allowedText(b)
	}
	if !r.JudgedUntil.IsZero() {
		fmt.Fprintf(b, "Not judged: after %s UTC, when more of what the policies say begins or ends.\n", r.JudgedUntil.UTC().Format(time.DateTime))
	}
}
