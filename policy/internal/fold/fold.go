package fold

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Path is a canonical path as a tool reads it that is generous about spelling: without
// regard to case (Unicode, full folding, dotless i and accents included) and to
// compatibility forms (full width, long s, Kelvin sign), percent-decoded as often as it
// can be, each segment without parameters and without spaces and dots at its end, and
// without a slash at the end of it all. What is folded already, as nearly every path is,
// is returned as it is, and costs one look at each byte.
//
// Two paths that some tool takes for one have one folded form, as far as is written in
// policy/reference.md under Paths; the other way round need not hold.
func Path(p string) string {
	if isFolded(p) {
		return p
	}
	for range 4 {
		next, ok := decodePath(p)
		if !ok {
			break
		}
		p = next
	}
	p = strings.ReplaceAll(Text(p), `\`, "/")
	segments := strings.Split(p, "/")
	kept := segments[:0]
	for _, s := range segments {
		if s == ".." {
			kept = append(kept, s)
			continue
		}
		if at := strings.IndexAny(s, ";?#"); at >= 0 {
			s = s[:at]
		}
		s = strings.TrimSuffix(s, "::$data") // the main stream of an NTFS file
		if s = strings.TrimRight(s, ". "); s != "" {
			kept = append(kept, s)
		}
	}
	return path.Clean("/" + strings.Join(kept, "/"))
}

// isFolded reports whether folding changes nothing, for the paths that are cheap to tell.
func isFolded(p string) bool {
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' || c == '%' || c == ' ' || c == ';' || c == '?' || c == '#' || c == '\\' || c == ':':
			return false
		case c == '.' && (i+1 == len(p) || p[i+1] == '/' || p[i+1] == '.'):
			return false
		case c == '/' && i > 0 && (i+1 == len(p) || p[i-1] == '/'):
			return false
		}
	}
	return p != "" && p[0] == '/'
}

// Text folds characters and nothing of a path's structure.
func Text(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] < utf8.RuneSelf
	}
	if plain {
		return strings.ToLower(s)
	}
	s = norm.NFKD.String(cases.Fold().String(norm.NFKD.String(s)))
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Cf, r) {
			return -1 // accents, and what is not seen
		}
		return unicode.ToLower(unicode.ToUpper(r)) // dotless i is an I in capitals
	}, s)
}

// decodePath decodes well-formed escapes; false: there are none.
func decodePath(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, false
	}
	digit := func(c byte) int { return strings.IndexByte("0123456789abcdef", c|0x20) }
	var b strings.Builder
	changed := false
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && digit(s[i+1]) >= 0 && digit(s[i+2]) >= 0 {
			b.WriteByte(byte(digit(s[i+1])<<4 | digit(s[i+2])))
			i += 2
			changed = true
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String(), changed
}

// DropSuffix is a folded path without what looks like a format at its end: tools serve
// /approve under /approve.json.
func DropSuffix(folded string) string {
	last := strings.LastIndexByte(folded, '/') + 1
	if at := strings.IndexByte(folded[last:], '.'); at > 0 {
		return folded[:last+at]
	}
	return folded
}
