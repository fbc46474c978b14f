package proxy_test

import (
	"strings"
	"testing"
)

// What a browser fetches before the person goes there begins nothing: no cookie, no way to the sign-in host. On
// a click, the browser asks again.
func TestNothingIsBegunAhead(t *testing.T) {
	g := newRig(t)
	b := g.enrolled("alice", home)
	for name, who := range map[string]*browser{"sign-in": g.browser(home), "step-up": b.clone(vpn)} {
		for _, purpose := range []string{"Sec-Purpose", "Purpose"} {
			r := who.request("GET", treasury+"/", "")
			r.Header.Set("Accept", "text/html")
			r.Header.Set("Sec-Fetch-Site", "none")
			r.Header.Set("Sec-Fetch-Mode", "navigate")
			r.Header.Set("Sec-Fetch-Dest", "document")
			r.Header.Set(purpose, "prefetch")
			a := who.do(r)
			if a.StatusCode != 401 || len(a.Cookies()) != 0 || a.location() != "" || !strings.Contains(a.body, "<h1>") {
				t.Errorf("%s, %s: %d %v", name, purpose, a.StatusCode, a.Header)
			}
		}
	}
}

// A window that a tool's page opened stays in its hands on the whole way to the tool and back. Where a press of a button
// gives something away, it does not.
func TestWindowOfATool(t *testing.T) {
	g := newRig(t)
	const kept, cut = "unsafe-none", "same-origin"
	opener := func(name, want string, a answer) answer {
		t.Helper()
		if got := a.Header.Get("Cross-Origin-Opener-Policy"); got != want {
			t.Errorf("%s (%d %s): %q, want %q", name, a.StatusCode, a.at, got, want)
		}
		return a
	}
	stranger := g.browser(home)
	a := opener("away from the tool", kept, stranger.get(treasury+"/oauth/start"))
	a = opener("sign-in", kept, stranger.get(a.location()))
	opener("to the provider", kept, stranger.get(a.at+"&go=1"))

	b := g.browser(home).enroll("alice")
	a = opener("away from the tool, signed in", kept, b.get(treasury+"/oauth/start"))
	opener("past the sign-in page", kept, b.get(a.location()))
	opener("hand-off", kept, b.atHandoff(treasury+"/oauth/start"))
	begun := g.browser(home).get(treasury + "/oauth/start").location()
	opener("hand-off to elsewhere", cut, b.clone(cafe).atHandoff(begun))
	b.follow(treasury + "/")
	moved := b.clone(vpn)
	a = opener("step-up", kept, moved.get(treasury+"/oauth/start"))
	if a = opener("step-up page", kept, moved.get(a.location())); !strings.Contains(a.body, `data-action="verify"`) {
		t.Errorf("no step-up: %s", a.body)
	}
	opener("step-up for the account", cut, moved.get(login+"/.sallyport/step-up?return_to=/.sallyport/account"))
	opener("sign-in for the account", cut, stranger.get(login+"/.sallyport/sign-in"))
	for _, page := range []string{"account", "sign-out", "enroll", "nowhere", "handoff"} {
		if a := b.get(login + "/.sallyport/" + page); a.location() == "" {
			opener(page, cut, a)
		}
	}
	opener("blocked", cut, b.clone(hosting).get(treasury+"/"))
}
