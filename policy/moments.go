package policy

import (
	"fmt"
	"slices"
	"time"

	"sallyport/policy/internal/expr"
)

// Moment is a point in time that a rule or an exception names: what it says may begin or end
// there, by itself.
type Moment struct {
	At time.Time
	// Of is all that the rule or exception says, so that one that is as it was can be told
	// from one that was changed.
	Of string
}

// Moments are those of the rules that are enforced, and of the exceptions from them, in no
// order. Which day of the week and which hour it is (time.weekday, time.hour) comes again and
// is no moment.
func (p *Policy) Moments() (out []Moment) {
	add := func(of string, programs ...*expr.Program) {
		for _, program := range programs {
			if program == nil || !slices.Contains(program.Reads(), "time.now") {
				continue
			}
			for _, at := range moments(program.Tree()) {
				out = append(out, Moment{at.UTC(), of})
			}
		}
	}
	for i, r := range p.Model().Rules {
		if r.Report {
			continue
		}
		unless := ""
		if r.Unless != nil {
			unless = r.Unless.Text()
		}
		add(fmt.Sprintf("rule %s %q %q %q %d %d %+v %+v", r.Name, r.When.Text(), unless, r.Routes, r.Action, r.Score, r.Enforce, r.Asks), r.When, r.Unless)
		for _, own := range p.excepted {
			for _, x := range own[i] {
				add("exception "+x.ID+" "+x.Entry(), x.condition)
			}
		}
	}
	return out
}

// moments are the points in time at which a condition may change: those that it names, with
// the durations that are added to or taken from them, as times, as seconds since 1970 and as
// texts.
func moments(n *expr.Node) (out []time.Time) {
	switch n.Op {
	case expr.And, expr.Or, expr.Not, expr.If:
		for _, a := range n.Args {
			out = append(out, moments(a)...)
		}
		return out
	}
	shifts := []time.Duration{0}
	for _, c := range n.Constants {
		if d, ok := c.(time.Duration); ok {
			shifts = append(shifts, d, -d)
		}
	}
	for _, c := range n.Constants {
		at, ok := moment(c)
		if !ok {
			continue
		}
		for _, d := range shifts {
			out = append(out, at.Add(d))
		}
	}
	return out
}

func moment(constant any) (at time.Time, ok bool) {
	switch c := constant.(type) {
	case time.Time:
		return c, true
	case int64: // as int(time.now) is compared with
		return time.Unix(c, 0), c > 1e9 && c < 1e11
	case string: // as string(time.now) is
		for _, layout := range []string{time.RFC3339, time.DateOnly, "2006-01"} {
			if at, err := time.Parse(layout, c); err == nil {
				return at, true
			}
		}
	}
	return at, false
}
