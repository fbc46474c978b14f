package prove

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/go-air/gini/z"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/vocabulary"
)

// num is a value of a fact that has an order: i for whole numbers, nanoseconds and the
// seconds of a time, n for its nanoseconds, f for doubles.
type num struct {
	i, n int64
	f    float64
}

func (a num) compare(b num) int {
	return cmp.Or(cmp.Compare(a.f, b.f), cmp.Compare(a.i, b.i), cmp.Compare(a.n, b.n))
}

// numOf converts a constant that something of this kind is compared with.
func numOf(kind expr.Kind, v any) (num, bool) {
	switch v := v.(type) {
	case int64:
		if kind == expr.Double && v > -1<<53 && v < 1<<53 {
			return num{f: float64(v)}, true
		}
		return num{i: v}, kind == expr.Int
	case float64:
		return num{f: v}, kind == expr.Double && v == v
	case time.Duration:
		return num{i: int64(v)}, kind == expr.Duration
	case time.Time:
		return num{i: v.Unix(), n: int64(v.Nanosecond())}, kind == expr.Time
	}
	return num{}, false
}

// number is a numeric fact (or a function's result, or the length of a list) and the
// constants it is compared with. They cut its values into segments: 0 lies below
// points[0], 1 is points[0], 2 lies between points[0] and points[1], and so on.
type number struct {
	name        string
	kind        expr.Kind
	node        *expr.Node
	least, most *num  // nil: not bounded
	closed      bool  // it is one of points
	fails       z.Lit // it cannot be evaluated; 0: it always can
	points      []num
	upTo        []z.Lit // by segment: the value lies in it or below
}

// compare is an atom about a number.
func (p *prover) compare(a *atom, op expr.Op, subject *expr.Node, constant any) bool {
	var name string
	switch {
	case subject.Op == expr.FactOp:
		name = subject.Name
	case subject.Op == expr.Call:
		name = subject.Text
	case subject.Op == expr.Size && subject.Args[0].Op == expr.FactOp && subject.Args[0].Kind == expr.Strings:
		name = "size(" + subject.Args[0].Name + ")"
	}
	values := []any{constant}
	if op == expr.In {
		values = nil
		list, ok := constant.([]int64)
		for _, v := range list {
			values = append(values, v)
		}
		if !ok {
			return false
		}
	}
	var points []num
	for _, v := range values {
		point, ok := numOf(subject.Kind, v)
		if !ok || name == "" {
			return false
		}
		points = append(points, point)
	}
	x := p.number(name, subject)
	if x.points = append(x.points, points...); len(x.points) > maxPoints {
		p.fail(errBounds)
	}
	a.free = subject.Op == expr.Call // hours and days of several zones go together, and that is not stated
	a.make = func() dualRail {
		m := p.c.F
		if !p.knows(intervals) {
			m, a.free = p.c.Lit(), true
		} else {
			for _, point := range points {
				m = p.c.Or(m, x.holds(p, op, point))
			}
		}
		if x.fails != 0 {
			return p.failing(p.truth(m), x.fails)
		}
		return p.truth(m)
	}
	return true
}

func (p *prover) number(name string, node *expr.Node) *number {
	x := p.numbers[name]
	if x != nil {
		return x
	}
	x = &number{name: name, kind: node.Kind, node: node}
	p.numbers[name] = x
	switch {
	case name == "ip.version":
		x.points, x.closed = []num{{i: 4}, {i: 6}}, p.knows(enums)
	case node.Op == expr.Call && node.Name == "time.hour":
		x.least, x.most = &num{}, &num{i: 23}
		x.points = []num{{}, {i: 23}}
	case node.Op == expr.Size:
		x.least, x.points = &num{}, []num{{}}
		p.list(node.Args[0].Name).size = x
	default:
		if least, most, ok := vocabulary.Range(name); ok {
			x.bound(&x.least, least, -1<<63)
			x.bound(&x.most, most, 1<<63-1)
		}
	}
	x.fails = p.fails(node)
	return x
}

// bound sets one bound of the values, unless it is none.
func (x *number) bound(which **num, v, none int64) {
	if v == none {
		return
	}
	*which = &num{i: v}
	if x.kind == expr.Double {
		*which = &num{f: float64(v)}
	}
	x.points = append(x.points, **which)
}

