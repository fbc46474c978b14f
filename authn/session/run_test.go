package session_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/authn/authntest"
	"sallyport/authn/session"
)

// The bubble's clock stands in for the real one: waiting takes no time.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newHarness(t)
		live := func(c *session.Config) { c.Now = time.Now }
		e.m = e.process(live)
		other := e.process(live)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { e.m.Run(ctx); close(done) }()

		b, idle := e.browser(), e.browser()
		s := b.signIn(signInHost, alice())
		idle.signIn(signInHost, bob())
		ended := make(chan string, 10)
		e.m.OnEnd(func(id string) { ended <- id })

		// Longer than blindness: the cache is in use all the time.
		before := e.mem.Calls("LoadSession")
		for range 30 {
			<-time.After(time.Second)
			b.must(signInHost)
		}
		if n := e.mem.Calls("LoadSession") - before; n != 1 {
			t.Fatalf("%d look-ups in 30 s", n)
		}
		if n := e.mem.Calls("TouchSessions"); n < 2 || n > 3 {
			t.Fatalf("%d flushes in 30 s", n)
		}

		_, err := other.Revoke(t.Context(), session.Filter{ID: s.ID})
		e.ok(err)
		<-time.After(300 * time.Millisecond)
		b.refused(signInHost)
		if id := <-ended; id != s.ID {
			t.Fatalf("OnEnd saw %s", id)
		}

		// A hanging store makes the process blind, and only for as long as it hangs.
		e.mem.Fail(authntest.NotStored, "SessionChanges")
		<-time.After(session.BlindAfter + time.Second)
		if !e.m.Blind(time.Now()) {
			t.Fatal("not blind")
		}
		e.mem.Heal()
		<-time.After(time.Second)
		if e.m.Blind(time.Now()) {
			t.Fatal("still blind")
		}

		// A rotation elsewhere is picked up without anyone asking.
		e.ok(other.RotateKeys(t.Context()))
		<-time.After(11 * time.Second)
		fresh := e.browser()
		fresh.m = other
		fresh.signIn(signInHost, alice())
		if _, err := e.m.Decode(fresh.cookie(signInHost)); err != nil {
			t.Fatal("the new key did not arrive")
		}

		<-time.After(maxIdle + 2*time.Minute)
		recs, err := e.mem.ListSessions(t.Context(), session.Filter{})
		e.ok(err)
		if len(recs) != 0 {
			t.Fatalf("%d idle sessions were not purged", len(recs))
		}
		stop()
		<-done
	})
}

// A poll that hangs is given up before the process would go blind over it.
func TestHangingPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newHarness(t)
		hang := &hangingChanges{Store: e.mem}
		e.m = e.process(func(c *session.Config) { c.Store, c.Now = hang, time.Now })
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { e.m.Run(ctx); close(done) }()
		<-time.After(session.BlindAfter + 3*time.Second)
		if e.m.Blind(time.Now()) {
			t.Fatal("one hanging poll made the process blind")
		}
		stop()
		<-done
	})
}

// hangingChanges hangs in its second call.
type hangingChanges struct {
	session.Store
	calls int
}

func (s *hangingChanges) SessionChanges(ctx context.Context, after int64) ([]string, int64, error) {
	if s.calls++; s.calls == 2 {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	return s.Store.SessionChanges(ctx, after)
}
