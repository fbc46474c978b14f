package proxy_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sallyport/authn/session"
	"sallyport/proxy/upstream"
)

// accept is the answer to a WebSocket's key (RFC 6455 section 4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// A WebSocket over HTTP/2 (RFC 8441) is judged, passed on and cut like any other; one whose messages would
// have to be read is refused. Go's server reads the switch from the environment as the process
// starts, so the test runs itself again.
func TestWebSocketsOverHTTP2(t *testing.T) {
	if os.Getenv("GODEBUG") != "http2xconnect=1" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWebSocketsOverHTTP2$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=http2xconnect=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestWebSocketsOverHTTP2") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	dial := func(l *live, alice *browser) (*http.Response, io.Writer) {
		front := httptest.NewUnstartedServer(upstream.WebSockets(l.gate))
		front.EnableHTTP2 = true
		front.StartTLS()
		t.Cleanup(front.Close)
		t.Cleanup(front.CloseClientConnections)
		tr := &http2.Transport{TLSClientConfig: &tls.Config{RootCAs: front.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}}
		t.Cleanup(tr.CloseIdleConnections)
		body, w := io.Pipe()
		t.Cleanup(func() { w.Close() })
		r, err := http.NewRequest(http.MethodConnect, front.URL+"/ws", body)
		l.must(err)
		r.Host = strings.TrimPrefix(treasury, "https://")
		r.Header = http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}, "X-Forwarded-For": {alice.addr},
			"Cookie": {alice.sessions.CookieName() + "=" + alice.session(treasury)}}
		res, err := tr.RoundTrip(r)
		l.must(err)
		t.Cleanup(func() { res.Body.Close() })
		return res, w
	}

	l := newLive(t)
	alice := l.enrolled("alice", home)
	res, w := dial(l, alice)
	if res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	peer := receive(t, l.peers)
	if got := peer.request.Header.Get("X-Sallyport-User"); got != "alice@example.test" {
		t.Errorf("the tool sees %q", got)
	}
	l.must(peer.say("ping"))
	want := wsFrame(0x81, "ping", false)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(res.Body, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("% x, %v", got, err)
	}
	if _, err := w.Write(wsFrame(0x81, "pong", true)); err != nil {
		t.Fatal(err)
	}
	if _, text, err := readFrame(peer.br); err != nil || text != "pong" {
		t.Fatal(text, err)
	}
	if n := l.streams.Total(); n != 1 {
		t.Errorf("%d streams are open", n)
	}
	_, err := l.sessions.Revoke(t.Context(), session.Filter{Email: "alice@example.test"})
	l.must(err)
	ended := make(chan error, 1)
	go func() { _, err := io.ReadAll(res.Body); ended <- err }()
	if err := receive(t, ended); err == nil {
		t.Error("it ended as if the tool had meant it")
	}
	l.must(peer.conn.SetReadDeadline(time.Now().Add(patience)))
	if b, _ := io.ReadAll(peer.br); len(b) > 0 {
		t.Errorf("the tool got % x after the order", b)
	}

	node, bob := newNode(t)
	if res, _ := dial(node, bob); res.StatusCode != http.StatusNotImplemented || len(node.peers) > 0 {
		t.Errorf("%s, and %d connections reached the node", res.Status, len(node.peers))
	}
}
