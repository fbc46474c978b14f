package behavior

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// networks knows which addresses mean one place, and gives them names that only the
// holder of the key can make.
type networks struct {
	key       [32]byte
	offices   []netip.Prefix
	satellite map[uint32]bool
	shared    map[uint32]bool // mobile carriers and satellite
}

// minKey is the shortest key, in bytes.
const minKey = 16

func newNetworks(cfg *Config) (*networks, error) {
	if len(cfg.Key) < minKey {
		return nil, fmt.Errorf("behavior: a key of %d bytes or more is needed", minKey)
	}
	n := &networks{key: sha256.Sum256(cfg.Key), satellite: map[uint32]bool{}, shared: map[uint32]bool{}}
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

// canonical is the form in which addresses are compared; a mapped one, or one with a zone, is in no network.
func canonical(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func (n *networks) office(a netip.Addr) bool {
	for _, p := range n.offices {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// everyones are the IPv6 networks in which one /64 holds all of IPv4, or all of
// one relay's users: there, an address is a place of its own.
var everyones = []netip.Prefix{
	netip.MustParsePrefix("64:ff9b::/96"),   // NAT64 (RFC 6052)
	netip.MustParsePrefix("64:ff9b:1::/48"), // the same, for local use (RFC 8215)
	netip.MustParsePrefix("2001::/32"),      // Teredo (RFC 4380)
	netip.MustParsePrefix("::/64"),          // IPv4-compatible and IPv4-translated (RFC 4291, RFC 2765)
}

// places are the hash of the address (IPv6: of its /64), 0 where people come and go by
// the nature of the place, and of its network (/24, /48), 0 where moving between networks
// means nothing.
func (n *networks) places(p *Place) (host, net uint64) {
	if !p.Addr.IsValid() || p.Private || n.office(p.Addr) {
		return 0, 0
	}
	bits, wide := 64, 48
	if p.Addr.Is4() {
		bits, wide = 32, 24
	} else {
		for _, e := range everyones {
			if e.Contains(p.Addr) {
				bits, wide = 128, 128
			}
		}
	}
	if !p.Flagged && !n.shared[p.ASN] {
		host = n.hash('h', p.Addr, bits)
	}
	return host, n.hash('n', p.Addr, wide)
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

// travels reports whether a journey can begin or end there.
func (n *networks) travels(p *Place) bool {
	return !p.Flagged && !p.Private && !n.satellite[p.ASN]
}
