package upstream

import (
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Target is the one canonical form of what a request asks for. It is made once,
// by [Canonicalise]; routes are matched on it, policy judges it, and it is what
// is forwarded. Nothing reads the request line again.
type Target struct {
	// Scheme is "http" or "https", as the caller of Canonicalise established it.
	Scheme string
	// Host is what X-Forwarded-Host and the Host header say upstream: lower case,
	// without trailing dot, with the port unless it is the scheme's default.
	Host string
	// Hostname is Host without port; an IPv6 address is without brackets.
	Hostname string
	// Port is the effective port: the scheme's default if the client wrote none.
	Port string
	// Path is decoded: valid UTF-8, begins with "/", has no empty, "." or ".."
	// segment, and holds none of \ ; # or control characters.
	Path string
	// RawPath is Path as it is forwarded. Decoding it gives Path, and
	// canonicalising it again gives it back.
	RawPath string
	// RawQuery is forwarded as the client sent it (raw bytes outside ASCII are
	// percent-encoded). It is not interpreted and takes no part in matching.
	RawQuery string

	portGiven bool // the client wrote a port
}

// BadRequest is a request that is refused before anything is matched or judged.
type BadRequest struct {
	// Status is 400, 405, 421 or 501.
	Status int
	// Reason is plain text that is safe to show; it never repeats input.
	Reason string
}

func (e *BadRequest) Error() string { return e.Reason }

func refuse(reason string) *BadRequest { return &BadRequest{http.StatusBadRequest, reason} }

// Canonicalise returns what r asks for, or a [*BadRequest]. scheme is what the
// client spoke to the outermost trusted proxy, "http" or "https".
//
// It does not repair. Two programs that repair one ambiguous request
// differently are how a path that is refused here is served there; so input
// that a backend could read in a second way is refused with 400:
//
//   - a path with an empty segment (//), with "." or ".." segments in any
//     spelling, with an encoded slash, with a backslash, ";", "#" or a control
//     character, literal or encoded, or that is not UTF-8;
//   - a path that would become one of those if it were decoded again, up to the
//     depth at which nobody encodes any more;
//   - a bad percent escape in the path, white space or a fragment in the target;
//   - absolute-form targets and "*": net/http has by then dropped the Host header
//     that had to be compared;
//   - hosts with user information, without name, with a malformed port, outside
//     ASCII (browsers send punycode), or numeric in any form but dotted decimal.
//
// Everything else passes: %20, %2B, %25, %3F and UTF-8 keep their meaning. In
// RawPath unreserved characters are literal, escapes are in upper case (RFC 3986
// section 6.2.2), and a reserved character stays as the client wrote it.
//
// A TLS connection made for another host is 421 (RFC 9110 section 15.5.20): use
// [CanonicaliseBehindProxy] when the TLS client is a trusted proxy.
func Canonicalise(r *http.Request, scheme string) (Target, error) {
	t, err := CanonicaliseBehindProxy(r, scheme)
	if err != nil {
		return Target{}, err
	}
	// Without this, a name that the TLS front end let through serves as the key
	// to every other host behind the same certificate or address.
	if r.TLS != nil && r.TLS.ServerName != "" && strings.TrimSuffix(strings.ToLower(r.TLS.ServerName), ".") != t.Hostname {
		return Target{}, &BadRequest{http.StatusMisdirectedRequest, "the connection was made for another host"}
	}
	return t, nil
}

// CanonicaliseBehindProxy is [Canonicalise] for a request whose direct peer is a
// trusted proxy: the server name in its TLS handshake is its own affair.
func CanonicaliseBehindProxy(r *http.Request, scheme string) (Target, error) {
	if err := checkMethod(r.Method); err != nil {
		return Target{}, err
	}
	if err := checkAgreement(r); err != nil {
		return Target{}, err
	}
	t := Target{Scheme: scheme}
	if err := t.setHost(r.Host); err != nil {
		return Target{}, err
	}
	// RequestURI is what the client wrote; URL has been through a parser that
	// forgives. Requests that were not read by a server have no RequestURI.
	uri := r.RequestURI
	if uri == "" && r.URL != nil {
		uri = r.URL.RequestURI()
	}
	path, query, _ := strings.Cut(uri, "?")
	if err := t.setPath(path); err != nil {
		return Target{}, err
	}
	if err := t.setQuery(query); err != nil {
		return Target{}, err
	}
	return t, nil
}

// checkAgreement refuses what HTTP/2 can say twice and differently. net/http has
// sorted this out for HTTP/1 by now.
func checkAgreement(r *http.Request) error {
	for _, h := range r.Header["Host"] { // beside :authority (RFC 9113 section 8.3.1)
		if !strings.EqualFold(h, r.Host) {
			return refuse("the request names two hosts")
		}
	}
	for _, v := range r.Header["Content-Length"] { // beside the end of the stream (section 8.1.1)
		if n, err := strconv.ParseInt(v, 10, 64); err != nil || n != r.ContentLength {
			return refuse("the length of the body is not the one announced")
		}
	}
	return nil
}

// checkMethod allows every method that is spelled like one, known or not: the
// policy judges the name in the request line, and it is forwarded as it is.
// Lower case is refused, because some backends would fold it into the method
// that a rule is about; CONNECT and TRACE are, because they are addressed to proxies.
func checkMethod(m string) error {
	switch m {
	case "GET", "POST":
		return nil
	case "CONNECT", "TRACE", "TRACK":
		return &BadRequest{http.StatusMethodNotAllowed, "this method is not served here"}
	}
	if len(m) == 0 || len(m) > 32 || m[0] < 'A' || m[0] > 'Z' {
		return &BadRequest{http.StatusNotImplemented, "unknown method"}
	}
	for i := 1; i < len(m); i++ {
		if c := m[i]; (c < 'A' || c > 'Z') && c != '-' {
			return &BadRequest{http.StatusNotImplemented, "unknown method"}
		}
	}
	return nil
}

// setPath fills Path and RawPath from the path of a request target.
func (t *Target) setPath(raw string) error {
	if !strings.HasPrefix(raw, "/") {
		return refuse("the request target is not a path")
	}
	// Nearly every path is already canonical and is used as it stands.
	if plainPath(raw) {
		t.Path, t.RawPath = raw, raw
		return nil
	}
	var path, canonical strings.Builder
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c != '%' {
			if c <= ' ' || c == 0x7f {
				return refuse("white space or a control character in the path")
			}
			path.WriteByte(c)
			if isPathByte(c) {
				canonical.WriteByte(c)
			} else {
				writeEscaped(&canonical, c)
			}
			continue
		}
		if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
			return refuse("a malformed percent escape in the path")
		}
		c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
		i += 2
		if c == '/' {
			return refuse("an encoded slash in the path")
		}
		path.WriteByte(c)
		if isUnreserved(c) {
			canonical.WriteByte(c)
		} else {
			writeEscaped(&canonical, c)
		}
	}
	t.Path, t.RawPath = path.String(), canonical.String()
	if err := checkPath(t.Path); err != nil {
		return err
	}
	return checkNested(t.Path)
}

