package session_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/clocktest"
	"sallyport/authn/session"
	"sallyport/proxy/proxytest"
)

const (
	signInHost = "login.example.test"
	appHost    = "treasury.example.test"
)

var epoch = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// harness is one or more processes on one store.
type harness struct {
	testing.TB
	mem   *authntest.Memory
	clock *clocktest.Clock
	m     *session.Manager
	log   *strings.Builder
}

func newHarness(t testing.TB) *harness {
	t.Helper()
	e := &harness{TB: t, mem: authntest.NewMemory(), clock: clocktest.At(epoch), log: &strings.Builder{}}
	e.m = e.process(nil)
	t.Cleanup(func() {
		if v := e.mem.Violations(); len(v) > 0 {
			t.Errorf("the store was misused: %v", v)
		}
	})
	return e
}

// The limits of the sessions of these tests.
const (
	maxAge    = proxytest.SessionMaxAge
	maxIdle   = proxytest.SessionIdleTimeout
	perPerson = proxytest.SessionsPerPerson
)

// process starts a further process on the same store.
func (e *harness) process(change func(*session.Config)) *session.Manager {
	e.Helper()
	c := session.Config{
		Store: e.mem, Keys: e.mem, Codes: e.mem, MaxAge: maxAge, IdleTimeout: maxIdle, MaxPerPerson: perPerson, Secure: true, Now: e.clock.Now,
		Logger: slog.New(slog.NewTextHandler(io.MultiWriter(e.log), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&c)
	}
	m, err := session.New(e.Context(), c)
	if err != nil {
		e.Fatal(err)
	}
	return m
}

func (e *harness) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *harness) is(err, want error) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Fatalf("error = %v, want %v", err, want)
	}
}

// pass moves the clock, and polls often enough on the way for the cache to stay
// in use.
func (e *harness) pass(d time.Duration) {
	e.Helper()
	for d > 0 {
		step := min(d, session.BlindAfter)
		e.clock.Add(step)
		e.ok(e.m.Poll(e.Context()))
		d -= step
	}
}

func alice() authn.Person {
	return authn.Person{
		Subject: authn.Subject{Issuer: "https://idp.example.test", ID: "alice-1"},
		Email:   "alice@example.test", Groups: []string{"treasury"},
	}
}

func bob() authn.Person {
	return authn.Person{Subject: authn.Subject{Issuer: "https://idp.example.test", ID: "bob-1"}, Email: "bob@example.test"}
}

func (e *harness) verification() authn.Verification {
	return authn.Verification{
		At: e.clock.Now(), Addr: netip.MustParseAddr("192.0.2.7"),
		Credential: authn.Credential{ID: []byte("cred"), Class: authn.ClassSynced},
		Browser:    authn.Browser{Device: "device", Family: "Chrome on Linux", JA4: "t13d1513h2_8daaf6152771_e5627efa2ab1", TimeZone: "Europe/Zurich"},
	}
}

// browser keeps cookies the way browsers do: per host.
type browser struct {
	*harness
	m   *session.Manager
	jar map[string]map[string]string
}

func (e *harness) browser() *browser {
	return &browser{harness: e, m: e.m, jar: map[string]map[string]string{}}
}

func (b *browser) request(host string) *http.Request {
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "https://"+host+"/", nil)
	for name, value := range b.jar[host] {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

// keep takes the response's cookies, and checks what each of them must be.
func (b *browser) keep(host string, w *httptest.ResponseRecorder) {
	b.Helper()
	for _, c := range w.Result().Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-Http-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			b.Fatalf("cookie %s is weaker than it must be: %+v", c.Name, c)
		}
		if w.Header().Get("Cache-Control") != "no-store" {
			b.Fatal("a response with a cookie may be cached")
		}
		if b.jar[host] == nil {
			b.jar[host] = map[string]string{}
		}
		if c.MaxAge < 0 {
			delete(b.jar[host], c.Name)
			continue
		}
		b.jar[host][c.Name] = c.Value
	}
}

func (b *browser) cookie(host string) string { return b.jar[host][b.m.CookieName()] }

// with is a browser that holds one session cookie of a person's.
func (b *browser) with(host, value string) *browser {
	return &browser{harness: b.harness, m: b.m, jar: map[string]map[string]string{host: {b.m.CookieName(): value}}}
}

func (b *browser) load(host string) (authn.Session, error) { return b.m.Load(b.request(host), host) }

func (b *browser) must(host string) authn.Session {
	b.Helper()
	s, err := b.load(host)
	if err != nil {
		b.Fatalf("no session on %s: %v", host, err)
	}
	return s
}

func (b *browser) refused(host string) {
	b.Helper()
	s, err := b.load(host)
	if !errors.Is(err, session.ErrNoSession) || errors.Is(err, session.ErrUnavailable) || s.Level() != authn.None {
		b.Fatalf("session %q, error %v on %s: want none", s.ID, err, host)
	}
}

func (b *browser) signIn(host string, p authn.Person) authn.Session {
	b.Helper()
	return b.signInWith(host, session.NewSession{Person: p, AuthTime: b.clock.Now()})
}

func (b *browser) signInWith(host string, n session.NewSession) authn.Session {
	b.Helper()
	w := httptest.NewRecorder()
	s, err := b.m.SignIn(w, b.request(host), host, n)
	b.ok(err)
	b.keep(host, w)
	return s
}

