package policy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"sallyport/policy/internal/expr"
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
		return netip.Prefix{}, notANetwork(entry)
	case prefix.Addr().Is4In6():
		e := &expr.ArgumentError{Message: fmt.Sprintf("%q is an IPv4 network written as IPv6; client addresses are never mapped, so write it as IPv4", entry)}
		if bits := prefix.Bits() - 96; bits >= 0 {
			e.Suggestion = netip.PrefixFrom(prefix.Addr().Unmap(), bits).Masked().String()
		}
		return netip.Prefix{}, e
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits set behind its length: is it %s, or the one address %s?", entry, prefix.Masked(), prefix.Addr())
	}
	return prefix, nil
}

// notANetwork says what is wrong with what was given to ip.within().
func notANetwork(entry string) error {
	e := &expr.ArgumentError{Message: fmt.Sprintf("%q is not an address or a network", entry), Expected: "203.0.113.7, 203.0.113.0/24 or 2001:db8::/32; or lists.NAME, without quotes"}
	host, bits, hasBits := strings.Cut(strings.TrimSpace(entry), "/")
	addr, err := netip.ParseAddr(host)
	n, notNumber := strconv.Atoi(bits)
	switch {
	case err == nil && hasBits && notNumber == nil && n > addr.BitLen():
		e.Message = fmt.Sprintf("%q has no such length: an IPv%d network has at most /%d", entry, map[int]int{32: 4, 128: 6}[addr.BitLen()], addr.BitLen())
		e.Expected = "the length of the network, or the address alone"
	case err == nil && hasBits && strings.Count(bits, ".") == 3:
		if mask, err := netip.ParseAddr(bits); err == nil && mask.Is4() {
			ones, size := net.IPMask(mask.AsSlice()).Size()
			if e.Expected = "the length of the network rather than its mask"; size == 32 {
				e.Suggestion = netip.PrefixFrom(addr, ones).String()
			}
		}
	case err == nil && entry != strings.TrimSpace(entry):
		e.Expected, e.Suggestion = "no spaces around it", strings.TrimSpace(entry)
	case strings.Contains(host, "*"), strings.Count(host, ".") < 3 && !strings.Contains(host, ":") && strings.Trim(host, "0123456789.") == "" && host != "":
		if prefix, ok := octets(strings.TrimSuffix(strings.TrimRight(host, ".*"), ".")); ok {
			e.Expected, e.Suggestion = "all four numbers, and the length of the network", prefix
		}
	case len(entry) == 2 && strings.ToUpper(entry) == entry:
		e.Message = fmt.Sprintf("%q is a country, and ip.within() takes addresses and networks", entry)
		e.Expected = "ip.country == " + strconv.Quote(entry) + ", or ip.country in lists.NAME"
	case strings.Contains(host, "-") && rangeMeant(entry) != "":
		e.Expected, e.Suggestion = "a network rather than a range", rangeMeant(entry)
	case strings.Contains(host, "-"):
		e.Expected = "networks rather than a range: a range is one or several of them, such as 203.0.113.0/24"
	}
	return e
}

// rangeMeant is the network that a range of addresses is, such as 10.0.0.0-10.0.0.255; "":
// it is none, or several.
func rangeMeant(entry string) string {
	from, to, _ := strings.Cut(entry, "-")
	first, err := netip.ParseAddr(strings.TrimSpace(from))
	last, err2 := netip.ParseAddr(strings.TrimSpace(to))
	if err != nil || err2 != nil || first.BitLen() != last.BitLen() {
		return ""
	}
	for bits := range first.BitLen() + 1 {
		p := netip.PrefixFrom(first, bits)
		if p.Masked().Addr() == first && p.Contains(last) && (last.Next() == netip.Addr{} || !p.Contains(last.Next())) {
			return p.String()
		}
	}
	return ""
}

// octets completes the beginning of an IPv4 address, such as 10.0, to its network.
func octets(beginning string) (string, bool) {
	parts := strings.Split(beginning, ".")
	if len(parts) > 3 {
		return "", false
	}
	full := beginning + strings.Repeat(".0", 4-len(parts))
	addr, err := netip.ParseAddr(full)
	return fmt.Sprintf("%s/%d", full, 8*len(parts)), err == nil && addr.Is4()
}
