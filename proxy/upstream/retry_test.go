package upstream_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// What may go to a second upstream when the first refuses connections.
func TestRetryOnlyWhatIsIdempotent(t *testing.T) {
	for _, c := range []struct {
		method, body string
		chunked      bool
		want         int
	}{
		{"GET", "", false, 200}, {"HEAD", "", false, 200}, {"OPTIONS", "", false, 200}, {"DELETE", "", false, 200},
		{"PUT", "small", false, 200}, {"PUT", "chunked", true, 200}, {"PUT", strings.Repeat("x", 1<<20), false, 200},
		{"POST", "", false, 502}, {"POST", "x", false, 502}, {"POST", "x", true, 502}, {"PATCH", "x", false, 502}, {"PROPFIND", "", false, 502},
	} {
		for _, long := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %d bytes, chunked %v, long way %v", c.method, len(c.body), c.chunked, long), func(t *testing.T) {
				var got atomic.Pointer[string]
				up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					s := string(b)
					got.Store(&s)
				}))
				defer up.Close()
				dead := closedPort(t)
				o := options{route: upstream.RouteConfig{To: []string{up.URL, dead}}}
				if long { // an https upstream on the route rules the short way out
					o.route.To = append(o.route.To, strings.Replace(closedPort(t), "http:", "https:", 1))
				}
				g := newHarness(t, o)
				failed := false
				for range len(o.route.To) { // in turn: each is tried first once
					var body io.Reader
					if c.body != "" {
						body = strings.NewReader(c.body)
					}
					if c.chunked {
						body = io.MultiReader(body)
					}
					got.Store(nil)
					res := g.do(c.method, "/", body, http.Header{"Idempotency-Key": {"k"}})
					if res.StatusCode == 200 && *got.Load() != c.body {
						t.Errorf("the upstream got %d bytes", len(*got.Load()))
					}
					failed = failed || res.StatusCode == 502
					if res.StatusCode != 200 && res.StatusCode != 502 {
						t.Error(res.Status)
					}
					text(t, res)
				}
				if failed != (c.want == 502) && !(long && c.want == 200) { // two dead ones of three: one other is tried, not all
					t.Errorf("failed: %v", failed)
				}
			})
		}
	}
}

// oneShot answers the first request of each connection and reads the second
// without answering it, as a server does that dies just then.
type oneShot struct {
	net.Listener
	mu   sync.Mutex
	seen []string
}

func newOneShot(t *testing.T, second func(net.Conn)) *oneShot {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	o := &oneShot{Listener: ln}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go o.serve(conn, second)
		}
	}()
	return o
}

func (o *oneShot) serve(conn net.Conn, second func(net.Conn)) {
	defer conn.Close()
	br := newReader(conn)
	for i := range 2 {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body)
		o.mu.Lock()
		o.seen = append(o.seen, req.Method+" "+req.RequestURI)
		o.mu.Unlock()
		if i == 0 {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		} else {
			second(conn)
		}
	}
}

func (o *oneShot) count(s string) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, v := range o.seen {
		if v == s {
			n++
		}
	}
	return n
}

// A connection that dies with the request on it: the upstream may have acted on
// it. Only a safe method is sent again.
func TestReusedConnectionThatDies(t *testing.T) {
	for _, c := range []struct {
		method string
		header http.Header
		sent   int
		status int
	}{
		{"GET", nil, 2, 200}, {"HEAD", nil, 2, 200}, {"OPTIONS", nil, 2, 200},
		{"POST", nil, 1, 502}, {"PUT", nil, 1, 502}, {"DELETE", nil, 1, 502},
		{"POST", http.Header{"Idempotency-Key": {"k"}}, 1, 502}, {"POST", http.Header{"X-Idempotency-Key": {"k"}}, 1, 502},
	} {
		for _, long := range []bool{false, true} {
			up := newOneShot(t, func(net.Conn) {})
			o := options{route: to("http://" + up.Addr().String())}
			if long {
				o.config.Transport = func(*upstream.Route) http.RoundTripper { return http.DefaultTransport }
			}
			g := newHarness(t, o)
			text(t, g.do("GET", "/first", nil, nil))
			res := g.do(c.method, "/second", nil, c.header)
			text(t, res)
			if n := up.count(c.method + " /second"); res.StatusCode != c.status || n != c.sent {
				t.Errorf("%s %v, long way %v: sent %d times, answered %d; want %d, %d", c.method, c.header, long, n, res.StatusCode, c.sent, c.status)
			}
			g.front.Close()
			http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		}
	}
}

// A request that an upstream had, and did not answer, goes nowhere else:
// no one knows what became of it.
func TestRequestThatWasSentIsNotSentElsewhere(t *testing.T) {
	for _, method := range []string{"GET", "PUT", "DELETE", "POST"} {
		for _, long := range []bool{false, true} {
			var had atomic.Int32
			hangUp := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				had.Add(1)
				conn, _, _ := http.NewResponseController(w).Hijack()
				conn.Close()
			})
			a, b := httptest.NewServer(hangUp), httptest.NewServer(hangUp)
			o := options{route: to(a.URL, b.URL)}
			if long {
				o.config.Transport = func(*upstream.Route) http.RoundTripper { return new(http.Transport) }
			}
			if res := newHarness(t, o).do(method, "/", nil, nil); res.StatusCode != 502 || had.Load() != 1 {
				t.Errorf("%s, long way %v: %s, sent %d times", method, long, res.Status, had.Load())
			}
			a.Close()
			b.Close()
		}
	}
}

// One other upstream is tried, not all.
func TestOneOtherUpstreamIsTried(t *testing.T) {
	tb := table(t, []upstream.RouteConfig{{Name: "a", From: "http://app.example", To: []string{closedPort(t), closedPort(t), closedPort(t)}}})
	f := proxytest.NewForwarder(upstream.Config{})
	target, _ := upstream.Canonicalise(asked("GET", "app.example", "/"), "http")
	w := newRecorder()
	f.Forward(w, asked("GET", "app.example", "/"), &upstream.ForwardRequest{Route: tb.Routes()[0], Target: target})
	tried := uint64(0)
	for _, s := range f.State(tb)[0].Upstreams {
		tried += s.Errors
		if s.Outstanding != 0 || s.Connections != 0 {
			t.Errorf("%+v", s)
		}
	}
	if w.Code != 502 || tried != 2 {
		t.Errorf("%d after %d attempts", w.Code, tried)
	}
}

// Bytes that an upstream sends unasked (the second of two answers to a
// smuggled request, or a late 408) are not the answer to the next request.
func TestAttackUnsolicitedAnswer(t *testing.T) {
	release := make(chan struct{})
	sent := make(chan struct{}, 8)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				br := newReader(conn)
				for {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
					if req.URL.Path == "/late" {
						<-release
					}
					if req.URL.Path != "/plain" {
						io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
						sent <- struct{}{}
					}
				}
			}()
		}
	}()
	g := newHarness(t, options{route: to("http://" + ln.Addr().String())})
	for range 5 {
		for _, path := range []string{"/late", "/plain", "/at-once", "/plain"} {
			if got := text(t, g.do("GET", path, nil, nil)); got != "good" {
				t.Fatalf("%s was answered with %q", path, got)
			}
			if path == "/late" {
				release <- struct{}{}
			}
			if path != "/plain" {
				<-sent
			}
		}
	}
}
