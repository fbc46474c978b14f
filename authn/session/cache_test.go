package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"sallyport/authn/authntest"
	"sallyport/authn/session"
)

func TestCacheSparesTheStore(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	before := e.mem.Calls("LoadSession")
	for range 50 {
		b.must(signInHost)
	}
	if n := e.mem.Calls("LoadSession") - before; n != 1 {
		t.Fatalf("%d look-ups for 50 requests", n)
	}
}

// A short outage of the store is not noticed by people at work; a longer one
// must be, for no one can be revoked during it.
func TestBlindProcessAsksTheStore(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	b.must(signInHost)
	e.mem.Fail(authntest.NotStored)
	e.clock.Add(session.BlindAfter)
	b.must(signInHost)
	e.clock.Add(time.Microsecond)
	_, err := b.load(signInHost)
	e.is(err, session.ErrUnavailable)
	if err := e.m.Poll(t.Context()); err == nil {
		t.Fatal("the poll succeeded")
	}
	_, err = b.load(signInHost)
	e.is(err, session.ErrUnavailable)
	e.mem.Heal()
	before := e.mem.Calls("LoadSession")
	b.must(signInHost)
	b.must(signInHost)
	if n := e.mem.Calls("LoadSession") - before; n != 2 {
		t.Fatalf("%d look-ups for 2 requests while blind", n)
	}
	e.ok(e.m.Poll(t.Context()))
	b.must(signInHost)
	b.must(signInHost)
	if n := e.mem.Calls("LoadSession") - before; n != 3 {
		t.Fatalf("%d look-ups after the poll came back", n)
	}
}

// What was revoked during blindness stays revoked, also when the change log does
// not reach back that far.
func TestBlindnessForgetsTheCache(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	b.must(signInHost)
	mute := &muteChanges{Store: e.mem}
	m := e.process(func(c *session.Config) { c.Store = mute })
	there := &browser{harness: e, m: m, jar: b.jar}
	there.must(signInHost)
	mute.broken = true
	e.clock.Add(time.Minute)
	if err := m.Poll(t.Context()); err == nil {
		t.Fatal("polled")
	}
	_, err := e.m.Revoke(t.Context(), session.Filter{Email: "alice@example.test"})
	e.ok(err)
	mute.broken, mute.silent = false, true
	e.ok(m.Poll(t.Context()))
	there.refused(signInHost)
}

// muteChanges is a store whose change log fails, or has lost what happened.
type muteChanges struct {
	session.Store
	broken, silent bool
}

func (s *muteChanges) SessionChanges(ctx context.Context, after int64) ([]string, int64, error) {
	if s.broken {
		return nil, 0, errors.New("lost")
	}
	ids, last, err := s.Store.SessionChanges(ctx, after)
	if s.silent {
		ids = nil
	}
	return ids, last, err
}

// The reader's position is gone (a restored database): it starts afresh.
func TestPollRecoversFromALostPosition(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signIn(signInHost, alice())
	b.verify(s) // the change log has moved on
	e.ok(e.m.Poll(t.Context()))
	m := e.process(func(c *session.Config) {
		c.Store = &movedStore{Store: e.mem, then: authntest.NewMemory()}
	})
	if err := m.Poll(t.Context()); err == nil {
		t.Fatal("a position ahead of the log was accepted")
	}
	e.clock.Add(session.BlindAfter + time.Second)
	e.ok(m.Poll(t.Context()))
	if m.Blind(e.clock.Now()) {
		t.Fatal("blind for ever")
	}
}

// movedStore answers its first poll, and is another, empty database afterwards.
type movedStore struct {
	session.Store
	then  session.Store
	polls int
}

func (s *movedStore) SessionChanges(ctx context.Context, after int64) ([]string, int64, error) {
	if s.polls++; s.polls == 1 {
		return s.Store.SessionChanges(ctx, after)
	}
	return s.then.SessionChanges(ctx, after)
}

// A load that read the store before a revocation must not put the dead session
// into the cache after it.
func TestAttackRevokedWhileLoading(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signIn(signInHost, alice())
	slow := &afterLoad{Store: e.mem}
	m := e.process(func(c *session.Config) { c.Store = slow })
	slow.f = func() {
		slow.f = nil
		_, err := m.Revoke(t.Context(), session.Filter{ID: s.ID})
		e.ok(err)
	}
	there := &browser{harness: e, m: m, jar: b.jar}
	there.must(signInHost) // this request was there first
	there.refused(signInHost)
}

type afterLoad struct {
	session.Store
	f func()
}

