package proxy_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn/authntest"
	"sallyport/authn/passkey"
	"sallyport/authn/signin"
	"sallyport/proxy"
	"sallyport/proxy/portal"
	"sallyport/proxy/proxytest"
)

const account = login + "/.sallyport/account"

func TestWhoami(t *testing.T) {
	g := newHarness(t)
	if a := g.browser(home).fetch("GET", treasury+"/.sallyport/whoami", nil); a.StatusCode != 401 || a.Header.Get("WWW-Authenticate") == "" ||
		!strings.Contains(a.body, `"sign_in":"`+login+`/.sallyport/sign-in?return_to=https%3A%2F%2Ftreasury.example.test%2F"`) {
		t.Errorf("nobody: %d %s", a.StatusCode, a.body)
	}
	b := g.enrolled("alice", home)
	g.clock.Add(2 * time.Minute)
	a := b.fetch("GET", treasury+"/.sallyport/whoami", nil)
	var who struct {
		User, Subject, Level, Session, Credential, IP, Country string
		Groups                                                 []string
		SessionAge                                             int64      `json:"session_age_seconds"`
		VerifiedAge                                            *int64     `json:"verified_age_seconds"`
		VerifiedAt                                             *time.Time `json:"verified_at"`
		Expires                                                time.Time  `json:"expires_at"`
		Unused                                                 *time.Time `json:"-"`
	}
	g.must(json.Unmarshal([]byte(a.body), &who))
	if who.User != "alice@example.test" || who.Subject != "alice" || who.Level != "verified" || who.Session == "" || who.IP != home || who.Country != "ZZ" ||
		!slices.Equal(who.Groups, []string{"treasury"}) || who.SessionAge != 120 || who.VerifiedAge == nil || *who.VerifiedAge != 120 || who.VerifiedAt == nil || !who.VerifiedAt.Equal(epoch) || !who.Expires.Equal(epoch.Add(proxytest.SessionMaxAge)) {
		t.Errorf("%s", a.body)
	}
	if strings.Contains(a.body, b.session(treasury)) {
		t.Error("whoami tells the cookie")
	}
}

