package proxy

import (
	"net/http"
	"time"

	"sallyport/proxy/edge"
	"sallyport/proxy/portal"
)

// bounds are what one session may cause before it is counted, or has to wait: people stay far below
// them, and whoever has their cookie and a loop must not fill the disk.
type bounds struct {
	refusals *edge.Limiter[string] // that are a line each in the audit log
	calls    *edge.Limiter[string] // of different JSON-RPC methods, which are a line each too

	reviewing chan struct{} // places for those who look at a session that changed
}

func newBounds(now func() time.Time) (b bounds, err error) {
	if b.refusals, err = edge.NewLimiter[string](edge.LimiterConfig{Every: time.Second, Burst: 60, Now: now}); err != nil {
		return b, err
	}
	b.reviewing = make(chan struct{}, reviewsAtOnce)
	b.calls, err = edge.NewLimiter[string](edge.LimiterConfig{Every: time.Second / 2, Burst: 600, Now: now})
	return b, err
}

// crowded answers a request of a session that has too much open, this one included: one person, or
// whoever has their cookie, must not take every stream there is. It is asked after the stream was opened: of
// requests that come at once, none could see the others before.
func (g *Gate) crowded(w http.ResponseWriter, r *http.Request, v *Verdict) bool {
	if g.SessionStreams == 0 || g.Streams.SessionCount(v.Session.ID) <= g.SessionStreams {
		return false
	}
	v.forwarding = false // nothing was
	g.tooMuch(w, r, portal.Refusal{Code: "too_many_streams", Title: "Too much is open at once",
		Text: []string{"Close some of the windows in which you use your tools, then try again."}})
	return true
}

// tooMuch answers what one session may not have more of.
func (g *Gate) tooMuch(w http.ResponseWriter, r *http.Request, f portal.Refusal) {
	f.Status, f.Link = http.StatusTooManyRequests, portal.YourTools
	w.Header().Set("Retry-After", "5")
	g.Pages.Refuse(w, r, f)
}
