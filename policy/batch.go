package policy

import (
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"time"

	"sallyport/policy/internal/expr"
)

// batchEntries is how many stable parts a Batch remembers, twice.
const batchEntries = 1 << 16

// Batch judges many requests with one policy, and some of them without all of their
// facts. Stable parts are remembered under the values of everything that they rest on,
// so that requests which differ in nothing else cost one look. It is not safe for
// concurrent use; its memory is bounded.
type Batch struct {
	policy     *Policy
	stable     []int // rules that can be judged
	perRequest []int
	unknown    []int // rules that read a fact that is lacking
	reads      []expr.Fact
	memo, last map[string]Partial
	key        []byte
}

// NewBatch makes a Batch for requests that all lack the named facts.
func (p *Policy) NewBatch(lacking []string) *Batch {
	b := &Batch{policy: p, memo: map[string]Partial{}}
	without := func(rules []int) (known []int) {
		for _, i := range rules {
			if slices.ContainsFunc(p.rules[i].reads.Facts, func(fact string) bool { return slices.Contains(lacking, fact) }) {
				b.unknown = append(b.unknown, i)
			} else {
				known = append(known, i)
			}
		}
		return known
	}
	b.stable, b.perRequest = without(p.stable), without(p.perRequest)
	slices.Sort(b.unknown)
	names := []string{"session.level", "request.purpose", "request.route", "ip.data_missing"} // what the key and the baseline read
	if p.grants != nil {
		names = append(names, "user.email", "user.groups")
	}
	for _, i := range b.stable {
		names = append(names, p.rules[i].reads.Facts...)
	}
	for i, name := range names {
		if fact, ok := p.schema.Lookup(name); ok && !slices.Contains(names[:i], name) {
			b.reads = append(b.reads, fact)
		}
	}
	return b
}

// Unjudged are the rules that read a missing fact, in file order.
func (b *Batch) Unjudged() (names []string) {
	for _, i := range b.unknown {
		names = append(names, b.policy.rules[i].name)
	}
	return names
}

// Bounds says between what the verdict lies: least is without the rules that cannot be
// judged, most is as if all of them matched. Rules only tighten, so that if both have
// the same action, that is the verdict. unjudged are the rules that applied and could
// not be judged; there being none, both are what [Policy.Decide] says.
func (b *Batch) Bounds(f *Facts) (least, most Decision, unjudged []string) {
	p, s := b.policy, b.partial(f)
	matches := s.matches
	if len(b.perRequest) > 0 {
		if more, _ := p.evaluate(f, s.key, b.perRequest, nil); len(more) > 0 {
			matches = inFileOrder(matches, more)
		}
	}
	least, _ = p.weigh(f, s, matches)
	if len(b.unknown) == 0 {
		return least, least, nil
	}
	var open []match
	for _, i := range b.unknown {
		if r := &p.rules[i]; r.notApplicable(s.key) == "" {
			open = append(open, match{rule: i})
			unjudged = append(unjudged, r.name)
		}
	}
	if open == nil {
		return least, least, nil
	}
	most, _ = p.weigh(f, s, inFileOrder(matches, open))
	return least, most, unjudged
}

func inFileOrder(a, b []match) []match {
	all := append(slices.Clone(a), b...)
	slices.SortFunc(all, func(a, b match) int { return a.rule - b.rule })
	return all
}

// partial is [Policy.Partial] over the rules that can be judged, from memory if it was
// asked before.
func (b *Batch) partial(f *Facts) Partial {
	if len(f.IP.Readings) > 0 { // there are few of these, so no key has them
		return b.judged(f)
	}
	b.key = b.key[:0]
	for _, fact := range b.reads {
		b.key = appendValue(b.key, fact.Kind, b.policy.schema.Field(f, fact))
	}
	if s, ok := b.memo[string(b.key)]; ok {
		return s
	}
	s, ok := b.last[string(b.key)]
	if !ok {
		s = b.judged(f)
	}
	if len(b.memo) >= batchEntries {
		b.memo, b.last = make(map[string]Partial, batchEntries), b.memo
	}
	b.memo[string(b.key)] = s
	return s
}

func (b *Batch) judged(f *Facts) Partial {
	p := b.policy
	s := Partial{policy: p, key: keyOf(f), missing: len(f.IP.DataMissing) > 0}
	s.refused = p.refuses(f, s.key)
	s.matches, s.clock = p.evaluate(f, s.key, b.stable, nil)
	return s
}

// appendValue appends a fact so that no two lists of facts look the same.
func appendValue(to []byte, kind expr.Kind, v reflect.Value) []byte {
	switch kind {
	case expr.String:
		return appendText(to, v.String())
	case expr.Bool:
		if v.Bool() {
			return append(to, 1)
		}
		return append(to, 0)
	case expr.Int, expr.Duration:
		return binary.AppendVarint(to, v.Int())
	case expr.Double:
		return binary.LittleEndian.AppendUint64(to, math.Float64bits(v.Float()))
	case expr.Time:
		at := v.Addr().Interface().(*time.Time)
		return binary.AppendVarint(binary.AppendVarint(to, at.Unix()), int64(at.Nanosecond()))
	case expr.Strings:
		list := *v.Addr().Interface().(*[]string)
		to = binary.AppendUvarint(to, uint64(len(list)))
		for _, s := range list {
			to = appendText(to, s)
		}
		return to
	case expr.Ints:
		list := *v.Addr().Interface().(*[]int64)
		to = binary.AppendUvarint(to, uint64(len(list)))
		for _, n := range list {
			to = binary.AppendVarint(to, n)
		}
		return to
	}
	panic("policy: a fact of a kind that no key can hold")
}

func appendText(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}
