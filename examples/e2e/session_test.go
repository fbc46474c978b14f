package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestAttackSessionFixation follows the cookie through a sign-in: for each value that a browser
// had before, it gets a new one, and the old value is worth nothing.
func TestAttackSessionFixation(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	c := newClient(t, s, home)
	base, err := url.Parse(s.base)
	if err != nil {
		t.Fatal(err)
	}
	const planted = "planted-by-somebody-else"
	c.http.Jar.SetCookies(base, []*http.Cookie{{Name: s.cookieName("sallyport"), Value: planted, Path: "/", Secure: s.entry.tls}})

	if a := c.follow(s.treasury + "/"); a.status != http.StatusOK || c.cookie(s.base) != planted {
		t.Fatalf("asking for the sign-in page changed the session: %d", a.status)
	}
	ticket := s.ticket(alice.Email)
	values := []string{planted}
	step := func(what string) {
		t.Helper()
		now := c.cookie(s.base)
		for _, old := range values {
			if now == old {
				t.Errorf("%s: the cookie is what it was before", what)
			}
			if a := c.whoamiWith(s.base, s.cookieName("sallyport")+"="+old); a.status != http.StatusUnauthorized {
				t.Errorf("%s: an old cookie still says %d %s", what, a.status, a.body)
			}
		}
		if a := c.whoamiWith(s.base, s.cookieName("sallyport")+"="+now); a.status != http.StatusOK {
			t.Errorf("%s: the new cookie says %d %s", what, a.status, a.body)
		}
		values = append(values, now)
	}
	c.signIn(ticket, alice.Sub)
	step("sign-in")
	c.enrol(ticket)
	c.verify(nil)
	step("first assertion")
	c.verify(nil)
	step("second assertion")

	// Two cookies of the name, as a neighbouring host can plant one: neither counts.
	now, name := c.cookie(s.base), s.cookieName("sallyport")+"="
	for _, both := range []string{name + planted + "; " + name + now, name + now + "; " + name + planted} {
		if a := c.whoamiWith(s.base, both); a.status != http.StatusUnauthorized {
			t.Errorf("two session cookies: %d", a.status)
		}
	}
}

// TestAttackCookieAfterSignOut keeps copies of both cookies, and tries them after.
func TestAttackCookieAfterSignOut(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	c := newClient(t, s, home)
	c.getIn(alice)
	copies := map[string]string{s.base: c.cookie(s.base), s.treasury: c.cookie(s.treasury)}
	for origin, v := range copies {
		if a := c.whoamiWith(origin, s.cookieName("sallyport")+"="+v); a.status != http.StatusOK {
			t.Fatalf("before: %s says %d", origin, a.status)
		}
	}
	r, err := http.NewRequest(http.MethodPost, s.base+"/.sallyport/sign-out", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if a := c.must(r, nil); a.status != http.StatusSeeOther {
		t.Fatalf("sign-out: %d %s", a.status, a.body)
	}
	if v := c.cookie(s.base); v != "" {
		t.Errorf("the browser keeps a cookie: %s", v)
	}
	before := s.reached(home)
	for origin, v := range copies {
		if a := c.whoamiWith(origin, s.cookieName("sallyport")+"="+v); a.status != http.StatusUnauthorized {
			t.Errorf("after sign-out: %s says %d %s", origin, a.status, a.body)
		}
		if a := newClient(t, s, home).api(s.treasury+"/", func(r *http.Request) { r.Header.Set("Cookie", s.cookieName("sallyport")+"="+v) }); a.status != http.StatusUnauthorized {
			t.Errorf("after sign-out: the treasury says %d", a.status)
		}
	}
	if s.reached(home) != before {
		t.Error("a request reached the upstream after sign-out")
	}
}

// TestAttackSignOutFromAnotherSite: a page elsewhere cannot sign people out.
func TestAttackSignOutFromAnotherSite(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	c := newClient(t, s, home)
	c.getIn(alice)
	for _, headers := range []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}} {
		r, err := http.NewRequest(http.MethodPost, s.base+"/.sallyport/sign-out", nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range headers {
			r.Header.Set(k, v)
		}
		if a := c.must(r, nil); a.status != http.StatusForbidden {
			t.Errorf("%v: %d", headers, a.status)
		}
	}
	c.open()
}

// TestCookieBelongsToOneHost: a cookie that the upstream's neighbour steals is of no use
// on the sign-in host, nor the other way round.
func TestCookieBelongsToOneHost(t *testing.T) {
	t.Parallel()
	s := newHarness(t, withTool("other", newTool(t)))
	other := s.origin("other")
	c := newClient(t, s, home)
	c.getIn(alice)
	signIn, app := c.cookie(s.base), c.cookie(s.treasury)
	if signIn == "" || app == "" || signIn == app {
		t.Fatalf("cookies %q and %q", signIn, app)
	}
	for _, at := range []struct{ origin, value string }{{s.base, app}, {s.treasury, signIn}, {other, app}, {other, signIn}} {
		if a := c.whoamiWith(at.origin, s.cookieName("sallyport")+"="+at.value); a.status != http.StatusUnauthorized {
			t.Errorf("a cookie of another host at %s: %d %s", at.origin, a.status, a.body)
		}
	}
}

