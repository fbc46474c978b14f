package signin_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"sallyport/authn/authntest"
	"sallyport/authn/signin"
	"sallyport/proxy/proxytest"
)

// scripted answers one endpoint instead of the provider.
type scripted struct {
	base         http.RoundTripper
	suffix, body string
	status       int
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.status == 0 || !strings.HasSuffix(r.URL.Path, s.suffix) {
		return s.base.RoundTrip(r)
	}
	return &http.Response{StatusCode: s.status, Status: http.StatusText(s.status), Request: r, ContentLength: -1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(s.body))}, nil
}

// What the token endpoint and userinfo may answer, and what becomes of it: at
// sign-in a reason code, at a refresh the difference between "gone" and "try again".
func TestEndpointAnswers(t *testing.T) {
	const token, userinfo = "/token", "/userinfo"
	for _, c := range []struct {
		suffix, body string
		status       int
		finish       string // code at sign-in
		refresh      string // code at refresh; "" for the same
		gone         bool   // at refresh
	}{
		{token, `{"error":"invalid_grant"}`, 400, signin.CodeCodeRejected, signin.CodeRefreshRejected, true},
		{token, `{"error":"interaction_required"}`, 400, signin.CodeProviderError, signin.CodeRefreshRejected, true},
		{token, `{"error":"login_required"}`, 400, signin.CodeProviderError, signin.CodeRefreshRejected, true},
		{token, `{"error":"consent_required"}`, 400, signin.CodeProviderError, signin.CodeRefreshRejected, true},
		{token, `{"error":"account_selection_required"}`, 400, signin.CodeProviderError, signin.CodeRefreshRejected, true},
		{token, `{"error":"access_denied"}`, 403, signin.CodeProviderError, signin.CodeRefreshRejected, true},
		{token, `{"error":"invalid_client"}`, 400, signin.CodeClientRejected, "", false},
		{token, `{"error":"unauthorized_client"}`, 400, signin.CodeClientRejected, "", false},
		{token, `nothing`, 401, signin.CodeClientRejected, "", false},
		{token, `{"error":"invalid_scope"}`, 400, signin.CodeProviderError, "", false},
		{token, `{"error":"invalid_request"}`, 200, signin.CodeProviderError, "", false},
		{token, `{"error":"temporarily_unavailable"}`, 400, signin.CodeUnavailable, "", false},
		{token, `{"error":"server_error"}`, 400, signin.CodeUnavailable, "", false},
		{token, `slow down`, 429, signin.CodeUnavailable, "", false},
		{token, `moved`, 404, signin.CodeUnavailable, "", false},
		{token, `moved`, 405, signin.CodeUnavailable, "", false},
		{token, `moved`, 410, signin.CodeUnavailable, "", false},
		{token, `broken`, 502, signin.CodeUnavailable, "", false},
		{token, `not JSON`, 200, signin.CodeUnavailable, "", false},
		{token, `{"token_type":"Bearer"}`, 200, signin.CodeUnavailable, "", false},
		{userinfo, `{"error":"invalid_token"}`, 401, signin.CodeUserinfoRejected, "", true},
		{userinfo, `{"error":"insufficient_scope"}`, 403, signin.CodeUnavailable, "", false},
		{userinfo, `not JSON`, 200, signin.CodeTokenMalformed, "", false},
		{userinfo, `{"sub":"alice-1","email":"alice@example.com","email_verified":true}`, 200, "", "", false}, // no groups
		{userinfo, `{"sub":"alice-1","email":"alice@example.com"}`, 200, signin.CodeEmailNotStated, "", false},
		{userinfo, `{"sub":"alice-1","email_verified":true}`, 200, signin.CodeEmailMissing, "", true},
		{userinfo, `{"sub":"alice-1","sub":"alice-1","email":"alice@example.com","email_verified":true}`, 200, signin.CodeTokenMalformed, "", false},
		{userinfo, `{"email":"alice@example.com","email_verified":true}`, 200, signin.CodeUserinfoSubject, "", true},
		{userinfo, `{"sub":["alice-1"],"email":"alice@example.com","email_verified":true}`, 200, signin.CodeUserinfoSubject, "", true},
		{userinfo, `{"sub":"alice-1","email":"alice@example.com","email_verified":true,"groups":7}`, 200, signin.CodeClaimMalformed, "", false},
	} {
		t.Run(strings.TrimSpace(c.suffix[1:]+" "+http.StatusText(c.status)+" "+c.body), func(t *testing.T) {
			script := &scripted{base: http.DefaultTransport, suffix: c.suffix, body: c.body}
			r := newHarness(t, func(ic *authntest.IdPConfig, sc *signin.Config) {
				ic.MinimalIDToken = true
				sc.HTTPClient = &http.Client{Transport: script}
			})
			good := r.mustSignIn("alice-1")
			q, binding := r.begin("alice-1")
			script.status = c.status
			res, err := r.rp.Finish(t.Context(), q, binding)
			again, rerr := r.rp.Refresh(t.Context(), subject(r), good.RefreshToken)
			if c.finish == "" {
				if err != nil || rerr != nil || len(res.Person.Groups)+len(again.Person.Groups) != 0 {
					t.Errorf("%v, %v, groups %q", err, rerr, res.Person.Groups)
				}
				return
			}
			wantCode(t, res, err, c.finish)
			if c.refresh == "" {
				c.refresh = c.finish
			}
			wantCode(t, again, rerr, c.refresh)
			if errors.Is(rerr, signin.ErrGone) != c.gone {
				t.Errorf("gone is %v: %v", !c.gone, rerr)
			}
			if want := c.finish == signin.CodeUnavailable; errors.Is(err, signin.ErrUnavailable) != want {
				t.Errorf("unavailable is %v: %v", !want, err)
			}
		})
	}
}

