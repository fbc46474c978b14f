package prove

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/go-air/gini/z"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/vocabulary"
)

// domain is the constants that some members are compared with, put together where nothing
// tells them apart.
type domain struct {
	members []*member
	regions []region
}

// region is constants that fit the same patterns.
type region struct {
	values []string // some of them
	single bool     // there is only one
	fits   map[int]bool
}

const maxComputed = 2_000_000 // patterns times constants, in one domain
const fewValues = 8

// link is an atom that relates two members: left is an entry of right, or equal to it.
type link struct {
	left, right *member
	lit         z.Lit
}

func (p *prover) link(a *atom, left, right *member) func() dualRail {
	l := link{left, right, p.c.Lit()}
	a.free = true
	p.links = append(p.links, l)
	return func() dualRail { return p.truth(l.lit) }
}

// build gives every fact its variables.
func (p *prover) build() {
	for _, name := range slices.Sorted(maps.Keys(p.numbers)) {
		p.numbers[name].build(p)
	}
	var all []*member
	for _, name := range slices.Sorted(maps.Keys(p.texts)) {
		all = append(all, &p.texts[name].member)
	}
	for _, name := range slices.Sorted(maps.Keys(p.lists)) {
		all = append(all, &p.lists[name].member)
	}
	for _, members := range p.together(all) {
		p.buildDomain(members)
	}
	for _, name := range slices.Sorted(maps.Keys(p.lists)) {
		p.buildList(p.lists[name])
	}
	if p.network != nil {
		p.network.build(p)
	}
	if p.knows(relations) {
		for _, l := range p.links {
			p.relate(l)
		}
		p.relateZones()
	}
	p.know()
}

// together groups members that are linked.
func (p *prover) together(all []*member) [][]*member {
	group := map[*member]int{}
	for i, m := range all {
		group[m] = i
	}
	for _, l := range p.links {
		if a, b := group[l.left], group[l.right]; a != b {
			for m, g := range group {
				if g == b {
					group[m] = a
				}
			}
		}
	}
	byGroup := map[int][]*member{}
	for _, m := range all {
		byGroup[group[m]] = append(byGroup[group[m]], m)
	}
	var out [][]*member
	for _, g := range slices.Sorted(maps.Keys(byGroup)) {
		out = append(out, byGroup[g])
	}
	return out
}

func (p *prover) buildDomain(members []*member) {
	d := &domain{members: members}
	fits := map[string][]int{} // what each constant fits
	for _, m := range members {
		m.domain = d
		for _, v := range m.closed {
			fits[v] = nil
		}
		for _, u := range m.uses {
			for _, v := range u.constants() {
				fits[v] = nil
			}
		}
	}
	values := slices.Sorted(maps.Keys(fits))
	ids, computed := 0, 0
	add := func(v string, id int) {
		if have := fits[v]; len(have) == 0 || have[len(have)-1] != id {
			fits[v] = append(have, id)
		}
	}
	for _, m := range members {
		ids++
		m.possible = ids
		for _, v := range m.closed {
			add(v, m.possible)
		}
		for _, u := range m.uses {
			ids++
			u.id = ids
			if u.node == nil {
				for _, v := range u.values {
					add(v, u.id)
				}
				continue
			}
			if computed += len(values); computed > maxComputed {
				u.unknown = true
				continue
			}
			p.compute(m, u, values, add)
		}
	}
	d.split(values, fits)
	for _, m := range members {
		p.buildMember(m)
	}
}

// compute finds the constants that fit a pattern.
func (p *prover) compute(m *member, u *use, values []string, add func(string, int)) {
	subject := func(n *expr.Node) bool { return n.Op == expr.FactOp }
	if m.isList {
		subject = func(n *expr.Node) bool { return n.Op == expr.Entry }
	}
	for _, v := range values {
		switch (&computation{subject: subject, value: v}).eval(u.node) {
		case true:
			add(v, u.id)
		case nil:
			u.unknown = true
			return
		}
	}
}

func (d *domain) split(values []string, fits map[string][]int) {
	byFits := map[string]int{}
	for _, v := range values {
		key := string(keyOf(fits[v]))
		i, ok := byFits[key]
		if !ok {
			i = len(d.regions)
			byFits[key] = i
			r := region{single: true, fits: map[int]bool{}}
			for _, id := range fits[v] {
				r.fits[id] = true
			}
			d.regions = append(d.regions, r)
		}
		r := &d.regions[i]
		if r.single = len(r.values) == 0; len(r.values) < fewValues {
			r.values = append(r.values, v)
		}
	}
}

