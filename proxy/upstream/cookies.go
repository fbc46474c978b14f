package upstream

import (
	"net/http"
	"slices"
	"strings"
)

// ownCookies are the names of our own cookies, folded by cookieKey. They never reach an
// upstream (a reader of one could act as the user), and no upstream may set one (it would
// choose the session of its users, or end it).
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

// cookieKey folds spellings that some programs confuse: case, and the prefixes that bind
// a name to https or to HTTP (RFC 6265bis section 4.1.3).
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

// stripResponse removes Set-Cookie headers for our names, in place, and keeps what is
// left to the host that set it. A cookie with a Domain is sent to every host below, the
// sign-in host and the other tools among them: it shadows theirs, and enough of it evicts
// ours. domain is what the route may use all the same.
func (o ownCookies) stripResponse(h http.Header, domain string) {
	lines, ok := h["Set-Cookie"]
	if !ok {
		return
	}
	kept := slices.DeleteFunc(lines, o.set)
	if len(kept) == 0 {
		delete(h, "Set-Cookie")
		return
	}
	for i, line := range kept {
		kept[i] = keptToHost(line, domain)
	}
	h["Set-Cookie"] = kept
}

// keptToHost returns a Set-Cookie line without Domain attributes other than the one
// allowed. As browsers do (RFC 6265bis section 5.6), it knows no quotes: every ";" begins
// an attribute.
func keptToHost(line, allowed string) string {
	pair, rest, more := strings.Cut(line, ";")
	if !more || !strings.Contains(strings.ToLower(rest), "domain") {
		return line
	}
	var b strings.Builder
	b.WriteString(pair)
	for more {
		var attribute string
		attribute, rest, more = strings.Cut(rest, ";")
		name, value, _ := strings.Cut(attribute, "=")
		if strings.EqualFold(strings.Trim(name, " \t"), "domain") {
			value = strings.ToLower(strings.TrimPrefix(strings.Trim(value, " \t"), "."))
			if allowed == "" || value != allowed {
				continue
			}
		}
		b.WriteByte(';')
		b.WriteString(attribute)
	}
	return b.String()
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
