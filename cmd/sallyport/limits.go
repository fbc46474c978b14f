package main

import (
	"errors"
	"net/http"
	"time"

	"sallyport/proxy/edge"
	"sallyport/proxy/portal"
	"sallyport/proxy/streams"
	"sallyport/proxy/upstream"
)

// tooLarge is what the server in front refuses before the gate has the request, by status: the
// key of the limit, and what the client can do. Which key it is and what it says is for the log:
// these clients may be strangers.
var tooLarge = map[int]struct{ limit, text string }{
	http.StatusRequestURITooLong:           {"url_bytes", "The address is longer than is accepted here. A program that asks for much can often send it by POST, in the body. If a page brought you here, tell your operations team."},
	http.StatusRequestHeaderFieldsTooLarge: {"header_lines", "The request has more header fields than are accepted here. Delete the cookies of this site in your browser, then try again."},
	http.StatusServiceUnavailable:          {"requests", "There is more to do at once than can be served. Wait a moment, then try again. If it goes on, tell your operations team."},
}

// overLimit answers what the server in front refuses.
func (a *app) overLimit(w http.ResponseWriter, r *http.Request, status int, message string) {
	f := portal.Refusal{Status: status, Code: "refused", Title: message, Text: []string{"The request cannot be served."}}
	if why, ok := tooLarge[status]; ok {
		f.Text = []string{why.text}
		switch {
		case edge.ShortOfMemory(w):
			why.limit = "memory"
		case edge.LargeHeader(w):
			why.limit, f.Text = "header_bytes", []string{"The request headers are larger than is accepted here. Delete the cookies of this site in your browser, then try again."}
		}
		a.exceeded(why.limit, "url_bytes", len(r.RequestURI), "host", r.Host, "peer", r.RemoteAddr)
	}
	a.gate.Refuse(w, r, f)
}

// exceeded counts and logs that a limit was exceeded. Memory is that of the machine, the control group or
// GOMEMLIMIT, and no key.
func (a *app) exceeded(limit string, attrs ...any) {
	a.observer.Exceed(limit, func() {
		key := "limits." + limit
		if limit == "memory" {
			key = "the memory that this process may use"
		}
		a.logger.Warn("limit exceeded", append([]any{"limit", key}, attrs...)...)
	})
}

// streamCut is told of streams that were ended by an order.
func (a *app) streamCut(_ streams.Kind, why streams.Reason, took time.Duration) {
	a.observer.Closed.Observe(took.Seconds())
	switch why {
	case streams.TooLarge:
		a.exceeded("message_bytes", "reason", why.String())
	case streams.TooMuch:
		a.exceeded("inspected_bytes", "reason", why.String())
	case streams.Slow, streams.NotTaken:
		a.exceeded("message_time", "reason", why.String())
	}
}

// notForwarded counts what the forwarder refuses for its size.
func (a *app) notForwarded(next func(http.ResponseWriter, *http.Request, int, error)) func(http.ResponseWriter, *http.Request, int, error) {
	return func(w http.ResponseWriter, r *http.Request, status int, err error) {
		switch {
		case status == http.StatusRequestEntityTooLarge:
			a.observer.Exceeded.WithLabelValues("body_bytes").Inc()
		case errors.Is(err, upstream.ErrHeaderTooLarge):
			a.observer.Exceeded.WithLabelValues("header_bytes").Inc()
		}
		next(w, r, status, err)
	}
}
