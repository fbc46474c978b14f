package policy

import (
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"sallyport/policy/internal/expr"
)

const (
	batchEntries = 1 << 18 // values and answers that a Batch remembers; of some 200 bytes each
	batchTrial   = 1 << 12 // looks after which a memory that is hardly ever right is given up
	maxAtoms     = 4       // of a set of rules with a memory
)

// Batch judges many requests with one policy, and some of them without all of their
// facts. Rules that compare facts with constants, which are most of them, it asks directly
// ([expr.Direct]). What the others answered is remembered under the values of everything
// that they read: the rules that read the same kinds of facts share a memory, so that one
// fact that is another each time, such as an age, costs only the rules that read it. It is
// not safe for concurrent use; its memory is bounded.
type Batch struct {
	policy  *Policy
	known   []int         // rules that can be judged
	unknown []int         // rules that read a fact that is lacking
	facts   Facts         // of the request that is judged: what direct rules read
	direct  []*directRule // by rule; nil: it has no such form
	atoms   []*atom
	of      [][]int // by rule: its atoms
	plans   map[key]*plan
	entries int // remembered

	text    []byte  // scratch
	matches []match // scratch
}

// atom is facts of one group whose values are taken together. They get a number, which
// stands for them in the memories of rules.
type atom struct {
	facts   []expr.Fact
	values  map[string]*value
	numbers uint32 // given so far
	looks   int
	hits    int
	novel   bool   // hardly ever seen before: rules that read it are asked each time
	now     *value // of the request that is judged; nil: they are asked
}

// value is what the facts of an atom are.
type value struct {
	number  uint32
	answers []answer // of the rules that read nothing else
}

type answer struct {
	to      *plan
	matches []match
}

// directRule is the conditions of a rule, over Batch.facts.
type directRule struct{ when, unless *expr.Direct }

// plan is which rules apply to requests of one kind.
type plan struct {
	direct []int      // rules that are asked directly
	alone  []*sharing // of one atom, whose values have the answers
	shared []*sharing // of several
	each   []int      // rules that are asked each time
	atoms  []int      // of the rules that share a memory
	asked  []int      // scratch: those, and rules whose atoms are novel
}

// sharing is rules that read the same atoms.
type sharing struct {
	rules  []int
	atoms  []int
	memory map[[maxAtoms]uint32][]match
}

// NewBatch makes a Batch for requests that all lack the named facts.
func (p *Policy) NewBatch(lacking []string) *Batch {
	b := &Batch{policy: p, direct: make([]*directRule, len(p.rules)), of: make([][]int, len(p.rules)), plans: map[key]*plan{}}
	numbers := map[string]int{}
	for i := range p.rules {
		reads := p.rules[i].reads.Facts
		if slices.ContainsFunc(append(p.exceptionReads(i), reads...), func(fact string) bool { return slices.Contains(lacking, fact) }) {
			b.unknown = append(b.unknown, i)
			continue
		}
		b.known = append(b.known, i)
		if b.direct[i] = b.directly(&p.rules[i]); b.direct[i] != nil {
			continue
		}
		if slices.Contains(reads, "request.path") { // such rules are asked about both
			reads = append(slices.Clone(reads), "request.path_folded")
		}
		for _, name := range reads {
			fact, ok := p.schema.Lookup(name)
			if !ok {
				continue
			}
			kind := fact.Group
			if varies(fact) {
				kind += " varies"
			}
			n, ok := numbers[kind]
			if !ok {
				n = len(b.atoms)
				numbers[kind], b.atoms = n, append(b.atoms, &atom{values: map[string]*value{}})
			}
			if a := b.atoms[n]; !slices.ContainsFunc(a.facts, func(f expr.Fact) bool { return f.Name == name }) {
				a.facts = append(a.facts, fact)
			}
			if !slices.Contains(b.of[i], n) {
				b.of[i] = append(b.of[i], n)
			}
		}
		slices.Sort(b.of[i])
	}
	return b
}

// directly is a rule's direct form, or nil. Rules about paths have none: they are asked in
// several readings.
func (b *Batch) directly(r *rule) *directRule {
	if r.folded != nil {
		return nil
	}
	d := &directRule{when: r.when.Direct(&b.facts)}
	if r.unless != nil {
		d.unless = r.unless.Direct(&b.facts)
	}
	if d.when == nil || d.unless == nil && r.unless != nil {
		return nil
	}
	return d
}

// matches is conditions.evaluate for a person without exceptions; it is not sure where a
// condition is not.
func (d *directRule) matches() (matched, sure bool) {
	if matched, sure = d.when.Eval(); !matched || !sure || d.unless == nil {
		return matched, sure
	}
	unless, sure := d.unless.Eval()
	return !unless, sure
}

