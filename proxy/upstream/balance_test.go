package upstream_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/proxy/upstream"
)

// killable is an upstream that can die with everything it has open, and come back
// on the same port.
type killable struct {
	t       testing.TB
	addr    string
	handler http.Handler
	srv     *http.Server
}

func newKillable(t testing.TB, h http.Handler) *killable {
	k := &killable{t: t, addr: "127.0.0.1:0", handler: h}
	k.start()
	t.Cleanup(k.kill)
	return k
}

func (k *killable) start() {
	ln, err := net.Listen("tcp", k.addr)
	if err != nil {
		k.t.Fatal(err)
	}
	k.addr = ln.Addr().String()
	k.srv = &http.Server{Handler: k.handler}
	go k.srv.Serve(ln)
}

func (k *killable) kill()       { k.srv.Close() }
func (k *killable) url() string { return "http://" + k.addr }

// Nothing idempotent is lost when an upstream dies under load and comes back,
// and nothing else is ever sent twice.
func TestKillUpstreamUnderLoad(t *testing.T) {
	var mu sync.Mutex
	posts := make(map[string]int)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			mu.Lock()
			posts[r.URL.RawQuery]++
			mu.Unlock()
		}
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "ok")
	})
	a, b := newKillable(t, h), newKillable(t, h)
	g := newRig(t, options{route: upstream.RouteConfig{To: []string{a.url(), b.url()}}})
	g.front.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 64

	ask := func(method, path string, body io.Reader) int {
		req, _ := http.NewRequest(method, g.front.URL+path, body)
		req.Host = "app.example"
		res, err := g.front.Client().Do(req)
		if err != nil {
			t.Error(err)
			return 0
		}
		defer res.Body.Close()
		io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	var served, lost atomic.Int64
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				served.Add(1)
				if i%3 == 0 {
					ask("POST", fmt.Sprintf("/?%d-%d", i, n), strings.NewReader("x")) // may fail, must not be repeated
				} else if status := ask([]string{"GET", "HEAD"}[n%2], "/", nil); status != 200 {
					lost.Add(1)
				}
			}
		})
	}
	until := func(n int64) {
		for target := served.Load() + n; served.Load() < target; {
			time.Sleep(time.Millisecond)
		}
	}
	for range 3 {
		until(300)
		a.kill()
		until(300)
		a.start()
	}
	until(300)
	close(done)
	wg.Wait()
	if lost.Load() != 0 {
		t.Errorf("%d of %d requests were lost", lost.Load(), served.Load())
	}
	for id, n := range posts {
		if n > 1 {
			t.Errorf("POST %s was sent %d times", id, n)
		}
	}
}

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
				g := newRig(t, o)
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
			g := newRig(t, o)
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
// nobody knows what became of it.
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
			if res := newRig(t, o).do(method, "/", nil, nil); res.StatusCode != 502 || had.Load() != 1 {
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
	f := upstream.NewForwarder(upstream.Config{})
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

// H6: bytes that an upstream sends unasked (the second of two answers to a
// smuggled request, or a late 408) are not the answer to the next request.
func TestAttackH6UnsolicitedAnswer(t *testing.T) {
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
	g := newRig(t, options{route: to("http://" + ln.Addr().String())})
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

func TestConnectionLimit(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	g := newRig(t, options{
		route: upstream.RouteConfig{MaxConns: 2, Timeouts: upstream.Timeouts{Wait: 50 * time.Millisecond}},
		upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/held" {
				entered <- struct{}{}
				<-leave
			}
		}),
	})
	done := make(chan int, 3)
	held := func() { done <- g.do("GET", "/held", nil, nil).StatusCode }
	go held()
	go held()
	<-entered
	<-entered
	res := g.do("GET", "/", nil, nil)
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Error("beyond the limit:", res.Status, res.Header)
	}
	leave <- struct{}{}
	if res := g.do("GET", "/", nil, nil); res.StatusCode != 200 {
		t.Error("within it:", res.Status)
	}
	leave <- struct{}{}
	if a, b := <-done, <-done; a != 200 || b != 200 {
		t.Error(a, b)
	}
}

// A request that waits is let in by the one that ends.
func TestConnectionLimitWakes(t *testing.T) {
	entered, leave := make(chan struct{}, 9), make(chan struct{})
	g := newRig(t, options{
		route: upstream.RouteConfig{MaxConns: 1, Timeouts: upstream.Timeouts{Wait: 20 * time.Second}},
		upstream: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			entered <- struct{}{}
			<-leave
		}),
	})
	done := make(chan int, 5)
	for range 5 {
		go func() { done <- g.do("GET", "/", nil, nil).StatusCode }()
	}
	for range 5 {
		<-entered
		leave <- struct{}{}
		if status := <-done; status != 200 {
			t.Error(status)
		}
	}
}

