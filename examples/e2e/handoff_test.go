package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
)

// refused returns the reasons of refused hand-offs, "!" behind those of high risk.
func (s *harness) refused() (why []string) {
	s.t.Helper()
	for _, r := range s.audit() {
		if r["event"] != "handoff_refused" {
			continue
		}
		detail, _ := r["detail"].(map[string]any)
		reason, _ := detail["reason"].(string)
		if detail["risk"] == "high" {
			reason += "!"
		}
		why = append(why, reason)
	}
	return why
}

// forget deletes a cookie of a client.
func (c *client) forget(origin, name string) {
	c.t.Helper()
	u, err := url.Parse(origin)
	if err != nil {
		c.t.Fatal(err)
	}
	c.http.Jar.SetCookies(u, []*http.Cookie{{Name: c.s.cookieName(name), Path: "/", MaxAge: -1, Secure: c.s.entry.tls}})
}

// forget deletes a cookie of a browser. But for Chromium, it has to be at that origin.
func (b *browser) forget(s *harness, origin, name string) {
	b.t.Helper()
	if w, ok := b.engine.(*drivenWindow); ok {
		if err := w.do("WebDriver:DeleteCookie", map[string]any{"name": s.cookieName(name)}, nil); err != nil {
			b.t.Fatal(err)
		}
		return
	}
	call(b, network.DeleteCookies, network.DeleteCookiesParams{Name: s.cookieName(name), URL: origin + "/"})
}

// TestHandoffCodeIsBoundToTheBrowser: a code that leaks gives no one else a session, and is
// spent by the attempt, over https and on localhost.
func TestHandoffCodeIsBoundToTheBrowser(t *testing.T) {
	t.Parallel()
	for _, e := range []entry{overTLS, overHTTP} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			s := newHarnessAt(t, e)
			victim := newClient(t, s, home)
			victim.getIn(alice)
			begin := func() handoff {
				t.Helper()
				victim.forget(s.treasury, "sallyport")
				page := victim.navigate(s.treasury + "/")
				for page.location != "" {
					page = victim.navigate(page.location)
				}
				if !isHandoff(page) {
					t.Fatalf("no hand-off: %d %s", page.status, page.body)
				}
				return victim.handoffOf(page)
			}
			thief := newClient(t, s, home)
			thief.navigate(s.treasury + "/") // has a nonce of their own
			h := begin()
			if a := thief.show(h); a.status != http.StatusBadRequest || thief.cookie(s.treasury) != "" {
				t.Errorf("another browser got %d and the cookie %q", a.status, thief.cookie(s.treasury))
			}
			if a := victim.show(h); a.status != http.StatusBadRequest {
				t.Errorf("a code that was shown elsewhere still works: %d", a.status)
			}
			h = begin()
			if a := victim.show(h); a.status != http.StatusOK {
				t.Errorf("the browser that began: %d %s", a.status, a.body)
			}
			if a := thief.show(h); a.status != http.StatusBadRequest {
				t.Errorf("a replay by another browser: %d", a.status)
			}
			if a := victim.navigate(s.treasury + "/"); a.status != http.StatusOK {
				t.Errorf("after it all, the victim gets %d", a.status)
			}
			// Each code that turned up elsewhere is an alarm of its own.
			if got := strings.Join(s.refused(), " "); got != "other_browser! already_used other_browser!" {
				t.Errorf("recorded as %q", got)
			}
		})
	}
}

// TestNothingOfAToolsOriginSeesTheCode: a tool with a worker over its whole host, a page that
// opens the sign-in host in frames, windows and fetches, and cookies on our path that make
// its answers fail, with the binding of an attacker's own machine.
func TestNothingOfAToolsOriginSeesTheCode(t *testing.T) {
	inEveryEngine(t, nothingOfAToolsOriginSeesTheCode)
}

