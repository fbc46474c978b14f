package upstream

import (
	"errors"
	"io"
	"net/http"
	"time"

	"sallyport/proxy/grpc"
)

// This file reports failures in gRPC's terms (see package grpc): failures on the way to
// the upstream, and in the middle of its answer. A gRPC client relies on the status of a
// call, and cannot explain a stream that was reset or an answer without a status.

// errDeadline marks a call that ended, in any way, when the client's deadline had passed.
// A server may reset the stream at that moment, before the client's own clock does: that
// is no failure of the upstream.
var errDeadline = errors.New("the deadline of the call has passed")

// deadlineOf is when the client's deadline for the call passes; zero is never. It starts
// later than the client's own and earlier than the upstream's.
func (f *Forwarder) deadlineOf(r *http.Request) time.Time {
	if len(r.Header["Grpc-Timeout"]) == 0 || !grpc.IsCall(r) {
		return time.Time{}
	}
	d, ok := grpc.Timeout(r)
	if !ok {
		return time.Time{}
	}
	return f.now().Add(d)
}

// late marks err if the call's time is over.
func (c *call) late(err error) error {
	if err == nil || c.deadline.IsZero() || c.f.now().Before(c.deadline) {
		return err
	}
	return errors.Join(errDeadline, err)
}

// tellCall makes the answer of a call end with a status if the upstream breaks it off. In
// gRPC-Web, whose status is a part of the body, it is broken off like others.
func (c *call) tellCall(res *http.Response) {
	if res.StatusCode == http.StatusOK && res.Body != http.NoBody && grpc.Is(res.Header, "application/grpc") && c.r.ProtoMajor == 2 && grpc.IsCall(c.r) {
		res.Body = &callBody{res.Body, c, res}
	}
}

// callBody is the body of the answer to a call.
type callBody struct {
	io.ReadCloser
	c   *call
	res *http.Response
}

func (b *callBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	code, message := grpc.Unavailable, "the tool broke off the call"
	switch {
	case b.c.expired != nil && b.c.expired.Load():
		code, message = grpc.DeadlineExceeded, errTotal.Error()
	case b.c.ctx.Err() != nil: // the client has gone, or the call was cut
		return n, err
	case errors.Is(b.c.late(err), errDeadline):
		code, message = grpc.DeadlineExceeded, errDeadline.Error()
	case errors.Is(err, errIdle):
		message = "the tool was silent for too long"
	}
	b.c.brokeOff(err)
	trailer := http.Header{}
	for name := range b.res.Trailer {
		trailer[name] = nil // announced; a forwarder counts them
	}
	grpc.SetStatus(trailer, code, message)
	b.res.Trailer = trailer
	return n, io.EOF
}
