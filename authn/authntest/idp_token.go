package authntest

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const idpTokenLife = 5 * time.Minute

// token is the token endpoint (RFC 6749 section 3.2).
func (p *IdP) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		tokenError(w, http.StatusBadRequest, "invalid_request")
		return
	}
	client, ok := p.authenticate(r)
	if !ok || p.has(FaultInvalidClient) {
		w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
		tokenError(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	var g *idpGrant
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		g = p.redeemCode(client, r.PostForm)
	case "refresh_token":
		g = p.redeemRefresh(client, r.PostForm.Get("refresh_token"))
	default:
		tokenError(w, http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	if g == nil {
		tokenError(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	p.issue(w, g, r.PostForm.Get("grant_type") == "refresh_token")
}

func (p *IdP) authMethods() []string {
	if len(p.cfg.ClientAuth) > 0 {
		return p.cfg.ClientAuth
	}
	return []string{"client_secret_basic", "client_secret_post"}
}

// authenticate accepts the ways that the provider advertises, never two at once.
func (p *IdP) authenticate(r *http.Request) (IdPClient, bool) {
	id, secret, basic := r.BasicAuth()
	if signed := r.PostForm.Get("client_assertion"); signed != "" {
		return p.asserted(r.PostForm, signed, basic)
	}
	way := "client_secret_post"
	if basic {
		way = "client_secret_basic"
	}
	if !slices.Contains(p.authMethods(), way) {
		return IdPClient{}, false
	}
	if basic && !p.has(FaultRawBasic) { // both parts are form-encoded first: RFC 6749 section 2.3.1
		var err1, err2 error
		id, err1 = url.QueryUnescape(id)
		secret, err2 = url.QueryUnescape(secret)
		if err1 != nil || err2 != nil || r.PostForm.Has("client_secret") {
			return IdPClient{}, false
		}
	} else if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	client, ok := p.client(id)
	return client, ok && client.Key == nil && subtle.ConstantTimeCompare([]byte(secret), []byte(client.Secret)) == 1
}

// asserted checks a client assertion (RFC 7523 section 3, Core section 9): each is good
// once.
func (p *IdP) asserted(form url.Values, signed string, basic bool) (IdPClient, bool) {
	client, ok := p.client(form.Get("client_id"))
	if !ok || client.Key == nil || basic || form.Has("client_secret") ||
		form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return IdPClient{}, false
	}
	token, err := jwt.ParseSigned(signed, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA})
	if err != nil {
		return IdPClient{}, false
	}
	var c jwt.Claims
	if token.Claims(client.Key, &c) != nil || c.Subject != client.ID || c.ID == "" || c.Expiry == nil ||
		c.ValidateWithLeeway(jwt.Expected{Issuer: client.ID, AnyAudience: jwt.Audience{strings.TrimSuffix(p.cfg.Issuer, "/") + "/token"}, Time: p.now()}, 0) != nil {
		return IdPClient{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := !p.used[c.ID]
	p.used[c.ID] = true
	return client, fresh
}

// redeemCode returns nil for a code that is unknown, old, used before, or
// another client's. A code that comes twice ends everything it gave.
func (p *IdP) redeemCode(client IdPClient, form url.Values) *idpGrant {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.codes[form.Get("code")]
	if g == nil {
		return nil
	}
	if g.spent && !p.faults[FaultCodeReplay] {
		g.ended = true
		return nil
	}
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	if g.client.ID != client.ID || g.redirectURI != form.Get("redirect_uri") || g.ended || !p.now().Before(g.expires) ||
		subtle.ConstantTimeCompare([]byte(challenge), []byte(g.challenge)) != 1 {
		return nil
	}
	g.spent = true
	return g
}

// redeemRefresh takes the token: a new one comes with the answer.
func (p *IdP) redeemRefresh(client IdPClient, token string) *idpGrant {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.refresh[token]
	if g == nil || g.client.ID != client.ID || g.ended {
		return nil
	}
	delete(p.refresh, token)
	return g
}

// issue answers with tokens for g, or refuses a person who may not have any.
func (p *IdP) issue(w http.ResponseWriter, g *idpGrant, refreshed bool) {
	person, ok := p.Person(g.sub)
	if !ok || person.Disabled {
		tokenError(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	access := randomText()
	answer := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": int(idpTokenLife.Seconds()), "scope": strings.Join(g.scopes, " ")}
	if !p.has(FaultNoIDToken) && !(refreshed && p.has(FaultNoRefreshFacts)) {
		idToken, err := p.signIDToken(p.idClaims(g, person, access, refreshed), g.client)
		if err != nil {
			p.log.Warn("sign the ID token", "error", err)
			tokenError(w, http.StatusInternalServerError, "server_error")
			return
		}
		answer["id_token"] = idToken
	}
	p.mu.Lock()
	p.access[access] = g
	if !p.faults[FaultNoRefreshToken] {
		token := randomText()
		p.refresh[token] = g
		answer["refresh_token"] = token
	}
	p.mu.Unlock()
	writeJSON(w, http.StatusOK, answer)
}

// idClaims is what the ID token says, faults included.
func (p *IdP) idClaims(g *idpGrant, person IdPPerson, access string, refreshed bool) map[string]any {
	now := p.now()
	claims := map[string]any{
		"iss": p.cfg.Issuer, "sub": person.Sub, "aud": g.client.ID, "iat": now.Unix(), "exp": now.Add(idpTokenLife).Unix(),
		"auth_time": g.authTime.Unix(), "sid": g.sid, "at_hash": p.accessHash(access),
	}
	if g.nonce != "" && !refreshed {
		claims["nonce"] = g.nonce
	}
	switch {
	case p.cfg.Profile != nil:
		p.cfg.Profile.IDToken(claims, person)
	case !p.cfg.MinimalIDToken:
		p.describe(claims, person)
	}
	p.shape(claims)
	if refreshed && p.has(FaultRefreshAsOther) {
		claims["sub"] = person.Sub + "-other"
	}
	p.spoil(claims)
	return claims
}

// describe adds what is known of a person.
func (p *IdP) describe(claims map[string]any, person IdPPerson) {
	claims["email"], claims["email_verified"], claims["name"] = person.Email, person.Verified, person.Name
	claims["groups"] = slices.Concat([]string{}, person.Groups)
	claims[p.cfg.CountriesClaim] = slices.Concat([]string{}, person.Countries)
}

// shape turns claims into those of the provider that a test plays.
func (p *IdP) shape(claims map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reshape != nil {
		p.reshape(claims)
	}
}

// bearer is the grant whose access token came along; nil if there is none.
func (p *IdP) bearer(r *http.Request) *idpGrant {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.access[token]
}

// memberObjects answers as Microsoft Graph's /me/getMemberObjects does.
func (p *IdP) memberObjects(w http.ResponseWriter, r *http.Request) {
	g := p.bearer(r)
	if g == nil || g.ended {
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": map[string]string{"code": "InvalidAuthenticationToken"}})
		return
	}
	person, ok := p.Person(g.sub)
	if !ok || p.has(FaultGroupsForbidden) {
		writeJSON(w, http.StatusForbidden, map[string]any{"error": map[string]string{"code": "Authorization_RequestDenied"}})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Collection(Edm.String)", "value": person.Groups})
}

// accessHash is at_hash: the left half of the hash that belongs to the signature
// algorithm (Core section 3.1.3.6).
func (p *IdP) accessHash(access string) string {
	if p.signingKey().alg == jose.EdDSA { // Ed25519 hashes with SHA-512
		sum := sha512.Sum512([]byte(access))
		return base64.RawURLEncoding.EncodeToString(sum[:32])
	}
	sum := sha256.Sum256([]byte(access))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func tokenError(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, map[string]any{"error": code})
}

// userinfo is the userinfo endpoint (Core section 5.3).
func (p *IdP) userinfo(w http.ResponseWriter, r *http.Request) {
	g := p.bearer(r)
	if g == nil || g.ended {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		tokenError(w, http.StatusUnauthorized, "invalid_token")
		return
	}
	person, ok := p.Person(g.sub)
	if !ok || person.Disabled {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		tokenError(w, http.StatusUnauthorized, "invalid_token")
		return
	}
	claims := map[string]any{"sub": person.Sub}
	if p.cfg.Profile != nil {
		p.cfg.Profile.Userinfo(claims, person)
	} else {
		p.describe(claims, person)
	}
	p.shape(claims)
	if p.has(FaultUserinfoSub) {
		claims["sub"] = person.Sub + "-other"
	}
	if p.has(FaultUserinfoEmail) {
		claims["email"] = "other-" + person.Email
	}
	if p.has(FaultUserinfoJWT) || p.has(FaultUserinfoJWTElse) {
		p.signedUserinfo(w, g, claims)
		return
	}
	writeJSON(w, http.StatusOK, claims)
}

func (p *IdP) signedUserinfo(w http.ResponseWriter, g *idpGrant, claims map[string]any) {
	claims["iss"], claims["aud"] = p.cfg.Issuer, g.client.ID
	if p.has(FaultUserinfoJWTElse) {
		claims["aud"] = "another-client"
	}
	jwt, err := p.Sign("", claims)
	if err != nil {
		tokenError(w, http.StatusInternalServerError, "server_error")
		return
	}
	w.Header().Set("Content-Type", "application/jwt")
	_, _ = w.Write([]byte(jwt)) // an error means that the client went away
}
