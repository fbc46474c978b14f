package signin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"sallyport/authn"
)

// Refresh asks the provider whether it still vouches for sub, and with which
// groups and countries.
//
// An error that wraps [ErrGone] is the provider's final word: end the session.
// Any other error says nothing about the person: try again later, and let the
// session's refresh bound decide how long that may go on. The result's
// RefreshToken is the one to use next time; its AuthTime is zero and its IDToken empty
// if the provider sent no new ID token.
func (p *Provider) Refresh(ctx context.Context, sub authn.Subject, refreshToken string) (Result, error) {
	if sub.Issuer != p.cfg.Issuer {
		return Result{}, gone(refuse(CodeSubjectChanged, "session belongs to %q, the provider is now %q", clip(sub.Issuer), p.cfg.Issuer))
	}
	if refreshToken == "" {
		return Result{}, errors.New("no refresh token")
	}
	m, err := p.ready()
	if err != nil {
		return Result{}, err
	}
	asked := p.now()
	tok, err := m.oauth.TokenSource(oidc.ClientContext(ctx, m.tokenClient), &oauth2.Token{RefreshToken: refreshToken}).Token()
	if err != nil {
		return Result{}, gone(p.refreshError(m, err, refreshToken))
	}
	a := answer{token: tok}
	if a.idToken, _ = tok.Extra("id_token").(string); a.idToken != "" {
		// No nonce: a token from a refresh carries none (Core section 12.2). It
		// came over TLS from the token endpoint in answer to this very call.
		want := expectation{notBefore: asked, accessToken: tok.AccessToken}
		if a.claims, a.registered, err = p.verifyIDToken(ctx, m, a.idToken, want); err != nil {
			return Result{}, err
		}
		if a.registered.subject != sub.ID {
			return Result{}, gone(refuse(CodeSubjectChanged, "the refresh token now belongs to another subject"))
		}
	} else if m.userinfo == "" {
		return Result{}, refuse(CodeRefreshWithoutFacts, "the provider sent no ID token and has no userinfo endpoint")
	}
	a.registered.subject = sub.ID // userinfo is held to it
	res, err := p.result(ctx, m, a)
	if err != nil {
		return Result{}, gone(err)
	}
	return res, nil
}

// refreshError adds the refusals that only a refresh can meet: the provider
// wants to see the person again.
func (p *Provider) refreshError(m *metadata, err error, refreshToken string) error {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		switch e.ErrorCode {
		case "access_denied", "interaction_required", "login_required", "consent_required", "account_selection_required":
			return refuse(CodeRefreshRejected, "token endpoint answered %q", e.ErrorCode)
		}
	}
	return p.tokenError(m, err, CodeRefreshRejected, refreshToken)
}

// RefreshAdvice says how this provider is made to give refresh tokens.
func (p *Provider) RefreshAdvice() string {
	return refreshAdvice(p.known.Load())
}

// refreshAdvice: Google knows no scope offline_access and refuses requests that have it.
func refreshAdvice(m *metadata) string {
	switch {
	case m != nil && strings.HasPrefix(m.oauth.Endpoint.AuthURL, "https://accounts.google.com/"):
		return "oidc.authorization_params: {access_type: offline, prompt: consent}"
	case m != nil && m.offline:
		return "add offline_access to oidc.scopes, and allow refresh tokens for the client at the provider"
	}
	return "see the provider's documentation on refresh tokens: a scope (oidc.scopes), a parameter (oidc.authorization_params), or a grant type of the client"
}

// gone adds ErrGone to refusals that are about the person. Codes that speak of
// the provider's health or of our configuration are left alone: a wrong client
// secret must not sign the whole company out at once.
func gone(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	switch e.Code {
	case CodeRefreshRejected, CodeSubjectChanged, CodeUserinfoRejected, CodeUserinfoSubject,
		CodeEmailMissing, CodeEmailMalformed, CodeEmailUnverified, CodeEmailConflict:
		e.Err = fmt.Errorf("%w: %w", ErrGone, e.Err)
	}
	return err
}
