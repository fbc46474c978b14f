package policy

import (
	"slices"

	"sallyport/policy/internal/expr"
)

// level is how far the person of a request has proven who they are.
type level uint8

const (
	levelNone level = iota
	levelSignedIn
	levelVerified
)

func levelOf(s Session) level {
	switch s.Level {
	case "verified":
		return levelVerified
	case "signed_in":
		return levelSignedIn
	}
	return levelNone
}

// groupTraits is what the engine has to know about a group of facts. A group that is not
// listed here is known for every request, and is its own cause.
type groupTraits struct {
	cause Cause
	// from is the level from which on the group has a meaning. Below it, rules that read
	// the group do not apply: `!("ops" in user.groups)` would be true for every stranger.
	from level
	// network: an assertion made elsewhere does not answer a question about it.
	network bool
	// slow: durations in it are as good after a minute as now; it is not the clock that
	// moves them.
	slow bool
}

var groups = map[string]groupTraits{
	"ip":         {cause: CauseNetwork, network: true},
	"user":       {cause: CausePerson, from: levelSignedIn},
	"session":    {cause: CauseSession, from: levelSignedIn},
	"credential": {cause: CauseCredential, from: levelVerified},
	"seen":       {cause: CauseHistory, from: levelSignedIn, network: true},
	"travel":     {cause: CauseHistory, from: levelSignedIn, network: true},
	"address":    {cause: CauseNetwork, network: true},
	"device":     {cause: CauseDevice},
	"activity":   {cause: CauseSession, from: levelSignedIn, slow: true},
	"browser":    {cause: CauseDevice, from: levelVerified, network: true, slow: true},
	"handoff":    {cause: CauseNetwork, from: levelVerified},
	"request":    {cause: CauseRequest},
	"time":       {cause: CauseTime},
	"tls":        {cause: CauseCredential},
}

// factTraits is what differs from the group for single facts.
var factTraits = map[string]groupTraits{
	"session.verified_here":   {cause: CauseSession, from: levelSignedIn, network: true},
	"session.country_changed": {cause: CauseHistory, from: levelSignedIn, network: true},
	"session.asn_changed":     {cause: CauseHistory, from: levelSignedIn, network: true},
	"session.ua_changed":      {cause: CauseDevice, from: levelSignedIn},
	"session.tls_changed":     {cause: CauseDevice, from: levelSignedIn},
	"tls.ja4":                 {cause: CauseDevice},

	"user.devices_30d":            {cause: CauseDevice, from: levelSignedIn},
	"user.home_km":                {cause: CauseNetwork, from: levelSignedIn, network: true},
	"seen.abandoned_step_ups_24h": {cause: CauseHistory, from: levelSignedIn},
}

// perRequest are the facts outside request.*, tls.* and handoff.* that each request can
// change.
var perRequest = []string{"session.ua_changed", "session.tls_changed"}

// causeOrder is the order in which a refused person sees the causes: first what to do,
// then the cause that they are least likely to know.
var causeOrder = []Cause{CauseSignIn, CauseUnverified, CauseGrant, CauseNetwork, CauseHistory, CauseDevice, CauseCredential,
	CauseSession, CausePerson, CauseRequest, CauseTime}

// Reads is what a rule looks at, derived from its expressions.
type Reads struct {
	Facts []string `json:"facts,omitempty"` // "ip.country", in the order of the schema
	// PerRequest: a fact of the request other than its route and purpose. Such a rule is
	// evaluated for every request.
	PerRequest bool `json:"per_request,omitempty"`
	// Clock: a fact that changes with time alone.
	Clock bool `json:"clock,omitempty"`

	network bool // the question is about the network
	browser bool // and about the browser
	from    level
	causes  []Cause
}

// readsOf derives what rules do from what their programs read.
func readsOf(schema *expr.Schema, programs ...*expr.Program) Reads {
	var r Reads
	for _, p := range programs {
		if p == nil {
			continue
		}
		for _, name := range p.Reads() {
			if !slices.Contains(r.Facts, name) {
				r.Facts = append(r.Facts, name)
			}
		}
	}
	for _, name := range r.Facts {
		f, _ := schema.Lookup(name)
		traits, ok := factTraits[name]
		if !ok {
			traits, ok = groups[f.Group]
		}
		if !ok {
			traits.cause = Cause(f.Group)
		}
		r.from = max(r.from, traits.from)
		r.network = r.network || traits.network
		if !slices.Contains(r.causes, traits.cause) {
			r.causes = append(r.causes, traits.cause)
		}
		r.browser = r.browser || slices.Contains(perRequest, name)
		r.PerRequest = r.PerRequest || slices.Contains(perRequest, name) || f.Group == "tls" || f.Group == "handoff" || f.Group == "request" && name != "request.route" && name != "request.purpose"
		r.Clock = r.Clock || f.Kind == expr.Duration && !traits.slow || f.Kind == expr.Time || name == "ip.data_age_hours"
	}
	return r
}