// A page of a tool learns that the person has to verify to go on there, and nothing else: no other origin's page, no
// stranger, and nothing about what would be blocked. Asking is no access.
func TestWhoamiTellsOfADueStepUp(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	b.get(wiki + "/wiki")
	due := func(who *browser, to, site string) bool {
		t.Helper()
		a := who.do(who.in("GET", to, site, "cors", "empty"))
		return strings.Contains(a.body, "step_up_due")
	}
	if due(b, treasury+"/.sallyport/whoami?page=/books", "same-origin") {
		t.Error("due right after a verification")
	}
	away := b.clone(vpn)
	g.audit.reset()
	for name, c := range map[string]struct {
		who      *browser
		to, site string
		want     bool
	}{
		"the page":               {away, treasury + "/.sallyport/whoami?page=/books", "same-origin", true},
		"a page of any name":     {away, treasury + "/.sallyport/whoami?page=%2Fb%2520c", "same-origin", true},
		"no page":                {away, treasury + "/.sallyport/whoami", "same-origin", false},
		"where no rule wants it": {b, wiki + "/.sallyport/whoami?page=/wiki", "same-origin", false},
		"the sign-in host":       {away, login + "/.sallyport/whoami?page=/books", "same-origin", false},
		"one of our own pages":   {away, treasury + "/.sallyport/whoami?page=/.sallyport/account", "same-origin", false},
		"another host":           {away, wiki + "/.sallyport/whoami?page=" + url.QueryEscape(treasury+"/books"), "same-origin", false},
		"no path":                {away, treasury + "/.sallyport/whoami?page=books", "same-origin", false},
		"a path that is refused": {away, treasury + "/.sallyport/whoami?page=/a/../books", "same-origin", false},
		"a page of another tool": {away, treasury + "/.sallyport/whoami?page=/books", "same-site", false},
		"a page of elsewhere":    {away, treasury + "/.sallyport/whoami?page=/books", "cross-site", false},
		"a stranger":             {g.browser(home), treasury + "/.sallyport/whoami?page=/books", "same-origin", false},
	} {
		if got := due(c.who, c.to, c.site); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	// A page of another site can open the address in a window, and time it.
	for _, site := range []string{"cross-site", "same-site", "none"} {
		a := away.do(away.in("GET", treasury+"/.sallyport/whoami?page=/books", site, "navigate", "document"))
		if a.StatusCode != 200 || strings.Contains(a.body, "step_up_due") {
			t.Errorf("opened by a page that is %s: %d %s", site, a.StatusCode, a.body)
		}
	}
	if got := g.audit.events(); len(got) != 0 {
		t.Errorf("events %q", got)
	}
	blocked := b.clone(hosting)
	if a := blocked.do(blocked.in("GET", treasury+"/.sallyport/whoami?page=/books", "same-origin", "cors", "empty")); strings.Contains(a.body, "step_up_due") {
		t.Errorf("where it is blocked: %s", a.body)
	}
}

// The account page needs a passkey used from where the person is.
func TestAccountPage(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	a := b.get(account)
	if a.StatusCode != 200 || !strings.Contains(a.body, "this browser") || !strings.Contains(a.body, "used for this session") || strings.Contains(a.body, "remove-passkey") {
		t.Errorf("%d %s", a.StatusCode, a.body) // the last passkey has no button
	}
	if a := g.browser(home).get(account); a.StatusCode != 302 || !strings.Contains(a.location(), "/sign-in?") {
		t.Errorf("nobody: %d %q", a.StatusCode, a.location())
	}
	b.addr = cafe
	if a := b.get(account); a.StatusCode != 302 || !strings.Contains(a.location(), "/step-up?") || !strings.Contains(a.location(), "why=network") {
		t.Errorf("elsewhere: %d %q", a.StatusCode, a.location())
	}
	b.addr = hosting
	if a := b.get(account); a.StatusCode != 403 {
		t.Errorf("from a data centre: %d", a.StatusCode)
	}
}

// Two passkeys made on one computer have one name. Their buttons have two.
func TestAccountTellsPasskeysApart(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home).enroll("alice")
	b.key, _ = b.adds()
	labels := regexp.MustCompile(`Remove<span class="sr">([^<]*)<`).FindAllStringSubmatch(b.get(account).body, -1)
	if len(labels) != 2 || labels[0][1] == labels[1][1] {
		t.Errorf("the buttons are called %q", labels)
	}
}

func TestRemovePasskey(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home).enroll("alice")
	first := base64.RawURLEncoding.EncodeToString(b.key.Credentials()[0])
	remove := url.Values{"do": {"remove-passkey"}, "credential": {first}}
	g.audit.reset()
	if a := b.submit(account, remove); a.StatusCode != 409 || g.credentials("alice") != 1 {
		t.Errorf("the last one: %d", a.StatusCode)
	}
	b.key, _ = b.adds()
	g.audit.reset()

	b.addr = cafe
	if a := b.submit(account, remove); a.StatusCode != 303 || !strings.Contains(a.location(), "/step-up?") {
		t.Errorf("elsewhere: %d", a.StatusCode)
	}
	b.addr = home
	g.clock.Add(passkey.FreshFor + time.Second)
	if a := b.submit(account, remove); a.StatusCode != 303 || !strings.Contains(a.location(), "/step-up?") {
		t.Errorf("stale: %d", a.StatusCode)
	}
	b.pressAndGo(b.get(login + "/.sallyport/step-up"))
	g.audit.reset()

	bob := g.enrolled("bob", home)
	if a := bob.submit(account, remove); a.StatusCode != 404 || g.credentials("alice") != 2 {
		t.Errorf("somebody else's: %d", a.StatusCode)
	}
	g.audit.fail("passkey_remove")
	if a := b.submit(account, remove); a.StatusCode != 503 || g.credentials("alice") != 2 {
		t.Errorf("unaudited: %d", a.StatusCode)
	}
	g.audit.fail()
	g.audit.reset()
	if a := b.submit(account, remove); a.StatusCode != 303 || a.location() != "/.sallyport/account?removed=1" || g.credentials("alice") != 1 {
		t.Errorf("%d %q", a.StatusCode, a.location())
	}
	if got := g.audit.events(); !slices.Equal(got, []string{"passkey_remove", "passkey_removed"}) {
		t.Errorf("events %q", got)
	}
	if a := b.submit(account, remove); a.StatusCode != 404 {
		t.Errorf("twice: %d", a.StatusCode)
	}
	for _, form := range []url.Values{nil, {"do": {"promote"}}, {"do": {"remove-passkey"}, "credential": {"%%%"}}, {"do": {"end-session"}}} {
		if a := b.submit(account, form); a.StatusCode != 404 && a.StatusCode != 409 {
			t.Errorf("%v: %d", form, a.StatusCode)
		}
	}
}

