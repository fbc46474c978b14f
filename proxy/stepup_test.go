package proxy_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/passkey"
)

// A person who goes behind a VPN is asked why and who they are, proves it there, and
// gets where they were going, with a token whose freshness is of this host.
func TestStepUpFromAVPN(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	b.addr = vpn
	page := b.follow(treasury + "/books?q=1")
	if page.StatusCode != 200 || !strings.Contains(page.body, "You are connecting from a different network") {
		t.Fatalf("%d %s", page.StatusCode, page.body)
	}
	before := b.session(login)
	a := b.pressAndGo(page)
	if a.at != treasury+"/books?q=1" || a.body != "the tool" {
		t.Fatalf("at %s: %d %s", a.at, a.StatusCode, a.body)
	}
	if b.session(login) == before {
		t.Error("the assertion did not change the cookie")
	}
	if got := g.audit.events(); !slices.Equal(got, []string{"access", "step_up", "handoff", "access"}) {
		t.Errorf("events %q", got)
	}
	// The wiki's cookie has not earned it: it asks, and gets it without another touch.
	if a := b.get(wiki + "/wiki"); a.StatusCode != 302 || !strings.Contains(a.location(), "/step-up?") {
		t.Errorf("%d %q", a.StatusCode, a.location())
	}
	g.clock.Add(5*time.Minute + time.Second)
	if a := b.get(treasury + "/books"); a.StatusCode != 302 || !strings.Contains(a.location(), "/step-up?") {
		t.Errorf("after max_age: %d %q", a.StatusCode, a.location())
	}
}

