package streams

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Every client of an order is told before the first connection is taken down.
func TestAllAreToldFirst(t *testing.T) {
	const n = 20
	conns := make(chan net.Conn, n)
	g := newGate(t, Config{Grace: 10 * time.Second}, wsUpstream("", conns), false)
	told := make(chan int, n)
	for range n {
		dialWS(t, g, "s1", "")
		defer receive(t, "upstream", conns).Close()
		context.AfterFunc(receive(t, "stream", g.opened).Context(), func() { told <- len(g.seen) })
	}
	g.reg.Cut("s1", Revoked)
	for range n {
		if k := receive(t, "end", told); k != n {
			t.Fatalf("a connection was taken down when %d of %d clients were told", k, n)
		}
	}
}

// A client that cannot be told holds the others up for a moment, and no longer.
func TestPeersDoNotWaitForever(t *testing.T) {
	p := newPeers(2, time.Millisecond)
	p.told()
	soon(t, "the others", func(context.Context) error { p.wait(); return nil })
	p.told() // too late, which is no harm
	var alone *peers
	alone.told()
	alone.wait()
}

// piped is a ResponseWriter whose connection can be had.
type piped struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (p piped) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return p.conn, bufio.NewReadWriter(bufio.NewReader(p.conn), bufio.NewWriter(p.conn)), nil
}

// An order may come at the moment at which the connection is taken over. The race detector sees whether
// they look at the same thing.
func TestCutWhileHijacking(t *testing.T) {
	reg := newRegistry(Config{})
	for range 50 {
		conn, client := net.Pipe()
		s := reg.Open(t.Context(), reg.Epoch(), Info{Session: "s1"})
		w := s.Writer(piped{httptest.NewRecorder(), conn})
		cut := make(chan int, 1)
		go func() { cut <- reg.Cut("s1", Revoked) }()
		c, _, err := http.NewResponseController(w).Hijack()
		if n := receive(t, "order", cut); n != 1 {
			t.Fatalf("%d streams were cut", n)
		}
		receive(t, "end", s.Context().Done())
		if err == nil {
			c.Close()
		}
		s.Close()
		conn.Close()
		client.Close()
	}
}
