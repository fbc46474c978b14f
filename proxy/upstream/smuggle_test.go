package upstream_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/proxy/upstream"
)

// wiretap is an upstream that keeps every byte it is sent.
type wiretap struct {
	net.Listener
	mu    sync.Mutex
	bytes bytes.Buffer
}

type tappedConn struct {
	net.Conn
	tap *wiretap
}

func (w *wiretap) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	return tappedConn{conn, w}, err
}

func (c tappedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.tap.mu.Lock()
	defer c.tap.mu.Unlock()
	c.tap.bytes.Write(p[:n])
	return n, err
}

func (w *wiretap) sent() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes.String()
}

// tapped is a harness in front of a wiretap. judged are the targets of the requests
// that the front saw, in order.
func tapped(t *testing.T) (g *harness, tap *wiretap, judged func() []string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tap = &wiretap{Listener: ln}
	up := httptest.NewUnstartedServer(nil)
	up.Listener.Close()
	up.Listener = tap
	g = newHarness(t, options{route: upstream.RouteConfig{To: []string{"http://" + ln.Addr().String()}}})
	up.Config.Handler = g.record(nil)
	up.Start()
	t.Cleanup(up.Close)

	var mu sync.Mutex
	var targets []string
	inner := g.front.Config.Handler
	g.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		targets = append(targets, r.Method+" "+r.RequestURI)
		mu.Unlock()
		inner.ServeHTTP(w, r)
	})
	return g, tap, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(targets)
	}
}

// However a request is framed, the upstream sees the requests that were
// judged and no others, and each is framed in one way only.
func TestAttackSmuggling(t *testing.T) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: app.example\r\nX-Sallyport-User: evil\r\n\r\n"
	for name, c := range map[string]struct {
		head, body string
		refused    bool // nothing at all may reach the upstream
	}{
		"CL.TE":                    {"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + smuggled, false},
		"TE.CL":                    {"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5c\r\n" + smuggled + "\r\n0\r\n\r\n", false},
		"two lengths":              {"Content-Length: 0\r\nContent-Length: 80\r\n", smuggled, true},
		"a list of lengths":        {"Content-Length: 0, 80\r\n", smuggled, true},
		"signed length":            {"Content-Length: +0\r\n", smuggled, true},
		"negative length":          {"Content-Length: -1\r\n", smuggled, true},
		"hexadecimal length":       {"Content-Length: 0x10\r\n", smuggled, true},
		"overflowing length":       {"Content-Length: 18446744073709551616\r\n", smuggled, true},
		"space before the colon":   {"Transfer-Encoding : chunked\r\n", "0\r\n\r\n" + smuggled, true},
		"vertical tab":             {"Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n" + smuggled, true},
		"xchunked":                 {"Transfer-Encoding: xchunked\r\n", "0\r\n\r\n" + smuggled, true},
		"identity":                 {"Transfer-Encoding: identity\r\nContent-Length: 0\r\n", smuggled, true},
		"chunked, identity":        {"Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n" + smuggled, true},
		"chunked twice":            {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + smuggled, true},
		"chunked and nonsense":     {"Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n", "0\r\n\r\n" + smuggled, true},
		"a bare line feed header":  {"X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + smuggled, false},
		"a bare carriage return":   {"X: y\rTransfer-Encoding: chunked\r\n", smuggled, true},
		"underscore":               {"Transfer_Encoding: chunked\r\nContent-Length: 0\r\n", smuggled, false},
		"named hop-by-hop":         {"Connection: Transfer-Encoding, Content-Length\r\nContent-Length: 0\r\n", smuggled, false},
		"chunk extension":          {"Transfer-Encoding: chunked\r\n", "0;x=\"\r\n\r\n" + smuggled, false},
		"chunk of signed size":     {"Transfer-Encoding: chunked\r\n", "+0\r\n\r\n" + smuggled, false},
		"chunk of huge size":       {"Transfer-Encoding: chunked\r\n", "ffffffffffffffff1\r\n" + smuggled, false},
		"chunk with bare LF":       {"Transfer-Encoding: chunked\r\n", "0\n\n" + smuggled, false},
		"smuggled in the trailers": {"Transfer-Encoding: chunked\r\n", "0\r\nX-Sallyport-User: evil\r\nTransfer-Encoding: chunked\r\n\r\n" + smuggled, false},
	} {
		t.Run(name, func(t *testing.T) {
			g, tap, judged := tapped(t)
			conn, br := g.raw("POST /first HTTP/1.1\r\nHost: app.example\r\n" + c.head + "\r\n" + c.body)
			conn.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, br) // until the front closes the connection
			g.front.Close()         // and its handlers have returned

			var forwarded []string
			for _, s := range g.requests() {
				forwarded = append(forwarded, s.Method+" "+s.URI)
				if s.Header.Get("X-Sallyport-User") != "u-17" {
					t.Errorf("%s was not forwarded by us: %v", s.URI, s.Header)
				}
			}
			if c.refused && len(forwarded) != 0 {
				t.Errorf("forwarded %q", forwarded)
			}
			for _, f := range forwarded {
				if !slices.Contains(judged(), f) {
					t.Errorf("%q reached the upstream; judged were %q", f, judged())
				}
			}
			for _, request := range strings.Split(tap.sent(), "HTTP/1.1\r\n")[1:] {
				head, _, _ := strings.Cut(request, "\r\n\r\n")
				if n := strings.Count(strings.ToLower("\r\n"+head), "\r\ncontent-length:") + strings.Count(strings.ToLower("\r\n"+head), "\r\ntransfer-encoding:"); n > 1 {
					t.Errorf("framed in %d ways:\n%s", n, head)
				}
			}
		})
	}
}

