package session_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
)

func TestHandoff(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	s := b.verify(b.signIn(signInHost, alice()))
	got, path := b.cross(signInHost, appHost, "https://"+appHost+"/ledger?page=2")
	if path != "/ledger?page=2" || got.ID != s.ID || got.Host != appHost || got.Verification.At != s.Verification.At || got.Verification.Browser != e.verification().Browser {
		t.Fatalf("%s, %+v", path, got)
	}
	if b.cookie(signInHost) == b.cookie(appHost) {
		t.Fatal("one cookie for two hosts")
	}
	b.must(signInHost)
	if s := b.must(appHost); s.Level() != authn.Verified {
		t.Fatal("not verified")
	}
}

// begin makes a code for the browser on the app host.
func (b *browser) begin() (code string) {
	b.Helper()
	w := httptest.NewRecorder()
	bind := b.m.BeginHandoff(w, b.request(appHost), appHost)
	b.keep(appHost, w)
	code, err := b.m.Handoff(b.Context(), b.must(signInHost), appHost, bind, "/")
	b.ok(err)
	return code
}

func (b *browser) redeem(host, code string) error {
	w := httptest.NewRecorder()
	s, path, err := b.m.Redeem(w, b.request(host), host, code)
	if err != nil && (w.Header().Get("Set-Cookie") != "" || s.ID != "" || path != "") {
		b.Errorf("refused, and yet %+v, %q, %q", s, path, w.Header().Get("Set-Cookie"))
	}
	if err == nil {
		b.keep(host, w)
	}
	return err
}

func TestAttackS1StolenHandoffCode(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	b.signIn(signInHost, alice())

	t.Run("twice", func(t *testing.T) {
		code := b.begin()
		e.ok(b.redeem(appHost, code))
		e.is(b.redeem(appHost, code), session.ErrHandoff)
	})
	t.Run("late", func(t *testing.T) {
		code := b.begin()
		e.clock.Add(time.Minute)
		e.is(b.redeem(appHost, code), session.ErrHandoff)
		code = b.begin()
		e.clock.Add(time.Minute - time.Microsecond)
		e.ok(b.redeem(appHost, code))
	})
	t.Run("on another host", func(t *testing.T) {
		b.jar["other.example.test"] = b.jar[appHost] // even with the nonce
		code := b.begin()
		e.is(b.redeem("other.example.test", code), session.ErrHandoff)
		e.is(b.redeem(appHost, code), session.ErrHandoff) // shown elsewhere: spent
	})
	t.Run("in another browser", func(t *testing.T) {
		thief := e.browser()
		e.is(thief.redeem(appHost, b.begin()), session.ErrHandoff)
		thief.m.BeginHandoff(httptest.NewRecorder(), thief.request(appHost), appHost)
		w := httptest.NewRecorder()
		thief.m.BeginHandoff(w, thief.request(appHost), appHost)
		thief.keep(appHost, w)
		e.is(thief.redeem(appHost, b.begin()), session.ErrHandoff)
		thief.refused(appHost)
	})
	t.Run("with two nonces", func(t *testing.T) {
		code := b.begin()
		r := b.request(appHost)
		r.Header["Cookie"] = []string{e.m.HandoffCookieName() + "=" + strings.Repeat("A", 43) + "; " + r.Header.Get("Cookie")}
		_, _, err := e.m.Redeem(httptest.NewRecorder(), r, appHost, code)
		e.is(err, session.ErrHandoff)
	})
	t.Run("made up", func(t *testing.T) {
		for _, code := range []string{"", "x", strings.Repeat("A", 43), strings.Repeat("A", 42) + "B", strings.Repeat("A", 1<<20), strings.Repeat("\n", 43)} {
			e.is(b.redeem(appHost, code), session.ErrHandoff)
		}
		// What cannot be a code is not worth a look-up, let alone a megabyte of hashing.
		before := e.mem.Calls("Take")
		e.is(b.redeem(appHost, strings.Repeat("A", 1<<20)), session.ErrHandoff)
		if e.mem.Calls("Take") != before {
			t.Error("the store was asked")
		}
	})
	t.Run("after sign-out", func(t *testing.T) {
		code := b.begin()
		_, err := e.m.Revoke(t.Context(), session.Filter{Email: "alice@example.test"})
		e.ok(err)
		e.is(b.redeem(appHost, code), session.ErrNoSession)
		b.refused(appHost)
	})
	t.Run("by nobody", func(t *testing.T) {
		bind := e.m.BeginHandoff(httptest.NewRecorder(), b.request(appHost), appHost)
		_, err := e.m.Handoff(t.Context(), authn.Session{}, appHost, bind, "/")
		e.is(err, session.ErrNoSession)
		s := b.signIn(signInHost, alice())
		for _, c := range [][2]string{{"", bind}, {appHost, ""}, {appHost, bind + "A"}, {appHost, bind[1:]}, {appHost, strings.Repeat("=", 43)}} {
			_, err := e.m.Handoff(t.Context(), s, c[0], c[1], "/")
			e.is(err, session.ErrHandoff)
		}
	})
}