func nothingOfAToolsOriginSeesTheCode(t *testing.T, open func(t *testing.T, from string) *browser) {
	s := newHarness(t)
	attacker := newClient(t, s, home)
	begun := attacker.navigate(s.treasury + "/").location // with the attacker's nonce
	s.tool.file("/sw.js", "text/javascript", `
		const seen = [];
		self.addEventListener("install", () => self.skipWaiting());
		self.addEventListener("activate", (e) => e.waitUntil(self.clients.claim()));
		self.addEventListener("fetch", (e) => {
			if (e.request.url.includes("/seen")) return e.respondWith(new Response(JSON.stringify(seen)));
			e.respondWith(e.request.clone().text().then((body) => { seen.push(e.request.method + " " + e.request.url + " " + body); return fetch(e.request); }));
		});`)
	s.tool.page("/plain", "<h1>Plain</h1>")
	b := open(t, home)
	b.hostile = true
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/plain")
	b.shows("Plain")
	eval[bool](b, `navigator.serviceWorker.register("/sw.js").then(() => navigator.serviceWorker.ready).then(() => true)`)
	seen := func() string {
		t.Helper()
		b.until("document.readyState === 'complete' && navigator.serviceWorker && navigator.serviceWorker.controller")
		return eval[string](b, `fetch("/seen").then((r) => r.text())`)
	}
	b.open(s.treasury + "/plain")
	b.shows("Plain")
	if !strings.Contains(seen(), "GET "+s.treasury+"/plain") {
		t.Fatalf("the worker sees nothing, so this proves nothing: %s", seen())
	}

	// An honest hand-off with the worker in place.
	b.forget(s, s.treasury, "sallyport")
	b.open(s.treasury + "/plain?again")
	b.until(`location.href === ` + quote(s.treasury+"/plain?again") + ` && document.body.innerText.includes("Plain")`)
	if got := seen(); strings.Contains(got, "callback") || strings.Contains(got, "code=") {
		t.Errorf("the worker saw %s", got)
	}

	// The attacker's own binding, in a frame, by fetch and in a window of the tool.
	quoted := quote(begun)
	framed := eval[string](b, `new Promise((done) => {
		const f = document.createElement("iframe"); f.src = `+quoted+`;
		f.onload = () => { try { done("readable: " + f.contentWindow.location.href); } catch (e) { done("closed"); } };
		document.body.append(f); })`)
	if framed != "closed" {
		t.Errorf("a frame is %s", framed)
	}
	if got := eval[string](b, `fetch(`+quoted+`, {credentials: "include"}).then((r) => r.text(), (e) => "closed")`); got != "closed" {
		t.Errorf("a fetch reads %s", got)
	}
	before := len(s.refused())
	if got := eval[string](b, `(() => { const w = window.open(`+quoted+`); window.w = w; return w ? "opened" : "blocked"; })()`); got == "opened" {
		// Their own page delivers the code with the victim's nonce: refused, spent, high risk.
		b.until(`(() => { try { return window.w.closed || window.w.location.href === null; } catch { return true; } })()`)
	}
	top := b.tab() // and as the attacker's link, in a tab of its own
	top.hostile = true
	top.open(begun)
	top.shows("You could not be signed in here")
	if got := s.refused(); len(got) <= before || got[len(got)-1] != "other_browser!" {
		t.Errorf("recorded as %q", got)
	}
	if got := seen(); strings.Contains(got, "callback") || strings.Contains(got, "code=") {
		t.Errorf("the worker saw %s", got)
	}

	// Cookies on our path that make the answer an error of the server.
	b.forget(s, s.treasury, "sallyport")
	eval[bool](b, `(() => { for (let i = 0; i < 40; i++) document.cookie = "big" + i + "=" + "x".repeat(3900) + "; Path=/.sallyport/callback"; return true; })()`)
	b.open(s.treasury + "/plain?431")
	b.shows("could not be reached")
	if at := eval[string](b, "location.href"); !strings.HasPrefix(at, s.base+"/.sallyport/handoff?") || strings.Contains(at, "code") {
		t.Errorf("it ends at %s", at)
	}
	if attacker.cookie(s.treasury) != "" {
		t.Error("the attacker has a session")
	}
}

// TestServiceWorkerOverTheHostIsRefusedAcrossSites: on localhost the code comes with a form,
// which a worker over the whole host could read.
func TestServiceWorkerOverTheHostIsRefusedAcrossSites(t *testing.T) {
	inEveryEngine(t, serviceWorkerOverTheHostIsRefused)
}

func serviceWorkerOverTheHostIsRefused(t *testing.T, open func(t *testing.T, from string) *browser) {
	s := newHarnessAt(t, overHTTP)
	for _, path := range []string{"/sw.js", "/app/sw.js"} {
		s.tool.file(path, "text/javascript", `self.addEventListener("fetch", () => {});`)
	}
	b := open(t, home)
	b.hostile = true
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of")
	register := func(script, scope string) string {
		t.Helper()
		return eval[string](b, `navigator.serviceWorker.register(`+quote(script)+`, {scope: `+quote(scope)+`}).then(() => "registered", (e) => e.name)`)
	}
	if got := register("/sw.js", "/"); got == "registered" {
		t.Error("a worker over the whole host was registered")
	}
	if got := register("/app/sw.js", "/"); got == "registered" {
		t.Error("a script in a folder got the whole host")
	}
	if got := register("/app/sw.js", "/app/"); got != "registered" {
		t.Errorf("a worker over a folder: %s", got)
	}
}

// TestScriptCannotPlantASession: a tool's script pushes our cookies out of the jar, and
// tries to put another person's in their place.
func TestScriptCannotPlantASession(t *testing.T) {
	inEveryEngine(t, scriptCannotPlantASession)
}

func scriptCannotPlantASession(t *testing.T, open func(t *testing.T, from string) *browser) {
	s := newHarness(t)
	mallory := newClient(t, s, home)
	mallory.getIn(alice)
	b := open(t, home)
	b.hostile = true
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of")
	name, value := s.cookieName("sallyport"), mallory.cookie(s.treasury)
	eval[bool](b, `(() => { for (let i = 0; i < 400; i++) document.cookie = "fill" + i + "=x; Path=/; Secure"; return true; })()`)
	eval[bool](b, `(() => { document.cookie = `+quote(name+"="+value+"; Path=/; Secure")+`; return true; })()`)
	eval[bool](b, `window.cookieStore === undefined || cookieStore.set({name: `+quote(name)+`, value: `+quote(value)+`, path: "/"}).then(() => true, () => true)`)
	if got := eval[string](b, "document.cookie"); strings.Contains(got, "sallyport") {
		t.Errorf("the script planted %s", got)
	}
	// Chromium and Firefox count cookies by site, so that ours of the sign-in host are gone as well: the
	// person signs in again. WebKit keeps them. In none are they in the other session.
	b.open(s.treasury + "/")
	b.until(`["Sign in with your company account", "Treasury of"].some((text) => document.body.innerText.includes(text))`)
	var other struct{ Session string }
	if err := json.Unmarshal([]byte(mallory.api(s.treasury+"/.sallyport/whoami").body), &other); err != nil || other.Session == "" {
		t.Fatal("the other session is not known", err)
	}
	if got := eval[string](b, `fetch("/.sallyport/whoami").then((r) => r.text())`); strings.Contains(got, other.Session) {
		t.Errorf("the person is in the other session: %s", got)
	}
}
