package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// directConn is an HTTP/1.1 connection that one goroutine at a time writes a
// request to and reads the answer from: no goroutines of its own, and so no
// hand-over between threads for each request.
type directConn struct {
	net.Conn
	b     *backend
	br    *bufio.Reader
	bw    *bufio.Writer
	abort func() // Close, bound once

	left     int64     // bytes that may still be read: the limit of an answer's header
	deadline time.Time // what is set on Conn; zero is none
	used     bool      // it has carried an exchange
	since    time.Time // idle since

	raw    syscall.RawConn
	peek   func(fd uintptr) bool
	silent bool // what peek found
}

var errResponseHeader = errors.New("response headers are too large")

func newDirectConn(b *backend, conn net.Conn) (*directConn, error) {
	c := &directConn{Conn: conn, b: b}
	c.br, c.bw = bufio.NewReader(c), bufio.NewWriter(c)
	c.abort = func() { c.Conn.Close() }
	if counted, ok := conn.(*countedConn); ok {
		conn = counted.Conn
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil, errors.New("not a connection of the operating system")
	}
	var err error
	c.raw, err = sc.SyscallConn()
	c.peek = func(fd uintptr) bool {
		c.silent = peekSilent(fd)
		return true
	}
	return c, err
}

// Read is what br reads from. Whoever answers without end fills no memory.
func (c *directConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errResponseHeader
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// allow sets the deadline for what follows to d from now, zero for none. One that
// is up to a tenth later is left alone: moving it for every request costs more than
// being that exact is worth.
func (c *directConn) allow(now time.Time, d time.Duration) error {
	switch {
	case d <= 0 && c.deadline.IsZero():
		return nil
	case d <= 0:
		c.deadline = time.Time{}
	default:
		if ahead := c.deadline.Sub(now); ahead >= d && ahead <= d+d/10 {
			return nil
		}
		c.deadline = now.Add(d + d/10)
	}
	return c.Conn.SetDeadline(c.deadline)
}

// fit reports whether an idle connection may carry a request. One that was
// closed may not, and one that has something to say may not either: bytes that
// nobody asked for would be taken for the answer to somebody's request.
func (c *directConn) fit() bool {
	c.silent = false
	return c.raw.Read(c.peek) == nil && c.silent
}

// idleConns are the unused connections to one upstream, the most recently used
// on top: the others age, and are closed.
type idleConns struct {
	mu      sync.Mutex
	stack   []*directConn
	retired bool
	sweeper *time.Timer
}

func (s *idleConns) get() *directConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.stack)
	if n == 0 {
		return nil
	}
	c := s.stack[n-1]
	s.stack[n-1] = nil
	s.stack = s.stack[:n-1]
	return c
}

func (s *idleConns) put(c *directConn) {
	c.used = true
	c.since = c.b.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retired || len(s.stack) >= maxIdle {
		c.Conn.Close()
		return
	}
	s.stack = append(s.stack, c)
	if s.sweeper == nil {
		s.sweeper = time.AfterFunc(idleTimeout/3, s.sweep)
	}
}

// sweep closes connections that have been idle for too long or that the
// upstream has closed, and comes back while there are others.
func (s *idleConns) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.stack[:0]
	for _, c := range s.stack {
		if c.b.now().Sub(c.since) < idleTimeout && c.allow(c.b.now(), idleTimeout) == nil && c.fit() {
			kept = append(kept, c)
		} else {
			c.Conn.Close()
		}
	}
	clear(s.stack[len(kept):])
	if s.stack = kept; len(kept) == 0 {
		s.sweeper = nil
		return
	}
	s.sweeper.Reset(idleTimeout / 3)
}

func (s *idleConns) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
	for _, c := range s.stack {
		c.Conn.Close()
	}
	s.stack = nil
	if s.sweeper != nil {
		s.sweeper.Stop()
	}
}

// connect returns a connection to send a request on. fresh asks for a new one.
func (b *backend) connect(ctx context.Context, fresh bool) (*directConn, error) {
	for !fresh {
		c := b.idle.get()
		if c == nil {
			break
		}
		if c.allow(b.now(), b.key.responseHeader) == nil && c.fit() {
			return c, nil
		}
		c.Conn.Close()
	}
	conn, err := b.dial(ctx)
	if err != nil {
		return nil, err
	}
	c, err := newDirectConn(b, conn)
	if err != nil {
		conn.Close()
		return nil, dialError{err}
	}
	return c, c.allow(b.now(), b.key.responseHeader)
}

// directBody is the body of an answer. Its end gives the connection back; every
// other way to stop closes it. Close may be called at any time, by anybody.
type directBody struct {
	inner io.ReadCloser
	conn  *directConn
	ctx   context.Context
	stop  func() bool // the watch over ctx
	idle  time.Duration
	keep  bool // the connection outlives the answer
	done  bool // read to the end: the connection may be somebody else's by now
	once  sync.Once
}

func (b *directBody) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	if err := b.conn.allow(b.conn.b.now(), b.idle); err != nil {
		return 0, b.explain(err)
	}
	n, err := b.inner.Read(p)
	switch {
	case err == io.EOF:
		b.done = true
		b.once.Do(b.finish)
	case err != nil:
		err = b.explain(err)
		b.Close()
	}
	return n, err
}

func (b *directBody) explain(err error) error {
	var timeout net.Error
	switch {
	case b.ctx.Err() != nil:
		return context.Canceled
	case errors.As(err, &timeout) && timeout.Timeout():
		return errIdle
	}
	return err
}

// finish returns the connection, unless ctx has ended and may be closing it.
func (b *directBody) finish() {
	if !b.stop() || !b.keep || b.conn.br.Buffered() > 0 {
		b.conn.Conn.Close()
		return
	}
	b.conn.b.idle.put(b.conn)
}

func (b *directBody) Close() error {
	b.once.Do(func() {
		b.stop()
		b.conn.Conn.Close()
	})
	return nil
}

const noLimit = math.MaxInt64

// receive reads one answer to a request of this method. The error is errUnused
// if the connection closed before it said anything.
func (c *directConn) receive(r *http.Request) (*http.Response, error) {
	c.left = c.b.key.maxResponseHeader
	if _, err := c.br.Peek(1); err != nil {
		return nil, errSilent{err}
	}
	res, err := http.ReadResponse(c.br, r)
	if err != nil {
		return nil, err
	}
	if res.ProtoMajor != 1 {
		return nil, errors.New("upstream does not answer in HTTP/1")
	}
	return res, nil
}

// errSilent is a connection that ended before the first byte of an answer.
type errSilent struct{ error }

func (e errSilent) Unwrap() error { return e.error }
