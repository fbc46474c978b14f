package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// requestBody bounds a request body and separates the client's failures from the
// upstream's.
type requestBody struct {
	io.ReadCloser
	left    int64       // bytes; negative is unlimited
	touched atomic.Bool // something was asked of the client for it
	ended   atomic.Bool // read to the end
	mu      sync.Mutex  // held while reading
	over    atomic.Bool // no further reads
	ending  sync.Mutex  // held by end

	// How a read that waits for the client is woken: an HTTP/2 body is closed, the
	// connection of a full-duplex HTTP/1.1 exchange gets a deadline. Both may be nil.
	inbound io.Closer
	conn    *http.ResponseController
}

// lingering is how long a client that is still sending when it has its answer may
// go on (up to a quarter of a megabyte, which net/http reads) before the connection
// is closed. Closed at once, the reset might overtake the answer.
const lingering = 5 * time.Second

// end stops reading and waits for readers to return, so that net/http finds the
// connection as quiet as it expects it when a handler returns. If a goroutine reads the
// end of the body at that moment (full duplex), net/http waits for the client to send
// more, which may never happen.
func (b *requestBody) end(rc *http.ResponseController) {
	b.ending.Lock()
	defer b.ending.Unlock()
	if b.over.Swap(true) {
		return // another call has waited already; the connection may be the next request's by now
	}
	rc.SetReadDeadline(time.Unix(1, 0))
	b.mu.Lock()
	defer b.mu.Unlock()
	rc.SetReadDeadline(time.Now().Add(lingering)) // the real clock: it is the kernel's
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.touched.Store(true)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over.Load() {
		return 0, errClientBody
	}
	// One byte more than allowed is asked for, so that a body of exactly the
	// limit is told from a longer one.
	if b.left >= 0 && int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left >= 0 {
		if int64(n) > b.left {
			n = int(b.left)
			b.left = 0
			return n, errBodyTooLarge
		}
		b.left -= int64(n)
	}
	if err == io.EOF {
		b.ended.Store(true)
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", errClientBody, err)
	}
	return n, err
}

// Close leaves an unread body alone: net/http closes it when it finds no connection, and
// another upstream can still use it. ReverseProxy ensures that nothing is read once the
// request is over.
//
// Close wakes a read that waits for the client. ReverseProxy closes the body of an answer
// before it sends the trailers; an HTTP/2 transport waits there for the reader of the
// request, which would last until a client speaks that waits for the end of its call.
func (b *requestBody) Close() error {
	switch {
	case !b.touched.Load():
		return nil
	case b.ended.Load():
	case b.inbound != nil:
		b.over.Store(true)
		b.inbound.Close()
	case b.conn != nil:
		b.end(b.conn)
	}
	return b.ReadCloser.Close()
}

// watch closes the body of res when it has been silent for the route's idle timeout, and
// reports the end of ctx as what it is. The body of a 101 answer is a connection and
// remains one; there, sending counts as a sign of life too.
func (c *call) watch(ctx context.Context, res *http.Response) {
	idle := c.fr.Route.timeouts.Idle
	if res.Body == http.NoBody {
		return
	}
	b := &watchedBody{ReadCloser: res.Body, ctx: ctx, idle: idle, res: res, f: c.f, fr: c.fr}
	if idle > 0 {
		b.timer = time.AfterFunc(idle, b.expire)
	}
	res.Body = b
	if res.StatusCode != http.StatusSwitchingProtocols {
		return
	}
	if conn, ok := b.ReadCloser.(io.ReadWriteCloser); ok {
		res.Body = &watchedConn{b, conn}
	}
}

type watchedBody struct {
	io.ReadCloser
	ctx     context.Context
	idle    time.Duration
	timer   *time.Timer // nil: no limit
	expired atomic.Bool
	res     *http.Response
	f       *Forwarder
	fr      *ForwardRequest // not call: the timer may outlive it
}

func (b *watchedBody) expire() {
	b.expired.Store(true)
	b.f.exceeded(b.fr, "idle_timeout", 0)
	b.ReadCloser.Close()
}

func (b *watchedBody) alive() {
	if b.timer != nil && !b.expired.Load() {
		b.timer.Reset(b.idle)
	}
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && err == nil {
		b.alive()
	}
	return n, b.explain(err)
}

func (b *watchedBody) explain(err error) error {
	switch {
	case err == nil || err == io.EOF:
		return err
	case b.expired.Load():
		return errIdle
	case b.ctx.Err() != nil:
		return context.Canceled // ReverseProxy is silent about this one
	}
	return err
}

func (b *watchedBody) Close() error {
	if b.timer != nil {
		b.timer.Stop()
	}
	err := b.ReadCloser.Close()
	withhold(b.res.Trailer) // ReverseProxy sends them next, those too that were not announced
	return err
}

// watchedConn is the body of a 101 answer.
type watchedConn struct {
	*watchedBody
	conn io.ReadWriteCloser
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.conn.Write(p)
	if n > 0 {
		c.alive()
	}
	return n, c.explain(err)
}

// CloseWrite passes the end of the client's half on, so that the upstream can
// finish its own.
func (c *watchedConn) CloseWrite() error {
	if cw, ok := c.conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return c.conn.Close()
}
