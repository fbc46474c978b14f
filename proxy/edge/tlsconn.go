package edge

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// This file lets us change answers that net/http writes straight to a TLS connection.
// That requires a layer above TLS, but net/http recognises HTTP/2 by the type *tls.Conn.
// So an accepted connection is a tlsConn. Its handshake takes place when net/http asks
// for its state, which it does first and on the connection's own goroutine. A connection
// that speaks HTTP/2 is then given to net/http a second time, as the *tls.Conn that it is
// (h2Listener), and the first one ends.

// tlsListener accepts connections before their handshake.
type tlsListener struct {
	net.Listener
	server *Server
}

func (l *tlsListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &tlsConn{Conn: tls.Server(nc, l.server.http.TLSConfig), server: l.server, info: new(connInfo)}
	if own, ok := nc.(*conn); ok {
		c.info = own.info
	}
	return c, nil
}

// tlsConn is a connection that speaks HTTP/1.1, or is given to the HTTP/2 server.
type tlsConn struct {
	*tls.Conn
	server *Server
	info   *connInfo
	shake  sync.Once
	gone   atomic.Bool // given away: it must not be used here any more
	failed atomic.Bool
}

// ConnectionState does the handshake first. net/http calls it before it reads.
func (c *tlsConn) ConnectionState() tls.ConnectionState {
	c.shake.Do(c.handshake)
	if c.gone.Load() {
		return tls.ConnectionState{}
	}
	return c.Conn.ConnectionState()
}

func (c *tlsConn) handshake() {
	c.Conn.SetDeadline(time.Now().Add(c.server.config.Limits.HeaderTimeout))
	if err := c.Conn.HandshakeContext(context.Background()); err != nil {
		c.failed.Store(true)
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
			writeSealed(plain.Conn, []byte("HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nThis port speaks https.\n"))
			plain.Conn.Close()
		}
		c.server.config.Logger.Debug("TLS handshake", "error", err, "peer", c.RemoteAddr().String())
		return
	}
	c.Conn.SetDeadline(time.Time{})
	switch c.Conn.ConnectionState().NegotiatedProtocol {
	case "", "http/1.1":
	case "h2":
		c.gone.Store(true)
		c.server.h2.hand(c.Conn)
	default: // an ACME challenge: the handshake was the answer
		c.failed.Store(true)
	}
}

// looksLikeHTTP checks the first bytes where a TLS record was expected.
func looksLikeHTTP(first [5]byte) bool {
	switch string(first[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	}
	return false
}

func (c *tlsConn) Read(p []byte) (int, error) {
	if c.gone.Load() || c.failed.Load() {
		return 0, io.EOF // the one error to which net/http writes no answer
	}
	return c.Conn.Read(p)
}

func (c *tlsConn) Write(p []byte) (int, error) {
	switch {
	case c.gone.Load() || c.failed.Load():
		return 0, net.ErrClosed
	case !c.info.answering.Load():
		if isTooLong(p) {
			c.server.config.Exceeded("header_bytes")
		}
		return writeSealed(c.Conn, p)
	}
	return c.Conn.Write(p)
}

func (c *tlsConn) Close() error {
	if c.gone.Load() {
		return nil
	}
	return c.Conn.Close()
}

func (c *tlsConn) CloseWrite() error {
	if c.gone.Load() {
		return nil
	}
	return c.Conn.CloseWrite()
}

func (c *tlsConn) SetDeadline(t time.Time) error      { return c.limit(c.Conn.SetDeadline, t) }
func (c *tlsConn) SetReadDeadline(t time.Time) error  { return c.limit(c.Conn.SetReadDeadline, t) }
func (c *tlsConn) SetWriteDeadline(t time.Time) error { return c.limit(c.Conn.SetWriteDeadline, t) }

func (c *tlsConn) limit(set func(time.Time) error, t time.Time) error {
	if c.gone.Load() {
		return nil
	}
	return set(t)
}

// h2Listener gives connections that speak HTTP/2 to net/http.
type h2Listener struct {
	conns chan net.Conn
	over  chan struct{}
	close sync.Once
}

func newH2Listener() *h2Listener {
	return &h2Listener{conns: make(chan net.Conn), over: make(chan struct{})}
}

func (l *h2Listener) hand(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.over:
		c.Close()
	}
}

