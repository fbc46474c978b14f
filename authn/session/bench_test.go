package session_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/authn/session"
)

// A cache hit must not allocate: it is on the way of every request.
func TestLoadDoesNotAllocate(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.verify(b.signIn(signInHost, alice()))
	r := b.request(signInHost)
	r.Header.Set("Cookie", "theme=dark; "+r.Header.Get("Cookie")+"; lang=en")
	load := func() {
		if _, err := e.m.Load(r, signInHost); err != nil {
			t.Fatal(err)
		}
	}
	load()
	if n := testing.AllocsPerRun(1000, load); n != 0 {
		t.Fatalf("%v allocations", n)
	}
	r.Header.Set("Cookie", e.m.CookieName()+"=x")
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := e.m.Load(r, signInHost); err == nil {
			t.Fatal("loaded")
		}
	}); n != 0 {
		t.Fatalf("%v allocations to refuse", n)
	}
}

// benchEnv has a clock without a lock of its own.
func benchEnv(b *testing.B) *harness {
	e := newHarness(b)
	e.m = e.process(func(c *session.Config) { c.Now = func() time.Time { return epoch } })
	return e
}

// requests are signed-in requests of n sessions.
func requests(b *testing.B, e *harness, n int) []*http.Request {
	rs := make([]*http.Request, n)
	for i := range rs {
		p := alice()
		p.Subject.ID = fmt.Sprint(i)
		br := e.browser()
		br.signIn(signInHost, p)
		rs[i] = br.request(signInHost)
		if _, err := e.m.Load(rs[i], signInHost); err != nil {
			b.Fatal(err)
		}
	}
	return rs
}

func BenchmarkLoadHit(b *testing.B) {
	e := benchEnv(b)
	r := requests(b, e, 1)[0]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.m.Load(r, signInHost); err != nil {
			b.Fatal(err)
		}
	}
}

// One person's browser opening everything at once, from all cores.
func BenchmarkLoadHitParallel(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			e := benchEnv(b)
			rs := requests(b, e, n)
			var worker atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := int(worker.Add(1)) * 7919; pb.Next(); i++ {
					if _, err := e.m.Load(rs[i%n], signInHost); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkLoadMiss(b *testing.B) {
	e := newHarness(b)
	r := requests(b, e, 1)[0]
	e.clock.Add(session.BlindAfter + time.Second)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.m.Load(r, signInHost); err != nil {
			b.Fatal(err)
		}
	}
}

// What the flush of 100,000 cached sessions costs when none was touched.
func BenchmarkFlush100k(b *testing.B) {
	e := newHarness(b)
	requests(b, e, 100_000)
	if err := e.m.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	if cookies, sessions := e.m.Cached(); cookies < 99_000 || sessions < 99_000 {
		b.Fatalf("%d cookies, %d sessions cached", cookies, sessions)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := e.m.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
