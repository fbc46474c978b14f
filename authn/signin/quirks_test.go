package signin_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn/authntest"
	"sallyport/authn/signin"
)

// claimsOf is a provider's way to describe a person.
type claimsOf func(claims map[string]any)

func without(names ...string) claimsOf {
	return func(c map[string]any) {
		for _, name := range names {
			delete(c, name)
		}
	}
}

func noticeCodes(res signin.Result) (codes []string) {
	for _, n := range res.Notices {
		codes = append(codes, n.Code)
	}
	return codes
}

// Absent is not false, and neither is good unless the operator says so.
func TestWhoVouchesForTheAddress(t *testing.T) {
	for name, c := range map[string]struct {
		shape  claimsOf
		claim  string
		trust  bool
		code   string // "" for accepted
		says   string // in the error
		email  string
		notice bool
	}{
		"absent":                        {without("email_verified"), "", false, signin.CodeEmailNotStated, "oidc.email_verified: issuer", "", false},
		"null":                          {func(c map[string]any) { c["email_verified"] = nil }, "", false, signin.CodeEmailNotStated, "absent", "", false},
		"absent, stated by the company": {without("email_verified"), "", true, "", "", "alice@example.com", true},
		"false, stated by the company":  {func(c map[string]any) { c["email_verified"] = false }, "", true, signin.CodeEmailUnverified, "is false", "", false},
		"true, stated by the company":   {func(map[string]any) {}, "", true, "", "", "alice@example.com", false},
		"upn":                           {func(c map[string]any) { c["upn"] = c["email"]; delete(c, "email"); delete(c, "email_verified") }, "upn", true, "", "", "alice@example.com", true},
		"list of one": {func(c map[string]any) {
			c["emails"] = []any{c["email"]}
			delete(c, "email")
			delete(c, "email_verified")
		}, "emails", true, "", "", "alice@example.com", true},
		"list of two":              {func(c map[string]any) { c["emails"] = []any{c["email"], "m@example.com"}; delete(c, "email") }, "emails", true, signin.CodeEmailMalformed, "emails.0", "", false},
		"first of a list":          {func(c map[string]any) { c["emails"] = []any{c["email"], "m@example.com"}; delete(c, "email") }, "emails.0", true, "", "", "alice@example.com", true},
		"inside an object":         {func(c map[string]any) { c["profile"] = map[string]any{"mail": c["email"]}; delete(c, "email") }, "profile.mail", true, "", "", "alice@example.com", true},
		"another claim is missing": {without("email_verified"), "upn", true, signin.CodeEmailMissing, "oidc.email_claim", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t, func(_ *authntest.IdPConfig, cfg *signin.Config) {
				cfg.EmailClaim, cfg.EmailsVerified = c.claim, c.trust
			})
			r.idp.Reshape(c.shape)
			res, err := r.signIn("alice-1")
			if c.code != "" {
				wantCode(t, res, err, c.code)
				var e *signin.Error
				if errors.As(err, &e); !strings.Contains(err.Error(), c.says) || e.Subject != "alice-1" {
					t.Errorf("subject %q, error %v; want %q", e.Subject, err, c.says)
				}
				return
			}
			if err != nil || string(res.Person.Email) != c.email || slices.Contains(noticeCodes(res), signin.NoticeEmailAssumed) != c.notice {
				t.Errorf("%q %v, notices %q", res.Person.Email, err, noticeCodes(res))
			}
		})
	}
	t.Run("email_verified says nothing about another claim", func(t *testing.T) {
		r := newHarness(t)
		r.cfg.EmailClaim = "upn"
		if _, err := signin.New(r.cfg); err == nil {
			t.Error("accepted")
		}
	})
}