func (l *h2Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

func (l *h2Listener) Close() error {
	l.close.Do(func() { close(l.over) })
	return nil
}

func (l *h2Listener) Addr() net.Addr { return &net.TCPAddr{} }

// h2Conn is an HTTP/2 connection above TLS. Header blocks of streams that no handler of
// ours has are net/http's own answers (431, 400). It appends the sealed headers to these:
// fields in literal representation without indexing (RFC 7541 section 6.2.2) do not
// change the state of the compression, so nothing else has to be parsed or rewritten.
type h2Conn struct {
	net.Conn
	tls *tls.Conn

	// served are the streams that our handler has, indexed by half their number. If a
	// later stream has overwritten one, its answer counts as net/http's and gets headers
	// that it does not need.
	served [512]atomic.Uint32

	// The frame that is being written; net/http/2 writes from one goroutine at a time.
	head [9]byte
	have int  // bytes of head
	left int  // bytes of its payload still missing
	own  bool // append sealed after them

	refusal   byte   // the first byte of a sealed header block: the status that it answers
	update    bool   // it is a WINDOW_UPDATE of the connection
	increment []byte // of its payload so far

	in     inbound
	window *window

	// A header that is far too large is answered, or the connection closed for it, before
	// there is a request. tooLong is called for it.
	suspect int64 // size of a header block from which an error counts as "too large"
	tooLong func()
	goAway  bool   // the frame that is being written is a GOAWAY
	reason  []byte // of its payload so far
}

// ConnectionState is called by the HTTP/2 server.
func (c *h2Conn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

func (c *h2Conn) serve(stream uint32) { c.served[stream/2%uint32(len(c.served))].Store(stream) }

func (c *h2Conn) serves(stream uint32) bool {
	return c.served[stream/2%uint32(len(c.served))].Load() == stream
}

const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9
	flagEndHeaders    = 0x4
	flagPadded        = 0x8
	minMaxFrameSize   = 16 << 10 // every client accepts frames of this size
)

// sealedFields is sealed in HPACK.
var sealedFields = func() []byte {
	var b []byte
	for _, s := range sealed {
		name := http.CanonicalHeaderKey(s.name)
		b = append(b, 0, byte(len(name)))
		for _, c := range []byte(name) {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			b = append(b, c)
		}
		b = append(b, byte(len(s.value))) // shorter than 127
		b = append(b, s.value...)
	}
	return b
}()

func (c *h2Conn) Write(p []byte) (int, error) {
	var out []byte // the bytes before p[from:], if any were changed
	from := 0
	for i := 0; i < len(p); {
		if c.left > 0 {
			n := min(c.left, len(p)-i)
			switch {
			case c.update:
				c.noteUpdate(p[i : i+n])
			case c.goAway:
				c.noteGoAway(p[i : i+n])
			case c.own && c.refusal == 0:
				c.noteRefusal(p[i])
			}
			i, c.left = i+n, c.left-n
			if c.left == 0 && c.own {
				out = append(append(out, p[from:i]...), sealedFields...)
				from, c.own = i, false
			}
			continue
		}
		begun := c.have > 0
		n := copy(c.head[c.have:], p[i:])
		c.have += n
		if c.have < len(c.head) { // held back: the frame's head may have to change
			out, from, i = append(out, p[from:i]...), i+n, i+n
			continue
		}
		c.have = 0
		if c.beginFrame() || begun {
			out = append(append(out, p[from:i]...), c.head[:]...)
			from = i + n
		}
		i += n
	}
	if out == nil && from == 0 {
		return c.Conn.Write(p)
	}
	if out = append(out, p[from:]...); len(out) > 0 {
		if _, err := c.Conn.Write(out); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// beginFrame reads the head of a frame, and changes its length if the frame will be
// sealed.
func (c *h2Conn) beginFrame() bool {
	length := int(c.head[0])<<16 | int(c.head[1])<<8 | int(c.head[2])
	stream := binary.BigEndian.Uint32(c.head[5:]) & (1<<31 - 1)
	c.left = length
	c.update = c.head[3] == frameWindowUpdate && stream == 0 && length == 4
	if c.goAway = c.head[3] == frameGoAway; c.goAway {
		c.reason = c.reason[:0]
	}
	c.refusal = 0
	c.own = c.head[3] == frameHeaders && c.head[4]&flagEndHeaders != 0 && c.head[4]&flagPadded == 0 &&
		length > 0 && length+len(sealedFields) <= minMaxFrameSize && !c.serves(stream)
	if c.own {
		length += len(sealedFields)
		c.head[0], c.head[1], c.head[2] = byte(length>>16), byte(length>>8), byte(length)
	}
	return c.own
}

// status400 is ":status: 400" in HPACK (RFC 7541 appendix A). http2 writes two answers
// before there is a request: this one, and 431.
const status400 = 0x80 | 12

func (c *h2Conn) noteRefusal(first byte) {
	if c.refusal = first; first != status400 {
		c.tooLong()
	}
}

// noteGoAway takes the next bytes of the frame with which http2 ends a connection. http2
// ends it for a field that announces more than is allowed, of which it has read one
// frame, and for a further frame of a header that is too large. After a header block of
// more than suspect, these errors count as that. A large block with another error in it
// is counted too.
func (c *h2Conn) noteGoAway(payload []byte) {
	before := len(c.reason)
	if c.reason = append(c.reason, payload...); before >= 8 || len(c.reason) < 8 {
		return
	}
	code := http2.ErrCode(binary.BigEndian.Uint32(c.reason[4:]))
	if (code == http2.ErrCodeProtocol || code == http2.ErrCodeCompression) && c.in.block.Load() >= c.suspect {
		c.tooLong()
	}
}
