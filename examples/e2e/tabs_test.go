package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
)

// TestTabsRestoredTogether: ten tabs of a browser whose session has ended are opened at once. The person signs in in one of
// them, and each arrives where it was going.
func TestTabsRestoredTogether(t *testing.T) {
	t.Parallel()
	s := newHarness(t, withTool("other", newTool(t)))
	s.page("/app", "<h1>A tool of one page</h1>")
	b := newBrowser(t, home)
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.forget(s, s.base, "sallyport")
	var tabs []*browser
	var to []string
	for i := range 10 {
		host, path := s.treasury, fmt.Sprintf("/app?tab=%d#/wallet/%d", i, i)
		switch {
		case i == 7:
			path = fmt.Sprintf("/app?tab=7&q=%s#/wallet/7", strings.Repeat("%26", 1000)) // too long for a parameter
		case i > 7:
			host, path = s.origin("other"), fmt.Sprintf("/?tab=%d", i)
		}
		tab := b
		if i > 0 {
			tab = b.tab()
		}
		tabs, to = append(tabs, tab), append(to, host+path)
		eval[bool](tab, "(setTimeout(() => location.href = "+quote(host+path)+"), true)")
	}
	for _, tab := range tabs {
		tab.until(`document.querySelector('[data-action="sign-in"]')`)
	}
	b.signIn(alice.Sub)
	b.act("verify")
	// A page has led this tab here, so that a press comes before its address that was kept.
	tabs[7].until("document.querySelector('main')?.innerText.includes('Go on')")
	eval[bool](tabs[7], "([...document.querySelectorAll('main a, main button')].find((e) => e.innerText.includes('Go on')).click(), true)")
	for i, tab := range tabs {
		tab.until("location.href === " + quote(to[i]) + " && document.querySelector('h1')")
	}
}

// endFlows has a browser forget the sign-ins that it has begun, as it does a quarter of an hour later, and when there are many.
func (b *browser) endFlows(s *harness) {
	b.t.Helper()
	for _, c := range call(b, network.GetCookies, network.GetCookiesParams{URLs: []string{s.base + "/"}}).Cookies {
		if strings.HasPrefix(c.Name, s.cookieName("sallyport-flow-")) {
			b.forget(s, s.base, strings.TrimPrefix(c.Name, s.entry.cookiePrefix()))
		}
	}
}

// TestProvidersPageOverLunch: a sign-in that is over when the provider sends the person back begins again by itself, to where they
// were going; and where another tab has signed them in meanwhile, leads there.
func TestProvidersPageOverLunch(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	s.page("/app", "<h1>A tool of one page</h1>")
	b := newBrowser(t, home)
	b.enrol(s.ticket(alice.Email), alice.Sub)
	second := b.tab()
	b.forget(s, s.base, "sallyport")
	atProvider := func(b *browser, to string) {
		t.Helper()
		b.open(to)
		b.shows("Sign in")
		b.act("sign-in")
		b.until(`document.querySelector('input[name="sub"]')`)
	}
	atProvider(b, s.treasury+"/app?a=1#/wallet/1")
	atProvider(second, s.treasury+"/app?a=2#/wallet/2")
	b.endFlows(s)
	b.press(`input[name="sub"][value="` + alice.Sub + `"]`)
	b.act("continue")
	b.until(`document.querySelector('input[name="sub"]') || document.querySelector('[data-action="verify"]')`) // at the provider again
	if eval[bool](b, `!document.querySelector('[data-action="verify"]')`) {
		b.press(`input[name="sub"][value="` + alice.Sub + `"]`)
		b.act("continue")
	}
	b.act("verify")
	b.until("location.href === " + quote(s.treasury+"/app?a=1#/wallet/1") + " && document.querySelector('h1')")

	b.endFlows(s)
	second.press(`input[name="sub"][value="` + alice.Sub + `"]`)
	second.act("continue")
	second.until("location.href === " + quote(s.treasury+"/app?a=2#/wallet/2") + " && document.querySelector('h1')")

}

// TestAttackForgedCallbackBeginsNoSignIn: another site's page that has a person's browser open forged answers of the provider begins
// no sign-in, whether the tab has been through one, or stands where the person has not pressed yet.
func TestAttackForgedCallbackBeginsNoSignIn(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.base + "/.sallyport/sign-out")
	b.act("sign-out")
	b.shows("You are signed out")
	begun := func() (n int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, to := range b.requests {
			if strings.Contains(to, "/.sallyport/sign-in?") && strings.Contains(to, "go=1") {
				n++
			}
		}
		return n
	}
	before := begun()
	if before == 0 {
		t.Fatal("the person's own sign-in is not seen")
	}
	for range 2 {
		b.open(s.base + "/.sallyport/callback?state=x&code=y")
		b.shows("Signing in did not work")
		b.open(s.base + "/.sallyport/sign-in?return_to=" + s.treasury + "/")
		b.shows("Sign in with your company account")
	}
	b.open(s.base + "/.sallyport/callback?state=x&code=y")
	b.shows("Signing in did not work")
	if at := eval[string](b, "location.pathname"); at != "/.sallyport/callback" {
		t.Errorf("it goes on to %s", at)
	}
	if n := begun(); n != before {
		t.Errorf("%d sign-ins were begun", n-before)
	}
}

// TestBackLeadsOverAnAnsweredQuestion: the page of a step-up is not in the history once it is answered, and tabs that
// stand at one go on when another has answered it.
func TestBackLeadsOverAnAnsweredQuestion(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	s.page("/before", "<h1>Before</h1>")
	s.page("/after", "<h1>After</h1>")
	b := newBrowser(t, home)
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/before")
	b.shows("Before")
	second, slow := b.tab(), b.tab()
	b.from(vpnExit)
	b.open(s.treasury + "/after")
	b.until(`document.querySelector('[data-action="verify"]')`)
	second.open(s.treasury + "/after?second#x")
	second.until(`document.querySelector('[data-action="verify"]')`)
	// A tab whose scripts arrive when the question has been answered.
	call(slow, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: "*/changed.js"}}})
	eval[bool](slow, "(location.assign("+quote(s.treasury+"/after?slow")+"), true)")
	slow.until(`document.querySelector('[data-action="verify"]')`)
	b.act("verify")
	b.shows("After")
	call(slow, fetch.Disable, cdp.Empty{})
	for tab, at := range map[*browser]string{second: "/after?second#x", slow: "/after?slow"} {
		tab.until("location.href === " + quote(s.treasury+at) + " && document.body.innerText.includes('After')")
	}
	b.back()
	b.shows("Before")
}
