package proxy_test

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn/authntest"
	"sallyport/authn/passkey"
)

// A further passkey is made first, and stored once a passkey that the person has signed
// for exactly it. The log says which one that was.
func TestFurtherPasskeys(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	page := b.get(login + "/.sallyport/enroll")
	for _, want := range []string{"Create the new passkey", "Confirm it with a passkey you already have", `data-action="enroll"`, `data-confirm="/.sallyport/enroll/confirm"`} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	added, a := b.proposed()
	if got := g.audit.events(); len(got) != 0 || g.credentials("alice") != 1 {
		t.Errorf("before it is confirmed: %d passkeys, events %q", g.credentials("alice"), got)
	}
	a = b.confirms(a.proposalOf(b), b.key)
	if a.StatusCode != 200 || !strings.Contains(a.body, `"next":"/.sallyport/account?added=1"`) || g.credentials("alice") != 2 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if a := b.get(login + "/.sallyport/account?added=1"); !strings.Contains(a.body, "The passkey was added") || !strings.Contains(a.body, "My key") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	records := g.audit.take()
	if len(records) != 2 || records[0].Event != "enroll_verified" || records[1].Event != "enroll" {
		t.Fatalf("records %s", jsonText(records))
	}
	handle := func(a *authntest.Authenticator) string {
		return base64.RawURLEncoding.EncodeToString(a.Credentials()[0])
	}
	for _, r := range records {
		if d := r.Detail; d["with"] != "passkey" || !strings.HasPrefix(handle(b.key), d["vouched_by"]) || !strings.HasPrefix(handle(added), d["credential"]) ||
			d["vouched_by"] == "" || d["credential"] == "" || d["time_zone"] != "Europe/Zurich" {
			t.Errorf("detail %v", d)
		}
	}
	// It opens what the first one opens.
	phone := g.browser(home)
	phone.key = added
	if a := phone.pressAndGo(phone.signIn(treasury+"/", "alice")); a.StatusCode != 200 {
		t.Errorf("with the new passkey: %d %s", a.StatusCode, a.body)
	}
}

// A script on a page of ours, with a fresh session and an authenticator of its own: it can
// propose a passkey, and nothing that it has signs for it. It does not get the person's
// assertion for a step-up to count, nor its own key to vouch for itself.
func TestAttackScriptAddsAPasskeyOfItsOwn(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	evil := authntest.NewAuthenticator(login)
	evil.Attestation = "none"
	o, _ := b.begin(b.get(login + "/.sallyport/enroll").ceremony(b))
	credential, err := evil.Create(o.Options)
	g.must(err)
	a := b.fetch("POST", login+"/.sallyport/enroll/finish", map[string]any{"ceremony": o.Ceremony, "credential": json.RawMessage(credential)})
	proposal := a.proposalOf(b)
	if a.StatusCode != 200 || strings.Contains(a.body, "next") || g.credentials("alice") != 1 {
		t.Fatalf("begin and finish were enough: %d %s", a.StatusCode, a.body)
	}

	begin := func() begun {
		t.Helper()
		a := b.fetch("POST", confirm+"/begin", map[string]any{"proposal": proposal})
		if a.StatusCode != 200 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		var c begun
		g.must(json.Unmarshal([]byte(a.body), &c))
		return c
	}
	finish := func(c begun, body []byte) answer {
		return b.fetch("POST", confirm+"/finish", map[string]any{"ceremony": c.Ceremony, "credential": json.RawMessage(body)})
	}
	again := func() {
		t.Helper()
		credential, err := func() ([]byte, error) {
			evil = authntest.NewAuthenticator(login)
			o, _ = b.begin(b.get(login + "/.sallyport/enroll").ceremony(b))
			return evil.Create(o.Options)
		}()
		g.must(err)
		proposal = b.fetch("POST", login+"/.sallyport/enroll/finish", map[string]any{"ceremony": o.Ceremony, "credential": json.RawMessage(credential)}).proposalOf(b)
	}

	// With its own key.
	c := begin()
	if _, err := evil.Get(c.Options); err == nil {
		t.Error("its own key is asked to vouch for itself")
	}
	evil.Lie.CredentialID = evil.Credentials()[0]
	own, err := evil.Get(c.Options)
	g.must(err)
	if a := finish(c, own); a.StatusCode != 403 || a.code() != passkey.CodeWrongCredential {
		t.Errorf("its own key: %d %s", a.StatusCode, a.body)
	}

	// With what the person gave for a step-up, under either ceremony.
	again()
	stepUp, _ := b.begin(ceremony{begin: login + "/.sallyport/step-up/begin"})
	given, err := b.key.Get(stepUp.Options)
	g.must(err)
	if a := finish(begin(), given); a.StatusCode != 403 || a.code() != passkey.CodeChallengeMismatch {
		t.Errorf("an assertion for a step-up: %d %s", a.StatusCode, a.body)
	}
	again()
	if a := finish(stepUp, given); a.StatusCode != 403 || a.code() != passkey.CodeChallengeUnknown {
		t.Errorf("a step-up's ceremony: %d %s", a.StatusCode, a.body)
	}

	// With what the person gave for a passkey of theirs.
	_, honest := b.proposed()
	mine := b.fetch("POST", confirm+"/begin", map[string]any{"proposal": honest.proposalOf(b)})
	var mineBegun begun
	g.must(json.Unmarshal([]byte(mine.body), &mineBegun))
	signed, err := b.key.Get(mineBegun.Options)
	g.must(err)
	if a := finish(begin(), signed); a.StatusCode != 403 || a.code() != passkey.CodeChallengeMismatch {
		t.Errorf("an assertion for another key: %d %s", a.StatusCode, a.body)
	}
	for _, path := range []string{"/enroll/finish", "/enroll/confirm/finish", "/step-up/finish"} {
		b.fetch("POST", login+"/.sallyport"+path, map[string]any{"proposal": proposal, "ceremony": proposal, "credential": json.RawMessage(own)})
	}
	if n := g.credentials("alice"); n != 1 {
		t.Errorf("%d passkeys", n)
	}
	if got := g.audit.events(); slices.Contains(got, "enroll") || slices.Contains(got, "enroll_verified") || !slices.Contains(got, "enroll_failed") {
		t.Errorf("events %q", got)
	}
}

