package session_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/session"
)

func TestAttackCookieSetBeforeSignIn(t *testing.T) {
	e := newHarness(t)
	mallory := e.browser()
	planted := mallory.signIn(signInHost, bob())

	// The victim's browser holds mallory's cookie when alice signs in.
	victim := e.browser().with(signInHost, mallory.cookie(signInHost))
	s := victim.signIn(signInHost, alice())
	if s.ID == planted.ID || victim.cookie(signInHost) == mallory.cookie(signInHost) {
		t.Fatal("the planted session became alice's")
	}
	if got := victim.must(signInHost); got.Person.Email != "alice@example.test" {
		t.Fatalf("signed in as %s", got.Person.Email)
	}
	mallory.refused(signInHost)
}

func TestAttackNewTokenAtEachAssertion(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signIn(signInHost, alice())
	seen := map[string]bool{}
	for range 3 {
		old := b.cookie(signInHost)
		if seen[old] {
			t.Fatal("a cookie came back")
		}
		seen[old] = true
		b.must(signInHost) // so that the old cookie is in the cache
		b.verify(s)
		b.with(signInHost, old).refused(signInHost)
		b.must(signInHost)
	}
}

// A person who copied the cookie before the assertion gains nothing from it.
func TestAttackFreshnessStaysWithItsToken(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	s, _ := b.cross(signInHost, appHost, "/")
	if s.Level() != authn.SignedIn {
		t.Fatalf("level = %v", s.Level())
	}
	b.verify(b.must(signInHost))
	if got := b.must(appHost); got.Level() != authn.SignedIn || !got.Verification.At.IsZero() {
		t.Fatalf("the app's old cookie became %v", got.Level())
	}
	old := b.cookie(appHost)
	if s, _ := b.cross(signInHost, appHost, "/"); s.Level() != authn.Verified || s.Verification.At != epoch {
		t.Fatalf("the hand-off did not carry the freshness: %+v", s.Verification)
	}
	if s := b.must(appHost); s.Level() != authn.Verified {
		t.Fatal("not stored")
	}
	b.with(appHost, old).refused(appHost)
}

func TestAttackSignedOutCookieIsDead(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	b.cross(signInHost, appHost, "/")
	s := b.must(signInHost)
	b.must(appHost)
	var ended []string
	e.m.OnEnd(func(id string) { ended = append(ended, id) })
	stolen, stolenApp := b.cookie(signInHost), b.cookie(appHost)
	w := httptest.NewRecorder()
	_, err := e.m.SignOut(w, b.request(signInHost), s)
	e.ok(err)
	b.with(signInHost, stolen).refused(signInHost)
	b.with(appHost, stolenApp).refused(appHost)
	if len(ended) != 1 || ended[0] != s.ID {
		t.Fatalf("OnEnd saw %v", ended)
	}
}

func TestAttackRevokedElsewhere(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signIn(signInHost, alice())
	b.must(signInHost)
	other := e.process(nil)
	var ended []string
	e.m.OnEnd(func(id string) { ended = append(ended, id) })
	n, err := other.Revoke(t.Context(), session.Filter{Email: "alice@example.test"})
	e.ok(err)
	if n != 1 {
		t.Fatalf("revoked %d", n)
	}
	e.ok(e.m.Poll(t.Context()))
	b.refused(signInHost)
	if len(ended) != 1 || ended[0] != s.ID {
		t.Fatalf("OnEnd saw %v", ended)
	}
}

