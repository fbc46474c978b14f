package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
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

	// A double click at the provider sends the browser to the callback twice. For so long
	// the second one is known. Those who push out other people's have them start again,
	// as if there were none.
	spentPurpose  = "signin.spent"
	spentLifetime = time.Minute
	spentInAll    = 1000

	maxPayload = 16 << 10
)

// Flow is a sign-in that has begun.
type Flow struct {
	RedirectURL string // where to send the browser

	// Binding goes into a cookie (HttpOnly, SameSite=Lax, FlowLifetime) and comes
	// back to Finish. The server keeps one digest of it and the state.
	Binding string
}

// pending is what the server remembers of a flow, under [flowKey]. Who can read the store
// cannot finish a flow: state and binding are in it as one digest, and the code never is.
type pending struct {
	Issuer   string    `json:"iss"`
	ClientID string    `json:"client"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"` // PKCE, RFC 7636
	Begun    time.Time `json:"begun"`
	Payload  []byte    `json:"payload,omitempty"`
}

// Begin starts a sign-in. payload comes back from Finish; it is kept on the server and
// never seen by the browser. client is who asks: a network has so many flows under way at
// most, of which the oldest make room. It fails with [ErrUnavailable] until the provider
// is known.
//
// A browser may have several flows under way, one in each tab: keep each Binding
// in a cookie of its own, named after the state in RedirectURL.
//
// prompt is what the provider should ask the person for (Core section 3.1.2.1):
// select_account after they signed out as another person.
func (p *Provider) Begin(ctx context.Context, client netip.Addr, payload []byte, prompt ...string) (Flow, error) {
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
		Begun: p.now().UTC(), Payload: payload,
	}
	record, err := json.Marshal(f)
	if err != nil {
		return Flow{}, err
	}
	if err := p.cfg.Flows.PutBounded(ctx, flowPurpose, flowKey(state, binding), record, f.Begun.Add(FlowLifetime), authn.BoundOf(client, flowsOfNetwork, flowsInAll)); err != nil {
		return Flow{}, refuse(CodeStoreUnavailable, "%w: keep the flow: %w", ErrUnavailable, err)
	}
	options := append(p.authorizationParams(prompt), oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier))
	return Flow{RedirectURL: m.oauth.AuthCodeURL(state, options...), Binding: binding}, nil
}

// authorizationParams are the configured parameters, with prompt added to a configured
// one.
func (p *Provider) authorizationParams(prompt []string) []oauth2.AuthCodeOption {
	var options []oauth2.AuthCodeOption
	for name, value := range p.cfg.AuthorizationParams {
		if name == "prompt" {
			prompt = append(strings.Fields(value), prompt...)
			continue
		}
		options = append(options, oauth2.SetAuthURLParam(name, value))
	}
	if len(prompt) > 0 {
		options = append(options, oauth2.SetAuthURLParam("prompt", strings.Join(distinct(prompt), " ")))
	}
	return options
}

// ReservedParam reports whether an authorization parameter is part of what protects a
// flow, or is set from elsewhere: it cannot be configured.
func ReservedParam(name string) bool {
	switch name {
	case "client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
		"code_challenge", "code_challenge_method", "request", "request_uri", "client_secret", "client_assertion":
		return true
	}
	return false
}

// Finish ends a sign-in with the query the provider sent the browser back with, and the
// binding cookie ("" if there was none). Of concurrent calls for one flow exactly one
// gets past the state. Errors are [*Error]; one with [CodeStateSpent] comes once, within
// a minute: this browser has brought the answer before, and the payload says where that
// one went.
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
		if !errors.Is(err, ErrUnavailable) { // a browser that hung up gives no other answer
			p.forgetSpent(ctx, query, binding)
		}
		if e, ok := errors.AsType[*Error](err); ok {
			e.Payload = f.Payload
		}
		return Result{}, err
	}
	res.Payload = f.Payload
	return res, nil
}

// flowKey is what a flow is kept under. The binding is part of it: an answer that another
// browser brings finds nothing, and so spends nothing.
//
// That is login CSRF, too: an attacker's own answer, opened in the victim's browser,
// would sign the victim in as the attacker.
func flowKey(state, binding string) [32]byte {
	return sha256.Sum256([]byte(state + "." + binding)) // neither has a dot (base64url)
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
	if binding == "" {
		return pending{}, refuse(CodeStateOtherBrowser, "the flow was begun in another browser")
	}
	key := flowKey(state, binding)
	record, err := p.cfg.Flows.Take(ctx, flowPurpose, key, p.now())
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return pending{}, p.spentFlow(ctx, key)
	case err != nil:
		return pending{}, refuse(CodeStoreUnavailable, "%w: take the flow: %w", ErrUnavailable, err)
	}
	var f pending
	if err := json.Unmarshal(record, &f); err != nil {
		return pending{}, refuse(CodeStateUnknown, "flow record: %w", err)
	}
	if f.Issuer != p.cfg.Issuer || f.ClientID != p.cfg.ClientID {
		return pending{}, refuse(CodeStateUnknown, "the flow was begun with another provider or client")
	}
	p.keepSpent(ctx, key, f.Payload)
	return f, nil
}

