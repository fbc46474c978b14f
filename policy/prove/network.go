package prove

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/go-air/gini/z"

	"sallyport/policy/internal/expr"
	"sallyport/policy/ipv4in6"
)

// network is ip.address, with the networks that it is looked for in, and what follows
// from it: ip.version and ip.private.
type network struct {
	sets    [][]netip.Prefix
	byKey   map[string]int
	regions []reach
}

// reach is addresses that lie in the same sets.
type reach struct {
	samples []netip.Addr // the first of some ranges
	in      map[int]bool // by set
	lit     z.Lit
}

// The sets that are always there.
const (
	ipv4 = iota
	private
)

var privateNetworks = func() (out []string) {
	for _, p := range ipv4in6.PrivateNetworks() {
		out = append(out, p.String())
	}
	return out
}()

// within is the atom that the address lies in one of the networks.
func (p *prover) within(a *atom, constant any) bool {
	values, ok := constant.([]string)
	if v, one := constant.(string); one {
		values, ok = []string{v}, true
	}
	if !ok {
		return false
	}
	if p.network == nil {
		p.network = &network{byKey: map[string]int{}}
		p.network.add([]string{"0.0.0.0/0"})
		p.network.add(privateNetworks)
	}
	set, ok := p.network.add(values)
	if !ok {
		return false
	}
	a.make = func() dualRail {
		if !p.knows(networks) {
			a.free = true
			return p.truth(p.c.Lit())
		}
		return p.truth(p.network.lies(p, set))
	}
	return true
}

func (w *network) add(values []string) (int, bool) {
	key := strings.Join(values, " ")
	if i, ok := w.byKey[key]; ok {
		return i, true
	}
	var set []netip.Prefix
	for _, v := range values {
		prefix, err := netip.ParsePrefix(v)
		if err != nil {
			addr, err := netip.ParseAddr(v)
			if err != nil {
				return 0, false
			}
			addr = addr.Unmap()
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		set = append(set, prefix)
	}
	w.sets = append(w.sets, set)
	w.byKey[key] = len(w.sets) - 1
	return len(w.sets) - 1, true
}

// lies is the literal that the address is in a set.
func (w *network) lies(p *prover, set int) z.Lit {
	out := p.c.F
	for _, r := range w.regions {
		if r.in[set] {
			out = p.c.Or(out, r.lit)
		}
	}
	return out
}

// edge is where a network begins, or (end) the first address behind it.
type edge struct {
	at  netip.Addr
	set int
	end bool
}

// build goes through all addresses once, and puts together those that lie in the same
// sets.
func (w *network) build(p *prover) {
	edges := []edge{{at: netip.IPv4Unspecified(), set: -1}, {at: netip.IPv6Unspecified(), set: -1}}
	for i, set := range w.sets {
		for _, prefix := range set {
			edges = append(edges, edge{at: prefix.Masked().Addr(), set: i})
			if next := last(prefix).Next(); next.IsValid() {
				edges = append(edges, edge{at: next, set: i, end: true})
			} else if prefix.Addr().Is4() { // what begins behind the last IPv4 address is IPv6
				edges = append(edges, edge{at: netip.IPv6Unspecified(), set: i, end: true})
			}
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return a.at.Compare(b.at) })
	depth := map[int]int{} // in how many networks of a set
	byKey := map[string]int{}
	for i, e := range edges {
		switch {
		case e.set < 0:
		case e.end:
			if depth[e.set]--; depth[e.set] == 0 {
				delete(depth, e.set)
			}
		default:
			depth[e.set]++
		}
		if i+1 < len(edges) && edges[i+1].at == e.at {
			continue
		}
		w.put(byKey, e.at, depth)
	}
	var lits []z.Lit
	for i := range w.regions {
		w.regions[i].lit = p.c.Lit()
		lits = append(lits, w.regions[i].lit)
	}
	p.either(lits...)
	p.atMostOne(lits)
	if p.knows(networks) {
		w.follow(p)
	}
}

func (w *network) put(byKey map[string]int, at netip.Addr, depth map[int]int) {
	var sets []int
	for s := range depth {
		sets = append(sets, s)
	}
	slices.Sort(sets)
	key := string(keyOf(sets))
	i, ok := byKey[key]
	if !ok {
		i = len(w.regions)
		byKey[key] = i
		r := reach{in: map[int]bool{}}
		for _, s := range sets {
			r.in[s] = true
		}
		w.regions = append(w.regions, r)
	}
	if r := &w.regions[i]; len(r.samples) < fewValues {
		r.samples = append(r.samples, at)
	}
}

// follow states ip.version, and ip.private: it holds for private addresses, and for no
// other of IPv4. (An IPv6 address may hold a private IPv4 address.)
func (w *network) follow(p *prover) {
	v4 := w.lies(p, ipv4)
	if x := p.numbers["ip.version"]; x != nil && p.knows(intervals) {
		p.always(p.c.Xor(v4, x.holds(p, expr.Equal, num{i: 4})).Not())
	}
	if flag, ok := p.flags["ip.private"]; ok {
		in := w.lies(p, private)
		p.always(p.c.Implies(in, flag))
		p.always(p.c.Implies(p.c.And(v4, flag), in))
	}
}

// last is the last address of a network.
func last(prefix netip.Prefix) netip.Addr {
	b := prefix.Masked().Addr().AsSlice()
	for i := prefix.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}
