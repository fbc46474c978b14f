package proxy

import (
	"slices"

	"sallyport/authn"
)

// SentGroups selects which of a person's groups a tool gets, in the header and in the
// assertion. The zero value selects none.
type SentGroups struct {
	All   bool
	Named []string // exact names
}

// maxGroupBytes bounds the names in one request. Two hundred groups are 5 KB of header
// and 8 KB of assertion; Node.js, among others, refuses a request header of 16 KB.
const maxGroupBytes = 4 << 10

// of returns the selected groups in order, and how many did not fit.
func (s *SentGroups) of(groups []string) (told []string, left int) {
	size := 0
	for i, name := range groups {
		switch {
		case !s.All && !slices.Contains(s.Named, name):
		case size+len(name)+1 > maxGroupBytes:
			left++
		case len(told) == i: // all so far are selected: nothing is copied
			size, told = size+len(name)+1, groups[:i+1:i+1]
		default:
			size, told = size+len(name)+1, append(told, name)
		}
	}
	return told, left
}

// told is s with only the groups that the route's tool may know.
func (g *Gate) told(v *Verdict, sent *SentGroups) *authn.Session {
	groups, left := sent.of(v.Session.Person.Groups)
	if left > 0 && allowOnce(&g.warnedGroups, g.cfg.Now()) {
		g.cfg.Logger.Warn("not all groups fit into the headers for a tool", "route", v.Route.Name, "user", v.Session.Person.Email,
			"sent", len(groups), "left_out", left, "bytes", maxGroupBytes)
	}
	if len(groups) == len(v.Session.Person.Groups) {
		return &v.Session
	}
	s := v.Session
	s.Person.Groups = groups
	return &s
}