func TestMetadataIsJudged(t *testing.T) {
	const good = `"issuer":"https://id.example","authorization_endpoint":"https://id.example/a","token_endpoint":"https://id.example/t","jwks_uri":"https://id.example/k"`
	for extra, says := range map[string]string{
		``: "",
		`,"token_endpoint_auth_methods_supported":["client_secret_post"]`: "",
		`,"token_endpoint_auth_methods_supported":["private_key_jwt"]`:    "oidc.client_auth",
		`,"jwks_uri":""`:                                             "jwks_uri",
		`,"jwks_uri":"http://id.example/k"`:                          "jwks_uri",
		`,"jwks_uri":"http://localhost/k"`:                           "jwks_uri", // an https issuer's keys never come over plain http
		`,"userinfo_endpoint":"//id.example/u"`:                      "userinfo_endpoint",
		`,"end_session_endpoint":"javascript:alert(1)"`:              "end_session_endpoint",
		`,"authorization_endpoint":"https://u:p@id.example/a"`:       "authorization_endpoint",
		`,"id_token_signing_alg_values_supported":["HS256","RS256"]`: "",
		`,"id_token_signing_alg_values_supported":["HS256"]`:         "HS256",
		`,"id_token_signing_alg_values_supported":"RS256"`:           "discovery",
	} {
		t.Run(extra, func(t *testing.T) {
			script := &scripted{suffix: "/.well-known/openid-configuration", body: "{" + good + extra + "}", status: 200}
			rp, err := signin.New(proxytest.SignIn(signin.Config{Issuer: "https://id.example", ClientID: "c", ClientSecret: "s", RedirectURL: "https://a.example/cb",
				Flows: authntest.NewMemory(), HTTPClient: &http.Client{Transport: script}}))
			if err != nil {
				t.Fatal(err)
			}
			err = rp.Discover(t.Context())
			if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
				t.Errorf("error %v, want %q", err, says)
			}
		})
	}
}
