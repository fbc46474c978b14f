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

// setHost fills Host, Hostname and Port from a Host header or :authority.
func (t *Target) setHost(raw string) error {
	name, port, err := splitHost(raw)
	if err != nil {
		return err
	}
	t.portGiven = port != ""
	t.Hostname, t.Port = name, effectivePort(t.Scheme, port)
	switch {
	case t.Port == effectivePort(t.Scheme, ""):
		t.Host = bracket(name)
	case len(raw) == len(name)+1+len(port) && raw[:len(name)] == name:
		t.Host = raw // already canonical: the usual case makes no garbage
	default:
		t.Host = t.HostPort()
	}
	return nil
}

// splitHost returns the canonical name and the port, "" if there is none.
func splitHost(raw string) (name, port string, err error) {
	if strings.HasPrefix(raw, "[") {
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
	if strings.Contains(name, ":") {
		return name, port, nil // the IPv6 address from above
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
	label := ""
	for rest, more := s, true; more; {
		label, rest, more = strings.Cut(rest, ".")
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", refuse("a malformed host")
		}
		for i := 0; i < len(label); i++ {
			// Letters after ToLower; "_" is seen in container networks. No "@"
			// (user information), no "%", nothing outside ASCII (homoglyphs).
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", refuse("a malformed host")
			}
		}
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
