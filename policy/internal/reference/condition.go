package reference

import (
	"slices"
	"strings"

	"sallyport/policy"
)

// Truth is how a condition comes out.
type Truth int

const (
	False   Truth = iota
	Unknown       // it cannot be evaluated
	True
)

// Condition is a condition twice: as its author writes it, and as what it means.
type Condition struct {
	Text  string
	Reads Reads
	Of    func(*policy.Facts) Truth
}

// Reads are the facts that a condition or a rule reads.
type Reads []string

func (r Rule) reads() Reads {
	if r.Unless == nil {
		return r.When.Reads
	}
	return append(slices.Clone(r.When.Reads), r.Unless.Reads...)
}

func (r Reads) any(begin ...string) bool {
	return slices.ContainsFunc(r, func(fact string) bool {
		return slices.ContainsFunc(begin, func(b string) bool { return strings.HasPrefix(fact, b) })
	})
}

// ofNetwork: a question about it is answered from this address only.
func (r Reads) ofNetwork() bool {
	return slices.ContainsFunc(r, func(fact string) bool {
		return fact != "seen.abandoned_step_ups_24h" && Reads{fact}.any("ip.", "seen.", "travel.", "address.", "browser.", "session.country_changed", "session.asn_changed", "session.verified_here", "user.home_km")
	})
}

// ofBrowser: a question about it is answered with this browser only.
func (r Reads) ofBrowser() bool { return r.any("session.ua_changed", "session.tls_changed") }

// ofRequest: it is not known between the requests of a session.
func (r Reads) ofRequest() bool {
	return r.ofBrowser() || r.any("tls.", "handoff.", "request.method", "request.host", "request.path", "request.user_agent", "request.websocket", "request.rpc_methods")
}

// is is a condition that can always be evaluated.
func is(text string, holds func(*policy.Facts) bool, reads ...string) Condition {
	return Condition{text, reads, func(f *policy.Facts) Truth {
		if holds(f) {
			return True
		}
		return False
	}}
}

// may is one that can fail.
func may(text string, holds func(*policy.Facts) (value, ok bool), reads ...string) Condition {
	return Condition{text, reads, func(f *policy.Facts) Truth {
		switch value, ok := holds(f); {
		case !ok:
			return Unknown
		case value:
			return True
		}
		return False
	}}
}

func not(a Condition) Condition {
	return Condition{"!(" + a.Text + ")", a.Reads, func(f *policy.Facts) Truth { return True - a.Of(f) }}
}

// And is that both hold.
func And(a, b Condition) Condition {
	return Condition{"(" + a.Text + " && " + b.Text + ")", append(slices.Clone(a.Reads), b.Reads...), func(f *policy.Facts) Truth { return min(a.Of(f), b.Of(f)) }}
}

func either(a, b Condition) Condition {
	return Condition{"(" + a.Text + " || " + b.Text + ")", append(slices.Clone(a.Reads), b.Reads...), func(f *policy.Facts) Truth { return max(a.Of(f), b.Of(f)) }}
}

func choose(a, b, c Condition) Condition {
	return Condition{"(" + a.Text + " ? " + b.Text + " : " + c.Text + ")", slices.Concat(a.Reads, b.Reads, c.Reads), func(f *policy.Facts) Truth {
		switch a.Of(f) {
		case True:
			return b.Of(f)
		case False:
			return c.Of(f)
		}
		return Unknown
	}}
}
