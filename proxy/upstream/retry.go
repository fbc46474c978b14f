package upstream

import (
	"context"
	"errors"
	"net/http"
)

// exchange gets an answer to the request from one of the route's upstreams.
//
// It tries one other upstream, once, if the first provably never had the request
// (no connection, or an HTTP/2 stream that was refused) and the request is
// idempotent and can be sent again. The clients below replace a connection from an
// earlier exchange that turns out to be closed by a new one to the same upstream: for
// any request if not one byte of it was sent, and for one of a safe method if not
// one byte of an answer came back. Nothing else is ever sent twice.
func (c *call) exchange(ctx context.Context) (*http.Response, error) {
	b, err := c.pool.acquire(ctx, nil)
	if err != nil {
		return nil, err
	}
	moved := false
	for {
		c.b, c.last = b, b
		res, err := c.attempt(ctx, b)
		err = c.late(err)
		b.report(ctx, err)
		if err == nil {
			return res, nil
		}
		if moved || ctx.Err() != nil || !neverSent(err) || !c.replayable() {
			return nil, err
		}
		other, _ := c.pool.pick(b)
		if other == nil {
			return nil, err
		}
		c.release()
		b, moved = other, true
	}
}

func (c *call) attempt(ctx context.Context, b *backend) (*http.Response, error) {
	if c.out == nil {
		res, err := b.short.RoundTrip(ctx, &c.short)
		if err == nil {
			res.Request = c.r
		}
		return res, err
	}
	c.out.URL.Scheme, c.out.URL.Host = b.scheme, b.host
	if c.f.transport != nil {
		return c.f.transport(c.fr.Route).RoundTrip(c.out)
	}
	return b.roundTrip(c.out)
}

// roundTripper is what ReverseProxy sends through.
type roundTripper struct{ c *call }

func (t roundTripper) RoundTrip(out *http.Request) (*http.Response, error) {
	t.c.out = out
	return t.c.exchange(out.Context())
}

// neverSent reports whether err proves that the upstream did not see the request.
func neverSent(err error) bool {
	var dial dialError
	if errors.As(err, &dial) {
		return true
	}
	// RFC 9113 section 8.7. net/http has tried again on its own where it could.
	var refused streamError
	return errors.As(err, &refused) && refused.Code == refusedStream
}

// streamError has the shape of net/http's own error for a stream that was reset,
// which it converts to any struct with these fields.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "HTTP/2 stream was reset" }

const refusedStream = 0x7

// replayable reports whether the request may go to another upstream: its method
// is idempotent (RFC 9110 section 9.2.2) and its body, if any, is all still there.
func (c *call) replayable() bool {
	switch c.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		// The short way holds the body in memory.
		return c.outBody == nil || !c.outBody.touched.Load()
	}
	return false
}
