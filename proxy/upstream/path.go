package upstream

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// setPath fills Path and RawPath from the path of a request target, and notes in forms
// what only a route may allow.
func (t *Target) setPath(raw string) error {
	if !strings.HasPrefix(raw, "/") {
		return refusePath("the request target is not a path")
	}
	// Nearly every path is already canonical and is used as it stands.
	if plainPath(raw) {
		t.Path, t.RawPath = raw, raw
		return nil
	}
	canonical, err := canonicalPath(raw)
	if err != nil {
		return err
	}
	path, spread, forms := readPath(canonical)
	more, err := checkCharacters(path)
	if err != nil {
		return err
	}
	if forms |= more; more&EncodedBackslash != 0 {
		spread = strings.ReplaceAll(spread, `\`, "/") // what is a slash to some
	}
	if strings.Contains(path, "//") {
		forms |= DoubleSlash
	}
	if err := checkSegments(spread); err != nil {
		return err
	}
	if err := checkNested(spread); err != nil {
		return err
	}
	t.Path, t.RawPath, t.forms = path, canonical, forms
	if forms != 0 {
		t.joined = joinPath(spread)
	}
	return nil
}

// canonicalPath is a path as it is forwarded: unreserved characters are literal, escapes
// are in upper case, and a reserved character stays as the client wrote it. A slash that
// is encoded twice is %252F: decoded once it is an escape again, and a rule that names
// the path writes it one way.
func canonicalPath(raw string) (string, error) {
	var b strings.Builder
	b.Grow(len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '%':
			if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
				return "", refusePath("a malformed percent escape in the path")
			}
			c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
			i += 2
			if isUnreserved(c) {
				b.WriteByte(c)
			} else {
				writeEscaped(&b, c)
			}
		case c <= ' ' || c == 0x7f:
			return "", refusePath("white space or a control character in the path")
		case c == '\\': // browsers send a slash instead
			return "", refusePath("a backslash in the path")
		case c == '#': // clients cut from here
			return "", refusePath("a number sign in the path")
		case isPathByte(c):
			b.WriteByte(c)
		default:
			writeEscaped(&b, c)
		}
	}
	return strings.ReplaceAll(b.String(), "%252f", "%252F"), nil
}

// readPath decodes a canonical path. Encoded slashes stay as they are, so that two paths
// that differ in them differ in what is matched and judged too. spread is the path with
// these as slashes, for readers that decode them.
func readPath(canonical string) (path, spread string, forms PathForms) {
	const once, twice = len("%2F"), len("%252F")
	var b strings.Builder
	b.Grow(len(canonical))
	var s []byte // spread; nil: no different from b
	for i := 0; i < len(canonical); i++ {
		c, slash := canonical[i], 0
		if c == '%' {
			switch rest := canonical[i:]; {
			case strings.HasPrefix(rest, "%2F"):
				slash, forms = once, forms|EncodedSlash
			case strings.HasPrefix(rest, "%252F"):
				slash, forms = twice, forms|TwiceEncodedSlash
			default:
				c = unhex(rest[1])<<4 | unhex(rest[2])
				i += 2
			}
		}
		if slash == 0 {
			b.WriteByte(c)
			if s != nil {
				s = append(s, c)
			}
			continue
		}
		if s == nil {
			s = append(make([]byte, 0, len(canonical)), b.String()...)
		}
		s = append(s, '/')
		b.WriteString(canonical[i : i+slash])
		i += slash - 1
	}
	if path = b.String(); s == nil {
		return path, path, forms
	}
	return path, string(s), forms
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

// checkCharacters refuses characters of a decoded path that backends are known to read in
// two ways, and returns those that a route may allow.
func checkCharacters(path string) (forms PathForms, err error) {
	if !utf8.ValidString(path) {
		return 0, refusePath("the path is not UTF-8") // also overlong encodings of "/" and "."
	}
	for _, c := range path {
		switch {
		case c == '\\': // a slash to some
			forms |= EncodedBackslash
		case c == ';': // Java servers cut from here to the next slash, then resolve dots
			forms |= Semicolon
		case c == '#': // some cut from here, even when it came encoded
			forms |= EncodedHash
		case unicode.IsControl(c): // NUL ends a C string; CR LF ends a header
			return 0, refusePath("a control character in the path")
		}
	}
	return forms, nil
}

// checkSegments refuses what no route can allow, because its readings have no common
// meaning: path is decoded, and everything in it that some reader takes for a slash is
// one.
func checkSegments(path string) error {
	for rest, first := path[1:], true; ; first = false {
		segment, after, more := strings.Cut(rest, "/")
		name := segment
		if at := strings.IndexAny(segment, ";#"); at >= 0 {
			name = segment[:at]
		}
		switch {
		case name == "." || name == "..":
			return refusePath("a dot segment in the path")
		case more && first && name == "": // URL parsers take what follows // for a host: //public/admin is /admin
			return refusePath("an empty segment at the beginning of the path")
		case more && name != segment: // some readers cut to the next slash, others to the end
			return refusePath("a semicolon or a number sign before the last segment of the path")
		case !more:
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
		next, changed := decodeOnce(path)
		if !changed {
			return nil
		}
		for i := 0; i < len(special); i++ {
			if strings.Count(next, special[i:i+1]) != strings.Count(path, special[i:i+1]) {
				return refusePath("a doubly encoded special character in the path")
			}
		}
		if _, err := checkCharacters(next); err != nil || checkSegments(next) != nil {
			return refusePath("a doubly encoded special character in the path")
		}
		path = next
	}
	return refusePath("a path that is encoded many times over")
}

// special are the characters that must not come to light when a path is decoded once
// more.
const special = `/\;#?`

// joinPath is a spread path as a reader takes it that cuts parameters and joins slashes.
func joinPath(spread string) string {
	if at := strings.IndexAny(spread, ";#"); at >= 0 { // of the last segment
		spread = spread[:at]
	}
	for strings.Contains(spread, "//") {
		spread = strings.ReplaceAll(spread, "//", "/")
	}
	return spread
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
	return isUnreserved(c) || strings.IndexByte("/!$&'()*+,;=:@[]", c) >= 0
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
