package proxy_test

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy/ipintel"
	"sallyport/proxy"
	"sallyport/proxy/portal"
)

// atHandoff is a person's browser at a hand-off page for the treasury.
func (b *browser) atHandoff(to string) answer {
	b.Helper()
	for range 5 {
		a := b.get(to)
		if strings.Contains(a.body, "data-handoff=") || a.location() == "" {
			return a
		}
		to = absolute(a.at, a.location())
	}
	b.Fatalf("no hand-off at %s", to)
	return answer{}
}

// refusals are the reasons of refused hand-offs since the last call, "!" behind those of high risk.
func (l *auditLog) refusals() (why []string) {
	for _, r := range l.take() {
		if r.Event == "handoff_refused" {
			why = append(why, r.Detail["reason"]+map[string]string{"high": "!"}[r.Detail["risk"]])
		}
	}
	return why
}

// A code works once, in the browser that began, on its host, from its network.
func TestStolenHandoffCodeIsRefusedAndRecorded(t *testing.T) {
	g := newHarness(t)
	alice := g.browser(home).enroll("alice")
	mallory := g.browser(home)
	mallory.get(treasury + "/") // has a nonce of their own
	g.audit.reset()
	const callback = "/.sallyport/callback"
	for name, c := range map[string]struct {
		show func(code string) answer
		why  string
		owes bool // its owner still gets in
	}{
		"another browser":                    {func(code string) answer { return mallory.show(treasury+callback, code) }, "other_browser!", false},
		"an attacker's machine":              {func(code string) answer { return g.browser(cafe).show(treasury+callback, code) }, "other_network!", false},
		"the cookies, on another network":    {func(code string) answer { return alice.clone(cafe).show(treasury+callback, code) }, "other_network!", false},
		"another tool":                       {func(code string) answer { return alice.show(wiki+callback, code) }, "other_host!", false},
		"a made-up code":                     {func(string) answer { return alice.show(treasury+callback, "x") }, "unknown_code", true},
		"a browser here that lost its nonce": {func(code string) answer { return g.browser(home).show(treasury+callback, code) }, "no_nonce", true},
	} {
		code, _ := alice.code(treasury + "/")
		g.audit.reset()
		a := c.show(code)
		if restart := c.why == "no_nonce"; !restart && a.StatusCode != 400 || restart && !strings.Contains(a.body, "again=1") {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
		for _, k := range a.Cookies() {
			t.Errorf("%s: sets %s", name, k)
		}
		if got := g.audit.refusals(); !slices.Equal(got, []string{c.why}) {
			t.Errorf("%s: recorded as %q, want %q", name, got, c.why)
		}
		if a := alice.show(treasury+callback, code); (a.StatusCode == 200 && alice.session(treasury) != "") != c.owes {
			t.Errorf("%s: and then its owner gets %d %s", name, a.StatusCode, a.body)
		}
		delete(alice.cookies["treasury.example.test"], g.sessions.CookieName())
	}
	code, _ := alice.code(treasury + "/")
	g.audit.fail("handoff")
	if a := alice.show(treasury+callback, code); a.StatusCode != 503 || alice.session(treasury) != "" {
		t.Errorf("a hand-off that cannot be recorded: %d", a.StatusCode)
	}
}

// The alarm about a code concerns its owner, not the person that shows it, and each code is another one.
func TestLeakedHandoffCodeNamesItsOwner(t *testing.T) {
	g := newHarness(t)
	alice := g.browser(home).enroll("alice")
	mallory := g.browser(home)
	mallory.get(treasury + "/") // has a nonce of their own
	codes := map[string]bool{}
	for range 2 {
		code, _ := alice.code(treasury + "/")
		for range 2 {
			g.audit.reset()
			mallory.show(treasury+"/.sallyport/callback", code)
			recs := g.audit.take()
			if len(recs) != 1 || recs[0].User != "" || recs[0].Detail["owner"] != "alice@example.test" || recs[0].Detail["handoff"] == "" || strings.Contains(code, recs[0].Detail["handoff"]) {
				t.Fatalf("recorded %s", jsonText(recs))
			}
			codes[recs[0].Detail["handoff"]] = true
		}
	}
	if len(codes) != 2 {
		t.Errorf("two codes have the names %v", codes)
	}
}

// "That was not me" is an alarm of a verified session. A thief who has the password alone can post it
// as often as they like, and that is none.
func TestAttackPasswordAloneRaisesNoAlarmOfThePerson(t *testing.T) {
	g := newHarness(t)
	alice := g.browser(home).enroll("alice")
	thief := g.browser(cafe)
	thief.signIn(treasury+"/", "alice")
	begun, err := url.Parse(thief.get(treasury + "/").location())
	g.must(err)
	for who, c := range map[string]struct {
		b    *browser
		want string
	}{"the person": {alice, "not_me!"}, "a thief": {thief, "not_me"}} {
		g.audit.reset()
		a := c.b.submit(login+"/.sallyport/handoff/not-me", url.Values{"return_to": {treasury + "/"}, "bind": {begun.Query().Get("bind")}})
		if got := g.audit.refusals(); a.StatusCode != 200 || !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: %d, recorded as %q, want %q", who, a.StatusCode, got, c.want)
		}
	}
}

