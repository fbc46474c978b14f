package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/proxy/upstream"
)

// echoUpgrade answers an upgrade request and then repeats each line.
func echoUpgrade(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		io.WriteString(w, "plain")
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSet-Cookie: __Host-sallyport=evil\r\n\r\n", r.Header.Get("Upgrade"))
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		io.WriteString(conn, "echo "+line)
	}
}

const webSocketHandshake = "GET /ws HTTP/1.1\r\nHost: app.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\nX-Sallyport-User: evil\r\nCookie: sallyport=secret; a=1\r\n\r\n"

func TestWebSocketPassesThrough(t *testing.T) {
	g := newHarness(t, options{upstream: http.HandlerFunc(echoUpgrade)})
	conn, br := g.raw(webSocketHandshake)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Upgrade") != "websocket" || res.Header["Set-Cookie"] != nil {
		t.Fatal(res, err)
	}
	for _, line := range []string{"one\n", "two\n"} {
		io.WriteString(conn, line)
		if got, err := br.ReadString('\n'); got != "echo "+line {
			t.Fatalf("%q %v", got, err)
		}
	}
	last := g.last()
	assertIdentity(t, last.Header)
	if last.Header.Get("Cookie") != "a=1" || last.Header.Get("Sec-Websocket-Key") != "x" || last.Header.Get("Connection") != "Upgrade" {
		t.Errorf("%v", last.Header)
	}
	conn.Close()
}

// An h2c tunnel would carry requests that no one judges.
func TestAttackUnlistedUpgrade(t *testing.T) {
	g := newHarness(t, options{upstream: http.HandlerFunc(echoUpgrade)})
	for _, offer := range []string{"h2c", "H2C", "websocket, h2c", "TLS/1.0", "h2c\r\nUpgrade: websocket"} {
		_, br := g.raw("GET /up HTTP/1.1\r\nHost: app.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: " + offer + "\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
		res, err := http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != 200 {
			t.Errorf("%s: %v %v", offer, res, err)
			continue
		}
		for _, name := range []string{"Upgrade", "Connection", "Http2-Settings"} {
			if v := g.last().Header[name]; v != nil {
				t.Errorf("%s: %s: %q went upstream", offer, name, v)
			}
		}
	}
	spdy := newHarness(t, options{upstream: http.HandlerFunc(echoUpgrade), route: upstream.RouteConfig{Upgrades: []string{"SPDY/3.1"}}})
	if status := spdy.rawStatus("GET /up HTTP/1.1\r\nHost: app.example\r\nConnection: Upgrade\r\nUpgrade: spdy/3.1\r\n\r\n"); status != 101 {
		t.Errorf("a listed protocol: %d", status)
	}
}

// An upstream cannot switch a client that did not ask.
func TestAttackUnaskedUpgrade(t *testing.T) {
	g := newHarness(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := http.NewResponseController(w).Hijack()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		conn.Close()
	})})
	if status := g.rawStatus("GET / HTTP/1.1\r\nHost: app.example\r\n\r\n"); status != 502 {
		t.Error(status)
	}
}

// Ending the context is how a caller cuts a stream, WebSockets included.
func TestContextCutsUpgradedConnection(t *testing.T) {
	started := make(chan context.CancelCauseFunc, 1)
	g := newHarness(t, options{upstream: http.HandlerFunc(echoUpgrade)})
	inner := g.front.Config.Handler
	g.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		started <- cancel
		inner.ServeHTTP(w, r.WithContext(ctx))
	})
	_, br := g.raw(webSocketHandshake)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	(<-started)(errors.New("session revoked"))
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("the connection is still open: %v", err)
	}
}

