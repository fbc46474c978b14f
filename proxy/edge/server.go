package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Server is an HTTP/1.1 and HTTP/2 server with the limits of this package. It is
// safe for concurrent use.
type Server struct {
	config Config
	http   *http.Server

	draining  atomic.Bool
	mu        sync.Mutex
	listeners map[*listener]struct{}
	hijacked  sync.Map // *exchange -> net.Conn

	clients  *clientCounts
	h2       *h2Listener // nil: no TLS
	serveH2  sync.Once
	streams  atomic.Int64
	handlers atomic.Int64 // includes handlers of hijacked connections, which http.Server does not count
	counts   counters
}

// New checks c.
func New(c Config) (*Server, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	s := &Server{config: c, listeners: map[*listener]struct{}{}, clients: newClientCounts()}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: c.Limits.HeaderTimeout,
		IdleTimeout:       c.Limits.IdleTimeout,
		// ReadTimeout and WriteTimeout stay zero: they bound whole requests, and would
		// end uploads, downloads and streams at a good speed. Pace bounds slow clients.
		MaxHeaderBytes: c.Limits.HeaderBytes,
		Protocols:      new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: c.Limits.StreamsPerConnection,
			MaxReadFrameSize:     16 << 10, // the minimum: a frame is buffered whole
			// What a client may send before a handler reads. A browser has one connection
			// for all its windows: uploads that their tool does not read yet use up the
			// window of the connection, and then block every other POST. So there is room
			// for 16 of them. The number of requests that a session may have bounds the
			// total.
			MaxReceiveBufferPerConnection: 16 * 256 << 10,
			MaxReceiveBufferPerStream:     256 << 10,
			// A silent connection is pinged, so that the streams of a vanished client
			// end. A laptop that slept for a minute answers in time.
			SendPingTimeout:  30 * time.Second,
			PingTimeout:      peerTimeout - 30*time.Second,
			WriteByteTimeout: max(c.Pace.Patience, peerTimeout), // Pace bounds what a stranger leaves unread
			CountError:       s.http2Error,
		},
		ErrorLog:    slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
		ConnContext: withConnInfo,
		ConnState:   idle,
		// net/http would answer "OPTIONS *" by itself, without the handler.
		DisableGeneralOptionsHandler: true,
	}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetHTTP2(c.TLS != nil)
	if c.TLS != nil {
		s.http.TLSConfig = c.TLS.Clone()
		s.h2 = newH2Listener()
		if err := s.serveHTTP2(); err != nil {
			return nil, fmt.Errorf("edge: %w", err)
		}
	}
	return s, nil
}

// Serve accepts connections from ln until Drain or Close, and then returns
// [http.ErrServerClosed]. It may be called for several listeners.
func (s *Server) Serve(ln net.Listener) error {
	l := &listener{Listener: ln, server: s}
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		l.Close()
		return http.ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	var err error
	if s.config.TLS != nil {
		s.serveH2.Do(func() { go s.http.Serve(s.h2) })
		err = s.http.Serve(&tlsListener{l, s})
	} else {
		err = s.http.Serve(l)
	}
	if s.draining.Load() && (err == nil || errors.Is(err, net.ErrClosed)) {
		return http.ErrServerClosed
	}
	return err
}

