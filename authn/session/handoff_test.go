package session_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
)

func TestHandoff(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	s := b.verify(b.signIn(signInHost, alice()))
	got, path := b.cross(signInHost, appHost, "https://"+appHost+"/ledger?page=2")
	if path != "/ledger?page=2" || got.ID != s.ID || got.Host != appHost || got.Verification.At != s.Verification.At || got.Verification.Browser.Family != e.verification().Browser.Family || got.Verification.Browser.HandedTo != "Chrome on Linux" {
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

// where the browser is, as far as the addresses of a hand-off go.
var (
	atHome    = netip.MustParseAddr("198.51.100.23")
	elsewhere = netip.MustParseAddr("203.0.113.9")
)

func same(a, b netip.Addr) bool { return a == b }

// beginOn starts a hand-off for a host.
func (b *browser) beginOn(host string, change ...func(*session.HandoffRequest)) (bind string) {
	b.Helper()
	begin := session.HandoffRequest{Host: host, Addr: atHome}
	for _, c := range change {
		c(&begin)
	}
	w := httptest.NewRecorder()
	bind, err := b.m.BeginHandoff(w, b.request(host), begin)
	b.ok(err)
	b.keep(host, w)
	return bind
}

// nonces are the names of the cookies that bind the browser's hand-offs to a host.
func (b *browser) nonces(host string) (names []string) {
	for name := range b.jar[host] {
		if strings.HasPrefix(name, b.m.HandoffCookiePrefix()) {
			names = append(names, name)
		}
	}
	return names
}

// code makes one on the sign-in host for a bind of the browser that began.
func (b *browser) code(bind, returnTo string) string {
	b.Helper()
	begun, err := b.m.OpenBind(b.Context(), bind)
	b.ok(err)
	code, err := b.m.Handoff(b.Context(), b.must(signInHost), begun, atHome, returnTo)
	b.ok(err)
	return code
}

// begin makes a code for the browser on the app host.
func (b *browser) begin() (code string) {
	b.Helper()
	return b.code(b.beginOn(appHost), "/")
}

func (b *browser) redeem(host, code string, from ...netip.Addr) error {
	p := session.Presented{Host: host, Code: code, Addr: atHome, Family: "Chrome on Linux", Near: same}
	if len(from) > 0 {
		p.Addr = from[0]
	}
	w := httptest.NewRecorder()
	s, to, err := b.m.Redeem(w, b.request(host), p)
	if err != nil && (w.Header().Get("Set-Cookie") != "" || s.ID != "" || to != session.Arrival{}) {
		b.Errorf("refused, and yet %+v, %+v, %q", s, to, w.Header().Get("Set-Cookie"))
	}
	if err == nil {
		b.keep(host, w)
	}
	return err
}

// why is the code of a refusal, with "!" where it is called a leak.
func why(err error) string {
	bad, ok := errors.AsType[*session.HandoffError](err)
	switch {
	case err == nil:
		return ""
	case !ok:
		return err.Error()
	case bad.Leaked:
		return bad.Code + "!"
	}
	return bad.Code
}

func (e *harness) because(err error, want string) {
	e.Helper()
	if got := why(err); got != want {
		e.Fatalf("refused because of %q, want %q", got, want)
	}
}

// What a code that is shown where it does not belong is worth afterwards, and what it is called.
func TestStolenHandoffCode(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	thief := e.browser()
	thief.beginOn(appHost) // has a nonce of their own
	naked := e.browser()   // has none

	t.Run("a double submit of its owner is not an attack", func(t *testing.T) {
		code := b.begin()
		e.ok(b.redeem(appHost, code))
		e.because(b.redeem(appHost, code), session.CodeSpent)
	})
	t.Run("late", func(t *testing.T) {
		code := b.begin()
		e.clock.Add(time.Minute)
		e.because(b.redeem(appHost, code), session.CodeExpired)
		code = b.begin()
		e.clock.Add(time.Minute - time.Microsecond)
		e.ok(b.redeem(appHost, code))
	})
	for name, c := range map[string]struct {
		show func(code string) error
		want string
		owes bool // its owner can still use it
	}{
		"on another host, even with the nonce": {func(code string) error {
			b.jar["other.example.test"] = b.jar[appHost]
			return b.redeem("other.example.test", code)
		}, "other_host!", false},
		"in another browser":                       {func(code string) error { return thief.redeem(appHost, code) }, "other_browser!", false},
		"in another browser, elsewhere":            {func(code string) error { return thief.redeem(appHost, code, elsewhere) }, "other_browser!", false},
		"from elsewhere without a nonce":           {func(code string) error { return naked.redeem(appHost, code, elsewhere) }, "other_network!", false},
		"from elsewhere, with the nonce":           {func(code string) error { return b.redeem(appHost, code, elsewhere) }, "other_network!", false},
		"from here by a browser that lost a nonce": {func(code string) error { return naked.redeem(appHost, code) }, "no_nonce", true},
	} {
		t.Run(name, func(t *testing.T) {
			code := b.begin()
			e.because(c.show(code), c.want)
			if err := b.redeem(appHost, code); (err == nil) != c.owes {
				t.Errorf("and then its owner: %v", err)
			}
			thief.refused(appHost)
			naked.refused(appHost)
		})
	}
	t.Run("a replay in another browser", func(t *testing.T) {
		code := b.begin()
		e.ok(b.redeem(appHost, code))
		e.because(thief.redeem(appHost, code), "other_browser!")
	})
	t.Run("with a nonce under another's name", func(t *testing.T) {
		code := b.begin()
		r := b.request(appHost)
		name := b.nonces(appHost)[0]
		r.Header["Cookie"] = []string{name[:len(name)-1] + "=" + b.jar[appHost][name] + "; " + name + "=" + strings.Repeat("A", 43)}
		_, _, err := e.m.Redeem(httptest.NewRecorder(), r, session.Presented{Host: appHost, Code: code, Addr: atHome, Near: same})
		e.because(err, session.CodeNoNonce)
	})
	t.Run("made up", func(t *testing.T) {
		before := e.mem.Calls("Take")
		good := b.begin()
		for _, code := range []string{"", "x", strings.Repeat("A", 43), strings.Repeat("A", 1<<20), strings.Repeat("\n", 43), good + "\n", good + "A", good[1:],
			b.beginOn(appHost) /* a bind is no code */, b.cookie(signInHost)} {
			e.because(b.redeem(appHost, code), session.CodeUnknown)
		}
		if e.mem.Calls("Take") != before {
			t.Error("the store was asked for what we did not seal")
		}
	})
	t.Run("after sign-out", func(t *testing.T) {
		code := b.begin()
		_, err := e.m.Revoke(t.Context(), session.Filter{Email: "alice@example.test"})
		e.ok(err)
		e.is(b.redeem(appHost, code), session.ErrNoSession)
		b.refused(appHost)
	})
}

// A bind is a statement of our own hosts: what is made up, or too old, gets no code.
func TestForgedBind(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	bind := b.beginOn(appHost)
	begun, err := e.m.OpenBind(t.Context(), bind)
	e.ok(err)
	if begun.Host != appHost || begun.Addr != atHome || !begun.At.Equal(epoch) || begun.Again {
		t.Errorf("it says %+v", begun)
	}
	for _, forged := range []string{"", "x", bind[1:], bind + "A", bind + "\n", strings.Repeat("A", 43), strings.Repeat("A", 1<<20), b.code(bind, "/"), b.cookie(signInHost)} {
		_, err := e.m.OpenBind(t.Context(), forged)
		e.because(err, session.CodeUnknown)
	}
	_, err = e.m.Handoff(t.Context(), authn.Session{}, begun, atHome, "/")
	e.is(err, session.ErrNoSession)
	_, err = e.m.Handoff(t.Context(), b.must(signInHost), session.Bind{Host: appHost}, atHome, "/")
	e.is(err, session.ErrHandoff)

	e.clock.Add(15*time.Minute - time.Second)
	_, err = e.m.OpenBind(t.Context(), bind)
	e.ok(err)
	e.clock.Add(time.Second)
	_, err = e.m.OpenBind(t.Context(), bind)
	e.is(err, session.ErrBindExpired)
	e.clock.Add(-time.Hour)
	_, err = e.m.OpenBind(t.Context(), bind)
	e.is(err, session.ErrBindExpired)
}

// The browser that came back without its nonce is known by its next code.
func TestRestartedHandoffIsMarked(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	code := b.code(b.beginOn(appHost, func(g *session.HandoffRequest) { g.Again = true }), "/deep?x=1")
	bad, _ := errors.AsType[*session.HandoffError](e.browser().redeem(appHost, code))
	if bad == nil || !bad.Again || bad.ReturnTo != "/deep?x=1" || bad.Began != atHome {
		t.Errorf("%+v", bad)
	}
}

// Where another page may have chosen the address, everything that the app host learns of it says so.
func TestLinkedHandoffIsMarked(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	for _, linked := range []bool{false, true} {
		code := b.code(b.beginOn(appHost, func(g *session.HandoffRequest) { g.Linked = linked }), "/deep?x=1")
		lost, _ := errors.AsType[*session.HandoffError](e.browser().redeem(appHost, code))
		if lost == nil || lost.Code != session.CodeNoNonce || lost.Linked != linked {
			t.Errorf("linked %t: lost, %+v", linked, lost)
		}
		_, to, err := e.m.Redeem(httptest.NewRecorder(), b.request(appHost), session.Presented{Host: appHost, Code: code, Addr: atHome, Near: same})
		if want := (session.Arrival{Path: "/deep?x=1", Linked: linked}); err != nil || to != want {
			t.Errorf("%+v, %v, want %+v", to, err, want)
		}
		spent, _ := errors.AsType[*session.HandoffError](b.redeem(appHost, code))
		if spent == nil || spent.Code != session.CodeSpent || spent.Linked != linked {
			t.Errorf("linked %t: spent, %+v", linked, spent)
		}
	}
}

// The nonce comes along with a form that another site posts, and nothing else does.
func TestNonceAcrossSites(t *testing.T) {
	e := newHarness(t)
	for name, c := range map[string]struct {
		secure bool
		want   []string // Set-Cookie, less name, value and age
	}{
		"https": {true, []string{"Path=/; HttpOnly; Secure; SameSite=None"}},
		"http":  {false, []string{"Path=/; HttpOnly", "Path=/; HttpOnly"}},
	} {
		m := e.process(func(c2 *session.Config) { c2.Secure = c.secure })
		w := httptest.NewRecorder()
		_, err := m.BeginHandoff(w, e.browser().request(appHost), session.HandoffRequest{Host: appHost, Addr: atHome, CrossSite: true})
		e.ok(err)
		var got []string
		for i, k := range w.Result().Cookies() {
			if last := i == len(c.want)-1; (k.MaxAge > 0) != last {
				t.Errorf("%s: %s", name, k)
			}
			_, rest, _ := strings.Cut(k.Raw, "; ")
			var kept []string
			for _, a := range strings.Split(rest, "; ") {
				if !strings.HasPrefix(a, "Max-Age") && !strings.HasPrefix(a, "Expires") {
					kept = append(kept, a)
				}
			}
			got = append(got, strings.Join(kept, "; "))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestHandoffExpiresWithTheClockSetBack(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	code := b.begin()
	e.clock.Add(-time.Hour)
	e.because(b.redeem(appHost, code), session.CodeExpired)
}

// keeper is a Once that forgets to look at the time.
type keeper struct{ session.Once }

func (k keeper) Take(ctx context.Context, purpose string, key [32]byte, _ time.Time) ([]byte, error) {
	return k.Once.Take(ctx, purpose, key, epoch)
}

func TestHandoffExpiresWhateverTheStoreSays(t *testing.T) {
	e := newHarness(t)
	e.m = e.process(func(c *session.Config) { c.Codes = keeper{e.mem} })
	b := e.browser()
	b.signIn(signInHost, alice())
	code := b.begin()
	e.clock.Add(time.Minute)
	e.is(b.redeem(appHost, code), session.ErrHandoff)
}

// The session runs out while the code is on its way.
func TestRedeemForASessionThatRanOut(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	for range 20 {
		e.pass(maxAge/20 - time.Second)
		b.must(signInHost)
	}
	code := b.begin()
	e.pass(30 * time.Second)
	e.is(b.redeem(appHost, code), session.ErrNoSession)
	b.refused(appHost)
}

func TestHandoffRaceHasOneWinner(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	code := b.begin()
	var mu sync.Mutex
	var wg sync.WaitGroup
	won := 0
	for range 8 {
		wg.Go(func() {
			_, _, err := e.m.Redeem(httptest.NewRecorder(), b.request(appHost), session.Presented{Host: appHost, Code: code, Addr: atHome, Near: same})
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
	e := newHarness(t)
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
	e := newHarness(t)
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
	e := newHarness(t)
	for _, planted := range []string{"x", strings.Repeat("A", 42) + "B", strings.Repeat("A", 44), strings.Repeat("!", 43)} {
		b := e.browser()
		b.jar[appHost] = map[string]string{e.m.HandoffCookiePrefix() + "AAAAAAAA": planted}
		b.beginOn(appHost)
		if len(b.nonces(appHost)) != 2 {
			t.Errorf("%q was kept", planted)
		}
	}
}

// Tabs that a browser restores ask before any of them has an answer, and the answers come in any order.
func TestTabsBeginTogether(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	var binds []string
	var answers []*httptest.ResponseRecorder
	for range 10 {
		w := httptest.NewRecorder()
		bind, err := e.m.BeginHandoff(w, b.request(appHost), session.HandoffRequest{Host: appHost, Addr: atHome})
		e.ok(err)
		binds, answers = append(binds, bind), append(answers, w)
	}
	for _, w := range answers {
		b.keep(appHost, w)
	}
	for i, bind := range binds {
		if err := b.redeem(appHost, b.code(bind, "/")); err != nil {
			t.Fatalf("tab %d: %v", i, err)
		}
		if b.beginOn(appHost); len(b.nonces(appHost)) != 10 {
			t.Fatal("a browser that has a nonce got another")
		}
	}
	// Another browser's nonces are of no use, however many.
	thief := e.browser()
	for range 3 {
		thief.jar[appHost] = map[string]string{}
		thief.beginOn(appHost)
	}
	e.because(thief.redeem(appHost, b.begin()), "other_browser!")
}

// What a browser can make the proxy look at is bounded.
func TestNoncesAreBounded(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.signIn(signInHost, alice())
	var cookies []string
	for range 200 {
		other := e.browser()
		other.beginOn(appHost)
		name := other.nonces(appHost)[0]
		cookies = append(cookies, name+"="+other.jar[appHost][name])
	}
	code := b.begin()
	name := b.nonces(appHost)[0]
	r := b.request(appHost)
	r.Header["Cookie"] = []string{strings.Join(append(cookies, name+"="+b.jar[appHost][name]), "; ")}
	_, _, err := e.m.Redeem(httptest.NewRecorder(), r, session.Presented{Host: appHost, Code: code, Addr: atHome, Near: same})
	e.because(err, "other_browser!")
}
