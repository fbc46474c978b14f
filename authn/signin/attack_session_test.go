package signin_test

import (
	"errors"
	"testing"
	"time"

	"sallyport/authn/authntest"
	"sallyport/authn/signin"
)

// TestAttackDisabledAtTheProvider measures that a change at the provider is seen by the very next
// refresh, and that it is told apart from an outage.
func TestAttackDisabledAtTheProvider(t *testing.T) {
	gone := func(t *testing.T, r *harness, token, code string) {
		t.Helper()
		res, err := r.rp.Refresh(t.Context(), subject(r), token)
		wantCode(t, res, err, code)
		if !errors.Is(err, signin.ErrGone) {
			t.Errorf("%v is not ErrGone", err)
		}
	}
	t.Run("DisabledAccount", func(t *testing.T) {
		r := newHarness(t)
		res := r.mustSignIn("alice-1")
		r.idp.Disable("alice-1")
		gone(t, r, res.RefreshToken, signin.CodeRefreshRejected)
	})
	t.Run("RemovedGroup", func(t *testing.T) {
		r := newHarness(t)
		res := r.mustSignIn("alice-1")
		person := alice()
		person.Groups = []string{"staff"}
		r.idp.SetPerson(person)
		again, err := r.rp.Refresh(t.Context(), subject(r), res.RefreshToken)
		if err != nil {
			t.Fatal(err)
		}
		if got := again.Person.Groups; len(got) != 1 || got[0] != "staff" {
			t.Errorf("groups %q after removal", got)
		}
	})
	t.Run("RefreshTokenOfAnotherPerson", func(t *testing.T) {
		r := newHarness(t)
		res := r.mustSignIn("alice-1")
		r.idp.SetFaults(authntest.FaultRefreshAsOther)
		gone(t, r, res.RefreshToken, signin.CodeSubjectChanged)
	})
	t.Run("UserinfoOfAnotherPerson", func(t *testing.T) {
		r := newHarness(t)
		res := r.mustSignIn("alice-1")
		r.idp.SetFaults(authntest.FaultNoRefreshFacts, authntest.FaultUserinfoSub)
		gone(t, r, res.RefreshToken, signin.CodeUserinfoSubject)
	})
	t.Run("EmailNoLongerVerified", func(t *testing.T) {
		r := newHarness(t)
		res := r.mustSignIn("alice-1")
		person := alice()
		person.Verified = false
		r.idp.SetPerson(person)
		gone(t, r, res.RefreshToken, signin.CodeEmailUnverified)
	})
	t.Run("SessionOfAFormerProvider", func(t *testing.T) {
		r := newHarness(t)
		res := r.mustSignIn("alice-1")
		other := subject(r)
		other.Issuer = "https://former.example"
		_, err := r.rp.Refresh(t.Context(), other, res.RefreshToken)
		if !errors.Is(err, signin.ErrGone) {
			t.Errorf("%v is not ErrGone", err)
		}
	})
	for name, fault := range map[string]authntest.IdPFault{
		"AnOutageIsNotGone":           authntest.FaultDown,
		"AWrongClientSecretIsNotGone": authntest.FaultInvalidClient,
		"ABadSignatureIsNotGone":      authntest.FaultForeignKey,
		"AnExpiredTokenIsNotGone":     authntest.FaultExpired,
	} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t)
			res := r.mustSignIn("alice-1")
			r.idp.SetFaults(fault)
			_, err := r.rp.Refresh(t.Context(), subject(r), res.RefreshToken)
			if err == nil || errors.Is(err, signin.ErrGone) {
				t.Errorf("error %v, want one that is not ErrGone", err)
			}
		})
	}
}