func TestActiveCheck(t *testing.T) {
	var healthy atomic.Bool
	healthy.Store(true)
	checks := make(chan bool)
	quit := make(chan struct{})
	defer close(quit)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			return
		}
		if r.Header.Get("X-Sallyport-User") != "" || r.Host != "app.inner" || r.URL.RawQuery != "deep=1" {
			t.Errorf("%+v", r)
		}
		ok := healthy.Load()
		if !ok {
			w.WriteHeader(500)
		}
		select {
		case checks <- ok:
		case <-quit:
		}
	}))
	defer up.Close()
	tb := table(t, []upstream.RouteConfig{{Name: "a", From: "http://app.example", To: []string{up.URL}, Host: "app.inner",
		Health: upstream.HealthCheck{Path: "/healthz?deep=1", Interval: 10 * time.Millisecond}}})
	f := upstream.NewForwarder(upstream.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- f.Run(ctx) }()
	f.Use(tb)
	ask := func() int {
		target, _ := upstream.Canonicalise(asked("GET", "app.example", "/"), "http")
		w := newRecorder()
		f.Forward(w, asked("GET", "app.example", "/"), &upstream.ForwardRequest{Route: tb.Routes()[0], Target: target})
		return w.Code
	}
	// The third answer of a kind is asked for after the second was digested.
	see := func(want bool) {
		for n := 0; n < 3; {
			if got := <-checks; got == want {
				n++
			}
		}
	}
	see(true)
	if s := f.State(tb)[0].Upstreams[0]; s.Check != "passing" || !s.Healthy || ask() != 200 {
		t.Errorf("%+v", s)
	}
	healthy.Store(false)
	see(false)
	if s := f.State(tb)[0].Upstreams[0]; s.Check != "failing" || s.Healthy || s.CheckError == "" || ask() != 503 {
		t.Errorf("%+v", s)
	}
	healthy.Store(true)
	see(true)
	if s := f.State(tb)[0].Upstreams[0]; s.Check != "passing" || ask() != 200 {
		t.Errorf("%+v", s)
	}
	f.Use(table(t, routes("b", "http://b.example"))) // forgotten: the check ends
	cancel()
	go func() {
		for range checks {
		}
	}()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStateAfterFailures(t *testing.T) {
	dead := closedPort(t)
	var tb *upstream.Table
	up := newKillable(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	tb = table(t, []upstream.RouteConfig{{Name: "a", From: "http://app.example", To: []string{dead, up.url()}}})
	f := upstream.NewForwarder(upstream.Config{})
	target, _ := upstream.Canonicalise(asked("GET", "app.example", "/"), "http")
	for range 10 {
		w := newRecorder()
		f.Forward(w, asked("GET", "app.example", "/"), &upstream.ForwardRequest{Route: tb.Routes()[0], Target: target})
		if w.Code != 200 {
			t.Error(w.Code)
		}
	}
	s := f.State(tb)[0]
	bad, good := s.Upstreams[0], s.Upstreams[1]
	if s.Route != "a" || s.From != "http://app.example/" || bad.Healthy || bad.EjectedUntil.IsZero() || bad.Errors != 3 ||
		!strings.Contains(bad.LastError, "refused") || !good.Healthy || good.Requests != 10 || good.Connections != 1 || good.Outstanding != 0 {
		t.Errorf("%+v", s)
	}
}

func TestUpstreamOptionsAreChecked(t *testing.T) {
	for want, c := range map[string]upstream.RouteConfig{
		"name one":              {To: []string{"h2c://x"}},
		"absolute path":         {To: []string{"unix:run/x.sock"}},
		"107 bytes":             {To: []string{"unix:/" + strings.Repeat("x", 108)}},
		"same upstream twice":   {To: []string{"unix:/run/x.sock", "unix:///run/./x.sock"}},
		"http:// or":            {To: []string{"ftp://x"}},
		"no upstream":           {To: []string{"http://x"}, TLS: upstream.TLSConfig{ServerName: "x"}},
		"go together":           {To: []string{"https://x"}, TLS: upstream.TLSConfig{CertFile: "x"}},
		"min_version":           {To: []string{"https://x"}, TLS: upstream.TLSConfig{MinVersion: "1.0"}},
		"ca_file":               {To: []string{"https://x"}, TLS: upstream.TLSConfig{CAFile: "/nonexistent"}},
		"no certificate":        {To: []string{"https://x"}, TLS: upstream.TLSConfig{CAFile: "tls.go"}},
		"not a canonical path":  {To: []string{"http://x"}, Health: upstream.HealthCheck{Path: "/../x"}},
		"needs a path":          {To: []string{"http://x"}, Health: upstream.HealthCheck{Status: 204}},
		"must be positive":      {To: []string{"http://x"}, Health: upstream.HealthCheck{Path: "/", Interval: time.Second, Timeout: time.Minute}},
		"must be from 200":      {To: []string{"http://x"}, Health: upstream.HealthCheck{Path: "/", Status: 99}},
		"a limit is negative":   {To: []string{"http://x"}, MaxConns: -1},
		"an upstream has no pa": {To: []string{"h2c://x:1/path"}},
	} {
		c.Name, c.From = "a", "http://a.example"
		if _, err := upstream.NewTable([]upstream.RouteConfig{c}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	tb := table(t, []upstream.RouteConfig{{Name: "a", From: "http://a.example", To: []string{"unix:///run/x.sock", "unix+h2c:/run/y.sock", "h2c://X:1"}}})
	var got []string
	for _, u := range tb.Routes()[0].To {
		got = append(got, u.String())
	}
	if !slices.Equal(got, []string{"unix:/run/x.sock", "unix+h2c:/run/y.sock", "h2c://x:1"}) {
		t.Error(got)
	}
}
