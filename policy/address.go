package policy

import (
	"fmt"
	"net/netip"
)

// privateNetworks are what no client on the Internet calls from: loopback, RFC 1918,
// link-local, carrier-grade NAT (RFC 6598), unique local (RFC 4193) and site-local (RFC
// 3879) addresses. Documentation and other reserved ranges are not among them: no source
// knows their country, and that is what rules about the unknown are for.
var privateNetworks = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("fec0::/10"),
}

// PrivateNetworks returns the networks of [Private].
func PrivateNetworks() []netip.Prefix { return append([]netip.Prefix(nil), privateNetworks...) }

// Private is the one classification behind `ip.private`. It says what kind of address it
// is, and nothing of whose: a front that does not name its clients gives all of them one
// of these. It takes the address as it is; forms of IPv6 that hold an IPv4 address are
// for the caller.
func Private(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range privateNetworks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// ParseNetwork reads an address or a network in CIDR notation, as ip.within() takes it.
func ParseNetwork(entry string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(entry); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q has a zone; ip.within() takes addresses without one", entry)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(entry)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is not an address or a network (ip.within() takes 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32)", entry)
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 network written as IPv6; client addresses are never mapped, so write it as IPv4", entry)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits set behind its length: is it %s, or the one address %s?", entry, prefix.Masked(), prefix.Addr())
	}
	return prefix, nil
}
