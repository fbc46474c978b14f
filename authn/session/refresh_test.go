package session_test

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/session"
)

func TestProviderTokensAreSealed(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signInWith(signInHost, session.NewSession{Person: alice(), IDToken: "id-token-secret", RefreshToken: "refresh-secret"})
	recs, err := e.mem.ListSessions(t.Context(), session.Filter{})
	e.ok(err)
	rec := recs[0]
	if bytes.Contains(rec.IDToken, []byte("secret")) || bytes.Contains(rec.RefreshToken, []byte("secret")) || len(rec.IDToken) == 0 {
		t.Fatal("stored in the clear")
	}
	if got, err := e.m.OpenSecret("refresh_token", s.ID, rec.RefreshToken); err != nil || got != "refresh-secret" {
		t.Fatalf("%q, %v", got, err)
	}
	for name, args := range map[string][2]string{"another session": {"refresh_token", "x"}, "another column": {"id_token", s.ID}} {
		if _, err := e.m.OpenSecret(args[0], args[1], rec.RefreshToken); err == nil {
			t.Errorf("opens as %s's", name)
		}
	}
	listed, err := e.m.List(t.Context(), session.Filter{})
	e.ok(err)
	if len(listed) != 1 || listed[0].IDToken != nil || listed[0].RefreshToken != nil {
		t.Fatalf("listed %+v", listed)
	}
	id, err := e.m.SignOut(httptest.NewRecorder(), b.request(signInHost), s)
	e.ok(err)
	if id != "id-token-secret" {
		t.Fatalf("id token %q", id)
	}
}

func TestKeysAreSeparateByUse(t *testing.T) {
	e := newHarness(t)
	cookie, err := e.mem.Keys(t.Context(), "cookie")
	e.ok(err)
	secret, err := e.mem.Keys(t.Context(), "session-secret")
	e.ok(err)
	if len(cookie) != 1 || len(secret) != 1 || len(cookie[0].Secret) != 32 || bytes.Equal(cookie[0].Secret, secret[0].Secret) {
		t.Fatal("keys")
	}
}

func TestKeyRotation(t *testing.T) {
	e := newHarness(t)
	b, other := e.browser(), e.process(nil)
	b.signInWith(signInHost, session.NewSession{Person: alice(), RefreshToken: "rt"})
	old := b.cookie(signInHost)
	for i := range 2 {
		e.ok(e.m.RotateKeys(t.Context()))
		b.must(signInHost)
		e.clock.Add(2 * time.Second)
		fresh := e.browser()
		fresh.signIn(signInHost, bob())
		// The other process has not heard of the key, and asks.
		if _, err := other.Load(fresh.request(signInHost), signInHost); err != nil {
			t.Fatalf("rotation %d: %v", i, err)
		}
	}
	if due, err := e.m.DueForRefresh(t.Context(), e.clock.Now()); err != nil || len(due) != 1 || due[0].RefreshToken != "rt" {
		t.Fatalf("due: %+v, %v", due, err)
	}
	e.ok(e.m.RotateKeys(t.Context())) // the fourth key: the first is gone
	if _, err := e.m.Decode(old); err == nil {
		t.Fatal("a key older than the ring still opens")
	}
	for _, use := range []string{"cookie", "session-secret"} {
		if ks, err := e.mem.Keys(t.Context(), use); err != nil || len(ks) != 3 {
			t.Fatalf("%d %s keys in the store, %v", len(ks), use, err)
		}
	}
	late := e.process(nil)
	(&browser{harness: e, m: late, jar: b.jar}).refused(signInHost)
	// Its refresh token is lost with the key: no one could notice a disabled
	// account any more, so the session ends.
	if due, err := e.m.DueForRefresh(t.Context(), e.clock.Now()); err != nil || len(due) != 0 {
		t.Fatalf("due: %+v, %v", due, err)
	}
	recs, err := e.m.List(t.Context(), session.Filter{Email: "alice@example.test"})
	e.ok(err)
	if len(recs) != 0 {
		t.Fatal("an unrefreshable session lives on")
	}
}

// A store that keeps more keys than it was told to does not lengthen the ring.
func TestRingHoldsThreeKeys(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	for i := range 3 {
		e.clock.Add(time.Second)
		k := authn.Key{ID: fmt.Sprint(i), Use: "cookie", Secret: bytes.Repeat([]byte{byte(i + 1)}, 32), CreatedAt: e.clock.Now()}
		e.ok(e.mem.AddKey(t.Context(), k, 10))
	}
	b.m = e.process(nil)
	b.refused(signInHost)
}

