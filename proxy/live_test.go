package proxy_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/proxy/clientip"
)

// live is a harness on real connections: a real tool, and the gate behind a proxy on
// loopback that ends TLS.
type live struct {
	*harness
	front   string
	handler http.Handler // nil: the gate; or what a test puts around it before it sends
	peers   chan *peer
	calls   chan call
}

// peer is the tool's side of a stream.
type peer struct {
	request *http.Request
	say     func(string) error
	conn    net.Conn // of a WebSocket
	br      *bufio.Reader
}

// call is a request that reached the tool, with its body.
type call struct {
	request *http.Request
	body    string
}

const patience = 5 * time.Second // for what has to happen; what takes longer has not

func newLive(t testing.TB, changes ...func(*setup)) *live {
	t.Helper()
	l := &live{peers: make(chan *peer, 10), calls: make(chan call, 100)}
	tool := httptest.NewServer(l)
	t.Cleanup(tool.Close)
	t.Cleanup(tool.CloseClientConnections)
	l.harness = newHarness(t, append([]func(*setup){func(p *setup) {
		p.tool = tool.URL
		p.clients = clientip.Config{Trusted: prefixes("127.0.0.1/32")}
	}}, changes...)...)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.handler != nil {
			l.handler.ServeHTTP(w, r)
			return
		}
		l.gate.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	t.Cleanup(front.CloseClientConnections)
	l.front = front.Listener.Addr().String()
	return l
}

// ServeHTTP is the tool.
func (l *live) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w).Flush
		_ = flush()
		lines := make(chan string) // only the handler writes its answer
		l.peers <- &peer{request: r, say: func(s string) error {
			select {
			case lines <- s:
				return nil
			case <-r.Context().Done():
				return r.Context().Err()
			}
		}}
		for {
			select {
			case s := <-lines:
				_, _ = io.WriteString(w, "data: "+s+"\n\n")
				_ = flush()
			case <-r.Context().Done():
				return
			}
		}
	case "/bytes":
		n, _ := strconv.Atoi(r.URL.RawQuery)
		_, _ = w.Write(make([]byte, n))
	case "/ws", "/deaf":
		conn, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			l.Error(err)
			return
		}
		extra := ""
		if r.URL.Path == "/deaf" { // it compresses as it was offered
			extra = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+accept(r.Header.Get("Sec-Websocket-Key"))+"\r\n"+extra+"\r\n")
		l.peers <- &peer{request: r, conn: conn, br: brw.Reader, say: func(s string) error { _, err := conn.Write(wsFrame(0x81, s, false)); return err }}
	default:
		body, _ := io.ReadAll(r.Body)
		l.calls <- call{r, string(body)}
		_, _ = io.WriteString(w, "the tool")
	}
}

// forwarded are the requests that reached the tool since the last call.
func (l *live) forwarded() (list []call) {
	for {
		select {
		case c := <-l.calls:
			list = append(list, c)
		default:
			return list
		}
	}
}

// client is the person's side of a stream.
type client struct {
	testing.TB
	conn net.Conn
	br   *bufio.Reader
	res  *http.Response
	peer *peer
	kind string
}

// send sends a request as b's browser would, over a connection of its own. lines are
// further header lines; body may be empty.
func (l *live) send(b *browser, first string, body string, lines ...string) *client {
	l.Helper()
	if body != "" {
		lines = append(slices.Clip(lines), fmt.Sprintf("Content-Length: %d", len(body)))
	}
	c := l.begin(b, first, body, lines...)
	c.answered()
	return c
}

// begin sends the beginning of a request.
func (l *live) begin(b *browser, first string, body string, lines ...string) *client {
	l.Helper()
	conn, err := net.Dial("tcp", l.front)
	l.must(err)
	l.Cleanup(func() { conn.Close() })
	l.must(conn.SetDeadline(time.Now().Add(patience)))
	var s strings.Builder
	fmt.Fprintf(&s, "%s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: %s\r\nX-Forwarded-Proto: https\r\n", first, strings.TrimPrefix(treasury, "https://"), b.addr)
	if c := b.session(treasury); c != "" {
		fmt.Fprintf(&s, "Cookie: %s=%s\r\n", b.sessions.CookieName(), c)
	}
	for _, line := range lines {
		s.WriteString(line + "\r\n")
	}
	_, err = io.WriteString(conn, s.String()+"\r\n"+body)
	l.must(err)
	return &client{TB: l.TB, conn: conn, br: bufio.NewReader(conn)}
}

// answered waits for the head of the answer.
func (c *client) answered() {
	c.Helper()
	var err error
	if c.res, err = http.ReadResponse(c.br, nil); err != nil {
		c.Fatal(err)
	}
}