// At the level of HTTP: an assertion without user verification raises nothing.
func TestAttackNoUserVerification(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	before := b.session(login)
	b.key.Lie.Unverified = true
	a := b.press(b.get(login + "/.sallyport/step-up"))
	if a.StatusCode != 403 || a.code() != passkey.CodeUserVerificationMissing || b.session(login) != before {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	recs := g.audit.take()
	if len(recs) != 1 || recs[0].Event != "step_up_failed" || recs[0].Detail["code"] != passkey.CodeUserVerificationMissing || recs[0].Detail["risk"] != "" || !strings.Contains(a.body, recs[0].Incident) {
		t.Errorf("records %s", jsonText(recs))
	}
}

// At the level of HTTP: another person's passkey in my session.
func TestAttackAnotherPersonsPasskey(t *testing.T) {
	g := newHarness(t)
	bob := g.enrolledKey("bob")
	b := g.enrolled("alice", home)
	c := b.get(login + "/.sallyport/step-up").ceremony(b)
	o, _ := b.begin(c)
	bob.Lie.CredentialID = bob.Credentials()[0]
	credential, err := bob.Get(o.Options)
	g.must(err)
	if a := b.finish(c, o, credential); a.StatusCode != 403 || a.code() != passkey.CodeWrongCredential {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// Between signing in and the passkey nothing is open, on any host.
func TestAttackBetweenSignInAndPasskey(t *testing.T) {
	g := newHarness(t)
	key := g.enrolledKey("alice")
	b := g.browser(home)
	b.key = key
	page := b.signIn(treasury+"/", "alice")
	g.audit.reset()
	if b.level() != "signed_in" {
		t.Fatalf("level %s", b.level())
	}
	for _, to := range []string{treasury + "/", desk + "/app", desk + "/app/x"} {
		if a := b.follow(to); !strings.Contains(a.body, `data-action="verify"`) {
			t.Errorf("%s ends at %s: %d", to, a.at, a.StatusCode)
		}
	}
	// Nor does a cookie of this level get anywhere by itself.
	if a := b.do(b.request("POST", desk+"/app", "x")); a.StatusCode != 401 || a.code() != "not_signed_in" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	stranger := b.clone(home)
	stranger.cookies["desk.example.test"] = b.cookies["login.example.test"]
	if a := stranger.do(stranger.request("POST", desk+"/app", "x")); a.StatusCode != 401 {
		t.Errorf("the sign-in host's cookie on a tool's host: %d %s", a.StatusCode, a.body)
	}
	for _, p := range []string{"account", "enroll"} {
		if a := b.follow(login + "/.sallyport/" + p); a.StatusCode == 200 && !strings.Contains(a.body, `data-action="verify"`) && !strings.Contains(a.body, "first verify yourself") {
			t.Errorf("%s is open: %s", p, a.body)
		}
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("%d requests reached a tool", n)
	}
	if a := b.pressAndGo(page); a.at != treasury+"/" || a.StatusCode != 200 {
		t.Errorf("and then: %d at %s", a.StatusCode, a.at)
	}
}

// Empty, malformed and foreign posts to every ceremony step.
func TestAttackEmptyPosts(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	before := b.session(login)
	for _, step := range []string{"step-up/begin", "step-up/finish", "enroll/begin", "enroll/finish"} {
		to := login + "/.sallyport/" + step
		for name, c := range map[string]struct {
			contentType, body string
			status            int
		}{
			"empty":           {"application/json", "", 400},
			"not JSON":        {"application/json", "<xml/>", 400},
			"two values":      {"application/json", "{}{}", 400},
			"a brace more":    {"application/json", "{}}", 400},
			"an unknown key":  {"application/json", `{"admin":true}`, 400},
			"a form":          {"application/x-www-form-urlencoded", "ceremony=x", 400},
			"JSON as text":    {"text/plain", "{}", 400},
			"no content type": {"", "{}", 400},
			"too large":       {"application/json", `{"ticket":"` + strings.Repeat("x", 1<<20) + `"}`, 413},
		} {
			r := b.request("POST", to, c.body)
			if c.contentType != "" {
				r.Header.Set("Content-Type", c.contentType)
			}
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			if a := b.do(r); a.StatusCode != c.status {
				t.Errorf("%s, %s: %d %s", step, name, a.StatusCode, a.body)
			}
		}
		if strings.HasSuffix(step, "finish") {
			if a := b.fetch("POST", to, map[string]any{}); a.StatusCode != 403 || a.code() != passkey.CodeChallengeUnknown {
				t.Errorf("%s of nothing: %d %s", step, a.StatusCode, a.body)
			}
		}
		if a := g.browser(home).fetch("POST", to, map[string]any{}); a.StatusCode != 401 {
			t.Errorf("%s by nobody: %d %s", step, a.StatusCode, a.body)
		}
		if a := b.get(to); a.StatusCode != 404 {
			t.Errorf("GET %s: %d", step, a.StatusCode)
		}
	}
	if b.session(login) != before {
		t.Error("the session changed")
	}
}

// One challenge, one answer; of two finishes at once one wins.
func TestAttackDoubleFinish(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	c := b.get(login + "/.sallyport/step-up").ceremony(b)
	finish := func(key *authntest.Authenticator) *http.Request {
		o, _ := b.begin(c)
		credential, err := key.Get(o.Options)
		g.must(err)
		r := b.request("POST", c.finish, `{"ceremony":"`+o.Ceremony+`","credential":`+string(credential)+`}`)
		r.Header.Set("Content-Type", "application/json")
		return r
	}
	first := finish(b.key)
	again := first.Clone(t.Context())
	again.Body = b.request("POST", c.finish, bodyOf(g, first)).Body
	if won := race(b, []*http.Request{first, again}, status(200)); won != 1 {
		t.Errorf("%d of two answers to one challenge won", won)
	}
}

// bodyOf reads a request's body and puts it back.
func bodyOf(g *harness, r *http.Request) string {
	g.Helper()
	var v json.RawMessage
	g.must(json.NewDecoder(r.Body).Decode(&v))
	r.Body = g.browser(home).request("POST", login+"/", string(v)).Body
	return string(v)
}

// Two challenges, answered at once with two passkeys: one new cookie, and the
// other answer says what happened.
func TestAttackTwoPasskeysAtOnce(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	first := b.key
	second, a := b.adds()
	if a.StatusCode != 200 {
		t.Fatal(a.body)
	}
	c := b.get(login + "/.sallyport/step-up").ceremony(b)
	old := b.clone(home) // holds the cookie that both requests carry
	var bodies []string
	for _, key := range []*authntest.Authenticator{first, second} {
		o, _ := b.begin(c)
		credential, err := key.Get(o.Options)
		g.must(err)
		bodies = append(bodies, `{"ceremony":"`+o.Ceremony+`","credential":`+string(credential)+`}`)
	}
	g.audit.reset()
	// The second one verifies its answer, and only then finds the first one's new cookie.
	once := false
	g.mem.OnCall("ReplaceToken", func() {
		if once {
			return
		}
		once = true
		r := old.request("POST", c.finish, bodies[0])
		r.Header.Set("Content-Type", "application/json")
		if a := old.clone(home).do(r); a.StatusCode != 200 {
			t.Errorf("the first: %d %s", a.StatusCode, a.body)
		}
	})
	r := old.request("POST", c.finish, bodies[1])
	r.Header.Set("Content-Type", "application/json")
	a = old.do(r)
	if a.StatusCode != 401 || a.code() != "not_signed_in" {
		t.Errorf("the second: %d %s", a.StatusCode, a.body)
	}
	if got := g.audit.events(); !slices.Equal(got, []string{"step_up", "step_up_failed"}) {
		t.Errorf("events %q", got)
	}
}

// Cross-site requests change nothing, even where the browser sends cookies along.
func TestCrossSitePostsAreRefused(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	for _, to := range []string{login + "/.sallyport/step-up/begin", login + "/.sallyport/enroll/finish", login + "/.sallyport/account", login + "/.sallyport/sign-out", treasury + "/.sallyport/sign-out"} {
		for name, header := range map[string]http.Header{
			"cross-site":                   {"Sec-Fetch-Site": {"cross-site"}},
			"a sibling, that is not ours":  {"Sec-Fetch-Site": {"same-site"}},
			"an old browser, foreign page": {"Origin": {"https://evil.test"}},
			"an old browser, opaque":       {"Origin": {"null"}},
		} {
			r := b.request("POST", to, "{}")
			r.Header = header.Clone()
			for n, v := range b.cookies[r.Host] {
				r.AddCookie(&http.Cookie{Name: n, Value: v})
			}
			r.Header.Set("Content-Type", "application/json")
			a := b.do(r)
			if a.StatusCode != 403 || a.code() != "cross_origin" {
				t.Errorf("%s to %s: %d %s", name, to, a.StatusCode, a.body)
			}
			if recs := g.audit.take(); len(recs) != 1 || recs[0].Event != "cross_site_refused" || recs[0].User != "alice@example.test" {
				t.Errorf("%s to %s: records %s", name, to, jsonText(recs))
			}
		}
	}
	if b.level() != "verified" {
		t.Error("somebody else's page signed alice out")
	}
}

// A step-up that cannot be recorded raises nothing.
func TestAuditDownWhileSteppingUp(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	page := b.get(login + "/.sallyport/step-up")
	g.audit.fail("step_up")
	if a := b.press(page); a.StatusCode != 503 || len(a.Cookies()) != 0 || strings.Contains(a.body, "next") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestAuditDownWhileSigningIn(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	g.audit.fail("sign_in")
	if a := b.get(b.provider(b.toProvider("/.sallyport/account"), "alice")); a.StatusCode != 503 || b.session(login) != "" {
		t.Errorf("%d, session %q", a.StatusCode, b.session(login))
	}
}

// The passkey store's outages are outages.
func TestStoreDownWhileSteppingUp(t *testing.T) {
	for _, method := range []string{"Take", "Credentials", "RecordUse", "ReplaceToken"} {
		for _, fault := range []authntest.Fault{authntest.NotStored, authntest.Stored} {
			g := newHarness(t)
			b := g.enrolled("alice", home)
			c := b.get(login + "/.sallyport/step-up").ceremony(b)
			o, _ := b.begin(c)
			credential, err := b.key.Get(o.Options)
			g.must(err)
			g.mem.FailNext(method, fault)
			if a := b.finish(c, o, credential); a.StatusCode != 503 || len(a.Cookies()) != 0 {
				t.Errorf("%s %v: %d %s", method, fault, a.StatusCode, a.body)
			}
		}
	}
}

// A passkey that behaved like a copy is blocked, and its owner is told who can help.
func TestBlockedPasskey(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	g.must(g.mem.BlockCredential(t.Context(), authn.Subject{Issuer: g.idp.Issuer(), ID: "alice"}, b.key.Credentials()[0], "sign count went back"))
	page := b.signIn(treasury+"/", "alice") // blocking it has ended the session
	if page.StatusCode != 403 || !strings.Contains(page.body, "Your passkey was blocked") {
		t.Errorf("%d %s", page.StatusCode, page.body)
	}
	if a := b.fetch("POST", login+"/.sallyport/step-up/begin", map[string]any{}); a.StatusCode != 403 || a.code() != passkey.CodeCredentialBlocked {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}
