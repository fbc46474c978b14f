package streams

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The session of an open WebSocket is revoked: the client is told with a close frame, the upstream's
// connection ends, and nothing the client sends in between gets there.
func TestAttackRevokedSessionKeepsWebSocket(t *testing.T) {
	conns := make(chan net.Conn, 2)
	g := newGate(t, Config{}, wsUpstream("", conns), false)
	client := dialWS(t, g, "s1", "")
	other := dialWS(t, g, "s2", "")
	up, up2 := receive(t, "upstream", conns), receive(t, "upstream", conns)
	defer up.Close()
	defer up2.Close()
	hello := frame(0x81, []byte("hello"), nil)
	up.Write(hello)
	up2.Write(hello)
	expect(t, client, hello)
	expect(t, other, hello)
	said := frame(0x81, []byte("said"), mask)
	client.Write(said)
	expect(t, up, said)
	if n := g.reg.Count(WebSocket); n != 2 {
		t.Errorf("%d WebSockets are counted, want 2", n)
	}

	if n := g.reg.Cut("s1", Revoked); n != 1 {
		t.Fatalf("%d streams cut, want 1", n)
	}
	client.Write(frame(0x81, []byte("transfer everything"), mask))
	expect(t, client, frame(0x88, []byte("\x03\xf0the session was revoked"), nil))
	if b, _ := io.ReadAll(up); len(b) > 0 {
		t.Errorf("the upstream got % x after the order", b)
	}
	client.Write(frame(0x88, []byte{0x03, 0xf0}, mask))
	ends(t, client)
	o := receive(t, "observation", g.seen)
	if o.kind != WebSocket || o.why != Revoked || o.took > 100*time.Millisecond {
		t.Errorf("observed %+v", o)
	}

	// The other session's is as it was.
	other.Write(said)
	expect(t, up2, said)
	up2.Write(hello)
	expect(t, other, hello)
}

// An order that comes in the middle of a frame is carried out at its end, between fragments too.
func TestCloseFrameOnlyAtABoundary(t *testing.T) {
	long := frame(0x01, bytes.Repeat([]byte("x"), 70_000), nil)
	closing := Blocked.closeFrame()
	for name, at := range map[string]int{"in the first byte": 1, "in the length": 5, "in the payload": 5000, "before the last byte": len(long) - 1} {
		t.Run(name, func(t *testing.T) {
			conns := make(chan net.Conn, 1)
			g := newGate(t, Config{Grace: 5 * time.Second}, wsUpstream("", conns), false)
			client := dialWS(t, g, "s", "")
			up := receive(t, "upstream", conns)
			defer up.Close()
			up.Write(long[:at])
			expect(t, client, long[:at]) // so the proxy has it too
			g.reg.Cut("s", Blocked)
			// The upstream is still heard. The client is not.
			client.Write(frame(0x81, []byte("transfer everything"), mask))
			up.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if b, err := io.ReadAll(up); len(b) > 0 || !isTimeout(err) {
				t.Errorf("the upstream got % x, %v after the order", b, err)
			}
			up.Write(append(long[at:], frame(0x80, []byte("the last fragment"), nil)...))
			expect(t, client, long[at:])
			expect(t, client, closing)
			client.Write(frame(0x88, nil, mask))
			ends(t, client)
		})
	}
}

// An upstream that stops in the middle of a frame has Grace; then there is no close
// frame, for it would be read as payload.
func TestHalfAFrameIsBrokenOff(t *testing.T) {
	conns := make(chan net.Conn, 1)
	g := newGate(t, Config{Grace: 20 * time.Millisecond}, wsUpstream("", conns), false)
	client := dialWS(t, g, "s", "")
	up := receive(t, "upstream", conns)
	defer up.Close()
	half := frame(0x81, []byte("half"), nil)[:4]
	up.Write(half)
	expect(t, client, half)
	g.reg.Cut("s", Revoked)
	ends(t, client)
	ends(t, up)
	receive(t, "observation", g.seen)
}

// After the upstream's own close frame there must be no second.
func TestNoCloseFrameAfterAnother(t *testing.T) {
	conns := make(chan net.Conn, 1)
	g := newGate(t, Config{}, wsUpstream("", conns), false)
	client := dialWS(t, g, "s", "")
	up := receive(t, "upstream", conns)
	defer up.Close()
	bye := frame(0x88, []byte{0x03, 0xe8}, nil)
	up.Write(bye)
	expect(t, client, bye)
	g.reg.Cut("s", Revoked)
	client.Write(frame(0x88, []byte{0x03, 0xe8}, mask))
	ends(t, client)
}

// A client that does not answer the close frame is let go after Linger.
func TestSilentClient(t *testing.T) {
	conns := make(chan net.Conn, 1)
	g := newGate(t, Config{Linger: 10 * time.Millisecond}, wsUpstream("", conns), false)
	client := dialWS(t, g, "s", "")
	up := receive(t, "upstream", conns)
	defer up.Close()
	g.reg.Cut("s", Expired)
	expect(t, client, Expired.closeFrame())
	ends(t, client)
	receive(t, "observation", g.seen)
	g.done.Wait()
	if n := len(g.seen); n != 0 {
		t.Errorf("one end was observed %d times", n+1)
	}
}

