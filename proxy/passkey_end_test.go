package proxy_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sallyport/authn"
)

// doors are what a session opens, one on each host.
var doors = []string{treasury + "/", wiki + "/wiki", desk + "/app"}

// opens wants every door to answer with the given status, without a navigation.
func (b *browser) opens(status int) {
	b.Helper()
	for _, to := range doors {
		if a := b.do(b.request(http.MethodGet, to, "")); a.StatusCode != status {
			b.Errorf("%s answers %d, want %d", to, a.StatusCode, status)
		}
	}
}

// A thief who copied a passkey is out, with every session that it or any other
// passkey of the person raised, when the answer that noticed it leaves. Nothing
// polls in this harness: what the process remembers would last for ever.
func TestAttackCopiedPasskeyEndsEverySession(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	bob := g.enrolled("bob", home)
	thief := b.clone(cafe)
	thief.key = b.key.Clone()
	elsewhere := g.browser(home)
	elsewhere.key = b.key
	elsewhere.pressAndGo(elsewhere.signIn(treasury+"/", "alice"))
	g.audit.reset()

	// The copy's count is behind by now.
	page := thief.get(login + "/.sallyport/step-up")
	a := thief.press(page)
	if a.StatusCode != 403 || a.code() != "counter_regressed" {
		t.Fatalf("the copy was answered %d %s", a.StatusCode, a.body)
	}
	for _, want := range []string{"signed out everywhere", "/.sallyport/sign-in"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the answer does not say %q: %s", want, a.body)
		}
	}
	b.opens(401)
	thief.opens(401)
	if a := elsewhere.do(elsewhere.request("GET", treasury+"/", "")); a.StatusCode != 401 {
		t.Errorf("another session of hers: %d", a.StatusCode)
	}
	bob.opens(200)
}

// A refusal that blocks nothing signs no one out.
func TestRiskWithoutBlockKeepsTheSession(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	b.key.Lie.Origin = "https://login.example.test.evil"
	a := b.press(b.get(login + "/.sallyport/step-up"))
	if a.StatusCode != 403 || a.code() != "origin_mismatch" || strings.Contains(a.body, "signed out") {
		t.Fatalf("got %d %s", a.StatusCode, a.body)
	}
	b.opens(200)
}

// Removing a passkey ends the sessions that it raised, the person's own included.
func TestRemovedPasskeyEndsItsSessions(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	first := b.key.Credentials()[0]
	thief := b.clone(home)

	phone := g.browser(home)
	page := phone.signIn(login+"/.sallyport/enroll?ticket="+g.ticket("alice@example.test"), "alice")
	phone.pressAndGo(phone.pressAndGo(page))
	for _, to := range doors {
		phone.follow(to)
	}

	remove := url.Values{"do": {"remove-passkey"}, "credential": {base64.RawURLEncoding.EncodeToString(first)}}
	g.audit.reset()
	if a := phone.submit(login+"/.sallyport/account", remove); a.StatusCode != 303 || !strings.HasSuffix(a.location(), "?removed=1") {
		t.Fatalf("got %d %s", a.StatusCode, a.body)
	}
	b.opens(401)
	thief.opens(401)
	phone.opens(200)

	// Her own, last but one: she is told, and led to sign-in.
	third := g.browser(home)
	page = third.signIn(login+"/.sallyport/enroll?ticket="+g.ticket("alice@example.test"), "alice")
	third.pressAndGo(third.pressAndGo(page))
	remove.Set("credential", base64.RawURLEncoding.EncodeToString(third.key.Credentials()[0]))
	a := third.submit(login+"/.sallyport/account", remove)
	if a.StatusCode != 200 || !strings.Contains(a.body, "your session has ended") || !strings.Contains(a.body, `data-action="sign-in"`) || third.session(login) != "" {
		t.Fatalf("got %d %s", a.StatusCode, a.body)
	}
	third.opens(401)
	phone.opens(200)
	if rs, err := g.mem.Credentials(t.Context(), authn.Subject{Issuer: g.idp.Issuer(), ID: "alice"}); err != nil || len(rs) != 1 {
		t.Fatalf("%d passkeys are left, %v", len(rs), err)
	}
}