func TestHandoffExpiresWithTheClockSetBack(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	code := b.begin()
	e.clock.Add(-time.Hour)
	e.is(b.redeem(appHost, code), session.ErrHandoff)
}

// keeper is a Once that forgets to look at the time.
type keeper struct{ session.Once }

func (k keeper) Take(ctx context.Context, purpose string, key [32]byte, _ time.Time) ([]byte, error) {
	return k.Once.Take(ctx, purpose, key, epoch)
}

func TestHandoffExpiresWhateverTheStoreSays(t *testing.T) {
	e := newEnv(t)
	e.m = e.process(func(c *session.Config) { c.Codes = keeper{e.mem} })
	b := e.browser()
	b.signIn(signInHost, alice())
	code := b.begin()
	e.clock.Add(time.Minute)
	e.is(b.redeem(appHost, code), session.ErrHandoff)
}

// The session runs out while the code is on its way.
func TestRedeemForASessionThatRanOut(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	for range 20 {
		e.pass(session.DefaultMaxAge/20 - time.Second)
		b.must(signInHost)
	}
	code := b.begin()
	e.pass(30 * time.Second)
	e.is(b.redeem(appHost, code), session.ErrNoSession)
	b.refused(appHost)
}

func TestHandoffRaceHasOneWinner(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	code := b.begin()
	var mu sync.Mutex
	var wg sync.WaitGroup
	won := 0
	for range 8 {
		wg.Go(func() {
			_, _, err := e.m.Redeem(httptest.NewRecorder(), b.request(appHost), appHost, code)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, session.ErrHandoff):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Fatalf("%d winners", won)
	}
}

// Tabs that are opened together share the nonce, and each gets in.
func TestHandoffInParallelTabs(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	one, two := b.begin(), b.begin()
	e.ok(b.redeem(appHost, two))
	old := b.cookie(appHost)
	b.must(appHost)
	e.ok(b.redeem(appHost, one))
	b.must(appHost)
	b.with(appHost, old).refused(appHost) // one token per session and host
}

// Another session's cookie on the app host goes when a new one comes.
func TestRedeemEndsThePreviousSessionOfTheHost(t *testing.T) {
	e := newEnv(t)
	mallory := e.browser()
	mallory.signIn(signInHost, bob())
	mallory.cross(signInHost, appHost, "/")
	b := e.browser()
	b.signIn(signInHost, alice())
	b.jar[appHost] = map[string]string{e.m.CookieName(): mallory.cookie(appHost)}
	b.cross(signInHost, appHost, "/")
	if got := b.must(appHost); got.Person.Email != "alice@example.test" {
		t.Fatal(got.Person.Email)
	}
	mallory.refused(appHost)
}

func TestBadNonceIsReplaced(t *testing.T) {
	e := newEnv(t)
	for _, planted := range []string{"x", strings.Repeat("A", 42) + "B", strings.Repeat("A", 44), strings.Repeat("!", 43)} {
		b := e.browser()
		b.jar[appHost] = map[string]string{e.m.HandoffCookieName(): planted}
		w := httptest.NewRecorder()
		bind := e.m.BeginHandoff(w, b.request(appHost), appHost)
		b.keep(appHost, w)
		if b.jar[appHost][e.m.HandoffCookieName()] == planted || len(bind) != 43 {
			t.Errorf("%q was kept", planted)
		}
	}
}