// An attacker's own bind, opened in the victim's browser, leads to a code that only the
// attacker's browser could use, which never sees it.
func TestHandoffForTheAttackersOwnNonce(t *testing.T) {
	g := newHarness(t)
	victim := g.enrolled("alice", home)
	for name, addr := range map[string]string{"on the victim's network": home, "from elsewhere": cafe} {
		attacker := g.browser(addr)
		begun := attacker.get(treasury + "/").location()
		g.audit.reset()
		page := victim.atHandoff(begun)
		f := page.handoff(victim)
		if page.isHandoff() != (addr == home) {
			t.Errorf("%s: the victim is asked: %t", name, !page.isHandoff())
		}
		made, _ := victim.makeCode(f, false)
		if (made.Code != "") != (addr == home) {
			t.Errorf("%s: a code without being asked: %t", name, made.Code != "")
		}
		made, _ = victim.makeCode(f, true) // the victim says yes, and their page delivers it
		if a := victim.show(f.to, made.Code); a.StatusCode != 400 {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
		if got := g.audit.refusals(); !slices.Equal(got, []string{"other_browser!"}) {
			t.Errorf("%s: %q", name, got)
		}
		if a := attacker.show(f.to, made.Code); a.StatusCode != 400 || attacker.session(treasury) != "" {
			t.Errorf("%s: and the attacker gets %d", name, a.StatusCode)
		}
	}
}

// Only a top-level document gets the page, and only our own page gets a code.
func TestHandoffIsOnlyForOurOwnTopLevelPage(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home).enroll("alice")
	page := b.atHandoff(treasury + "/")
	f := page.handoff(b)
	csp := page.Header.Get("Content-Security-Policy")
	if page.Header.Get("Referrer-Policy") != "strict-origin" || page.Header.Get("X-Frame-Options") != "DENY" || page.Header.Get("Origin-Agent-Cluster") != "?1" ||
		page.Header.Get("Cache-Control") != "no-store" || !strings.Contains(csp, "connect-src 'self' "+treasury+";") || !strings.Contains(csp, "form-action 'self' "+treasury+";") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("headers %v", page.Header)
	}
	for _, dest := range []string{"iframe", "frame", "object", "embed", "empty", ""} {
		r := b.request("GET", page.at, "")
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", dest)
		if a := b.do(r); a.StatusCode != 403 || strings.Contains(a.body, "data-handoff") {
			t.Errorf("destination %q: %d", dest, a.StatusCode)
		}
	}
	for name, header := range map[string]map[string]string{
		"a script of the tool": {"Sec-Fetch-Site": "same-site", "Origin": treasury}, "another site": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"},
		"a sandboxed frame": {"Sec-Fetch-Site": "cross-site", "Origin": "null"}, "a form": {"Sec-Fetch-Site": "same-origin", "Content-Type": "text/plain"},
	} {
		r := b.request("POST", f.make, `{"return_to":"`+f.returnTo+`","bind":"`+f.bind+`","confirmed":true}`)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", login)
		for k, v := range header {
			r.Header.Set(k, v)
		}
		if a := b.do(r); a.StatusCode < 400 || strings.Contains(a.body, `"code"`) {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	code, _ := b.code(treasury + "/")
	for name, origin := range map[string]string{"the tool itself": treasury, "another tool": wiki, "another site": "https://evil.test", "no origin": "", "a sandboxed frame": "null", "a look-alike": login + ".evil.test"} {
		a := b.show(f.to, code, func(r *http.Request) { r.Header.Set("Origin", origin) })
		if a.StatusCode != 403 || a.Header.Get("Access-Control-Allow-Origin") != "" || len(a.Cookies()) != 0 {
			t.Errorf("shown by %s: %d %v", name, a.StatusCode, a.Header)
		}
	}
	a := b.show(f.to, code)
	if a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Origin") != login || a.Header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("shown by the sign-in host: %d %v", a.StatusCode, a.Header)
	}
	for _, to := range []string{page.at, f.make, f.to, a.body} {
		if strings.Contains(to, code) {
			t.Errorf("the code is in %s", to)
		}
	}
	old := b.get(treasury + "/.sallyport/callback?handoff=" + strings.Repeat("A", 43))
	if old.StatusCode != 400 || !strings.Contains(old.body, "does not work any more") {
		t.Errorf("an address of before: %d", old.StatusCode)
	}
}