func TestUnusableKeysAreRefused(t *testing.T) {
	for name, k := range map[string]authn.Key{
		"short": {ID: "k", Use: "cookie", Secret: make([]byte, 16)}, "empty": {ID: "k", Use: "cookie"},
	} {
		mem := authntest.NewMemory()
		if _, err := mem.AddFirstKey(t.Context(), k); err != nil {
			continue // the store is stricter than we are
		}
		if _, err := session.New(t.Context(), session.Config{Store: mem, Keys: mem, Codes: mem, MaxAge: maxAge, IdleTimeout: maxIdle, MaxPerPerson: perPerson}); err == nil {
			t.Errorf("%s key accepted", name)
		}
	}
}

func TestRefreshKeepsOrReplacesTheToken(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signInWith(signInHost, session.NewSession{Person: alice(), RefreshToken: "rt-1"})
	e.browser().signIn(signInHost, bob()) // has no refresh token
	for _, c := range []struct{ given, want string }{{"", "rt-1"}, {"rt-2", "rt-2"}, {"", "rt-2"}} {
		e.pass(time.Minute)
		e.ok(e.m.Refreshed(t.Context(), s.ID, alice(), c.given))
		due, err := e.m.DueForRefresh(t.Context(), e.clock.Now().Add(time.Second))
		e.ok(err)
		if len(due) != 1 || due[0].RefreshToken != c.want {
			t.Fatalf("after %q: %+v", c.given, due)
		}
	}
	for _, id := range []string{"", "unknown"} {
		e.is(e.m.Refreshed(t.Context(), id, alice(), "x"), session.ErrNoSession)
	}
	e.pass(2 * time.Hour) // idle: not worth asking about
	if due, err := e.m.DueForRefresh(t.Context(), e.clock.Now()); err != nil || len(due) != 0 {
		t.Fatalf("due: %+v, %v", due, err)
	}
}

func TestRevokeRefusesHalfAFilter(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signInWith(signInHost, session.NewSession{Person: alice(), ProviderSession: "sid"})
	calls := e.mem.Calls("RevokeSessions")
	for _, f := range []session.Filter{
		{}, {Limit: 5}, {ProviderIssuer: "https://idp.example.test"}, {ProviderSession: "sid"},
		{Subject: authn.Subject{Issuer: "https://idp.example.test"}}, {Subject: authn.Subject{ID: "alice-1"}},
	} {
		if _, err := e.m.Revoke(t.Context(), f); err == nil {
			t.Errorf("%+v revoked", f)
		}
	}
	if e.mem.Calls("RevokeSessions") != calls {
		t.Error("the store was asked")
	}
	b.must(signInHost)
	n, err := e.m.Revoke(t.Context(), session.Filter{ProviderIssuer: "https://idp.example.test", ProviderSession: "sid"})
	e.ok(err)
	if n != 1 {
		t.Fatalf("revoked %d", n)
	}
	b.refused(signInHost)
}

func TestNoSecretsInErrorsAndLogs(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signInWith(signInHost, session.NewSession{Person: alice(), IDToken: "id-secret", RefreshToken: "rt-secret"})
	code := b.begin()
	var said strings.Builder
	e.mem.Fail(authntest.NotStored)
	e.clock.Add(time.Minute)
	_, err := b.load(signInHost)
	said.WriteString(err.Error())
	said.WriteString(b.redeem(appHost, code).Error())
	_, err = e.m.SignOut(httptest.NewRecorder(), b.request(signInHost), s)
	said.WriteString(err.Error())
	said.WriteString(e.m.Refreshed(t.Context(), s.ID, alice(), "rt-new-secret").Error())
	e.mem.Heal()
	for range 3 {
		e.ok(e.m.RotateKeys(t.Context()))
	}
	_, err = e.m.DueForRefresh(t.Context(), e.clock.Now())
	e.ok(err)
	said.WriteString(e.log.String())
	for _, secret := range []string{"secret", code, b.cookie(signInHost), b.jar[appHost][b.nonces(appHost)[0]]} {
		if strings.Contains(said.String(), secret) {
			t.Errorf("%q in %s", secret, said.String())
		}
	}
	if e.log.Len() == 0 {
		t.Error("nothing was logged")
	}
}
