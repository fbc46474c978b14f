package authntest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// IdPFault is one promise that the provider breaks.
type IdPFault string

const (
	FaultDown     IdPFault = "down"      // every endpoint answers 503
	FaultSlow     IdPFault = "slow"      // no answer until the client gives up
	FaultHuge     IdPFault = "huge"      // 64 MiB of JSON
	FaultRedirect IdPFault = "redirect"  // every endpoint but the picker redirects
	FaultKeysDown IdPFault = "keys-down" // only the key set answers 503
	FaultDocument IdPFault = "document"  // the discovery document is for another issuer
	FaultPlain    IdPFault = "plain"     // the token endpoint is advertised over plain http elsewhere
	FaultWeak     IdPFault = "weak"      // only HS256 is advertised

	FaultMixUpIss        IdPFault = "mix-up-iss" // the iss parameter names another provider
	FaultNoIss           IdPFault = "no-iss"     // the iss parameter is promised and not sent
	FaultCodeReplay      IdPFault = "code-replay"
	FaultNoIDToken       IdPFault = "no-id-token"
	FaultNoRefreshToken  IdPFault = "no-refresh-token"
	FaultRefreshAsOther  IdPFault = "refresh-as-other" // a refresh answers with another person's ID token
	FaultNoRefreshFacts  IdPFault = "no-refresh-facts" // a refresh answers without ID token
	FaultInvalidClient   IdPFault = "invalid-client"
	FaultRawBasic        IdPFault = "raw-basic" // the parts of HTTP Basic are compared without decoding them
	FaultGroupsForbidden IdPFault = "groups-forbidden"
	FaultUserinfoSub     IdPFault = "userinfo-sub"
	FaultUserinfoDown    IdPFault = "userinfo-down"
	FaultUserinfoEmail   IdPFault = "userinfo-email" // another address than the ID token's
	FaultUserinfoJWT     IdPFault = "userinfo-jwt"   // signed, which is allowed
	FaultUserinfoJWTElse IdPFault = "userinfo-jwt-else"

	FaultAlgNone         IdPFault = "alg-none"
	FaultAlgHS256        IdPFault = "alg-hs256"   // signed with the client secret
	FaultForeignKey      IdPFault = "foreign-key" // signed with a key that is not published
	FaultLogoutAsIDToken IdPFault = "logout-as-id-token"
	FaultAccessTokenType IdPFault = "access-token-type" // typ at+jwt

	FaultWrongIssuer     IdPFault = "wrong-issuer"
	FaultWrongAudience   IdPFault = "wrong-audience"
	FaultAudienceSecond  IdPFault = "audience-second" // two audiences, ours second, no azp
	FaultWrongParty      IdPFault = "wrong-azp"
	FaultNoNonce         IdPFault = "no-nonce"
	FaultWrongNonce      IdPFault = "wrong-nonce"
	FaultExpired         IdPFault = "expired"
	FaultNoExpiry        IdPFault = "no-exp"
	FaultNoIssuedAt      IdPFault = "no-iat"
	FaultIssuedEarlier   IdPFault = "issued-earlier" // before the flow began
	FaultNotYetValid     IdPFault = "not-yet-valid"
	FaultAccessHash      IdPFault = "at-hash"
	FaultNoSubject       IdPFault = "no-sub"
	FaultSubjectUnicode  IdPFault = "sub-unicode"
	FaultEmailUnverified IdPFault = "email-unverified"
	FaultNoEmailVerified IdPFault = "no-email-verified"
	FaultNoEmail         IdPFault = "no-email"
	FaultEmailTwoAts     IdPFault = "email-two-ats"
	FaultEmailHomoglyph  IdPFault = "email-homoglyph"
)

// elsewhere is a provider that is not this one.
const elsewhere = "https://elsewhere.example"

