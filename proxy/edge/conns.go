package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"hash/maphash"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// listener counts connections, in total and by client.
//
// The total is counted in Accept. The client is not known there: the PROXY protocol needs
// a read to learn it, and one silent connection must not block Accept for all others. So
// the client is counted at the first Read, which happens on the connection's own
// goroutine, before the TLS handshake.
type listener struct {
	net.Listener
	server *Server
	once   sync.Once
	err    error
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &l.server.counts
		if many := c.open.Add(1) > int64(l.server.config.Limits.Connections); many || l.server.config.Shed.closed() {
			l.server.config.Exceeded(map[bool]string{true: "connections", false: "memory"}[many])
			// The connection is closed, not left in the queue: a queue that is not read
			// would make every client wait for the slowest open connections.
			c.open.Add(-1)
			c.refusedTotal.Add(1)
			nc.Close()
			continue
		}
		c.accepted.Add(1)
		return &conn{Conn: nc, server: l.server, info: new(connInfo), plain: l.server.config.TLS == nil}, nil
	}
}

// Close is idempotent: Drain closes, and http.Server closes again.
func (l *listener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

// errTooManyFromClient has the type of a socket error: to any other error net/http
// answers with a page.
var errTooManyFromClient = &net.OpError{Op: "read", Net: "tcp", Err: errors.New("edge: too many connections from this client")}

type conn struct {
	net.Conn
	server  *Server
	admit   sync.Once
	refused error
	client  netip.Prefix // invalid: not counted
	closed  sync.Once
	info    *connInfo
	plain   bool // the connection speaks HTTP without TLS
}

// Write inspects answers that are not a handler's.
func (c *conn) Write(p []byte) (int, error) {
	if c.plain && !c.info.answering.Load() {
		if isTooLong(p) {
			c.server.config.Exceeded("header_bytes")
		}
		return writeSealed(c.Conn, p)
	}
	return c.Conn.Write(p)
}

func (c *conn) Read(p []byte) (int, error) {
	c.admit.Do(c.admitClient)
	if c.refused != nil {
		return 0, c.refused
	}
	return c.Conn.Read(p)
}

func (c *conn) admitClient() {
	addr, ok := addrOf(c.Conn.RemoteAddr())
	if !ok {
		return // a Unix socket, or a client that the load balancer does not name
	}
	for _, p := range c.server.config.Limits.Exempt {
		if p.Contains(addr) {
			return
		}
	}
	key := c.server.config.Limits.Translators.Key(addr)
	if !c.server.clients.acquire(key, c.server.config.Limits.ConnectionsPerClient) {
		c.server.counts.refusedClients.Add(1)
		c.server.config.Exceeded("connections_per_client")
		c.refused = errTooManyFromClient
		return
	}
	c.client = key
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.closed.Do(func() {
		c.admit.Do(func() { c.refused = net.ErrClosed }) // a later Read must not count
		if c.client.IsValid() {
			c.server.clients.release(c.client)
		}
		c.server.counts.open.Add(-1)
	})
	return err
}

// CloseWrite lets net/http end an answer without a reset, which would discard it.
func (c *conn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

func addrOf(a net.Addr) (netip.Addr, bool) {
	if t, ok := a.(*net.TCPAddr); ok {
		ip := t.AddrPort().Addr()
		return ip.Unmap().WithZone(""), ip.IsValid()
	}
	ap, err := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap().WithZone(""), err == nil
}

// clientCounts never has more entries than there are connections.
type clientCounts struct {
	seed   maphash.Seed
	shards [64]struct {
		sync.Mutex
		n map[netip.Prefix]int
	}
}

func newClientCounts() *clientCounts {
	c := &clientCounts{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].n = map[netip.Prefix]int{}
	}
	return c
}

func (c *clientCounts) acquire(key netip.Prefix, limit int) bool {
	s := &c.shards[maphash.Comparable(c.seed, key)%uint64(len(c.shards))]
	s.Lock()
	defer s.Unlock()
	if s.n[key] >= limit {
		return false
	}
	s.n[key]++
	return true
}

func (c *clientCounts) release(key netip.Prefix) {
	s := &c.shards[maphash.Comparable(c.seed, key)%uint64(len(c.shards))]
	s.Lock()
	defer s.Unlock()
	if s.n[key]--; s.n[key] <= 0 {
		delete(s.n, key)
	}
}

// connInfo holds what is determined once for a connection.
type connInfo struct {
	once  sync.Once
	cert  ClientCert
	hello Fingerprint // written in the handshake

	// answering: the bytes written on this HTTP/1.1 connection answer a request of our
	// handler. It is false between the end of one answer and the next request.
	answering atomic.Bool
	h2        *h2Conn // nil: HTTP/1.1; set before the first request
}

type connInfoKey struct{}

// withConnInfo gives requests the connInfo of their connection.
func withConnInfo(ctx context.Context, c net.Conn) context.Context {
	info := infoOf(c)
	if info == nil {
		info = new(connInfo)
	}
	return context.WithValue(ctx, connInfoKey{}, info)
}

// infoOf returns the connInfo of a connection that net/http has; nil if it is not ours.
func infoOf(c net.Conn) *connInfo {
	switch v := c.(type) {
	case *tlsConn:
		return v.info
	case *conn:
		return v.info
	case *tls.Conn:
		if own, ok := v.NetConn().(*conn); ok {
			return own.info
		}
	}
	return nil
}

// idle marks that an HTTP/1.1 connection has sent its whole answer.
func idle(c net.Conn, state http.ConnState) {
	if state == http.StateIdle {
		if info := infoOf(c); info != nil {
			info.answering.Store(false)
		}
	}
}

// takes marks that our handler answers the request behind w.
func (i *connInfo) takes(w http.ResponseWriter) {
	if i.h2 != nil {
		i.h2.serve(streamOf(w))
		return
	}
	i.answering.Store(true)
}
