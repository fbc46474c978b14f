package signin_test

import (
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn/authntest"
	"sallyport/authn/signin"
)

// TestAttackForgedIDToken holds one case for each claim and parameter an attacker, or a
// confused provider, can bend. Each goes red when its check is taken out.
func TestAttackForgedIDToken(t *testing.T) {
	for name, c := range map[string]struct {
		fault authntest.IdPFault
		code  string
	}{
		"IssuerOfAnotherProvider":  {authntest.FaultWrongIssuer, signin.CodeTokenIssuer},
		"AudienceOfAnotherClient":  {authntest.FaultWrongAudience, signin.CodeTokenAudience},
		"AudienceOursSecondNoAzp":  {authntest.FaultAudienceSecond, signin.CodeTokenParty},
		"AzpMismatch":              {authntest.FaultWrongParty, signin.CodeTokenParty},
		"NonceMissing":             {authntest.FaultNoNonce, signin.CodeTokenNonce},
		"NonceWrong":               {authntest.FaultWrongNonce, signin.CodeTokenNonce},
		"AlgNone":                  {authntest.FaultAlgNone, signin.CodeTokenAlgorithm},
		"AlgHS256WithClientSecret": {authntest.FaultAlgHS256, signin.CodeTokenAlgorithm},
		"KeyThatIsNotPublished":    {authntest.FaultForeignKey, signin.CodeTokenSignature},
		"LogoutTokenAsIDToken":     {authntest.FaultLogoutAsIDToken, signin.CodeTokenType},
		"AccessTokenAsIDToken":     {authntest.FaultAccessTokenType, signin.CodeTokenType},
		"Expired":                  {authntest.FaultExpired, signin.CodeTokenExpired},
		"ExpMissing":               {authntest.FaultNoExpiry, signin.CodeTokenExpiry},
		"IatMissing":               {authntest.FaultNoIssuedAt, signin.CodeTokenIssuedAt},
		"IatBeforeTheFlow":         {authntest.FaultIssuedEarlier, signin.CodeProviderClock},
		"NotYetValid":              {authntest.FaultNotYetValid, signin.CodeTokenNotYet},
		"AccessTokenSwapped":       {authntest.FaultAccessHash, signin.CodeTokenAccessHash},
		"SubMissing":               {authntest.FaultNoSubject, signin.CodeTokenSubject},
		"SubHomoglyph":             {authntest.FaultSubjectUnicode, signin.CodeTokenSubject},
		"EmailUnverified":          {authntest.FaultEmailUnverified, signin.CodeEmailUnverified},
		"EmailTwoAts":              {authntest.FaultEmailTwoAts, signin.CodeEmailMalformed},
		"EmailHomoglyph":           {authntest.FaultEmailHomoglyph, signin.CodeEmailMalformed},
		"IDTokenMissing":           {authntest.FaultNoIDToken, signin.CodeTokenMissing},
		"MixUpIssuer":              {authntest.FaultMixUpIss, signin.CodeIssuerParameter},
		"IssParameterStripped":     {authntest.FaultNoIss, signin.CodeIssuerParamMissing},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t)
			r.idp.SetFaults(c.fault)
			res, err := r.signIn("alice-1")
			wantCode(t, res, err, c.code)
			r.idp.SetFaults()
			r.mustSignIn("alice-1") // it was the fault that was refused
		})
	}
	for name, c := range map[string]struct {
		fault authntest.IdPFault
		code  string
	}{
		"UserinfoOfAnotherSubject":      {authntest.FaultUserinfoSub, signin.CodeUserinfoSubject},
		"UserinfoSignedForAnother":      {authntest.FaultUserinfoJWTElse, signin.CodeTokenAudience},
		"UserinfoConfirmsAnotherEmail":  {authntest.FaultUserinfoEmail, signin.CodeEmailConflict},
		"UserinfoDownIsNotNoGroups":     {authntest.FaultUserinfoDown, signin.CodeUnavailable},
		"UserinfoRedirectIsNotFollowed": {authntest.FaultRedirect, signin.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t, func(ic *authntest.IdPConfig, _ *signin.Config) { ic.MinimalIDToken = true })
			if c.fault == authntest.FaultUserinfoEmail {
				r.idp.EditIDToken(func(claims map[string]any) { claims["email"] = "alice@example.com" })
			}
			r.mustSignIn("alice-1")
			r.idp.SetFaults(c.fault)
			res, err := r.signIn("alice-1")
			wantCode(t, res, err, c.code)
		})
	}
}