func TestAttackTamperedCookie(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	good := b.cookie(signInHost)
	b.must(signInHost) // cached: the cache must not match loosely either
	raw, err := base64.RawURLEncoding.DecodeString(good)
	e.ok(err)
	inner, err := e.m.Decode(good)
	e.ok(err)

	bad := map[string]string{
		"empty":               "",
		"truncated":           good[:len(good)-1],
		"truncated to half":   good[:len(good)/2],
		"extended":            good + "A",
		"extended by a block": good + good,
		"padded":              good + "==",
		"quoted":              `"` + good + `"`,
		"percent encoded":     "%" + good,
		"standard alphabet":   base64.RawStdEncoding.EncodeToString(raw) + "/",
		"hex":                 strings.ToUpper(good),
		"the token itself":    base64.RawURLEncoding.EncodeToString(inner[:]),
		"another cookie's":    e.m.Seal(e.m.HandoffCookiePrefix(), inner),
		"plain http's":        e.m.Seal("sallyport", inner),
		"another session's key": base64.RawURLEncoding.EncodeToString(
			append(raw[:len(raw)-16:len(raw)-16], make([]byte, 16)...)),
		"never issued":     e.m.Seal(e.m.CookieName(), sha256.Sum256([]byte("guess"))),
		"a line break":     good[:10] + "\n" + good[11:],
		"64 KiB":           strings.Repeat("A", 1<<16),
		"a sealed secret":  base64.RawURLEncoding.EncodeToString(e.m.SealSecret("refresh_token", "", strings.Repeat("x", 32))),
		"zeros":            strings.Repeat("A", len(good)),
		"control bytes":    strings.Repeat("\x00", len(good)),
		"a trailing space": good + " x",
	}
	for i := range raw {
		flipped := append([]byte(nil), raw...)
		flipped[i] ^= 1 << (i % 8)
		bad["bit flipped in byte "+string(rune('0'+i))] = base64.RawURLEncoding.EncodeToString(flipped)
	}
	for name, value := range bad {
		r := httptest.NewRequest("GET", "https://"+signInHost+"/", nil)
		r.Header.Set("Cookie", e.m.CookieName()+"="+value)
		if _, err := e.m.Load(r, signInHost); !errors.Is(err, session.ErrNoSession) {
			t.Errorf("%s: %v", name, err)
		} else if len(value) > 8 && strings.Contains(err.Error(), value[:8]) {
			t.Errorf("%s: the error repeats the cookie: %v", name, err)
		}
	}
	b.must(signInHost)
}

// encoding/base64 skips line breaks. Where the sealed bytes end in a zero, that
// would make a second spelling of a cookie.
func TestAttackSecondSpelling(t *testing.T) {
	e := newHarness(t)
	for {
		value := e.m.Seal(e.m.CookieName(), [32]byte{1})
		raw, err := base64.RawURLEncoding.DecodeString(value)
		e.ok(err)
		if raw[len(raw)-1] != 0 {
			continue // one in 256 does
		}
		if _, err := e.m.Decode(value); err != nil {
			t.Fatal(err)
		}
		if _, err := e.m.Decode(value[:len(value)-1] + "\n"); err == nil {
			t.Fatal("a second spelling was opened")
		}
		return
	}
}

func TestAttackDuplicateCookie(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	name, good := e.m.CookieName(), b.cookie(signInHost)
	b.must(signInHost)
	for what, lines := range map[string][]string{
		"the same twice":      {name + "=" + good + "; " + name + "=" + good},
		"another first":       {name + "=planted; " + name + "=" + good},
		"another last":        {name + "=" + good + ";" + name + "="},
		"without a value":     {name + "; " + name + "=" + good},
		"in a second line":    {name + "=" + good, name + "=planted"},
		"malformed, hidden":   {name + "=\"\x01; " + name + "=" + good},
		"with spaces":         {"a=b;\t" + name + " = x; " + name + "=" + good},
		"first among a crowd": {name + "=x; a=1; b=2; c=3; " + name + "=" + good + "; d=4"},
	} {
		r := b.request(signInHost)
		r.Header["Cookie"] = lines
		if _, err := e.m.Load(r, signInHost); !errors.Is(err, session.ErrNoSession) {
			t.Errorf("%s: %v", what, err)
		}
	}
	r := b.request(signInHost)
	r.Header["Cookie"] = []string{"a=" + good + "; x" + name + "=1; " + strings.ToLower(name) + "=1", "b=1; " + name + "=" + good + ";"}
	if _, err := e.m.Load(r, signInHost); err != nil {
		t.Errorf("one genuine cookie among others: %v", err)
	}
}

