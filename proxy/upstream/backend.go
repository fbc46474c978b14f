package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
	"time"

	"sallyport/proxy/upstream/h1"
)

// Passive health: after ejectAfter failures in a row an upstream gets no more
// requests for ejectFirst, and for twice as long after each trial that fails.
const (
	ejectAfter = 3
	ejectFirst = time.Second
	ejectMax   = time.Minute
)

// backendKey is everything that makes two upstreams one: routes (of this
// configuration and of the one before) that agree on all of it share
// connections, health and limits.
type backendKey struct {
	to                string
	connect           time.Duration
	responseHeader    time.Duration
	maxResponseHeader int64
	maxConns          int
	tls               TLSConfig
	health            HealthCheck
}

// backend is one upstream: its connections and what is known of its health. All
// of its state is atomic; requests take no lock but those of the idle connections.
type backend struct {
	endpoint
	key   backendKey
	name  string // url, for the log
	log   *slog.Logger
	now   func() time.Time
	tls   *tlsSource    // nil: the system's roots, no client certificate
	short *h1.Transport // nil: the short way does not lead here
	long  *http.Transport
	// single has no HTTP/2: for upgrades, and for what signs a connection in. nil: long
	// will do.
	single *http.Transport
	dial   func(ctx context.Context) (net.Conn, error)
	queue  waitQueue

	// outstanding counts exchanges from pick to the end of the answer (for
	// upgraded connections, to their end). It never exceeds key.maxConns if that is set.
	outstanding atomic.Int64
	connections atomic.Int64 // open ones
	requests    atomic.Uint64
	errors      atomic.Uint64

	failures  atomic.Int32 // in a row
	ejections atomic.Int32 // since it last worked
	// ejectedUntil is in Unix nanoseconds, zero if the upstream is trusted. Once it
	// has passed, the request that moves it on is the trial.
	ejectedUntil atomic.Int64
	down         atomic.Bool // the active check says no; false until it has
	lastError    atomic.Pointer[failure]
	checked      atomic.Pointer[failure] // the last check; err nil: it passed
}

type failure struct {
	err error
	at  time.Time
}

func newBackend(e endpoint, key backendKey, source *tlsSource, now func() time.Time) *backend {
	b := &backend{endpoint: e, key: key, name: e.url.String(), now: now, tls: source}
	b.dial = b.dialer()
	b.short, b.long = b.newShort(), b.newTransport(false)
	if e.scheme == "https" {
		b.single = b.newTransport(true)
	}
	return b
}

// dialError marks an exchange that failed before a single byte of it was sent.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// dialer opens connections to the one address of this upstream, and counts them.
func (b *backend) dialer() func(context.Context) (net.Conn, error) {
	d := &net.Dialer{Timeout: b.key.connect, KeepAlive: 30 * time.Second}
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := d.DialContext(ctx, b.network, b.address)
		if err != nil {
			return nil, dialError{err}
		}
		b.connections.Add(1)
		return &countedConn{Conn: conn, open: &b.connections}, nil
	}
}

type countedConn struct {
	net.Conn
	open   *atomic.Int64
	closed atomic.Bool

	patient atomic.Bool // see patient
	begun   atomic.Bool // something of the request was written
}

// patient lets conn survive an upstream that closes the connection in the middle of a
// request. net/http gives up with the first write that fails, although the answer, such
// as a 413 to an upload, has often arrived by then. What is written to a connection that
// the peer has reset is dropped instead, and the reader gets the answer or the end. The
// first write of a request still fails, because it proves that nothing was sent.
func patient(conn net.Conn, err error) (net.Conn, error) {
	if c, ok := conn.(*countedConn); ok {
		c.patient.Store(true)
	}
	return conn, err
}

// newBegins notes that the next write on a connection is the first of a request. It is
// made for each request: httptrace writes the hooks of the context's trace into the new
// one, and a shared one would give the early hints of one person to another.
func newBegins() *httptrace.ClientTrace { return &httptrace.ClientTrace{GotConn: begins} }

func begins(i httptrace.GotConnInfo) {
	conn := i.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if c, ok := conn.(*countedConn); ok {
		c.begun.Store(false)
	}
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	switch {
	case err == nil:
		if !c.begun.Load() {
			c.begun.Store(true)
		}
	case hungUp(err) && c.patient.Load() && (n > 0 || c.begun.Load()):
		return len(p), nil
	}
	return n, err
}

// hungUp reports whether a write failed because the peer has closed the connection.
func hungUp(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// SyscallConn lets h1 ask the operating system whether the connection is still silent.
func (c *countedConn) SyscallConn() (syscall.RawConn, error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, dialError{errors.New("not a connection of the operating system")}
	}
	return sc.SyscallConn()
}

