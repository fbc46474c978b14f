package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/authn/authntest"
)

// TestCookiesAsEnginesKeepThem: every cookie that a browser keeps for our hosts is for that host alone, and no
// script can read it.
func TestCookiesAsEnginesKeepThem(t *testing.T) {
	t.Parallel()
	for _, e := range engines[1:] { // of Chromium, TestCookiesAreForOneHostOnly reads the answers themselves
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			s := newHarness(t)
			b := e.open(t, home)
			b.enrol(s.ticket(alice.Email), alice.Sub)
			kept := func(want ...string) {
				t.Helper()
				list, err := b.engine.(*drivenWindow).cookies()
				if err != nil {
					t.Fatal(err)
				}
				host := eval[string](b, "location.hostname")
				var names []string
				for _, c := range list {
					name, ok := strings.CutPrefix(c.Name, s.entry.cookiePrefix())
					names = append(names, name)
					if !ok || !c.Secure || !c.HTTPOnly || c.Path != "/" || c.SameSite != "Lax" || c.Domain != host {
						t.Errorf("%s keeps %+v", host, c)
					}
				}
				for _, name := range want {
					if !slices.Contains(names, name) {
						t.Errorf("%s keeps %v, not %s", host, names, name)
					}
				}
				if seen := eval[string](b, "document.cookie"); seen != "" {
					t.Errorf("a script reads %q", seen)
				}
			}
			kept("sallyport", "sallyport-device")
			b.open(s.treasury + "/")
			b.shows("Treasury of alice@example.com")
			kept("sallyport")
		})
	}
}

// TestBackButton: the back button leads over a hand-off to what was before it, and after a sign-out to no
// page of the person, regardless of what an engine keeps of pages. WebKit is left out: on a page that comes
// from the history its driver (2.50) answers no further command, whether its own Back or the page's history.back() led there.
func TestBackButton(t *testing.T) {
	inEngines(t, engines[:2], func(t *testing.T, open func(t *testing.T, from string) *browser) {
		s := newHarness(t)
		b := open(t, home)
		b.enrol(s.ticket(alice.Email), alice.Sub)
		b.open(s.treasury + "/balances")
		b.shows("Treasury of alice@example.com")
		b.back()
		b.until("location.pathname === '/.sallyport/account'")
		b.shows("Your account")
		b.open(s.base + "/.sallyport/account")
		b.shows("Your account")
		b.open(s.base + "/.sallyport/sign-out")
		b.act("sign-out")
		b.shows("You are signed out")
		b.back() // to the question
		b.until("location.pathname === '/.sallyport/sign-out' || location.pathname === '/.sallyport/sign-in'")
		b.back()
		b.shows("Sign in with your company account")
		if text := b.text(); strings.Contains(text, "Your account") || strings.Contains(text, alice.Email) {
			t.Errorf("after the sign-out, the back button shows %s", text)
		}
	})
}

// TestTabsTogether: tabs that are restored together begin a hand-off each before any of them has an answer, to one
// tool and to another. All arrive where they were, no one is warned of a thief, and a further tab finds the session that is there.
func TestTabsTogether(t *testing.T) {
	inEveryEngine(t, func(t *testing.T, open func(t *testing.T, from string) *browser) {
		s := newHarness(t, withTool("other", newTool(t)))
		b := open(t, home)
		b.enrol(s.ticket(alice.Email), alice.Sub)
		tabs, to := []*browser{b}, []string{s.treasury + "/one", s.treasury + "/two", s.treasury + "/three", s.origin("other") + "/four"}
		for range to[1:] {
			tab := b.tab()
			tab.open(s.base + "/.sallyport/account")
			tab.shows("Your account")
			tabs = append(tabs, tab)
		}
		for i, tab := range tabs {
			eval[bool](tab, "(setTimeout(() => location.href = "+quote(to[i])+"), true)")
		}
		for i, tab := range tabs {
			tab.until("location.href === " + quote(to[i]))
			tab.shows("Treasury of alice@example.com")
		}
		last := b.tab()
		last.open(s.treasury + "/five")
		last.shows("Treasury of alice@example.com")
		if refused := s.refused(); len(refused) > 0 {
			t.Errorf("%d hand-offs were refused: %v", len(refused), refused)
		}
	})
}

