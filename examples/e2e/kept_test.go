package e2e

import (
	"strings"
	"testing"
)

// TestBackAfterTheEnd: browsers keep a page as it was for the Back button, regardless of Cache-Control. Once the session
// is over, for any reason, that is not how one of our own pages shows who was here.
func TestBackAfterTheEnd(t *testing.T) {
	inEngines(t, engines[:2], func(t *testing.T, open func(t *testing.T, from string) *browser) {
		s := newHarness(t)
		s.page("/over", "<h1>Over here</h1>")
		b := open(t, home)
		b.enrol(s.ticket(alice.Email), alice.Sub)
		ends := []struct {
			name string
			end  func()
		}{
			{"revoked", func() { s.run("session", "revoke", "--user", alice.Email) }},
			{"signed out in another tab", func() {
				tab := b.tab()
				tab.open(s.base + "/.sallyport/sign-out")
				tab.act("sign-out")
				tab.shows("You are signed out")
			}},
		}
		for i, kept := range []struct{ page, shows, after string }{
			{"account", "Your account", "Your account"}, {"account", "Your account", "Your account"},
			{"step-up", "Verify it", "Your account"}, {"enroll", "Add a passkey", "Add a passkey"},
		} {
			end := ends[i%len(ends)]
			t.Run(kept.page+" "+end.name, func(t *testing.T) {
				b.open(s.base + "/.sallyport/" + kept.page)
				b.shows(kept.shows)
				b.open(s.treasury + "/over")
				b.shows("Over here")
				end.end()
				b.signedOut()
				b.back()
				b.shows("Sign in")
				if text := b.text(); strings.Contains(text, alice.Email) {
					t.Errorf("without a session, the page says %s", text)
				}
				b.signIn(alice.Sub)
				if kept.page == "enroll" {
					b.act("add")
				}
				b.act("verify")
				b.shows(kept.after)
			})
		}
	})
}