func (b *browser) verify(s authn.Session) authn.Session {
	b.Helper()
	w := httptest.NewRecorder()
	got, err := b.m.Verify(w, b.request(s.Host), s, b.verification())
	b.ok(err)
	b.keep(s.Host, w)
	return got
}

// cross brings the session of one host to another.
func (b *browser) cross(from, to, returnTo string) (authn.Session, string) {
	b.Helper()
	code := b.code(b.beginOn(to), returnTo)
	w := httptest.NewRecorder()
	s, arrival, err := b.m.Redeem(w, b.request(to), session.Presented{Host: to, Code: code, Addr: atHome, Family: "Chrome on Linux", Near: same})
	b.ok(err)
	b.keep(to, w)
	return s, arrival.Path
}

func TestSessionLife(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.refused(signInHost)

	s := b.signIn(signInHost, alice())
	if got := b.must(signInHost); got.ID != s.ID || got.Person.Email != "alice@example.test" || got.Level() != authn.SignedIn || got.Host != signInHost {
		t.Fatalf("loaded %+v", got)
	}
	first := b.cookie(signInHost)
	v := b.verify(s)
	if got := b.must(signInHost); got.ID != s.ID || got.Level() != authn.Verified || got.Verification.Addr != v.Verification.Addr {
		t.Fatalf("loaded %+v", got)
	}
	b.with(signInHost, first).refused(signInHost)

	w := httptest.NewRecorder()
	_, err := b.m.SignOut(w, b.request(signInHost), v)
	e.ok(err)
	b.keep(signInHost, w)
	if b.cookie(signInHost) != "" {
		t.Fatal("the cookie was not cleared")
	}
}

func TestCookieOnPlainHTTP(t *testing.T) {
	e := newHarness(t)
	m := e.process(func(c *session.Config) { c.Secure = false })
	w := httptest.NewRecorder()
	_, err := m.SignIn(w, httptest.NewRequest("GET", "http://localhost:8080/", nil), "localhost:8080", session.NewSession{Person: alice()})
	e.ok(err)
	got := w.Header().Get("Set-Cookie")
	name, rest, _ := strings.Cut(got, "=")
	value, attributes, _ := strings.Cut(rest, ";")
	if name != "sallyport" || len(value) != session.SealedLen || attributes != " Path=/; HttpOnly; SameSite=Lax" {
		t.Fatalf("Set-Cookie: %s", got)
	}
	r := httptest.NewRequest("GET", "http://localhost:8080/", nil)
	r.AddCookie(&http.Cookie{Name: name, Value: value})
	if _, err := m.Load(r, "localhost:8080"); err != nil {
		t.Fatal(err)
	}
}

func TestSealedTokenIsNotStored(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	raw, err := b.m.Decode(b.cookie(signInHost))
	e.ok(err)
	if _, _, err := e.mem.LoadSession(t.Context(), session.Digest(raw)); !errors.Is(err, authn.ErrNotFound) {
		t.Fatalf("the store knows the token itself: %v", err)
	}
}

func TestNewRefusesHalfAConfiguration(t *testing.T) {
	mem := authntest.NewMemory()
	for name, c := range map[string]session.Config{
		"no store":     {Keys: mem, Codes: mem, MaxAge: maxAge, IdleTimeout: maxIdle, MaxPerPerson: perPerson},
		"no keys":      {Store: mem, Codes: mem, MaxAge: maxAge, IdleTimeout: maxIdle, MaxPerPerson: perPerson},
		"no codes":     {Store: mem, Keys: mem, MaxAge: maxAge, IdleTimeout: maxIdle, MaxPerPerson: perPerson},
		"negative age": {Store: mem, Keys: mem, Codes: mem, MaxAge: -1, IdleTimeout: maxIdle, MaxPerPerson: perPerson},
		"no age":       {Store: mem, Keys: mem, Codes: mem, IdleTimeout: maxIdle, MaxPerPerson: perPerson},
		"no idle time": {Store: mem, Keys: mem, Codes: mem, MaxAge: maxAge, MaxPerPerson: perPerson},
		"no limit":     {Store: mem, Keys: mem, Codes: mem, MaxAge: maxAge, IdleTimeout: maxIdle},
	} {
		if _, err := session.New(context.Background(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, method := range []string{"Keys", "AddFirstKey", "SessionChanges"} {
		mem := authntest.NewMemory()
		mem.Fail(authntest.NotStored, method)
		if _, err := session.New(t.Context(), session.Config{Store: mem, Keys: mem, Codes: mem, MaxAge: maxAge, IdleTimeout: maxIdle, MaxPerPerson: perPerson}); !errors.Is(err, authntest.ErrFault) {
			t.Errorf("%s down: %v", method, err)
		}
	}
}

func TestSignInNeedsASubject(t *testing.T) {
	e := newHarness(t)
	for _, p := range []authn.Person{{}, {Subject: authn.Subject{ID: "x"}}, {Subject: authn.Subject{Issuer: "x"}}} {
		w := httptest.NewRecorder()
		if _, err := e.m.SignIn(w, e.browser().request(signInHost), signInHost, session.NewSession{Person: p}); err == nil || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("signed in %+v", p)
		}
	}
}
