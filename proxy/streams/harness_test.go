package streams

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sallyport/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// observed is one call of Observe.
type observed struct {
	kind Kind
	why  Reason
	took time.Duration
}

// newRegistry is [New] with the limits of an empty configuration where c has none.
func newRegistry(c Config) *Registry {
	if c.Inspected == nil {
		c.Inspected = NewBudget(proxytest.InspectedPerSession, proxytest.Inspected)
	}
	c.MessageTime = cmp.Or(c.MessageTime, proxytest.MessageTime)
	r, err := New(c)
	if err != nil {
		panic(err)
	}
	return r
}

// gate is a proxy whose every request is a stream of the session in its X-Session header.
type gate struct {
	reg  *Registry
	url  string
	addr string

	client *http.Client

	opened  chan *Stream // each stream, when it is open
	seen    chan observed
	refused chan Reason
	before  func(*Stream, *http.Request)
	done    sync.WaitGroup
}

func newGate(t testing.TB, cfg Config, upstream http.Handler, h2 bool, before ...func(*Stream, *http.Request)) *gate {
	t.Helper()
	g := &gate{opened: make(chan *Stream, 100), seen: make(chan observed, 100), refused: make(chan Reason, 100)}
	if len(before) > 0 {
		g.before = before[0]
	}
	cfg.Observe = func(k Kind, r Reason, d time.Duration) { g.seen <- observed{k, r, d} }
	g.reg = newRegistry(cfg)
	up := httptest.NewUnstartedServer(upstream)
	up.EnableHTTP2 = h2
	if h2 {
		up.StartTLS()
	} else {
		up.Start()
	}
	to, err := url.Parse(up.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := up.Client().Transport.(*http.Transport)
	transport.DisableCompression = true
	rp := &httputil.ReverseProxy{
		Transport:      transport,
		Rewrite:        func(pr *httputil.ProxyRequest) { pr.SetURL(to) },
		ModifyResponse: Attach,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) {},
		FlushInterval:  -1,
	}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(rp, w, r) }))
	front.EnableHTTP2 = h2
	front.Config.ErrorLog, rp.ErrorLog, up.Config.ErrorLog = quiet, quiet, quiet
	if h2 {
		front.StartTLS()
	} else {
		front.Start()
	}
	g.url, g.addr, g.client = front.URL, front.Listener.Addr().String(), front.Client()
	g.client.Transport.(*http.Transport).DisableCompression = true
	t.Cleanup(func() {
		g.reg.CutAll(Shutdown)
		front.CloseClientConnections()
		front.Close()
		g.done.Wait()
		transport.CloseIdleConnections()
		g.client.CloseIdleConnections()
		up.CloseClientConnections()
		up.Close()
		if n := g.reg.Total(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
	return g
}

func (g *gate) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	g.done.Add(1)
	defer g.done.Done()
	s := g.reg.Open(r.Context(), g.reg.Epoch(), Info{Session: r.Header.Get("X-Session"), Route: "r"})
	defer s.Close()
	if g.before != nil {
		g.before(s, r)
	}
	g.opened <- s
	if why, ok := s.Run(func() { next.ServeHTTP(s.Writer(w), r.WithContext(s.Context())) }); ok {
		g.refused <- why
		http.Error(w, why.String(), http.StatusUnauthorized)
	}
}

// soon fails the test if f does not come to an end.
func soon(t testing.TB, what string, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	case <-ctx.Done():
		t.Fatalf("%s: not in time", what)
	}
}

func receive[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: not in time", what)
	}
	return v
}

// frame makes a frame; mask is nil for a server's.
func frame(first byte, payload, mask []byte) []byte {
	var bit byte
	if mask != nil {
		bit = 0x80
	}
	f := []byte{first}
	switch n := len(payload); {
	case n < 126:
		f = append(f, bit|byte(n))
	case n < 1<<16:
		f = binary.BigEndian.AppendUint16(append(f, bit|126), uint16(n))
	default:
		f = binary.BigEndian.AppendUint64(append(f, bit|127), uint64(n))
	}
	if mask == nil {
		return append(f, payload...)
	}
	f = append(f, mask...)
	at := len(f)
	f = append(f, payload...)
	for i := range payload {
		f[at+i] ^= mask[i%4]
	}
	return f
}

var mask = []byte{1, 2, 3, 4}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"

// wsUpstream is a server that upgrades and hands its side over.
func wsUpstream(extra string, conns chan<- net.Conn) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute)) // a test that waits for nothing fails
		conns <- conn                                 // before the client can dial the next one
		io.WriteString(conn, switching+extra+"\r\n")
	})
}

// wsClient is a client's connection after the upgrade.
type wsClient struct {
	net.Conn
	br *bufio.Reader
}

func (c *wsClient) Read(p []byte) (int, error) { return c.br.Read(p) }

func dialWS(t testing.TB, g *gate, session, early string) *wsClient {
	t.Helper()
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nX-Session: "+session+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"+early)
	br := bufio.NewReader(conn)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %s", res.Status)
	}
	return &wsClient{conn, br}
}

// expect reads exactly want.
func expect(t testing.TB, r io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil {
		t.Fatalf("%v after %d bytes, % x, want %d, % x", err, n, got[:min(n, 100)], len(want), want[:min(len(want), 100)])
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read % x, want % x", got[:min(len(got), 100)], want[:min(len(want), 100)])
	}
}

// ends reads the end of the connection, and nothing else.
func ends(t testing.TB, r io.Reader) {
	t.Helper()
	if b, err := io.ReadAll(r); len(b) > 0 || isTimeout(err) {
		t.Fatalf("read % x and %v, want the end", b, err)
	}
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error)
	return ok && t.Timeout()
}

var quiet = log.New(io.Discard, "", 0)
