package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// listenOnly accepts connections (through the backlog) and never says a word.
func listenOnly(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return "http://" + ln.Addr().String()
}

// closedPort is an address where nothing listens, nor can begin to: the port is
// bound, so that no other program on this machine is given it.
func closedPort(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("http://127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

func to(urls ...string) upstream.RouteConfig { return upstream.RouteConfig{To: urls} }

func TestUpstreamFailures(t *testing.T) {
	speak := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			io.WriteString(conn, s)
			conn.Close()
		})
	}
	silent := to(listenOnly(t))
	silent.Timeouts.ResponseHeader = 50 * time.Millisecond
	nowhere := upstream.Config{Transport: func(*upstream.Route) http.RoundTripper { return failing{upstream.ErrNoUpstream} }}
	for name, c := range map[string]struct {
		o    options
		want int
	}{
		"nothing listens":        {options{route: to(closedPort(t))}, 502},
		"no such name":           {options{route: to("http://upstream.invalid")}, 502},
		"hangs up":               {options{upstream: speak("")}, 502},
		"is not HTTP":            {options{upstream: speak("SSH-2.0-x\r\n")}, 502},
		"header without end":     {options{upstream: speak("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n")}, 502},
		"two lengths":            {options{upstream: speak("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")}, 502},
		"status 000":             {options{upstream: speak("HTTP/1.1 000 Nothing\r\nContent-Length: 2\r\n\r\nab")}, 502},
		"status 099":             {options{upstream: speak("HTTP/1.1 099 Less\r\nContent-Length: 2\r\n\r\nab")}, 502},
		"does not answer":        {options{route: silent}, 504},
		"timeout while dialling": {options{config: upstream.Config{Transport: func(*upstream.Route) http.RoundTripper { return failing{dialTimeout{}} }}}, 504},
		"nowhere to go":          {options{config: nowhere}, 503},
	} {
		t.Run(name, func(t *testing.T) {
			g := newHarness(t, c.o)
			res := g.do("GET", "/", nil, nil)
			if res.StatusCode != c.want || !slices.Equal(g.failures(), []int{c.want}) {
				t.Errorf("got %d, OnError saw %v, want %d", res.StatusCode, g.failures(), c.want)
			}
			if !strings.Contains(g.logged(), "route=tool") || !strings.Contains(g.logged(), "upstream=") {
				t.Errorf("the log does not say which: %s", g.logged())
			}
		})
	}
}

type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

type dialTimeout struct{}

func (dialTimeout) Error() string   { return "dial: i/o timeout" }
func (dialTimeout) Timeout() bool   { return true }
func (dialTimeout) Temporary() bool { return true }

// A body that is too large is refused, whether it says so or not.
func TestAttackBodyLimit(t *testing.T) {
	g := newHarness(t, options{route: upstream.RouteConfig{MaxBody: 1000}})
	post := func(n int, sized bool) int {
		var body io.Reader = bytes.NewReader(make([]byte, n))
		if !sized {
			body = io.MultiReader(body)
		}
		return g.do("POST", "/", body, nil).StatusCode
	}
	for _, c := range []struct {
		n     int
		sized bool
		want  int
	}{{1000, true, 200}, {1000, false, 200}, {1001, true, 413}, {1001, false, 413}, {5 << 20, false, 413}, {0, false, 200}} {
		if got := post(c.n, c.sized); got != c.want {
			t.Errorf("%d bytes, announced %v: %d, want %d", c.n, c.sized, got, c.want)
		}
	}
	for _, s := range g.requests() {
		if len(s.Body) > 1000 {
			t.Errorf("%d bytes went upstream", len(s.Body))
		}
	}
	unlimited := newHarness(t, options{route: upstream.RouteConfig{MaxBody: -1}})
	if res := unlimited.do("POST", "/", bytes.NewReader(make([]byte, 1<<20)), nil); res.StatusCode != 200 || len(unlimited.last().Body) != 1<<20 {
		t.Error(res.Status)
	}
}

// A body that announces itself as too large costs the upstream nothing.
func TestAttackAnnouncedBody(t *testing.T) {
	g := newHarness(t, options{route: upstream.RouteConfig{MaxBody: 10}, config: upstream.Config{Transport: func(*upstream.Route) http.RoundTripper {
		return roundTrip(func(*http.Request) (*http.Response, error) {
			t.Error("the upstream was called")
			return nil, errors.New("unexpected")
		})
	}}})
	if status := g.rawStatus("POST / HTTP/1.1\r\nHost: app.example\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n"); status != 413 {
		t.Error(status)
	}
}

// Headers are bounded in sum.
func TestAttackHeaderLimit(t *testing.T) {
	g := newHarness(t, options{config: upstream.Config{MaxRequestHeader: 4096}})
	for _, h := range []http.Header{
		{"X-Long": {strings.Repeat("x", 5000)}},
		{"Cookie": {"a=" + strings.Repeat("x", 5000)}},
		{"X-Many": slices.Repeat([]string{"x"}, 1000)},
	} {
		if res := g.do("GET", "/", nil, h); res.StatusCode != 431 {
			t.Errorf("%d", res.StatusCode)
		}
	}
	if res := g.do("GET", "/?"+strings.Repeat("x", 5000), nil, nil); res.StatusCode != 431 {
		t.Errorf("%d", res.StatusCode)
	}
	if len(g.requests()) != 0 {
		t.Error("something went upstream")
	}
}

