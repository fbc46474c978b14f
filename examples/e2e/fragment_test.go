package e2e

import (
	"strings"
	"testing"
)

// TestFragmentSurvivesTheWayIn: a link into a page of a tool ("#/wallet/77") leads there by way of
// the hand-off, of the passkey and of the provider, and the provider is not told of it.
func TestFragmentSurvivesTheWayIn(t *testing.T) {
	inEveryEngine(t, fragmentSurvivesTheWayIn)
}

func fragmentSurvivesTheWayIn(t *testing.T, open func(t *testing.T, from string) *browser) {
	s := newHarness(t)
	s.page("/app", "<h1>A tool of one page</h1>")
	b := open(t, home)
	b.enrol(s.ticket(alice.Email), alice.Sub)

	arrives := func(at string) {
		t.Helper()
		b.until("location.href === " + quote(s.treasury+at))
	}
	b.open(s.treasury + "/app?a=1#/wallet/1")
	arrives("/app?a=1#/wallet/1")

	// revoke ends the session and is at the sign-in page, on the way to a page of the tool.
	revoke := func(at string) {
		t.Helper()
		s.run("session", "revoke", "--user", alice.Email)
		eventually(t, "the session is over", func() bool { // the process that serves looks for revocations four times a second
			b.open("about:blank") // or only the fragment changes, and no sign-in is due
			b.open(s.treasury + at)
			return eval[bool](b, "!!document.querySelector('[data-action=\"sign-in\"]')")
		})
	}
	revoke("/app?a=1#/wallet/2%20x")
	b.act("sign-in")
	b.until(`document.querySelector('input[name="sub"]')`)
	if at := eval[string](b, "location.hash"); at != "" {
		t.Errorf("the provider is told %q", at)
	}
	b.press(`input[name="sub"][value="` + alice.Sub + `"]`)
	b.act("continue")
	b.act("verify")
	arrives("/app?a=1#/wallet/2%20x")

	// From another network the policy asks again: the step-up page has the fragment in its address.
	b.from(vpnExit)
	b.open("about:blank")
	b.open(s.treasury + "/app#/wallet/3")
	b.act("verify")
	arrives("/app#/wallet/3")

	// What was kept for one way in is not used for the next.
	revoke("/app?a=1")
	b.signIn(alice.Sub)
	b.act("verify")
	arrives("/app?a=1")
}

// TestLongAddressSurvivesTheWayIn: the longest address that is accepted arrives whole, by way of the hand-off, of
// the passkey and of the provider.
func TestLongAddressSurvivesTheWayIn(t *testing.T) {
	t.Parallel()
	for _, e := range []entry{overTLS, overHTTP} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			s := newHarnessAt(t, e)
			s.page("/app", "<h1>A tool of one page</h1>")
			b := newBrowser(t, home)
			b.enrol(s.ticket(alice.Email), alice.Sub)
			long := "/app?q=%7B%22a%22%3A1%7D&r=" // with the characters that grow when they are escaped
			long += strings.Repeat("%22&=", (8192-len(long))/5)
			long += strings.Repeat("x", 8192-len(long))
			arrives := func(at string) {
				t.Helper()
				b.until("location.href === " + quote(s.treasury+at) + " && document.body.innerText.includes('A tool of one page')")
				if n := eval[int](b, "sessionStorage.length"); n != 0 {
					t.Errorf("%d things are left in the tab's storage", n)
				}
			}
			b.open(s.treasury + long + "#/wallet/1") // signed in at the sign-in host alone
			arrives(long + "#/wallet/1")

			s.run("session", "revoke", "--user", alice.Email)
			b.signedOut()
			b.open("about:blank")
			b.open(s.treasury + long + "#/wallet/2%20x")
			b.signIn(alice.Sub)
			b.act("verify")
			arrives(long + "#/wallet/2%20x")

			b.from(vpnExit)
			b.open("about:blank")
			b.open(s.treasury + long + "#/wallet/3")
			b.act("verify")
			arrives(long + "#/wallet/3")

			// A short one with a fragment, where the session is posted with a form.
			b.forget(s, s.treasury, "sallyport")
			b.open("about:blank")
			b.open(s.treasury + "/app?a=1#/wallet/4")
			b.until("location.href === " + quote(s.treasury+"/app?a=1#/wallet/4"))

			if at := eval[int](b, "fetch('/app?' + 'x'.repeat(8192)).then((r) => r.status)"); at != 414 {
				t.Errorf("a longer one: %d", at)
			}
		})
	}
}

// TestAttackLinkBecomesTheToolsOwn: the pages of the way in lie on the tool's own origin, and make no link of the tool's
// own from one of another site. They wait for a press.
func TestAttackLinkBecomesTheToolsOwn(t *testing.T) {
	t.Parallel()
	for _, e := range []entry{overTLS, overHTTP} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			app := newTool(t)
			s := newHarnessAt(t, e, withTool("app", app))
			app.page("/transfer", "<h1>Transferred</h1>")
			asked := func() (sites []string) {
				for _, r := range app.requests() {
					if r.URL.Path == "/transfer" {
						sites = append(sites, r.Header.Get("Sec-Fetch-Site"))
					}
				}
				return sites
			}
			evil := newTool(t) // not behind the product, and another site
			b := newBrowser(t, home)
			b.foreign = evil.URL
			b.enrol(s.ticket(alice.Email), alice.Sub)
			follow := func(to string) {
				t.Helper()
				evil.page("/", `<a href="`+to+`">prize</a>`)
				b.open(evil.URL + "/")
				b.press("a")
			}
			long := "/transfer?to=" + strings.Repeat("x", 3000)

			follow(s.origin("app") + "/.sallyport/way?to=/transfer")
			b.shows("This leads to /transfer.")
			b.open("about:blank")
			follow(s.origin("app") + long)
			b.until("document.querySelector('a[data-way=back]')?.href === " + quote(s.origin("app")+long))
			if got := asked(); got != nil {
				t.Fatalf("the tool was asked, %q", got)
			}
			b.press("a[data-way=back]")
			b.shows("Transferred")

			// A short address is in the code, and is gone to by the page that a form with it gets, if it is a form.
			b.forget(s, s.origin("app"), "sallyport")
			b.open("about:blank")
			before := len(asked())
			follow(s.origin("app") + "/transfer?to=y#z")
			b.until("document.querySelector('a[data-press]') || document.body.innerText.includes('Transferred')")
			if pressed := eval[bool](b, "!!document.querySelector('a[data-press]')"); pressed {
				if len(asked()) != before {
					t.Error("the tool was asked before a press")
				}
				b.press("a[data-press]")
				b.until("location.hash === '#z' && document.body.innerText.includes('Transferred')")
			} else if got := asked(); got[len(got)-1] == "same-origin" {
				t.Errorf("the tool was asked, %q", got)
			}
		})
	}
}
