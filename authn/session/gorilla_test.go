package session_test

import (
	"net/http/httptest"
	"testing"

	"github.com/gorilla/sessions"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/session"
)

func (b *browser) gorilla(host string) *sessions.Session {
	b.Helper()
	r := b.request(host)
	g, err := b.m.Get(r, b.m.CookieName())
	b.ok(err)
	if again, err := b.m.Get(r, b.m.CookieName()); err != nil || again != g {
		b.Fatal("one request, two sessions")
	}
	return g
}

func (b *browser) save(host string, g *sessions.Session) {
	b.Helper()
	w := httptest.NewRecorder()
	b.ok(g.Save(b.request(host), w))
	b.keep(host, w)
}

// The store in gorilla's shape does what the typed methods do.
func TestGorillaStore(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	g := b.gorilla(signInHost)
	if !g.IsNew || g.ID != "" || len(g.Values) != 0 {
		t.Fatalf("%+v", g)
	}
	g.Values[session.KeySignIn] = session.NewSession{Person: alice()}
	b.save(signInHost, g)
	first, s := b.cookie(signInHost), b.must(signInHost)
	if g.IsNew || g.ID != s.ID || g.Values[session.KeySignIn] != nil {
		t.Fatalf("%+v", g)
	}

	g = b.gorilla(signInHost)
	if got, _ := g.Values[session.KeySession].(authn.Session); g.IsNew || got.Person.Email != "alice@example.test" {
		t.Fatalf("%+v", g)
	}
	b.save(signInHost, g)
	if b.cookie(signInHost) != first {
		t.Fatal("an unchanged session got a new cookie")
	}
	g.Values[session.KeyVerification] = e.verification()
	b.save(signInHost, g)
	if s := b.must(signInHost); s.Level() != authn.Verified || b.cookie(signInHost) == first {
		t.Fatal("not verified")
	}
	b.with(signInHost, first).refused(signInHost)

	stolen := b.cookie(signInHost)
	g = b.gorilla(signInHost)
	g.Options.MaxAge = -1
	b.save(signInHost, g)
	if b.cookie(signInHost) != "" || !g.IsNew {
		t.Fatal("not signed out")
	}
	b.with(signInHost, stolen).refused(signInHost)
}

func TestGorillaStoreRefuses(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	r := b.request(signInHost)
	if g, err := e.m.New(r, "other"); err == nil || g == nil {
		t.Error("another name was accepted")
	}
	for name, change := range map[string]func(*sessions.Session){
		"an anonymous session": func(*sessions.Session) {},
		"a value of its own":   func(g *sessions.Session) { g.Values["cart"] = 1 },
		"a flash":              func(g *sessions.Session) { g.AddFlash("hello") },
		"a made-up identity":   func(g *sessions.Session) { g.Values[session.KeyVerification] = e.verification() },
		"nobody": func(g *sessions.Session) {
			g.Values[session.KeySignIn] = session.NewSession{}
		},
	} {
		g := b.gorilla(signInHost)
		change(g)
		w := httptest.NewRecorder()
		if err := g.Save(r, w); err == nil || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s was saved", name)
		}
	}
	// Options cannot make the cookie weaker.
	g := b.gorilla(signInHost)
	g.Options = &sessions.Options{Path: "/app", Domain: "example.test", MaxAge: 1 << 30}
	g.Values[session.KeySignIn] = session.NewSession{Person: alice()}
	b.save(signInHost, g) // keep checks the attributes
	g.Values["cart"] = 1
	if err := g.Save(b.request(signInHost), httptest.NewRecorder()); err == nil {
		t.Error("a value was lost without a word")
	}

	e.mem.Fail(authntest.NotStored)
	e.clock.Add(6e9)
	g, err := e.m.New(b.request(signInHost), e.m.CookieName())
	e.is(err, session.ErrUnavailable)
	if g == nil || !g.IsNew || g.ID != "" {
		t.Errorf("%+v", g)
	}
}
