package upstream_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sallyport/proxy/upstream"
)

// webSocketServer accepts properly and echoes bytes.
func webSocketServer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/page" {
		io.WriteString(w, "a page, and no WebSocket")
		return
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	accept := base64.StdEncoding.EncodeToString(sum[:])
	if r.URL.Path == "/wrong" {
		accept = "x"
	}
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+accept+"\r\nSec-WebSocket-Protocol: chat\r\n\r\n")
	io.Copy(conn, rw)
}

// h2Stream is an HTTP/2 connection with one stream on it, by hand.
type h2Stream struct {
	t  *testing.T
	fr *http2.Framer
	// enabled is that the server offered RFC 8441.
	enabled bool
}

func (g *harness) h2Open(t *testing.T, fields [][2]string) *h2Stream {
	conn, err := tls.Dial("tcp", g.front.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: "app.example", NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, http2.ClientPreface)
	s := &h2Stream{t: t, fr: http2.NewFramer(conn, conn)}
	s.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	s.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 24})
	s.fr.WriteWindowUpdate(0, 1<<24)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range fields {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	s.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	return s
}

// next returns the next frame of the stream.
func (s *h2Stream) next() http2.Frame {
	for {
		f, err := s.fr.ReadFrame()
		if err != nil {
			s.t.Fatal(err)
		}
		if set, ok := f.(*http2.SettingsFrame); ok && !set.IsAck() {
			v, _ := set.Value(http2.SettingEnableConnectProtocol)
			s.enabled = v == 1
		}
		if f.Header().StreamID == 1 && f.Header().Type != http2.FrameWindowUpdate {
			return f
		}
	}
}

func (s *h2Stream) status() string {
	if f, ok := s.next().(*http2.MetaHeadersFrame); ok {
		return f.PseudoValue("status")
	}
	return "reset"
}

func connect(path, protocol string) [][2]string {
	return [][2]string{{":method", "CONNECT"}, {":protocol", protocol}, {":scheme", "https"}, {":authority", "app.example"}, {":path", path},
		{"sec-websocket-version", "13"}, {"sec-websocket-protocol", "chat"}, {"x-sallyport-user", "evil"}, {"cookie", "__Host-sallyport=secret"}}
}

// RFC 8441. The switch is in the environment, which net/http reads as the process
// starts; so the test runs itself again.
func TestWebSocketOverHTTP2(t *testing.T) {
	if os.Getenv("GODEBUG") != "http2xconnect=1" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWebSocketOverHTTP2$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=http2xconnect=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestWebSocketOverHTTP2") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	var judged []string
	g := newHarness(t, options{tls: true, upstream: http.HandlerFunc(webSocketServer)})
	inner := g.front.Config.Handler
	g.front.Config.Handler = upstream.WebSockets(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		judged = append(judged, r.Method+" "+r.RequestURI)
		inner.ServeHTTP(w, r)
	}))
	s := g.h2Open(t, connect("/ws?x=1", "websocket"))
	f, ok := s.next().(*http2.MetaHeadersFrame)
	if !ok || f.PseudoValue("status") != "200" || !s.enabled {
		t.Fatal(f, s.enabled)
	}
	for _, h := range f.RegularFields() {
		if h.Name == "sec-websocket-accept" || h.Name == "upgrade" || h.Name == "connection" {
			t.Errorf("%s does not belong into HTTP/2", h.Name)
		}
	}
	for _, frame := range [][]byte{wsFrame(0x81, []byte("hello"), true), wsFrame(0xc2, bytes.Repeat([]byte("z"), 10000), true)} {
		s.fr.WriteData(1, false, frame)
		var got []byte
		for len(got) < len(frame) {
			d, ok := s.next().(*http2.DataFrame)
			if !ok {
				t.Fatal("no data")
			}
			got = append(got, d.Data()...)
		}
		if !bytes.Equal(got, frame) {
			t.Error("changed on the way")
		}
	}
	s.fr.WriteData(1, true, nil) // the client's FIN reaches the upstream, whose own comes back
	for {
		if d, ok := s.next().(*http2.DataFrame); !ok || d.StreamEnded() {
			break
		}
	}
	last := g.last()
	last.Header.Set("X-Forwarded-Proto", "http") // what assertIdentity expects of the other harnesses
	assertIdentity(t, last.Header)
	if len(judged) != 1 || judged[0] != "GET /ws?x=1" || last.Method != "GET" || last.Header["Cookie"] != nil || last.Header.Get("Sec-Websocket-Protocol") != "chat" {
		t.Errorf("%q %+v", judged, last)
	}
	if got := g.h2Open(t, connect("/wrong", "websocket")).status(); got != "502" {
		t.Error("a wrong acceptance:", got)
	}
	if got := g.h2Open(t, connect("/page", "websocket")).status(); got != "502" { // any 2xx would mean that it is open
		t.Error("a page in place of an acceptance:", got)
	}
	if got := g.h2Open(t, connect("/ws", "connect-udp")).status(); got != "501" {
		t.Error("another protocol:", got)
	}
	plain := connect("/ws", "websocket")
	if got := g.h2Open(t, [][2]string{plain[0], plain[3]}).status(); got != "405" && got != "400" {
		t.Error("plain CONNECT:", got)
	}
}
