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
	// At is zero if the rule reads the time in a way from which it is not known when it
	// changes.
	At   time.Time
	Rule string // whose it is; "": an exception's
	// Of is all that the rule or exception says, so that one that is as it was can be told
	// from one that was changed.
	Of string
}

// Moments are those of the rules that are enforced, and of the exceptions from them, in no
// order. Which day of the week and which hour it is (time.weekday, time.hour) comes again and
// is no moment.
func (p *Policy) Moments() (out []Moment) {
	add := func(rule, of string, programs ...*expr.Program) {
		for _, program := range programs {
			if program == nil || !slices.Contains(program.Reads(), "time.now") {
				continue
			}
			tree := program.Tree()
			of := of + fmt.Sprintf(" %q", tree.Constants) // the entries of lists, too
			list, all := moments(tree)
			for _, at := range list {
				out = append(out, Moment{at.UTC(), rule, of})
			}
			if !all {
				out = append(out, Moment{time.Time{}, rule, of})
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
		add(r.Name, fmt.Sprintf("rule %s %q %q %q %d %d %+v %+v", r.Name, r.When.Text(), unless, r.Routes, r.Action, r.Score, r.Enforce, r.Asks), r.When, r.Unless)
		for _, own := range p.excepted {
			for _, x := range own[i] {
				add("", "exception "+x.ID+" "+x.Entry(), x.condition)
			}
		}
	}
	return out
}

// moments are the points in time at which the value of a node may change. What is made of
// values that change at such points alone changes at them alone, too. all is false if there
// are others. Hours and days of the week are no moments, as they come again.
func moments(n *expr.Node) (out []time.Time, all bool) {
	if n.Op == expr.FactOp {
		return nil, n.Name != "time.now"
	}
	if at, ok := moment(n); ok {
		return at, true
	}
	all = true
	for _, a := range n.Args {
		more, known := moments(a)
		out, all = append(out, more...), all && known
	}
	return out, all
}

// moment is that of a comparison of the time with a constant; nil if it is always the same.
func moment(n *expr.Node) (at []time.Time, ok bool) {
	switch n.Op {
	case expr.Equal, expr.NotEqual, expr.Less, expr.LessEqual, expr.Greater, expr.GreaterEqual:
	default:
		return nil, false
	}
	a, okA := spanOf(n.Args[0])
	b, okB := spanOf(n.Args[1])
	if !okA || !okB {
		return momentOfText(n)
	}
	switch a.now - b.now {
	case 0:
		return nil, !a.moves && !b.moves
	case 1:
		return []time.Time{time.Unix(b.seconds-a.seconds, b.nanos-a.nanos)}, true
	case -1:
		return []time.Time{time.Unix(a.seconds-b.seconds, a.nanos-b.nanos)}, true
	}
	return nil, false
}

// momentOfText is that of string(time.now) beside a text that begins as times are written.
func momentOfText(n *expr.Node) (at []time.Time, ok bool) {
	for i, a := range n.Args {
		text, constant := n.Args[1-i].Value.(string)
		if !constant || a.Name != "string" || len(a.Args) != 1 || a.Args[0].Op != expr.FactOp {
			continue
		}
		for _, layout := range []string{"2006-01-02T15:04:05Z", time.DateOnly, "2006-01"} {
			if at, err := time.Parse(layout, text); err == nil {
				return []time.Time{at}, true
			}
		}
	}
	return nil, false
}

// span is a time, a duration or a number of seconds: now times time.now, and what is
// added to that.
type span struct {
	now            int
	seconds, nanos int64
	// moves: the age of something is added or taken off. time.now less the age of a session
	// is when that began, which does not move.
	moves bool
}

func spanOf(n *expr.Node) (s span, ok bool) {
	const most = 1 << 40 // of a number of seconds
	switch {
	case n.Op == expr.FactOp && n.Name == "time.now":
		return span{now: 1}, true
	case n.Op == expr.FactOp && n.Kind == expr.Duration:
		return span{moves: true}, true
	case n.Op == expr.ValueOp:
		switch c := n.Value.(type) {
		case time.Time:
			return span{seconds: c.Unix(), nanos: int64(c.Nanosecond())}, true
		case time.Duration:
			return span{seconds: int64(c / time.Second), nanos: int64(c % time.Second)}, true
		case int64:
			return span{seconds: c}, -most < c && c < most
		}
	case len(n.Args) == 1 && (n.Name == "int" && n.Args[0].Kind == expr.Time || n.Name == "timestamp" && n.Args[0].Kind == expr.Int):
		return spanOf(n.Args[0])
	case len(n.Args) == 2 && (n.Name == "_+_" || n.Name == "_-_"):
		a, okA := spanOf(n.Args[0])
		b, okB := spanOf(n.Args[1])
		if n.Name == "_-_" {
			b.now, b.seconds, b.nanos = -b.now, -b.seconds, -b.nanos
		}
		return span{a.now + b.now, a.seconds + b.seconds, a.nanos + b.nanos, a.moves || b.moves}, okA && okB
	}
	return s, false
}
