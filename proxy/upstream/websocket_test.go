package upstream_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/proxy/upstream"
)

// wsFrame writes an RFC 6455 frame as it goes over the wire.
func wsFrame(first byte, payload []byte, masked bool) []byte {
	b := []byte{first}
	var mask byte
	if masked {
		mask = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if !masked {
		return append(b, payload...)
	}
	var key [4]byte
	rand.Read(key[:])
	b = append(b, key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// webSocketFrames is a set after the Autobahn test suite: what a proxy that
// looked at messages might be tempted to join, split, answer, unpack or correct.
func webSocketFrames(masked bool) map[string][]byte {
	big := make([]byte, 4<<20)
	rand.Read(big)
	f := func(first byte, payload string) []byte { return wsFrame(first, []byte(payload), masked) }
	join := func(frames ...[]byte) []byte { return bytes.Join(frames, nil) }
	set := map[string][]byte{
		"text":                           f(0x81, "hello"),
		"empty text":                     f(0x81, ""),
		"binary":                         f(0x82, "\x00\xff\x00"),
		"125, 126 and 127 bytes":         join(f(0x82, strings.Repeat("x", 125)), f(0x82, strings.Repeat("x", 126)), f(0x82, strings.Repeat("x", 127))),
		"65535 and 65536 bytes":          join(f(0x82, strings.Repeat("x", 65535)), f(0x82, strings.Repeat("x", 65536))),
		"4 MiB":                          wsFrame(0x82, big, masked),
		"ping":                           f(0x89, "are you there"),
		"empty ping":                     f(0x89, ""),
		"unsolicited pong":               f(0x8a, "nobody asked"),
		"fragments":                      join(f(0x01, "frag"), f(0x00, "men"), f(0x80, "ted")),
		"ping between fragments":         join(f(0x01, "frag"), f(0x89, "ping"), f(0x80, "ment")),
		"empty fragments":                join(f(0x01, ""), f(0x00, ""), f(0x80, "")),
		"a character split by frames":    join(f(0x01, "\xe2\x82"), f(0x80, "\xac")),
		"compressed (RSV1)":              f(0xc1, "\xf2\x48\xcd\xc9\xc9\x07\x00"),
		"compressed fragments":           join(f(0x41, "\xf2\x48\xcd"), f(0x80, "\xc9\xc9\x07\x00")),
		"RSV2 and RSV3":                  join(f(0xa1, "x"), f(0x91, "x")),
		"reserved opcodes":               join(f(0x83, "x"), f(0x8b, "x")),
		"invalid UTF-8":                  f(0x81, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"),
		"continuation of nothing":        f(0x80, "x"),
		"a length in more than it needs": append([]byte{0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1}, 'x'),
		"what is no frame at all":        []byte("\xff\xff\xff\xff\xff GET / HTTP/1.1\r\n\r\n"),
		"many small":                     bytes.Repeat(f(0x82, "x"), 5000),
	}
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999, 0, 999, 1004, 1005, 1006, 65535} {
		set[fmt.Sprintf("close %d", code)] = wsFrame(0x88, append(binary.BigEndian.AppendUint16(nil, code), "reason"...), masked)
	}
	set["close without code"] = f(0x88, "")
	set["close of one byte"] = f(0x88, "x")
	return set
}

// upgraded returns both ends of a connection that has been upgraded through a
// forwarder.
func upgraded(t *testing.T, idle time.Duration) (client io.ReadWriteCloser, server net.Conn, header http.Header) {
	t.Helper()
	conns := make(chan net.Conn, 1)
	g := newHarness(t, options{route: upstream.RouteConfig{Timeouts: upstream.Timeouts{Idle: idle}}, upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n"+
			"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\nSec-WebSocket-Protocol: chat\r\n\r\n")
		conns <- conn
	})})
	conn, br := g.raw("GET /ws HTTP/1.1\r\nHost: app.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: chat, other\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	h := g.last().Header
	if h.Get("Sec-Websocket-Extensions") != "permessage-deflate; client_max_window_bits" || h.Get("Sec-Websocket-Protocol") != "chat, other" {
		t.Errorf("the offer was changed: %v", h)
	}
	server = <-conns
	server.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { server.Close() })
	return struct {
		io.Reader
		io.WriteCloser
	}{br, conn}, server, res.Header
}

// Frames pass byte for byte in both directions, with any content.
func TestWebSocketFramesAreNotTouched(t *testing.T) {
	client, server, header := upgraded(t, 0)
	if header.Get("Sec-Websocket-Extensions") != "permessage-deflate; server_no_context_takeover" || header.Get("Sec-Websocket-Protocol") != "chat" || header.Get("Sec-Websocket-Accept") != "y" {
		t.Errorf("the agreement was changed: %v", header)
	}
	pass := func(name string, w io.Writer, r io.Reader, frames []byte) {
		t.Helper()
		failed := make(chan error, 1)
		go func() {
			_, err := w.Write(frames)
			failed <- err
		}()
		got := make([]byte, len(frames))
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, frames) {
			t.Fatalf("%s: changed on the way: %v", name, err)
		}
		if err := <-failed; err != nil {
			t.Fatal(name, err)
		}
	}
	for name, frames := range webSocketFrames(true) {
		pass(name+", from the client", client, server, frames)
	}
	for name, frames := range webSocketFrames(false) {
		pass(name+", from the server", server, client, frames)
	}
}

// Each side's close reaches the other.
func TestWebSocketCloses(t *testing.T) {
	client, server, _ := upgraded(t, 0)
	server.Close()
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Error("the client still waits:", err)
	}
	client, server, _ = upgraded(t, 0)
	client.Close()
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Error("the server still waits:", err)
	}
}

// The end of one half leaves the other open.
func TestHalfClosedUpgrade(t *testing.T) {
	client, server, _ := upgraded(t, 0)
	client.(struct {
		io.Reader
		io.WriteCloser
	}).WriteCloser.(*net.TCPConn).CloseWrite()
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal("the end did not arrive:", err)
	}
	io.WriteString(server, "late")
	server.Close()
	if got, err := io.ReadAll(client); string(got) != "late" {
		t.Errorf("%q %v", got, err)
	}
}