// Request lines and hosts that a client library would not send.
func TestAttackRequestLines(t *testing.T) {
	g := newHarness(t, options{})
	for _, text := range []string{
		"CONNECT app.example:443 HTTP/1.1\r\nHost: app.example:443\r\n\r\n",
		"CONNECT / HTTP/1.1\r\nHost: app.example\r\n\r\n",
		"TRACE / HTTP/1.1\r\nHost: app.example\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: app.example\r\nContent-Length: 0\r\n\r\n",
		"GET http://app.example/ HTTP/1.1\r\nHost: app.example\r\n\r\n",
		"GET http://app.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n",
		"GET https://app.example/ HTTP/1.1\r\nHost: app.example\r\n\r\n",
		"GET ftp://app.example/ HTTP/1.1\r\nHost: app.example\r\n\r\n",
		"GET //app.example/ HTTP/1.1\r\nHost: app.example\r\n\r\n",
		"GET app.example/ HTTP/1.1\r\nHost: app.example\r\n\r\n",
		"GET  / HTTP/1.1\r\nHost: app.example\r\n\r\n",
		"GET /a b HTTP/1.1\r\nHost: app.example\r\n\r\n",
		"GET /a\tb HTTP/1.1\r\nHost: app.example\r\n\r\n",
		"GET /#x HTTP/1.1\r\nHost: app.example\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: app.example\r\nHost: app.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: app.example, other.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: app.example\x00\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: user@app.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: app.example:80:80\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: app.example:81\r\n\r\n",
		"GET / HTTP/3.0\r\nHost: app.example\r\n\r\n",
		"GET /\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: app.example\r\nX: a\x00b\r\n\r\n",
	} {
		if status := g.rawStatus(text); status != 0 && status < 400 && !strings.HasPrefix(text, "OPTIONS *") {
			t.Errorf("%q: %d", text, status)
		}
	}
	if all := g.requests(); len(all) != 0 {
		t.Errorf("reached the upstream: %+v", all)
	}
	if status := g.rawStatus("GET / HTTP/1.1\r\nHost: APP.example.:80\r\n\r\n"); status != 200 || g.last().Host != "app.example" {
		t.Error(status)
	}
	if status := g.rawStatus("GET / HTTP/1.0\r\nHost: app.example\r\n\r\n"); status != 200 {
		t.Error(status)
	}
}
