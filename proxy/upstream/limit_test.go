package upstream_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// TestLimitsOfARoute: each limit is told of once, with its key, on each way to an upstream: the short one,
// net/http's, and HTTP/2. The bounds of net/http itself have no error of their own, only a text.
func TestLimitsOfARoute(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	tool := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/header":
			for range 9 {
				w.Header().Add("X-Long", strings.Repeat("x", 1<<10))
			}
			return
		case "/half":
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	clear1 := httptest.NewServer(tool)
	defer clear1.Close()
	clear2 := httptest.NewUnstartedServer(tool)
	clear2.Config.Protocols = new(http.Protocols)
	clear2.Config.Protocols.SetUnencryptedHTTP2(true)
	clear2.Start()
	defer clear2.Close()
	ways := map[string]struct {
		to   string
		body func() io.Reader // with one of unknown length the short way is not taken
	}{
		"short":    {clear1.URL, func() io.Reader { return nil }},
		"net/http": {clear1.URL, func() io.Reader { return io.MultiReader(strings.NewReader("x")) }},
		"HTTP/2":   {strings.Replace(clear2.URL, "http:", "h2c:", 1), func() io.Reader { return nil }},
	}
	const soon = 50 * time.Millisecond
	for name, c := range map[string]struct {
		path   string
		config upstream.RouteConfig
		status int
		key    string
	}{
		"header":          {"/header", upstream.RouteConfig{MaxResponseHeader: 8 << 10}, 502, "routes[].response_header_bytes"},
		"response":        {"/", upstream.RouteConfig{Timeouts: upstream.Timeouts{ResponseHeader: soon}}, 504, "routes[].response_timeout"},
		"total":           {"/", upstream.RouteConfig{Timeouts: upstream.Timeouts{Total: soon}}, 504, "routes[].total_timeout"},
		"silence":         {"/half", upstream.RouteConfig{Timeouts: upstream.Timeouts{Idle: soon}}, 200, "routes[].idle_timeout"},
		"total, half way": {"/half", upstream.RouteConfig{Timeouts: upstream.Timeouts{Total: time.Second}}, 200, "routes[].total_timeout"},
	} {
		for way, w := range ways {
			t.Run(name+" "+way, func(t *testing.T) {
				told := &limits{}
				c.config.To = []string{w.to}
				g := newHarness(t, options{route: c.config, config: upstream.Config{OnLimit: told.add}})
				res := g.do("POST", c.path, w.body(), nil)
				if res.StatusCode != c.status {
					t.Errorf("status %d, want %d", res.StatusCode, c.status)
				}
				_, _ = io.Copy(io.Discard, res.Body) // half an answer ends when it is cut
				if got := told.all(); got != c.key+" of tool" {
					t.Errorf("told of %q, want %s once", got, c.key)
				}
			})
		}
	}
}

// TestLimitOfWaiting: of the requests that find no place, those beyond the queue do not wait.
func TestLimitOfWaiting(t *testing.T) {
	const many = 1024 // and the one that has the place
	told := &limits{}
	began, release := make(chan struct{}, 1), make(chan struct{})
	tool := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		select {
		case began <- struct{}{}:
		default:
		}
		<-release
	})
	f := proxytest.NewForwarder(upstream.Config{OnLimit: told.add})
	defer f.Close()
	up := httptest.NewServer(tool)
	defer up.Close()
	tb := table(t, []upstream.RouteConfig{{Name: "tool", From: "http://app.example", To: []string{up.URL}, MaxConns: 1, Timeouts: upstream.Timeouts{Wait: time.Minute}}})
	ctx, cancel := context.WithCancel(t.Context())
	ask := func() int {
		r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
		r.Host = "app.example"
		target, err := upstream.Canonicalise(r, "http")
		if err != nil {
			t.Error(err)
			return 0
		}
		route, _ := tb.Match(target)
		w := httptest.NewRecorder()
		f.Forward(w, r, &upstream.ForwardRequest{Route: route, Target: target, Identity: alice})
		return w.Code
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	defer close(release)
	all.Go(func() { ask() })
	<-began
	refused := make(chan int, many+1)
	for range many + 1 { // one more than may wait
		all.Go(func() {
			if status := ask(); ctx.Err() == nil {
				select {
				case refused <- status:
				default:
				}
			}
		})
	}
	if status := <-refused; status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	if got := told.all(); got != "fixed: 1024 requests that wait for one upstream of tool" {
		t.Errorf("told of %q", got)
	}
}

// limits is an OnLimit.
type limits struct {
	mu   sync.Mutex
	keys []string
}

func (l *limits) add(x *upstream.Limit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys = append(l.keys, x.Setting+" of "+x.Route.Name)
}

func (l *limits) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.keys, ", ")
}