// A bind that no host of ours has sealed, or that is another host's, gets no code.
func TestForgedBindGetsNoCode(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home).enroll("alice")
	f := b.atHandoff(treasury + "/").handoff(b)
	other := "A"
	if f.bind[0] == 'A' { // one in 64 begins so
		other = "B"
	}
	for name, forged := range map[string]string{"made up": strings.Repeat("A", 43), "changed": other + f.bind[1:], "cut": f.bind[:len(f.bind)-1]} {
		if a := b.get(login + "/.sallyport/handoff?" + url.Values{"return_to": {f.returnTo}, "bind": {forged}}.Encode()); a.StatusCode != 400 {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
		if made, a := b.makeCode(handoffForm{make: f.make, returnTo: f.returnTo, bind: forged}, true); made.Code != "" || a.StatusCode != 400 {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	if made, a := b.makeCode(handoffForm{make: f.make, returnTo: wiki + "/wiki", bind: f.bind}, true); made.Code != "" || a.StatusCode != 400 {
		t.Errorf("another tool's: %d %s", a.StatusCode, a.body)
	}
	// A tab that was left open begins again by itself.
	g.clock.Add(16 * time.Minute)
	if made, _ := b.makeCode(f, false); made.Code != "" || made.Next != f.returnTo {
		t.Errorf("an old one: %+v", made)
	}
}

// carriers gives two addresses to one provider, and one to another.
func carriers(t *testing.T) func(*setup) {
	file := filepath.Join(t.TempDir(), "carriers.csv")
	if err := os.WriteFile(file, []byte("network,country,asn,org\n203.0.113.0/25,CH,3303,Line\n2001:db8:1::/48,CH,3303,Line\n203.0.113.128/25,KP,131279,Star\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, epoch, epoch.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	return func(p *setup) {
		p.intel.Lists = append(p.intel.Lists, ipintel.List{Name: "carriers", File: file, Format: "csv", Stated: true})
	}
}

// One line has an IPv4 and an IPv6 address: that is no one's business. Where the tool was
// opened somewhere else, the person is asked, policies are, and both are recorded.
func TestHandoffBegunOnAnotherNetwork(t *testing.T) {
	g := newHarness(t, carriers(t))
	b := g.browser(home).enroll("alice")
	begin := func(addr string) answer {
		b.addr = addr
		to := b.get(treasury + "/").location()
		b.addr = home
		g.audit.reset()
		return b.atHandoff(to)
	}
	for _, near := range []string{home, homeIPv6, cafe} {
		page := begin(near)
		if !page.isHandoff() || len(g.audit.take()) != 0 {
			t.Errorf("from %s: %s", near, page.body)
		}
		made, _ := b.makeCode(page.handoff(b), false)
		b.addr = near
		if a := b.show(page.handoff(b).to, made.Code); a.StatusCode != 200 {
			t.Errorf("from %s: %d %s", near, a.StatusCode, a.body)
		}
		b.addr = home
		delete(b.cookies["treasury.example.test"], g.sessions.CookieName())
	}
	const far = "203.0.113.200"
	page := begin(far)
	if page.isHandoff() || !strings.Contains(page.body, `data-country="KP"`) || !strings.Contains(page.body, "Star") || !strings.Contains(page.body, `data-country="CH"`) || !strings.Contains(page.body, "That was not me") {
		t.Fatalf("%s", page.body)
	}
	f := page.handoff(b)
	if made, _ := b.makeCode(f, false); made.Code != "" || !strings.Contains(made.Next, "/.sallyport/handoff?") {
		t.Errorf("a code before anybody said yes: %+v", made)
	}
	if made, _ := b.makeCode(f, true); made.Code == "" {
		t.Error("no code after a yes")
	}
	recs := g.audit.take()
	if len(recs) != 2 || recs[0].Event != "handoff_asked" || recs[1].Event != "handoff_confirmed" || recs[1].Detail["began_ip"] != far || recs[1].Detail["began_country"] != "KP" || recs[1].Detail["began_asn"] != "131279" {
		t.Errorf("recorded %s", jsonText(recs))
	}
	if h := recs[1].Facts.Handoff; !h.Known || h.Host != "treasury.example.test" || h.Country != "KP" || h.ASN != 131279 || h.SameNetwork || h.SameProvider {
		t.Errorf("facts %+v", h)
	}
	if a := b.submit(login+"/.sallyport/handoff/not-me", url.Values{"return_to": {f.returnTo}, "bind": {f.bind}}); a.StatusCode != 200 || !strings.Contains(a.body, "No one was let in") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if got := g.audit.refusals(); !slices.Equal(got, []string{"not_me!"}) {
		t.Errorf("%q", got)
	}
	g.use(testPolicy + `  - {name: begun-elsewhere, when: 'handoff.known && !handoff.same_provider && handoff.country == "KP"', then: block}` + "\n")
	if a := b.get(page.at); a.StatusCode != 403 {
		t.Errorf("a policy that forbids it: %d", a.StatusCode)
	}
	if made, a := b.makeCode(f, true); made.Code != "" || a.StatusCode != 403 {
		t.Errorf("a policy that forbids it: %d %s", a.StatusCode, a.body)
	}
	if got := g.audit.refusals(); !slices.Equal(got, []string{"policy", "policy"}) {
		t.Errorf("%q", got)
	}
}

// loseNonces drops the cookies that bind hand-offs to the browser.
func (b *browser) loseNonces(host string) {
	maps.DeleteFunc(b.cookies[host], func(name string, _ string) bool { return strings.HasPrefix(name, b.sessions.HandoffCookiePrefix()) })
}

// A browser that keeps no cookies is sent round once, and is then told.
func TestLostNonceStartsAgainOnce(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home).enroll("alice")
	to := treasury + "/books?q=1"
	for round := range 2 {
		code, f := b.code(to)
		b.loseNonces("treasury.example.test")
		a := b.show(f.to, code)
		if round == 1 {
			if a.StatusCode != 400 || !strings.Contains(a.body, "did not keep a cookie") {
				t.Errorf("the second time: %d %s", a.StatusCode, a.body)
			}
			return
		}
		var done handoffAnswer
		g.must(jsonInto(a.body, &done))
		if want := treasury + "/.sallyport/sign-in?again=1&return_to=" + url.QueryEscape(to); done.Next != want {
			t.Fatalf("leads to %q, want %q", done.Next, want)
		}
		to = done.Next
	}
}

// A tab whose hand-off is lost twice while the browser has a session here by now, through another tab, goes
// on. It does not where that session may be planted: the gate would send it back, for ever.
func TestLostHandoffGoesOnWithALiveSession(t *testing.T) {
	const chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
	const to = treasury + "/books?q=1"
	lose := func(_ *harness, b *browser) { b.loseNonces("treasury.example.test") }
	for name, c := range map[string]struct {
		lose  func(g *harness, b *browser)
		alive bool
		agent string
		goes  bool
	}{
		"no nonce":             {lose, true, "", true},
		"too late":             {func(g *harness, b *browser) { g.clock.Add(61 * time.Second) }, true, "", true},
		"no nonce, no session": {lose, false, "", false},
		"no nonce, planted":    {lose, true, chrome, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newHarness(t)
			b := g.enrolled("alice", home)
			if !c.alive {
				delete(b.cookies["treasury.example.test"], g.sessions.CookieName())
			}
			if c.agent != "" {
				b.agent = c.agent
			}
			at := treasury + "/.sallyport/sign-in?" + url.Values{"return_to": {to}}.Encode()
			for round := range 2 {
				code, f := b.code(at)
				c.lose(g, b)
				a := b.show(f.to, code)
				var done handoffAnswer
				_ = jsonInto(a.body, &done)
				switch {
				case round == 0 && !strings.Contains(done.Next, "again=1"):
					t.Fatalf("the first time: %d %s", a.StatusCode, a.body)
				case round == 1 && c.goes && done.Next != to:
					t.Errorf("the second time: %d %s", a.StatusCode, a.body)
				case round == 1 && !c.goes && a.StatusCode != 400:
					t.Errorf("the second time: %d %s", a.StatusCode, a.body)
				}
				at = done.Next
			}
		})
	}
}

// A page that posts twice, or is shown again, gets where it was going.
func TestHandoffTwiceFromItsOwner(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home).enroll("alice")
	code, f := b.code(treasury + "/books")
	for range 2 {
		if a := b.show(f.to, code); a.StatusCode != 200 || !strings.Contains(a.body, treasury+"/books") {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
	if got := g.audit.refusals(); len(got) != 0 {
		t.Errorf("recorded as %q", got)
	}
	// The back button: the page is asked again, and makes another code.
	made, _ := b.makeCode(f, false)
	if made.Code == "" || made.Code == code {
		t.Errorf("%+v", made)
	}
}

// A session that is in another browser than it was handed to may have been planted by a
// script: opening a page goes through the sign-in host, where the person is themselves.
func TestPlantedSessionIsReplaced(t *testing.T) {
	g := newHarness(t)
	mallory := g.enrolled("bob", home)
	victim := g.enrolled("alice", home)
	victim.agent = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15"
	name := g.sessions.CookieName()
	victim.cookies["treasury.example.test"][name] = mallory.session(treasury)
	g.clock.Add(2 * time.Minute)
	a := victim.get(treasury + "/")
	if a.StatusCode != 302 || !strings.HasPrefix(a.location(), login+"/.sallyport/sign-in?") {
		t.Fatalf("%d %q", a.StatusCode, a.location())
	}
	g.tool.requests()
	if a := victim.follow(treasury + "/"); a.StatusCode != 200 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if got := g.tool.requests(); len(got) != 1 || got[0].Header.Get("X-Sallyport-User") != "alice@example.test" {
		t.Errorf("the tool saw %v", got)
	}
	g.clock.Add(2 * time.Minute)
	if a := victim.get(treasury + "/"); a.StatusCode != 200 {
		t.Errorf("it goes round in circles: %d %q", a.StatusCode, a.location())
	}
	// What was handed over a moment ago is left alone, regardless of what the browser calls itself now.
	victim.follow(wiki + "/wiki")
	victim.agent = "Mozilla/5.0 (X11; Linux x86_64)"
	victim.follow(treasury + "/")
	victim.agent = "curl/8"
	if a := victim.get(treasury + "/"); a.StatusCode != 200 {
		t.Errorf("%d %q", a.StatusCode, a.location())
	}
}

// Where a form brings the code, a service worker over the whole host could read it.
func TestServiceWorkerOverTheHandoff(t *testing.T) {
	script := func(b *browser, path string) answer {
		r := b.request("GET", treasury+path, "")
		r.Header.Set("Service-Worker", "script")
		r.Header.Set("Sec-Fetch-Mode", "same-origin")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Sec-Fetch-Dest", "serviceworker")
		return b.do(r)
	}
	g := newHarness(t)
	b := g.enrolled("alice", home)
	if a := script(b, "/sw.js"); a.StatusCode != 200 {
		t.Errorf("of the same site: %d", a.StatusCode)
	}
	g.restart(func(_ *proxy.Config, c *portal.Config) { c.HandoffByPost = true })
	for path, want := range map[string]int{"/sw.js": 403, "/": 403, "/sw.js?v=1": 403, "/app/sw.js": 200, "/app/": 200} {
		if a := script(b, path); a.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, a.StatusCode, want)
		}
	}
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot {
		s.Options = map[string]proxy.RouteOptions{"treasury": {RootWorkers: true}}
		return s
	})
	if a := script(b, "/sw.js"); a.StatusCode != 200 {
		t.Errorf("where the configuration allows it: %d", a.StatusCode)
	}
	// Then, and only then, the tool may widen the scope of a script in a folder.
	g.tool.answer = func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Service-Worker-Allowed": {"/"}, "Service_worker_allowed": {"/"}}, Body: http.NoBody, Request: r}, nil
	}
	if a := script(b, "/js/sw.js"); a.Header.Get("Service-Worker-Allowed") != "/" || a.Header["Service_worker_allowed"] != nil {
		t.Errorf("allowed: %v", a.Header)
	}
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Options = nil; return s })
	if a := script(b, "/js/sw.js"); a.Header.Get("Service-Worker-Allowed") != "" {
		t.Errorf("not allowed: %v", a.Header)
	}
}

