package e2e

import (
	_ "embed"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestPages looks at every page a person can meet, at phone and desktop width, light and
// dark: see review for what has to hold of each. With SALLYPORT_SCREENSHOTS=DIR the pages
// are kept, for people to look at.
func TestPages(t *testing.T) {
	t.Parallel()
	s := newHarness(t, func(cfg string) string {
		cfg = strings.Replace(cfg, "oidc:", "contact: security@example.com\noidc:", 1)
		return cfg
	}, withRoute("broken", "http://127.0.0.1:1", "    allow: {everyone: true}"))
	broken := s.origin("broken")
	ticket := s.ticket(alice.Email)
	b := newBrowser(t, home)

	b.open(s.treasury + "/")
	b.shows("Sign in with your company account")
	b.review("sign-in")

	b.signIn(alice.Sub)
	b.shows("You need a passkey to go on")
	b.review("no-passkey")

	b.open(ticket)
	b.shows("Enrol your passkey")
	b.review("enrol")

	b.verifiesUser(false) // and the browser says that the person did not go through with it
	b.act("enroll")
	b.until("!document.getElementById('problem').hidden")
	b.review("enrol-cancelled")
	b.verifiesUser(true)

	b.act("enroll")
	b.until("location.pathname.endsWith('/step-up')")
	b.shows("One more touch, to sign in")
	b.review("verify")

	b.verifiesUser(false)
	b.act("verify")
	b.until("!document.getElementById('problem').hidden")
	b.review("verify-cancelled")
	b.verifiesUser(true)

	b.act("verify")
	b.shows("Your account")
	b.review("account")

	b.open(ticket)
	b.shows("You have a passkey already")
	b.review("enrolled-already")

	b.open(s.treasury + "/")
	b.shows("Treasury of")
	b.from(vpnExit)
	b.open(s.treasury + "/")
	b.shows("different network")
	b.review("step-up-network")
	b.open(strings.Replace(eval[string](b, "location.href"), "why=network", "why=credential", 1))
	b.shows("another kind of passkey")
	b.review("step-up-credential")

	b.from(pyongyang)
	b.open(s.treasury + "/")
	b.shows("You cannot get in from here")
	b.review("blocked-network")
	b.from(home)

	b.open(broken + "/")
	b.shows("The tool does not answer")
	b.review("upstream-down")
	b.open(s.base + "/nowhere")
	b.shows("There is nothing here")
	b.review("not-found")
	b.open(s.base + "/.sallyport/nowhere")
	b.shows("There is nothing here")
	b.review("own-not-found")
	b.open(s.origin("nobody") + "/")
	b.shows("Nothing is served under this name")
	b.review("unknown-host")
	b.open(s.treasury + "/.sallyport/callback?handoff=used")
	b.shows("does not work any more")
	b.review("handoff-used")
	b.open(s.base + "/.sallyport/sign-in?return_to=https://evil.example/")
	b.shows("That link is not right")
	b.review("bad-link")

	b.open(s.base + "/.sallyport/sign-out")
	b.shows("Sign out?")
	b.review("sign-out")
	b.act("sign-out")
	b.shows("You are signed out")
	b.review("signed-out")
	b.open(s.base + "/.sallyport/callback?state=forged&code=forged")
	b.shows("Signing in did not work")
	b.review("sign-in-failed")

	// Bob has a passkey, and no business in the treasury.
	bobs := newBrowser(t, home)
	bobs.enrol(s.ticket(bob.Email), bob.Sub)
	bobs.open(s.treasury + "/")
	bobs.shows("You do not have access to this tool")
	bobs.review("no-access")
	bobs.open(ticket) // Alice's
	bobs.shows("This enrolment link does not work for you")
	bobs.review("ticket-refused")
	bobs.from(vpnExit)
	bobs.open(s.ticket(bob.Email))
	bobs.shows("You cannot enrol a passkey from here")
	bobs.review("enrol-refused")
}

// TestPagesWhenThingsAreDown looks at the pages for when something is broken, and checks
// that no one gets through then.
func TestPagesWhenThingsAreDown(t *testing.T) {
	t.Parallel()
	b := newBrowser(t, home)
	s := startHarness(t, overTLS, freePort(t), nowhere)
	if code, body := s.opsPage("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "openid_provider") {
		t.Errorf("readyz without a provider: %d %s", code, body)
	}
	b.open(s.treasury + "/")
	b.act("sign-in")
	b.shows("Signing in is not possible right now")
	b.review("provider-down")

	// A folder where the audit log should be: nothing can be recorded, so nothing is allowed.
	s = newHarness(t)
	b.enrol(s.ticket(alice.Email), alice.Sub)
	log := filepath.Join(s.dir, "state", "audit.jsonl")
	if err := errors.Join(os.Rename(log, log+".1"), os.Mkdir(log, 0o700)); err != nil {
		t.Fatal(err)
	}
	b.open(s.treasury + "/")
	b.shows("Something on our side is not available")
	b.review("audit-down")
	if n := len(s.requests()); n != 0 {
		t.Errorf("%d requests got through without a record", n)
	}
	if err := errors.Join(os.Remove(log), os.Rename(log+".1", log)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the audit log is written again", func() bool { code, _ := s.opsPage("/readyz"); return code == http.StatusOK })
	b.open(s.treasury + "/")
	b.shows("Treasury of")
}

// colours and widths that every page is looked at in.
var (
	schemes = []string{"light", "dark"}
	widths  = []struct {
		name          string
		width, height int64
		mobile        bool
	}{{"phone", 390, 844, true}, {"desktop", 1280, 800, false}}
)

//go:embed review.js
var reviewScript string

// review checks what has to hold of every page: see review.js, and below.
func (b *browser) review(name string) {
	b.t.Helper()
	if b.ctx == nil { // another engine: the page is looked at as it is
		for _, fault := range eval[[]string](b, strings.TrimSuffix(strings.TrimSpace(reviewScript), ";")) {
			b.t.Errorf("%s: %s", name, fault)
		}
		b.screenshot(name)
		return
	}
	b.look(name)
	b.keyboard(name)
}

// look is review of a page that has nothing to use yet.
func (b *browser) look(name string) {
	b.t.Helper()
	for _, scheme := range schemes {
		call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		for _, w := range widths {
			b.resize(w.width, w.height, w.mobile)
			for _, fault := range eval[[]string](b, reviewScript) {
				b.t.Errorf("%s, %s, %s: %s", name, scheme, w.name, fault)
			}
			b.screenshot(name + "-" + w.name + "-" + scheme)
		}
	}
	// What is left of a desktop at 400 % (WCAG 2.2, 1.4.10).
	b.resize(320, 640, true)
	if eval[bool](b, "document.documentElement.scrollWidth > innerWidth") {
		b.t.Errorf("%s: scrolls sideways at 320 pixels", name)
	}
	b.resize(1280, 800, false)
	b.names(name)
}

func (b *browser) resize(width, height int64, mobile bool) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: mobile})
}