// The confirmation raises no session, and is no session's business but its own.
func TestConfirmationIsNoStepUp(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	_, a := b.proposed()
	proposal := a.proposalOf(b)
	thief := b.clone(home)
	thief.cookies["login.example.test"] = map[string]string{}
	if a := thief.fetch("POST", confirm+"/begin", map[string]any{"proposal": proposal}); a.StatusCode != 401 {
		t.Errorf("nobody: %d", a.StatusCode)
	}
	other := g.browser(home)
	other.key = b.key
	other.pressAndGo(other.signIn(account, "alice"))
	if a := other.fetch("POST", confirm+"/begin", map[string]any{"proposal": proposal}); a.StatusCode != 403 || a.code() != passkey.CodeChallengeUnknown {
		t.Errorf("another session of hers: %d %s", a.StatusCode, a.body)
	}
	before := b.session(login)
	g.clock.Add(4 * time.Minute)
	if a := b.confirms(proposal, b.key); a.StatusCode != 200 || g.credentials("alice") != 2 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	g.clock.Add(2 * time.Minute) // six after the step-up, two after the confirmation
	if a := b.submit(account, map[string][]string{"do": {"remove-passkey"}, "credential": {base64.RawURLEncoding.EncodeToString(b.key.Credentials()[0])}}); a.StatusCode != 303 || !strings.Contains(a.location(), "/step-up?") {
		t.Errorf("the confirmation counted as a step-up: %d %q", a.StatusCode, a.location())
	}
	if b.session(login) != before {
		t.Error("the session's cookie changed")
	}
}

// To begin takes an assertion that is fresh and was made here. What was begun can be brought
// to an end: a slow person, or one whose network changes, loses nothing.
func TestFurtherPasskeyBeginsFresh(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	form := b.get(login + "/.sallyport/enroll").ceremony(b)
	o, _ := b.begin(form)
	refused := func(why string) {
		t.Helper()
		if _, a := b.begin(form); a.StatusCode != 403 || a.code() != passkey.CodeNotFresh {
			t.Errorf("%s: begin %d %s", why, a.StatusCode, a.body)
		}
		if a := b.get(login + "/.sallyport/enroll"); a.StatusCode != 302 || !strings.HasPrefix(a.location(), "/.sallyport/step-up?") {
			t.Errorf("%s: page %d %q", why, a.StatusCode, a.location())
		}
	}
	b.addr = cafe // a cookie that was carried off
	refused("elsewhere")
	b.addr = home
	g.clock.Add(passkey.FreshFor - time.Second)
	credential, err := authntest.NewAuthenticator(login).Create(o.Options)
	g.must(err)
	proposal := b.finish(form, o, credential).proposalOf(b)
	g.clock.Add(2 * time.Minute)
	refused("stale")
	b.addr = cafe
	if a := b.confirms(proposal, b.key); a.StatusCode != 200 || g.credentials("alice") != 2 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	// The policy has its say at each step: not through a VPN.
	b.addr = home
	b.pressAndGo(b.get(login + "/.sallyport/step-up"))
	_, a := b.proposed()
	proposal = a.proposalOf(b)
	b.addr = vpn
	if a := b.confirms(proposal, b.key); a.StatusCode != 403 || a.code() == passkey.CodeNotFresh {
		t.Errorf("through a VPN: %d %s", a.StatusCode, a.body)
	}
}

// A confirmation that is refused or cancelled can be tried again, without making the
// passkey again; one that was audited in vain is not stored.
func TestConfirmationCanBeTriedAgain(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	_, a := b.proposed()
	proposal := a.proposalOf(b)
	for range 2 { // the prompt is cancelled
		if a := b.fetch("POST", confirm+"/begin", map[string]any{"proposal": proposal}); a.StatusCode != 200 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	g.mem.FailNext("Credentials", authntest.NotStored)
	if a := b.confirms(proposal, b.key); a.StatusCode != 503 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := b.confirms(proposal, b.key); a.StatusCode != 200 || g.credentials("alice") != 2 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	for i, event := range []string{"enroll_verified", "enroll"} {
		stored := 2 + i
		b.pressAndGo(b.get(login + "/.sallyport/step-up"))
		g.audit.fail(event)
		if _, a := b.adds(); a.StatusCode != 503 || strings.Contains(a.body, "next") || g.credentials("alice") != stored {
			t.Errorf("without %s: %d %s, %d passkeys", event, a.StatusCode, a.body, g.credentials("alice"))
		}
		g.audit.fail()
	}
}

// An authenticator that is there already, or one too many, is a refusal and no outage.
func TestPasskeyRefusalsAreNotOutages(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	for range passkey.MaxCredentials - 1 {
		if _, a := b.adds(); a.StatusCode != 200 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	if _, a := b.proposed(); a.StatusCode != 403 || a.code() != passkey.CodeTooManyCredentials {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}
