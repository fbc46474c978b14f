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

	"sallyport/proxy/proxytest"
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
// and nothing else is ever sent twice. The exception is what was under way on a new
// connection: that upstream may have seen it, and it is told to the client.
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
	var served, lost atomic.Int64
	g := newHarness(t, options{
		route: upstream.RouteConfig{To: []string{a.url(), b.url()}},
		failed: func(r *http.Request, err error) {
			if r.Method != "POST" && !upstream.DiedNew(err) && lost.Add(1) == 1 {
				t.Errorf("%s failed: %v", r.Method, err)
			}
		},
	})
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
				} else {
					ask([]string{"GET", "HEAD"}[n%2], "/", nil)
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

func TestConnectionLimit(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	g := newHarness(t, options{
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
	g := newHarness(t, options{
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
	f := proxytest.NewForwarder(upstream.Config{})
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
	f := proxytest.NewForwarder(upstream.Config{})
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
		if _, err := proxytest.NewTable([]upstream.RouteConfig{c}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for name, zero := range map[string]func(*upstream.RouteConfig){
		"Timeouts.Connect is 0":        func(c *upstream.RouteConfig) { c.Timeouts.Connect = 0 },
		"Timeouts.ResponseHeader is 0": func(c *upstream.RouteConfig) { c.Timeouts.ResponseHeader = 0 },
		"Timeouts.Idle is 0":           func(c *upstream.RouteConfig) { c.Timeouts.Idle = 0 },
		"Timeouts.Wait is 0":           func(c *upstream.RouteConfig) { c.Timeouts.Wait = 0 },
		"MaxResponseHeader is 0":       func(c *upstream.RouteConfig) { c.MaxResponseHeader = 0 },
		"MaxBody is 0":                 func(c *upstream.RouteConfig) { c.MaxBody = 0 },
		"interval 0s":                  func(c *upstream.RouteConfig) { c.Health.Interval = 0 },
		"timeout 0s":                   func(c *upstream.RouteConfig) { c.Health.Timeout = 0 },
	} {
		c := proxytest.Route(upstream.RouteConfig{Name: "a", From: "http://a.example", To: []string{"http://x"}, Health: upstream.HealthCheck{Path: "/"}})
		zero(&c)
		if _, err := upstream.NewTable([]upstream.RouteConfig{c}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := upstream.NewForwarder(upstream.Config{}); err == nil || !strings.Contains(err.Error(), "MaxRequestHeader is 0") {
		t.Errorf("a forwarder without a limit: %v", err)
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