func (c *countedConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

// CloseWrite ends our half, which upgraded connections make use of.
func (c *countedConn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return c.Close()
}

// tryAcquire takes a place for one exchange, if there is one.
func (b *backend) tryAcquire() bool {
	limit := int64(b.key.maxConns)
	if limit <= 0 {
		b.outstanding.Add(1)
		return true
	}
	for {
		n := b.outstanding.Load()
		if n >= limit {
			return false
		}
		if b.outstanding.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (b *backend) release() {
	b.outstanding.Add(-1)
	if b.key.maxConns > 0 {
		b.queue.wakeOne()
	}
}

func (b *backend) full() bool {
	return b.key.maxConns > 0 && b.outstanding.Load() >= int64(b.key.maxConns)
}

// report records the outcome of an exchange: err is nil once an answer has begun, with
// any status. An exchange that the client broke off says nothing about the upstream.
func (b *backend) report(ctx context.Context, err error) {
	b.requests.Add(1)
	switch {
	case err == nil:
		if b.failures.Load() != 0 {
			b.failures.Store(0)
			b.ejections.Store(0)
			b.ejectedUntil.Store(0)
		}
		return
	case ctx.Err() != nil, errors.Is(err, errClientBody), errors.Is(err, errBodyTooLarge), errors.Is(err, errDeadline):
		return
	}
	b.errors.Add(1)
	now := b.now()
	b.lastError.Store(&failure{err, now})
	if b.failures.Add(1) < ejectAfter {
		return
	}
	// Many requests may find out at once; one of them ejects.
	if until := b.ejectedUntil.Load(); now.UnixNano() >= until && b.ejectedUntil.CompareAndSwap(until, b.nextEjection(now)) {
		b.ejections.Add(1)
	}
}

func (b *backend) nextEjection(now time.Time) int64 {
	d := ejectMax
	if n := b.ejections.Load(); n < 6 {
		d = min(ejectFirst<<n, ejectMax)
	}
	return now.Add(d).UnixNano()
}

// usable reports whether the upstream may get a request. If trial is true, it is ejected
// and due for a trial: the caller must win claimTrial first.
func (b *backend) usable(now int64) (ok, trial bool) {
	if b.down.Load() {
		return false, false
	}
	until := b.ejectedUntil.Load()
	return until <= now, until != 0
}

// claimTrial makes one request the trial: it extends the ejection beforehand, and a
// success ends the ejection.
func (b *backend) claimTrial(now time.Time) bool {
	until := b.ejectedUntil.Load()
	if until == 0 {
		return true
	}
	if until > now.UnixNano() || !b.ejectedUntil.CompareAndSwap(until, b.nextEjection(now)) {
		return false
	}
	b.ejections.Add(1)
	return true
}

// retire closes idle connections; what is in flight goes on.
func (b *backend) retire() {
	b.long.CloseIdleConnections()
	if b.single != nil {
		b.single.CloseIdleConnections()
	}
	if b.short != nil {
		b.short.CloseIdleConnections()
	}
}

// UpstreamState is a moment's view of one upstream.
type UpstreamState struct {
	URL string `json:"url"`
	// Healthy means that it would get requests now.
	Healthy bool `json:"healthy"`
	// Outstanding are the exchanges under way, WebSockets included; Limit is how
	// many there may be, zero without limit.
	Outstanding int64 `json:"outstanding"`
	Limit       int   `json:"limit,omitempty"`
	Connections int64 `json:"connections"`
	// Requests and Errors count attempts since the upstream was configured.
	Requests uint64 `json:"requests"`
	Errors   uint64 `json:"errors"`
	// EjectedUntil is when it is tried again after failures; zero if it is not ejected.
	EjectedUntil time.Time `json:"ejected_until,omitzero"`
	// LastError is the last failure to get an answer, and stays after recovery.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// Check is "" without active checks, else "pending", "passing" or "failing".
	Check      string    `json:"check,omitempty"`
	CheckError string    `json:"check_error,omitempty"`
	CheckedAt  time.Time `json:"checked_at,omitzero"`
}

func (b *backend) state() UpstreamState {
	now := b.now()
	ok, _ := b.usable(now.UnixNano())
	s := UpstreamState{
		URL: b.url.String(), Healthy: ok, Outstanding: b.outstanding.Load(), Limit: max(b.key.maxConns, 0),
		Connections: b.connections.Load(), Requests: b.requests.Load(), Errors: b.errors.Load(),
	}
	if until := b.ejectedUntil.Load(); until > now.UnixNano() {
		s.EjectedUntil = time.Unix(0, until)
	}
	if f := b.lastError.Load(); f != nil {
		s.LastError, s.LastErrorAt = f.err.Error(), f.at
	}
	if b.key.health.Path == "" {
		return s
	}
	switch f := b.checked.Load(); {
	case f == nil:
		s.Check = "pending"
	default:
		s.CheckedAt, s.Check = f.at, "passing"
		if f.err != nil {
			s.CheckError = f.err.Error()
		}
		if b.down.Load() {
			s.Check = "failing"
		}
	}
	return s
}
