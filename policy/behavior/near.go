package behavior

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"sallyport/authn"
)

// NearWindow is how far back the facts look that count people at an address and on a
// device.
const NearWindow = month

// Common is one thing that two people have in common: an address, a household or a device.
// One of its fields is set.
type Common struct {
	Host, Site uint64 // as in Sighting
	Device     string // its public handle
}

// Span is from the first to the last time.
type Span struct{ First, Last time.Time }

// Meeting is what one other person has in common with a person.
type Meeting struct {
	Other authn.Subject
	Common
	Own, Their Span         // when each of them was there
	Addrs      []netip.Addr // those that are still kept, in order
	Countries  []string     // what the IP data said there, as far as it did
	ASNs       []uint32
}

// Near says what a person and others have in common, by their rows: all such as count
// for the number of people at an address, which are those let through in NearWindow.
// Devices come first, and of one kind what the other person used last. A household is named
// only where no address in it is shared with that person.
func Near(own, others []Sighting) (list []Meeting) {
	mine := traces{}
	for i := range own {
		mine.note(&own[i])
	}
	theirs := map[authn.Subject]traces{}
	for i := range others {
		who := others[i].Subject
		if theirs[who] == nil {
			theirs[who] = traces{}
		}
		theirs[who].note(&others[i])
	}
	for who, places := range theirs {
		for c, their := range places {
			m := mine[c]
			if m == nil || c.Site != 0 && mine.anyHost(their.hosts) {
				continue
			}
			list = append(list, Meeting{
				Other: who, Common: c, Own: m.Span, Their: their.Span, Addrs: union(m.addrs, their.addrs, netip.Addr.Compare),
				Countries: union(m.countries, their.countries, cmp.Compare[string]), ASNs: union(m.asns, their.asns, cmp.Compare[uint32]),
			})
		}
	}
	slices.SortFunc(list, func(a, b Meeting) int {
		return cmp.Or(cmp.Compare(min(len(b.Device), 1), min(len(a.Device), 1)), b.Their.Last.Compare(a.Their.Last),
			cmp.Compare(a.Other.Key(), b.Other.Key()), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Site, b.Site), cmp.Compare(a.Device, b.Device))
	})
	return list
}

// traces are what one person left, by where.
type traces map[Common]*trace

type trace struct {
	Span
	addrs     map[netip.Addr]bool
	countries map[string]bool
	asns      map[uint32]bool
	hosts     map[uint64]bool
}

func (l traces) note(s *Sighting) {
	for _, c := range []Common{{Host: s.Host}, {Site: s.Site}, {Device: s.Device}} {
		if c == (Common{}) {
			continue
		}
		t := l[c]
		if t == nil {
			t = &trace{Span{s.First, s.At}, map[netip.Addr]bool{}, map[string]bool{}, map[uint32]bool{}, map[uint64]bool{}}
			l[c] = t
		}
		if s.First.Before(t.First) {
			t.First = s.First
		}
		if s.At.After(t.Last) {
			t.Last = s.At
		}
		t.addrs[s.Addr], t.countries[s.Country], t.asns[s.ASN], t.hosts[s.Host] = true, true, true, true
	}
}

// anyHost reports whether the person was at any of these.
func (l traces) anyHost(hosts map[uint64]bool) bool {
	for h := range hosts {
		if l[Common{Host: h}] != nil {
			return true
		}
	}
	return false
}

// union lists what is in either set and says something, in order.
func union[T comparable](a, b map[T]bool, compare func(T, T) int) []T {
	all := maps.Clone(a)
	maps.Copy(all, b)
	var none T
	delete(all, none)
	return slices.SortedFunc(maps.Keys(all), compare)
}
