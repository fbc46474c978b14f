package policy

import (
	"fmt"
	"net/netip"
)

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
