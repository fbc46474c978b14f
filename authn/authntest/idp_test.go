package authntest_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/authn/authntest"
)

const (
	idpCallback = "http://localhost:1/callback"
	idpVerifier = "a-verifier-of-forty-three-characters-at-least"
)

func idpChallenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func startIdP(t *testing.T, change ...func(*authntest.IdPConfig)) *authntest.IdP {
	t.Helper()
	cfg := authntest.IdPConfig{
		Clients: []authntest.IdPClient{
			{ID: "rp", Secret: "s", RedirectURIs: []string{idpCallback}, PostLogoutRedirectURIs: []string{"http://localhost:1/bye"}},
			{ID: "other", Secret: "s", RedirectURIs: []string{idpCallback}},
		},
		People: []authntest.IdPPerson{
			{Sub: "alice", Email: "alice@example.com", Name: "Alice <b>Ames</b>", Verified: true},
			{Sub: "bob", Email: "bob@example.com", Name: "Bob", Disabled: true},
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	return authntest.StartIdP(t, cfg)
}

func authorizeURL(p *authntest.IdP, change map[string]string) string {
	q := url.Values{"client_id": {"rp"}, "redirect_uri": {idpCallback}, "response_type": {"code"}, "scope": {"openid"}, "state": {`s"<&`},
		"nonce": {"n"}, "code_challenge": {idpChallenge(idpVerifier)}, "code_challenge_method": {"S256"}}
	for k, v := range change {
		q.Set(k, v)
	}
	return p.Issuer() + "/authorize?" + q.Encode()
}

func idpGet(t *testing.T, to string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Get(to)
	if err != nil {
		t.Fatal(err)
	}
	return resp, idpBody(t, resp)
}

func idpPost(t *testing.T, to string, form url.Values) (*http.Response, string) {
	t.Helper()
	resp, err := http.PostForm(to, form)
	if err != nil {
		t.Fatal(err)
	}
	return resp, idpBody(t, resp)
}

func idpBody(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	idpHidden  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	idpRefresh = regexp.MustCompile(`<meta http-equiv="refresh" content="0; url=([^"]*)">`)
)

// idpPick fills in the form of a picker page and returns where it leads.
func idpPick(t *testing.T, p *authntest.IdP, page, sub, action string) *url.URL {
	t.Helper()
	form := url.Values{"sub": {sub}, "action": {action}}
	for _, m := range idpHidden.FindAllStringSubmatch(page, -1) {
		form.Set(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	_, answer := idpPost(t, p.Issuer()+"/authorize", form)
	m := idpRefresh.FindStringSubmatch(answer)
	if m == nil {
		t.Fatalf("no way on in %s", answer)
	}
	u, err := url.Parse(html.UnescapeString(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestIdPPicker(t *testing.T) {
	p := startIdP(t)
	resp, page := idpGet(t, authorizeURL(p, map[string]string{"login_hint": "BOB@example.com"}))
	csp := resp.Header.Get("Content-Security-Policy")
	switch {
	case resp.StatusCode != http.StatusOK:
		t.Fatal(resp.Status, page)
	case !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "script") || strings.Contains(csp, "unsafe"):
		t.Errorf("policy %q", csp)
	case strings.Contains(page, "<script") || strings.Contains(page, "<b>"):
		t.Errorf("script or unescaped name in %s", page)
	case !strings.Contains(page, `value="bob" required checked`) || strings.Count(page, " checked") != 1:
		t.Errorf("login_hint did not choose Bob in %s", page)
	case !strings.Contains(page, `data-action="continue"`) || !strings.Contains(page, "Account closed"):
		t.Error(page)
	}
	to := idpPick(t, p, page, "alice", "continue")
	q := to.Query()
	if !strings.HasPrefix(to.String(), idpCallback+"?") || q.Get("state") != `s"<&` || q.Get("iss") != p.Issuer() || q.Get("code") == "" {
		t.Errorf("callback %s", to)
	}
	if q := idpPick(t, p, page, "alice", "cancel").Query(); q.Get("error") != "access_denied" || q.Get("code") != "" || q.Get("state") != `s"<&` {
		t.Errorf("cancel leads to %v", q)
	}
	for _, nobody := range []string{"bob", "nobody", ""} {
		if q := idpPick(t, p, page, nobody, "continue").Query(); q.Get("error") != "access_denied" || q.Get("code") != "" {
			t.Errorf("%q leads to %v", nobody, q)
		}
	}
	if resp, css := idpGet(t, p.Issuer()+"/style.css"); resp.StatusCode != http.StatusOK || !strings.Contains(css, "prefers-color-scheme") {
		t.Error(resp.Status)
	}
}

func TestIdPIsNoOpenRedirector(t *testing.T) {
	p := startIdP(t)
	for _, change := range []map[string]string{
		{"client_id": "nobody"}, {"client_id": ""}, {"redirect_uri": "https://evil.example/"}, {"redirect_uri": idpCallback + "/x"}, {"redirect_uri": ""},
	} {
		resp, page := idpGet(t, authorizeURL(p, change))
		if resp.StatusCode != http.StatusBadRequest || strings.Contains(page, "evil.example") {
			t.Errorf("%v: %s", change, resp.Status)
		}
	}
	_, page := idpGet(t, p.Issuer()+"/end-session?client_id=rp&post_logout_redirect_uri=https://evil.example/")
	if strings.Contains(page, "evil.example") || !strings.Contains(page, "signed out") {
		t.Error(page)
	}
}

func TestIdPAuthorizeErrors(t *testing.T) {
	p := startIdP(t)
	for code, change := range map[string]map[string]string{
		"unsupported_response_type": {"response_type": "token"},
		"invalid_scope":             {"scope": "email"},
		"invalid_request":           {"code_challenge_method": "plain"},
		"login_required":            {"prompt": "none"},
	} {
		back, err := p.SignIn(authorizeURL(p, change), "alice")
		if err != nil || back.Query().Get("error") != code || back.Query().Has("code") {
			t.Errorf("%v: %v, %v", change, back, err)
		}
	}
	if _, err := p.SignIn("https://elsewhere.example/authorize?x=1", "alice"); err == nil {
		t.Error("another provider's URL was taken")
	}
}

// idpCode signs alice in and returns the code.
func idpCode(t *testing.T, p *authntest.IdP) string {
	t.Helper()
	back, err := p.SignIn(authorizeURL(p, nil), "alice")
	if err != nil {
		t.Fatal(err)
	}
	return back.Query().Get("code")
}

func idpRedeem(code string, change map[string]string) url.Values {
	f := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {idpCallback}, "code_verifier": {idpVerifier},
		"client_id": {"rp"}, "client_secret": {"s"}}
	for k, v := range change {
		f.Set(k, v)
	}
	return f
}

func idpTokens(t *testing.T, p *authntest.IdP, form url.Values) (status int, answer map[string]any) {
	t.Helper()
	resp, text := idpPost(t, p.Issuer()+"/token", form)
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err, text)
	}
	return resp.StatusCode, answer
}

func TestIdPTokenEndpointHoldsClientsToTheRules(t *testing.T) {
	for name, c := range map[string]struct {
		change map[string]string
		status int
		code   string
	}{
		"wrong verifier":     {map[string]string{"code_verifier": "another"}, 400, "invalid_grant"},
		"no verifier":        {map[string]string{"code_verifier": ""}, 400, "invalid_grant"},
		"wrong redirect URI": {map[string]string{"redirect_uri": "http://localhost:1/x"}, 400, "invalid_grant"},
		"another client":     {map[string]string{"client_id": "other"}, 400, "invalid_grant"},
		"unknown code":       {map[string]string{"code": "x"}, 400, "invalid_grant"},
		"wrong secret":       {map[string]string{"client_secret": "x"}, 401, "invalid_client"},
		"no secret":          {map[string]string{"client_secret": ""}, 401, "invalid_client"},
		"unknown client":     {map[string]string{"client_id": "nobody"}, 401, "invalid_client"},
		"another grant":      {map[string]string{"grant_type": "password"}, 400, "unsupported_grant_type"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startIdP(t)
			status, answer := idpTokens(t, p, idpRedeem(idpCode(t, p), c.change))
			if status != c.status || answer["error"] != c.code || answer["id_token"] != nil || answer["access_token"] != nil {
				t.Errorf("%d %v", status, answer)
			}
		})
	}
}

func TestIdPCodeAndRefreshTokenAreUsedOnce(t *testing.T) {
	p := startIdP(t)
	first := idpCode(t, p)
	status, answer := idpTokens(t, p, idpRedeem(first, nil))
	if status != http.StatusOK || answer["id_token"] == "" {
		t.Fatal(status, answer)
	}
	again := func(token any) url.Values {
		return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.(string)}, "client_id": {"rp"}, "client_secret": {"s"}}
	}
	old := answer["refresh_token"]
	status, answer = idpTokens(t, p, again(old))
	if status != http.StatusOK || answer["refresh_token"] == old {
		t.Fatal(status, answer)
	}
	if status, _ := idpTokens(t, p, again(old)); status != http.StatusBadRequest {
		t.Error("a refresh token worked twice")
	}
	if status, _ := idpTokens(t, p, idpRedeem(first, nil)); status != http.StatusBadRequest {
		t.Error("a code worked twice")
	}
	if status, _ := idpTokens(t, p, again(answer["refresh_token"])); status != http.StatusBadRequest {
		t.Error("the replayed code did not end what it had given")
	}
	resp, err := http.DefaultClient.Do(idpBearer(t, p, answer["access_token"]))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("userinfo answers %s after that", resp.Status)
	}
}