func (s *afterLoad) LoadSession(ctx context.Context, d session.Digest) (session.Record, session.Token, error) {
	r, tok, err := s.Store.LoadSession(ctx, d)
	if s.f != nil {
		s.f()
	}
	return r, tok, err
}

func TestCacheIsBounded(t *testing.T) {
	e := newHarness(t)
	e.m = e.process(func(c *session.Config) { c.CacheSize = 256 })
	var bs []*browser
	for i := range 1000 {
		p := alice()
		p.Subject.ID = fmt.Sprint(i)
		b := e.browser()
		b.signIn(signInHost, p)
		b.must(signInHost)
		bs = append(bs, b)
	}
	if cookies, sessions := e.m.Cached(); cookies > 256 || sessions > 256 || cookies < 64 {
		t.Fatalf("%d cookies, %d sessions in a cache of 256", cookies, sessions)
	}
	// What was pushed out is still there, is still touched, and can be revoked.
	e.pass(10 * time.Minute)
	for i, b := range bs {
		if got := b.must(signInHost); got.Person.Subject.ID != fmt.Sprint(i) {
			t.Fatalf("%d became %s", i, got.Person.Subject.ID)
		}
	}
	e.ok(e.m.Flush(t.Context()))
	recs, err := e.mem.ListSessions(t.Context(), session.Filter{})
	e.ok(err)
	for _, r := range recs {
		if !r.LastSeenAt.Equal(epoch.Add(10 * time.Minute)) {
			t.Fatalf("a touch was lost: %v", r.LastSeenAt)
		}
	}
	_, err = e.m.Revoke(t.Context(), session.Filter{RefreshedBefore: epoch.Add(-time.Hour), Email: "alice@example.test"})
	e.ok(err)
	_, err = e.m.Revoke(t.Context(), session.Filter{Email: "alice@example.test"})
	e.ok(err)
	for _, b := range bs {
		b.refused(signInHost)
	}
}

func TestTouchesAreBatched(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signIn(signInHost, alice())
	for range 20 {
		e.pass(2 * time.Second)
		b.must(signInHost)
	}
	if n := e.mem.Calls("TouchSessions"); n != 0 {
		t.Fatalf("%d writes on the hot path", n)
	}
	seen := func() time.Time {
		recs, err := e.mem.ListSessions(t.Context(), session.Filter{ID: s.ID})
		e.ok(err)
		return recs[0].LastSeenAt
	}
	// An outage loses nothing.
	e.mem.FailNext("TouchSessions", authntest.NotStored)
	if err := e.m.Flush(t.Context()); !errors.Is(err, session.ErrUnavailable) {
		t.Fatalf("flush: %v", err)
	}
	e.ok(e.m.Close(t.Context()))
	if got := seen(); !got.Equal(epoch.Add(40 * time.Second)) {
		t.Fatalf("last seen %v", got)
	}
	calls := e.mem.Calls("TouchSessions")
	e.ok(e.m.Flush(t.Context()))
	if e.mem.Calls("TouchSessions") != calls {
		t.Fatal("nothing new, and written again")
	}
	// A rotation in between keeps the touch of the old token.
	e.pass(time.Minute)
	cur := b.must(signInHost)
	b.verify(cur)
	e.mem.FailNext("TouchSessions", authntest.Stored)
	if err := e.m.Flush(t.Context()); !errors.Is(err, session.ErrUnavailable) {
		t.Fatalf("flush: %v", err)
	}
	e.mem.FailNext("TouchSessions", authntest.NotStored)
	if err := e.m.Flush(t.Context()); !errors.Is(err, session.ErrUnavailable) {
		t.Fatalf("flush: %v, the failed one was forgotten", err)
	}
	e.ok(e.m.Flush(t.Context()))
	if got := seen(); !got.Equal(epoch.Add(100 * time.Second)) {
		t.Fatalf("last seen %v", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	e := newHarness(t)
	e.m = e.process(func(c *session.Config) { c.CacheSize = 64 })
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			p := alice()
			p.Subject.ID = fmt.Sprint(i)
			for range 30 {
				b := e.browser()
				s := b.signIn(signInHost, p)
				b.must(signInHost)
				s = b.verify(s)
				b.must(signInHost)
				if _, err := e.m.SignOut(httptest.NewRecorder(), b.request(signInHost), s); err != nil {
					t.Error(err)
				}
				b.refused(signInHost)
			}
		})
	}
	for range 50 {
		e.ok(e.m.Poll(t.Context()))
		e.ok(e.m.Flush(t.Context()))
		e.clock.Add(time.Second)
	}
	wg.Wait()
}