// claimFaults are the faults that only change what an ID token says.
var claimFaults = map[IdPFault]func(c map[string]any, now time.Time){
	FaultWrongIssuer:     func(c map[string]any, _ time.Time) { c["iss"] = elsewhere },
	FaultWrongAudience:   func(c map[string]any, _ time.Time) { c["aud"] = "another-client" },
	FaultAudienceSecond:  func(c map[string]any, _ time.Time) { c["aud"] = []any{"another-client", c["aud"]} },
	FaultWrongParty:      func(c map[string]any, _ time.Time) { c["azp"] = "another-client" },
	FaultNoNonce:         func(c map[string]any, _ time.Time) { delete(c, "nonce") },
	FaultWrongNonce:      func(c map[string]any, _ time.Time) { c["nonce"] = "another-flow" },
	FaultExpired:         func(c map[string]any, now time.Time) { c["exp"] = now.Add(-time.Hour).Unix() },
	FaultNoExpiry:        func(c map[string]any, _ time.Time) { delete(c, "exp") },
	FaultNoIssuedAt:      func(c map[string]any, _ time.Time) { delete(c, "iat") },
	FaultIssuedEarlier:   func(c map[string]any, now time.Time) { c["iat"] = now.Add(-time.Hour).Unix() },
	FaultNotYetValid:     func(c map[string]any, now time.Time) { c["nbf"] = now.Add(time.Hour).Unix() },
	FaultAccessHash:      func(c map[string]any, _ time.Time) { c["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA" },
	FaultNoSubject:       func(c map[string]any, _ time.Time) { delete(c, "sub") },
	FaultSubjectUnicode:  func(c map[string]any, _ time.Time) { c["sub"] = "\u0430lice" }, // first letter Cyrillic
	FaultEmailUnverified: func(c map[string]any, _ time.Time) { c["email_verified"] = false },
	FaultNoEmailVerified: func(c map[string]any, _ time.Time) { delete(c, "email_verified") },
	FaultNoEmail:         func(c map[string]any, _ time.Time) { delete(c, "email") },
	FaultEmailTwoAts:     func(c map[string]any, _ time.Time) { c["email"] = "mallory@evil.example@example.com" },
	FaultEmailHomoglyph:  func(c map[string]any, _ time.Time) { c["email"] = "\u0430lice@example.com" }, // first letter Cyrillic
}

// SetFaults replaces the set of faults; without arguments everything works again.
func (p *IdP) SetFaults(faults ...IdPFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = map[IdPFault]bool{}
	for _, f := range faults {
		p.faults[f] = true
	}
}

// EditIDToken lets a test change the claims of every ID token from now on; nil
// for no change.
func (p *IdP) EditIDToken(edit func(claims map[string]any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.edit = edit
}

// Reshape lets a test turn the claims of ID tokens and userinfo into another provider's
// from now on; nil for no change.
func (p *IdP) Reshape(reshape func(claims map[string]any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reshape = reshape
}

// RefuseAuthorize makes every authorization request end with this error (RFC 6749
// section 4.1.2.1); "" lets them through again.
func (p *IdP) RefuseAuthorize(code, description string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusal = nil
	if code != "" {
		p.refusal = &oauthError{code, description}
	}
}

// PublishKey adds a JWK, readable or not, in front of the keys that sign.
func (p *IdP) PublishKey(jwk string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.oddKeys = append(p.oddKeys, json.RawMessage(jwk))
}

// Asked returns the parameters of the newest authorization request.
func (p *IdP) Asked() url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *IdP) has(f IdPFault) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults[f]
}

// spoil applies the faults and the edit to the claims of an ID token.
func (p *IdP) spoil(claims map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for f := range p.faults {
		if change := claimFaults[f]; change != nil {
			change(claims, p.now())
		}
	}
	if p.edit != nil {
		p.edit(claims)
	}
}

// broken answers instead of the endpoint when one of the coarse faults is set.
func (p *IdP) broken(w http.ResponseWriter, r *http.Request) bool {
	keys := r.URL.Path == p.prefix+"/jwks"
	switch {
	case p.has(FaultDown), keys && p.has(FaultKeysDown), p.has(FaultUserinfoDown) && r.URL.Path == p.prefix+"/userinfo":
		http.Error(w, "out of order", http.StatusServiceUnavailable)
	case p.has(FaultSlow):
		select {
		case <-r.Context().Done():
		case <-p.stopping:
		}
	case p.has(FaultHuge):
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"pad":"`)
		chunk := strings.Repeat("x", 1<<20)
		for range 64 {
			if _, err := io.WriteString(w, chunk); err != nil {
				break // the client hung up
			}
		}
	case p.has(FaultRedirect) && r.URL.Path != p.prefix+"/authorize":
		http.Redirect(w, r, elsewhere+r.URL.Path, http.StatusTemporaryRedirect)
	default:
		return false
	}
	return true
}
