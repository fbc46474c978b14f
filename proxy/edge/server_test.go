package edge_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sallyport/authn/clocktest"
	"sallyport/proxy/edge"
	"sallyport/proxy/proxytest"
)

// harness is a server built by this package.
type harness struct {
	*edge.Server
	t    testing.TB
	addr string
	pki  *pki
	tls  bool
}

// newHarness serves c on a loopback port until the test ends.
func newHarness(t testing.TB, c edge.Config, wrap ...func(net.Listener) net.Listener) *harness {
	t.Helper()
	if c.Handler == nil {
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s", r.Method, r.URL.Path) })
	}
	s, err := proxytest.NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := edge.Listen(t.Context(), edge.ListenConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	for _, f := range wrap {
		ln = f(ln)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return &harness{Server: s, t: t, addr: addr, tls: c.TLS != nil}
}

// newTLSHarness is start with a certificate for app.example.
func newTLSHarness(t testing.TB, c edge.Config) *harness {
	t.Helper()
	p := newPKI(t)
	cert, key := p.files(p.leaf("app.example"))
	certs, err := edge.NewCertificates(edge.CertConfig{Pairs: []edge.CertPair{{CertFile: cert, KeyFile: key}}})
	if err != nil {
		t.Fatal(err)
	}
	if c.TLS, err = edge.NewTLS(edge.TLSConfig{Certificates: certs}); err != nil {
		t.Fatal(err)
	}
	g := newHarness(t, c)
	g.pki = p
	return g
}

// dial opens a connection, in TLS with the given protocol if the server speaks it.
func (g *harness) dial(proto ...string) net.Conn {
	g.t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second)) // a test that hangs fails
	if !g.tls {
		return c
	}
	tc := tls.Client(c, &tls.Config{RootCAs: g.pki.pool, ServerName: "app.example", NextProtos: proto})
	if err := tc.Handshake(); err != nil {
		g.t.Fatal(err)
	}
	return tc
}

// send writes raw bytes and returns what to read the answers from. A server may
// hang up before it has read them all: that is what a refusal looks like.
func (g *harness) send(raw string) (net.Conn, *bufio.Reader) {
	g.t.Helper()
	c := g.dial()
	if _, err := io.WriteString(c, raw); err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		g.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func (g *harness) client(proto string) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(proto == "http/1.1")
	p.SetHTTP2(proto == "h2")
	tr := &http.Transport{Protocols: p, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", g.addr)
	}}
	if g.pki != nil {
		tr.TLSClientConfig = &tls.Config{RootCAs: g.pki.pool}
	}
	g.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func status(t testing.TB, br *bufio.Reader) int {
	t.Helper()
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func TestConfigIsChecked(t *testing.T) {
	ok := http.NotFoundHandler()
	for name, c := range map[string]edge.Config{
		"no handler":      {},
		"negative limit":  {Handler: ok, Limits: edge.Limits{Connections: -1}},
		"negative pace":   {Handler: ok, Pace: edge.Pace{MinRate: -1}},
		"invalid network": {Handler: ok, Limits: edge.Limits{Exempt: make([]prefix, 1)}},
	} {
		if _, err := proxytest.NewServer(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, limits := range map[string]func(*edge.Limits) *int{
		"HeaderBytes":          func(l *edge.Limits) *int { return &l.HeaderBytes },
		"Headers":              func(l *edge.Limits) *int { return &l.Headers },
		"URLBytes":             func(l *edge.Limits) *int { return &l.URLBytes },
		"Connections":          func(l *edge.Limits) *int { return &l.Connections },
		"ConnectionsPerClient": func(l *edge.Limits) *int { return &l.ConnectionsPerClient },
	} {
		c := proxytest.Edge(edge.Config{Handler: ok})
		*limits(&c.Limits) = 0
		if _, err := edge.New(c); err == nil || !strings.Contains(err.Error(), "Limits."+name+" is 0") {
			t.Errorf("no %s: %v", name, err)
		}
	}
}

func TestProtocols(t *testing.T) {
	g := newTLSHarness(t, edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })})
	for _, proto := range []string{"http/1.1", "h2"} {
		res, err := g.client(proto).Get("https://app.example/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		if want := map[string]string{"h2": "HTTP/2.0", "http/1.1": "HTTP/1.1"}[proto]; string(body) != want {
			t.Errorf("%s: served %q", proto, body)
		}
	}
}