// varies reports whether a fact is likely to be another one for each request. It decides
// what is remembered together, and changes no verdict.
func varies(f expr.Fact) bool {
	switch f.Kind {
	case expr.Duration, expr.Time, expr.Double:
		return true
	}
	return slices.Contains([]string{"ip.data_age_hours", "session.id", "request.path", "request.path_folded", "request.user_agent"}, f.Name)
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
	p := b.policy
	s := Partial{policy: p, key: keyOf(f), missing: len(f.IP.DataMissing) > 0}
	s.refused = p.refuses(f, s.key)
	matches := b.matched(f, s.key)
	least, _ = p.weigh(f, s, matches)
	if len(b.unknown) == 0 {
		return least, least, nil
	}
	open := slices.Clone(matches)
	for _, i := range b.unknown {
		if r := &p.rules[i]; r.notApplicable(s.key) == "" {
			open = append(open, match{rule: i})
			unjudged = append(unjudged, r.name)
		}
	}
	if unjudged == nil {
		return least, least, nil
	}
	most, _ = p.weigh(f, s, inFileOrder(open))
	return least, most, unjudged
}

func inFileOrder(m []match) []match {
	slices.SortFunc(m, func(a, b match) int { return a.rule - b.rule })
	return m
}

// matched is the rules that can be judged and match, in file order, until the next call.
func (b *Batch) matched(f *Facts, k key) []match {
	out := b.matches[:0]
	if len(f.IP.Readings) > 0 || b.policy.own(f) != nil { // there are few of these, so no memory has them
		out, _ = b.policy.evaluate(f, k, b.known, out)
		b.matches = out
		return out
	}
	kind := b.plan(k)
	for _, n := range kind.atoms {
		b.look(b.atoms[n], f)
	}
	if len(kind.atoms) > 0 {
		kind = b.plan(k) // after four billion values, look forgets the plan and its memories
	}
	asked := append(kind.asked[:0], kind.each...)
	if len(kind.direct) > 0 {
		b.facts = *f
	}
	for _, i := range kind.direct {
		switch matched, sure := b.direct[i].matches(); {
		case !sure:
			asked = append(asked, i)
		case matched:
			out = append(out, match{rule: i})
		}
	}
	for _, s := range kind.alone {
		v := b.atoms[s.atoms[0]].now
		if v == nil {
			asked = append(asked, s.rules...)
			continue
		}
		at := slices.IndexFunc(v.answers, func(a answer) bool { return a.to == kind })
		if at < 0 {
			at = len(v.answers)
			found, _ := b.policy.evaluate(f, k, s.rules, nil)
			v.answers = append(v.answers, answer{kind, found})
			b.entries++
		}
		out = append(out, v.answers[at].matches...)
	}
	for _, s := range kind.shared {
		var under [maxAtoms]uint32
		novel := false
		for i, n := range s.atoms {
			if v := b.atoms[n].now; v != nil {
				under[i] = v.number
			} else {
				novel = true
			}
		}
		if novel {
			asked = append(asked, s.rules...)
			continue
		}
		found, ok := s.memory[under]
		if !ok {
			found, _ = b.policy.evaluate(f, k, s.rules, nil)
			s.memory[under] = found
			b.entries++
		}
		out = append(out, found...)
	}
	out, _ = b.policy.evaluate(f, k, asked, out)
	kind.asked, b.matches = asked, inFileOrder(out)
	if b.entries > batchEntries {
		b.forget()
	}
	return b.matches
}

// forget frees the memory.
func (b *Batch) forget() {
	b.plans, b.entries = map[key]*plan{}, 0
	for _, a := range b.atoms {
		a.now = nil
		clear(a.values)
	}
}

// look finds the values of an atom in f, or remembers them.
func (b *Batch) look(a *atom, f *Facts) {
	if a.now = nil; a.novel {
		return
	}
	b.text = b.text[:0]
	for _, fact := range a.facts {
		b.text = appendValue(b.text, fact.Kind, b.policy.schema.Field(f, fact))
	}
	a.looks++
	if a.now = a.values[string(b.text)]; a.now != nil {
		a.hits++
		return
	}
	if a.looks >= batchTrial {
		if a.novel = a.hits < a.looks/2; a.novel {
			a.values = nil
			return
		}
		a.looks, a.hits = 0, 0
	}
	if a.numbers++; a.numbers == 0 { // after four billion: none is to be given twice
		b.forget()
		a.numbers = 1
	}
	a.now = &value{number: a.numbers}
	a.values[string(b.text)] = a.now
	b.entries++
}

// plan puts together the rules that apply to requests of a kind.
func (b *Batch) plan(k key) *plan {
	if known := b.plans[k]; known != nil {
		return known
	}
	k.route = strings.Clone(k.route) // it may be a part of something large
	out := &plan{}
	b.plans[k] = out
	b.entries++
	for _, i := range b.known {
		r := &b.policy.rules[i]
		if r.notApplicable(k) != "" {
			continue
		}
		if b.direct[i] != nil {
			out.direct = append(out.direct, i)
			continue
		}
		if len(b.of[i]) > maxAtoms {
			out.each = append(out.each, i)
			continue
		}
		list := &out.shared
		if len(b.of[i]) == 1 {
			list = &out.alone
		}
		at := slices.IndexFunc(*list, func(s *sharing) bool { return slices.Equal(s.atoms, b.of[i]) })
		if at < 0 {
			at = len(*list)
			*list = append(*list, &sharing{atoms: b.of[i], memory: map[[maxAtoms]uint32][]match{}})
			for _, n := range b.of[i] {
				if !slices.Contains(out.atoms, n) {
					out.atoms = append(out.atoms, n)
				}
			}
		}
		(*list)[at].rules = append((*list)[at].rules, i)
	}
	return out
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
