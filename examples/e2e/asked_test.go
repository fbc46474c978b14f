package e2e

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
)

// scripts switches the scripts of pages off, so that a page that goes on by itself stays.
func (b *browser) scripts(on bool) {
	b.t.Helper()
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

// TestDidYouJustOpen: a tool that was opened from another network than the person is on is
// asked about, and no code is made before the answer: the stranger's link, and the person's own
// phone that changed networks.
func TestDidYouJustOpen(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.enrol(s.ticket(alice.Email), alice.Sub)

	stranger := newClient(t, s, vpnExit)
	begun := stranger.navigate(s.treasury + "/").location // with the stranger's nonce
	b.open(begun)
	b.shows("Did you just open treasury." + company)
	for _, told := range []string{vpnExit, home, "United States"} {
		if !strings.Contains(b.text(), told) {
			t.Errorf("%s is not on the page:\n%s", told, b.text())
		}
	}
	b.review("asked")
	b.press("button.wide")
	b.shows("No one was let in")
	b.review("denied")
	if got := strings.Join(s.refused(), " "); got != "not_me!" {
		t.Errorf("recorded as %q", got)
	}
	if stranger.cookie(s.treasury) != "" {
		t.Error("the stranger has a session")
	}

	// Her own: opened elsewhere a moment ago, and she has moved on.
	b.from(vpnExit)
	b.scripts(false)
	b.open(s.treasury + "/")
	b.until(`location.pathname.startsWith("/.sallyport/")`)
	own := eval[string](b, "location.href")
	b.scripts(true)
	b.from(home)
	b.open(own)
	b.shows("Did you just open treasury." + company)
	b.act("handoff")
	b.shows("Treasury of " + alice.Email)
	if got := strings.Join(s.refused(), " "); got != "not_me!" {
		t.Errorf("recorded as %q", got)
	}
}

// TestPagesOfAHandoffOnTheWay looks at a hand-off that takes its time, and at one that the
// network is in the way of.
func TestPagesOfAHandoffOnTheWay(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.hostile = true // the console has what fails here
	call(b, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: "*/.sallyport/callback"}}})
	b.open(s.treasury + "/")
	b.shows("One moment")
	b.look("under-way")                 // its button waits, too
	call(b, fetch.Disable, cdp.Empty{}) // what was held goes on
	b.shows("Treasury of " + alice.Email)

	b.forget(s, s.treasury, "sallyport")
	blocked := func(patterns ...*network.BlockPattern) {
		t.Helper()
		call(b, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: patterns})
	}
	blocked(&network.BlockPattern{URLPattern: s.treasury + "/.sallyport/callback", Block: true})
	b.open(s.treasury + "/")
	b.shows("could not be reached")
	b.review("in-the-way")
	blocked()
	b.act("handoff")
	b.shows("Treasury of " + alice.Email)
}
