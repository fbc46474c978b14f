package e2e

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
)

// TestCeremonyIsAskedForOnce: a page that is done with its ceremony begins no other one on its way out. It would count as
// an attempt (limits.ceremonies_per_minute), and after an enrolment be refused.
func TestCeremonyIsAskedForOnce(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of alice@example.com")
	for _, page := range []string{"enroll", "step-up"} {
		begun := strings.Count(s.log.String(), `"path":"/.sallyport/`+page+`/begin"`)
		if begun != 1 {
			t.Errorf("%s: %d ceremonies were begun, want 1", page, begun)
		}
	}
}

// TestCopiedPasskeyIsExplained: blocking a copied passkey ends the person's sessions. They read so, with the reference, before
// they are led to the sign-in.
func TestCopiedPasskeyIsExplained(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.hostile = true // the browser complains about the 403
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of alice@example.com")

	b.from(vpnExit)
	b.open(s.treasury + "/")
	b.shows("Verify it’s you")
	for _, c := range call(b, webauthn.GetCredentials, webauthn.GetCredentialsParams{AuthenticatorID: b.authenticator}).Credentials {
		call(b, webauthn.RemoveCredential, webauthn.RemoveCredentialParams{AuthenticatorID: b.authenticator, CredentialID: c.CredentialID})
		call(b, cdp.Command[map[string]any, cdp.Empty]{Method: webauthn.CommandAddCredential}, map[string]any{"authenticatorId": b.authenticator, "credential": map[string]any{
			"credentialId": c.CredentialID, "isResidentCredential": c.IsResidentCredential, "rpId": c.RpID, "privateKey": c.PrivateKey, "userHandle": c.UserHandle, "signCount": 0,
		}})
	}
	b.act("verify")
	b.shows("looks as if it was copied")
	b.shows("You have been signed out everywhere.")
	b.shows("reference")
	b.act("verify")
	b.shows("Sign in with your company account")
}