func TestEventStreamIsNotBuffered(t *testing.T) {
	next := make(chan string)
	g := newHarness(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
		for s := range next {
			io.WriteString(w, s)
			http.NewResponseController(w).Flush()
		}
	})})
	res := g.do("GET", "/events", nil, nil)
	br := bufio.NewReader(res.Body)
	for _, s := range []string{"data: 1\n", "data: 2\n"} {
		next <- s // the next is not sent before this one has arrived
		if got, err := br.ReadString('\n'); got != s {
			t.Fatalf("%q %v", got, err)
		}
	}
	close(next)
}

// A request body is forwarded as it comes, and so is the answer to it.
func TestRequestStreams(t *testing.T) {
	g := newHarness(t, options{tls: true, upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		br := bufio.NewReader(r.Body)
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(w, "echo "+line)
			rc.Flush()
		}
	})})
	pr, pw := io.Pipe()
	first := make(chan error, 1)
	go func() {
		_, err := io.WriteString(pw, "one\n")
		first <- err
	}()
	res := g.do("POST", "/duplex", pr, nil)
	if res.ProtoMajor != 2 {
		t.Fatal(res.Proto)
	}
	br := bufio.NewReader(res.Body)
	if got, err := br.ReadString('\n'); got != "echo one\n" {
		t.Fatalf("%q %v", got, err)
	}
	io.WriteString(pw, "two\n")
	if got, err := br.ReadString('\n'); got != "echo two\n" {
		t.Fatalf("%q %v", got, err)
	}
	pw.Close()
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestLargeBodiesBothWays(t *testing.T) {
	var got atomic.Int64
	g := newHarness(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.Store(int64(len(body)))
		w.Write(body)
	})})
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	res := g.do("POST", "/", bytes.NewReader(body), nil)
	back, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Equal(back, body) || got.Load() != int64(len(body)) {
		t.Errorf("%d bytes went, %d came back: %v", got.Load(), len(back), err)
	}
}

func TestEncodingsAreLeftAlone(t *testing.T) {
	g := newHarness(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, "not gzip at all")
	})})
	_, br := g.raw("GET / HTTP/1.1\r\nHost: app.example\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.Header.Get("Content-Encoding") != "gzip" || text(t, res) != "not gzip at all" {
		t.Error(res, err)
	}
	if v, ok := g.last().Header["Accept-Encoding"]; ok {
		t.Errorf("Accept-Encoding %q was added", v)
	}
}

func TestResponseTrailersPass(t *testing.T) {
	for _, tls := range []bool{false, true} {
		g := newHarness(t, options{tls: tls, upstream: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "Grpc-Status")
			io.WriteString(w, "x")
			w.Header().Set("Grpc-Status", "0")
			w.Header().Set(http.TrailerPrefix+"Unannounced", "1")
		})})
		res := g.do("GET", "/", nil, http.Header{"Te": {"trailers"}})
		text(t, res)
		if res.Trailer.Get("Grpc-Status") != "0" || res.Trailer.Get("Unannounced") != "1" {
			t.Errorf("TLS %v: %v", tls, res.Trailer)
		}
		if g.last().Header.Get("Te") != "trailers" {
			t.Error("the upstream does not know that trailers are read")
		}
	}
}

// Headers that come after everything was judged do not go upstream.
func TestAttackRequestTrailers(t *testing.T) {
	g := newHarness(t, options{})
	status := g.rawStatus("POST / HTTP/1.1\r\nHost: app.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sallyport-User, X-Other\r\nConnection: close\r\n\r\n" +
		"2\r\nhi\r\n0\r\nX-Sallyport-User: evil\r\nX-Other: evil\r\nX_Sallyport_Groups: evil\r\n\r\n")
	if status != 200 {
		t.Fatal(status)
	}
	last := g.last()
	assertIdentity(t, last.Header)
	if len(last.Trailer) != 0 || last.Header.Get("Trailer") != "" || last.Body != "hi" {
		t.Errorf("%+v", last)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	peers := make(map[string]bool)
	g := newHarness(t, options{upstream: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { peers[r.RemoteAddr] = true })})
	for range 20 {
		text(t, g.do("GET", "/", nil, nil))
	}
	if len(peers) != 1 {
		t.Errorf("20 requests in turn used %d connections", len(peers))
	}
}