func TestEndAnotherSession(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	other := g.browser(home)
	other.key = b.key
	other.pressAndGo(other.signIn(account, "alice"))
	bob := g.enrolled("bob", home)
	id := func(who *browser) string {
		var w struct{ Session string }
		g.must(json.Unmarshal([]byte(who.fetch("GET", login+"/.sallyport/whoami", nil).body), &w))
		return w.Session
	}
	g.audit.reset()
	if a := bob.submit(account, url.Values{"do": {"end-session"}, "session": {id(other)}}); a.StatusCode != 404 || other.level() != "verified" {
		t.Errorf("somebody else's: %d", a.StatusCode)
	}
	if got := g.audit.events(); len(got) != 0 {
		t.Errorf("events %q", got)
	}
	if a := b.submit(account, url.Values{"do": {"end-session"}, "session": {id(other)}}); a.StatusCode != 303 || other.level() != "none" || b.level() != "verified" {
		t.Errorf("%d, %s", a.StatusCode, other.level())
	}
	if got := g.audit.events(); !slices.Equal(got, []string{"session_ended"}) {
		t.Errorf("events %q", got)
	}
}

// logout posts a logout token, as the provider's server does: no cookies, no origin.
func (g *harness) logout(token string) answer {
	g.Helper()
	b := g.browser(hosting) // providers live in data centres
	r := b.request("POST", login+"/.sallyport/backchannel-logout", url.Values{"logout_token": {token}}.Encode())
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

func (g *harness) logoutToken(sub, sid string) string {
	g.Helper()
	token, err := g.idp.LogoutToken("sallyport", sub, sid, nil)
	g.must(err)
	return token
}

func TestBackchannelLogout(t *testing.T) {
	g := newHarness(t)
	alice, bob := g.enrolled("alice", home), g.enrolled("bob", home)
	g.audit.reset()
	token := g.logoutToken("alice", "")
	if a := g.logout(token); a.StatusCode != 200 || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if alice.level() != "none" || bob.level() != "verified" {
		t.Errorf("alice %s, bob %s", alice.level(), bob.level())
	}
	if recs := g.audit.take(); len(recs) != 1 || recs[0].Event != "backchannel_logout" || recs[0].Detail["subject"] != "alice" || recs[0].Detail["sessions"] != "1" {
		t.Errorf("records %s", jsonText(recs))
	}
	if a := g.logout(token); a.StatusCode != 400 {
		t.Errorf("a replay: %d", a.StatusCode)
	}
	for _, bad := range []string{"", "x", token + "x", g.idToken("bob")} {
		if a := g.logout(bad); a.StatusCode != 400 || bob.level() != "verified" {
			t.Errorf("%.20q: %d", bad, a.StatusCode)
		}
	}
	for _, r := range g.audit.take() {
		if r.Event != "backchannel_logout_refused" || r.Detail["code"] == "" {
			t.Errorf("record %s", jsonText(r))
		}
	}
	if a := bob.get(login + "/.sallyport/backchannel-logout"); a.StatusCode != 404 {
		t.Errorf("GET: %d", a.StatusCode)
	}
}

// idToken is a token of the provider that is not a logout token.
func (g *harness) idToken(sub string) string {
	g.Helper()
	now := g.clock.Now().Unix()
	token, err := g.idp.Sign("JWT", map[string]any{"iss": g.idp.Issuer(), "sub": sub, "aud": "sallyport", "iat": now, "exp": now + 60, "nonce": "n", "jti": "j"})
	g.must(err)
	return token
}

// A logout that could not be carried out, or not recorded, is heard when the provider
// delivers it again.
func TestBackchannelLogoutIsHeardAgain(t *testing.T) {
	g := newHarness(t)
	alice := g.enrolled("alice", home)
	token := g.logoutToken("alice", "")
	g.mem.FailNext("RevokeSessions", authntest.NotStored)
	if a := g.logout(token); a.StatusCode != 503 || alice.level() != "verified" {
		t.Errorf("the store down: %d, alice %s", a.StatusCode, alice.level())
	}
	g.audit.fail("backchannel_logout")
	if a := g.logout(token); a.StatusCode != 503 {
		t.Errorf("the audit log down: %d", a.StatusCode)
	}
	g.audit.fail()
	g.audit.reset()
	if a := g.logout(token); a.StatusCode != 200 || alice.level() != "none" {
		t.Errorf("delivered again: %d, alice %s", a.StatusCode, alice.level())
	}
	g.mem.FailNext("Put", authntest.NotStored)
	if a := g.logout(g.logoutToken("alice", "")); a.StatusCode != 503 {
		t.Errorf("nowhere to note the token: %d", a.StatusCode)
	}
}

// A provider that does not exist yet ends no one's session.
func TestBackchannelLogoutBeforeDiscovery(t *testing.T) {
	g := newHarness(t)
	alice := g.enrolled("alice", home)
	token := g.logoutToken("alice", "")
	p, err := signin.New(proxytest.SignIn(signin.Config{Issuer: g.idp.Issuer(), ClientID: "sallyport", RedirectURL: login + "/.sallyport/callback", Flows: g.mem, Now: g.clock.Now}))
	g.must(err)
	g.restart(func(_ *proxy.Config, c *portal.Config) { c.Provider = p })
	if a := g.logout(token); a.StatusCode != 503 || alice.level() != "verified" {
		t.Errorf("%d, alice %s", a.StatusCode, alice.level())
	}
	if a := g.browser(home).get(login + "/.sallyport/sign-in?go=1"); a.StatusCode != 503 || !strings.Contains(a.body, "cannot be reached") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// An audit log that is down does not keep people signed in.
func TestSignOutWithoutAudit(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	g.audit.fail("sign_out")
	if a := b.submit(login+"/.sallyport/sign-out", nil); a.StatusCode != 503 {
		t.Errorf("%d", a.StatusCode)
	}
	g.audit.fail()
	if b.level() != "none" {
		t.Errorf("level %s", b.level())
	}
	if a := b.submit(login+"/.sallyport/sign-out", nil); a.StatusCode != 303 {
		t.Errorf("signed out twice: %d", a.StatusCode)
	}
}

// A client that hangs up in time does not keep an event out of the log.
func TestEventsOfThoseWhoHangUp(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	b.level() // and so the session is known without asking the store
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	r := b.request("POST", login+"/.sallyport/sign-out", "").WithContext(ctx)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	b.do(r)
	if got := g.audit.events(); !slices.Equal(got, []string{"cross_site_refused"}) {
		t.Errorf("events %q", got)
	}
}

// Leaving is possible from where entering is not.
func TestSignOutFromABlockedNetwork(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	b.addr = hosting
	if a := b.get(login + "/.sallyport/sign-out"); a.StatusCode != 200 {
		t.Errorf("%d", a.StatusCode)
	}
	if a := b.submit(login+"/.sallyport/sign-out", nil); a.StatusCode != 303 {
		t.Errorf("%d", a.StatusCode)
	}
	b.addr = home
	if b.level() != "none" {
		t.Errorf("level %s", b.level())
	}
}

// Every page is closed to scripts, frames and caches of others.
func TestPagesAreClosed(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	for _, to := range []string{login + "/.sallyport/sign-out", account, login + "/.sallyport/step-up", login + "/.sallyport/enroll", login + "/.sallyport/nothing", treasury + "/.sallyport/whoami"} {
		a := b.get(to)
		for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", to, name, got)
			}
		}
		csp := a.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s: policy %q", to, csp)
		}
		if strings.Contains(a.body, "<script>") || strings.Contains(a.body, " style=") || strings.Contains(a.body, " onclick=") {
			t.Errorf("%s has inline script or style", to)
		}
	}
	page := b.get(account).body
	_, rest, _ := strings.Cut(page, `href="/.sallyport/assets/`)
	sheet, _, _ := strings.Cut(rest, `"`)
	for _, host := range []string{login, treasury} {
		if a := g.browser(home).get(host + "/.sallyport/assets/" + sheet); a.StatusCode != 200 || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/css") || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: the style sheet: %d", host, a.StatusCode)
		}
	}
}
