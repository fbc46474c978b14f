package app

import (
	"log/slog"
	"net/http"
	"time"

	"sallyport/proxy/edge"
	"sallyport/proxy/observe"
	"sallyport/proxy/portal"
	"sallyport/proxy/streams"
	"sallyport/proxy/upstream"
)

// tooLarge is what the server in front refuses before the gate has the request, by
// status: the key of the limit, and what the client can do. Which key it is and what it
// says is for the log: these clients may be strangers.
var tooLarge = map[int]struct{ limit, text string }{
	http.StatusRequestURITooLong:           {"url_bytes", "The address is longer than is accepted here. A program that asks for much can often send it by POST, in the body. If a page brought you here, tell your operations team."},
	http.StatusRequestHeaderFieldsTooLarge: {"header_lines", "The request has more header fields than are accepted here. Delete the cookies of this site in your browser, then try again."},
	http.StatusServiceUnavailable:          {"requests", "There is more to do at once than can be served. Wait a moment, then try again. If it goes on, tell your operations team."},
}

// limitLog counts and logs that a limit was exceeded.
type limitLog struct {
	observer *observe.Observer
	logger   *slog.Logger
}

// keyless says what was exceeded where the configuration has no key for it. Memory is
// that of the machine, the control group or GOMEMLIMIT.
var keyless = map[string]string{
	"memory":        "the memory that this process may use",
	"form_bytes":    "fixed: 16 KB of a form of Sallyport's pages, 80 KB of the answer of a passkey",
	"http2_streams": "fixed: 128 streams of one HTTP/2 connection",
}

// exceeded counts and logs one time.
func (l limitLog) exceeded(limit string, attrs ...slog.Attr) {
	key, ok := keyless[limit]
	if !ok {
		key = "limits." + limit
	}
	l.observer.Exceed(l.logger, limit, "", func() []slog.Attr { return append([]slog.Attr{slog.String("limit", key)}, attrs...) })
}

// overLimit answers what the server in front refuses.
func (f *front) overLimit(w http.ResponseWriter, r *http.Request, status int, message string) {
	page := portal.Refusal{Status: status, Code: "refused", Title: message, Text: []string{"The request cannot be served."}}
	if why, ok := tooLarge[status]; ok {
		page.Text = []string{why.text}
		switch {
		case edge.ShortOfMemory(w):
			why.limit = "memory"
		case edge.LargeHeader(w):
			why.limit, page.Text = "header_bytes", []string{"The request headers are larger than is accepted here. Delete the cookies of this site in your browser, then try again."}
		}
		f.limits.exceeded(why.limit, slog.Int("url_bytes", len(r.RequestURI)), slog.String("host", r.Host), slog.String("peer", r.RemoteAddr))
	}
	f.gate.Refuse(w, r, page)
}

// streamCut counts streams that were ended by an order.
func (l limitLog) streamCut(_ streams.Kind, why streams.Reason, took time.Duration) {
	l.observer.Closed.Observe(took.Seconds())
	switch why {
	case streams.TooLarge:
		l.exceeded("message_bytes", slog.String("reason", why.String()))
	case streams.TooMuch:
		l.exceeded("inspected_bytes", slog.String("reason", why.String()))
	case streams.Slow, streams.NotTaken:
		l.exceeded("message_time", slog.String("reason", why.String()))
	}
}

// ofRoute counts requests that the forwarder refuses, or ends, for a limit.
func (l limitLog) ofRoute(x *upstream.Limit) {
	l.observer.Exceed(l.logger, x.Key, x.Route.Name, x.Attrs)
}