func TestGroupsAsProvidersWriteThem(t *testing.T) {
	graph := func(ic *authntest.IdPConfig, c *signin.Config) { c.GroupsEndpoint = "graph" }
	over := func(c map[string]any) {
		delete(c, "groups")
		c["_claim_names"] = map[string]any{"groups": "src1"}
		c["_claim_sources"] = map[string]any{"src1": map[string]any{"endpoint": "https://graph.windows.net/t/users/u/getMemberObjects"}}
	}
	for name, c := range map[string]struct {
		shape   claimsOf
		claim   string
		format  signin.GroupsFormat
		fault   authntest.IdPFault
		options []option
		want    []string
		notice  string
	}{
		"absent":                    {without("groups"), "", "", "", nil, nil, signin.NoticeGroupsAbsent},
		"empty":                     {func(c map[string]any) { c["groups"] = []string{} }, "", "", "", nil, nil, ""},
		"object":                    {func(c map[string]any) { c["groups"] = map[string]any{"ops": false} }, "", "", "", nil, nil, signin.NoticeGroupsObject},
		"keys":                      {func(c map[string]any) { c["groups"] = map[string]any{"ops": map[string]any{"1": "x"}, "dev": nil} }, "", signin.GroupsKeys, "", nil, []string{"dev", "ops"}, ""},
		"keys, and a list":          {func(map[string]any) {}, "", signin.GroupsKeys, "", nil, []string{"treasury", "staff"}, ""},
		"one string":                {func(c map[string]any) { c["groups"] = "ops" }, "", "", "", nil, []string{"ops"}, ""},
		"one string, separators":    {func(c map[string]any) { c["groups"] = "ops,dev" }, "", "", "", nil, []string{"ops,dev"}, signin.NoticeGroupsOneString},
		"commas":                    {func(c map[string]any) { c["groups"] = "ops, Dev Team;sec" }, "", signin.GroupsCommas, "", nil, []string{"ops", "Dev Team", "sec"}, ""},
		"spaces":                    {func(c map[string]any) { c["groups"] = "ops  dev" }, "", signin.GroupsSpaces, "", nil, []string{"ops", "dev"}, ""},
		"commas, and a list":        {func(map[string]any) {}, "", signin.GroupsCommas, "", nil, []string{"treasury", "staff"}, ""},
		"path":                      {func(c map[string]any) { c["realm_access"] = map[string]any{"roles": []string{"ops"}} }, "realm_access.roles", "", "", nil, []string{"ops"}, ""},
		"path through a dotted key": {func(c map[string]any) { c["https://corp.example/x"] = map[string]any{"roles": []string{"ops"}} }, "https://corp.example/x.roles", "", "", nil, []string{"ops"}, ""},
		"name with dots":            {func(c map[string]any) { c["https://corp.example/groups"] = []string{"ops"} }, "https://corp.example/groups", "", "", nil, []string{"ops"}, ""},
		"overage":                   {over, "", "", "", nil, nil, signin.NoticeGroupsOverage},
		"overage, hasgroups":        {func(c map[string]any) { delete(c, "groups"); c["hasgroups"] = true }, "", "", "", nil, nil, signin.NoticeGroupsOverage},
		"overage, fetched":          {over, "", "", "", []option{graph}, []string{"treasury", "staff"}, ""},
		"overage, refused":          {over, "", "", authntest.FaultGroupsForbidden, []option{graph}, nil, signin.NoticeGroupsOverage},
	} {
		t.Run(name, func(t *testing.T) {
			options := append(c.options, func(_ *authntest.IdPConfig, cfg *signin.Config) {
				cfg.GroupsFormat = c.format
				if c.claim != "" {
					cfg.GroupsClaim = c.claim
				}
			})
			r := newHarness(t, options...)
			r.idp.Reshape(c.shape)
			if c.fault != "" {
				r.idp.SetFaults(c.fault)
			}
			res := r.mustSignIn("alice-1")
			codes := noticeCodes(res)
			if !slices.Equal(res.Person.Groups, c.want) || c.notice == "" && len(codes) > 0 || c.notice != "" && !slices.Equal(codes, []string{c.notice}) {
				t.Errorf("groups %q, notices %q", res.Person.Groups, codes)
			}
		})
	}
}

// An outage of the groups endpoint must not take anyone's groups away.
func TestGroupsEndpointDown(t *testing.T) {
	r := newHarness(t, func(_ *authntest.IdPConfig, c *signin.Config) { c.GroupsEndpoint = "http://127.0.0.1:1/none" })
	r.idp.Reshape(func(c map[string]any) { delete(c, "groups"); c["hasgroups"] = true })
	res, err := r.signIn("alice-1")
	wantCode(t, res, err, signin.CodeUnavailable)
}

// An answer that is none is not "no groups": rules that block a group would not apply.
func TestGroupsEndpointThatSaysNothing(t *testing.T) {
	for _, answer := range []string{`{}`, `null`, `{"value":null}`, `{"groups":["ops"]}`, `[]`, ``, `{"value":{}}`} {
		graph := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer) }))
		defer graph.Close()
		r := newHarness(t, func(_ *authntest.IdPConfig, c *signin.Config) { c.GroupsEndpoint = graph.URL })
		r.idp.Reshape(func(c map[string]any) { delete(c, "groups"); c["hasgroups"] = true })
		res, err := r.signIn("alice-1")
		wantCode(t, res, err, signin.CodeClaimMalformed)
	}
}

