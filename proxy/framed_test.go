package proxy_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"sallyport/proxy"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// What a browser fetches before the person goes there begins nothing: no cookie, no way to the sign-in host. On
// a click, the browser asks again.
func TestNothingIsBegunAhead(t *testing.T) {
	g := newHarness(t)
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
	g := newHarness(t)
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

// in is a browser's request whose answer it uses for something, from a page of the same site.
func (b *browser) in(method, to, site, mode, dest string) *http.Request {
	b.Helper()
	body := ""
	if method == "POST" {
		body = "amount=12&note=a-secret"
	}
	r := b.request(method, to, body)
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Site", site)
	r.Header.Set("Sec-Fetch-Mode", mode)
	r.Header.Set("Sec-Fetch-Dest", dest)
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", to[:strings.Index(to[8:], "/")+8])
	}
	return r
}

// A frame gets a page that has nothing in it but a link that opens a tab, for the pages of this site.
func TestQuestionInAFrame(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	routes, err := proxytest.NewTable([]upstream.RouteConfig{
		{Name: "treasury", From: treasury, To: []string{"http://10.0.0.1:3000"}},
		{Name: "payments", From: treasury + "/pay", To: []string{"http://10.0.0.1:3001"}},
		{Name: "wiki", From: wiki, To: []string{"http://10.0.0.2:3000"}, Embeddable: true},
		{Name: "elsewhere", From: "https://tool.example.org", To: []string{"http://10.0.0.3:3000"}},
	})
	g.must(err)
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Routes = routes; return s })
	ours := []string{"'self'", "https://example.test:*", "https://*.example.test:*"}
	for name, c := range map[string]struct {
		request   *http.Request
		who       *browser
		status    int
		ancestors []string
		text      string
	}{
		"sign-in":              {g.browser(home).in("GET", wiki+"/page?a=1", "same-site", "navigate", "iframe"), g.browser(home), 401, ours, "Sign in in a new tab"},
		"step-up":              {b.clone(vpn).in("GET", wiki+"/page?a=1", "same-site", "navigate", "iframe"), b.clone(vpn), 401, ours, "Verify in a new tab"},
		"an object":            {b.clone(vpn).in("GET", wiki+"/page?a=1", "same-site", "navigate", "object"), b.clone(vpn), 401, ours, "Verify in a new tab"},
		"not embeddable":       {b.clone(vpn).in("GET", treasury+"/page?a=1", "same-origin", "navigate", "iframe"), b.clone(vpn), 401, ours[:1], "Verify in a new tab"},
		"blocked":              {b.clone(hosting).in("GET", wiki+"/page", "same-site", "navigate", "iframe"), b.clone(hosting), 403, ours, "Reference"},
		"a form of the tool's": {b.clone(vpn).in("POST", wiki+"/pay", "same-origin", "navigate", "iframe"), b.clone(vpn), 401, ours, "Your form was not sent"},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.who.do(c.request)
			h := a.Header
			csp := strings.Split(h.Get("Content-Security-Policy"), "; ")
			if i := slices.IndexFunc(csp, func(d string) bool { return strings.HasPrefix(d, "frame-ancestors ") }); i < 0 || csp[i] != "frame-ancestors "+strings.Join(c.ancestors, " ") {
				t.Errorf("framed by %q, want %q", csp, c.ancestors)
			}
			if a.StatusCode != c.status || a.location() != "" || len(a.Cookies()) != 0 || h.Get("X-Frame-Options") != "" || h.Get("Cache-Control") != "no-store" || !strings.Contains(a.body, c.text) {
				t.Errorf("%d %v\n%s", a.StatusCode, h, a.body)
			}
			for _, not := range []string{"<form", "<button", "<input", "alice", "a-secret"} {
				if strings.Contains(a.body, not) {
					t.Errorf("has %q:\n%s", not, a.body)
				}
			}
			if again := strings.Contains(a.body, `href="/page?a=1"`); again != strings.Contains(c.request.URL.RawQuery, "a=1") {
				t.Errorf("shown again: %t\n%s", again, a.body)
			}
		})
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("the tool got %d requests", n)
	}
	// What is not looked at as a page gets JSON.
	for _, dest := range []string{"empty", "image", "script", "worker", "serviceworker", "sharedworker", "style", "font", "audio", "video", "manifest", "report", "xslt", "track"} {
		moved := b.clone(vpn)
		if a := moved.do(moved.in("GET", treasury+"/x", "same-origin", "no-cors", dest)); a.StatusCode != 401 || a.code() != "insufficient_user_authentication" || a.location() != "" {
			t.Errorf("%s: %d %s", dest, a.StatusCode, a.body)
		}
	}
}