// Garbage must not become load on the database.
func TestAttackGarbageDoesNotReachTheStore(t *testing.T) {
	e := newHarness(t)
	b := e.browser().with(signInHost, strings.Repeat("A", session.SealedLen))
	keys := e.mem.Calls("Keys")
	for range 100 {
		b.refused(signInHost)
	}
	if n := e.mem.Calls("LoadSession"); n != 0 {
		t.Errorf("%d look-ups", n)
	}
	if n := e.mem.Calls("Keys") - keys; n > 2 {
		t.Errorf("the keys were read %d times", n)
	}
}

func TestAttackTokenOfAnotherHost(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	stolen := b.with(appHost, b.cookie(signInHost))
	stolen.refused(appHost) // from the store
	b.must(signInHost)
	stolen.refused(appHost) // from the cache
	b.must(signInHost)
}

func TestAttackReturnTo(t *testing.T) {
	const host = "corp.com"
	for in, want := range map[string]string{
		"/":                               "/",
		"/a/b?c=d&e=https://evil.com//x":  "/a/b?c=d&e=https://evil.com//x",
		"https://corp.com":                "/",
		"https://corp.com/a?b#c":          "/a?b",
		"https://CORP.com:443/a":          "/a",
		"http://corp.com:80/a%2fb":        "/a%2fb",
		"/%5cevil.com":                    "/%5cevil.com",
		"":                                "",
		"//evil.com":                      "",
		"///evil.com":                     "",
		`/\evil.com`:                      "",
		`\\evil.com`:                      "",
		`\/evil.com`:                      "",
		"\t//evil.com":                    "",
		"/\t/evil.com":                    "",
		"/\n/evil.com":                    "",
		" //evil.com":                     "",
		"/ok\r\nSet-Cookie: a=b":          "",
		"/\x00":                           "",
		"/ü":                              "",
		"https:evil.com":                  "",
		"https:/evil.com":                 "",
		"https:///evil.com":               "",
		"https://evil.com":                "",
		"https://corp.com.evil.com":       "",
		"https://evil.com/corp.com":       "",
		"https://corp.com@evil.com":       "",
		"https://evil.com@corp.com/":      "",
		"https://corp.com:8443/":          "",
		"https://corp.com//evil.com":      "",
		"https://corp.com/\\evil.com":     "",
		"https://corp.com%2eevil.com/":    "",
		"https://corp.com%00.evil.com/":   "",
		"https://corp.com./":              "",
		"//corp.com/":                     "",
		"javascript:alert(1)":             "",
		"javascript://corp.com/%0aalert":  "",
		"data:text/html,x":                "",
		"ftp://corp.com/":                 "",
		"evil.com":                        "",
		"?x":                              "",
		"#x":                              "",
		"/%zz":                            "",
		"/" + strings.Repeat("a", 1<<13):  "",
		"https://corp.com:443@evil.com/":  "",
		"https://corp.com\\@evil.com/":    "",
		"https://corp.com#@evil.com/":     "/",
		"https://corp.com?@evil.com/":     "/?@evil.com/",
		"https://[corp.com]/":             "",
		"HTTPS://corp.com/x":              "/x",
		"https://corp.com;.evil.com/":     "",
		"https://corp.com/..//evil.com":   "/..//evil.com",
		"https://corp.com/a/b/../..//e.c": "/a/b/../..//e.c",
	} {
		got, err := session.ReturnPath(in, host)
		if (err != nil) != (want == "") || got != want {
			t.Errorf("%q gives %q, %v; want %q", in, got, err, want)
		}
		if err != nil && !errors.Is(err, session.ErrReturnTo) {
			t.Errorf("%q: %v", in, err)
		}
		if err == nil {
			base := &url.URL{Scheme: "https", Host: host, Path: "/x/y"}
			if u, err := base.Parse(got); err != nil || u.Host != host || u.Scheme != "https" {
				t.Errorf("%q leads to %v", in, u)
			}
		}
	}
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	begun, err := e.m.OpenBind(t.Context(), b.beginOn(appHost))
	e.ok(err)
	if _, err := e.m.Handoff(t.Context(), b.must(signInHost), begun, atHome, "//evil.com"); !errors.Is(err, session.ErrReturnTo) {
		t.Errorf("Handoff: %v", err)
	}
}

