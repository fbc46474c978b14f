package ipv4in6

import (
	"net/netip"
	"slices"
)

// privateNetworks are what no client on the Internet calls from: loopback, RFC 1918,
// link-local, carrier-grade NAT (RFC 6598), unique local (RFC 4193) and site-local (RFC
// 3879) addresses. Documentation and other reserved ranges are not among them: no source
// knows their country, and that is what rules about the unknown are for.
var privateNetworks = prefixes("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
	"::1/128", "fc00::/7", "fe80::/10", "fec0::/10")

// reserved are IPv4 addresses that belong to no host: this network, multicast, and class
// E with the broadcast address.
var reserved = prefixes("0.0.0.0/8", "224.0.0.0/3")

// special are IPv4 addresses that the IANA registry of RFC 6890 keeps for protocols, for
// documentation and for benchmarks. No route on the Internet leads to them. They count as
// hosts here: a policy is written and tried out with them.
var special = prefixes("192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24")

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// PrivateNetworks returns the networks of [Private].
func PrivateNetworks() []netip.Prefix { return slices.Clone(privateNetworks) }

// Private is the one classification behind `ip.private`. It says what kind of address it
// is, and nothing of whose: a front that does not name its clients gives all of them one
// of these. It takes the address as it is; forms of IPv6 that hold an IPv4 address are
// for the caller.
func Private(a netip.Addr) bool { return within(privateNetworks, Canonical(a)) }

// public reports whether an IPv4 address can belong to a host on the Internet.
func public(a netip.Addr) bool { return a.Is4() && !within(privateNetworks, a) && !within(reserved, a) }

// NotPublic4 returns the IPv4 networks that hold no address of the Internet, in order:
// private, reserved and special ones.
func NotPublic4() (list []netip.Prefix) {
	for _, p := range slices.Concat(privateNetworks, reserved, special) {
		if p.Addr().Is4() {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return list
}