// TestAttackStateOfAnotherSignIn covers what the browser brings back.
func TestAttackStateOfAnotherSignIn(t *testing.T) {
	finish := func(t *testing.T, r *harness, q url.Values, binding, code string) *signin.Error {
		t.Helper()
		res, err := r.rp.Finish(t.Context(), q, binding)
		wantCode(t, res, err, code)
		var e *signin.Error
		errors.As(err, &e)
		return e
	}
	t.Run("StateWrong", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		q.Set("state", "A"+q.Get("state")[1:]+"x")
		finish(t, r, q, binding, signin.CodeStateUnknown)
	})
	t.Run("StateMissing", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		q.Del("state")
		finish(t, r, q, binding, signin.CodeStateMissing)
	})
	t.Run("StateOfAnotherBrowser", func(t *testing.T) { // login CSRF
		r := newHarness(t)
		q, owner := r.begin("alice-1")
		_, victim := r.begin("alice-1")
		if e := finish(t, r, q, victim, signin.CodeStateUnknown); e.Payload != nil {
			t.Error("another browser's payload was handed out")
		}
		if _, err := r.rp.Finish(t.Context(), q, owner); err != nil {
			t.Errorf("what another browser showed was spent: %v", err)
		}
	})
	t.Run("NoBindingCookie", func(t *testing.T) {
		r := newHarness(t)
		q, _ := r.begin("alice-1")
		finish(t, r, q, "", signin.CodeStateOtherBrowser)
	})
	t.Run("StateUsedTwice", func(t *testing.T) { // and the provider would take the code again
		r := newHarness(t)
		r.idp.SetFaults(authntest.FaultCodeReplay)
		q, binding := r.begin("alice-1")
		if _, err := r.rp.Finish(t.Context(), q, binding); err != nil {
			t.Fatal(err)
		}
		_, other := r.begin("alice-1")
		if e := finish(t, r, q, other, signin.CodeStateUnknown); e.Payload != nil {
			t.Error("another browser's payload was handed out")
		}
		if e := finish(t, r, q, binding, signin.CodeStateSpent); string(e.Payload) != "payload" {
			t.Errorf("payload %q: the second of a double click does not know where the first went", e.Payload)
		}
		finish(t, r, q, binding, signin.CodeStateUnknown)
	})
	t.Run("StateUsedTwiceMuchLater", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		if _, err := r.rp.Finish(t.Context(), q, binding); err != nil {
			t.Fatal(err)
		}
		r.clock.Add(time.Minute)
		finish(t, r, q, binding, signin.CodeStateUnknown)
	})
	t.Run("StateSpentByARefusal", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		q.Set("error", "access_denied")
		finish(t, r, q, binding, signin.CodeAccessDenied)
		finish(t, r, q, binding, signin.CodeStateUnknown)
	})
	t.Run("StateNotSpentWithoutACookie", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		finish(t, r, q, "", signin.CodeStateOtherBrowser)
		if _, err := r.rp.Finish(t.Context(), q, binding); err != nil {
			t.Error(err)
		}
	})
	t.Run("StateExpired", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		r.clock.Add(signin.FlowLifetime)
		finish(t, r, q, binding, signin.CodeStateUnknown)
	})
	t.Run("CodeReplayedInAnotherFlow", func(t *testing.T) {
		r := newHarness(t)
		stolen, _ := r.begin("alice-1")
		q, binding := r.begin("alice-1")
		q.Set("code", stolen.Get("code")) // PKCE: the verifier is another flow's
		finish(t, r, q, binding, signin.CodeCodeRejected)
	})
	t.Run("NonceReusedFromAnotherFlow", func(t *testing.T) {
		r := newHarness(t)
		var nonce any
		r.idp.EditIDToken(func(c map[string]any) { nonce = c["nonce"] })
		r.mustSignIn("alice-1")
		r.idp.EditIDToken(func(c map[string]any) { c["nonce"] = nonce })
		res, err := r.signIn("alice-1")
		wantCode(t, res, err, signin.CodeTokenNonce)
	})
	for _, name := range []string{"state", "code", "iss", "error"} {
		t.Run("Repeated_"+name, func(t *testing.T) {
			r := newHarness(t)
			q, binding := r.begin("alice-1")
			q[name] = []string{q.Get(name), "x"}
			finish(t, r, q, binding, signin.CodeParameterRepeated)
		})
	}
	t.Run("ErrorFromAnotherIssuer", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		q = url.Values{"state": q["state"], "error": {"access_denied"}, "iss": {"https://elsewhere.example"}}
		finish(t, r, q, binding, signin.CodeIssuerParameter)
	})
	t.Run("NeitherCodeNorError", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		q.Del("code")
		if e := finish(t, r, q, binding, signin.CodeCodeMissing); string(e.Payload) != "payload" {
			t.Errorf("payload %q: the page cannot offer to try again", e.Payload)
		}
	})
	t.Run("FlowOfAnotherProvider", func(t *testing.T) { // the configuration changed in between
		r := newHarness(t)
		other := newHarness(t, func(_ *authntest.IdPConfig, c *signin.Config) { c.Flows = r.store })
		q, binding := r.begin("alice-1")
		finish(t, other, q, binding, signin.CodeStateUnknown)
	})
}