// post sends a body and reads the answer.
func (l *live) post(b *browser, body string, lines ...string) answer {
	l.Helper()
	c := l.send(b, "POST /rpc", body, append([]string{"Content-Type: application/json", "Accept: application/json"}, lines...)...)
	text, err := io.ReadAll(c.res.Body)
	l.must(err)
	return answer{Response: c.res, body: string(text), at: treasury + "/rpc"}
}

var wsHandshake = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}

// open opens a stream of a kind, "sse" or "ws", and sees that it works.
func (l *live) open(b *browser, kind string) *client {
	l.Helper()
	first, lines, status := "GET /events", []string{"Accept: text/event-stream"}, 200
	if kind == "ws" {
		first, lines, status = "GET /ws", append([]string{"Sec-WebSocket-Extensions: permessage-deflate"}, wsHandshake...), 101
	}
	c := l.send(b, first, "", lines...)
	if c.res.StatusCode != status {
		body, _ := io.ReadAll(c.res.Body)
		l.Fatalf("%s: %d %s", first, c.res.StatusCode, body)
	}
	c.kind = kind
	select {
	case c.peer = <-l.peers:
	case <-time.After(patience):
		l.Fatal("the tool was not reached")
	}
	c.alive()
	return c
}

// alive sees that what the tool says arrives.
func (c *client) alive() {
	c.Helper()
	want, from := "data: ping\n\n", io.Reader(c.br)
	if c.kind == "ws" {
		want = string(wsFrame(0x81, "ping", false))
	} else {
		from = c.res.Body
	}
	if err := c.peer.say("ping"); err != nil {
		c.Fatalf("the stream is over: %v", err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != want {
		c.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

// ended sees that the stream ends, soon and in its own words.
func (c *client) ended(why string) {
	c.Helper()
	began := time.Now()
	if c.kind == "sse" {
		text, err := io.ReadAll(c.res.Body)
		if err != nil || !strings.HasPrefix(string(text), "event: sallyport\n") || !strings.Contains(string(text), `"reason":"`+why+`"`) {
			c.Fatalf("the stream ended with %q, %v", text, err)
		}
	} else {
		first, text := c.frame()
		if first != 0x88 || len(text) < 2 || binary.BigEndian.Uint16([]byte(text)) != 1008 {
			c.Fatalf("a frame %x %q, not a close frame with 1008", first, text)
		}
	}
	c.Logf("%s ended after %v", c.kind, time.Since(began))
}

// frame reads a frame of the server.
func (c *client) frame() (first byte, payload string) {
	c.Helper()
	first, payload, err := readFrame(c.br)
	if err != nil {
		c.Fatalf("reading a frame: %v", err)
	}
	return first, payload
}

// message sends a text message.
func (c *client) message(text string) {
	c.Helper()
	if _, err := c.conn.Write(wsFrame(0x81, text, true)); err != nil {
		c.Fatal(err)
	}
}

// arrives sees that the next message that the tool gets is this one.
func (c *client) arrives(want string) {
	c.Helper()
	if err := c.peer.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.Fatal(err)
	}
	first, got, err := readFrame(c.peer.br)
	if err != nil || first != 0x81 || got != want {
		c.Fatalf("the tool got %x %q, %v, want %q", first, got, err, want)
	}
}

// wsFrame makes a frame, masked if it is a client's.
func wsFrame(first byte, text string, masked bool) []byte {
	var bit byte
	if masked {
		bit = 0x80
	}
	f := []byte{first}
	if len(text) < 126 {
		f = append(f, bit|byte(len(text)))
	} else {
		f = binary.BigEndian.AppendUint16(append(f, bit|126), uint16(len(text)))
	}
	if masked {
		f = append(f, 1, 2, 3, 4)
	}
	at := len(f)
	f = append(f, text...)
	for i := at; masked && i < len(f); i++ {
		f[i] ^= byte((i-at)%4 + 1)
	}
	return f
}

func readFrame(r io.Reader) (first byte, payload string, err error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, "", err
	}
	n := int(head[1] & 0x7f)
	if n == 126 {
		more := make([]byte, 2)
		if _, err := io.ReadFull(r, more); err != nil {
			return 0, "", err
		}
		n = int(binary.BigEndian.Uint16(more))
	}
	var mask [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(r, mask[:]); err != nil {
			return 0, "", err
		}
	}
	text := make([]byte, n)
	_, err = io.ReadFull(r, text)
	for i := range text {
		text[i] ^= mask[i%4]
	}
	return head[0], string(text), err
}
