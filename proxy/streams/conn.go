package streams

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// maxQueue bounds the messages of ours that wait for the upstream to end one of its own.
const maxQueue = 64 << 10

// conn is the client's connection after an upgrade. Written is what the upstream says,
// read is what the client says.
type conn struct {
	net.Conn
	s     *Stream
	early []byte // read by the server before the upgrade; guarded by rmu

	wmu    sync.Mutex
	out    frames
	queue  []byte // whole messages of ours, for the next end of a message
	ending []byte // the close frame, for the next end of a frame; nil: no order
	over   bool   // writes have ended
	said   bool   // the client was sent a close frame

	// rmu must never be waited for while holding wmu: only the inspector takes both, rmu
	// first.
	rmu       sync.Mutex
	in        frames
	inspector *inspector
	gone      bool // the client has said its last

	broken atomic.Bool
	once   sync.Once
	err    error
}

func newConn(s *Stream, raw net.Conn, early []byte) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &conn{Conn: raw, s: s, early: early, in: frames{head: headDone}, inspector: s.inspect}
}

func (c *conn) websocket() bool { return Kind(c.s.kind.Load()) == WebSocket }

// Write sends p, any part of any of the upstream's frames, to the client. Our own frames
// go out in between as soon as a frame ends.
func (c *conn) Write(p []byte) (n int, err error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.broken.Load() {
		return 0, net.ErrClosed
	}
	for {
		c.ours()
		if c.over {
			if c.said {
				c.s.done()
			}
			return n, c.reason()
		}
		part := p[n:]
		if len(part) == 0 {
			return n, nil
		}
		if c.ending != nil || len(c.queue) > 0 {
			probe := c.out
			part = part[:probe.next(part)]
		}
		m, err := c.Conn.Write(part)
		c.out.all(part[:m])
		n += m
		if err != nil {
			c.over = true
			return n, err
		}
	}
}

// ours writes what waits for this point of the stream. wmu is held.
func (c *conn) ours() {
	switch {
	case c.over:
	case c.ending != nil && c.out.boundary():
		c.over = true
		if !c.out.closed { // nothing may follow the upstream's own close frame
			if _, err := c.Conn.Write(c.ending); err != nil {
				return // the client does not read: it is broken off
			}
		}
		c.said = true
	case c.ending == nil && len(c.queue) > 0 && c.out.between() && !c.out.closed:
		if _, err := c.Conn.Write(c.queue); err != nil {
			c.over = true
		}
		c.queue = nil
	}
}

// send sends one message of ours. It reports whether that is possible.
func (c *conn) send(frame []byte) bool {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if len(c.queue)+len(frame) > maxQueue && len(c.queue) > 0 {
		return false
	}
	c.queue = append(c.queue, frame...)
	c.ours()
	return !c.over
}

func (c *conn) reason() error {
	if o := c.s.order.Load(); o != nil {
		return o
	}
	return net.ErrClosed
}

// Read returns what the client says. After an order that is nothing: it is read and
// thrown away, so that the close frame is not lost to a reset, until the client has
// answered it.
func (c *conn) Read(p []byte) (int, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.s.order.Load() == nil {
		n, err := c.receive(p)
		if c.s.order.Load() == nil {
			return n, err
		}
	}
	c.drain(p)
	c.s.mu.Lock()
	all := c.s.peers
	c.s.mu.Unlock()
	all.wait() // closing the connections of clients that hang up at once must not delay telling others
	return 0, c.reason()
}

// receive reads data that may go on to the upstream.
func (c *conn) receive(p []byte) (int, error) {
	if c.inspector != nil && c.websocket() {
		return c.inspector.read(c, p)
	}
	return c.raw(p)
}

// raw reads from the client.
func (c *conn) raw(p []byte) (n int, err error) {
	if len(c.early) > 0 {
		n = copy(p, c.early)
		c.early = c.early[n:]
	} else {
		n, err = c.Conn.Read(p)
	}
	c.in.all(p[:n])
	if err != nil || c.in.closed {
		c.gone = true
	}
	return n, err
}

// drain reads until the client has answered the close frame, left, or the read deadline
// is over. The data is discarded.
func (c *conn) drain(p []byte) {
	if len(p) == 0 {
		p = make([]byte, 512)
	}
	for !c.gone && !c.broken.Load() && c.websocket() {
		c.raw(p)
	}
}

