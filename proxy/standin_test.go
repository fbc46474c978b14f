package proxy_test

import (
	"net/http"
	"strings"
	"testing"
)

// script asks for the script of a service worker as a browser does.
func (b *browser) script(to string, edit ...func(*http.Request)) answer {
	b.Helper()
	r := b.request("GET", to, "")
	for name, value := range map[string]string{"Service-Worker": "script", "Accept": "*/*", "Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "serviceworker"} {
		r.Header.Set(name, value)
	}
	for _, e := range edit {
		e(r)
	}
	return b.do(r)
}

// A person who does not get through gets a worker that does nothing in the place of the tool's.
func TestWorkerOfAToolStandsDown(t *testing.T) {
	g := newHarness(t)
	alice := g.enrolled("alice", home)
	alice.follow(treasury + "/")
	stood := func(a answer) bool {
		return a.StatusCode == 200 && a.Header.Get("Service-Worker-Allowed") == "/" && strings.HasPrefix(a.Header.Get("Content-Type"), "text/javascript") &&
			a.Header.Get("Cache-Control") == "no-store" && strings.Contains(a.body, "skipWaiting") && !strings.Contains(a.body, "respondWith")
	}
	if a := alice.script(treasury + "/sw.js"); a.body != "the tool" {
		t.Errorf("with a session: %d %s", a.StatusCode, a.body)
	}
	g.tool.requests()
	g.audit.reset()
	for name, tc := range map[string]struct {
		b     *browser
		path  string
		event string
	}{
		"a stranger":     {g.browser(home), "/sw.js", ""},
		"a folder":       {g.browser(home), "/app/js/sw.js?v=7", ""},
		"a step-up":      {alice.clone(vpn), "/sw.js", "access"},
		"a block":        {alice.clone(hosting), "/sw.js", "access"},
		"a rule of path": {alice, "/admin/sw.js", "access"},
	} {
		if a := tc.b.script(treasury + tc.path); !stood(a) {
			t.Errorf("%s: %d %v %s", name, a.StatusCode, a.Header, a.body)
		}
		if got := strings.Join(g.audit.events(), " "); got != tc.event {
			t.Errorf("%s: recorded %q, want %q", name, got, tc.event)
		}
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("%d requests reached the tool", n)
	}
	// A session ends the stand-in's time at the next update check.
	if a := alice.script(treasury + "/sw.js"); a.body != "the tool" {
		t.Errorf("with a session again: %d %s", a.StatusCode, a.body)
	}
}

// What takes a 200 for a yes, or is no browser, is told no.
func TestAttackStandInIsNoYes(t *testing.T) {
	g := newHarness(t)
	stranger := g.browser(home)
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, edit := range map[string]func(*http.Request){
		"nginx auth_request":     set("X-Original-URI", "/sw.js"),
		"another one":            set("X-Original-URL", "/sw.js"),
		"its method":             set("X-Original-Method", "GET"),
		"Traefik, Caddy":         set("X-Forwarded-Uri", "/sw.js"),
		"their method":           set("X-Forwarded-Method", "GET"),
		"a page":                 set("Sec-Fetch-Dest", "document"),
		"without Fetch metadata": func(r *http.Request) { r.Header.Del("Sec-Fetch-Dest") },
		"another value":          set("Service-Worker", "no"),
		"two values":             func(r *http.Request) { r.Header.Add("Service-Worker", "script") },
		"a page that registers a module, for which browsers send no cookies": set("Referer", treasury+"/"),
		"a POST": func(r *http.Request) { r.Method = "POST" },
	} {
		if a := stranger.script(treasury+"/sw.js", edit); a.StatusCode < 300 {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	// A failure of our own is no reason to take a tool's worker away, which may have a page for it.
	g.audit.fail("*")
	if a := g.browser(hosting).script(treasury + "/sw.js"); a.StatusCode != 503 {
		t.Errorf("without the audit log: %d", a.StatusCode)
	}
}