// All that we answer ourselves, on every host, cannot be framed, sniffed or opened by others.
func TestEveryAnswerOfOursHasTheSecurityHeaders(t *testing.T) {
	g := newHarness(t)
	stranger, b := g.browser(home), g.enrolled("alice", home)
	blocked := g.browser(hosting)
	plain := stranger.request("GET", treasury+"/a%2f..%2fb", "")
	wrong := stranger.request("GET", "https://nobody.example.test/", "")
	answers := map[string]answer{
		"a stranger's page": stranger.get(treasury + "/"), "a stranger's call": stranger.do(stranger.request("GET", treasury+"/", "")), "blocked": blocked.get(treasury + "/"),
		"the start page": b.get(login + "/"), "an ambiguous path": stranger.do(plain), "an unknown host": stranger.do(wrong), "sign-out": b.get(treasury + "/.sallyport/sign-out"),
		"whoami": b.get(treasury + "/.sallyport/whoami"), "a step-up": b.clone(vpn).get(treasury + "/"), "an old link": b.get(treasury + "/.sallyport/callback?handoff=x"),
		"a code by a stranger": stranger.show(treasury+"/.sallyport/callback", "x"), "a preflight": stranger.do(stranger.request("OPTIONS", login+"/.sallyport/handoff", "")),
		"logout by a stranger": stranger.do(stranger.request("POST", login+"/.sallyport/backchannel-logout", "")),
	}
	for name, a := range answers {
		opener := "same-origin"
		if a.location() != "" && name != "the start page" {
			opener = "unsafe-none" // see TestWindowOfATool
		}
		for header, want := range map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": opener} {
			if got := a.Header.Get(header); got != want {
				t.Errorf("%s (%d): %s is %q", name, a.StatusCode, header, got)
			}
		}
		if !strings.Contains(a.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s (%d) can be framed", name, a.StatusCode)
		}
	}
	if a := b.get(treasury + "/"); a.StatusCode != 200 || a.Header.Get("Permissions-Policy") != "" || a.Header.Get("Referrer-Policy") != "" {
		t.Errorf("a tool's own answer was changed: %d %v", a.StatusCode, a.Header)
	}
}