// ServeHTTP admits a request to the handler. The server calls it; tests of handlers may
// too.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handlers.Add(1)
	if info, ok := r.Context().Value(connInfoKey{}).(*connInfo); ok {
		info.takes(w)
	}
	x := newExchange(s, w, r)
	defer x.finish()
	switch {
	case r.Method == "PRI": // the preface of HTTP/2, which net/http passes on as a request
		s.refuse(x, r, http.StatusHTTPVersionNotSupported, "This version of HTTP is not spoken here.")
	case len(r.RequestURI) > s.config.Limits.URLBytes:
		s.counts.longURLs.Add(1)
		s.refuse(x, r, http.StatusRequestURITooLong, "The address is too long.")
	case r.ProtoMajor == 2 && headerSize(r) > s.config.Limits.HeaderBytes:
		x.largeHeader = true
		dropLarge(r.Header) // a client that does not read the answer must not keep them in memory
		s.refuse(x, r, http.StatusRequestHeaderFieldsTooLarge, "The request headers are too large.")
	case headerLines(r.Header) > s.config.Limits.Headers:
		// net/http bounds the bytes. Thousands of tiny lines fit into that, and cost time
		// whenever code walks the header.
		s.counts.manyHeaders.Add(1)
		s.refuse(x, r, http.StatusRequestHeaderFieldsTooLarge, "The request has too many header fields.")
	case !x.admit(r):
		x.Header().Set("Retry-After", strconv.Itoa(s.config.Shed.retryAfter()))
		s.refuse(x, r, http.StatusServiceUnavailable, "The server is busy. Try again in a moment.")
	default:
		s.config.Handler.ServeHTTP(x, x.request)
	}
}

// refuse answers a request without reading it further. If it has a body, the connection
// is closed: reading a body that will be discarded costs work too.
func (s *Server) refuse(x *exchange, r *http.Request, status int, message string) {
	if r.Body != nil && r.Body != http.NoBody && r.ProtoMajor == 1 {
		x.Header().Set("Connection", "close")
	}
	x.Header().Set("Cache-Control", "no-store")
	s.config.Refuse(x, r, status, message)
}

func headerLines(h http.Header) int {
	n := 0
	for _, lines := range h {
		n += len(lines)
	}
	return n
}

// headerSize is approximately the size of r's header in HTTP/1.1, so that one limit means
// the same in both protocols.
func headerSize(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Host)
	for name, lines := range r.Header {
		for _, v := range lines {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// dropLarge keeps the short fields, which say what kind of answer the client understands.
func dropLarge(h http.Header) {
	for name, lines := range h {
		size := 0
		for _, v := range lines {
			size += len(name) + len(v)
		}
		if size > 1<<10 {
			delete(h, name)
		}
	}
}

// ErrCutOff is returned by Drain when its time ended before all requests did.
var ErrCutOff = errors.New("edge: requests were cut off at the end of the drain time")

// Drain ends the server in order: it stops accepting, calls OnDrain, answers requests on
// open connections for Linger, each as the last of its connection, then closes idle
// connections and waits for the rest. When ctx ends first, it closes what is left and
// returns [ErrCutOff].
//
// A listener that a successor shares stays open there, with its queue of connections that
// are not yet accepted: none is lost.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	first := !s.draining.Swap(true)
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	if !first {
		return nil
	}
	if s.config.OnDrain != nil {
		s.config.OnDrain(ctx)
	}
	s.linger(ctx)
	err := s.http.Shutdown(ctx)
	if until(ctx, func() bool { return s.handlers.Load() == 0 }) && err == nil {
		return nil
	}
	left := s.handlers.Load()
	s.Close()
	return fmt.Errorf("%w: %d left", ErrCutOff, left)
}

// linger waits until there are no connections, at most Config.Linger. Without it, an idle
// HTTP/1.1 connection could be closed while a request on it is under way, and a client
// that may not repeat the request would have to report a failure.
func (s *Server) linger(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Linger)
	defer cancel()
	until(ctx, func() bool { return s.counts.open.Load() == 0 })
}

// until calls done every few milliseconds until it is true or ctx ends.
func until(ctx context.Context, done func() bool) bool {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !done() {
		select {
		case <-look.C:
		case <-ctx.Done():
			return done()
		}
	}
	return true
}

// Close closes everything at once.
func (s *Server) Close() error {
	s.mu.Lock()
	s.draining.Store(true)
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	err := s.http.Close()
	s.hijacked.Range(func(_, conn any) bool { conn.(net.Conn).Close(); return true })
	return err
}
