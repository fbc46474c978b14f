package proxy_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn/authntest"
	"sallyport/authn/session"
	"sallyport/authn/signin"
	"sallyport/proxy"
	"sallyport/proxy/portal"
	"sallyport/proxy/proxytest"
)

// toProvider goes as far as the provider's door and returns the answer that leads
// there.
func (b *browser) toProvider(returnTo string) answer {
	b.Helper()
	a := b.get(login + "/.sallyport/sign-in?go=1&return_to=" + url.QueryEscape(returnTo))
	if !strings.HasPrefix(a.location(), b.idp.Issuer()) {
		b.Fatalf("%d %q %s", a.StatusCode, a.location(), a.body)
	}
	return a
}

// A cookie that was there before is never the session that comes out, and is
// worth nothing afterwards.
func TestAttackSessionFixation(t *testing.T) {
	g := newHarness(t)
	attacker := g.browser(home).enroll("bob")
	planted := attacker.session(login)

	victim := g.browser(home)
	victim.key = g.enrolledKey("carol")
	victim.cookies["login.example.test"] = map[string]string{g.sessions.CookieName(): planted}
	back := victim.provider(victim.submitSignIn(), "carol")
	seen := map[string]bool{planted: true}
	page := victim.follow(back)
	after := victim.session(login)
	if seen[after] {
		t.Fatal("signing in kept the planted cookie")
	}
	seen[after] = true
	victim.pressAndGo(page)
	if seen[victim.session(login)] {
		t.Fatal("verifying kept the cookie")
	}
	// The planted one is dead, and so is the one from between sign-in and passkey.
	for _, old := range []string{planted, after} {
		thief := g.browser(home)
		thief.cookies["login.example.test"] = map[string]string{g.sessions.CookieName(): old}
		if a := thief.fetch("GET", login+"/.sallyport/whoami", nil); a.StatusCode != 401 {
			t.Errorf("an old cookie got %d %s", a.StatusCode, a.body)
		}
	}
}

// submitSignIn goes to the provider although a person is signed in already.
func (b *browser) submitSignIn() answer {
	b.Helper()
	kept := b.cookies["login.example.test"]
	b.cookies["login.example.test"] = map[string]string{}
	a := b.toProvider(login + "/.sallyport/account")
	for name, value := range kept {
		b.cookies["login.example.test"][name] = value
	}
	return a
}

// enrolledKey enrols a person in another browser and returns their authenticator.
func (g *harness) enrolledKey(sub string) *authntest.Authenticator {
	g.Helper()
	return g.browser(home).enroll(sub).key
}

