package upstream

import (
	"net/http"
	"slices"
	"strings"
)

// ownCookies are the names of our own cookies, folded by cookieKey. They never
// reach an upstream (whoever reads one is the user), and no upstream may set
// one (it would choose the session that its users are in, or end it).
type ownCookies struct {
	names    map[string]bool
	prefixes []string
}

// newOwnCookies takes names, and beginnings of names with a "*" after them.
func newOwnCookies(names []string) ownCookies {
	o := ownCookies{names: make(map[string]bool, len(names))}
	for _, n := range names {
		if prefix, ok := strings.CutSuffix(n, "*"); ok {
			o.prefixes = append(o.prefixes, cookieKey(prefix))
			continue
		}
		o.names[cookieKey(n)] = true
	}
	return o
}

// cookieKey folds spellings that somebody may take for one another: case, and
// the prefixes that bind a name to https or to HTTP (RFC 6265bis section 4.1.3).
func cookieKey(name string) string {
	name = strings.ToLower(strings.Trim(name, " \t"))
	for _, prefix := range []string{"__host-http-", "__host-", "__http-", "__secure-"} {
		if key, ok := strings.CutPrefix(name, prefix); ok {
			return key
		}
	}
	return name
}

func (o ownCookies) has(name string) bool {
	key := cookieKey(name)
	return o.names[key] || slices.ContainsFunc(o.prefixes, func(p string) bool { return strings.HasPrefix(key, p) })
}

// stripRequest removes our cookies from the Cookie headers of an outbound
// request, in place. Lines that hold none of them keep every byte, and so do the
// other cookies of a line that does.
func (o ownCookies) stripRequest(h http.Header) {
	lines, ok := h["Cookie"]
	if !ok {
		return
	}
	kept := lines[:0]
	for _, line := range lines {
		if o.in(line) {
			if line = o.without(line); line == "" {
				continue
			}
		}
		kept = append(kept, line)
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

// in reports whether one of our cookies is in line.
func (o ownCookies) in(line string) bool {
	for pair, rest, more := "", line, true; more; {
		pair, rest, more = strings.Cut(rest, ";")
		if name, _, _ := strings.Cut(pair, "="); o.has(name) {
			return true
		}
	}
	return false
}

// without returns line less our cookies. A cookie goes with the separator after
// it, the last one with the separator before it.
func (o ownCookies) without(line string) string {
	var b strings.Builder
	b.Grow(len(line))
	for rest, more := line, true; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, ";")
		if name, _, _ := strings.Cut(pair, "="); o.has(name) {
			continue
		}
		if b.Len() == 0 {
			pair = strings.TrimLeft(pair, " \t")
		} else {
			b.WriteByte(';')
		}
		b.WriteString(pair)
	}
	return b.String()
}

// stripResponse removes Set-Cookie headers for our names, in place.
func (o ownCookies) stripResponse(h http.Header) {
	lines, ok := h["Set-Cookie"]
	if !ok {
		return
	}
	if kept := slices.DeleteFunc(lines, o.set); len(kept) > 0 {
		h["Set-Cookie"] = kept
	} else {
		delete(h, "Set-Cookie")
	}
}

// set reports whether a Set-Cookie line would make a browser send one of our
// names. A cookie without a name counts by its value: browsers send
// "=sallyport=x" back as "sallyport=x".
func (o ownCookies) set(line string) bool {
	pair, _, _ := strings.Cut(line, ";")
	name, value, _ := strings.Cut(pair, "=")
	if strings.Trim(name, " \t") == "" {
		name, _, _ = strings.Cut(value, "=")
	}
	return o.has(name)
}