// TestAttackRaceOfTwoCallbacks has two finishes of one flow race, many times over.
func TestAttackRaceOfTwoCallbacks(t *testing.T) {
	r := newHarness(t)
	r.idp.SetFaults(authntest.FaultCodeReplay) // only our state stands between
	for range 10 {
		q, binding := r.begin("alice-1")
		var wg sync.WaitGroup
		won := make(chan error, 4)
		for range cap(won) {
			wg.Go(func() {
				_, err := r.rp.Finish(t.Context(), q, binding)
				won <- err
			})
		}
		wg.Wait()
		close(won)
		winners, spent := 0, 0
		for err := range won {
			bad, _ := errors.AsType[*signin.Error](err)
			switch {
			case err == nil:
				winners++
			case bad != nil && bad.Code == signin.CodeStateSpent: // it follows the winner, and has nothing of its own
				spent++
			default:
				wantCode(t, signin.Result{}, err, signin.CodeStateUnknown)
			}
		}
		if winners != 1 || spent > 1 {
			t.Fatalf("%d finishes won, want 1; %d follow it", winners, spent)
		}
	}
}

// TestAttackEmailSpellings: spellings of one address are one address, look-alikes are
// no one, and the subject, not the address, is who a person is.
func TestAttackEmailSpellings(t *testing.T) {
	for name, c := range map[string]struct {
		claims map[string]any
		code   string // "" for accepted
	}{
		"UpperCase":             {map[string]any{"email": "ALICE@EXAMPLE.COM"}, ""},
		"Fullwidth":             {map[string]any{"email": "\uff41lice@example.com"}, signin.CodeEmailMalformed},
		"KelvinSign":            {map[string]any{"email": "alice@boo\u212a.example"}, signin.CodeEmailMalformed},
		"LeadingSpace":          {map[string]any{"email": " alice@example.com"}, signin.CodeEmailMalformed},
		"Newline":               {map[string]any{"email": "alice@example.com\nbcc"}, signin.CodeEmailMalformed},
		"DisplayName":           {map[string]any{"email": "Alice <alice@example.com>"}, signin.CodeEmailMalformed},
		"QuotedLocalPart":       {map[string]any{"email": `"alice@example.com"@evil.example`}, signin.CodeEmailMalformed},
		"List":                  {map[string]any{"email": []string{"alice@example.com"}}, signin.CodeEmailMalformed},
		"OtherCaseOfTheClaim":   {map[string]any{"Email": "mallory@example.com"}, ""},
		"VerifiedInOtherCase":   {map[string]any{"email_verified": false, "Email_Verified": true}, signin.CodeEmailUnverified},
		"VerifiedAsText":        {map[string]any{"email_verified": "true"}, ""},
		"VerifiedAsOtherText":   {map[string]any{"email_verified": "yes"}, signin.CodeEmailUnverified},
		"VerifiedAsNumber":      {map[string]any{"email_verified": 1}, signin.CodeEmailUnverified},
		"SubWithReplacement":    {map[string]any{"sub": "alice\ufffd"}, signin.CodeTokenMalformed},
		"SubWithControl":        {map[string]any{"sub": "alice\x00"}, signin.CodeTokenMalformed},
		"SubTooLong":            {map[string]any{"sub": strings.Repeat("a", 256)}, signin.CodeTokenSubject},
		"UsernameIsNoEmail":     {map[string]any{"email": nil, "preferred_username": "alice@example.com"}, ""},
		"GroupsAsNumber":        {map[string]any{"groups": 7}, signin.CodeClaimMalformed},
		"GroupWithNewline":      {map[string]any{"groups": []string{"staff\r\nX-Admin: 1"}}, signin.CodeClaimMalformed},
		"GroupOf2KiB":           {map[string]any{"groups": strings.Repeat("a", 2048)}, signin.CodeClaimMalformed},
		"GroupsWithNull":        {map[string]any{"groups": []any{"staff", nil}}, signin.CodeClaimMalformed},
		"CountryByName":         {map[string]any{"country": "United States"}, signin.CodeClaimMalformed},
		"CountryThreeLetters":   {map[string]any{"country": []string{"USA"}}, signin.CodeClaimMalformed},
		"CountryHomoglyph":      {map[string]any{"country": "\u0421A"}, signin.CodeClaimMalformed},
		"AudienceAsNumber":      {map[string]any{"aud": 7}, signin.CodeTokenMalformed},
		"IssuedInTheFuture":     {map[string]any{"iat": 4102444800}, signin.CodeTokenNotYet},
		"EmailEmpty":            {map[string]any{"email": ""}, signin.CodeEmailMissing},
		"TokenOf64KiB":          {map[string]any{"pad": strings.Repeat("x", 64<<10)}, signin.CodeTokenMalformed},
		"ExpiryAsText":          {map[string]any{"exp": "9999999999"}, signin.CodeTokenMalformed},
		"ExpiryBeyondTheYears":  {map[string]any{"exp": 1e300}, signin.CodeTokenMalformed},
		"OtherCaseOfTheNonce":   {map[string]any{"nonce": nil, "Nonce": "x"}, signin.CodeTokenNonce},
		"OtherCaseOfTheSubject": {map[string]any{"sub": nil, "SUB": "alice-1"}, signin.CodeTokenSubject},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t)
			r.idp.EditIDToken(func(claims map[string]any) {
				for k, v := range c.claims {
					claims[k] = v
				}
			})
			res, err := r.signIn("alice-1")
			if c.code != "" {
				wantCode(t, res, err, c.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if res.Person.Email != "alice@example.com" || res.Person.Subject != subject(r) {
				t.Errorf("signed in as %+v", res.Person)
			}
		})
	}
}
