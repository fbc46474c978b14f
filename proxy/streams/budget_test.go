package streams

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"sallyport/authn/clocktest"
	"sallyport/proxy/proxytest"
)

// inspecting is a gate that lets every message of up to limit bytes through, and its upstreams.
func inspecting(t testing.TB, c Config, limit int) (*gate, chan net.Conn) {
	t.Helper()
	conns := make(chan net.Conn, 1000)
	g := newGate(t, c, wsUpstream("", conns), false, func(s *Stream, _ *http.Request) {
		s.Inspect(limit, func([]byte) ([]byte, bool) { return nil, true }, larger)
	})
	g.opened, g.seen, g.refused = make(chan *Stream, 1000), make(chan observed, 1000), make(chan Reason, 1000)
	return g, conns
}

// TestUnfinishedMessagesOfOneSessionAreBounded: many WebSockets, each with a message that lacks its last byte, hold what the
// session may have, measured on the heap; the rest is told to come again. When they are gone, so is what they took.
func TestUnfinishedMessagesOfOneSessionAreBounded(t *testing.T) {
	const sockets, size, session = 150, 1 << 20, 8 << 20
	for name, message := range map[string][]byte{
		"one frame":      frame(0x81, make([]byte, size), mask),
		"many fragments": bytes.Repeat(frame(0x00, make([]byte, 512), mask), size/512),
	} {
		t.Run(name, func(t *testing.T) {
			message := bytes.Clone(message)
			message[0] |= 1 // it begins a message
			budget := NewBudget(session, proxytest.Inspected)
			g, _ := inspecting(t, Config{Inspected: budget}, size)
			heap := func() int64 {
				runtime.GC()
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return int64(m.HeapAlloc)
			}
			var clients []*wsClient
			for range sockets {
				clients = append(clients, dialWS(t, g, "s", ""))
			}
			before := heap()
			var writing sync.WaitGroup
			for _, c := range clients {
				writing.Go(func() { c.Write(message[:len(message)-1]) })
			}
			clocktest.Eventually(t, "most are refused", func() bool {
				if used := budget.Used(); used > session {
					t.Fatalf("%d bytes are taken", used)
				}
				return budget.Refused() >= sockets-session/(size/4)
			})
			// Besides the messages: small buffers, and what is being copied out of, since it was too small. Without the
			// budget it would be ten times as much.
			if grown := heap() - before; grown > 2*session+8<<20 {
				t.Errorf("the heap has grown by %d MiB, for a session that may hold %d", grown>>20, session>>20)
			}
			for _, c := range clients {
				c.Close()
			}
			writing.Wait()
			clocktest.Eventually(t, "everything is given back", func() bool { return budget.Used() == 0 })
		})
	}
}

func TestBudgetOfAllSessions(t *testing.T) {
	b := NewBudget(100, 250)
	for n, want := range map[string][]bool{"one session": {true, false}} {
		for _, ok := range want {
			if b.Take("a", "", 60) != ok {
				t.Error(n)
			}
		}
	}
	for i, ok := range []bool{true, true, false} {
		if b.Take(fmt.Sprint("s", i), "", 80) != ok {
			t.Error("all sessions", i)
		}
	}
	if b.Used() != 220 || b.Refused() != 2 {
		t.Error(b.Used(), b.Refused())
	}
	b.Give("a", "", 60)
	b.Give("s0", "", 80)
	b.Give("s1", "", 80)
	if b.Used() != 0 || !b.Take("a", "", 100) {
		t.Error("not given back")
	}
	for name, none := range map[string]*Budget{"session": NewBudget(0, 1000), "all": NewBudget(1000, 0)} {
		if none.Take("a", "alice", 1) {
			t.Errorf("%s: zero admits a byte", name)
		}
	}
}