// build gives the segments their variables. The empty ones have none of their own.
func (x *number) build(p *prover) {
	slices.SortFunc(x.points, num.compare)
	x.points = slices.Compact(x.points)
	last := -1
	for s := range 2*len(x.points) + 1 {
		if !x.empty(s) {
			last = s
		}
	}
	before := p.c.F
	for s := range 2*len(x.points) + 1 {
		switch {
		case s >= last:
			before = p.c.T
		case !x.empty(s):
			m := p.c.Lit()
			if before != p.c.F {
				p.either(before.Not(), m)
			}
			before = m
		}
		x.upTo = append(x.upTo, before)
	}
}

// empty reports that no value lies in a segment.
func (x *number) empty(s int) bool {
	if s%2 == 1 {
		v := x.points[s/2]
		return x.least != nil && v.compare(*x.least) < 0 || x.most != nil && v.compare(*x.most) > 0
	}
	if x.closed {
		return true
	}
	low, high := s/2-1, s/2
	if high < len(x.points) && x.least != nil && x.points[high].compare(*x.least) <= 0 || low >= 0 && x.most != nil && x.points[low].compare(*x.most) >= 0 {
		return true
	}
	whole := x.kind == expr.Int || x.kind == expr.Duration
	return whole && low >= 0 && high < len(x.points) && x.points[high].i-x.points[low].i == 1
}

// segment returns the segment of a point.
func (x *number) segment(point num) int {
	return 2*sort.Search(len(x.points), func(i int) bool { return x.points[i].compare(point) >= 0 }) + 1
}

// holds is the literal of a comparison with one of the points.
func (x *number) holds(p *prover, op expr.Op, point num) z.Lit {
	s := x.segment(point)
	switch op {
	case expr.Less:
		return x.upTo[s-1]
	case expr.LessEqual:
		return x.upTo[s]
	case expr.Greater:
		return x.upTo[s].Not()
	case expr.GreaterEqual:
		return x.upTo[s-1].Not()
	case expr.NotEqual:
		return p.c.And(x.upTo[s], x.upTo[s-1].Not()).Not()
	default: // == and in
		return p.c.And(x.upTo[s], x.upTo[s-1].Not())
	}
}

// sample is a value in a segment: usual, if that lies in it.
func (x *number) sample(s int, usual num) num {
	if s%2 == 1 {
		return x.points[s/2]
	}
	low, high := s/2-1, s/2
	inside := func(v num) bool {
		return (low < 0 || v.compare(x.points[low]) > 0) && (high >= len(x.points) || v.compare(x.points[high]) < 0) &&
			(x.least == nil || v.compare(*x.least) >= 0) && (x.most == nil || v.compare(*x.most) <= 0)
	}
	if inside(usual) {
		return usual
	}
	for _, step := range x.steps() { // the largest step that stays inside
		if low >= 0 {
			if v := x.points[low].plus(step); inside(v) {
				return v
			}
		} else if v := x.points[high].plus(num{-step.i, -step.n, -step.f}); inside(v) {
			return v
		}
	}
	if low >= 0 && high < len(x.points) {
		return num{f: x.points[low].f/2 + x.points[high].f/2}
	}
	return usual
}

func (a num) plus(b num) num {
	v := num{a.i + b.i, a.n + b.n, a.f + b.f}
	if v.n >= 1e9 {
		v.i, v.n = v.i+1, v.n-1e9
	} else if v.n < 0 {
		v.i, v.n = v.i-1, v.n+1e9
	}
	return v
}

func (x *number) steps() []num {
	switch x.kind {
	case expr.Duration:
		return []num{{i: int64(time.Hour)}, {i: int64(time.Minute)}, {i: int64(time.Second)}, {i: 1}}
	case expr.Time:
		return []num{{i: 3600}, {i: 60}, {i: 1}, {n: 1}}
	case expr.Double:
		return []num{{f: 1}}
	}
	return []num{{i: 1}}
}

// value converts back to what a fact holds.
func (a num) value(kind expr.Kind) any {
	switch kind {
	case expr.Double:
		return a.f
	case expr.Duration:
		return time.Duration(a.i)
	case expr.Time:
		return time.Unix(a.i, a.n).UTC()
	}
	return a.i
}