// Signing out ends the session on all hosts, and takes a confirmation on the sign-in host:
// a tool's host only leads there.
func TestSignOutEndsEverythingAfterAConfirmation(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	thief := b.clone(home)
	for _, host := range []string{treasury, wiki} {
		for name, a := range map[string]answer{"a link": b.get(host + "/.sallyport/sign-out"), "a form of the tool": b.submit(host+"/.sallyport/sign-out", nil),
			"a fetch of the tool": b.fetch("POST", host+"/.sallyport/sign-out", nil)} {
			if a.StatusCode != 303 || a.location() != login+"/.sallyport/sign-out" || len(a.Cookies()) != 0 {
				t.Errorf("%s, %s: %d %q", host, name, a.StatusCode, a.location())
			}
		}
	}
	// What a tool's page makes a browser post to the sign-in host is refused.
	for _, site := range []string{"same-site", "cross-site"} {
		r := b.request("POST", login+"/.sallyport/sign-out", "")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", treasury)
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Site", site)
		if a := b.do(r); a.StatusCode != 403 {
			t.Errorf("%s: %d", site, a.StatusCode)
		}
	}
	if a := b.follow(treasury + "/.sallyport/sign-out"); a.StatusCode != 200 || !strings.Contains(a.body, `data-action="sign-out"`) {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if a := b.get(treasury + "/"); a.StatusCode != 200 {
		t.Fatal("looking at the page signed out")
	}
	g.audit.reset()
	// What was posted is answered with a GET, which the back button and a reload repeat.
	if a := b.submit(login+"/.sallyport/sign-out", nil); a.StatusCode != 303 || a.location() != "/.sallyport/sign-out" {
		t.Fatalf("%d %s", a.StatusCode, a.location())
	}
	const there = "Sign out of your company account too"
	for range 2 {
		if a := b.get(login + "/.sallyport/sign-out"); !strings.Contains(a.body, "You are signed out") || !strings.Contains(a.body, there) || !strings.Contains(a.body, "id_token_hint=") || !strings.Contains(a.body, "logout_hint=alice") {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	if a := b.get(login + "/.sallyport/sign-out?state=signed-out-there"); !strings.Contains(a.body, "You are signed out") || strings.Contains(a.body, there) {
		t.Errorf("back from the provider: %s", a.body)
	}
	if a := b.get(login + "/.sallyport/sign-out"); strings.Contains(a.body, there) {
		t.Errorf("and then: %s", a.body)
	}
	if got := g.audit.events(); !slices.Equal(got, []string{"sign_out"}) {
		t.Errorf("events %q", got)
	}
	if b.session(login) != "" {
		t.Error("the cookie is still there")
	}
	g.tool.requests()
	for _, to := range []string{treasury + "/", wiki + "/wiki", desk + "/app"} {
		if a := thief.do(thief.request("GET", to, "")); a.StatusCode != 401 {
			t.Errorf("after signing out a copied cookie opens %s: %d", to, a.StatusCode)
		}
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("%d requests reached the tool", n)
	}
}

// A provider that still knows the last person signs them in again unasked: after a
// sign-out it is to ask who it is, until a person is signed in.
func TestNextSignInAfterSignOutAsksWho(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	prompt := func() string {
		to, err := url.Parse(b.toProvider(treasury + "/").location())
		if err != nil {
			t.Fatal(err)
		}
		return to.Query().Get("prompt")
	}
	if a := b.submit(login+"/.sallyport/sign-out", nil); a.StatusCode != 303 {
		t.Fatal(a.StatusCode)
	}
	if got := prompt(); got != "select_account" {
		t.Errorf("prompt=%q", got)
	}
	b.get(b.provider(b.toProvider(treasury+"/"), "alice"))
	b.cookies["login.example.test"][g.sessions.CookieName()] = "" // over without a sign-out
	if got := prompt(); got != "" {
		t.Errorf("after a sign-in prompt=%q", got)
	}
}

// A provider that cannot ask which account a sign-in is for refuses it. Without more ado it is asked again without that, once;
// a person who cancels there is asked the next time.
func TestSignInAfterSignOutAtAProviderThatCannotAsk(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	if a := b.submit(login+"/.sallyport/sign-out", nil); a.StatusCode != 303 {
		t.Fatal(a.StatusCode)
	}
	refuses := func(asked answer, code string) answer {
		t.Helper()
		to, err := url.Parse(asked.location())
		if err != nil {
			t.Fatal(err)
		}
		q := url.Values{"error": {code}, "error_description": {"unsupported prompt value requested"}, "state": {to.Query().Get("state")}, "iss": {g.idp.Issuer()}}
		return b.get(login + "/.sallyport/callback?" + q.Encode())
	}
	if a := refuses(b.toProvider(treasury+"/books"), "access_denied"); a.StatusCode != 403 {
		t.Fatalf("cancelled: %d %q", a.StatusCode, a.location())
	}
	asked := b.toProvider(treasury + "/books")
	if !strings.Contains(asked.location(), "prompt=select_account") {
		t.Fatalf("after a cancelled sign-in it goes to %s", asked.location())
	}
	again := refuses(asked, "invalid_request")
	if !strings.HasPrefix(again.location(), g.idp.Issuer()) || strings.Contains(again.location(), "prompt=") {
		t.Fatalf("refused: %d %q %s", again.StatusCode, again.location(), again.body)
	}
	if a := refuses(again, "invalid_request"); a.StatusCode != 403 || !strings.Contains(a.body, "Signing in did not work") {
		t.Errorf("refused without it: %d %q", a.StatusCode, a.location())
	}
	page := b.follow(b.provider(b.toProvider(treasury+"/books"), "alice"))
	if a := b.pressAndGo(page); a.StatusCode != 200 || !strings.HasSuffix(a.at, "/books") {
		t.Errorf("signed in: %d at %s", a.StatusCode, a.at)
	}
}

// resumes is the link of a page whose script leads on to where the tab was going.
var resumes = regexp.MustCompile(`href="([^"]*)"(?: data-action="sign-in")? data-resume="(on|again)"`)

// The back button leads to the provider's answer once more; so does a bookmark of it. Who is
// signed in goes on, and nothing is recorded as failed.
func TestBackToTheCallbackWhileSignedIn(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	b.key = g.enrolledKey("carol")
	back := b.provider(b.toProvider(treasury+"/"), "carol")
	page := b.follow(back)
	for _, c := range [][2]string{{"before the passkey", "step-up"}, {"after it", "account"}} {
		name, level := c[0], c[1]
		if name == "after it" {
			b.pressAndGo(page)
		}
		for _, to := range []string{back, login + "/.sallyport/callback", login + "/.sallyport/callback?state=made-up&code=x", login + "/.sallyport/callback?error=access_denied&state=x"} {
			g.audit.reset()
			on := resumes.FindStringSubmatch(b.get(to).body)
			if on == nil || !strings.HasPrefix(on[1], "/.sallyport/sign-in?") || on[2] != "on" {
				t.Fatalf("%s, %s: %q", name, to, on)
			}
			if a := b.follow(login + html.UnescapeString(on[1])); a.StatusCode != 200 || !strings.Contains(a.at, level) {
				t.Errorf("%s, %s: ends at %s with %d", name, to, a.at, a.StatusCode)
			}
			if got := g.audit.events(); slices.Contains(got, "sign_in_failed") {
				t.Errorf("%s, %s: events %q", name, to, got)
			}
		}
	}
	// Without a session it is a failure, as before.
	if a := g.browser(home).get(back); a.StatusCode != 403 {
		t.Errorf("a stranger: %d", a.StatusCode)
	}
}

// A sign-in that is over, with its cookie or without, gives nothing and begins nothing: the page has its tab begin again, if the tab
// knows of one. What the provider refused is not asked for again.
func TestEndedSignInIsBegunAgainByItsTab(t *testing.T) {
	g := newHarness(t)
	callback := func(b *browser) string { return b.provider(b.toProvider(treasury+"/books?q=1"), "alice") }
	for name, tc := range map[string]struct {
		end  func(b *browser)
		to   func(b *browser, callback string) string
		want bool
	}{
		"its cookie is gone":   {end: func(b *browser) { b.cookies["login.example.test"] = map[string]string{} }, want: true},
		"the server's part is": {end: func(*browser) { g.clock.Add(signin.FlowLifetime + time.Second) }, want: true},
		"the person said no": {to: func(_ *browser, callback string) string {
			return regexp.MustCompile("code=[^&]*").ReplaceAllString(callback, "error=access_denied")
		}},
	} {
		b := g.browser(home)
		to := callback(b)
		if tc.end != nil {
			tc.end(b)
		}
		if tc.to != nil {
			to = tc.to(b, to)
		}
		a := b.get(to)
		on := resumes.FindStringSubmatch(a.body)
		if a.StatusCode != 403 || (on != nil && on[2] == "again") != tc.want || b.session(login) != "" || strings.Contains(a.body, g.idp.Issuer()) {
			t.Errorf("%s: %d %q %s", name, a.StatusCode, on, a.body)
		}
		for _, c := range a.Cookies() {
			if c.Value != "" {
				t.Errorf("%s: sets %s", name, c.Name)
			}
		}
	}
}

// What is odd about a provider's answer is in the record of the sign-in.
func TestSignInRecordHasTheProvidersQuirks(t *testing.T) {
	g := newHarness(t)
	g.idp.Reshape(func(c map[string]any) { delete(c, "groups") })
	b := g.browser(home)
	a := b.toProvider(treasury + "/")
	g.audit.reset()
	b.get(b.provider(a, "alice"))
	if recs := g.audit.take(); len(recs) != 1 || recs[0].Event != "sign_in" || recs[0].Detail["notices"] != signin.NoticeGroupsAbsent {
		t.Errorf("records %s", jsonText(recs))
	}
}

// Revoked by another person, at the next request.
func TestAttackRevokedCookie(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	if n, err := g.sessions.Revoke(t.Context(), session.Filter{Email: "alice@example.test"}); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	r := b.request("GET", treasury+"/", "")
	if a := b.do(r); a.StatusCode != 401 {
		t.Errorf("got %d", a.StatusCode)
	}
}

func TestSessionsEndByThemselves(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	g.clock.Add(proxytest.SessionIdleTimeout + time.Second)
	if a := b.do(b.request("GET", treasury+"/", "")); a.StatusCode != 401 {
		t.Errorf("idle for too long: %d", a.StatusCode)
	}
}

// No one is sent to a host that is not ours, at any step.
func TestAttackReturnTo(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	for _, evil := range []string{
		"//evil.test", "/\\evil.test", "\t//evil.test", "https:evil.test", "https://treasury.example.test.evil.test/", "https://treasury.example.test@evil.test/",
		"https://evil.test/", "/\r\nLocation: https://evil.test", "javascript:alert(1)", "data:text/html,x", "http://treasury.example.test/", "https://treasury.example.test:444/",
		"///evil.test", "https:///evil.test", "/%0d%0a//evil.test\r\n", "https://[::1]/", "treasury.example.test", "https://treasury.example.test//evil.test",
	} {
		q := "?return_to=" + url.QueryEscape(evil)
		for _, page := range []string{login + "/.sallyport/sign-in", login + "/.sallyport/step-up", login + "/.sallyport/enroll", treasury + "/.sallyport/sign-in", treasury + "/.sallyport/step-up"} {
			for _, who := range []*browser{g.browser(home), b} {
				if a := who.get(page + q); a.StatusCode != 400 && !(a.StatusCode == 302 && strings.HasPrefix(a.location(), login+"/") && !strings.Contains(a.location(), "evil")) {
					t.Errorf("%s%s got %d %q", page, q, a.StatusCode, a.location())
				}
			}
		}
		if a := g.browser(home).get(login + "/.sallyport/sign-in" + q + "&go=1"); a.StatusCode != 400 {
			t.Errorf("the provider is asked to come back to %q: %d %q", evil, a.StatusCode, a.location())
		}
		page := b.get(login + "/.sallyport/step-up")
		c := page.ceremony(b)
		c.returnTo = evil
		o, _ := b.begin(c)
		credential, err := b.key.Get(o.Options)
		g.must(err)
		if a := b.finish(c, o, credential); a.StatusCode != 400 {
			t.Errorf("stepping up leads to %q: %d %s", evil, a.StatusCode, a.body)
		}
	}
	for good, want := range map[string]string{
		"/.sallyport/account": login + "/.sallyport/account", treasury + "/x?y=1": treasury + "/x?y=1", "https://TREASURY.example.test:443/": treasury + "/",
	} {
		if a := b.get(login + "/.sallyport/sign-in?return_to=" + url.QueryEscape(good)); a.location() != want {
			t.Errorf("%q leads to %d %q", good, a.StatusCode, a.location())
		}
	}
}

// What the signin package refuses ends at a page, with its reason in the audit
// log, no session, and a way to start again that leads where the person was going.
func TestAttackRefusedSignIns(t *testing.T) {
	for _, c := range []struct {
		fault authntest.IdPFault
		code  string
	}{
		{authntest.FaultAlgNone, signin.CodeTokenAlgorithm},
		{authntest.FaultWrongNonce, signin.CodeTokenNonce},
		{authntest.FaultEmailUnverified, signin.CodeEmailUnverified},
		{authntest.FaultMixUpIss, signin.CodeIssuerParameter},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			g := newHarness(t)
			b := g.browser(home)
			a := b.toProvider(treasury + "/books")
			g.idp.SetFaults(c.fault)
			page := b.get(b.provider(a, "alice"))
			if page.StatusCode != 403 || b.session(login) != "" {
				t.Fatalf("%d, session %q", page.StatusCode, b.session(login))
			}
			recs := g.audit.take()
			// A token with a good signature says which person it was about; a forged one is believed in nothing.
			subject := map[string]string{signin.CodeTokenNonce: "alice", signin.CodeEmailUnverified: "alice"}[c.code]
			if d := recs[0].Detail; d["issuer"] != g.idp.Issuer() || d["subject"] != subject || d["why"] == "" {
				t.Errorf("detail %q, want subject %q", d, subject)
			}
			if len(recs) != 1 || recs[0].Event != "sign_in_failed" || recs[0].Detail["code"] != c.code || !strings.Contains(page.body, recs[0].Incident) {
				t.Errorf("records %s", jsonText(recs))
			}
			if !strings.Contains(page.body, "return_to=https%3A%2F%2Ftreasury.example.test%2Fbooks") {
				t.Errorf("starting again forgets where to go: %s", page.body)
			}
		})
	}
}

// The state is for one browser, and for one time.
func TestAttackStateIsBoundAndSpent(t *testing.T) {
	g := newHarness(t)
	attacker, victim := g.browser(cafe), g.browser(home)
	callback := attacker.provider(attacker.toProvider("/.sallyport/account"), "bob")
	if a := victim.get(callback); a.StatusCode != 403 || victim.session(login) != "" {
		t.Fatalf("an attacker's sign-in, opened by the victim: %d", a.StatusCode)
	}
	if a := attacker.get(callback); a.StatusCode != 302 || attacker.session(login) == "" {
		t.Errorf("what somebody else showed was spent: %d", a.StatusCode)
	}
	callback = victim.provider(victim.toProvider("/.sallyport/account"), "alice")
	if a := victim.get(callback); a.StatusCode != 302 || victim.session(login) == "" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	before := victim.session(login)
	if a := victim.get(callback); a.StatusCode != 200 || !resumes.MatchString(a.body) || len(a.Cookies()) != 0 || victim.session(login) != before {
		t.Errorf("a second time: %d %q", a.StatusCode, a.body)
	}
	thief := g.browser(home)
	thief.cookies["login.example.test"] = map[string]string{}
	if a := thief.get(callback); a.StatusCode != 403 || thief.session(login) != "" {
		t.Errorf("a second time, by another browser: %d", a.StatusCode)
	}
	// Two at once: one session.
	b := g.browser(home)
	callback = b.provider(b.toProvider("/.sallyport/account"), "alice")
	requests := []*http.Request{b.request("GET", callback, ""), b.request("GET", callback, "")}
	won := race(b, requests, func(a answer) bool {
		return slices.ContainsFunc(a.Cookies(), func(c *http.Cookie) bool { return c.Name == g.sessions.CookieName() })
	})
	if won != 1 {
		t.Errorf("%d of two callbacks at once won", won)
	}
}

// A double click at the provider sends the browser back twice. The second, whose browser has not seen the first one's
// answer, goes on where that went. It gets no session, and what comes later or from elsewhere does not get as far.
func TestDoubleCallbackGoesOn(t *testing.T) {
	g := newHarness(t)
	ticket := "/.sallyport/enroll?ticket=" + g.ticket("alice@example.test")
	for _, to := range []string{treasury + "/books?q=1", login + ticket} {
		b := g.browser(home)
		callback := b.provider(b.toProvider(to), "alice")
		second, late := b.clone(home), b.clone(home)
		elsewhere := b.clone(home)
		for name, value := range elsewhere.cookies["login.example.test"] {
			_, key, _ := strings.Cut(value, ".")
			elsewhere.cookies["login.example.test"][name] = "another." + key
		}
		if a := elsewhere.get(callback); a.StatusCode != 403 {
			t.Errorf("%s, another binding: %d", to, a.StatusCode)
		}
		first := b.get(callback)
		if first.StatusCode != 302 || b.session(login) == "" {
			t.Fatalf("%s: %d %s", to, first.StatusCode, first.body)
		}
		g.audit.reset()
		if a := elsewhere.get(callback); a.StatusCode != 403 || elsewhere.session(login) != "" {
			t.Errorf("%s, another binding, after the first: %d", to, a.StatusCode)
		}
		g.audit.reset()
		a := second.get(callback)
		if a.StatusCode != 302 || a.location() != first.location() || second.session(login) != "" || len(g.audit.events()) != 0 {
			t.Errorf("%s, the second: %d to %q, not %q; %q", to, a.StatusCode, a.location(), first.location(), g.audit.events())
		}
		if a := late.get(callback); a.StatusCode != 403 || late.session(login) != "" {
			t.Errorf("%s, a third: %d", to, a.StatusCode)
		}
	}
	b := g.browser(home)
	callback := b.provider(b.toProvider(treasury+"/"), "alice")
	late := b.clone(home)
	b.get(callback)
	g.clock.Add(time.Minute)
	if a := late.get(callback); a.StatusCode != 403 || late.session(login) != "" {
		t.Errorf("after a minute: %d", a.StatusCode)
	}
}

// status is won for [race]: the answers of a status.
func status(code int) func(answer) bool { return func(a answer) bool { return a.StatusCode == code } }

// race sends requests at once and counts the answers that won.
func race(b *browser, requests []*http.Request, won func(answer) bool) int {
	answers := make([]answer, len(requests))
	var all sync.WaitGroup
	for i, r := range requests {
		all.Go(func() { answers[i] = b.clone(b.addr).do(r) })
	}
	all.Wait()
	n := 0
	for _, a := range answers {
		if won(a) {
			n++
		}
	}
	return n
}

// A provider that does not answer is 503, never a failed sign-in, and says so.
func TestAttackProviderDown(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	callback := b.provider(b.toProvider(treasury+"/books"), "alice")
	g.idp.SetFaults(authntest.FaultDown)
	page := b.get(callback)
	if page.StatusCode != 503 || page.Header.Get("Retry-After") == "" || b.session(login) != "" || !strings.Contains(page.body, "treasury.example.test%2Fbooks") {
		t.Errorf("%d %s", page.StatusCode, page.body)
	}
	if got := g.audit.events(); len(got) != 0 {
		t.Errorf("an outage is recorded as %q", got)
	}
	g.idp.SetFaults()
	g.mem.FailNext("Put", authntest.NotStored)
	if a := b.get(login + "/.sallyport/sign-in?go=1"); a.StatusCode != 503 {
		t.Errorf("no flow store: %d", a.StatusCode)
	}
	g.mem.FailNext("CreateSession", authntest.Stored)
	if a := b.get(b.provider(b.toProvider("/.sallyport/account"), "alice")); a.StatusCode != 503 || b.session(login) != "" {
		t.Errorf("a session that may or may not be stored: %d", a.StatusCode)
	}
	// People who are signed in do not notice.
	alice := g.enrolled("alice", home)
	g.idp.SetFaults(authntest.FaultDown)
	if a := alice.get(treasury + "/"); a.StatusCode != 200 {
		t.Errorf("signed in, provider down: %d", a.StatusCode)
	}
}

// The flow cookie lives as long as the flow.
func TestFlowCookieLastsAsLongAsTheFlow(t *testing.T) {
	g := newHarness(t)
	a := g.browser(home).toProvider("/.sallyport/account")
	for _, c := range a.Cookies() {
		if want := int(signin.FlowLifetime / time.Second); strings.HasPrefix(c.Name, "__Host-Http-sallyport-flow-") && c.MaxAge != want {
			t.Errorf("max-age %d, want %d", c.MaxAge, want)
		}
	}
}

// While a sign-in is on its way the store does not know where it leads: that may be
// an enrolment ticket.
func TestStoreDoesNotLearnTheTicket(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	secret := g.ticket("alice@example.test")
	kept := &peeking{Memory: g.mem}
	p, err := signin.New(proxytest.SignIn(signin.Config{Issuer: g.idp.Issuer(), ClientID: "sallyport", RedirectURL: login + "/.sallyport/callback", Flows: kept, Now: g.clock.Now}))
	g.must(err)
	g.must(p.Discover(t.Context()))
	g.restart(func(_ *proxy.Config, c *portal.Config) { c.Provider = p })
	b.toProvider("/.sallyport/enroll?ticket=" + secret)
	if len(kept.seen) == 0 || strings.Contains(kept.seen, secret) {
		t.Errorf("the store holds %q", kept.seen)
	}
}

// An app host's page of the sign-in host leads there.
func TestPagesOfAppHosts(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	for page, want := range map[string]string{
		"account": login + "/.sallyport/account", "enroll": login + "/.sallyport/enroll", "enroll?ticket=abc": login + "/.sallyport/enroll?ticket=abc",
	} {
		if a := b.get(treasury + "/.sallyport/" + page); a.location() != want {
			t.Errorf("%s leads to %d %q", page, a.StatusCode, a.location())
		}
	}
	a := b.get(treasury + "/.sallyport/sign-in?return_to=" + url.QueryEscape(treasury+"/deep?x=1"))
	if !strings.HasPrefix(a.location(), login+"/.sallyport/sign-in?") || !strings.Contains(a.location(), "treasury.example.test%2Fdeep%3Fx%3D1") || !strings.Contains(a.location(), "bind=") {
		t.Errorf("%d %q", a.StatusCode, a.location())
	}
	if a := b.get(treasury + "/.sallyport/sign-in?return_to=" + url.QueryEscape(wiki+"/wiki")); a.StatusCode != 400 {
		t.Errorf("another host's address is accepted here: %d", a.StatusCode)
	}
}
