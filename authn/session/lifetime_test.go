package session_test

import (
	"errors"
	"testing"
	"time"

	"sallyport/authn/session"
)

func TestAbsoluteLifetime(t *testing.T) {
	for name, cached := range map[string]bool{"cached": true, "stored": false} {
		t.Run(name, func(t *testing.T) {
			e := newHarness(t)
			b := e.browser()
			s := b.signIn(signInHost, alice())
			if want := epoch.Add(maxAge); !s.ExpiresAt.Equal(want) {
				t.Fatalf("expires at %v", s.ExpiresAt)
			}
			pass := e.clock.Add
			if cached {
				pass = e.pass
			}
			for range 19 { // used all the time
				pass(30 * time.Minute)
				b.must(signInHost)
			}
			before := e.mem.Calls("LoadSession")
			pass(30*time.Minute - time.Microsecond)
			b.must(signInHost)
			if n := e.mem.Calls("LoadSession") - before; (n == 0) != cached {
				t.Fatalf("%d look-ups", n)
			}
			pass(time.Microsecond)
			b.refused(signInHost)
			if recs, err := e.mem.ListSessions(t.Context(), session.Filter{ID: s.ID}); err != nil || len(recs) != 0 {
				t.Fatalf("not deleted: %v, %v", recs, err)
			}
		})
	}
}

func TestIdleTimeout(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	for range 3 {
		e.pass(maxIdle - 2*time.Second)
		b.must(signInHost)
	}
	e.pass(maxIdle)
	b.refused(signInHost)
}

// A cookie that is used in one process is not idle in another.
func TestIdleIsJudgedAcrossProcesses(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	there := &browser{harness: e, m: e.process(nil), jar: b.jar}
	there.must(signInHost)
	for range 4 {
		e.pass(30 * time.Minute)
		b.must(signInHost)
		e.ok(e.m.Flush(t.Context()))
	}
	e.ok(there.m.Poll(t.Context()))
	there.must(signInHost)
}

// A shortened max_age holds for sessions that were made before it.
func TestShortenedMaxAge(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	e.clock.Add(31 * time.Minute)
	short := &browser{harness: e, m: e.process(func(c *session.Config) { c.MaxAge = 30 * time.Minute }), jar: b.jar}
	short.refused(signInHost)
}

func TestAttackClockSetBack(t *testing.T) {
	t.Run("does not revive what ran out", func(t *testing.T) {
		for name, d := range map[string]time.Duration{"idle": maxIdle, "expired": maxAge} {
			e := newHarness(t)
			b := e.browser()
			b.signIn(signInHost, alice())
			e.pass(d)
			b.refused(signInHost)
			e.clock.Add(-d)
			if _, err := b.load(signInHost); !errors.Is(err, session.ErrNoSession) {
				t.Errorf("%s: revived: %v", name, err)
			}
		}
	})
	t.Run("does not give time", func(t *testing.T) {
		e := newHarness(t)
		b := e.browser()
		b.signIn(signInHost, alice())
		e.pass(30 * time.Minute)
		b.must(signInHost)
		e.clock.Add(-20 * time.Minute) // last seen in the future now
		b.refused(signInHost)
		e.clock.Add(-time.Hour) // and made in the future
		b.refused(signInHost)
		// Refused, not ended: the clock that is wrong may be this process's.
		e.pass(80 * time.Minute)
		b.must(signInHost)
	})
	t.Run("the cache is not believed", func(t *testing.T) {
		e := newHarness(t)
		if e.m.Blind(epoch) || !e.m.Blind(epoch.Add(-time.Minute)) || !e.m.Blind(epoch.Add(6*time.Second)) {
			t.Error("blindness")
		}
	})
	t.Run("the monotonic clock goes on", func(t *testing.T) {
		start := epoch
		for _, c := range []struct {
			elapsed, wall, want time.Duration
		}{
			{time.Hour, time.Hour, time.Hour},
			{time.Hour, -2 * time.Hour, time.Hour},    // set back
			{time.Hour, 3 * time.Hour, 3 * time.Hour}, // set forward, or suspended
		} {
			if got := session.Later(start, c.elapsed, start.Add(c.wall)); !got.Equal(start.Add(c.want)) {
				t.Errorf("elapsed %v, wall %v: %v", c.elapsed, c.wall, got.Sub(start))
			}
		}
	})
}

func TestPurgeKeepsTheLiving(t *testing.T) {
	e := newHarness(t)
	b, idle, lunch := e.browser(), e.browser(), e.browser()
	b.signIn(signInHost, alice())
	idle.signIn(signInHost, bob())
	lunch.signIn(signInHost, alice())
	e.pass(40 * time.Minute)
	b.must(signInHost)
	lunch.must(signInHost)
	for range 2 {
		e.pass(29 * time.Minute)
		b.must(signInHost)
		e.ok(e.m.Flush(t.Context()))
	}
	e.ok(e.m.Purge(t.Context()))
	b.must(signInHost)
	lunch.must(signInHost)
	recs, err := e.mem.ListSessions(t.Context(), session.Filter{})
	e.ok(err)
	if len(recs) != 2 || recs[0].Person.Email != "alice@example.test" || recs[1].Person.Email != "alice@example.test" {
		t.Fatalf("left: %+v", recs)
	}
}
