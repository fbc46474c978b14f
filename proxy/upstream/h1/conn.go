package h1

import (
	"bufio"
	"errors"
	"math"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// conn is a connection that one goroutine at a time writes a request to and reads the
// answer from. It has no goroutines of its own, and so needs no hand-over between
// threads.
type conn struct {
	socket net.Conn
	br     *bufio.Reader // of conn
	bw     *bufio.Writer // to conn
	abort  func()        // closes socket; bound once

	limit    int64     // of an answer's header
	left     int64     // bytes that may still be read
	sent     int       // bytes of the request under way
	deadline time.Time // what is set on socket; zero is none
	used     bool      // it has carried an exchange
	since    time.Time // idle since

	raw    syscall.RawConn
	peek   func(fd uintptr) bool
	silent bool // what peek found
}

func newConn(socket net.Conn, limit int64) (*conn, error) {
	sc, ok := socket.(syscall.Conn)
	if !ok {
		return nil, errors.New("not a connection of the operating system")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{socket: socket, limit: limit, raw: raw}
	c.br, c.bw = bufio.NewReader(c), bufio.NewWriter(c)
	c.abort = func() { socket.Close() }
	c.peek = func(fd uintptr) bool {
		c.silent = peekSilent(fd)
		return true
	}
	return c, nil
}

const noLimit = math.MaxInt64

// Read is what br reads from. A server that answers without end fills no memory.
func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, ErrResponseHeader
	}
	n, err := c.socket.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// Write is what bw writes to.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.socket.Write(p)
	c.sent += n
	return n, err
}

// allow sets the deadline for what follows to d from now, zero for none. One that is up
// to a tenth later is left alone: moving it for every request costs more than being that
// exact is worth.
func (c *conn) allow(now time.Time, d time.Duration) error {
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
	return c.socket.SetDeadline(c.deadline)
}

// fit reports whether an idle connection may carry a request. A closed connection may
// not. A connection with unread bytes may not either: they would be taken for the answer
// to another person's request.
func (c *conn) fit() bool {
	c.silent = false
	return c.raw.Read(c.peek) == nil && c.silent
}

// asHead tells ReadResponse that no body follows.
var asHead = &http.Request{Method: http.MethodHead}

// receive reads one answer to r. The error is an errSilent if the connection closed
// before it said anything.
func (c *conn) receive(r *Request) (*http.Response, error) {
	c.left = c.limit
	if _, err := c.br.Peek(1); err != nil {
		return nil, errSilent{err}
	}
	var as *http.Request // any method but HEAD
	if r.Method == http.MethodHead {
		as = asHead
	}
	res, err := http.ReadResponse(c.br, as)
	if err != nil {
		return nil, err
	}
	if res.ProtoMajor != 1 {
		return nil, errVersion
	}
	res.Request = nil
	return res, nil
}

// idleConns are the unused connections, the most recently used on top: the others age,
// and are closed.
type idleConns struct {
	c *Config

	mu      sync.Mutex
	stack   []*conn
	retired bool
	sweeper *time.Timer // nil: nothing to sweep
}

func (s *idleConns) get() *conn {
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

func (s *idleConns) put(c *conn) {
	c.used = true
	c.since = s.c.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retired || len(s.stack) >= s.c.MaxIdleConns {
		c.abort()
		return
	}
	s.stack = append(s.stack, c)
	if s.sweeper == nil {
		s.sweeper = time.AfterFunc(s.c.IdleConnTimeout/3, s.sweep)
	}
}

// sweep closes connections that have been idle for too long or that the server has
// closed, and comes back while there are others.
func (s *idleConns) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.stack[:0]
	for _, c := range s.stack {
		now, longest := s.c.Now(), s.c.IdleConnTimeout
		if now.Sub(c.since) < longest && c.allow(now, longest) == nil && c.fit() {
			kept = append(kept, c)
		} else {
			c.abort()
		}
	}
	clear(s.stack[len(kept):])
	if s.stack = kept; len(kept) == 0 {
		s.sweeper = nil
		return
	}
	s.sweeper.Reset(s.c.IdleConnTimeout / 3)
}

func (s *idleConns) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
	for _, c := range s.stack {
		c.abort()
	}
	s.stack = nil
	if s.sweeper != nil {
		s.sweeper.Stop()
	}
}
