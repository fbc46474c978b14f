package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"sallyport/authn"
)

const (
	// FlowLifetime is how long a person may take at the provider: new password,
	// second factor, a phone in another room.
	FlowLifetime = 15 * time.Minute

	// Strangers begin flows, of up to 24 KB each. 500 people of an office can be at the
	// provider at once; who begins more than that loses the oldest.
	flowsOfNetwork = 500
	flowsInAll     = 10_000

	flowPurpose = "signin.flow"
	maxPayload  = 16 << 10
)

// Flow is a sign-in that has begun.
type Flow struct {
	RedirectURL string // where to send the browser

	// Binding goes into a cookie (HttpOnly, SameSite=Lax, FlowLifetime) and comes
	// back to Finish. The server keeps its digest only.
	Binding string
}

// pending is what the server remembers of a flow, under the digest of its
// state. Nobody who can read the store can finish a flow: state and binding are
// in it as digests only, and the code never is.
type pending struct {
	Issuer   string    `json:"iss"`
	ClientID string    `json:"client"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"` // PKCE, RFC 7636
	Binding  [32]byte  `json:"binding"`
	Begun    time.Time `json:"begun"`
	Payload  []byte    `json:"payload,omitempty"`
}

// Begin starts a sign-in. payload comes back from Finish; it is kept on the
// server and never seen by the browser. client is who asks: a network has so many flows under way
// at most, of which the oldest make room. It fails with [ErrUnavailable] until the
// provider is known.
//
// A browser may have several flows under way, one in each tab: keep each Binding
// in a cookie of its own, named after the state in RedirectURL.
func (p *Provider) Begin(ctx context.Context, client netip.Addr, payload []byte) (Flow, error) {
	m, err := p.ready()
	if err != nil {
		return Flow{}, err
	}
	if len(payload) > maxPayload {
		return Flow{}, fmt.Errorf("sign-in payload is longer than %d bytes", maxPayload)
	}
	state, binding := newSecret(), newSecret()
	f := pending{
		Issuer: p.cfg.Issuer, ClientID: p.cfg.ClientID, Nonce: newSecret(), Verifier: oauth2.GenerateVerifier(),
		Binding: sha256.Sum256([]byte(binding)), Begun: p.now().UTC(), Payload: payload,
	}
	record, err := json.Marshal(f)
	if err != nil {
		return Flow{}, err
	}
	if err := p.cfg.Flows.PutBounded(ctx, flowPurpose, sha256.Sum256([]byte(state)), record, f.Begun.Add(FlowLifetime), authn.BoundOf(client, flowsOfNetwork, flowsInAll)); err != nil {
		return Flow{}, refuse(CodeStoreUnavailable, "%w: keep the flow: %w", ErrUnavailable, err)
	}
	return Flow{
		RedirectURL: m.oauth.AuthCodeURL(state, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)),
		Binding:     binding,
	}, nil
}

// Finish ends a sign-in with the query the provider sent the browser back with,
// and the binding cookie ("" if there was none). Of concurrent calls for one
// flow exactly one gets past the state. Errors are [*Error].
func (p *Provider) Finish(ctx context.Context, query url.Values, binding string) (Result, error) {
	m, err := p.ready() // before the state is spent, so that the person can reload the page
	if err != nil {
		return Result{}, err
	}
	f, err := p.takeFlow(ctx, query, binding)
	if err != nil {
		return Result{}, err
	}
	res, err := p.finish(ctx, m, query, f)
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			e.Payload = f.Payload
		}
		return Result{}, err
	}
	res.Payload = f.Payload
	return res, nil
}