func idpBearer(t *testing.T, p *authntest.IdP, token any) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.Issuer()+"/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.(string))
	return req
}

func TestIdPCodeExpires(t *testing.T) {
	now := time.Now()
	p := startIdP(t, func(c *authntest.IdPConfig) { c.Now = func() time.Time { return now } })
	late := idpCode(t, p)
	now = now.Add(time.Minute)
	if status, _ := idpTokens(t, p, idpRedeem(late, nil)); status != http.StatusBadRequest {
		t.Error("an old code was taken")
	}
}

// Signing out at the provider tells the client, once, with a signed token.
func TestIdPSignOutCallsTheClient(t *testing.T) {
	got := make(chan string, 10)
	client := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.PostFormValue("logout_token") }))
	t.Cleanup(client.Close)
	p := startIdP(t, func(c *authntest.IdPConfig) { c.Clients[0].BackchannelLogoutURI = client.URL })
	_, answer := idpTokens(t, p, idpRedeem(idpCode(t, p), nil))
	q := url.Values{"id_token_hint": {answer["id_token"].(string)}, "post_logout_redirect_uri": {"http://localhost:1/bye"}, "state": {"s"}}
	noFollow := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := noFollow.Get(p.Issuer() + "/end-session?" + q.Encode())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.Header.Get("Location") != "http://localhost:1/bye?state=s" {
		t.Errorf("%s %q", resp.Status, resp.Header)
	}
	select {
	case token := <-got:
		part := strings.Split(token, ".")[1]
		claims, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || !strings.Contains(string(claims), `"sub":"alice"`) || !strings.Contains(string(claims), "backchannel-logout") {
			t.Errorf("logout token %s: %v", claims, err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("no logout token")
	}
	if err := p.EndSessions(context.Background(), "alice"); err != nil || len(got) != 0 {
		t.Errorf("%v, %d more calls for a session that is over", err, len(got))
	}
	resp, page := idpGet(t, p.Issuer()+"/end-session?id_token_hint=a.b.c")
	if resp.StatusCode != http.StatusBadRequest {
		t.Error(resp.Status, page)
	}
}

// The issuer may have a path, as Keycloak's and Okta's do.
func TestIdPUnderAPath(t *testing.T) {
	p, err := authntest.NewIdP(authntest.IdPConfig{Issuer: "http://localhost:9100/realms/demo"})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/realms/demo/.well-known/openid-configuration", nil))
	if !strings.Contains(w.Body.String(), `"token_endpoint":"http://localhost:9100/realms/demo/token"`) {
		t.Error(w.Code, w.Body)
	}
	for _, bad := range []authntest.IdPConfig{{}, {Issuer: "x"}, {Issuer: "http://localhost", Algorithm: "HS256"}, {Issuer: "http://localhost", People: []authntest.IdPPerson{{}}}} {
		if _, err := authntest.NewIdP(bad); err == nil {
			t.Errorf("%+v: accepted", bad)
		}
	}
}