// A stranger who asks for one tool as a frame would does not learn which others there are.
func TestAttackStrangerLearnsTheTools(t *testing.T) {
	g := newHarness(t)
	routes, err := proxytest.NewTable([]upstream.RouteConfig{
		{Name: "treasury", From: treasury, To: []string{"http://10.0.0.1:3000"}},
		{Name: "wiki", From: wiki, To: []string{"http://10.0.0.2:3000"}, Embeddable: true},
	})
	g.must(err)
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Routes = routes; return s })
	for _, dest := range []string{"iframe", "frame", "embed", "object", "document", "empty", "image", "serviceworker"} {
		for _, method := range []string{"GET", "POST"} {
			b := g.browser(home)
			a := b.do(b.in(method, wiki+"/page", "same-site", "navigate", dest))
			if text := a.body + jsonText(a.Header); strings.Contains(text, "treasury") {
				t.Errorf("%s for %s: %s", method, dest, text)
			}
		}
	}
}

// The tab in which the person verified for a frame tells the tool's other tabs, and nothing else.
func TestGoBack(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	if a := b.get(treasury + "/.sallyport/go-back"); a.StatusCode != 200 || !strings.Contains(a.body, "back.js") || strings.Contains(a.body, "alice") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := b.get(login + "/.sallyport/go-back"); a.StatusCode != 404 {
		t.Errorf("on the sign-in host: %d", a.StatusCode)
	}
	moved := b.clone(vpn)
	a := moved.get(treasury + "/.sallyport/step-up?return_to=%2F.sallyport%2Fgo-back&why=network")
	if !strings.HasPrefix(a.location(), login+"/.sallyport/step-up?") || !strings.Contains(a.location(), "go-back") {
		t.Errorf("%d %s", a.StatusCode, a.location())
	}
}

// The script for the pages of tools is the same for everyone, on every host of ours, and for the pages of that host alone.
func TestSessionScript(t *testing.T) {
	g := newHarness(t)
	stranger := g.browser(home)
	for _, origin := range []string{treasury, wiki, login} {
		a := stranger.do(stranger.in("GET", origin+"/.sallyport/session.js", "same-origin", "no-cors", "script"))
		h := a.Header
		if a.StatusCode != 200 || !strings.HasPrefix(h.Get("Content-Type"), "text/javascript") || h.Get("Cache-Control") != "public, max-age=3600" || h.Get("Cross-Origin-Resource-Policy") != "same-origin" ||
			h.Get("X-Content-Type-Options") != "nosniff" || len(a.Cookies()) != 0 || !strings.Contains(a.body, "sallyport:signed-out") {
			t.Errorf("%s: %d %v", origin, a.StatusCode, h)
		}
	}
	for _, site := range []string{"same-site", "cross-site"} {
		if a := stranger.do(stranger.in("GET", treasury+"/.sallyport/session.js", site, "no-cors", "script")); a.StatusCode != 403 {
			t.Errorf("for a page of another origin, %s: %d", site, a.StatusCode)
		}
	}
	if a := stranger.do(stranger.in("POST", treasury+"/.sallyport/session.js", "same-origin", "cors", "empty")); a.StatusCode == 200 {
		t.Error("posted to")
	}
}
