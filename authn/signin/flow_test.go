package signin_test

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn/authntest"
	"sallyport/authn/signin"
)

func TestSignIn(t *testing.T) {
	r := newHarness(t)
	res := r.mustSignIn("alice-1")
	p := res.Person
	switch {
	case p.Subject != subject(r):
		t.Errorf("subject %+v", p.Subject)
	case p.Email != "alice@example.com" || p.Name != "Alice Ames":
		t.Errorf("person %+v", p)
	case !slices.Equal(p.Groups, []string{"treasury", "staff"}):
		t.Errorf("groups %q", p.Groups)
	case !slices.Equal(p.Countries, []string{"US", "CA"}):
		t.Errorf("countries %q", p.Countries)
	case string(res.Payload) != "payload":
		t.Errorf("payload %q", res.Payload)
	case !res.AuthTime.Equal(r.clock.Now()):
		t.Errorf("auth time %s", res.AuthTime)
	case res.ProviderSession == "" || res.IDToken == "" || res.RefreshToken == "":
		t.Errorf("sid %q, tokens missing", res.ProviderSession)
	}
}

func TestBeginAsksForWhatItMust(t *testing.T) {
	r := newHarness(t, func(_ *authntest.IdPConfig, c *signin.Config) { c.Scopes = []string{"openid", "email", "groups"} })
	seen := map[string]bool{}
	for range 2 {
		f, err := r.rp.Begin(t.Context(), netip.Addr{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(f.RedirectURL)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		for name, want := range map[string]string{"response_type": "code", "client_id": clientID, "redirect_uri": redirectURL,
			"code_challenge_method": "S256", "scope": "openid email groups"} {
			if q.Get(name) != want {
				t.Errorf("%s is %q, want %q", name, q.Get(name), want)
			}
		}
		for _, secret := range []string{q.Get("state"), q.Get("nonce"), q.Get("code_challenge"), f.Binding} {
			if len(secret) != 43 || seen[secret] { // 256 bits each, all different
				t.Errorf("secret %q", secret)
			}
			seen[secret] = true
		}
	}
}

func TestSignInVariants(t *testing.T) {
	for name, c := range map[string]struct {
		opt    option
		faults []authntest.IdPFault
	}{
		"RS256": {opt: func(ic *authntest.IdPConfig, _ *signin.Config) { ic.Algorithm = "RS256" }},
		"PS256": {opt: func(ic *authntest.IdPConfig, _ *signin.Config) { ic.Algorithm = "PS256" }},
		"EdDSA": {opt: func(ic *authntest.IdPConfig, _ *signin.Config) { ic.Algorithm = "EdDSA" }},
		"ClaimsInUserinfo": {opt: func(ic *authntest.IdPConfig, _ *signin.Config) {
			ic.MinimalIDToken = true
		}},
		"ClaimsInSignedUserinfo": {opt: func(ic *authntest.IdPConfig, _ *signin.Config) {
			ic.MinimalIDToken = true
		}, faults: []authntest.IdPFault{authntest.FaultUserinfoJWT}},
		"EmailVerifiedInUserinfo": {faults: []authntest.IdPFault{authntest.FaultNoEmailVerified}},
		"EmailInUserinfo":         {faults: []authntest.IdPFault{authntest.FaultNoEmail}},
		"PublicClient": {opt: func(ic *authntest.IdPConfig, c *signin.Config) {
			ic.Clients[0].Secret, c.ClientSecret = "", ""
		}},
		"NoRefreshToken": {faults: []authntest.IdPFault{authntest.FaultNoRefreshToken}},
	} {
		t.Run(name, func(t *testing.T) {
			var opts []option
			if c.opt != nil {
				opts = append(opts, c.opt)
			}
			r := newHarness(t, opts...)
			r.idp.SetFaults(c.faults...)
			res := r.mustSignIn("alice-1")
			p := res.Person
			if p.Email != "alice@example.com" || len(p.Groups) != 2 || len(p.Countries) != 2 || p.Name != "Alice Ames" {
				t.Errorf("person %+v", p)
			}
			if name == "NoRefreshToken" && res.RefreshToken != "" {
				t.Error("a refresh token from nowhere")
			}
		})
	}
}

func TestClaimShapes(t *testing.T) {
	for name, c := range map[string]struct {
		groups, country any
		wantGroups      []string
		wantCountries   []string
	}{
		"lists":           {[]string{"a", "b"}, []string{"us", "DE"}, []string{"a", "b"}, []string{"US", "DE"}},
		"strings":         {"CN=Ops Team,OU=x", "us, de", []string{"CN=Ops Team,OU=x"}, []string{"US", "DE"}},
		"repeated, empty": {[]string{"a", "", "a"}, []string{"US", "us", ""}, []string{"a"}, []string{"US"}},
		"empty":           {[]string{}, "", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t)
			r.idp.EditIDToken(func(claims map[string]any) { claims["groups"], claims["country"] = c.groups, c.country })
			p := r.mustSignIn("alice-1").Person
			if !slices.Equal(p.Groups, c.wantGroups) || !slices.Equal(p.Countries, c.wantCountries) {
				t.Errorf("groups %q countries %q", p.Groups, p.Countries)
			}
		})
	}
	t.Run("countries are not asked for", func(t *testing.T) {
		r := newHarness(t, func(_ *authntest.IdPConfig, c *signin.Config) { c.CountriesClaim = "" })
		r.idp.EditIDToken(func(claims map[string]any) { claims["country"] = 7 })
		if p := r.mustSignIn("alice-1").Person; p.Countries != nil {
			t.Errorf("countries %q", p.Countries)
		}
	})
	t.Run("a name loses what cannot be seen", func(t *testing.T) {
		r := newHarness(t)
		for claim, want := range map[string]string{" Al\u202eice\u200b ": "Alice", strings.Repeat("é", 200): strings.Repeat("é", 100), "\x07": ""} {
			r.idp.EditIDToken(func(claims map[string]any) { claims["name"] = claim })
			if p := r.mustSignIn("alice-1").Person; p.Name != want {
				t.Errorf("name %q, want %q", p.Name, want)
			}
		}
	})
}

