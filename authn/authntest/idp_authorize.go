package authntest

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// idpGrant is one sign-in: what a person allowed a client. The code, the access
// tokens and the refresh tokens that come of it all point at it.
type idpGrant struct {
	client      IdPClient
	sub         string
	sid         string
	redirectURI string
	challenge   string
	nonce       string
	scopes      []string
	authTime    time.Time
	expires     time.Time // of the code
	spent       bool      // the code was redeemed
	ended       bool      // signed out, or the code was replayed: every token is dead
}

func (p *IdP) discovery(w http.ResponseWriter, _ *http.Request) {
	iss := p.cfg.Issuer
	at := strings.TrimSuffix(iss, "/")
	doc := map[string]any{
		"issuer":                                         iss,
		"authorization_endpoint":                         at + "/authorize",
		"token_endpoint":                                 at + "/token",
		"jwks_uri":                                       at + "/jwks",
		"userinfo_endpoint":                              at + "/userinfo",
		"end_session_endpoint":                           at + "/end-session",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{string(p.signingKey().alg)},
		"scopes_supported":                               []string{"openid", "email", "profile", "groups", "offline_access"},
		"token_endpoint_auth_methods_supported":          p.authMethods(),
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
	}
	if p.cfg.NoIss {
		delete(doc, "authorization_response_iss_parameter_supported")
	}
	if p.has(FaultDocument) {
		doc["issuer"] = elsewhere
	}
	if p.has(FaultPlain) {
		doc["token_endpoint"] = "http://elsewhere.example/token"
	}
	if p.has(FaultWeak) {
		doc["id_token_signing_alg_values_supported"] = []string{"HS256", "none"}
	}
	writeJSON(w, http.StatusOK, doc)
}

// oauthError is an error of RFC 6749 section 4.1.2.1, sent back to the client.
type oauthError struct{ code, text string }

func (e *oauthError) Error() string { return e.code + ": " + e.text }

// errNotOurs marks requests whose client or redirect URI is not registered: they are
// answered here, since redirecting the browser would make us an open redirector.
var errNotOurs = errors.New("this application is not registered here")

// checkAuthorize judges an authorization request and makes the grant it asks for.
func (p *IdP) checkAuthorize(q url.Values) (*idpGrant, error) {
	p.mu.Lock()
	p.asked = q
	refusal := p.refusal
	p.mu.Unlock()
	client, ok := p.client(q.Get("client_id"))
	if !ok || !slices.Contains(client.RedirectURIs, q.Get("redirect_uri")) {
		return nil, errNotOurs
	}
	g := &idpGrant{client: client, redirectURI: q.Get("redirect_uri"), challenge: q.Get("code_challenge"),
		nonce: q.Get("nonce"), scopes: strings.Fields(q.Get("scope"))}
	switch {
	case q.Get("response_type") != "code":
		return g, &oauthError{"unsupported_response_type", "only code is supported"}
	case !slices.Contains(g.scopes, "openid"):
		return g, &oauthError{"invalid_scope", "openid is missing"}
	case q.Get("code_challenge_method") != "S256" || len(g.challenge) != 43:
		return g, &oauthError{"invalid_request", "PKCE with S256 is required"}
	case refusal != nil:
		return g, refusal
	case slices.Contains(strings.Fields(q.Get("prompt")), "none"):
		return g, &oauthError{"login_required", "no one is signed in here between visits"}
	}
	return g, nil
}

// authorize shows the person picker.
func (p *IdP) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	g, err := p.checkAuthorize(q)
	if err != nil {
		p.refuseAuthorize(w, g, q, err)
		return
	}
	p.mu.Lock()
	people := slices.Clone(p.people)
	p.mu.Unlock()
	hint, chosen := q.Get("login_hint"), 0
	for i, person := range people {
		if hint != "" && (person.Sub == hint || strings.EqualFold(person.Email, hint)) {
			chosen = i
		}
	}
	fields := map[string]string{}
	for name := range q {
		if name != "sub" && name != "action" {
			fields[name] = q.Get(name)
		}
	}
	p.page(w, http.StatusOK, "picker.html", map[string]any{"People": people, "Chosen": chosen, "Fields": fields, "Client": g.client.ID})
}

