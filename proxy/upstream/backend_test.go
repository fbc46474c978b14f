package upstream

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"sallyport/authn/clocktest"
)

func testPool(t *testing.T, clock *clocktest.Clock, to ...string) *pool {
	t.Helper()
	tb, err := NewTable([]RouteConfig{limited(RouteConfig{Name: "a", From: "http://a.example", To: to, MaxConns: 100})})
	if err != nil {
		t.Fatal(err)
	}
	return forwarder(t, clock.Now).poolOf(tb.routes[0])
}

func mustPick(t *testing.T, p *pool, not *backend) *backend {
	t.Helper()
	b, _ := p.pick(not)
	if b == nil {
		t.Fatal("nobody was picked")
	}
	return b
}

var errTest = errors.New("connection refused")

func TestEjectionGrowsAndEnds(t *testing.T) {
	ctx := context.Background()
	clock := clocktest.At(time.Unix(1e9, 0))
	p := testPool(t, clock, "http://x:1", "http://x:2")
	bad, good := p.backends[0], p.backends[1]
	for range ejectAfter - 1 {
		bad.report(ctx, errTest)
	}
	if ok, _ := bad.usable(clock.Now().UnixNano()); !ok {
		t.Fatal("ejected early")
	}
	bad.report(ctx, nil)
	for range ejectAfter - 1 {
		bad.report(ctx, errTest)
	}
	if ok, _ := bad.usable(clock.Now().UnixNano()); !ok {
		t.Fatal("failures that are not in a row add up")
	}
	for range 50 { // they all find out at once
		bad.report(ctx, errTest)
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		want *= time.Second
		if got := time.Unix(0, bad.ejectedUntil.Load()).Sub(clock.Now()); got != want {
			t.Fatalf("ejected for %s, want %s", got, want)
		}
		clock.Add(want - 1)
		for range 4 {
			if b := mustPick(t, p, nil); b != good {
				t.Fatal("an ejected upstream was picked")
			} else {
				b.release()
			}
		}
		clock.Add(1)
		trial := mustPick(t, p, nil) // nothing is outstanding there
		if trial != bad {
			t.Fatal("no trial")
		}
		for range 4 {
			if b := mustPick(t, p, nil); b != good {
				t.Fatal("a second trial at the same time")
			} else {
				b.release()
			}
		}
		trial.report(ctx, errTest)
		trial.release()
	}
	clock.Add(time.Minute)
	trial := mustPick(t, p, nil)
	trial.report(ctx, nil)
	if ok, pending := bad.usable(clock.Now().UnixNano()); trial != bad || !ok || pending || bad.ejections.Load() != 0 {
		t.Error("a trial that succeeds ends the ejection")
	}
}

func TestLastUpstreamIsNotEjected(t *testing.T) {
	ctx := context.Background()
	clock := clocktest.At(time.Unix(1e9, 0))
	for _, to := range [][]string{{"http://x:1"}, {"http://x:1", "http://x:2"}} {
		p := testPool(t, clock, to...)
		for _, b := range p.backends {
			for range ejectAfter {
				b.report(ctx, errTest)
			}
			clock.Add(100 * time.Millisecond)
		}
		if b := mustPick(t, p, nil); b != p.backends[0] {
			t.Error("not the one whose time is up first")
		}
	}
}

// A client that leaves, or whose body breaks off, says nothing of the upstream.
func TestClientsFailuresDoNotEject(t *testing.T) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	p := testPool(t, clocktest.At(time.Time{}), "http://x:1", "http://x:2")
	for range 10 {
		p.backends[0].report(gone, context.Canceled)
		p.backends[0].report(context.Background(), errClientBody)
		p.backends[0].report(context.Background(), errBodyTooLarge)
	}
	if p.backends[0].ejectedUntil.Load() != 0 || p.backends[0].errors.Load() != 0 {
		t.Error("ejected")
	}
}

