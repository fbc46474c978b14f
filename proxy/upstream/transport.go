package upstream

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"time"

	"sallyport/proxy/upstream/h1"
)

// idleTimeout is how long an unused connection is kept. Shorter than what most
// servers allow would be safer against their closing it as we use it; that is
// what the check before each use is for.
const idleTimeout = 90 * time.Second

// maxIdle is the number of unused connections kept for one upstream. net/http
// keeps two by default, and opens a connection for nearly every request under load.
const maxIdle = 256

// newTransport returns the transport to b for requests that do not take the short way. It
// dials one address only, regardless of a request's URL.
func (b *backend) newTransport(upgrades bool) *http.Transport {
	t := &http.Transport{
		// Proxy stays nil: an HTTP_PROXY in the environment must not reroute
		// requests that carry identities.
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return patient(b.dial(ctx)) },
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		ResponseHeaderTimeout:  b.key.responseHeader,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: b.key.maxResponseHeader,
		// Encodings are between client and upstream: nothing is unpacked here.
		DisableCompression: true,
		Protocols:          new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			// A peer that has vanished is detected, and its streams end.
			SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second,
		},
	}
	switch {
	case b.h2c:
		t.Protocols.SetUnencryptedHTTP2(true)
	case b.scheme == "https" && !upgrades:
		t.Protocols.SetHTTP1(true)
		t.Protocols.SetHTTP2(true)
		t.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return b.dialTLS(ctx, []string{"h2", "http/1.1"})
		}
	default:
		t.Protocols.SetHTTP1(true)
		t.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return b.dialTLS(ctx, []string{"http/1.1"})
		}
	}
	return t
}

// newShort returns the transport to b for requests that take the short way, nil if b is
// not HTTP/1.1 in clear text.
func (b *backend) newShort() *h1.Transport {
	if b.scheme != "http" || b.h2c || !h1.Supported {
		return nil
	}
	return h1.New(h1.Config{
		Dial:                   b.dial,
		ResponseHeaderTimeout:  b.key.responseHeader,
		MaxResponseHeaderBytes: b.key.maxResponseHeader,
		MaxIdleConns:           maxIdle,
		IdleConnTimeout:        idleTimeout,
		Now:                    b.now,
	})
}

// roundTrip sends out to b through net/http.
func (b *backend) roundTrip(out *http.Request) (*http.Response, error) {
	out = out.WithContext(httptrace.WithClientTrace(out.Context(), newBegins()))
	if b.single != nil && (len(out.Header["Upgrade"]) > 0 || out.Close) { // an HTTP/2 connection is shared with other streams
		return b.single.RoundTrip(out)
	}
	return b.long.RoundTrip(out)
}

// backends holds every upstream in use. Routes come and go with the
// configuration; an upstream that stays keeps its connections and its history.
type backends struct {
	mu      sync.Mutex
	byKey   map[backendKey]*backend
	changed chan struct{} // of capacity one: byKey is another
}

// poolOf returns the upstreams of r, which remembers them.
func (f *Forwarder) poolOf(r *Route) *pool {
	if p := r.pool.Load(); p != nil && p.f == f {
		return p
	}
	f.backends.mu.Lock()
	defer f.backends.mu.Unlock()
	return f.build(r)
}

// build makes r's pool of known upstreams and new ones. f.backends.mu is held.
func (f *Forwarder) build(r *Route) *pool {
	p := &pool{f: f, wait: r.timeouts.Wait, short: f.transport == nil}
	for _, e := range r.endpoints {
		key := r.backendKey(e)
		b := f.backends.byKey[key]
		if b == nil {
			b = newBackend(e, key, r.tls, f.now)
			b.log = f.log
			f.backends.byKey[key] = b
			f.backends.announce()
		}
		p.backends = append(p.backends, b)
		p.short = p.short && b.short != nil
	}
	r.pool.Store(p)
	return p
}

func (s *backends) announce() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Use tells the Forwarder which routes are in force: at the start, and after each
// change of configuration. Upstreams that no route names any more are forgotten
// and their idle connections closed; requests in flight are not disturbed.
// Forward works without, but then active checks begin with the first request, and
// nothing is ever forgotten.
func (f *Forwarder) Use(t *Table) {
	s := &f.backends
	s.mu.Lock()
	defer s.mu.Unlock()
	used := make(map[backendKey]bool)
	for _, r := range t.routes {
		for _, b := range f.build(r).backends {
			used[b.key] = true
		}
	}
	for key, b := range s.byKey {
		if !used[key] {
			delete(s.byKey, key)
			b.retire()
			s.announce()
		}
	}
}

// all returns the upstreams in use.
func (s *backends) all() []*backend {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.byKey))
}

// Close closes idle upstream connections. Requests in flight go on.
func (f *Forwarder) Close() {
	for _, b := range f.backends.all() {
		b.retire()
	}
}

// RouteState is a moment's view of the upstreams of one route.
type RouteState struct {
	Route     string          `json:"route"`
	From      string          `json:"from"`
	Upstreams []UpstreamState `json:"upstreams"`
}

// State returns what is known of the upstreams of t's routes, in the order of the
// configuration: for `sallyport routes` and for metrics.
func (f *Forwarder) State(t *Table) []RouteState {
	states := make([]RouteState, len(t.routes))
	for i, r := range t.routes {
		states[i] = RouteState{Route: r.Name, From: r.Origin() + r.Prefix}
		for _, b := range f.poolOf(r).backends {
			states[i].Upstreams = append(states[i].Upstreams, b.state())
		}
	}
	return states
}
