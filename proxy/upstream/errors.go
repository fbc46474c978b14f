package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"

	"sallyport/proxy/grpc"
	"sallyport/proxy/upstream/h1"
)

var (
	// ErrNoUpstream, returned by a Config.Transport, is answered with 503: there
	// is nowhere to send the request to.
	ErrNoUpstream = errors.New("no upstream is available")

	// ErrHeadersRefused, given to OnError, is an upstream's 431: what we add to a request is
	// part of what it could not take.
	ErrHeadersRefused = errors.New("the upstream answered 431: it takes no request headers of this size")

	errReserved = errors.New("the path is reserved for Sallyport's own pages")
	// ErrHeaderTooLarge, given to OnError, is a request header beyond
	// Config.MaxRequestHeader.
	ErrHeaderTooLarge = errors.New("request headers are too large")
	errBodyTooLarge   = errors.New("request body is too large")
	errUpgradeBody    = fmt.Errorf("%w for a request that switches protocols", errBodyTooLarge)
	errPaused         = errors.New("the client paused the request body for too long")
	errClientBody     = errors.New("request body could not be read from the client")
	errIdle           = h1.ErrIdle
	errTotal          = errors.New("the exchange took longer than the route allows")
)

// fail is ReverseProxy's ErrorHandler.
func (c *call) fail(_ http.ResponseWriter, _ *http.Request, err error) {
	ctx := c.r.Context()
	if c.hijacked || errors.Is(err, errServed) {
		return
	}
	if slowBody(c.w) {
		err = errPaused // every other outcome too: net/http ends the context when a read fails
	} else if errors.Is(ctx.Err(), context.Canceled) {
		// The client has gone, or the caller cut the exchange: the upstream did not fail.
		// Returning would make net/http answer with an empty 200, and a client that is
		// still there would believe it.
		c.abort()
		return
	}
	if c.expired != nil && c.expired.Load() {
		err = errTotal // however it was felt
	}
	status := statusOf(err)
	if status == http.StatusServiceUnavailable {
		c.w.Header().Set("Retry-After", "1")
	}
	if status >= 500 {
		c.f.log.LogAttrs(ctx, slog.LevelWarn, "upstream request failed", slog.String("route", c.fr.Route.Name),
			slog.String("upstream", c.at()), slog.Int("status", status), slog.Any("error", err))
	}
	c.closeIfUnread()
	c.f.refuse(c.w, c.r, c.fr, status, err)
}

// refuse answers instead of the tool.
func (f *Forwarder) refuse(w http.ResponseWriter, r *http.Request, fr *ForwardRequest, status int, err error) {
	if fr.AllowedOrigin != "" {
		Readable(w.Header(), fr.AllowedOrigin)
	}
	key := limitOf(err)
	if key != "" && key != "total_timeout" { // which its timer has told of
		f.exceeded(fr, key, asked(r, key))
	}
	f.onError(w, r, status, &NotForwarded{fr.Route, key, err})
}

// NotForwarded is the error that OnError gets.
type NotForwarded struct {
	Route *Route
	Limit string // the Key of the Limit that was exceeded; "": none
	Err   error
}

func (e *NotForwarded) Error() string { return e.Err.Error() }
func (e *NotForwarded) Unwrap() error { return e.Err }

// slowBody reports whether the server in front gave up waiting for the rest of the
// request body: proxy/edge's ResponseWriter says so. Its client is still there, and wants
// an answer.
func slowBody(w http.ResponseWriter) bool {
	for {
		switch v := w.(type) {
		case interface{ SlowBody() bool }:
			return v.SlowBody()
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return false
		}
	}
}

// abort ends the client's connection or stream, if there is a server to do it.
func (c *call) abort() {
	if c.r.Context().Value(http.ServerContextKey) != nil {
		panic(http.ErrAbortHandler)
	}
}

// statusOf says what a failure to forward means to the client.
func statusOf(err error) int {
	switch {
	case errors.Is(err, errBodyTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, errPaused):
		return http.StatusRequestTimeout
	case errors.Is(err, errClientBody):
		return http.StatusBadRequest
	case errors.Is(err, ErrNoUpstream):
		return http.StatusServiceUnavailable
	case errors.Is(err, errTotal), errors.Is(err, errDeadline), errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// HungUp reports whether err is an upstream that closed the connection before it
// answered.
func HungUp(err error) bool {
	return hungUp(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func plainError(w http.ResponseWriter, r *http.Request, status int, _ error) {
	if grpc.IsCall(r) {
		grpc.Refuse(w, r, http.StatusOK, grpc.CodeOf(status), http.StatusText(status))
		return
	}
	http.Error(w, http.StatusText(status), status)
}