// TestBudgetOfAPerson: many sessions of one person are not as many shares.
func TestBudgetOfAPerson(t *testing.T) {
	b := NewBudget(100, 1000)
	for i, want := range []bool{true, true, false, false} { // four sessions, of which each is within its own bound
		if got := b.Take(fmt.Sprint("s", i), "alice", 90); got != want {
			t.Errorf("session %d: %v", i, got)
		}
	}
	if !b.Take("s4", "bob", 100) || !b.Take("alice", "", 100) || b.Used() != 380 || b.Refused() != 2 {
		t.Error("others are refused, or what was refused is taken", b.Used(), b.Refused())
	}
	b.Give("s0", "alice", 90)
	if !b.Take("s3", "alice", 90) { // what was refused is not held against the session
		t.Error("not given back")
	}
	b.Give("s1", "alice", 90)
	b.Give("s3", "alice", 90)
	b.Give("s4", "bob", 100)
	b.Give("alice", "", 100)
	for i := range b.parts {
		if n := len(b.parts[i].held); n > 0 || b.Used() != 0 {
			t.Errorf("%d entries are left", n)
		}
	}
}

// TestMessageThatTheToolDoesNotReadEndsTheStream: what passed is not held for longer than a message may take. A stream
// whose message was read lives on.
func TestMessageThatTheToolDoesNotReadEndsTheStream(t *testing.T) {
	const size = 8 << 20 // more than sockets hold
	budget := NewBudget(proxytest.Inspected, proxytest.Inspected)
	g, conns := inspecting(t, Config{MessageTime: 2 * time.Second, Inspected: budget}, size) // the other one is read within it, under the race detector too
	message := frame(0x82, make([]byte, size), mask)
	read := dialWS(t, g, "s", "")
	up := receive(t, "upstream", conns)
	go read.Write(message)
	expect(t, up, message)

	unread := dialWS(t, g, "s", "")
	idle := receive(t, "upstream", conns)
	defer idle.Close()    // and not before, by the collector
	unread.Write(message) // is taken whole here, before it is judged
	expect(t, unread, NotTaken.closeFrame())
	unread.Close()
	if o := receive(t, "end", g.seen); o.kind != WebSocket || o.why != NotTaken {
		t.Errorf("observed %+v", o)
	}
	clocktest.Eventually(t, "everything is given back", func() bool { return budget.Used() == 0 })
	small := frame(0x81, []byte("hello"), mask)
	read.Write(small)
	expect(t, up, small)
}

// TestNoRoomIsSaid: the client learns that it may come again, and another session is served.
func TestNoRoomIsSaid(t *testing.T) {
	g, conns := inspecting(t, Config{Inspected: NewBudget(1000, proxytest.Inspected)}, 1<<20)
	greedy, modest := dialWS(t, g, "s", ""), dialWS(t, g, "other", "")
	receive(t, "upstream", conns)
	up := receive(t, "upstream", conns)
	greedy.Write(frame(0x81, make([]byte, 2000), mask))
	expect(t, greedy, TooMuch.closeFrame())
	small := frame(0x81, make([]byte, 500), mask)
	modest.Write(small)
	expect(t, up, small)
}

// TestMessageThatIsNeverFinishedEndsTheStream, whichever part of it is missing; a connection that is silent between messages stays.
func TestMessageThatIsNeverFinishedEndsTheStream(t *testing.T) {
	whole := frame(0x81, []byte("hello"), mask)
	g, conns := inspecting(t, Config{MessageTime: 100 * time.Millisecond}, 1000)
	silent := dialWS(t, g, "s", "")
	up := receive(t, "upstream", conns)
	silent.Write(whole)
	expect(t, up, whole)
	for name, part := range map[string][]byte{
		"half a header": whole[:1], "half a frame": whole[:8], "a fragment": frame(0x01, []byte("hello"), mask),
		"a fragment and a ping": concat(frame(0x01, []byte("hello"), mask), frame(0x89, nil, mask)),
	} {
		slow := dialWS(t, g, "s", "")
		receive(t, "upstream", conns)
		slow.Write(part)
		t.Log(name)
		expect(t, slow, Slow.closeFrame())
	}
	silent.Write(whole)
	expect(t, up, whole)
}

// TestLargeBuffersAreFew: silent connections do not keep them; those that have filled one and fell silent are few.
func TestLargeBuffersAreFew(t *testing.T) {
	var taken []*largeBuffer
	for range maxLarge {
		taken = append(taken, takeLarge())
	}
	if b := takeLarge(); b != nil {
		t.Error("one more")
		putLarge(b)
	}
	for _, b := range taken {
		putLarge(b)
	}
	if b := takeLarge(); b == nil {
		t.Error("none was given back")
	} else {
		putLarge(b)
	}
}
