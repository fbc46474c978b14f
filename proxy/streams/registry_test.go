package streams

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func open(t testing.TB, r *Registry, session string, value any) *Stream {
	t.Helper()
	s := r.Open(t.Context(), r.Epoch(), Info{Session: session, Route: "r", Value: value})
	t.Cleanup(s.Close)
	return s
}

// isCut reports whether the stream's context ended for this reason.
func isCut(s *Stream, why Reason) bool {
	var c *Cut
	return s.Context().Err() != nil && errors.As(context.Cause(s.Context()), &c) && c.Reason == why && s.Cut() == c
}

func TestOrders(t *testing.T) {
	for _, tc := range []struct {
		name  string
		order func(*Registry) int
		cut   []int // of the streams a0, a1, b2
		why   Reason
	}{
		{"Cut", func(r *Registry) int { return r.Cut("a", Revoked) }, []int{0, 1}, Revoked},
		{"Cut of nobody", func(r *Registry) int { return r.Cut("c", Revoked) }, nil, Revoked},
		{"Review", func(r *Registry) int {
			return r.Review("a", func(i Info) (Reason, bool) { return Stale, i.Value == 1 })
		}, []int{1}, Stale},
		{"CutIf", func(r *Registry) int {
			return r.CutIf(func(i Info) (Reason, bool) { return Blocked, i.Value != 1 })
		}, []int{0, 2}, Blocked},
		{"CutAll", func(r *Registry) int { return r.CutAll(Shutdown) }, []int{0, 1, 2}, Shutdown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegistry(Config{})
				streams := []*Stream{open(t, r, "a", 0), open(t, r, "a", 1), open(t, r, "b", 2)}
				if n := tc.order(r); n != len(tc.cut) {
					t.Errorf("%d streams cut, want %d", n, len(tc.cut))
				}
				for i, s := range streams {
					want := false
					for _, c := range tc.cut {
						want = want || c == i
					}
					if isCut(s, tc.why) != want || (s.Cut() != nil) != want {
						t.Errorf("stream %d: cut %v, want %v", i, s.Cut(), want)
					}
					if why, refused := s.Refused(); refused != want || want && why != tc.why {
						t.Errorf("stream %d: refused %v", i, refused)
					}
				}
				if n := tc.order(r); n != 0 {
					t.Errorf("%d streams cut twice", n)
				}
			})
		})
	}
}

// A session that is revoked while one of its requests is being judged does not keep the
// stream that this request becomes.
func TestAttackRevokedBetweenJudgementAndOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(Config{})
		judged := r.Epoch()
		r.Cut("a", Revoked)
		late := r.Open(t.Context(), judged, Info{Session: "a"})
		defer late.Close()
		if !isCut(late, Revoked) {
			t.Error("a stream that was judged before the order is open after it")
		}
		other := r.Open(t.Context(), judged, Info{Session: "b"})
		defer other.Close()
		if other.Cut() != nil {
			t.Error("another session's stream was cut")
		}
		fresh := r.Open(t.Context(), r.Epoch(), Info{Session: "a"})
		defer fresh.Close()
		if fresh.Cut() != nil {
			t.Error("a stream that was judged after the order was cut")
		}
		// The same for a new judgement of all.
		r.CutIf(func(i Info) (Reason, bool) { return Blocked, i.Route == "secret" })
		s1, s2 := r.Open(t.Context(), judged, Info{Session: "x", Route: "secret"}), r.Open(t.Context(), judged, Info{Session: "x", Route: "open"})
		defer s1.Close()
		defer s2.Close()
		if !isCut(s1, Blocked) || s2.Cut() != nil {
			t.Errorf("CutIf: %v and %v", s1.Cut(), s2.Cut())
		}
		// What is forgotten is held against those who were judged before it.
		time.Sleep(5 * rememberFor)
		old := r.Open(t.Context(), judged, Info{Session: "b"})
		defer old.Close()
		if old.Cut() == nil {
			t.Error("a judgement older than the memory of orders still counts")
		}
		if len(r.orders.list) != 0 || r.orders.timer != nil {
			t.Error("orders are remembered for ever")
		}
	})
}

func TestMemoryOfOrdersIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(Config{})
		first := r.Epoch()
		for i := range 3 * rememberOrders {
			r.Cut(fmt.Sprint(i), Revoked)
		}
		if n := len(r.orders.list); n > rememberOrders {
			t.Errorf("%d orders remembered", n)
		}
		s := r.Open(t.Context(), first, Info{Session: "0"})
		defer s.Close()
		if s.Cut() == nil {
			t.Error("an order was lost")
		}
	})
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took []time.Duration
		r := newRegistry(Config{Observe: func(_ Kind, _ Reason, d time.Duration) { took = append(took, d) }})
		s := open(t, r, "a", nil)
		s.Until(time.Now().Add(time.Minute), Stale)
		time.Sleep(time.Minute - 1)
		if s.Cut() != nil {
			t.Fatal("cut too early")
		}
		s.Until(time.Now().Add(time.Hour), Stale) // verified again
		time.Sleep(time.Minute)
		if s.Cut() != nil {
			t.Fatal("the old deadline is in force")
		}
		s.Until(time.Now().Add(time.Minute), Expired) // it can come closer too
		time.Sleep(time.Minute + 1)
		if !isCut(s, Expired) {
			t.Fatal("not cut at its deadline")
		}
		s.Close()
		if len(took) != 1 || took[0] > time.Millisecond {
			t.Errorf("observed %v", took)
		}

		never := open(t, r, "a", nil)
		never.Until(time.Now().Add(time.Minute), Stale)
		never.Until(time.Time{}, Stale)
		past := open(t, r, "a", nil)
		past.Until(time.Now().Add(-time.Minute), Stale)
		synctest.Wait()
		closed := open(t, r, "a", nil)
		closed.Until(time.Now().Add(time.Minute), Stale)
		closed.Close()
		closed.Until(time.Now().Add(time.Minute), Stale)
		time.Sleep(time.Hour)
		if never.Cut() != nil || !isCut(past, Stale) || closed.Cut() != nil {
			t.Errorf("never %v, past %v, closed %v", never.Cut(), past.Cut(), closed.Cut())
		}
		if len(took) != 1 {
			t.Errorf("streams that are open, or were closed in peace, are observed: %v", took)
		}
	})
}

// A deadline that is moved at the moment when it is due is moved.
func TestUntilIsMovedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, newRegistry(Config{}), "a", nil)
		due := time.Now().Add(time.Minute)
		s.Until(due, Stale)
		s.mu.Lock() // as Until has it
		time.Sleep(time.Minute)
		s.deadline = due.Add(time.Hour)
		s.mu.Unlock()
		synctest.Wait()
		if s.Cut() != nil {
			t.Error("cut by a deadline that was moved")
		}
	})
}

func TestFromAndParent(t *testing.T) {
	r := newRegistry(Config{})
	parent, cancel := context.WithCancel(t.Context())
	s := r.Open(parent, r.Epoch(), Info{Session: "a"})
	defer s.Close()
	if From(s.Context()) != s || From(t.Context()) != nil {
		t.Error("From does not find the stream of a context")
	}
	child, stop := context.WithCancel(s.Context())
	defer stop()
	if From(child) != s {
		t.Error("From does not find the stream of a child")
	}
	cancel()
	if s.Context().Err() == nil || s.Cut() != nil {
		t.Error("the end of the request is not the end of the stream, or an order")
	}
}

func TestAnsweredIsNotRefused(t *testing.T) {
	for name, answer := range map[string]func(w *httptest.ResponseRecorder, s *Stream){
		"head": func(w *httptest.ResponseRecorder, s *Stream) { s.Writer(w).WriteHeader(204) },
		"body": func(w *httptest.ResponseRecorder, s *Stream) { s.Writer(w).Write(nil) },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRegistry(Config{})
			s := open(t, r, "a", nil)
			s.Writer(httptest.NewRecorder()).WriteHeader(103)
			answer(httptest.NewRecorder(), s)
			r.Cut("a", Revoked)
			if _, refused := s.Refused(); refused {
				t.Errorf("%s: an answer that has begun is to be answered again", name)
			}
		})
	}
}

