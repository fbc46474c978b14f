package signin_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"sallyport/authn/authntest"
	"sallyport/authn/signin"
)

func TestEndSessionURL(t *testing.T) {
	r := newHarness(t)
	to, ok := r.rp.EndSessionURL("the-id-token", "alice@example.com", "http://localhost:8080/.sallyport/signed-out", "s1")
	if !ok {
		t.Fatal("no end-session URL")
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if !strings.HasPrefix(to, r.idp.Issuer()+"/end-session?") || q.Get("id_token_hint") != "the-id-token" || q.Get("state") != "s1" ||
		q.Get("client_id") != clientID || q.Get("post_logout_redirect_uri") != "http://localhost:8080/.sallyport/signed-out" {
		t.Error(to)
	}
	to, _ = r.rp.EndSessionURL("", "", "", "")
	if strings.Contains(to, "hint") || strings.Contains(to, "redirect") || strings.Contains(to, "state") {
		t.Errorf("empty parameters are sent: %s", to)
	}
}

func TestLogoutToken(t *testing.T) {
	for name, c := range map[string]struct{ sub, sid string }{
		"person and session": {"alice-1", "s-1"}, "person": {"alice-1", ""}, "session": {"", "s-1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t)
			raw, err := r.idp.LogoutToken(clientID, c.sub, c.sid, nil)
			if err != nil {
				t.Fatal(err)
			}
			out, err := r.rp.VerifyLogoutToken(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			if out.Subject.Issuer != r.idp.Issuer() || out.Subject.ID != c.sub || out.ProviderSession != c.sid || !out.IssuedAt.Equal(r.clock.Now()) {
				t.Errorf("%+v", out)
			}
		})
	}
}

// A logout whose sessions could not be ended must be heard when it is repeated.
func TestForgetLogout(t *testing.T) {
	r := newHarness(t)
	raw, _ := r.idp.LogoutToken(clientID, "alice-1", "", nil)
	out, err := r.rp.VerifyLogoutToken(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second has nothing to forget
		if err := r.rp.ForgetLogout(t.Context(), out); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.rp.VerifyLogoutToken(t.Context(), raw); err != nil {
		t.Error(err)
	}
}

func TestLogoutWhileTheStoreIsDown(t *testing.T) {
	r := newHarness(t)
	raw, _ := r.idp.LogoutToken(clientID, "alice-1", "", nil)
	r.store.Fail(authntest.NotStored, "Put", "Take")
	_, err := r.rp.VerifyLogoutToken(t.Context(), raw)
	wantCode(t, signin.Result{}, err, signin.CodeStoreUnavailable)
	if !errors.Is(err, signin.ErrUnavailable) {
		t.Error(err)
	}
	r.store.Heal()
	if _, err := r.rp.VerifyLogoutToken(t.Context(), raw); err != nil {
		t.Errorf("the provider's next attempt was refused: %v", err)
	}
}

// Strangers can send logout tokens with key ids of their own making; each makes
// go-oidc fetch the keys. They must not reach the provider through us without
// limit, nor use up what sign-ins need.
func TestStrangersCannotFloodTheProvider(t *testing.T) {
	fetches := &counter{}
	r := newHarness(t, func(_ *authntest.IdPConfig, c *signin.Config) { c.HTTPClient = fetches.client("/jwks") })
	stranger := authntest.StartIdP(t, authntest.IdPConfig{Issuer: r.idp.Issuer(), Now: r.clock.Now})
	for range 100 {
		raw, err := stranger.LogoutToken(clientID, "alice-1", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.rp.VerifyLogoutToken(t.Context(), raw); err == nil {
			t.Fatal("a stranger's token was accepted")
		}
	}
	if n := fetches.count(); n > 20 {
		t.Errorf("%d fetches for 100 tokens", n)
	}
	r.mustSignIn("alice-1")
}