// A group that is taken away is gone with the refresh that says so, everywhere.
func TestAttackRemovedGroupAndDisabledUser(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signInWith(signInHost, session.NewSession{Person: alice(), RefreshToken: "rt-1"})
	elsewhere := &browser{harness: e, m: e.process(nil), jar: b.jar}
	b.must(signInHost)
	elsewhere.must(signInHost)

	e.pass(15 * time.Minute)
	due, err := e.m.DueForRefresh(t.Context(), e.clock.Now().Add(-10*time.Minute))
	e.ok(err)
	if len(due) != 1 || due[0].ID != s.ID || due[0].RefreshToken != "rt-1" || due[0].Subject != alice().Subject {
		t.Fatalf("due: %+v", due)
	}
	b.must(signInHost) // cached, with the group
	p := alice()
	p.Groups = nil
	e.ok(e.m.Refreshed(t.Context(), s.ID, p, ""))
	e.ok(elsewhere.m.Poll(t.Context()))
	for _, x := range []*browser{b, elsewhere} {
		if got := x.must(signInHost); len(got.Person.Groups) != 0 {
			t.Fatalf("still in %v", got.Person.Groups)
		}
	}
	if due, err := e.m.DueForRefresh(t.Context(), e.clock.Now().Add(-10*time.Minute)); err != nil || len(due) != 0 {
		t.Fatalf("due again: %+v, %v", due, err)
	}
	// Disabled: the provider refuses, the caller revokes.
	_, err = e.m.Revoke(t.Context(), session.Filter{Subject: alice().Subject})
	e.ok(err)
	b.refused(signInHost)
	e.ok(elsewhere.m.Poll(t.Context()))
	elsewhere.refused(signInHost)
}

func TestAttackRefreshForAnotherSubjectEndsTheSession(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signInWith(signInHost, session.NewSession{Person: alice(), RefreshToken: "rt-1"})
	b.must(signInHost)
	e.is(e.m.Refreshed(t.Context(), s.ID, bob(), "rt-2"), session.ErrNoSession)
	b.refused(signInHost)
}

