package edge_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/websocket"

	"sallyport/authn/clocktest"
	"sallyport/proxy/edge"
)

// What is in flight ends, what comes on an open connection is answered as its
// last, idle connections are closed, and new ones refused.
func TestDrain(t *testing.T) {
	b := newBusy()
	told := make(chan struct{})
	g := newHarness(t, edge.Config{Handler: b, Linger: 200 * time.Millisecond, OnDrain: func(context.Context) { close(told) }})
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	_, inFlight := g.send(get)
	<-b.begun
	active, activeBr := g.send(get)
	<-b.begun
	b.release <- struct{}{} // either of the two
	b.release <- struct{}{}
	answer := func(br *bufio.Reader) *http.Response {
		t.Helper()
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if answer(inFlight).Close || answer(activeBr).Close {
		t.Fatal("connections end before the drain")
	}
	idle := inFlight // it has nothing more to ask
	long, longBr := g.send(get)
	<-b.begun
	defer long.Close()

	drained := make(chan error, 1)
	go func() { drained <- g.Drain(t.Context()) }()
	<-told
	if c, err := net.Dial("tcp", g.addr); err == nil {
		c.Close()
		t.Error("a new connection was accepted")
	}
	io.WriteString(active, get) // within the linger
	<-b.begun
	b.release <- struct{}{}
	b.release <- struct{}{}
	if !answer(activeBr).Close || !answer(longBr).Close {
		t.Error("an answer during the drain does not end its connection")
	}
	if _, err := idle.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v", err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestDrainHTTP2(t *testing.T) {
	b := newBusy()
	g := newTLSHarness(t, edge.Config{Handler: b, Linger: 50 * time.Millisecond})
	f := g.framer()
	f.get(1)
	<-b.begun
	drained := make(chan error, 1)
	go func() { drained <- g.Drain(t.Context()) }()
	clocktest.Eventually(t, "draining", func() bool { _, err := net.Dial("tcp", g.addr); return err != nil })
	b.release <- struct{}{}
	answered, told := false, false
	f.until(func(fr http2.Frame) bool {
		switch fr := fr.(type) {
		case *http2.HeadersFrame:
			answered = true
		case *http2.GoAwayFrame:
			told = fr.ErrCode == http2.ErrCodeNo
		}
		return false
	})
	if err := <-drained; err != nil || !answered || !told {
		t.Errorf("%v, answered %v, told to go %v", err, answered, told)
	}
}

// A WebSocket is told through OnDrain, and waited for.
func TestDrainTellsStreams(t *testing.T) {
	bye := make(chan struct{})
	g := newHarness(t, edge.Config{Linger: time.Millisecond, OnDrain: func(context.Context) { close(bye) },
		Handler: websocket.Handler(func(c *websocket.Conn) { io.WriteString(c, "hi"); <-bye; io.WriteString(c, "bye") })})
	c, err := websocket.Dial("ws://"+g.addr+"/", "", "http://a/")
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(c, make([]byte, 2))
	if err := g.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if rest, _ := io.ReadAll(c); string(rest) != "bye" {
		t.Errorf("got %q", rest)
	}
}

// A connection that outlives its handler is one of the server's streams until it is over: Drain
// waits for it, and Close closes it.
func TestDetachedConnections(t *testing.T) {
	detached := make(chan func(), 2)
	g := newHarness(t, edge.Config{Linger: time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		over := edge.Detach(w)
		detached <- func() { conn.Close(); over(); over() }
	})})
	_, br := g.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	end := <-detached
	if s := g.Stats(); s.Streams != 1 || s.Requests != 1 { // the second is what Drain waits for
		t.Errorf("%d streams of %d requests, want 1 of 1", s.Streams, s.Requests)
	}
	drained := make(chan error, 1)
	go func() { drained <- g.Drain(t.Context()) }()
	clocktest.Eventually(t, "draining", func() bool { _, err := net.Dial("tcp", g.addr); return err != nil })
	end()
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if _, err := br.ReadByte(); err != io.EOF {
		t.Error(err)
	}
	if s := g.Stats(); s.Streams != 0 || s.Requests != 0 {
		t.Errorf("%d streams of %d requests after the end", s.Streams, s.Requests)
	}
}

// What does not end by itself is ended when the time is up.
func TestDrainHasAnEnd(t *testing.T) {
	t.Run("a request", func(t *testing.T) {
		b := newBusy()
		g := newHarness(t, edge.Config{Handler: b, Linger: time.Millisecond})
		defer close(b.release)
		_, br := g.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		<-b.begun
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := g.Drain(ctx); !errors.Is(err, edge.ErrCutOff) {
			t.Errorf("got %v", err)
		}
		if _, err := br.ReadByte(); err == nil {
			t.Error("answered")
		}
	})
	t.Run("a WebSocket", func(t *testing.T) {
		g := newHarness(t, edge.Config{Linger: time.Millisecond, Handler: websocket.Handler(func(c *websocket.Conn) { io.WriteString(c, "hi"); io.Copy(c, c) })})
		c, err := websocket.Dial("ws://"+g.addr+"/", "", "http://a/")
		if err != nil {
			t.Fatal(err)
		}
		io.ReadFull(c, make([]byte, 2))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := g.Drain(ctx); !errors.Is(err, edge.ErrCutOff) {
			t.Errorf("got %v", err)
		}
		clocktest.Eventually(t, "the connection is closed", func() bool { return g.Stats().OpenConnections == 0 })
	})
}

func TestDrainTwiceAndServeAfterwards(t *testing.T) {
	g := newHarness(t, edge.Config{Linger: time.Millisecond})
	if err := errors.Join(g.Drain(t.Context()), g.Drain(t.Context())); err != nil {
		t.Error(err)
	}
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	if err := g.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}
