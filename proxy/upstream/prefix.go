package upstream

import (
	"net/http"
	"strings"
)

// A route with StripPrefix is matched and judged by the whole path; only its tool does
// not see the prefix. Where browsers act on a path that the tool sends, in redirects and
// cookies, this file adds the prefix again. It does not in bodies, Link, Content-Location
// and Refresh: a tool with absolute links in its pages has to know its prefix.

// sent is the path that the tool is asked for, as package net/url keeps it and as it is
// written.
func (fr *ForwardRequest) sent() (path, raw string) {
	path, raw = fr.Target.decoded(), fr.Target.RawPath
	if !fr.Route.strip {
		return path, raw
	}
	return fr.Route.below(path), fr.Route.below(raw)
}

// below is a path of the route without the prefix. Segments are counted, because a path
// may spell those of the prefix otherwise (%2C for a comma); none of them has an encoded
// slash.
func (r *Route) below(path string) string {
	at := 0
	for range strings.Count(r.Prefix, "/") {
		next := strings.IndexByte(path[at+1:], '/')
		if next < 0 {
			return "/"
		}
		at += 1 + next
	}
	return path[at:]
}

// emptyBelow reports whether a path of the route has an empty segment, in some reading,
// where it begins without the prefix: URL parsers read a host there.
func (r *Route) emptyBelow(target *Target) bool {
	if !r.strip {
		return false
	}
	rest := r.below(target.Path)[1:]
	for _, slash := range []string{"/", `\`, "%2F", "%252F", "%252f"} {
		if strings.HasPrefix(rest, slash) {
			return true
		}
	}
	return false
}

// toFolder sends a browser from the prefix to the folder of that name, where relative
// links of the tool's first page lead below the prefix. It reports whether it did.
func (fr *ForwardRequest) toFolder(w http.ResponseWriter, r *http.Request) bool {
	if !fr.Route.strip || fr.Target.Path != fr.Route.Prefix || r.Method != http.MethodGet && r.Method != http.MethodHead || len(r.Header["Upgrade"]) > 0 {
		return false
	}
	to := fr.Target.RawPath + "/"
	if fr.Target.RawQuery != "" {
		to += "?" + fr.Target.RawQuery
	}
	keepPrivate(w.Header())
	http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	return true
}

// restorePrefix gives what an answer says of the tool's own paths the prefix that the
// tool did not see.
func (fr *ForwardRequest) restorePrefix(h http.Header) {
	if !fr.Route.strip {
		return
	}
	for i, line := range h["Location"] {
		h["Location"][i] = fr.outside(line)
	}
	for i, line := range h["Set-Cookie"] {
		h["Set-Cookie"][i] = fr.Route.cookieOutside(line)
	}
}

// outside is a Location for browsers. A relative one stays as it is, and so does one that
// has the prefix already, as tools that read X-Forwarded-Prefix write it.
func (fr *ForwardRequest) outside(location string) string {
	origin := fr.Target.Scheme + "://" + fr.Target.Host
	path, own := strings.CutPrefix(location, origin)
	if !own {
		origin = ""
	}
	// "//evil.test" and "/\evil.test" are other hosts to browsers, and stay.
	if !strings.HasPrefix(path, "/") || len(path) > 1 && (path[1] == '/' || path[1] == '\\') {
		return location
	}
	name := path
	if end := strings.IndexAny(path, "?#"); end >= 0 {
		name = path[:end]
	}
	if under(name, fr.Route.rawPrefix) {
		return location
	}
	return origin + fr.Route.rawPrefix + path
}

// cookieOutside returns a Set-Cookie line whose Path, if it has one, is below the prefix.
// The last Path counts (RFC 6265bis section 5.6); each is written. A __Host- cookie has
// no other path than /.
func (r *Route) cookieOutside(line string) string {
	if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(strings.ToLower(strings.Trim(name, " \t")), "__host-") {
		return line
	}
	attributes := strings.Split(line, ";")
	for i, a := range attributes[1:] {
		name, path, _ := strings.Cut(a, "=")
		path = strings.Trim(path, " \t")
		if !strings.EqualFold(strings.Trim(name, " \t"), "path") || !strings.HasPrefix(path, "/") || under(path, r.rawPrefix) {
			continue
		}
		attributes[i+1] = " Path=" + r.rawPrefix + strings.TrimSuffix(path, "/")
	}
	return strings.Join(attributes, ";")
}
