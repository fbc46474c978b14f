package clientip

import (
	"fmt"
	"net/netip"
	"strings"
)

// prefixes is a short list of networks; the handful of proxies that an
// installation trusts is scanned faster than it could be looked up.
type prefixes []netip.Prefix

func newPrefixes(in []netip.Prefix) (prefixes, error) {
	out := make(prefixes, 0, len(in))
	for _, p := range in {
		if p.IsValid() && p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		switch {
		case !p.IsValid():
			return nil, fmt.Errorf("clientip: %v is not a network", p)
		case p.Bits() == 0:
			return nil, fmt.Errorf("clientip: %v trusts every address: any caller could choose the address it is judged by", p)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func (ps prefixes) contain(a netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// parsePeer reads http.Request.RemoteAddr. net/http writes "@" or nothing for
// the client end of a Unix socket.
func parsePeer(s string) (addr netip.Addr, isUnix bool, err error) {
	if s == "" || s == "@" {
		return netip.Addr{}, true, nil
	}
	ap, perr := netip.ParseAddrPort(s)
	if perr != nil {
		return netip.Addr{}, false, unreadable("connection", s, "not an address and port")
	}
	addr, err = clean("connection", s, ap.Addr())
	return addr, false, err
}

// parseHop reads one hop: an address, or an address and port, where an IPv6
// address with a port stands in brackets (RFC 7239 section 6, and what
// X-Forwarded-For is seen to hold).
func parseHop(source, s string) (netip.Addr, error) {
	bare := s
	switch {
	case strings.HasPrefix(s, "["):
		end := strings.IndexByte(s, ']')
		if end < 0 || !validPort(s[end+1:]) {
			return netip.Addr{}, unreadable(source, s, "malformed brackets or port")
		}
		bare = s[1:end]
		if !strings.Contains(bare, ":") {
			return netip.Addr{}, unreadable(source, s, "brackets are for IPv6 addresses")
		}
	case strings.Count(s, ":") == 1:
		at := strings.IndexByte(s, ':')
		if !validPort(s[at:]) {
			return netip.Addr{}, unreadable(source, s, "malformed port")
		}
		bare = s[:at]
	}
	addr, err := netip.ParseAddr(bare) // refuses octal, hexadecimal and short forms
	if err != nil {
		return netip.Addr{}, unreadable(source, s, "not an address")
	}
	return clean(source, s, addr)
}

// validPort accepts "" or ":" and a decimal port, or ":_" and an obfuscated
// one (RFC 7239 section 6).
func validPort(s string) bool {
	if s == "" {
		return true
	}
	if len(s) < 2 || s[0] != ':' {
		return false
	}
	s = s[1:]
	if s[0] == '_' {
		for i := 1; i < len(s); i++ {
			if c := s[i]; !isAlnum(c) && c != '.' && c != '_' && c != '-' {
				return false
			}
		}
		return len(s) > 1
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' || i > 4 {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= 65535
}

// clean is the last step of every path to an answer: it is what makes the
// result unmapped, zone-less, and the address of something that can call.
func clean(source, s string, a netip.Addr) (netip.Addr, error) {
	if a.Zone() != "" {
		// A zone names an interface of one machine, and gives one address many spellings.
		return netip.Addr{}, unreadable(source, s, "an address with a zone")
	}
	a = a.Unmap()
	if a.IsUnspecified() || a.IsMulticast() {
		return netip.Addr{}, unreadable(source, s, "not an address that a client can have")
	}
	return a, nil
}

// element is one hop of a Forwarded header: the values of for= and proto=.
type element struct{ node, proto string }

// parseForwarded reads the Forwarded header (RFC 7239 section 4), strictly.
//
// Each line must be well formed by itself: otherwise an open quote in a stranger's line
// could swallow what the proxy adds in the next. An open quote in the proxy's own line is
// an error as well.
func parseForwarded(lines []string) ([]element, error) {
	var out []element
	for _, line := range lines {
		rest := line
		for more := true; more; {
			var e element
			var err error
			if e, rest, more, err = parseElement(rest); err != nil {
				return nil, err
			}
			out = append(out, e)
			if len(out) > maxHops {
				return nil, unreadable("Forwarded", line, "too many hops")
			}
		}
	}
	return out, nil
}

// parseElement reads one forwarded-element; more says that a comma follows.
func parseElement(s string) (e element, rest string, more bool, err error) {
	rest = trimOWS(s)
	seen := make(map[string]bool, 4)
	for {
		name, value, after, ok := parsePair(rest)
		name = strings.ToLower(name)
		switch {
		case !ok:
			return e, "", false, unreadable("Forwarded", rest, "malformed")
		case seen[name]:
			return e, "", false, unreadable("Forwarded", rest, "a parameter twice in one hop")
		}
		seen[name] = true
		switch name {
		case "for":
			e.node = value
		case "proto":
			e.proto = value
		}
		rest = trimOWS(after)
		switch {
		case rest == "":
			return e, "", false, nil
		case rest[0] == ',':
			return e, rest[1:], true, nil
		case rest[0] == ';':
			rest = trimOWS(rest[1:])
		default:
			return e, "", false, unreadable("Forwarded", rest, "malformed")
		}
	}
}

// parsePair reads token "=" (token / quoted-string).
func parsePair(s string) (name, value, rest string, ok bool) {
	n := tokenLen(s)
	if n == 0 || n == len(s) || s[n] != '=' {
		return "", "", "", false
	}
	name, s = s[:n], s[n+1:]
	if !strings.HasPrefix(s, `"`) {
		n = tokenLen(s)
		// A bare IPv4 address with port is not a token; it is common all the same.
		for n < len(s) && (s[n] == ':' || isAlnum(s[n]) || s[n] == '.') {
			n++
		}
		return name, s[:n], s[n:], n > 0
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return name, b.String(), s[i+1:], true
		case c == '\\':
			if i++; i == len(s) {
				return "", "", "", false
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", "", false
}

// tokenLen returns how many bytes of s are a token (RFC 9110 section 5.6.2).
func tokenLen(s string) int {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return i
		}
	}
	return len(s)
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// trimOWS is strings.Trim(s, " \t"), which would make a set of the two each time.
func trimOWS(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}
