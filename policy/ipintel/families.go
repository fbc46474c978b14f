package ipintel

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"

	"sallyport/policy/ipv4in6"
)

// family is IPv4 or IPv6.
type family int

const (
	ipv4 family = iota
	ipv6
	families
)

func (f family) String() string { return [...]string{"IPv4", "IPv6"}[f] }

func familyOf(p netip.Prefix) family {
	if p.Addr().Is4() {
		return ipv4
	}
	return ipv6
}

// globalIPv6 is what registries hand out. A database may have the reserved ranges and
// nothing of this.
var globalIPv6 = netip.MustParsePrefix("2000::/3")

// answersIn says what a database can answer of each family: what its kind can, where it
// has any network. Many are published for IPv4 alone, some as a tree for IPv6 with
// nothing outside of its IPv4 part.
func answersIn(r *maxminddb.Reader, p provides) (in [families]provides, has [families]bool) {
	any := func(within netip.Prefix) bool {
		for res := range r.NetworksWithin(within) { // which has been walked before, in bounded time
			return res.Err() == nil && res.Found()
		}
		return false
	}
	if any(netip.PrefixFrom(netip.IPv4Unspecified(), 0)) {
		in[ipv4], has[ipv4] = p, true
	}
	if r.Metadata.IPVersion == 6 && any(globalIPv6) {
		in[ipv6], has[ipv6] = p, true
	}
	return in, has
}

// without is what p answers and q does not.
func (p provides) without(q provides) provides {
	return provides{country: p.country && !q.country, subdivisions: p.subdivisions && !q.subdivisions, asn: p.asn && !q.asn,
		org: p.org && !q.org, provider: p.provider && !q.provider, location: p.location && !q.location, signals: p.signals &^ q.signals}
}

// absent is what a source can answer for the other family, and no source for this one:
// there it has to count as missing, or an address of that family would pass as one that
// is in no country and calls nothing. An address that is on no list is different: a list
// names what it knows, and says nothing of the rest.
func (m member) absent(f family, can provides) provides {
	if m.data == nil {
		return provides{}
	}
	lacks := m.data.provides.without(can)
	if !m.spec.database {
		if lacks.signals, lacks.org, lacks.provider = 0, false, false; m.data.has[f] {
			return provides{} // it does know this family, and where it has nothing to say
		}
	}
	return lacks
}

// findAbsent notes where which sources have no say.
func (s *Snapshot) findAbsent() {
	for f := range families {
		var can provides
		for _, m := range s.members {
			if m.data != nil {
				can = can.or(m.data.in[f])
			}
		}
		s.missingIn[f] = nil
		for i, m := range s.members {
			lacks := m.absent(f, can)
			if m.data == nil || lacks != (provides{}) {
				s.missingIn[f] = append(s.missingIn[f], m.spec.name)
			}
			if lacks != (provides{}) {
				s.notes[i] = append(s.notes[i], fmt.Sprintf("%s only: of %s addresses no source says %s; there it counts as missing, and the policy's `missing_data` decides",
					1-f, f, strings.Join(slices.Sorted(maps.Keys(lacks.names())), ", ")))
			}
		}
	}
}

// missingAt names the sources that have no say about an address. No database is asked
// about private ones.
func (s *Snapshot) missingAt(a netip.Addr) []string {
	switch {
	case !a.IsValid() || ipv4in6.Private(a):
		return s.missing
	case a.Is4() || ipv4in6.Client(a).Is4():
		return s.missingIn[ipv4]
	}
	for _, p := range s.nat64 {
		if _, ok := ipv4in6.Under(p, a); ok {
			return s.missingIn[ipv4]
		}
	}
	return s.missingIn[ipv6]
}

// families names those that the content has networks of.
func (l *loaded) families() (list []string) {
	for f := range families {
		if l.has[f] {
			list = append(list, f.String())
		}
	}
	return list
}