func clientKey(t *testing.T) (*signin.ClientKey, *ecdsa.PrivateKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	k, err := signin.ReadClientKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "key-1")
	if err != nil {
		t.Fatal(err)
	}
	return k, private
}

func TestClientAuthentication(t *testing.T) {
	const odd = "a+b%2Fc/d e&f=g:h"
	key, private := clientKey(t)
	for name, c := range map[string]struct {
		at     []string
		auth   signin.ClientAuth
		secret string
		key    *signin.ClientKey
		fault  authntest.IdPFault
		says   string // "" for accepted
	}{
		"auto prefers basic":           {nil, signin.AuthAuto, odd, nil, "", ""},
		"auto takes post":              {[]string{"client_secret_post"}, signin.AuthAuto, odd, nil, "", ""},
		"post where basic is the same": {nil, signin.AuthPost, odd, nil, "", ""},
		"basic at a careless provider": {nil, signin.AuthBasic, odd, nil, authntest.FaultRawBasic, "client_secret_basic was tried"},
		"post at a careless provider":  {nil, signin.AuthPost, odd, nil, authntest.FaultRawBasic, ""},
		"basic where only post is":     {[]string{"client_secret_post"}, signin.AuthBasic, odd, nil, "", "oidc.client_auth"},
		"private key":                  {[]string{"private_key_jwt"}, signin.AuthPrivateKey, "", key, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t, func(ic *authntest.IdPConfig, cfg *signin.Config) {
				ic.ClientAuth, ic.Clients[0].Secret = c.at, c.secret
				if c.key != nil {
					ic.Clients[0].Key = private.Public()
				}
				cfg.ClientAuth, cfg.ClientSecret, cfg.ClientKey = c.auth, c.secret, c.key
			})
			if c.fault != "" {
				r.idp.SetFaults(c.fault)
			}
			res, err := r.signIn("alice-1")
			if c.says != "" {
				wantCode(t, res, err, signin.CodeClientRejected)
				if !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v does not say %q", err, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.rp.Refresh(t.Context(), subject(r), res.RefreshToken); err != nil {
				t.Error("refresh:", err)
			}
		})
	}
}

func TestClientKeyFiles(t *testing.T) {
	for text, says := range map[string]string{
		"":      "no private key",
		"hello": "no private key",
		"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n": "openssl pkey",
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n":                     "private key:",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n":                     "certificate:",
	} {
		if _, err := signin.ReadClientKey([]byte(text), ""); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.30q: %v, want %q", text, err, says)
		}
	}
}

const secp256k1 = `{"kty":"EC","crv":"secp256k1","kid":"k1-odd","use":"sig","x":"MdzhPm1tC5E_Aq_NZsE-6ApWO6CNXr9zGk3VmM0y-0c","y":"ZAzkJjDJYZxzVZ3vQWqYvKcFt_NAzCO6L3_7Z7Zrj_M"}`

