package upstream

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

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
