package ipintel

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// parseCIDR reads a text list: an address, a CIDR or a range (FIRST-LAST) a line; `#` and
// `;` begin comments, at the start of a line or after the entry. Entries may overlap and
// repeat. FireHOL's header line "Source File Date" is taken as the list's date.
func parseCIDR(data []byte) (entries, error) {
	var e entries
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for line := 1; len(data) > 0; line++ {
		raw, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		entry, comment := raw, []byte(nil)
		if i := bytes.IndexAny(raw, "#;"); i >= 0 {
			entry, comment = raw[:i], raw[i+1:]
		}
		if e.declared.IsZero() && comment != nil {
			e.declared = fireholDate(comment)
		}
		entry = bytes.TrimSpace(entry)
		if len(entry) == 0 {
			continue
		}
		var err error
		if e.prefixes, err = appendNetworks(e.prefixes, string(entry)); err != nil {
			return entries{}, atLine(line, err)
		}
	}
	return e, nil
}

func fireholDate(comment []byte) time.Time {
	date, ok := bytes.CutPrefix(bytes.TrimSpace(comment), []byte("Source File Date:"))
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.UnixDate, string(bytes.TrimSpace(date)))
	if err != nil {
		return time.Time{}
	}
	return t
}

var errWhole = errors.New("covers the whole Internet, which cannot be meant")

// appendNetworks reads one entry: an address, a CIDR or a range.
func appendNetworks(to []netip.Prefix, s string) ([]netip.Prefix, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		p, err := parsePrefix(s)
		if err != nil {
			return to, err
		}
		return append(to, p), nil
	}
	from, err := parseAddr(strings.TrimSpace(first))
	if err != nil {
		return to, err
	}
	until, err := parseAddr(strings.TrimSpace(last))
	if err != nil {
		return to, err
	}
	if from.BitLen() != until.BitLen() || until.Less(from) {
		return to, fmt.Errorf("%q is not a range: the first address comes after the last, or is of another kind", clip(s))
	}
	return appendRange(to, from, until)
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an address, a CIDR or a range", clip(s))
	}
	return a.Unmap(), nil
}

// parsePrefix reads an address or a CIDR. Bits beyond the length are cleared
// ("198.51.100.7/24" is the /24), and IPv4-mapped networks become IPv4 ones, as addresses
// do before they are looked up.
func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := parseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not an address, a CIDR or a range", clip(s))
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	if p.Bits() == 0 {
		return netip.Prefix{}, fmt.Errorf("%q %w", clip(s), errWhole)
	}
	return p.Masked(), nil
}

// appendRange covers from..until with the fewest prefixes.
func appendRange(to []netip.Prefix, from, until netip.Addr) ([]netip.Prefix, error) {
	for {
		bits := from.BitLen()
		for bits > 0 {
			wider := netip.PrefixFrom(from, bits-1)
			if wider.Masked().Addr() != from || until.Less(lastOf(wider)) {
				break
			}
			bits--
		}
		if bits == 0 {
			return to, fmt.Errorf("the range %w", errWhole)
		}
		p := netip.PrefixFrom(from, bits)
		to = append(to, p)
		last := lastOf(p)
		if !last.Less(until) {
			return to, nil
		}
		from = last.Next()
	}
}

// lastOf gives the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