// cut carries out the order: at once between two frames, otherwise Write does it.
func (c *conn) cut(o *Cut) (waits bool, last func()) {
	if !c.websocket() {
		c.breakOff()
		c.s.done()
		return false, nil
	}
	c.say(o)
	over, said := c.over, c.said
	c.wmu.Unlock()
	switch {
	case said:
		c.s.observe()
		return false, c.s.done
	case over: // there is no way to say it
		c.breakOff()
		c.s.done()
	}
	return !over, nil
}

// say has the close frame written now, or at the end of a frame. It returns with wmu
// held.
func (c *conn) say(o *Cut) {
	if !c.wmu.TryLock() {
		c.Conn.SetWriteDeadline(c.s.reg.patience(false)) // for the write that has the lock
		c.wmu.Lock()
	}
	c.Conn.SetWriteDeadline(c.s.reg.patience(true))
	c.ending = o.Reason.closeFrame()
	c.ours()
}

func (c *conn) quick() bool { return false }
func (c *conn) idle() bool  { return false }

func (c *conn) breakOff() {
	c.broken.Store(true)
	c.close()
}

// Close closes the connection. After a close frame it waits for the client's.
func (c *conn) Close() error {
	if o := c.s.order.Load(); o != nil && !c.broken.Load() && c.websocket() && c.goodbye(o) {
		c.Conn.SetReadDeadline(time.Now().Add(c.s.reg.cfg.Linger))
		c.rmu.Lock() // until then the current reader drains
		c.drain(nil)
		c.rmu.Unlock()
	}
	return c.close()
}

// goodbye sees to it that nothing more is written, and reports whether the client was
// sent a close frame.
func (c *conn) goodbye(o *Cut) bool {
	c.say(o)
	defer c.wmu.Unlock()
	c.over = true
	if c.said {
		c.s.observe()
	}
	return c.said
}

func (c *conn) close() error {
	c.once.Do(func() {
		c.err = c.Conn.Close()
		if c.inspector != nil {
			c.inspector.hold.close()
		}
	})
	return c.err
}

// CloseWrite passes on that the upstream has said its last.
func (c *conn) CloseWrite() error {
	c.wmu.Lock()
	c.over = true
	c.wmu.Unlock()
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}

// ReadFrom and WriteTo are what io.Copy uses. An idle connection holds a small buffer,
// and not the 32 kB that io.Copy would give it: of ten thousand WebSockets most are idle.

func (c *conn) ReadFrom(r io.Reader) (int64, error) { return pump(c.Write, r.Read, true) }

// WriteTo has no large buffer for inspected connections: their data is read into the
// message buffer.
func (c *conn) WriteTo(w io.Writer) (int64, error) { return pump(w.Write, c.Read, c.inspector == nil) }

const smallBuffer = 2 << 10

type largeBuffer [32 << 10]byte

var largeBuffers = sync.Pool{New: func() any { return new(largeBuffer) }}

// maxLarge bounds how many connections have one at a time: a client that fills it and
// then falls silent keeps it. The others go on with the small one.
const maxLarge = 1024

var largeInUse atomic.Int64

func takeLarge() *largeBuffer {
	if largeInUse.Add(1) > maxLarge {
		largeInUse.Add(-1)
		return nil
	}
	return largeBuffers.Get().(*largeBuffer)
}

func putLarge(b *largeBuffer) {
	if b != nil {
		largeBuffers.Put(b)
		largeInUse.Add(-1)
	}
}

func pump(write, read func([]byte) (int, error), mayGrow bool) (total int64, err error) {
	small := make([]byte, smallBuffer)
	var large *largeBuffer
	defer func() { putLarge(large) }()
	for {
		buf := small
		if large != nil {
			buf = large[:]
		}
		n, rerr := read(buf)
		if n > 0 {
			m, werr := write(buf[:n])
			total += int64(m)
			if werr != nil {
				return total, werr
			}
		}
		if rerr == io.EOF {
			return total, nil
		}
		if rerr != nil {
			return total, rerr
		}
		// A full buffer means that there is more; a nearly empty one that this was it.
		switch {
		case large == nil && n == len(small) && mayGrow:
			large = takeLarge()
		case large != nil && n < len(small)/2:
			putLarge(large)
			large = nil
		}
	}
}
