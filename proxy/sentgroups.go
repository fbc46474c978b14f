package proxy

import (
	"slices"
	"sync/atomic"
	"time"

	"sallyport/authn"
)

// SentGroups says which of a person's groups a tool is told, in the header and in the
// assertion. The zero value tells none.
type SentGroups struct {
	All   bool
	Named []string // exact names
}

// maxGroupBytes bounds the names in one request. Two hundred groups are 5 KB of header and
// 8 KB of assertion, and Node.js, among others, refuses a request header of 16 KB.
const maxGroupBytes = 4 << 10

// of returns the groups to tell, in their order, and how many did not fit.
func (s *SentGroups) of(groups []string) (told []string, left int) {
	whole, size := 0, 0
	for _, name := range groups {
		if !s.All && !slices.Contains(s.Named, name) {
			break
		}
		if size += len(name) + 1; size > maxGroupBytes {
			break
		}
		whole++
	}
	if told = groups[:whole:whole]; whole == len(groups) {
		return told, 0
	}
	told, size = nil, 0
	for _, name := range groups {
		switch {
		case !s.All && !slices.Contains(s.Named, name):
		case size+len(name)+1 > maxGroupBytes:
			left++
		default:
			size += len(name) + 1
			told = append(told, name)
		}
	}
	return told, left
}

// told is s with the groups that the route's tool may know.
func (g *Gate) told(v *Verdict) *authn.Session {
	options := v.snapshot.Options[v.Route.Name]
	groups, left := options.Groups.of(v.Session.Person.Groups)
	if left > 0 && g.mayWarn(&g.warnedGroups) {
		g.Logger.Warn("not all groups fit into the headers for a tool", "route", v.Route.Name, "user", v.Session.Person.Email,
			"sent", len(groups), "left_out", left, "bytes", maxGroupBytes)
	}
	if len(groups) == len(v.Session.Person.Groups) {
		return &v.Session
	}
	s := v.Session
	s.Person.Groups = groups
	return &s
}

// mayWarn lets one warning a minute pass: its cause comes with each request.
func (g *Gate) mayWarn(last *atomic.Int64) bool {
	now, before := g.Now().UnixNano(), last.Load()
	return now-before >= int64(time.Minute) && last.CompareAndSwap(before, now)
}
