package upstream

import (
	"crypto/tls"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// transports holds one pool of connections for each set of timeouts in use.
// Routes come and go with the configuration; connections stay.
type transports struct {
	byTimeouts atomic.Pointer[map[Timeouts]*http.Transport]
	mu         sync.Mutex // held to add one
}

func (t *transports) forRoute(r *Route) http.RoundTripper {
	key := Timeouts{Connect: r.timeouts.Connect, ResponseHeader: r.timeouts.ResponseHeader}
	if m := t.byTimeouts.Load(); m != nil {
		if tr, ok := (*m)[key]; ok {
			return tr
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next := make(map[Timeouts]*http.Transport)
	if m := t.byTimeouts.Load(); m != nil {
		if tr, ok := (*m)[key]; ok {
			return tr
		}
		maps.Copy(next, *m)
	}
	tr := newTransport(key)
	next[key] = tr
	t.byTimeouts.Store(&next)
	return tr
}

func (t *transports) closeIdle() {
	if m := t.byTimeouts.Load(); m != nil {
		for _, tr := range *m {
			tr.CloseIdleConnections()
		}
	}
}

func newTransport(t Timeouts) *http.Transport {
	return &http.Transport{
		// Proxy stays nil: an HTTP_PROXY in the environment must not reroute
		// requests that carry identities.
		DialContext:         (&net.Dialer{Timeout: t.Connect, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: t.Connect,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		// net/http keeps two by default, and opens a connection for nearly every
		// request under load.
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        90 * time.Second,
		ResponseHeaderTimeout:  t.ResponseHeader,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		// Encodings are between client and upstream: nothing is unpacked here.
		DisableCompression: true,
	}
}