// A forwarder that aborts because it was cut has not answered; any other panic is its own.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(Config{})
		recovered := func(s *Stream, f func()) (p any, refused bool) {
			defer func() { p = recover() }()
			_, refused = s.Run(f)
			return nil, refused
		}
		abort := func() { panic(http.ErrAbortHandler) }
		if p, _ := recovered(open(t, r, "a", nil), abort); p != http.ErrAbortHandler {
			t.Errorf("an abort that is not ours came out as %v", p)
		}
		s := open(t, r, "a", nil)
		r.Cut("a", Revoked)
		if p, refused := recovered(s, abort); p != nil || !refused {
			t.Errorf("an abort because of the order: %v, refused %v", p, refused)
		}
		if p, refused := recovered(s, func() {}); p != nil || !refused {
			t.Errorf("a return: %v, refused %v", p, refused)
		}
		if p, _ := recovered(s, func() { panic("bug") }); p != "bug" {
			t.Errorf("a bug came out as %v", p)
		}
		s.Writer(httptest.NewRecorder()).WriteHeader(200)
		if p, refused := recovered(s, abort); p != http.ErrAbortHandler || refused {
			t.Errorf("an abort after the answer began came out as %v", p)
		}
	})
}

// Streams come and go while orders are given: none is lost, none is left, and no other
// session's is touched.
func TestConcurrentOrders(t *testing.T) {
	r := newRegistry(Config{Observe: func(Kind, Reason, time.Duration) {}})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(g)))
			var mine []*Stream
			for ctx.Err() == nil {
				epoch := r.Epoch()
				s := r.Open(ctx, epoch, Info{Session: fmt.Sprint("s", rng.IntN(20)), Kind: Kind(rng.IntN(int(kinds)))})
				s.Until(time.Now().Add(time.Duration(rng.IntN(int(time.Millisecond)))), Stale)
				if mine = append(mine, s); len(mine) > 50 {
					i := rng.IntN(len(mine))
					mine[i].become(Kind(rng.IntN(int(kinds))))
					mine[i].Close()
					mine[i] = mine[len(mine)-1]
					mine = mine[:len(mine)-1]
				}
			}
			for _, s := range mine {
				s.Close()
				s.Close()
			}
		})
	}
	safe := r.Open(context.Background(), r.Epoch(), Info{Session: "safe"})
	for i := range 300 {
		r.Cut(fmt.Sprint("s", i%20), Revoked)
		r.CutIf(func(info Info) (Reason, bool) { return Blocked, info.Session == "s3" })
		doomed := r.Open(ctx, r.Epoch(), Info{Session: "doomed"})
		if r.Cut("doomed", Revoked) != 1 || doomed.Cut() == nil {
			t.Fatal("an order missed a stream")
		}
		doomed.Close()
	}
	stop()
	wg.Wait()
	if safe.Cut() != nil {
		t.Errorf("a stream of another session was cut: %v", safe.Cut())
	}
	if n := r.SessionCount("safe"); n != 1 {
		t.Errorf("%d streams in a session of one", n)
	}
	safe.Close()
	for k := range kinds {
		if n := r.Count(k); n != 0 {
			t.Errorf("%d %s streams are left", n, k)
		}
	}
	for i := range r.shards {
		if n := len(r.shards[i].sessions); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	}
}

func TestReasons(t *testing.T) {
	for r := range Reason(len(reasons)) {
		f := r.closeFrame()
		if len(f) > 2+125 || int(f[1]) != len(f)-2 || f[0] != 0x88 || r.String() == "" || len(r.event()) == 0 {
			t.Errorf("%s: close frame % x", r, f)
		}
	}
	for _, r := range []Reason{-1, 100} {
		if r.String() != Ended.String() {
			t.Errorf("reason %d is %q", int(r), r)
		}
	}
}

// TestRegistryNeedsTheLimitsOfMessages: one that is left out is no message without limit.
func TestRegistryNeedsTheLimitsOfMessages(t *testing.T) {
	budget := NewBudget(1, 1)
	for name, c := range map[string]Config{"nothing": {}, "no budget": {MessageTime: time.Second}, "no time": {Inspected: budget}, "negative": {Inspected: budget, MessageTime: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{Inspected: budget, MessageTime: 1}); err != nil {
		t.Error(err)
	}
}