// TestAttackForgedLogoutToken offers logout tokens that must end nothing.
func TestAttackForgedLogoutToken(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(map[string]any)
		code string
	}{
		"Nonce":         {func(c map[string]any) { c["nonce"] = "n" }, signin.CodeLogoutNonce},
		"NonceEmpty":    {func(c map[string]any) { c["nonce"] = "" }, signin.CodeLogoutNonce},
		"EventsMissing": {func(c map[string]any) { delete(c, "events") }, signin.CodeLogoutEvent},
		"EventsWrong":   {func(c map[string]any) { c["events"] = map[string]any{"urn:other": map[string]any{}} }, signin.CodeLogoutEvent},
		"EventsText":    {func(c map[string]any) { c["events"] = "http://schemas.openid.net/event/backchannel-logout" }, signin.CodeLogoutEvent},
		"EventNotObject": {func(c map[string]any) {
			c["events"].(map[string]any)["http://schemas.openid.net/event/backchannel-logout"] = true
		}, signin.CodeLogoutEvent},
		"AudienceWrong":    {func(c map[string]any) { c["aud"] = "another-client" }, signin.CodeTokenAudience},
		"IssuerWrong":      {func(c map[string]any) { c["iss"] = "https://elsewhere.example" }, signin.CodeTokenIssuer},
		"NeitherSidNorSub": {func(c map[string]any) { delete(c, "sub"); delete(c, "sid") }, signin.CodeLogoutNobody},
		"TokenIDMissing":   {func(c map[string]any) { delete(c, "jti") }, signin.CodeLogoutTokenID},
		"ExpMissingAndOld": {func(c map[string]any) { delete(c, "exp"); c["iat"] = c["iat"].(int64) - 11*60 }, signin.CodeTokenStale},
		"ExpAndIatMissing": {func(c map[string]any) { delete(c, "exp"); delete(c, "iat") }, signin.CodeTokenExpiry},
		"IatMissing":       {func(c map[string]any) { delete(c, "iat") }, signin.CodeTokenIssuedAt},
		"Expired":          {func(c map[string]any) { c["exp"] = c["iat"].(int64) - 3600 }, signin.CodeTokenExpired},
		"Future":           {func(c map[string]any) { c["iat"] = c["iat"].(int64) + 3600 }, signin.CodeTokenNotYet},
		"NotYetValid":      {func(c map[string]any) { c["nbf"] = c["iat"].(int64) + 3600 }, signin.CodeTokenNotYet},
		"OldButNotExpired": {func(c map[string]any) { c["iat"] = c["iat"].(int64) - 3600 }, signin.CodeTokenStale},
		"SubHomoglyph":     {func(c map[string]any) { c["sub"] = "\u0430lice" }, signin.CodeTokenSubject},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t)
			raw, err := r.idp.LogoutToken(clientID, "alice-1", "s-1", c.edit)
			if err != nil {
				t.Fatal(err)
			}
			wantLogoutRefused(t, r, raw, c.code)
			if r.store.Calls("Put") != 0 {
				t.Error("a refused token left a trace in the store: strangers could fill it")
			}
		})
	}
	t.Run("ReplayedJti", func(t *testing.T) {
		r := newHarness(t)
		raw, _ := r.idp.LogoutToken(clientID, "alice-1", "s-1", nil)
		if _, err := r.rp.VerifyLogoutToken(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			wantLogoutRefused(t, r, raw, signin.CodeLogoutReplay)
		}
	})
	t.Run("ReplayedByAnotherProcess", func(t *testing.T) {
		r := newHarness(t)
		raw, _ := r.idp.LogoutToken(clientID, "alice-1", "s-1", nil)
		if _, err := r.rp.VerifyLogoutToken(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
		second, err := signin.New(r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Discover(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.rp = second
		wantLogoutRefused(t, r, raw, signin.CodeLogoutReplay)
	})
	t.Run("ReplayWhenItIsNoLongerRemembered", func(t *testing.T) {
		r := newHarness(t)
		raw, _ := r.idp.LogoutToken(clientID, "alice-1", "s-1", func(c map[string]any) { c["exp"] = c["iat"].(int64) + 1e6 })
		if _, err := r.rp.VerifyLogoutToken(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
		r.clock.Add(13 * time.Minute)
		wantLogoutRefused(t, r, raw, signin.CodeTokenStale)
	})
	t.Run("IDTokenAsLogoutToken", func(t *testing.T) {
		r := newHarness(t)
		wantLogoutRefused(t, r, r.mustSignIn("alice-1").IDToken, signin.CodeLogoutEvent)
	})
	t.Run("AnotherTypeOfToken", func(t *testing.T) {
		r := newHarness(t)
		raw, _ := r.idp.Sign("secevent+jwt", map[string]any{"iss": r.idp.Issuer()})
		wantLogoutRefused(t, r, raw, signin.CodeTokenType)
	})
	t.Run("Garbage", func(t *testing.T) {
		r := newHarness(t)
		wantLogoutRefused(t, r, "", signin.CodeTokenMissing)
		wantLogoutRefused(t, r, "a.b.c", signin.CodeTokenMalformed)
		wantLogoutRefused(t, r, string(make([]byte, 1<<20)), signin.CodeTokenMalformed)
	})
}

func wantLogoutRefused(t *testing.T, r *harness, raw, code string) {
	t.Helper()
	out, err := r.rp.VerifyLogoutToken(t.Context(), raw)
	wantCode(t, signin.Result{}, err, code)
	if out != (signin.Logout{}) {
		t.Errorf("a refusal came with %+v", out)
	}
}