func keyOf(ids []int) (key []byte) {
	for _, id := range ids {
		key = binary.AppendUvarint(key, uint64(id))
	}
	return key
}

// buildMember gives a fact its variables: a text is in exactly one region, a list in any.
func (p *prover) buildMember(m *member) {
	for _, r := range m.domain.regions {
		lit := p.c.F
		never := len(r.values) < fewValues && !slices.ContainsFunc(r.values, m.can)
		if (m.closed == nil || r.fits[m.possible]) && !never {
			lit = p.c.Lit()
		}
		m.in = append(m.in, lit)
	}
	m.other = p.c.F
	if m.closed == nil {
		m.other = p.c.Lit()
	}
	for _, u := range m.uses {
		u.free, u.refer = p.c.Lit(), p.c.Lit()
		if m.isList && u.other == depends { // some other entry fits, or does not
			p.either(u.free.Not(), m.other)
			p.either(u.refer.Not(), m.other)
			p.either(m.other.Not(), u.free, u.refer)
		}
	}
	if !m.isList {
		all := append(slices.Clone(m.in), m.other)
		all = slices.DeleteFunc(all, func(l z.Lit) bool { return l == p.c.F })
		p.either(all...)
		p.atMostOne(all)
	}
	if p.knows(prefixes) && p.knows(patterns) {
		p.affixes(m, "startsWith", func(s string) string { return s })
		p.affixes(m, "endsWith", reverse)
	}
}

// can reports whether a fact of which that is known can be a text.
func (m *member) can(text string) bool {
	switch m.name {
	case "user.email":
		return vocabulary.IsEmail(text)
	case "request.path", "request.path_folded":
		return strings.HasPrefix(text, "/")
	}
	return true
}

// affixes states what texts that are no constants have to do with their beginnings: who
// begins with "/admin/x" begins with "/admin", and not with "/api". turned reads a text
// from the end for endings.
func (p *prover) affixes(m *member, method string, turned func(string) string) {
	type affix struct {
		text string
		lit  z.Lit
	}
	var all []affix
	for _, u := range m.uses {
		if n := u.node; n != nil && n.Op == expr.Method && n.Name == method && n.Args[0].Op != expr.Method && n.Args[0].Op != expr.ValueOp && n.Args[1].Op == expr.ValueOp {
			if s, ok := n.Args[1].Value.(string); ok {
				all = append(all, affix{turned(s), u.free})
			}
		}
	}
	slices.SortFunc(all, func(a, b affix) int { return cmp.Compare(a.text, b.text) })
	var open []int // those that begin the present one, each the beginning of the next
	siblings := map[int][]z.Lit{}
	for i, a := range all {
		for len(open) > 0 && !strings.HasPrefix(a.text, all[open[len(open)-1]].text) {
			open = open[:len(open)-1]
		}
		above := -1
		if len(open) > 0 {
			above = open[len(open)-1]
			p.either(a.lit.Not(), all[above].lit)
		}
		siblings[above] = append(siblings[above], a.lit)
		open = append(open, i)
	}
	for _, lits := range siblings {
		if !m.isList {
			p.atMostOne(lits)
		}
	}
}

func reverse(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// buildList states how long a list is that has these entries.
func (p *prover) buildList(l *list) {
	l.some = p.c.Ors(append(slices.Clone(l.in), l.other)...)
	if l.size == nil || !p.knows(entries) || !p.knows(intervals) {
		return
	}
	x := l.size
	p.always(p.c.Xor(l.some, x.upTo[x.segment(num{})])) // some, or at most 0
	var present []weighted
	for _, m := range append(slices.Clone(l.in), l.other) {
		if m != p.c.F {
			present = append(present, weighted{m, 1})
		}
	}
	for s := range 2 * len(x.points) {
		most := x.points[s/2].i
		if s%2 == 0 {
			most--
		}
		if most > 0 && most < int64(len(present)) && most*int64(len(present)) < 20_000 {
			p.always(p.c.Implies(x.upTo[s], p.atLeast(present, int(most)+1).Not()))
		}
	}
}

// relate states when one member is an entry of another, or equal to it.
func (p *prover) relate(l link) {
	left, right := append(slices.Clone(l.left.in), l.left.other), append(slices.Clone(l.right.in), l.right.other)
	for r := range left {
		single := r < len(l.left.in) && l.left.domain.regions[r].single
		p.either(left[r].Not(), l.lit.Not(), right[r])
		if !l.right.isList {
			p.either(right[r].Not(), l.lit.Not(), left[r])
		}
		if single {
			p.either(left[r].Not(), right[r].Not(), l.lit)
		}
	}
}