// A client that does not read fills every buffer on the way; the order still ends it.
func TestClientThatDoesNotRead(t *testing.T) {
	conns := make(chan net.Conn, 1)
	g := newGate(t, Config{}, wsUpstream("", conns), false)
	client := dialWS(t, g, "s", "")
	up := receive(t, "upstream", conns)
	defer up.Close()
	full := frame(0x82, make([]byte, 64<<10), nil)
	stuck := make(chan struct{})
	go func() {
		defer close(stuck)
		for {
			up.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			if _, err := up.Write(full); err != nil {
				return
			}
		}
	}()
	receive(t, "full buffers", stuck)
	g.reg.Cut("s", Revoked)
	o := receive(t, "observation", g.seen)
	if o.took > time.Second {
		t.Errorf("a client that does not read held its stream for %s", o.took)
	}
	g.done.Wait()
	_ = client
}

// Everything passes unchanged: fragments, control frames between them, compressed and empty
// messages, reserved bits, close codes, in pieces of any size.
func TestFramesPassUnchanged(t *testing.T) {
	var all []byte
	for _, f := range [][]byte{
		frame(0x01, []byte("frag"), nil), frame(0x89, []byte("ping"), nil), frame(0x00, nil, nil), frame(0x8a, nil, nil), frame(0x80, []byte("ment"), nil),
		frame(0xc1, []byte("\xcaH\xcd\xc9\xc9\x07\x00"), nil), frame(0x41, []byte("\xf2H\xcd"), nil), frame(0x80, []byte("\xc9\xc9\x07\x00"), nil),
		frame(0x81, nil, nil), frame(0x82, make([]byte, 126), nil), frame(0x82, bytes.Repeat([]byte{0x88}, 70_000), nil), frame(0xf3, []byte("reserved"), nil),
		frame(0x88, []byte("\x0f\xa0bye"), nil),
	} {
		all = append(all, f...)
	}
	for _, extension := range []string{"", "Sec-WebSocket-Extensions: permessage-deflate\r\n"} {
		for _, size := range []int{1, 7, 4096, len(all)} {
			conns := make(chan net.Conn, 1)
			g := newGate(t, Config{}, wsUpstream(extension, conns), false)
			client := dialWS(t, g, "s", "")
			up := receive(t, "upstream", conns)
			soon(t, "writing", func(context.Context) error {
				go func() {
					for b := all; len(b) > 0; {
						n := min(size, len(b))
						up.Write(b[:n])
						client.Write(b[:n])
						b = b[n:]
					}
				}()
				expect(t, client, all)
				expect(t, up, all)
				return nil
			})
			up.Close()
			client.Close()
		}
	}
}

// What a client sends right behind its handshake is not lost.
func TestEarlyFrames(t *testing.T) {
	conns := make(chan net.Conn, 1)
	g := newGate(t, Config{}, wsUpstream("", conns), false)
	early := frame(0x81, []byte("early"), mask)
	client := dialWS(t, g, "s", string(early))
	up := receive(t, "upstream", conns)
	defer up.Close()
	expect(t, up, early)
	client.Write(early)
	expect(t, up, early)
}

// An upstream that closes its half does not take the client's away.
func TestHalfClose(t *testing.T) {
	conns := make(chan net.Conn, 1)
	g := newGate(t, Config{}, wsUpstream("", conns), false)
	client := dialWS(t, g, "s", "")
	up := receive(t, "upstream", conns)
	defer up.Close()
	up.(*net.TCPConn).CloseWrite()
	ends(t, client)
	said := frame(0x81, []byte("still here"), mask)
	client.Write(said)
	expect(t, up, said)
	g.reg.Cut("s", Revoked)
	ends(t, up)
}

func TestOtherUpgradesAreBrokenOff(t *testing.T) {
	conns := make(chan net.Conn, 1)
	g := newGate(t, Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _ := http.NewResponseController(w).Hijack()
		io.WriteString(conn, strings.Replace(switching, "websocket", "spdy/3.1", 1)+"\r\n")
		conns <- conn
	}), false, func(_ *Stream, r *http.Request) { r.Header.Set("Upgrade", "spdy/3.1") })
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Session: s\r\nConnection: Upgrade\r\nUpgrade: spdy/3.1\r\n\r\n")
	up := receive(t, "upstream", conns)
	defer up.Close()
	io.WriteString(up, "hello")
	buf := make([]byte, 4096)
	for got := ""; !strings.HasSuffix(got, "\r\n\r\nhello"); {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got += string(buf[:n])
	}
	if g.reg.Count(Upgrade) != 1 {
		t.Error("not counted as an upgrade")
	}
	g.reg.Cut("s", Revoked)
	ends(t, conn)
	ends(t, up)
}
