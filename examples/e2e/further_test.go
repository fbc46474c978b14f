package e2e

import (
	"encoding/json"
	"testing"

	"github.com/chromedp/cdproto/webauthn"

	"sallyport/authn/authntest"
)

// secondKey plugs another authenticator into the browser: a security key.
func (b *browser) secondKey() webauthn.AuthenticatorID {
	b.t.Helper()
	return call(b, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Ctap2version: webauthn.Ctap2versionCtap21, Transport: webauthn.AuthenticatorTransportUsb,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}}).AuthenticatorID
}

// TestFurtherPasskeyInABrowser: Alice creates a passkey on a security key, cancels its
// confirmation, and confirms it with the one of her laptop without creating it again.
func TestFurtherPasskeyInABrowser(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.enrol(s.ticket("alice@example.com"), alice.Sub)
	b.press(`a[href$="/.sallyport/enroll"]`)
	b.shows("Add a passkey")
	b.review("create")
	// The one authenticator of this browser holds a passkey for her already, and says so.
	b.act("enroll")
	b.until("!document.getElementById('problem').hidden")
	b.shows("already holds a passkey")

	b.secondKey()
	b.act("enroll")
	b.shows("Step 1 is done")
	b.until(`document.activeElement.matches('[data-action="verify"]') && document.getElementById("step-confirm").getAttribute("aria-current") === "step"`)
	b.review("confirm")
	if s.recorded("enroll", "allow") && len(s.enrolments()) != 1 {
		t.Errorf("stored before it was confirmed: %v", s.enrolments())
	}

	b.verifiesUser(false)
	b.act("verify")
	b.until("!document.getElementById('problem').hidden")
	b.shows("still waits to be confirmed")
	b.review("confirm-cancelled")
	b.verifiesUser(true)
	b.act("verify")
	b.shows("The passkey was added")
	b.review("added")
	list := s.enrolments()
	if len(list) != 2 || list[1]["with"] != "passkey" || list[1]["vouched_by"] != list[0]["credential"] || list[1]["credential"] == list[0]["credential"] {
		t.Errorf("the log says %v", list)
	}
}

// enrolments is the detail of every passkey that the log says was stored.
func (s *harness) enrolments() (list []map[string]any) {
	s.t.Helper()
	for _, r := range s.audit() {
		if detail, ok := r["detail"].(map[string]any); ok && r["event"] == "enroll" {
			list = append(list, detail)
		}
	}
	return list
}

// TestAttackScriptInTheSignInOriginAddsNoPasskey: a script of the sign-in origin itself, in
// a browser whose session is a moment old, posts begin and finish with an authenticator of
// its own and attestation "none". That was enough once. Now it has a proposal that nothing
// of its own can confirm.
func TestAttackScriptInTheSignInOriginAddsNoPasskey(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.enrol(s.ticket("alice@example.com"), alice.Sub)
	evil := authntest.NewAuthenticator(s.base)
	evil.Attestation = "none"
	post := func(page string, body map[string]any) (status int, answer map[string]any) {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		out := eval[string](b, `fetch("/.sallyport/`+page+`", {method: "POST", headers: {"Content-Type": "application/json"}, body: `+quote(string(text))+`})
			.then(async (r) => JSON.stringify({status: r.status, body: await r.json()}))`)
		var got struct {
			Status int
			Body   map[string]any
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		return got.Status, got.Body
	}
	signed := func(begun map[string]any, do func([]byte) ([]byte, error)) json.RawMessage {
		t.Helper()
		options, err := json.Marshal(begun["options"])
		if err != nil {
			t.Fatal(err)
		}
		credential, err := do(options)
		if err != nil {
			t.Fatal(err)
		}
		return credential
	}

	status, begun := post("enroll/begin", map[string]any{})
	if status != 200 {
		t.Fatalf("begin: %d %v", status, begun)
	}
	status, made := post("enroll/finish", map[string]any{"ceremony": begun["ceremony"], "credential": signed(begun, evil.Create), "name": "evil"})
	if status != 200 || made["proposal"] == nil || made["next"] != nil {
		t.Fatalf("finish: %d %v", status, made)
	}
	status, begun = post("enroll/confirm/begin", map[string]any{"proposal": made["proposal"]})
	if status != 200 {
		t.Fatalf("confirm: %d %v", status, begun)
	}
	evil.Lie.CredentialID = evil.Credentials()[0]
	if status, answer := post("enroll/confirm/finish", map[string]any{"ceremony": begun["ceremony"], "credential": signed(begun, evil.Get)}); status != 403 {
		t.Errorf("its own key vouched for itself: %d %v", status, answer)
	}
	b.open(s.base + "/.sallyport/account")
	b.shows("Your account")
	if n := eval[int](b, `document.querySelectorAll('form input[value="remove-passkey"], form button[value="remove-passkey"]').length`); n != 0 || len(s.enrolments()) != 1 {
		t.Errorf("a second passkey is there: %d can be removed, %v", n, s.enrolments())
	}
	if !s.recorded("enroll_failed", "refused") {
		t.Error("the attempt is not in the log")
	}
}
