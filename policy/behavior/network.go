package behavior

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"sallyport/policy/ipv4in6"
)

// networks knows which addresses mean one place, and gives them names that only the
// holder of the key can make.
type networks struct {
	key       [32]byte
	offices   []netip.Prefix
	satellite map[uint32]bool
	shared    map[uint32]bool // mobile carriers and satellite
	household int             // bits of the IPv6 network that one household has

	translators ipv4in6.Translators
}

// minKey is the shortest key, in bytes.
const minKey = 16

func newNetworks(cfg *Config) (*networks, error) {
	if len(cfg.Key) < minKey {
		return nil, fmt.Errorf("behavior: a key of %d bytes or more is needed", minKey)
	}
	n := &networks{key: sha256.Sum256(cfg.Key), satellite: map[uint32]bool{}, shared: map[uint32]bool{}, household: cfg.Household, translators: cfg.Translators}
	for _, list := range [][]uint32{satelliteASNs, cfg.SatelliteASNs} {
		for _, a := range list {
			n.satellite[a], n.shared[a] = true, true
		}
	}
	for _, list := range [][]uint32{mobileASNs, cfg.MobileASNs} {
		for _, a := range list {
			n.shared[a] = true
		}
	}
	if n.satellite[0] || n.shared[0] {
		return nil, errors.New("behavior: 0 is no autonomous system: it stands for those that are not known")
	}
	for _, p := range cfg.Offices {
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("behavior: %s is no network of an office", p)
		}
		n.offices = append(n.offices, p.Masked())
	}
	return n, nil
}

func (n *networks) office(a netip.Addr) bool {
	for _, p := range n.offices {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// spot holds the stored names of an address. Each is 0 if it has no meaning.
type spot struct {
	host uint64 // of one client: an address, or an IPv6 /64. 0 where people come and go by the nature of the place
	site uint64 // of the household that an IPv6 host belongs to; 0 for IPv4
	net  uint64 // of its network, /24 or /48. 0 where moving between networks means nothing
}

// places names an address. An address that only carries an IPv4 address counts as that
// one: it is the same household.
func (n *networks) places(p *Place) (s spot) {
	a := n.translators.Client(p.Addr)
	if !a.IsValid() || p.Private || n.office(a) || n.office(p.Addr) {
		return spot{}
	}
	bits, wide := n.translators.Key(a).Bits(), 48
	switch {
	case a.Is4():
		wide = 24
	case bits > 64: // where one /64 holds all of IPv4, an address is a place of its own
		wide = bits
	}
	if !p.Flagged && !n.shared[p.ASN] {
		s.host = n.hash('h', a, bits)
		if bits == 64 {
			s.site = n.hash(0x80|byte(n.household), a, n.household)
		}
	}
	s.net = n.hash('n', a, wide)
	return s
}

// hash names the first bits of an address. The message has one fixed length and fits,
// with the key before it, one block of SHA-256: nothing can be appended to it.
func (n *networks) hash(kind byte, a netip.Addr, bits int) uint64 {
	p, err := a.Prefix(bits)
	if err != nil {
		return 0 // no number of bits above is too large for its family
	}
	var m [32 + 1 + 16]byte
	copy(m[:], n.key[:])
	m[32] = kind
	b := p.Addr().As16()
	copy(m[33:], b[:])
	sum := sha256.Sum256(m[:])
	return max(binary.BigEndian.Uint64(sum[:8])&^(1<<63), 1) // a positive bigint, and not "none"
}

// travels reports whether a journey can begin or end there: whether the address is where
// the person is. A carrier's exit is in another city, a satellite's on another continent,
// and an office's may be that of its VPN.
func (n *networks) travels(p *Place) bool {
	return !p.Flagged && !p.Private && !n.shared[p.ASN] && !n.office(p.Addr) && !n.office(n.translators.Client(p.Addr))
}

// clock is the place whose time zone applies to a person there: for a carrier's exit the
// country is known and not the city, for a satellite neither.
func (n *networks) clock(p Place) Place {
	switch {
	case n.satellite[p.ASN]:
		p.TimeZone, p.Country = "", ""
	case n.shared[p.ASN]:
		p.TimeZone = ""
	}
	return p
}