// What one request can make the server hold, over both protocols.
func TestAttackOversizedRequests(t *testing.T) {
	limits := edge.Limits{HeaderBytes: 16 << 10, Headers: 50, URLBytes: 2000}
	reached := 0
	g := newTLSHarness(t, edge.Config{Limits: limits, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ })})
	for _, proto := range []string{"http/1.1", "h2"} {
		for name, c := range map[string]struct {
			path   string
			header http.Header
			want   int
		}{
			"long URL":     {"/" + strings.Repeat("a", 2000), nil, 414},
			"many headers": {"/", http.Header{"X": strings.Split(strings.Repeat("a,", 60), ",")}, 431},
			"big header":   {"/", http.Header{"X": {strings.Repeat("a", 12<<10), strings.Repeat("b", 12<<10)}}, 0},
			"big cookie":   {"/", http.Header{"Cookie": {"c=" + strings.Repeat("a", 15<<10) + "; d=" + strings.Repeat("b", 15<<10)}}, 0},
			"huge header":  {"/", http.Header{"X": {strings.Repeat("a", 64<<10)}}, 0},
		} {
			req, _ := http.NewRequest("GET", "https://app.example"+c.path, nil)
			req.Header = c.header
			res, err := g.client(proto).Do(req)
			if c.want == 0 && err != nil {
				continue // so far beyond that HTTP/2 ends the connection, or the client does not even ask
			}
			if err != nil {
				t.Errorf("%s, %s: %v", proto, name, err)
				continue
			}
			res.Body.Close()
			if c.want == 0 {
				c.want = 431
			}
			if res.StatusCode != c.want {
				t.Errorf("%s, %s: got %d, want %d", proto, name, res.StatusCode, c.want)
			}
		}
	}
	f := g.framer()
	long := strings.Repeat("{", 9<<10) // in two, one frame each, a little beyond the limit
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: f.block(":method", "GET", ":scheme", "https", ":authority", "app.example", ":path", "/", "x", long)})
	f.WriteContinuation(1, true, f.block("y", long))
	if got := f.status(1); got != "431" {
		t.Errorf("a big header over HTTP/2: %s", got)
	}
	if s := g.Stats(); reached != 0 || s.LongURLs != 2 || s.ManyHeaders != 2 {
		t.Errorf("%d requests reached the handler; %+v", reached, s)
	}
}

// A header that is too large is counted, in each outcome: our own answer, net/http's, or the end of an HTTP/2 connection. One
// limit means the same in both protocols.
func TestLargeHeaders(t *testing.T) {
	for name, c := range map[string]struct {
		fields int // of 1000 bytes each
		one    int // bytes of one more field
		proto  string
		status string // "": the connection ends
		ours   bool
	}{
		"HTTP/1.1, within":           {fields: 30, proto: "http/1.1", status: "200"},
		"HTTP/1.1, beyond":           {fields: 47, proto: "http/1.1", status: "431"},
		"HTTP/2, within":             {fields: 30, proto: "h2", status: "200"},
		"HTTP/2, beyond":             {fields: 47, proto: "h2", status: "431", ours: true},
		"HTTP/2, one cookie beyond":  {one: 47 << 10, proto: "h2", status: "431", ours: true},
		"HTTP/2, a little too far":   {fields: 64, proto: "h2", status: "431"},
		"HTTP/2, far beyond":         {fields: 300, proto: "h2"},
		"HTTP/2, one cookie too far": {one: 100 << 10, proto: "h2"},
	} {
		t.Run(name, func(t *testing.T) {
			var exceeded atomic.Int64
			var ours, large atomic.Bool
			g := newTLSHarness(t, edge.Config{
				Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
				Exceeded: func(limit string) {
					if limit != "header_bytes" {
						t.Errorf("%s was exceeded", limit)
					}
					exceeded.Add(1)
				},
				Refuse: func(w http.ResponseWriter, r *http.Request, status int, _ string) {
					ours.Store(true)
					large.Store(edge.LargeHeader(w) && r.Header.Get("Cookie") == "" && r.Header.Get("Accept") == "text/html")
					w.WriteHeader(status)
				},
			})
			fields := []string{"accept", "text/html"}
			for n := range c.fields {
				fields = append(fields, fmt.Sprintf("x-%03d", n), strings.Repeat("{", 1000)) // no Huffman code makes it shorter
			}
			if c.one > 0 {
				fields = append(fields, "cookie", strings.Repeat("{", c.one))
			}
			got := ""
			if c.proto == "http/1.1" {
				conn := g.dial(c.proto)
				var b strings.Builder
				for n := 0; n < len(fields); n += 2 {
					fmt.Fprintf(&b, "%s: %s\r\n", fields[n], fields[n+1])
				}
				io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.example\r\n"+b.String()+"\r\n")
				if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
					got = strconv.Itoa(res.StatusCode)
				}
			} else {
				got = g.framer().answer(fields...)
			}
			if got != c.status || ours.Load() != c.ours || large.Load() != c.ours {
				t.Errorf("status %q, ours %v, said to be large and without its cookies %v", got, ours.Load(), large.Load())
			}
			want := int64(1) // what is ours is for Refuse to count
			if c.ours || c.status == "200" {
				want = 0
			}
			if n := exceeded.Load(); n != want {
				t.Errorf("counted %d times", n)
			}
		})
	}
}