// A tool that signs in connections (NTLM, Negotiate) takes everything that follows on one for the same
// person's. No one else's request may be among it.
func TestAttackConnectionSignedInByAnother(t *testing.T) {
	var mu sync.Mutex
	signedIn := make(map[string]string) // by connection
	iis := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if a := r.Header.Get("Authorization"); a != "" {
			signedIn[r.RemoteAddr] = a
		}
		io.WriteString(w, signedIn[r.RemoteAddr])
	})
	secure := httptest.NewUnstartedServer(iis)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	both := bothWays(t, iis)
	overTLS := newHarness(t, options{route: upstream.RouteConfig{To: []string{secure.URL}, TLS: upstream.TLSConfig{CAFile: ca}}})
	for name, g := range map[string]*harness{"short way": both[0], "long way": both[1], "HTTP/2": overTLS} {
		for _, credentials := range []string{"Negotiate YII", "negotiate  YII", "NTLM TlRMTVNTUAAD", " ntlm TlRMTVNTUAAD", "Kerberos\tYII"} {
			for _, body := range []string{"", "a body"} {
				text(t, g.do("POST", "/", strings.NewReader(""), nil)) // a kept connection
				if got := text(t, g.do("POST", "/", strings.NewReader(body), http.Header{"Authorization": {credentials}})); got != strings.TrimSpace(credentials) {
					t.Errorf("%s: the person with %q was taken for %q", name, credentials, got)
				}
				for range 3 {
					if got := text(t, g.do("POST", "/", strings.NewReader(""), nil)); got != "" {
						t.Errorf("%s: the next person was signed in with %q", name, got)
					}
				}
			}
		}
	}
}

func TestRouteHost(t *testing.T) {
	g := newHarness(t, options{route: upstream.RouteConfig{Host: "Inner.example:8000"}})
	g.do("GET", "/", nil, nil)
	if last := g.last(); last.Host != "Inner.example:8000" || last.Header.Get("X-Forwarded-Host") != "app.example" {
		t.Errorf("%+v", last)
	}
}

// OnResponse can watch a body, and turn an answer down.
func TestOnResponse(t *testing.T) {
	var upgrades atomic.Int32
	hook := func(fr *upstream.ForwardRequest, res *http.Response) error {
		if res.Header.Get("X-Refuse") != "" {
			return errors.New("refused")
		}
		if _, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == 101 && fr.Route.Name == "tool" {
			upgrades.Add(1)
		}
		return nil
	}
	g := newHarness(t, options{config: upstream.Config{OnResponse: hook}, upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			w.Header().Set("X-Refuse", "1")
		}
		echoUpgrade(w, r)
	})})
	if status := g.rawStatus(webSocketHandshake); status != 101 || upgrades.Load() != 1 {
		t.Error(status, upgrades.Load())
	}
	if res := g.do("GET", "/refuse", nil, nil); res.StatusCode != 502 {
		t.Error(res.Status)
	}
}

// A silent upgraded connection is closed; one that is talked over is not.
func TestIdleUpgradedConnectionIsClosed(t *testing.T) {
	t.Parallel()
	const idle = 2 * time.Second // longer than a busy machine keeps one answer waiting
	g := newHarness(t, options{upstream: http.HandlerFunc(echoUpgrade), route: upstream.RouteConfig{Timeouts: upstream.Timeouts{Idle: idle}}})
	conn, br := g.raw(webSocketHandshake)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	for began := time.Now(); time.Since(began) < idle+idle/2; {
		io.WriteString(conn, strings.Repeat("x", 50)+"\n")
		if _, err := br.ReadString('\n'); err != nil {
			t.Fatal("closed while in use:", err)
		}
	}
	if _, err := br.ReadByte(); err != io.EOF {
		t.Error(err)
	}
}
