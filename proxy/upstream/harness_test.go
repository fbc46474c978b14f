package upstream_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// alice is the person that every request of a harness is forwarded for.
var alice = upstream.Identity{User: "u-17", Email: "alice@example.com", Groups: []string{"treasury", "ops"}}

// seen is what an upstream received.
type seen struct {
	Method, URI, Host string
	Header, Trailer   http.Header
	Body              string
}

// harness is a client's view of a forwarder: a real server in front, and upstreams
// that remember what they were sent.
type harness struct {
	t     testing.TB
	front *httptest.Server
	state func() upstream.UpstreamState // of the first

	mu     sync.Mutex
	seen   []seen
	errors []int // statuses given to OnError
	log    strings.Builder
}

type options struct {
	config   upstream.Config
	route    upstream.RouteConfig // To is set by the harness if empty
	upstream http.Handler         // after recording; nil answers "ok"
	identity *upstream.Identity
	tls      bool                             // TLS and HTTP/2 in front
	failed   func(r *http.Request, err error) // told what OnError is; optional
	detach   func(carry func())               // of connections that switch protocols; optional
	plain    bool                             // failures are answered as without a Config.OnError
}

func newHarness(t testing.TB, o options) *harness {
	t.Helper()
	g := &harness{t: t}
	if o.route.To == nil {
		up := httptest.NewServer(g.record(o.upstream))
		t.Cleanup(up.Close)
		o.route.To = []string{up.URL}
	}
	if o.identity == nil {
		o.identity = &alice
	}
	scheme := "http"
	if o.tls {
		scheme = "https"
	}
	o.route.Name, o.route.From = "tool", scheme+"://app.example"
	tb := table(t, []upstream.RouteConfig{o.route})
	o.config.Logger = slog.New(slog.NewTextHandler(lockedWriter{g}, nil))
	o.config.Cookies = append(o.config.Cookies, "__Host-sallyport", "__Host-sallyport-handoff")
	o.config.OnError = func(w http.ResponseWriter, r *http.Request, status int, err error) {
		if o.failed != nil {
			o.failed(r, err)
		}
		g.mu.Lock()
		g.errors = append(g.errors, status)
		g.mu.Unlock()
		http.Error(w, http.StatusText(status), status)
	}
	if o.plain {
		o.config.OnError = nil
	}
	f := proxytest.NewForwarder(o.config)
	t.Cleanup(f.Close)
	g.state = func() upstream.UpstreamState { return f.State(tb)[0].Upstreams[0] }
	g.front = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, err := upstream.Canonicalise(r, scheme)
		var bad *upstream.BadRequest
		if errors.As(err, &bad) {
			http.Error(w, bad.Reason, bad.Status)
			return
		}
		route, ok := tb.Match(target)
		if !ok {
			http.Error(w, "no such host", http.StatusMisdirectedRequest)
			return
		}
		f.Forward(w, r, &upstream.ForwardRequest{Route: route, Target: target, Identity: *o.identity,
			ClientAddr: netip.MustParseAddr("203.0.113.7"), Detach: o.detach})
	}))
	g.front.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(lockedWriter{g}, nil), slog.LevelError)
	if o.tls {
		g.front.EnableHTTP2 = true
		g.front.StartTLS()
	} else {
		g.front.Start()
	}
	t.Cleanup(g.front.Close)
	return g
}

type lockedWriter struct{ g *harness }

func (w lockedWriter) Write(p []byte) (int, error) {
	w.g.mu.Lock()
	defer w.g.mu.Unlock()
	return w.g.log.Write(p)
}

func (g *harness) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := seen{Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header.Clone()}
		if next == nil {
			body, _ := io.ReadAll(r.Body)
			s.Body, s.Trailer = string(body), r.Trailer.Clone()
		}
		g.mu.Lock()
		g.seen = append(g.seen, s)
		g.mu.Unlock()
		if next != nil {
			next.ServeHTTP(w, r)
			return
		}
		io.WriteString(w, "ok")
	})
}

// requests returns what upstreams have received so far.
func (g *harness) requests() []seen {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]seen(nil), g.seen...)
}

func (g *harness) last() seen {
	g.t.Helper()
	all := g.requests()
	if len(all) == 0 {
		g.t.Fatal("nothing reached the upstream")
	}
	return all[len(all)-1]
}

func (g *harness) logged() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.String()
}

func (g *harness) failures() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]int(nil), g.errors...)
}

// do sends a request for path with an ordinary client.
func (g *harness) do(method, path string, body io.Reader, header http.Header) *http.Response {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	g.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, g.front.URL+path, body)
	if err != nil {
		g.t.Fatal(err)
	}
	req.Host = "app.example"
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := g.front.Client().Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { res.Body.Close() })
	return res
}

// raw opens a connection, sends text as it is, and returns it for reading.
func (g *harness) raw(text string) (net.Conn, *bufio.Reader) {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.front.Listener.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	g.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		g.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// rawStatus sends text as it is and returns the status of the first answer, 0 if
// the connection was closed without one.
func (g *harness) rawStatus(text string) int {
	g.t.Helper()
	conn, br := g.raw(text)
	defer conn.Close()
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func text(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

// current is the handler behind swap: one server, other behaviour.
var current atomic.Pointer[http.HandlerFunc]

func swap(h *http.HandlerFunc) http.Handler {
	current.Store(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*current.Load())(w, r) })
}