// answer sends a request in as many frames as it takes, and returns the status, or "" if the connection ends.
func (f *framer) answer(fields ...string) (status string) {
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	block := f.block(append([]string{":method", "GET", ":scheme", "https", ":authority", "app.example", ":path", "/"}, fields...)...)
	go func() { // the server may close while this is written
		const frame = 16 << 10
		for at := 0; at < len(block); at += frame {
			piece, last := block[at:min(len(block), at+frame)], at+frame >= len(block)
			err := f.locked(func() error {
				if at == 0 {
					return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: last, BlockFragment: piece})
				}
				return f.WriteContinuation(1, last, piece)
			})
			if err != nil {
				return
			}
		}
	}()
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			return ""
		}
		switch fr := fr.(type) {
		case *http2.MetaHeadersFrame:
			return fr.PseudoValue("status")
		case *http2.GoAwayFrame:
			return ""
		}
	}
}

// Nothing but the handler answers on the data port.
func TestAttackNothingBesideTheHandler(t *testing.T) {
	g := newHarness(t, edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(418) })})
	for _, line := range []string{"GET /debug/pprof/ HTTP/1.1", "GET /metrics HTTP/1.1", "GET /debug/vars HTTP/1.1", "OPTIONS * HTTP/1.1"} {
		_, br := g.send(line + "\r\nHost: app.example\r\n\r\n")
		if got := status(t, br); got != 418 {
			t.Errorf("%s: %d did not come from the handler", line, got)
		}
	}
}

func TestConnectionLimits(t *testing.T) {
	t.Run("in total", func(t *testing.T) {
		g := newHarness(t, edge.Config{Limits: edge.Limits{Connections: 2}})
		a, b := g.dial(), g.dial()
		clocktest.Eventually(t, "two connections", func() bool { return g.Stats().OpenConnections == 2 })
		c := g.dial()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") // which may fail already
		if _, err := c.Read(make([]byte, 1)); err == nil || g.Stats().RefusedTotal != 1 {
			t.Errorf("a third connection was served: %v, %+v", err, g.Stats())
		}
		a.Close()
		b.Close()
		clocktest.Eventually(t, "places are free again", func() bool { return g.Stats().OpenConnections == 0 })
		_, br := g.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if got := status(t, br); got != 200 {
			t.Errorf("got %d", got)
		}
	})
	t.Run("of one client", func(t *testing.T) {
		g := newHarness(t, edge.Config{Limits: edge.Limits{ConnectionsPerClient: 2}})
		keep := [2]net.Conn{}
		for i := range keep {
			c, br := g.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			status(t, br)
			keep[i] = c
		}
		_, br := g.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, err := br.ReadByte(); err == nil {
			t.Error("a third connection of one client was served")
		}
		keep[0].Close()
		clocktest.Eventually(t, "the place is free", func() bool { return g.Stats().OpenConnections == 1 })
		_, br = g.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if got := status(t, br); got != 200 {
			t.Errorf("got %d", got)
		}
	})
	t.Run("a proxy in front is not one client", func(t *testing.T) {
		g := newHarness(t, edge.Config{Limits: edge.Limits{ConnectionsPerClient: 1, Exempt: []prefix{parsePrefix("127.0.0.0/8")}}})
		for range 3 {
			_, br := g.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if got := status(t, br); got != 200 {
				t.Errorf("got %d", got)
			}
		}
	})
}

// With the PROXY protocol, clients are counted by the address in the header, and
// a peer that sends none does not keep others from being accepted.
func TestConnectionLimitBehindProxyProtocol(t *testing.T) {
	s, err := proxytest.NewServer(edge.Config{Limits: edge.Limits{ConnectionsPerClient: 1, Translators: []prefix{parsePrefix("2001:db8:64::/96")}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) })})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := edge.Listen(t.Context(), edge.ListenConfig{Address: "127.0.0.1:0", ProxyProtocol: true, Trusted: []prefix{parsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	g := &harness{Server: s, t: t, addr: ln.Addr().String()}
	g.dial() // says nothing
	ask := func(from string) (net.Conn, string) {
		to := "TCP4 " + from + " 127.0.0.1"
		if strings.Contains(from, ":") {
			to = "TCP6 " + from + " ::1"
		}
		c, br := g.send("PROXY " + to + " 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			return c, ""
		}
		body, _ := io.ReadAll(res.Body)
		return c, string(body)
	}
	if _, got := ask("192.0.2.1"); got != "192.0.2.1:1" {
		t.Errorf("served %q", got)
	}
	if _, got := ask("192.0.2.2"); got != "192.0.2.2:1" {
		t.Errorf("another client was served %q", got)
	}
	if _, got := ask("2001:db8:64::c000:20b"); got == "" {
		t.Error("a client of a translator was not served")
	}
	if _, got := ask("2001:db8:64::c000:20c"); got == "" {
		t.Error("another client of the translator pays for that one")
	}
	if _, got := ask("192.0.2.1"); got != "" {
		t.Error("a second connection of one client behind the load balancer was served")
	}
}

func pool(certs ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}