// plainPath reports whether s consists of harmless characters only, with no
// escapes, no empty segment and no segment that begins with a dot.
func plainPath(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '/' || c == '.':
			if i > 0 && s[i-1] == '/' {
				return false
			}
		case !isUnreserved(c):
			return false
		}
	}
	return true
}

// checkPath refuses decoded paths that backends are known to read in two ways.
func checkPath(path string) error {
	if !utf8.ValidString(path) {
		return refuse("the path is not UTF-8") // also overlong encodings of "/" and "."
	}
	for _, c := range path {
		switch {
		case c == '\\': // a slash to some
			return refuse("a backslash in the path")
		case c == ';': // Java servers cut from here to the next slash, then resolve dots
			return refuse("a semicolon in the path")
		case c == '#': // some cut from here, even when it came encoded
			return refuse("a number sign in the path")
		case unicode.IsControl(c): // NUL ends a C string; CR LF ends a header
			return refuse("a control character in the path")
		}
	}
	for rest := path[1:]; ; {
		segment, after, more := strings.Cut(rest, "/")
		switch {
		case segment == "." || segment == "..":
			return refuse("a dot segment in the path")
		case segment == "" && more: // a trailing slash is not an empty segment
			return refuse("an empty segment in the path")
		}
		if !more {
			return nil
		}
		rest = after
	}
}

// checkNested decodes path again, as a backend that decodes twice does, and
// refuses it if something appears that was not there before.
func checkNested(path string) error {
	const depth = 4
	for range depth {
		slashes := strings.Count(path, "/")
		next, changed := decodeOnce(path)
		switch {
		case !changed:
			return nil
		case strings.Count(next, "/") != slashes || checkPath(next) != nil || newlyQueried(path, next):
			return refuse("a doubly encoded special character in the path")
		}
		path = next
	}
	return refuse("a path that is encoded many times over")
}

// newlyQueried reports whether decoding brought a "?" to light.
func newlyQueried(before, after string) bool {
	return strings.Count(after, "?") != strings.Count(before, "?")
}

// decodeOnce decodes well-formed percent escapes and leaves others alone.
func decodeOnce(s string) (out string, changed bool) {
	if !strings.Contains(s, "%") {
		return s, false
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
			changed = true
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String(), changed
}

// setQuery keeps the query byte for byte where that is legal.
func (t *Target) setQuery(q string) error {
	clean := true
	for i := 0; i < len(q); i++ {
		switch c := q[i]; {
		case c <= ' ' || c == 0x7f:
			return refuse("white space or a control character in the query")
		case c == '#':
			return refuse("a fragment in the request target")
		case c >= 0x80:
			clean = false
		}
	}
	if clean {
		t.RawQuery = q
		return nil
	}
	var b strings.Builder
	for i := 0; i < len(q); i++ {
		if q[i] < 0x80 {
			b.WriteByte(q[i])
		} else {
			writeEscaped(&b, q[i])
		}
	}
	t.RawQuery = b.String()
	return nil
}

// isUnreserved: RFC 3986 section 2.3.
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// isPathByte reports whether c may stand unescaped in a path: RFC 3986
// section 3.3, and the brackets that browsers leave alone.
func isPathByte(c byte) bool {
	return isUnreserved(c) || strings.IndexByte("/!$&'()*+,=:@[]", c) >= 0
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

func writeEscaped(b *strings.Builder, c byte) {
	const digits = "0123456789ABCDEF"
	b.WriteByte('%')
	b.WriteByte(digits[c>>4])
	b.WriteByte(digits[c&15])
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
