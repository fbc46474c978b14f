package proxy

import (
	"net/http"

	"sallyport/authn"
	"sallyport/proxy/portal"
	"sallyport/proxy/upstream"
)

// Verified reports whether a request comes with a verified session. Such requests are
// shed last when memory is short. An error counts as no session.
func (g *Gate) Verified(r *http.Request) bool {
	from := g.current.Load().Clients.Origin(r)
	target, err := upstream.CanonicaliseBehindProxy(r, from.Scheme)
	// What a route may allow (upstream.PathForms) is refused here, with its target.
	if err != nil && target.Host == "" {
		return false
	}
	s, loaded := g.cfg.Sessions.Load(r, target.Host)
	return loaded == nil && s.Level() == authn.Verified
}

// overStreamLimit refuses a request of a session that has too many streams open, this one
// included. One person, or an attacker with their cookie, must not take all streams. It
// is called after the stream was opened, because requests that arrive at the same time
// could not see each other before.
func (g *Gate) overStreamLimit(w http.ResponseWriter, r *http.Request, v *Verdict) bool {
	if g.cfg.Streams.SessionCount(v.Session.ID) <= g.cfg.SessionStreams {
		return false
	}
	v.forwarding = false // nothing was
	g.exceeded("streams_per_session", "limits.streams_per_session", v)
	g.tooManyRequests(w, r, v, portal.Refusal{Code: "too_many_streams", Title: "Too much is open at once",
		Text: []string{"More is open at once than one session may have. Close some of the windows in which you use your tools, then try again."}})
	return true
}

// tooManyRequests answers a request that is over one of the session's limits.
func (g *Gate) tooManyRequests(w http.ResponseWriter, r *http.Request, v *Verdict, f portal.Refusal) {
	f.Status, f.Link = http.StatusTooManyRequests, portal.YourTools
	w.Header().Set("Retry-After", "5")
	g.refuse(w, r, v, f)
}
