// Package ipv4in6 finds IPv4 addresses inside IPv6 addresses, in every form that is
// published, says who counts as one client among such addresses, and which addresses are
// private.
//
// The machine behind 2002:cb00:7109:: is the one behind 203.0.113.9. What is known of one
// holds for the other: an exit node must not become unlisted by calling through its 6to4
// address.
//
// # What it does not know
//
// Forms whose prefix is an operator's own: 6rd (RFC 5969), MAP (RFC 7597, RFC 7599),
// 6bed4, and NAT64 under a prefix of one's own; [Under] reads the last, where the prefix
// is configured. An interface identifier that is ISATAP's is chosen by the client, who
// can write any address there: it may tighten a decision, and must never be an excuse.
//
// It does not fail: an address without an inner one, or no address at all, is returned
// as it is.
package ipv4in6

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291 section 2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765: ::ffff:0:a.b.c.d
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	oldTeredo  = netip.MustParsePrefix("3ffe:831f::/32")  // its prefix before that
)

// Canonical is the one form in which addresses are compared: a mapped one
// (::ffff:a.b.c.d) or one with a zone is in no network.
func Canonical(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Inner returns the IPv4 addresses that a canonical IPv6 address may carry, each once;
// none for most. There are several where a form has two (Teredo's server and client), or
// can be read in several ways.
func Inner(a netip.Addr) (list []netip.Addr) {
	if !a.Is6() || a.Is4In6() {
		return nil
	}
	b := a.As16()
	add := func(found netip.Addr) {
		if !found.IsUnspecified() && !slices.Contains(list, found) {
			list = append(list, found)
		}
	}
	switch {
	case compatible.Contains(a):
		if !a.IsLoopback() { // ::1 is no 0.0.0.1
			add(four(b[12:]))
		}
	case translated.Contains(a), nat64.Contains(a):
		add(four(b[12:]))
	case localNAT64.Contains(a): // whose site has chosen the length within it: each reading counts
		for _, bits := range []int{48, 56, 64, 96} {
			add(rfc6052(b, bits))
		}
	case sixToFour.Contains(a):
		add(four(b[2:]))
	case teredo.Contains(a), oldTeredo.Contains(a):
		add(teredoClient(b))
		add(four(b[4:]))
	}
	if isatap(b) {
		add(four(b[12:]))
	}
	return list
}

// isatap recognises the interface identifier of RFC 5214 section 6.1, 0000:5efe or
// 0200:5efe, with the group bit either way.
func isatap(b [16]byte) bool { return b[8]&^3 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe }

func four(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

// teredoClient undoes the obfuscation of RFC 4380 section 4.
func teredoClient(b [16]byte) netip.Addr {
	var c [4]byte
	binary.BigEndian.PutUint32(c[:], ^binary.BigEndian.Uint32(b[12:]))
	return netip.AddrFrom4(c)
}

// rfc6052 reads the address behind a prefix of 32, 40, 48, 56, 64 or 96 bits (section
// 2.2). Byte 8 is reserved and passed over; what follows the address is ignored, as the
// section says.
func rfc6052(b [16]byte, bits int) netip.Addr {
	var c [4]byte
	at := bits / 8
	for i := range c {
		if at == 8 {
			at++
		}
		c[i] = b[at]
		at++
	}
	return netip.AddrFrom4(c)
}

// PrefixOK reports whether a prefix can be that of a translator (RFC 6052 section 2.2).
func PrefixOK(p netip.Prefix) bool {
	return p.IsValid() && p.Addr().Is6() && !p.Addr().Is4In6() && p == p.Masked() && slices.Contains([]int{32, 40, 48, 56, 64, 96}, p.Bits())
}

// Under returns the IPv4 address that a translator with this prefix, which is PrefixOK,
// has put into a canonical address.
func Under(p netip.Prefix, a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() || !p.Contains(a) {
		return netip.Addr{}, false
	}
	found := rfc6052(a.As16(), p.Bits())
	return found, !found.IsUnspecified()
}

// Translators are the prefixes of an operator's own translators, each PrefixOK. What
// arrives under them was written there by the translator, and answers go back through it.
// nil: the published forms alone.
type Translators []netip.Prefix

// Client is [Client] that knows these translators.
func (t Translators) Client(a netip.Addr) netip.Addr {
	if a = Client(a); a.Is6() {
		if inner, ok := Under(t.of(a), a); ok && public(inner) {
			return inner
		}
	}
	return a
}

// of is the longest prefix that an address is under, or the zero Prefix, which contains
// none.
func (t Translators) of(a netip.Addr) (longest netip.Prefix) {
	for _, p := range t {
		if p.Contains(a) && p.Bits() > longest.Bits() {
			longest = p
		}
	}
	return longest
}

// Key is [Key] that knows these translators. Where the address inside is not public, the
// address outside up to its end is one client: a /64 would be everyone behind the
// translator.
func (t Translators) Key(a netip.Addr) netip.Prefix {
	a = t.Client(a)
	if p := t.of(a); p.IsValid() {
		key, _ := a.Prefix(carried(p.Bits())) // an error is for other lengths
		return key
	}
	return Key(a)
}

// carried is where the IPv4 address behind a prefix of this length ends (RFC 6052 section
// 2.2: byte 8 is passed over).
func carried(bits int) int {
	switch bits {
	case 32:
		return 64
	case 96:
		return 128
	}
	return bits + 40
}

// Client returns the IPv4 address for which an address stands, if the network ensures
// that no other host has it: its answers go there. Otherwise it is the address, in
// canonical form. An inner address that is not public identifies no host.
func Client(a netip.Addr) netip.Addr {
	if a = Canonical(a); !a.Is6() {
		return a
	}
	b := a.As16()
	var inner netip.Addr
	switch {
	case compatible.Contains(a), translated.Contains(a), nat64.Contains(a):
		inner = four(b[12:])
	case sixToFour.Contains(a):
		inner = four(b[2:])
	case teredo.Contains(a), oldTeredo.Contains(a):
		inner = teredoClient(b)
	default:
		return a
	}
	if !public(inner) {
		return a
	}
	return inner
}

// Key is what counts as one client: an IPv4 address, or an IPv6 /64, in which a host
// changes its address as it likes (RFC 8981). Where one /64 holds all of IPv4, an address
// is one. The zero Prefix for the zero Addr.
func Key(a netip.Addr) netip.Prefix {
	a = Client(a)
	bits := 64
	switch {
	case a.Is4():
		bits = 32
	case shared(a):
		bits = 128
	}
	p, _ := a.Prefix(bits) // an error is for other lengths
	return p
}

// shared reports whether the /64 of an address holds people who have nothing to do with
// one another.
func shared(a netip.Addr) bool {
	return compatible.Contains(a) || translated.Contains(a) || nat64.Contains(a) || localNAT64.Contains(a) || teredo.Contains(a) || oldTeredo.Contains(a)
}