func baseOf(cfg string) string {
	_, rest, _ := strings.Cut(cfg, "external_url: ")
	base, _, _ := strings.Cut(rest, "\n")
	return base
}

func TestWhoamiAndChallenges(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	c := newClient(t, s, home)
	fields := func(a answer) (m map[string]any) {
		t.Helper()
		if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
			t.Errorf("content type %q", ct)
		}
		if err := json.Unmarshal([]byte(a.body), &m); err != nil {
			t.Fatalf("%v: %s", err, a.body)
		}
		return m
	}

	a := c.api(s.treasury + "/balances")
	if m := fields(a); a.status != http.StatusUnauthorized || a.header.Get("WWW-Authenticate") != "Bearer" || m["error"] != "not_signed_in" {
		t.Errorf("nobody: %d %q %v", a.status, a.header.Get("WWW-Authenticate"), m)
	}
	a = c.api(s.treasury + "/.sallyport/whoami")
	if m := fields(a); a.status != http.StatusUnauthorized || m["level"] != "none" || !strings.HasPrefix(m["sign_in"].(string), s.base+"/.sallyport/sign-in?") {
		t.Errorf("whoami of nobody: %d %v", a.status, m)
	}

	ticket := s.ticket(alice.Email)
	c.signIn(ticket, alice.Sub)
	a = c.api(s.base + "/.sallyport/whoami")
	if m := fields(a); a.status != http.StatusOK || m["level"] != "signed_in" || m["verified_age_seconds"] != nil || m["user"] != "alice@example.com" {
		t.Errorf("whoami after sign-in: %d %v", a.status, m)
	}
	c.enrol(ticket)
	c.open()
	a = c.api(s.treasury + "/.sallyport/whoami")
	m := fields(a)
	if a.status != http.StatusOK || m["level"] != "verified" || m["verified_age_seconds"] == nil || m["ip"] != home || m["country"] != "US" || m["expires_at"] == "" {
		t.Errorf("whoami after the assertion: %d %v", a.status, m)
	}
	if cache := a.header.Get("Cache-Control"); cache != "no-store" {
		t.Errorf("Cache-Control %q", cache)
	}

	c.from = vpnExit
	a = c.api(s.treasury + "/balances")
	challenge := a.header.Get("WWW-Authenticate")
	m = fields(a)
	if a.status != http.StatusUnauthorized || m["error"] != "insufficient_user_authentication" || m["incident"] == nil ||
		!strings.HasPrefix(challenge, `Bearer error="insufficient_user_authentication"`) || !strings.HasSuffix(challenge, ", max_age=300") {
		t.Errorf("step-up: %d %q %v", a.status, challenge, m)
	}
	c.from = pyongyang
	a = c.api(s.treasury + "/balances")
	if m := fields(a); a.status != http.StatusForbidden || m["error"] != "blocked" || m["incident"] == nil || a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("block: %d %v", a.status, m)
	}
	if n := s.reached(vpnExit) + s.reached(pyongyang); n != 0 {
		t.Errorf("%d requests got through", n)
	}
}

// TestAttackOperationsFromTheDataPort: what is for the operator answers on the
// operator's port only, and that port serves nothing else.
func TestAttackOperationsFromTheDataPort(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	c := newClient(t, s, home)
	paths := []string{"/metrics", "/healthz", "/readyz", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars"}
	for _, p := range paths {
		if a := c.api(s.base + p); a.status != http.StatusNotFound {
			t.Errorf("%s on the sign-in host: %d", p, a.status)
		}
		if a := c.api(s.treasury + p); a.status != http.StatusUnauthorized {
			t.Errorf("%s on an app host: %d", p, a.status)
		}
		if a := c.api(s.elsewhere("127.0.0.1") + p); a.status != http.StatusMisdirectedRequest {
			t.Errorf("%s without a name: %d", p, a.status)
		}
		// Asking for the name that the operator's port has does not change which port it is.
		if a := c.api(s.base+p, func(r *http.Request) { r.Host = strings.TrimPrefix(s.ops, "http://") }); a.status < 400 {
			t.Errorf("%s under the operator's name: %d", p, a.status)
		}
	}
	c.getIn(alice)
	for _, p := range paths {
		if a := c.api(s.treasury + p); !strings.Contains(a.body, "Treasury of") {
			t.Errorf("%s is the tool's own path, but says %d %s", p, a.status, a.body)
		}
	}
	for _, p := range []string{"/", "/.sallyport/whoami", "/.sallyport/sign-in", "/debug/pprof/", "/balances"} {
		if a := c.api(s.ops + p); a.status != http.StatusNotFound {
			t.Errorf("%s on the operator's port: %d", p, a.status)
		}
	}
}
