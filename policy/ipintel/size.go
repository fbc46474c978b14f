package ipintel

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"sallyport/policy/ipv4in6"
)

// cover is how much of the public addresses a set of networks holds: IPv4 addresses, and
// IPv6 networks of a /64. Networks that overlap count once, private and reserved ones not
// at all.
type cover struct{ v4, v6 float64 }

// public4 and public6 are what people come from. Of IPv6 that is what the registries hand
// out: of all unicast addresses, a list of the whole inhabited Internet would be a
// hundredth.
var (
	public4 = without(netip.MustParsePrefix("0.0.0.0/0"), ipv4in6.NotPublic4())
	public6 = spans("2001:200::/23", "2001:400::/22", "2001:800::/21", "2001:1000::/20", "2001:2000::/19", "2001:4000::/19", "2001:8000::/17", "2003::/18",
		"2400::/11", "2600::/12", "2610::/23", "2620::/23", "2630::/12", "2800::/12", "2a00::/11", "2c00::/12")
	allPublic = cover{v4: total(public4), v6: total(public6)}
)

// span is a run of addresses, of IPv4 or of /64s: from the first to before the end.
type span struct{ from, end uint64 }

func spanOf(p netip.Prefix) span {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		from := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
		return span{from, from + 1<<(32-p.Bits())}
	}
	b := p.Addr().As16()
	var from uint64
	for _, c := range b[:8] {
		from = from<<8 | uint64(c)
	}
	if p.Bits() >= 64 {
		return span{from, from + 1} // part of a /64 counts as the whole: that is one client
	}
	end := from + 1<<(64-p.Bits())
	if end == 0 {
		end = math.MaxUint64
	}
	return span{from, end}
}

func spans(list ...string) (all []span) {
	for _, s := range list {
		all = append(all, spanOf(netip.MustParsePrefix(s)))
	}
	return all
}

// without gives the gaps between networks, which are in order, within a larger one.
func without(of netip.Prefix, list []netip.Prefix) (all []span) {
	whole := spanOf(of)
	at := whole.from
	for _, p := range list {
		s := spanOf(p)
		all = append(all, span{at, s.from})
		at = s.end
	}
	return append(all, span{at, whole.end})
}

func total(all []span) (n float64) {
	for _, s := range all {
		n += float64(s.end - s.from)
	}
	return n
}

// coverOf measures networks. It takes them apart, and leaves the order of the argument
// alone.
func coverOf(prefixes []netip.Prefix) cover {
	var four, six []span
	for _, p := range prefixes {
		if p.Addr().Is4() {
			four = append(four, spanOf(p))
		} else {
			six = append(six, spanOf(p))
		}
	}
	return cover{within(four, public4), within(six, public6)}
}

// within is how much of the public spans, which are in order, others hold.
func within(all, public []span) (n float64) {
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var at uint64 // counted up to here
	i := 0
	for _, s := range all {
		s.from = max(s.from, at)
		if s.from >= s.end {
			continue
		}
		at = s.end
		for i < len(public) && public[i].end <= s.from {
			i++
		}
		for j := i; j < len(public) && public[j].from < s.end; j++ {
			n += float64(min(s.end, public[j].end) - max(s.from, public[j].from))
		}
	}
	return n
}

// tooWide refuses a list that holds more of the Internet than its kind of list can: two
// halves of the address space lock out all people, as 0.0.0.0/0 does. Databases are
// measured by the addresses that they give a signal.
func (s spec) tooWide(l *loaded) error {
	most := cmp.Or(s.maxShare, databaseMaxShare)
	for _, f := range []struct {
		name      string
		has, from float64
	}{{"IPv4", l.covers.v4, allPublic.v4}, {"IPv6", l.covers.v6, allPublic.v6}} {
		if share := f.has / f.from; share > most {
			hint := "; if that is meant, set max_share of the list"
			if s.database {
				hint = ""
			}
			return fmt.Errorf("%w: %.1f%% of the public %s addresses, where %.4g%% are accepted%s", errShare, 100*share, f.name, 100*most, hint)
		}
	}
	return nil
}

// databaseMaxShare is what a database may give a signal: those that know every data
// centre, VPN and anonymiser say so of less than a quarter of all addresses.
const databaseMaxShare = 0.3

// tenfold is how much larger or smaller than its predecessor content may be.
const tenfold = 10

// smallCountry is how many IPv4 addresses a country may gain or lose without comparison:
// databases disagree on the smallest ones.
const smallCountry = 1 << 18

// What may come to be without having been there before: a list that begins, or that gains
// its first IPv6 networks, grows without end by any factor.
const (
	smallList = 10      // networks
	small4    = 1 << 12 // IPv4 addresses
	small6    = 1 << 32 // /64s: one /32, which is what a hoster or a provider has
)

// meant ends every refusal that an operator can overrule.
const meant = "; `sallyport data apply --force` takes it all the same"

// unlike refuses content that is much larger or smaller than what it replaces, or of
// another kind: a download that broke off at a line's end, an error page, or a file that
// an attacker made to lock people out or let them in. An operator can approve it.
func (s spec) unlike(prev, next *loaded) error {
	if err := s.describe(prev).compare(prev.figures(), next.figures(), "before"); err != nil || !s.database {
		return err
	}
	return answersAlike(prev, next)
}

// answersAlike refuses a database of another type than the one it replaces, if that gives
// it answers that were not configured: sources are believed in the order of the
// configuration, which was written for the old type. Another type with the same answers
// is accepted.
func answersAlike(prev, next *loaded) error {
	values := func(p provides) provides {
		return provides{country: p.country, asn: p.asn || p.org, location: p.location}
	}
	if values(prev.provides) == values(next.provides) && (prev.provides.signals == 0) == (next.provides.signals == 0) {
		return nil
	}
	return fmt.Errorf("%w: it is %q, and %q before", errAnswers, clip(next.kind), clip(prev.kind))
}
