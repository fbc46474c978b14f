package upstream

import (
	"net/netip"
	"strconv"
	"strings"
)

// HostPort is the host with the effective port, always.
func (t *Target) HostPort() string { return bracket(t.Hostname) + ":" + t.Port }

func bracket(name string) string {
	if strings.Contains(name, ":") {
		return "[" + name + "]"
	}
	return name
}

// CanonicalHost spells a host as a [Target] of that scheme has it: the name alone, and
// with the port unless that is the scheme's own.
func CanonicalHost(scheme, raw string) (hostname, host string, err error) {
	t := Target{Scheme: scheme}
	if err := t.setHost(raw); err != nil {
		return "", "", err
	}
	return t.Hostname, t.Host, nil
}

// setHost fills Host, Hostname and Port from a Host header or :authority.
func (t *Target) setHost(raw string) error {
	name, port, err := splitHost(raw)
	if err != nil {
		return err
	}
	t.portGiven = port != ""
	t.Hostname, t.Port = name, effectivePort(t.Scheme, port)
	switch {
	// Already canonical: the usual cases make no garbage.
	case port == "" && raw == name,
		t.Port != effectivePort(t.Scheme, "") && len(raw) == len(name)+1+len(port) && raw[:len(name)] == name:
		t.Host = raw
	case t.Port == effectivePort(t.Scheme, ""):
		t.Host = bracket(name)
	default:
		t.Host = t.HostPort()
	}
	return nil
}

// splitHost returns the canonical name and the port, "" if there is none.
func splitHost(raw string) (name, port string, err error) {
	literal := strings.HasPrefix(raw, "[")
	if literal {
		end := strings.IndexByte(raw, ']')
		if end < 0 {
			return "", "", refuse("a malformed host")
		}
		addr, perr := netip.ParseAddr(raw[1:end])
		if perr != nil || !addr.Is6() || addr.Zone() != "" {
			return "", "", refuse("a malformed host")
		}
		name, raw = addr.String(), raw[end+1:]
		if raw == "" {
			return name, "", nil
		}
	} else if at := strings.IndexByte(raw, ':'); at >= 0 {
		name, raw = raw[:at], raw[at:]
	} else {
		name, raw = raw, ""
	}
	if raw != "" {
		var ok bool
		if port, ok = canonicalPort(strings.TrimPrefix(raw, ":")); !ok || raw[0] != ':' {
			return "", "", refuse("a malformed port")
		}
	}
	if literal {
		return name, port, nil
	}
	if name, err = canonicalName(name); err != nil {
		return "", "", err
	}
	return name, port, nil
}

// canonicalName lowers a DNS name or IPv4 address and drops one trailing dot.
func canonicalName(s string) (string, error) {
	s = strings.TrimSuffix(strings.ToLower(s), ".")
	if s == "" || len(s) > 253 {
		return "", refuse("the request names no host")
	}
	start := 0 // of the label that ends at i
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.':
			if !isLabel(s[start:i]) {
				return "", refuse("a malformed host")
			}
			start = i + 1
		// Letters after ToLower; "_" is seen in container networks. No "@"
		// (user information), no "%", nothing outside ASCII (homoglyphs).
		case (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_':
			return "", refuse("a malformed host")
		}
	}
	label := s[start:]
	if !isLabel(label) {
		return "", refuse("a malformed host")
	}
	// A name that ends in a number is an IPv4 address to browsers and to libc
	// (127.1, 0x7f.1, 2130706433): only the dotted decimal form is one here.
	if label[0] >= '0' && label[0] <= '9' && numeric(label) {
		if _, err := netip.ParseAddr(s); err != nil {
			return "", refuse("a malformed host")
		}
	}
	return s, nil
}

// isLabel checks a label's ends and length (RFC 1123 section 2.1).
func isLabel(s string) bool {
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-'
}

func numeric(label string) bool {
	digits := label
	hex := strings.HasPrefix(label, "0x")
	if hex {
		digits = label[2:]
	}
	for i := 0; i < len(digits); i++ {
		if c := digits[i]; (c < '0' || c > '9') && !(hex && isHex(c)) {
			return false
		}
	}
	return true
}

// effectivePort returns port, or the default port of scheme.
func effectivePort(scheme, port string) string {
	if port != "" {
		return port
	}
	if scheme == "https" || scheme == "wss" {
		return "443"
	}
	return "80"
}

// canonicalPort accepts 1 to 65535 in decimal, and drops leading zeros.
func canonicalPort(s string) (string, bool) {
	n, err := strconv.ParseUint(s, 10, 16) // takes neither sign nor underscore
	if err != nil || n == 0 {
		return "", false
	}
	return strings.TrimLeft(s, "0"), true
}
