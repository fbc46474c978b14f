package e2e

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
)

// shell is a service worker that answers every navigation, ours included, from a cache.
const shell = `
addEventListener("install", (e) => { skipWaiting(); e.waitUntil(caches.open("shell").then((c) => c.put("/shell", new Response("<!doctype html><link rel=icon href=data:,><h1>The shell</h1>", {headers: {"Content-Type": "text/html"}})))); });
addEventListener("activate", (e) => e.waitUntil(clients.claim()));
addEventListener("fetch", (e) => { if (e.request.mode === "navigate") e.respondWith(caches.match("/shell")); });`

// TestWorkerOfAToolLocksNobodyOut: regardless of what a tool's worker does with pages, a person whose session has ended is at
// the sign-in after at most one reload, gets back to where they were going, and the tool has its worker again.
func TestWorkerOfAToolLocksNobodyOut(t *testing.T) {
	t.Parallel()
	passing := func(fetch string) string {
		return `addEventListener("install", () => skipWaiting()); addEventListener("activate", (e) => e.waitUntil(Promise.all([clients.claim(), registration.navigationPreload && registration.navigationPreload.enable()])));
			addEventListener("fetch", (e) => { if (e.request.mode === "navigate") e.respondWith(` + fetch + `); });`
	}
	for _, tc := range []struct{ name, script, at, options string }{
		{"shell", shell, "/sw.js", `{}`},
		{"shell of a folder", shell, "/app/sw.js", `{}`},
		{"shell of a wider scope", shell, "/js/sw.js", `{scope: "/"}`},
		{"fetch of the request", passing(`fetch(e.request)`), "/sw.js", `{}`},
		{"navigation preload", passing(`e.preloadResponse.then((r) => r || fetch(e.request))`), "/sw.js", `{}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newHarness(t, func(cfg string) string { return cfg + "    root_service_worker: true\n" })
			s.page("/app/page", "<h1>A page of the tool</h1>")
			s.tool.file(tc.at, "text/javascript", tc.script, "Service-Worker-Allowed", "/")
			b := newBrowser(t, home)
			b.hostile = true
			call(b, page.Enable, page.EnableParams{})
			call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
				Source: `navigator.serviceWorker && navigator.serviceWorker.addEventListener("controllerchange", () => { window.changed = true; })`})
			b.enrol(s.ticket(alice.Email), alice.Sub)
			b.open(s.treasury + "/app/page")
			b.shows("A page of the tool")
			if got := eval[string](b, `navigator.serviceWorker.register(`+quote(tc.at)+`, `+tc.options+`).then(() => new Promise((done) => navigator.serviceWorker.controller ? done() : navigator.serviceWorker.addEventListener("controllerchange", done))).then(() => caches.open("work")).then((c) => c.put("/work", new Response("kept"))).then(() => "registered", (e) => String(e))`); got != "registered" {
				t.Fatal(got)
			}
			b.open(s.treasury + "/app/page")
			first := "A page of the tool"
			if strings.HasPrefix(tc.name, "shell") {
				first = "The shell"
			}
			b.shows(first)

			s.run("session", "revoke", "--user", alice.Email)
			b.open(s.treasury + "/app/page?a=1#deep")
			atSignIn := `document.querySelector('[data-action="sign-in"]')`
			if !eval[bool](b, "!!"+atSignIn) {
				b.until("window.changed") // the browser asks for the script after the page
				call(b, page.Reload, page.ReloadParams{})
			}
			b.until(atSignIn)
			b.signIn(alice.Sub)
			b.act("verify")
			b.until(`location.href === ` + quote(s.treasury+"/app/page?a=1#deep") + ` && document.body.innerText.includes("A page of the tool")`)
			if got := eval[string](b, `caches.match("/work").then((r) => r ? r.text() : "gone")`); got != "kept" {
				t.Errorf("what the tool had stored is %s", got)
			}
			// Its worker is back as soon as the browser has got its script. Nothing tells when that is.
			for range 30 {
				b.open(s.treasury + "/app/page")
				b.until("document.readyState === 'complete'")
				if strings.Contains(b.text(), first) {
					return
				}
			}
			t.Errorf("without its worker, the tool shows %s", b.text())
		})
	}
}

// TestWorkerThatLeavesOurPagesAlone: a rule asks for one path only, so that the worker's script gets through and stays. A worker that
// answers every page but ours from its cache lets the tool's script lead people to the question, and they come back to
// a fresh session. With one that answers ours too, they do not get there: see proxy/README.md.
func TestWorkerThatLeavesOurPagesAlone(t *testing.T) {
	t.Parallel()
	s := newHarness(t, withPolicy(t, `
version: 1
rules:
  - {name: approvals, when: 'request.path == "/approve" && ip.vpn', then: step_up, max_age: 15m, reason: approving from a VPN}
`))
	s.tool.file("/sw.js", "text/javascript", strings.Replace(shell, `e.request.mode === "navigate"`, `e.request.mode === "navigate" && !new URL(e.request.url).pathname.startsWith("/.sallyport/")`, 1))
	s.tool.file("/approve", "application/json", `{"ok":true}`)
	b := newBrowser(t, home)
	b.hostile = true
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of")
	eval[bool](b, `navigator.serviceWorker.register("/sw.js").then(() => new Promise((done) => navigator.serviceWorker.controller ? done() : navigator.serviceWorker.addEventListener("controllerchange", done))).then(() => true)`)

	b.from(vpnExit)
	b.open(s.treasury + "/form")
	b.shows("The shell")
	const approve = `fetch("/approve").then((r) => r.json()).then((a) => a.error || "approved")`
	if got := eval[string](b, approve); got != "insufficient_user_authentication" {
		t.Fatalf("before the question, the tool's script is told %s", got)
	}
	eval[bool](b, `(setTimeout(() => location.assign("/.sallyport/step-up?return_to=" + encodeURIComponent(location.pathname))), true)`)
	b.until("location.pathname === '/.sallyport/step-up' && document.readyState === 'complete'")
	b.act("verify")
	b.until("location.href === " + quote(s.treasury+"/form"))
	b.shows("The shell")
	if got := eval[string](b, approve); got != "approved" {
		t.Errorf("after it, the tool's script is told %s", got)
	}
}

// TestModuleWorkerIsToldNo: browsers send no cookies for the script of a worker that is a module, so it cannot be had
// behind a sign-in. The page that asks for it reads that, instead of getting a worker that does nothing.
func TestModuleWorkerIsToldNo(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	s.tool.file("/sw.js", "text/javascript", shell)
	b := newBrowser(t, home)
	b.hostile = true
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of")
	if got := eval[string](b, `navigator.serviceWorker.register("/sw.js", {type: "module"}).then(() => "registered", (e) => e.name)`); got != "TypeError" {
		t.Errorf("a module: %s", got)
	}
}

// TestPageOfTheBrowsersCache: a tool that has its pages kept for a year. One reload, and the person is at the sign-in.
func TestPageOfTheBrowsersCache(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	s.tool.page("/kept", "<h1>Kept</h1>", "Cache-Control", "max-age=31536000, immutable")
	b := newBrowser(t, home)
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/kept")
	b.shows("Kept")
	b.open(s.treasury + "/")
	b.shows("Treasury of")
	s.run("session", "revoke", "--user", alice.Email)
	b.signedOut()
	eval[bool](b, `(location.assign("/kept"), true)`)
	b.shows("Kept")
	call(b, page.Reload, page.ReloadParams{})
	b.shows("Sign in")
	b.signIn(alice.Sub)
	b.act("verify")
	b.until(`location.href === ` + quote(s.treasury+"/kept") + ` && document.body.innerText.includes("Kept")`)
}