// keepSpent remembers where a flow led, before the provider is asked: the second answer
// of a double click arrives meanwhile. It is a convenience, and the sign-in goes on
// without it.
func (p *Provider) keepSpent(ctx context.Context, key [32]byte, payload []byte) {
	all := authn.Bound{Group: "spent", Wide: "spent", PerGroup: spentInAll, InAll: spentInAll}
	if err := p.cfg.Flows.PutBounded(ctx, spentPurpose, key, payload, p.now().Add(spentLifetime), all); err != nil {
		p.log.Warn("a sign-in that comes twice will have to start again", "error", err)
	}
}

// spentFlow is the refusal of an answer without a flow. The payload is only for the
// browser that spent it: the key has its binding.
func (p *Provider) spentFlow(ctx context.Context, key [32]byte) error {
	payload, err := p.cfg.Flows.Take(ctx, spentPurpose, key, p.now())
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return refuse(CodeStateUnknown, "the state was never issued, is another browser's, was used before, or has expired")
	case err != nil:
		return refuse(CodeStoreUnavailable, "%w: look for a spent flow: %w", ErrUnavailable, err)
	}
	bad := refuse(CodeStateSpent, "this browser has brought the answer before")
	bad.Payload = payload
	return bad
}

// forgetSpent has an answer that was refused lead nowhere when it comes again: the page
// then says so again.
func (p *Provider) forgetSpent(ctx context.Context, query url.Values, binding string) {
	_, err := p.cfg.Flows.Take(context.WithoutCancel(ctx), spentPurpose, flowKey(query.Get("state"), binding), p.now())
	if err != nil && !errors.Is(err, authn.ErrNotFound) {
		p.log.Warn("a refused sign-in that comes twice leads on", "error", err)
	}
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
	case query.Get("error") != "":
		return Result{}, authorizationError(query.Get("error"), query.Get("error_description"))
	case code == "":
		return Result{}, refuse(CodeCodeMissing, "the answer has neither code nor error")
	}
	tok, err := m.oauth.Exchange(oidc.ClientContext(ctx, m.tokenClient), code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return Result{}, p.tokenError(m, err, CodeCodeRejected, code, f.Verifier)
	}
	want := expectation{nonce: f.Nonce, notBefore: f.Begun, accessToken: tok.AccessToken}
	idToken, _ := tok.Extra("id_token").(string)
	claims, reg, err := p.verifyIDToken(ctx, m, idToken, want)
	if err != nil {
		return Result{}, err
	}
	return p.result(ctx, m, answer{claims: claims, registered: reg, idToken: idToken, token: tok})
}

// authorizationError translates an error answer (RFC 6749 section 4.1.2.1, Core section
// 3.1.2.6). The description is free text, and yet the only place where Entra ID and Okta
// tell an account that is not assigned from a person who pressed "Cancel".
func authorizationError(code, description string) error {
	cause := fmt.Errorf("the provider answered %q", clip(code))
	if description != "" {
		cause = fmt.Errorf("%w: %q", cause, clip(description))
	}
	says := func(parts ...string) bool {
		text := strings.ToLower(description)
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
	}
	switch {
	case code == "temporarily_unavailable", code == "server_error":
		return unavailable(cause)
	case says("aadsts50105", "not assigned"):
		return refuse(CodeNotAssigned, "%w", cause)
	case says("aadsts530", "aadsts50005", "aadsts50097", "aadsts50158", "conditional access", "access policies"):
		return refuse(CodeConditions, "%w", cause)
	case code == "consent_required", says("aadsts65001", "aadsts90094", "aadsts90093"):
		return refuse(CodeConsent, "%w", cause)
	case code == "access_denied":
		return refuse(CodeAccessDenied, "%w", cause)
	case code == "invalid_scope":
		return refuse(CodeProviderError, "%w: check oidc.scopes", cause)
	case code == "unauthorized_client", code == "unsupported_response_type":
		return refuse(CodeProviderError, "%w: the client at the provider must allow the authorization code flow", cause)
	}
	return refuse(CodeProviderError, "%w", cause)
}

// described adds the provider's own words to cause, without any of the secrets of the
// call that they may repeat.
func described(cause error, description string, secrets ...string) error {
	for _, secret := range secrets {
		if secret != "" {
			description = strings.ReplaceAll(description, secret, "[...]")
			description = strings.ReplaceAll(description, url.QueryEscape(secret), "[...]")
		}
	}
	if description == "" {
		return cause
	}
	return fmt.Errorf("%w: %q", cause, clip(description))
}

// tokenError translates an answer of the token endpoint. secrets are what the call
// carried.
func (p *Provider) tokenError(m *metadata, err error, onInvalidGrant string, secrets ...string) error {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return unavailable(fmt.Errorf("token endpoint: %s", clip(network(err).Error())))
	}
	status := e.Response.StatusCode
	cause := described(fmt.Errorf("token endpoint answered %d %q", status, clip(e.ErrorCode)),
		e.ErrorDescription, append(secrets, p.cfg.ClientSecret)...)
	switch {
	case e.ErrorCode == "invalid_grant":
		return refuse(onInvalidGrant, "%w", cause)
	case e.ErrorCode == "invalid_client", e.ErrorCode == "unauthorized_client", status == 401:
		return refuse(CodeClientRejected, "%w: %s was tried; check client_id, the secret or key, and oidc.client_auth", cause, m.clientAuth)
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