// authorized takes the picker's answer.
func (p *IdP) authorized(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		p.page(w, http.StatusBadRequest, "error.html", map[string]any{"Message": "The form could not be read."})
		return
	}
	q := r.PostForm
	g, err := p.checkAuthorize(q)
	if err == nil && q.Get("action") == "cancel" {
		err = &oauthError{"access_denied", "the person cancelled"}
	}
	if err != nil {
		p.refuseAuthorize(w, g, q, err)
		return
	}
	p.moveOn(w, p.approve(g, q))
}

// approve signs in the person named by sub and returns where to go.
func (p *IdP) approve(g *idpGrant, q url.Values) string {
	person, ok := p.Person(q.Get("sub"))
	if !ok || person.Disabled {
		return p.callback(g, q, url.Values{"error": {"access_denied"}, "error_description": {"this account cannot sign in"}})
	}
	g.sub, g.sid, g.authTime = person.Sub, "s-"+randomText()[:12], p.now()
	g.expires = p.now().Add(time.Minute)
	code := randomText()
	p.mu.Lock()
	for old, o := range p.codes { // so that the demo can run for ever
		if o.expires.Add(time.Hour).Before(p.now()) {
			delete(p.codes, old)
		}
	}
	p.codes[code] = g
	p.mu.Unlock()
	return p.callback(g, q, url.Values{"code": {code}})
}

// callback is the redirect URI with the answer (RFC 6749 section 4.1.2, RFC 9207).
func (p *IdP) callback(g *idpGrant, q, answer url.Values) string {
	if state := q.Get("state"); state != "" {
		answer.Set("state", state)
	}
	switch {
	case p.has(FaultMixUpIss):
		answer.Set("iss", elsewhere)
	case !p.has(FaultNoIss) && !p.cfg.NoIss:
		answer.Set("iss", p.cfg.Issuer)
	}
	sep := "?"
	if strings.Contains(g.redirectURI, "?") {
		sep = "&"
	}
	return g.redirectURI + sep + answer.Encode()
}

func (p *IdP) refuseAuthorize(w http.ResponseWriter, g *idpGrant, q url.Values, err error) {
	if e, ok := errors.AsType[*oauthError](err); ok {
		p.moveOn(w, p.callback(g, q, url.Values{"error": {e.code}, "error_description": {e.text}}))
		return
	}
	p.page(w, http.StatusBadRequest, "error.html", map[string]any{"Message": "This application is not registered here. Check client_id and redirect_uri."})
}

// moveOn sends the browser to a client; see ServeHTTP for why not by a redirect.
func (p *IdP) moveOn(w http.ResponseWriter, to string) {
	p.page(w, http.StatusOK, "continue.html", map[string]any{"To": to})
}

// SignIn does what a person with a browser would do at authURL, where the relying party
// sent them: pick sub and continue. It returns the callback URL that the browser would be
// sent to, which holds an error if the person cannot sign in.
func (p *IdP) SignIn(authURL, sub string) (*url.URL, error) {
	u, err := url.Parse(authURL)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(authURL, strings.TrimSuffix(p.cfg.Issuer, "/")+"/authorize?") {
		return nil, fmt.Errorf("%q is not the authorization endpoint of %s", u.Host+u.Path, p.cfg.Issuer)
	}
	q := u.Query()
	q.Set("sub", sub)
	g, err := p.checkAuthorize(q)
	if e, ok := errors.AsType[*oauthError](err); ok {
		return url.Parse(p.callback(g, q, url.Values{"error": {e.code}, "error_description": {e.text}}))
	}
	if err != nil {
		return nil, err
	}
	return url.Parse(p.approve(g, q))
}
