package main

import (
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"sallyport/proxy/portal"
	"sallyport/proxy/upstream"
)

// tooLarge is what the server in front refuses before the gate has the request, by status: the
// key of the limit, and what the client can do. Which key it is and what it says is for the log:
// these clients may be strangers.
var tooLarge = map[int]struct{ limit, text string }{
	http.StatusRequestURITooLong:           {"url_bytes", "The address is longer than is accepted here. A program that asks for much can often send it by POST, in the body. If a page brought you here, tell your operations team."},
	http.StatusRequestHeaderFieldsTooLarge: {"header_lines", "The request has more header fields than are accepted here. Delete the cookies of this site in your browser, then try again."},
	http.StatusServiceUnavailable:          {"requests", "Wait a moment, then try again. If it goes on, tell your operations team."},
}

// overLimit answers what the server in front refuses.
func (a *app) overLimit(w http.ResponseWriter, r *http.Request, status int, message string) {
	f := portal.Refusal{Status: status, Code: "refused", Title: message, Text: []string{"The request cannot be served."}}
	if why, ok := tooLarge[status]; ok {
		f.Text = []string{why.text}
		a.observer.Exceeded.WithLabelValues(why.limit).Inc()
		if a.limitsLogged.may(status, time.Now()) {
			a.logger.Warn("limit exceeded", "limit", "limits."+why.limit, "url_bytes", len(r.RequestURI), "host", r.Host, "peer", r.RemoteAddr)
		}
	}
	a.gate.Refuse(w, r, f)
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

// everyMinute lets one line a minute through for each status: strangers can bring these about.
type everyMinute struct{ uri, header, busy atomic.Int64 }

func (m *everyMinute) may(status int, now time.Time) bool {
	last := &m.busy
	switch status {
	case http.StatusRequestURITooLong:
		last = &m.uri
	case http.StatusRequestHeaderFieldsTooLarge:
		last = &m.header
	}
	before := last.Load()
	return now.Unix()-before >= 60 && last.CompareAndSwap(before, now.Unix())
}
