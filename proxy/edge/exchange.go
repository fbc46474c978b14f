package edge

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// exchange is one request and its answer: the [http.ResponseWriter] that the handler
// gets, with the pace of the client measured in both directions. It is never reused. A
// transport may read a request body after the handler has returned, and must not meet the
// next client's there.
type exchange struct {
	http.ResponseWriter
	server  *Server
	request *http.Request // with a paced body
	native  deadlines     // nil if w is not net/http's own
	body    *pacedBody    // nil: none
	writing stall

	// unflushed is how many bytes may still be in net/http's buffer: so few that writing
	// them has not touched the network.
	unflushed int
	headed    bool // the final header is out
	forwarded bool // it is a tool's

	largeHeader bool // the request was refused because its header has too many bytes

	// Counted as slow. A second cut may follow if the timer of the next read or write
	// started before the first was noticed; the request counts once.
	slowBody, slowReader atomic.Bool

	mu       sync.Mutex
	done     bool // the handler has returned, or has detached the connection
	detached bool

	hijacked  bool
	streaming bool
	slot      slot
}

// deadlines is implemented by net/http's ResponseWriters below [http.ResponseController].
type deadlines interface {
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// netBuffer is less than net/http buffers of an answer (2048 bytes in HTTP/1, 4096 in
// HTTP/2): up to there Write cannot block.
const netBuffer = 2000

func newExchange(s *Server, w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{ResponseWriter: w, server: s, request: r}
	x.native, _ = w.(deadlines)
	if x.native == nil {
		return x
	}
	x.writing = stall{pace: s.config.Pace, left: s.config.Pace.Patience, cut: x.cutWrite}
	if r.Body != nil && r.Body != http.NoBody {
		x.body = &pacedBody{ReadCloser: r.Body, x: x}
		x.body.reading = stall{pace: s.config.Pace, left: s.config.Pace.Patience, cut: x.cutRead}
		if info, ok := r.Context().Value(connInfoKey{}).(*connInfo); ok && info.h2 != nil {
			x.body.reading.held = info.h2.window.held
		}
		// net/http looks at its own request's body to learn what was left unread: whether
		// it has to wait before it closes, so that no reset overtakes the answer, and
		// whether the client still waits for a 100. So the paced body is in a copy.
		x.request = r.WithContext(r.Context())
		x.request.Body = x.body
	}
	return x
}

// past is a deadline in the past: net/http acts on it at once.
var past = time.Unix(1, 0)

func (x *exchange) cutRead() {
	if !x.slowBody.Swap(true) {
		x.server.counts.slowBodies.Add(1)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	// A transport may still read when the handler has returned. In HTTP/1 net/http waits
	// for it, and must be unblocked; in HTTP/2 it does not, and the ResponseWriter is
	// gone. It is also gone after the connection was detached.
	if !x.detached && (!x.done || x.request.ProtoMajor == 1) {
		x.native.SetReadDeadline(past)
	}
}

// SlowBody reports whether the server has stopped waiting for the rest of the body.
func (x *exchange) SlowBody() bool { return x.slowBody.Load() }

func (x *exchange) cutWrite() {
	if !x.slowReader.Swap(true) {
		x.server.counts.slowReaders.Add(1)
	}
	x.deadline(func(d deadlines) { d.SetWriteDeadline(past) })
}

// deadline sets one, unless the connection is no longer this request's.
func (x *exchange) deadline(set func(deadlines)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.done {
		set(x.native)
	}
}

// Unwrap is for [http.ResponseController].
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader derives the kind of the answer from the header.
func (x *exchange) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		x.head(status)
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) head(status int) {
	if x.headed {
		return
	}
	x.headed = true
	h := x.Header()
	if !x.forwarded {
		seal(h)
	}
	if streams(h.Get("Content-Type")) {
		x.Stream()
	}
	if status == http.StatusSwitchingProtocols {
		return
	}
	if x.server.draining.Load() || !reusable(x.request) {
		h.Set("Connection", "close") // in HTTP/2 net/http makes a GOAWAY of it
	}
	if x.body != nil && !x.streaming {
		x.body.leave(time.Now().Add(x.server.config.Pace.Patience))
	}
}

// reusable reports whether another request may follow on the connection. It may not if
// request smuggling is possible: after a chunked body in HTTP/1.1, where net/http has
// dropped any Content-Length (RFC 9112 section 6.3 requires the end of the connection
// then), and after HTTP/1.0, whose Transfer-Encoding is ignored here but maybe not by a
// proxy in front. Bytes that such a proxy took for a body are then never read as a
// request.
func reusable(r *http.Request) bool {
	return r.ProtoMajor != 1 || r.ProtoMinor > 0 && len(r.TransferEncoding) == 0
}

// streams reports whether an answer of this type may last without a limit.
func streams(contentType string) bool {
	return strings.HasPrefix(contentType, "text/event-stream") || strings.HasPrefix(contentType, "application/grpc")
}

func (x *exchange) Write(p []byte) (int, error) {
	x.head(http.StatusOK)
	if x.native == nil || x.unflushed+len(p) <= netBuffer {
		x.unflushed += len(p)
		return x.ResponseWriter.Write(p)
	}
	x.unflushed = netBuffer
	x.writing.begin(len(p))
	n, err := x.ResponseWriter.Write(p)
	x.writing.end(n)
	return n, err
}

// Flush and FlushError are for [http.ResponseController] and older interfaces.
func (x *exchange) Flush() { x.FlushError() }

func (x *exchange) FlushError() error {
	x.head(http.StatusOK)
	if x.native != nil {
		x.writing.begin(x.unflushed)
		defer x.writing.end(x.unflushed)
	}
	x.unflushed = 0
	return http.NewResponseController(x.ResponseWriter).Flush()
}

// Hijack returns the connection without deadlines: the caller decides what is too slow.
// The request is a stream from here on.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err == nil {
		x.hijacked = true
		x.server.hijacked.Store(x, nc)
		x.Stream()
	}
	return nc, rw, err
}