// takeFlow finds the flow that query answers, and spends it.
func (p *Provider) takeFlow(ctx context.Context, query url.Values, binding string) (pending, error) {
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(query[name]) > 1 { // which one did a check elsewhere look at?
			return pending{}, refuse(CodeParameterRepeated, "parameter %q is repeated", name)
		}
	}
	state := query.Get("state")
	if state == "" {
		return pending{}, refuse(CodeStateMissing, "the answer has no state")
	}
	record, err := p.cfg.Flows.Take(ctx, flowPurpose, sha256.Sum256([]byte(state)), p.now())
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return pending{}, refuse(CodeStateUnknown, "the state was never issued, was used before, or has expired")
	case err != nil:
		return pending{}, refuse(CodeStoreUnavailable, "%w: take the flow: %w", ErrUnavailable, err)
	}
	var f pending
	if err := json.Unmarshal(record, &f); err != nil {
		return pending{}, refuse(CodeStateUnknown, "flow record: %w", err)
	}
	digest := sha256.Sum256([]byte(binding))
	switch {
	case subtle.ConstantTimeCompare(digest[:], f.Binding[:]) != 1:
		// Login CSRF: an attacker's own answer, opened in the victim's browser,
		// would sign the victim in as the attacker.
		return pending{}, refuse(CodeStateOtherBrowser, "the flow was begun in another browser")
	case f.Issuer != p.cfg.Issuer || f.ClientID != p.cfg.ClientID:
		return pending{}, refuse(CodeStateUnknown, "the flow was begun with another provider or client")
	}
	return f, nil
}

// finish judges the answer, redeems the code and judges what it bought.
func (p *Provider) finish(ctx context.Context, m *metadata, query url.Values, f pending) (Result, error) {
	iss, code := query.Get("iss"), query.Get("code")
	switch {
	case iss != "" && iss != p.cfg.Issuer:
		// Mix-up: another provider's code or error, sent to our callback.
		return Result{}, refuse(CodeIssuerParameter, "the answer comes from %q, not from %q", clip(iss), p.cfg.Issuer)
	case iss == "" && m.issParam:
		return Result{}, refuse(CodeIssuerParamMissing, "the provider promises an iss parameter and sent none")
	case query.Get("error") == "access_denied":
		return Result{}, refuse(CodeAccessDenied, "the provider answered access_denied")
	case query.Get("error") != "":
		return Result{}, refuse(CodeProviderError, "the provider answered %q", clip(query.Get("error")))
	case code == "":
		return Result{}, refuse(CodeCodeMissing, "the answer has neither code nor error")
	}
	tok, err := m.oauth.Exchange(oidc.ClientContext(ctx, p.client), code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return Result{}, p.tokenError(err, CodeCodeRejected)
	}
	want := expectation{nonce: f.Nonce, notBefore: f.Begun, accessToken: tok.AccessToken}
	idToken, _ := tok.Extra("id_token").(string)
	claims, reg, err := p.verifyIDToken(ctx, m, idToken, want)
	if err != nil {
		return Result{}, err
	}
	return p.result(ctx, m, answer{claims: claims, registered: reg, idToken: idToken, token: tok})
}

// tokenError translates an answer of the token endpoint. The endpoint's own text
// is dropped: it may repeat the code or the token that it refused.
func (p *Provider) tokenError(err error, onInvalidGrant string) error {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return unavailable(fmt.Errorf("token endpoint: %s", clip(network(err).Error())))
	}
	status := e.Response.StatusCode
	cause := fmt.Errorf("token endpoint answered %d %q", status, clip(e.ErrorCode))
	switch {
	case e.ErrorCode == "invalid_grant":
		return refuse(onInvalidGrant, "%w", cause)
	case e.ErrorCode == "invalid_client", e.ErrorCode == "unauthorized_client", status == 401:
		return refuse(CodeClientRejected, "%w: check client_id and client_secret", cause)
	case status >= 500, status == 429, e.ErrorCode == "temporarily_unavailable", e.ErrorCode == "server_error":
		return unavailable(cause)
	case status == 404, status == 405, status == 410:
		p.lookAgain() // the endpoint may have moved
		return unavailable(cause)
	}
	return refuse(CodeProviderError, "%w", cause)
}

// newSecret returns 256 random bits as base64url text.
func newSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails, and crashes the program if it could
	return base64.RawURLEncoding.EncodeToString(b[:])
}