// A body that breaks off is the client's failure, not the upstream's.
func TestClientBodyBreaksOff(t *testing.T) {
	g := newHarness(t, options{})
	if status := g.rawStatus("POST / HTTP/1.1\r\nHost: app.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe\r\nzz\r\n"); status != 400 {
		t.Error(status)
	}
	if strings.Contains(g.logged(), "upstream request failed") {
		t.Error("the upstream was blamed:", g.logged())
	}
}

// A client that leaves is no error, before the answer or in the middle of it.
func TestClientGoneIsQuiet(t *testing.T) {
	arrived, left := make(chan bool, 2), make(chan error, 2)
	g := newHarness(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/streaming" {
			io.WriteString(w, "begin")
			http.NewResponseController(w).Flush()
		}
		arrived <- true
		<-r.Context().Done() // the proxy hangs up on the upstream too
		left <- r.Context().Err()
	})})
	for _, path := range []string{"/waiting", "/streaming"} {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			req, _ := http.NewRequestWithContext(ctx, "GET", g.front.URL+path, nil)
			req.Host = "app.example"
			res, err := g.front.Client().Do(req)
			if err == nil {
				_, err = io.ReadAll(res.Body)
			}
			done <- err
		}()
		<-arrived
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(path, err)
		}
		select {
		case <-left:
		case <-time.After(10 * time.Second):
			t.Fatal(path, "the upstream was not told")
		}
	}
	g.front.Close() // waits for the handlers
	if len(g.failures()) != 0 || g.logged() != "" {
		t.Errorf("OnError saw %v, log: %s", g.failures(), g.logged())
	}
}

// A client that leaves in the middle of switching protocols cannot be told.
func TestClientGoneWhileUpgrading(t *testing.T) {
	mine, theirs := net.Pipe()
	theirs.Close()
	f := proxytest.NewForwarder(upstream.Config{
		OnError: func(_ http.ResponseWriter, _ *http.Request, status int, err error) { t.Error(status, err) },
		Transport: func(*upstream.Route) http.RoundTripper {
			return roundTrip(func(*http.Request) (*http.Response, error) {
				body, far := net.Pipe()
				far.Close()
				return &http.Response{StatusCode: 101, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: body,
					Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}}, nil
			})
		},
	})
	target, err := upstream.Canonicalise(asked("GET", "app.example", "/"), "http")
	if err != nil {
		t.Fatal(err)
	}
	r := asked("GET", "app.example", "/")
	r.URL = &url.URL{Path: "/"}
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	f.Forward(hijackable{newRecorder(), mine}, r, &upstream.ForwardRequest{Route: table(t, routes("a", "http://app.example")).Routes()[0], Target: target})
}

type hijackable struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// A caller that cuts a stream, and says why, is no upstream failure either.
func TestCutStreamIsQuiet(t *testing.T) {
	started := make(chan context.CancelCauseFunc, 1)
	g := newHarness(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begin")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})})
	inner := g.front.Config.Handler
	g.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		started <- cancel
		inner.ServeHTTP(w, r.WithContext(ctx))
	})
	res := g.do("GET", "/", nil, nil)
	cancel := <-started
	if _, err := io.ReadFull(res.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	cancel(errors.New("session revoked"))
	if rest, err := io.ReadAll(res.Body); err == nil || len(rest) != 0 {
		t.Errorf("%q, %v: the answer looks complete", rest, err)
	}
	g.front.Close()
	if g.logged() != "" || len(g.failures()) != 0 {
		t.Errorf("OnError saw %v, log: %s", g.failures(), g.logged())
	}
}

// An answer that breaks off must not look complete.
func TestUpstreamBreaksOff(t *testing.T) {
	idle := to()
	idle.To = nil
	idle.Timeouts.Idle = 50 * time.Millisecond
	for name, o := range map[string]options{
		"hangs up": {upstream: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "begin")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})},
		"falls silent": {route: idle, upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "begin")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})},
	} {
		t.Run(name, func(t *testing.T) {
			g := newHarness(t, o)
			res := g.do("GET", "/", nil, nil)
			body, err := io.ReadAll(res.Body)
			if err == nil || string(body) != "begin" {
				t.Errorf("%q, %v", body, err)
			}
			g.front.Close()
			if !strings.Contains(g.logged(), "body copy") || len(g.failures()) != 0 {
				t.Errorf("OnError saw %v, log: %s", g.failures(), g.logged())
			}
		})
	}
}

// An upstream cannot imitate our own pages.
func TestReservedPrefixIsNotForwarded(t *testing.T) {
	g := newHarness(t, options{})
	for _, path := range []string{"/.sallyport/sign-in", "/.sallyport", "/%2esallyport/x", "/.sallyport/"} {
		if res := g.do("GET", path, nil, nil); res.StatusCode != 404 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	if len(g.requests()) != 0 {
		t.Error("something went upstream")
	}
	if res := g.do("GET", "/.sallyport-x", nil, nil); res.StatusCode != 200 {
		t.Error(res.Status)
	}
}

// OnError is optional.
func TestPlainError(t *testing.T) {
	tb := table(t, routes("a", "http://app.example"))
	target, err := upstream.Canonicalise(asked("GET", "app.example", "/.sallyport/"), "http")
	if err != nil {
		t.Fatal(err)
	}
	w := newRecorder()
	proxytest.NewForwarder(upstream.Config{}).Forward(w, asked("GET", "app.example", "/"), &upstream.ForwardRequest{Route: tb.Routes()[0], Target: target})
	if w.Code != 404 || !strings.Contains(w.Body.String(), "Not Found") {
		t.Error(w.Code, w.Body)
	}
}
