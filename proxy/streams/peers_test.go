package streams

import (
	"context"
	"net"
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

// Whoever cannot be told holds the others up for a moment, and no longer.
func TestPeersDoNotWaitForever(t *testing.T) {
	p := newPeers(2, time.Millisecond)
	p.told()
	soon(t, "the others", func(context.Context) error { p.wait(); return nil })
	p.told() // too late, which is no harm
	var alone *peers
	alone.told()
	alone.wait()
}