// Stream exempts the request from the minimum speed of bodies, and counts it as a stream
// instead of a request. See [Stream].
func (x *exchange) Stream() {
	if x.streaming {
		return
	}
	x.streaming = true
	x.server.streams.Add(1)
	if !x.slot.toStream() {
		x.server.config.Exceeded("streams")
	}
	if x.body != nil {
		x.body.exempt.Store(true)
	}
}

func (x *exchange) admit(r *http.Request) bool {
	var ok bool
	x.slot, ok = x.server.config.Shed.enter(r)
	return ok
}

// finish runs when the handler has returned or panics.
func (x *exchange) finish() {
	if x.detached {
		return
	}
	x.leave()
	if x.hijacked || x.native == nil {
		return
	}
	x.head(http.StatusOK) // if the handler wrote nothing, net/http will
	now := time.Now()
	if x.body != nil {
		x.body.leave(now.Add(x.server.config.Pace.Patience))
	}
	// net/http writes the rest of its buffers after this. A client that reads nothing
	// must not hold the goroutine.
	x.mu.Lock()
	defer x.mu.Unlock()
	x.native.SetWriteDeadline(now.Add(min(x.writing.rest(), peerTimeout)))
	x.done = true
}

// leave releases what x holds of the server.
func (x *exchange) leave() {
	x.slot.leave()
	if x.streaming {
		x.server.streams.Add(-1)
	}
	if x.hijacked {
		x.server.hijacked.Delete(x)
	}
	x.server.handlers.Add(-1)
}

// Detach tells the server that the hijacked connection behind w outlives its handler.
// Until over is called it counts as a stream, and Drain waits for it. w must not be used
// any more.
func Detach(w http.ResponseWriter) (over func()) {
	x := exchangeOf(w)
	if x == nil || !x.hijacked {
		return func() {}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.done, x.detached = true, true // for a timer that still runs
	// A reference to x must not keep net/http's buffers alive.
	x.ResponseWriter, x.native, x.request, x.body = nil, nil, nil, nil
	return sync.OnceFunc(x.leave)
}

// ShortOfMemory reports whether the request behind w was refused because memory is short,
// and not because of the number of requests.
func ShortOfMemory(w http.ResponseWriter) bool {
	x := exchangeOf(w)
	return x != nil && x.slot.short
}

// LargeHeader reports whether the request behind w was refused because its header has too
// many bytes, and not too many lines.
func LargeHeader(w http.ResponseWriter) bool {
	x := exchangeOf(w)
	return x != nil && x.largeHeader
}

// Stream tells the server that the request behind w is a stream: its client may be silent
// for any time, and it does not count as a request in a [Shedder]. Call it only for
// requests that have been judged: until then, silent clients could exhaust the server.
//
// Answers of type text/event-stream and application/grpc, and hijacked connections, are
// streams without this call. Client-streaming gRPC calls need it.
func Stream(w http.ResponseWriter) {
	if x := exchangeOf(w); x != nil {
		x.Stream()
	}
}

// exchangeOf finds the server's own ResponseWriter beneath w; nil if there is none.
func exchangeOf(w http.ResponseWriter) *exchange {
	for {
		switch v := w.(type) {
		case *exchange:
			return v
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return nil
		}
	}
}