func TestTheProviderSaysNo(t *testing.T) {
	r := newHarness(t)
	r.idp.Disable("alice-1")
	res, err := r.signIn("alice-1")
	wantCode(t, res, err, signin.CodeAccessDenied)
	var e *signin.Error
	if errors.As(err, &e); string(e.Payload) != "payload" {
		t.Errorf("payload %q: the page cannot offer to try again", e.Payload)
	}
	r = newHarness(t)
	r.idp.SetFaults(authntest.FaultInvalidClient)
	res, err = r.signIn("alice-1")
	wantCode(t, res, err, signin.CodeClientRejected)
	if said := err.Error(); !errors.As(err, &e) || !strings.Contains(e.Public, "does not accept this application") {
		t.Errorf("the person is told %q for %s: nothing of theirs is wrong", e.Public, said)
	}
	q, binding := r.begin("alice-1")
	res, err = r.rp.Finish(t.Context(), url.Values{"state": q["state"], "iss": q["iss"], "error": {"invalid_request"}}, binding)
	wantCode(t, res, err, signin.CodeProviderError)
}

// A store or a provider that is down must deny, and say so in a way that the
// caller can tell from a refusal.
func TestOutages(t *testing.T) {
	unavailable := func(t *testing.T, res signin.Result, err error, code string) {
		t.Helper()
		wantCode(t, res, err, code)
		if !errors.Is(err, signin.ErrUnavailable) {
			t.Errorf("%v is not ErrUnavailable", err)
		}
	}
	t.Run("store at begin", func(t *testing.T) {
		r := newHarness(t)
		for _, f := range []authntest.Fault{authntest.NotStored, authntest.Stored} {
			r.store.FailNext("Put", f)
			flow, err := r.rp.Begin(t.Context(), netip.Addr{}, nil)
			unavailable(t, signin.Result{}, err, signin.CodeStoreUnavailable)
			if flow != (signin.Flow{}) {
				t.Error("a flow came with the error")
			}
		}
	})
	t.Run("store at finish", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		r.store.FailNext("Take", authntest.NotStored)
		res, err := r.rp.Finish(t.Context(), q, binding)
		unavailable(t, res, err, signin.CodeStoreUnavailable)
		if _, err := r.rp.Finish(t.Context(), q, binding); err != nil { // nothing was spent
			t.Error(err)
		}
		q, binding = r.begin("alice-1")
		r.store.FailNext("Take", authntest.Stored)
		res, err = r.rp.Finish(t.Context(), q, binding)
		unavailable(t, res, err, signin.CodeStoreUnavailable)
		res, err = r.rp.Finish(t.Context(), q, binding)
		wantCode(t, res, err, signin.CodeStateUnknown)
	})
	t.Run("provider at finish", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		r.idp.SetFaults(authntest.FaultDown)
		res, err := r.rp.Finish(t.Context(), q, binding)
		unavailable(t, res, err, signin.CodeUnavailable)
	})
	t.Run("keys at finish", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		r.idp.SetFaults(authntest.FaultKeysDown)
		res, err := r.rp.Finish(t.Context(), q, binding)
		unavailable(t, res, err, signin.CodeUnavailable)
	})
	t.Run("the browser gave up", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		ctx, cancel := context.WithCancel(t.Context())
		r.store.OnCall("Take", cancel)
		_, err := r.rp.Finish(ctx, q, binding)
		if !errors.Is(err, signin.ErrUnavailable) {
			t.Error(err)
		}
	})
	t.Run("before discovery", func(t *testing.T) {
		r := newHarness(t)
		q, binding := r.begin("alice-1")
		fresh, err := signin.New(r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := fresh.Ready(); !errors.Is(err, signin.ErrUnavailable) {
			t.Errorf("ready: %v", err)
		}
		_, err = fresh.Begin(t.Context(), netip.Addr{}, nil)
		unavailable(t, signin.Result{}, err, signin.CodeUnavailable)
		res, err := fresh.Finish(t.Context(), q, binding)
		unavailable(t, res, err, signin.CodeUnavailable)
		_, err = fresh.Refresh(t.Context(), subject(r), "x")
		unavailable(t, signin.Result{}, err, signin.CodeUnavailable)
		_, err = fresh.VerifyLogoutToken(t.Context(), "x")
		unavailable(t, signin.Result{}, err, signin.CodeUnavailable)
		if _, ok := fresh.EndSessionURL("", "", "", ""); ok {
			t.Error("an end-session URL from nowhere")
		}
		if _, err := r.rp.Finish(t.Context(), q, binding); err != nil { // the state was not spent
			t.Error(err)
		}
	})
}

func TestPayloadIsBounded(t *testing.T) {
	r := newHarness(t)
	if _, err := r.rp.Begin(t.Context(), netip.Addr{}, make([]byte, 16<<10+1)); err == nil {
		t.Error("accepted")
	}
}

func TestClockSkewIsTolerated(t *testing.T) {
	r := newHarness(t)
	r.idp.EditIDToken(func(c map[string]any) {
		c["iat"] = r.clock.Now().Add(time.Minute).Unix() // the provider runs ahead
		c["exp"] = float64(r.clock.Now().Unix()) - 60.5  // or we do
	})
	r.mustSignIn("alice-1")
}