// TestDownload: a file of a tool arrives as it is, and the page that offers it stays.
func TestDownload(t *testing.T) {
	inEveryEngine(t, func(t *testing.T, open func(t *testing.T, from string) *browser) {
		s := newHarness(t)
		const content = "day,amount\n1,25\n"
		s.page("/reports", `<h1>Reports</h1><a download href="/report.csv">report</a>`)
		s.file("/report.csv", "text/csv", content, "Content-Disposition", `attachment; filename="report.csv"`)
		b := open(t, home)
		var to string
		if b.engine == engine(firefox.window) {
			to = t.TempDir()
			if err := firefox.window.chrome(`Services.prefs.setIntPref("browser.download.folderList", 2); Services.prefs.setStringPref("browser.download.dir", `+quote(to)+`)`, nil); err != nil {
				t.Fatal(err)
			}
		}
		b.enrol(s.ticket(alice.Email), alice.Sub)
		b.open(s.treasury + "/reports")
		b.shows("Reports")
		b.press("a[download]")
		eventually(t, "the tool was asked", func() bool { return len(s.sentTo("/report.csv")) > 0 })
		if r := s.sentTo("/report.csv")[0]; r.Method != http.MethodGet || r.Header.Get("X-Sallyport-User") != alice.Email {
			t.Errorf("the tool got %s as %q", r.Method, r.Header.Get("X-Sallyport-User"))
		}
		if to != "" {
			eventually(t, "the file is there", func() bool {
				got, err := os.ReadFile(filepath.Join(to, "report.csv"))
				return err == nil && string(got) == content
			})
		}
		b.shows("Reports")
	})
}

// TestEngineWithoutPasskeys: WebKitGTK has no WebAuthn, which the page says, and what to do.
func TestEngineWithoutPasskeys(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newWebKit(t, home)
	b.open(s.ticket(alice.Email))
	b.signIn(alice.Sub)
	for _, page := range []struct{ action, name, title string }{{"enroll", "enroll", "Enrol your passkey"}, {"verify", "step-up", "One more touch, to sign in"}} {
		b.shows(page.title)
		b.shows("This browser cannot use passkeys: it is too old, or they are switched off. Use a current version of")
		if eval[bool](b, `!document.querySelector('[data-action="`+page.action+`"]').disabled`) {
			t.Errorf("%s: there is a button, which can do nothing", page.name)
		}
		b.review(page.name)
		eventually(t, "it is in the log", func() bool { d := s.stopped(); return d["error"] == "no_webauthn" && d["page"] == page.name })
		b.act(page.action) // with the passkey of another browser
	}
	b.shows("Your account")
}

// TestFirefoxAsksAboutAttestation: we ask for attestation, so Firefox asks the person whether a site may see the make of
// their key. The page waits meanwhile, and says so; either answer enrols, and Cancel cancels.
func TestFirefoxAsksAboutAttestation(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newFirefox(t, home)
	const prompt = "webauthn-prompt-register-direct"
	prefer := func(always string) {
		if err := firefox.window.chrome(`Services.prefs.setBoolPref("security.webauthn.always_allow_direct_attestation", `+always+`)`, nil); err != nil {
			t.Fatal(err)
		}
	}
	prefer("false")
	t.Cleanup(func() { prefer("true") })
	has := func(prompt string) (yes bool) {
		if err := firefox.window.chrome(`return !!PopupNotifications.getNotification("`+prompt+`")`, &yes); err != nil {
			t.Fatal(err)
		}
		return yes
	}
	// Firefox asks for a touch at the same time, and now and then that prompt hides the one
	// about attestation for good. A person cancels then, and tries again.
	hidden := 0
	asked := func() bool {
		if has(prompt) {
			hidden = 0
			return true
		}
		if !has("webauthn-prompt-presence") {
			hidden = 0
		} else if hidden++; hidden >= 40 && eval[bool](b, "document.querySelector('#cancel').getClientRects().length > 0") {
			b.press("#cancel")
			b.shows("You cancelled it, and nothing was changed")
			b.act("enroll")
			hidden = 0
		}
		return false
	}
	press := func(action string) {
		t.Helper()
		eventually(t, "Firefox asks", asked)
		if err := firefox.window.chrome(`const n = PopupNotifications.getNotification("`+prompt+`"); n.`+action+`.callback({}); n.remove()`, nil); err != nil {
			t.Fatal(err)
		}
	}
	b.open(s.ticket(alice.Email))
	b.signIn(alice.Sub)
	b.act("enroll")
	eventually(t, "Firefox asks", asked)
	b.shows("Still waiting for you. Look for a window of your browser")
	b.press("#cancel")
	b.shows("You cancelled it, and nothing was changed")

	for _, c := range []struct {
		person authntest.IdPPerson
		answer string
	}{{alice, "mainAction"}, {bob, "secondaryActions[0]"}} {
		if err := firefox.window.chrome(`Services.cookies.removeAll()`, nil); err != nil {
			t.Fatal(err)
		}
		b.open(s.ticket(c.person.Email))
		b.signIn(c.person.Sub)
		b.act("enroll")
		press(c.answer)
		b.act("verify")
		b.shows("Your account")
	}
	for i, made := range s.enrolments() {
		if made["class"] != "unattested" {
			t.Errorf("answer %d made a passkey of class %v", i, made["class"])
		}
	}
}

// back presses the back button.
func (b *browser) back() {
	b.t.Helper()
	if w, ok := b.engine.(*drivenWindow); ok {
		if err := w.do("WebDriver:Back", nil, nil); err != nil {
			b.t.Fatal(err)
		}
		return
	}
	eval[bool](b, "(setTimeout(() => history.back()), true)")
}
