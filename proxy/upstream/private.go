package upstream

import (
	"net/http"
	"slices"
	"strings"
)

// This file marks every forwarded answer as private. An answer here was made for one
// person. A cache in front that stores by file extension, or because the tool said
// "public", would give it to the next one, who may not even be signed in. So every answer
// says so, in the words of RFC 9111 and in those that CDNs obey before them. A stream
// that is no HTTP answer (101, gRPC) stays unchanged: no cache stores it.

// Values that many answers share; they are never written to.
var (
	justPrivate = []string{"private"}
	justNoStore = []string{"no-store"}
	justCookie  = []string{"Cookie"}
	justOrigin  = []string{"Origin"}
)

// keepPrivate says in h that shared caches may not store the answer.
func keepPrivate(h http.Header) {
	h["Cdn-Cache-Control"] = justNoStore // RFC 9213; withhold has removed the tool's own
	switch lines := h["Cache-Control"]; {
	case len(lines) == 0:
		h["Cache-Control"] = justPrivate
	case len(lines) == 1 && (lines[0] == "no-store" || lines[0] == "private"):
	default:
		h["Cache-Control"] = []string{privately(lines)}
	}
	vary(h, "Cookie", justCookie)
}

// privately returns the directives of Cache-Control without those that let a shared
// cache store the answer, and with private unless no cache may store it at all.
//
// private="Set-Cookie" is about one field and leaves the rest to all. A cache that knows
// must-understand ignores the no-store beside it (RFC 9111 section 5.2.2.3), so that it
// does not count.
func privately(lines []string) string {
	var kept []string
	private, noStore, understand := false, false, false
	for _, line := range lines {
		list, closed := splitList(line)
		if !closed {
			return "private"
		}
		for _, directive := range list {
			name, _, argument := strings.Cut(directive, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "", "public", "s-maxage", "proxy-revalidate":
				continue
			case "private":
				private = private || !argument
				if argument {
					continue
				}
			case "no-store":
				noStore = noStore || !argument
			case "must-understand":
				understand = true
			}
			kept = append(kept, directive)
		}
	}
	if !private && (!noStore || understand) {
		kept = append(kept, "private")
	}
	return strings.Join(kept, ", ")
}

// splitList splits a list of a header at its commas, but for those in quoted strings. A
// string that is not closed can be read in two ways, and is not read here.
func splitList(line string) (list []string, closed bool) {
	quoted, begin := false, 0
	add := func(end int) {
		if item := strings.TrimSpace(line[begin:end]); item != "" {
			list = append(list, item)
		}
		begin = end + 1
	}
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ',' && !quoted:
			add(i)
		}
	}
	add(len(line))
	return list, !quoted
}

// vary adds a request header to Vary; only is the list that has it alone.
func vary(h http.Header, name string, only []string) {
	lines := h["Vary"]
	if len(lines) == 0 {
		h["Vary"] = only
		return
	}
	for _, line := range lines {
		for word := range strings.SplitSeq(line, ",") {
			if word = strings.TrimSpace(word); word == "*" || strings.EqualFold(word, name) {
				return
			}
		}
	}
	h["Vary"] = append(slices.Clip(lines), name)
}