// RFC 7517 section 5: a key that no token names is no reason to refuse the others.
func TestKeysThatCannotBeRead(t *testing.T) {
	var log strings.Builder
	r := newHarness(t, func(_ *authntest.IdPConfig, c *signin.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, jwk := range []string{secp256k1, `{"kty":"RSA","kid":"no-modulus"}`, `{"kty":"AKP","alg":"ML-DSA-44","kid":"pq","pub":"AAAA"}`, `7`} {
		r.idp.PublishKey(jwk)
	}
	r.mustSignIn("alice-1")
	for _, id := range []string{"k1-odd", "no-modulus", "pq"} {
		if strings.Count(log.String(), "key_id="+id) != 1 {
			t.Errorf("%s is not named once in the log:\n%s", id, log.String())
		}
	}
	r.idp.EditIDToken(nil)
	raw, err := r.idp.LogoutToken(clientID, "alice-1", "s-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.rp.VerifyLogoutToken(t.Context(), raw); err != nil {
		t.Error("logout:", err)
	}
}

func TestAuthorizationParameters(t *testing.T) {
	r := newHarness(t, func(_ *authntest.IdPConfig, c *signin.Config) {
		c.AuthorizationParams = map[string]string{"access_type": "offline", "prompt": "consent"}
	})
	for _, c := range []struct {
		prompt []string
		want   string
	}{{nil, "consent"}, {[]string{"select_account"}, "consent select_account"}} {
		f, err := r.rp.Begin(t.Context(), netip.Addr{}, nil, c.prompt...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.idp.SignIn(f.RedirectURL, "alice-1"); err != nil {
			t.Fatal(err)
		}
		if q := r.idp.Asked(); q.Get("prompt") != c.want || q.Get("access_type") != "offline" || q.Get("code_challenge_method") != "S256" {
			t.Errorf("asked %v", q)
		}
	}
}

// What providers say when they refuse a person, and what that person is told.
func TestAuthorizationErrors(t *testing.T) {
	for _, c := range []struct{ code, description, want, public string }{
		{"temporarily_unavailable", "maintenance", signin.CodeUnavailable, "try again"},
		{"server_error", "AADSTS90033: A transient error has occurred", signin.CodeUnavailable, "try again"},
		{"access_denied", "AADSTS50105: Your administrator has configured the application to block users unless they are specifically granted access", signin.CodeNotAssigned, "assign"},
		{"interaction_required", "AADSTS50105: the signed in user is not assigned to a role", signin.CodeNotAssigned, "assign"},
		{"access_denied", "User is not assigned to the client application.", signin.CodeNotAssigned, "assign"},
		{"access_denied", "AADSTS53003: Access has been blocked by Conditional Access policies", signin.CodeConditions, "device"},
		{"access_denied", "AADSTS53000: Device is not in required device state", signin.CodeConditions, "device"},
		{"consent_required", "AADSTS65001: The user or administrator has not consented", signin.CodeConsent, "administrator"},
		{"access_denied", "AADSTS65004: User declined to consent to access the app", signin.CodeAccessDenied, "cancelled"},
		{"access_denied", "", signin.CodeAccessDenied, "cancelled"},
		{"invalid_scope", "unknown scope offline_access\x1b[2J", signin.CodeProviderError, ""},
	} {
		r := newHarness(t)
		r.idp.RefuseAuthorize(c.code, c.description)
		res, err := r.signIn("alice-1")
		wantCode(t, res, err, c.want)
		var e *signin.Error
		if errors.As(err, &e); !strings.Contains(e.Public, c.public) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %q, %v", c.description, e.Public, err)
		}
		if first, _, _ := strings.Cut(c.description, ":"); !strings.Contains(err.Error(), strings.TrimSuffix(first, "\x1b[2J")) {
			t.Errorf("%v lacks the description", err)
		}
	}
}

// A provider's clock that is behind ours is a clock, not an attack.
func TestProviderClockBehind(t *testing.T) {
	r := newHarness(t)
	r.idp.EditIDToken(func(c map[string]any) {
		c["iat"] = r.clock.Now().Add(-3 * time.Minute).Unix()
		c["exp"] = r.clock.Now().Add(2 * time.Minute).Unix()
	})
	res, err := r.signIn("alice-1")
	wantCode(t, res, err, signin.CodeProviderClock)
	var e *signin.Error
	if errors.As(err, &e); !strings.Contains(e.Public, "clock") || e.Subject != "alice-1" {
		t.Errorf("%q of %q", e.Public, e.Subject)
	}
}

func TestLogoutTokenWithoutExpiry(t *testing.T) {
	r := newHarness(t)
	raw, err := r.idp.LogoutToken(clientID, "alice-1", "s-1", without("exp"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.rp.VerifyLogoutToken(t.Context(), raw)
	if err != nil || !out.NoExpiry || out.ProviderSession != "s-1" {
		t.Fatalf("%+v %v", out, err)
	}
	_, err = r.rp.VerifyLogoutToken(t.Context(), raw)
	var e *signin.Error
	if !errors.As(err, &e) || e.Code != signin.CodeLogoutReplay {
		t.Error("a second delivery:", err)
	}
	r.clock.Add(10 * time.Minute)
	if raw, err = r.idp.LogoutToken(clientID, "alice-1", "s-1", func(c map[string]any) {
		delete(c, "exp")
		c["iat"] = r.clock.Now().Add(-10 * time.Minute).Unix()
	}); err != nil {
		t.Fatal(err)
	}
	if _, err = r.rp.VerifyLogoutToken(context.Background(), raw); !errors.As(err, &e) || e.Code != signin.CodeTokenStale {
		t.Error("an old one:", err)
	}
}