func TestLeastOutstandingIsPicked(t *testing.T) {
	clock := clocktest.At(time.Unix(1e9, 0))
	p := testPool(t, clock, "http://x:1", "http://x:2", "http://x:3")
	p.backends[0].outstanding.Store(5)
	p.backends[1].outstanding.Store(2)
	for range 6 {
		mustPick(t, p, nil)
	}
	for i, want := range []int64{5, 4, 4} {
		if got := p.backends[i].outstanding.Load(); got != want {
			t.Errorf("upstream %d has %d, want %d", i, got, want)
		}
	}
	if mustPick(t, p, p.backends[1]) == p.backends[1] {
		t.Error("the excluded one was picked")
	}
}

// Of many upstreams two are drawn: the load still stays level, and those that
// may not be used are not.
func TestManyUpstreams(t *testing.T) {
	clock := clocktest.At(time.Unix(1e9, 0))
	var to []string
	for i := range 40 {
		to = append(to, "http://x:"+string(rune('1'+i%9))+string(rune('0'+i/9)))
	}
	p := testPool(t, clock, to...)
	p.backends[7].down.Store(true)
	for range 390 {
		mustPick(t, p, nil)
	}
	for i, b := range p.backends {
		n := b.outstanding.Load()
		if i == 7 && n != 0 || i != 7 && (n < 5 || n > 16) {
			t.Errorf("upstream %d has %d", i, n)
		}
	}
}

// Pick and release from many goroutines keep the counts right.
func TestPickConcurrently(t *testing.T) {
	tb, err := NewTable([]RouteConfig{limited(RouteConfig{Name: "a", From: "http://a.example", To: []string{"http://x:1", "http://x:2"}, MaxConns: 3, Timeouts: Timeouts{Wait: time.Minute}})})
	if err != nil {
		t.Fatal(err)
	}
	p := forwarder(t, nil).poolOf(tb.routes[0])
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 300 {
				b, err := p.acquire(context.Background(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if n := b.outstanding.Load(); n > 3 {
					t.Errorf("%d at one upstream", n)
				}
				b.release()
			}
		})
	}
	wg.Wait()
	for _, b := range p.backends {
		if b.outstanding.Load() != 0 || len(b.queue.queue) != 0 {
			t.Error(b.outstanding.Load(), len(b.queue.queue))
		}
	}
}

func TestRefusedStreamIsRecognised(t *testing.T) {
	if !neverSent(streamError{Code: refusedStream}) || neverSent(streamError{Code: 8}) || neverSent(errTest) || !neverSent(dialError{errTest}) {
		t.Error("misjudged")
	}
}

// An upstream that leaves the configuration is forgotten; one that stays keeps
// its history.
func TestUseKeepsWhatStays(t *testing.T) {
	make := func(to ...string) *Table {
		tb, err := NewTable([]RouteConfig{limited(RouteConfig{Name: "a", From: "http://a.example", To: to})})
		if err != nil {
			t.Fatal(err)
		}
		return tb
	}
	f := forwarder(t, nil)
	first := make("http://x:1", "http://x:2")
	f.Use(first)
	stays := f.poolOf(first.routes[0]).backends[1]
	stays.report(context.Background(), errTest)
	second := make("http://x:2", "http://x:3")
	f.Use(second)
	if f.poolOf(second.routes[0]).backends[0] != stays || len(f.backends.byKey) != 2 {
		t.Error("not the same upstream as before")
	}
	if s := f.State(second)[0].Upstreams; s[0].Errors != 1 || s[0].LastError == "" || s[1].URL != "http://x:3" {
		t.Errorf("%+v", s)
	}
}

// limited gives c limits that these tests do not reach.
func limited(c RouteConfig) RouteConfig {
	long := time.Minute
	c.Timeouts = Timeouts{Connect: long, ResponseHeader: long, Idle: long, Wait: cmp.Or(c.Timeouts.Wait, long)}
	c.MaxBody, c.MaxResponseHeader = 1<<20, 1<<20
	return c
}

func forwarder(t testing.TB, now func() time.Time) *Forwarder {
	t.Helper()
	f, err := NewForwarder(Config{MaxRequestHeader: 1 << 15, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return f
}