// Two people whose identifiers run together, and two cookies, stay apart.
func TestAttackNoSharedIdentity(t *testing.T) {
	e := newHarness(t)
	people := []authn.Person{
		{Subject: authn.Subject{Issuer: "a", ID: "bc"}}, {Subject: authn.Subject{Issuer: "ab", ID: "c"}},
	}
	var bs []*browser
	for _, p := range people {
		b := e.browser()
		b.signIn(signInHost, p)
		bs = append(bs, b)
	}
	var wg sync.WaitGroup
	for range 4 {
		for i, b := range bs {
			wg.Go(func() {
				for range 200 {
					if s, err := b.load(signInHost); err != nil || s.Person.Subject != people[i].Subject {
						t.Errorf("person %d: %+v, %v", i, s.Person.Subject, err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	n, err := e.m.Revoke(t.Context(), session.Filter{Subject: people[0].Subject})
	e.ok(err)
	if n != 1 {
		t.Fatalf("revoked %d", n)
	}
	bs[0].refused(signInHost)
	bs[1].must(signInHost)
}

// liar answers every look-up with one and the same row.
type liar struct {
	session.Store
	rec session.Record
	tok session.Token
}

func (l liar) LoadSession(context.Context, session.Digest) (session.Record, session.Token, error) {
	return l.rec, l.tok, nil
}

// A store that mixes rows up must not hand one person's session to another.
func TestAttackStoreAnswersForAnother(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	raw, err := e.m.Decode(b.cookie(signInHost))
	e.ok(err)
	d := session.Digest(sha256.Sum256(raw[:]))
	rec, tok, err := e.mem.LoadSession(t.Context(), d)
	e.ok(err)
	for name, lie := range map[string]func(*liar){
		"another token":   func(l *liar) { l.tok.Digest[0]++ },
		"another session": func(l *liar) { l.rec.ID = "other" },
		"nobody":          func(l *liar) { l.rec.Person = authn.Person{} },
	} {
		l := liar{e.mem, rec, tok}
		lie(&l)
		m := e.process(func(c *session.Config) { c.Store = l })
		if _, err := m.Load(b.request(signInHost), signInHost); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAttackRaceOfTwoFinishes(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signIn(signInHost, alice())
	b.must(signInHost)
	const n = 8
	var mu sync.Mutex
	var winners []*httptest.ResponseRecorder
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			w := httptest.NewRecorder()
			got, err := e.m.Verify(w, b.request(signInHost), s, e.verification())
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				winners = append(winners, w)
			case !errors.Is(err, session.ErrNoSession), got.Level() != authn.None, w.Header().Get("Set-Cookie") != "":
				t.Errorf("a loser got %+v, %v, %q", got, err, w.Header().Get("Set-Cookie"))
			}
		})
	}
	wg.Wait()
	if len(winners) != 1 {
		t.Fatalf("%d winners", len(winners))
	}
	b.refused(signInHost)
	b.keep(signInHost, winners[0])
	if s := b.must(signInHost); s.Level() != authn.Verified {
		t.Fatal("the winner is not verified")
	}
}

// Two finishes that both read the session before either writes.
func TestAttackSecondFinishInBetween(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signIn(signInHost, alice())
	r := b.request(signInHost)
	inner := httptest.NewRecorder()
	again := false
	e.mem.OnCall("ReplaceToken", func() {
		if again {
			return
		}
		again = true
		_, err := e.m.Verify(inner, r, s, e.verification())
		e.ok(err)
	})
	w := httptest.NewRecorder()
	_, err := e.m.Verify(w, r, s, e.verification())
	e.is(err, session.ErrNoSession)
	if w.Header().Get("Set-Cookie") != "" {
		t.Fatal("the loser got a cookie")
	}
	b.keep(signInHost, inner)
	b.must(signInHost)
}

func TestAttackAssertionForAnotherSession(t *testing.T) {
	e := newHarness(t)
	b, other := e.browser(), e.browser()
	b.signIn(signInHost, alice())
	theirs := other.signIn(signInHost, bob())
	same := e.browser()
	second := same.signIn(signInHost, alice())
	for name, s := range map[string]authn.Session{
		"somebody else's": theirs, "an older one of the same person": second, "nobody's": {Host: signInHost},
		"the right one on another host": {ID: b.must(signInHost).ID, Person: alice(), Host: appHost},
	} {
		w := httptest.NewRecorder()
		if _, err := e.m.Verify(w, b.request(signInHost), s, e.verification()); !errors.Is(err, session.ErrNoSession) || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, v := range []authn.Verification{{}, {At: epoch.Add(time.Hour)}} {
		if _, err := e.m.Verify(httptest.NewRecorder(), b.request(signInHost), b.must(signInHost), v); err == nil {
			t.Errorf("a verification at %v was believed", v.At)
		}
	}
	if s := b.must(signInHost); s.Level() != authn.SignedIn {
		t.Fatal("something verified")
	}
}

func TestAttackStoreDownIsNotNoSession(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.signIn(signInHost, alice())
	bind := b.beginOn(appHost)
	begun, err := e.m.OpenBind(t.Context(), bind)
	e.ok(err)
	code, err := e.m.Handoff(t.Context(), s, begun, atHome, "/")
	e.ok(err)
	ctx := t.Context()
	for name, call := range map[string]func(w http.ResponseWriter) error{
		"Load": func(http.ResponseWriter) error { _, err := b.load(signInHost); return err },
		"SignIn": func(w http.ResponseWriter) error {
			_, err := e.m.SignIn(w, b.request(appHost), appHost, session.NewSession{Person: alice()})
			return err
		},
		"SignIn again": func(w http.ResponseWriter) error {
			_, err := e.m.SignIn(w, b.request(signInHost), signInHost, session.NewSession{Person: alice()})
			return err
		},
		"Verify": func(w http.ResponseWriter) error {
			_, err := e.m.Verify(w, b.request(signInHost), s, e.verification())
			return err
		},
		"SignOut": func(w http.ResponseWriter) error { _, err := e.m.SignOut(w, b.request(signInHost), s); return err },
		"Handoff": func(http.ResponseWriter) error { _, err := e.m.Handoff(ctx, s, begun, atHome, "/"); return err },
		"Redeem": func(w http.ResponseWriter) error {
			_, _, err := e.m.Redeem(w, b.request(appHost), session.Presented{Host: appHost, Code: code, Addr: atHome, Near: same})
			return err
		},
		"Revoke":    func(http.ResponseWriter) error { _, err := e.m.Revoke(ctx, session.Filter{ID: s.ID}); return err },
		"List":      func(http.ResponseWriter) error { _, err := e.m.List(ctx, session.Filter{}); return err },
		"Due":       func(http.ResponseWriter) error { _, err := e.m.DueForRefresh(ctx, epoch); return err },
		"Refreshed": func(http.ResponseWriter) error { return e.m.Refreshed(ctx, s.ID, alice(), "") },
		"Rotate":    func(http.ResponseWriter) error { return e.m.RotateKeys(ctx) },
		"Garbage":   func(http.ResponseWriter) error { return garbage(e) },
	} {
		e.mem.Fail(authntest.NotStored)
		e.clock.Add(2 * time.Second)
		w := httptest.NewRecorder()
		if err := call(w); !errors.Is(err, session.ErrUnavailable) || errors.Is(err, session.ErrNoSession) {
			t.Errorf("%s: %v", name, err)
		}
		if w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s touched the cookie", name)
		}
		e.mem.Heal()
	}
	b.must(signInHost)
}

// A cookie that no known key opens may be sealed with a key made elsewhere.
func garbage(e *harness) error {
	_, err := e.browser().with(signInHost, strings.Repeat("A", session.SealedLen)).load(signInHost)
	_, again := e.browser().with(signInHost, strings.Repeat("B", session.SealedLen)).load(signInHost)
	return errors.Join(err, again)
}

// A write that happened although its answer was lost: the old state must not be
// answered from memory.
func TestAttackLostAnswerIsNotTheOldState(t *testing.T) {
	for name, call := range map[string]func(e *harness, b *browser, s authn.Session) error{
		"ReplaceToken, verifying": func(e *harness, b *browser, s authn.Session) error {
			_, err := e.m.Verify(httptest.NewRecorder(), b.request(signInHost), s, e.verification())
			return err
		},
		"RevokeSessions, by e-mail": func(e *harness, _ *browser, _ authn.Session) error {
			_, err := e.m.Revoke(e.Context(), session.Filter{Email: "alice@example.test"})
			return err
		},
		"RevokeSessions, signing out": func(e *harness, b *browser, s authn.Session) error {
			_, err := e.m.SignOut(httptest.NewRecorder(), b.request(signInHost), s)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newHarness(t)
			b := e.browser()
			s := b.signIn(signInHost, alice())
			b.must(signInHost)
			method, _, _ := strings.Cut(name, ",")
			e.mem.FailNext(method, authntest.Stored)
			e.is(call(e, b, s), session.ErrUnavailable)
			b.refused(signInHost)
		})
	}
}