// names checks that a screen reader has a name for everything that can be used.
func (b *browser) names(page string) {
	b.t.Helper()
	tree := call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	main := 0
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role := string(n.Role.Value)
		switch role {
		case `"main"`:
			main++
		case `"button"`, `"link"`, `"textbox"`, `"heading"`, `"DisclosureTriangle"`:
			if n.Name == nil || strings.Trim(string(n.Name.Value), `" `) == "" {
				b.t.Errorf("%s: a %s has no name", page, role)
			}
		}
	}
	if main != 1 {
		b.t.Errorf("%s: %d main landmarks", page, main)
	}
}

// keyboard walks to the primary button with the Tab key and presses it. The press is
// seen, and goes no further.
func (b *browser) keyboard(page string) {
	b.t.Helper()
	key := func(k string) {
		b.t.Helper()
		if err := chromedp.Do(b.ctx, chromedp.KeyEvent(k)); err != nil {
			b.t.Fatal(err)
		}
	}
	defer func() { eval[bool](b, "(window.watching.abort(), true)") }()
	if !eval[bool](b, `(window.pressed = 0, window.watching = new AbortController(), document.addEventListener("click", e => { if (e.target.closest(".button")) window.pressed++; e.preventDefault() }, {capture: true, signal: window.watching.signal}), !!document.querySelector(".button"))`) {
		return
	}
	const focused = `(() => { const e = document.activeElement; return e.classList.contains("button") ? "button" : e.classList.contains("skip") ? "skip" : e.tagName })()`
	at, skip := "", false
	for range 30 {
		key(kb.Tab)
		at = eval[string](b, focused)
		if at == "skip" {
			skip = true
			if !eval[bool](b, "document.activeElement.getBoundingClientRect().left >= 0") {
				b.t.Errorf("%s: the skip link has the focus and cannot be seen", page)
			}
		}
		if at == "button" {
			break
		}
	}
	if at != "button" {
		b.t.Errorf("%s: the Tab key does not reach the primary button", page)
		return
	}
	if !eval[bool](b, `getComputedStyle(document.activeElement).outlineStyle === "solid"`) {
		b.t.Errorf("%s: the focus cannot be seen on the primary button", page)
	}
	key(kb.Enter)
	presses := 1
	if eval[bool](b, `document.activeElement.tagName === "BUTTON"`) {
		key(" ")
		presses++
	}
	if n := eval[int](b, "window.pressed"); n != presses {
		b.t.Errorf("%s: %d key presses did %d clicks", page, presses, n)
	}
	// Once round the page, and the skip link has been there.
	for i := 0; i < 30 && !skip; i++ {
		key(kb.Tab)
		skip = eval[string](b, focused) == "skip"
	}
	if !skip {
		b.t.Errorf("%s: no skip link on the way", page)
	}
}
