package signin

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// skew is how far the provider's clock and ours may differ.
const skew = 2 * time.Minute

// expectation is what an ID token must answer to.
type expectation struct {
	nonce       string    // of the flow; "" only for a token that comes from a refresh
	notBefore   time.Time // when we asked: an older token answers another request
	accessToken string    // that came with it, for at_hash
}

// signed verifies the signature of raw, and its header, and nothing else. The
// claims are the caller's to judge.
//
// go-oidc's own claim checks are switched off, so that each claim is judged in
// exactly one place, with its own code, and the test that removes that one check
// goes red.
func (p *Provider) signed(ctx context.Context, m *metadata, keys oidc.KeySet, raw string) (*oidc.IDToken, header, error) {
	head, err := parseHeader(raw)
	switch {
	case raw == "":
		return nil, head, refuse(CodeTokenMissing, "the provider sent no token")
	case len(raw) > maxTokenBytes:
		return nil, head, refuse(CodeTokenMalformed, "token is longer than %d bytes", maxTokenBytes)
	case err != nil:
		return nil, head, refuse(CodeTokenMalformed, "token: %w", err)
	case !slices.Contains(m.algorithms, head.Algorithm):
		return nil, head, refuse(CodeTokenAlgorithm, "token is signed with %q, not with one of %q", clip(head.Algorithm), m.algorithms)
	}
	watched := &watchedKeys{KeySet: keys}
	token, err := oidc.NewVerifier(p.cfg.Issuer, watched, &oidc.Config{
		SupportedSigningAlgs: m.algorithms,
		SkipIssuerCheck:      true, SkipClientIDCheck: true, SkipExpiryCheck: true,
		Now: p.now,
	}).Verify(ctx, raw)
	switch {
	case err == nil:
		return token, head, nil
	case watched.unreachable():
		p.lookAgain() // jwks_uri may have moved
		return nil, head, unavailable(errors.New("the provider's keys cannot be fetched: " + clip(network(watched.err).Error())))
	case watched.err != nil:
		p.lookAgain()
		if why := m.readable.unreadable(head.KeyID); why != "" {
			return nil, head, refuse(CodeTokenSignature, "the token is signed with key id %q of the provider, which cannot be read: %s", clip(head.KeyID), why)
		}
		return nil, head, refuse(CodeTokenSignature, "no key of the provider made this signature (key id %q)", clip(head.KeyID))
	default:
		return nil, head, refuse(CodeTokenMalformed, "token: %w", err)
	}
}

// watchedKeys remembers why a key set refused: "cannot fetch keys" is an outage,
// "no key fits" is a forgery.
type watchedKeys struct {
	oidc.KeySet
	err error
}

func (w *watchedKeys) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := w.KeySet.VerifySignature(ctx, jwt)
	w.err = err
	return payload, err
}

// unreachable relies on go-oidc wrapping only errors of fetching.
func (w *watchedKeys) unreachable() bool {
	return w.err != nil && (errors.Unwrap(w.err) != nil || errors.Is(w.err, context.Canceled) || errors.Is(w.err, context.DeadlineExceeded))
}

// header is the part of a JOSE header that tells kinds of token apart.
type header struct {
	Algorithm string `json:"alg"`
	Type      string `json:"typ"`
	KeyID     string `json:"kid"`
}

func parseHeader(raw string) (h header, err error) {
	first, _, _ := strings.Cut(raw, ".")
	b, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return h, errors.New("the header is not base64url")
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, errors.New("the header is not JSON")
	}
	h.Type = strings.TrimPrefix(strings.ToLower(h.Type), "application/")
	return h, nil
}

// verifyIDToken judges an ID token (OpenID Connect Core 1.0 section 3.1.3.7).
func (p *Provider) verifyIDToken(ctx context.Context, m *metadata, raw string, want expectation) (claimSet, registered, error) {
	token, head, err := p.signed(ctx, m, m.keys, raw)
	if err != nil {
		return nil, registered{}, err
	}
	var all claimSet
	if err := token.Claims(&all); err != nil {
		return nil, registered{}, refuse(CodeTokenMalformed, "ID token: %w", err)
	}
	c, err := all.registered()
	if err != nil {
		return nil, registered{}, refuse(CodeTokenMalformed, "ID token: %w", err)
	}
	if err := p.judgeIDToken(head, all, c, want); err != nil {
		return nil, registered{}, about(c.subject, err)
	}
	// An access token from another sign-in would let userinfo describe another person.
	if c.accessHash != "" && want.accessToken != "" {
		if err := token.VerifyAccessToken(want.accessToken); err != nil {
			return nil, registered{}, about(c.subject, refuse(CodeTokenAccessHash, "at_hash does not belong to the access token"))
		}
	}
	return all, c, nil
}

// judgeIDToken lists every reason to refuse a correctly signed ID token.
func (p *Provider) judgeIDToken(head header, all claimSet, c registered, want expectation) error {
	untimely := c.untimely(p.now())
	switch {
	case head.Type != "" && head.Type != "jwt", all.has("events"):
		// A logout token is signed by the same keys for the same audience
		// (Back-Channel Logout section 4, RFC 8725 section 3.11).
		return refuse(CodeTokenType, "token of type %q is not an ID token", clip(head.Type))
	case c.issuer != p.cfg.Issuer:
		return refuse(CodeTokenIssuer, "token was issued by %q, not by %q", clip(c.issuer), p.cfg.Issuer)
	case !slices.Contains(c.audience, p.cfg.ClientID):
		return refuse(CodeTokenAudience, "token is for %q, not for %q", clipAll(c.audience), p.cfg.ClientID)
	case len(c.audience) > 1 && c.party == "":
		// It could have been given to any of the audiences, who may have passed it on.
		return refuse(CodeTokenParty, "token is for %q and does not say who asked for it", clipAll(c.audience))
	case c.party != "" && c.party != p.cfg.ClientID:
		return refuse(CodeTokenParty, "token was given to %q, not to %q", clip(c.party), p.cfg.ClientID)
	case untimely != nil:
		return untimely
	case want.nonce != "" && subtle.ConstantTimeCompare([]byte(c.nonce), []byte(want.nonce)) != 1:
		// Without this a token stolen from, or injected into, another flow signs
		// its victim in here.
		return refuse(CodeTokenNonce, "token does not carry the nonce of this flow")
	case c.issued.Before(want.notBefore.Add(-skew)) && want.nonce != "":
		// The nonce was made for this flow: the token is new, and the clock is wrong.
		return refuse(CodeProviderClock, "token of this flow says that it was issued at %s, before it was asked for at %s: the provider's clock is behind, or ours is ahead", stamp(c.issued), stamp(want.notBefore))
	case c.issued.Before(want.notBefore.Add(-skew)):
		return refuse(CodeTokenStale, "token was issued at %s, before it was asked for at %s", stamp(c.issued), stamp(want.notBefore))
	case !validSubject(c.subject):
		return refuse(CodeTokenSubject, "sub is not 1 to 255 ASCII characters")
	}
	return nil
}

// untimely judges the times of ID tokens and logout tokens: exp and iat have to be there,
// exp ahead, iat and nbf behind.
func (c registered) untimely(now time.Time) error {
	switch {
	case c.expires.IsZero():
		return refuse(CodeTokenExpiry, "token has no exp")
	case !now.Before(c.expires.Add(skew)):
		return refuse(CodeTokenExpired, "token expired at %s, it is now %s", stamp(c.expires), stamp(now))
	case c.issued.IsZero():
		return refuse(CodeTokenIssuedAt, "token has no iat")
	case c.issued.After(now.Add(skew)):
		return refuse(CodeTokenNotYet, "token was issued at %s, it is now %s", stamp(c.issued), stamp(now))
	case c.notBefore.After(now.Add(skew)):
		return refuse(CodeTokenNotYet, "token is valid from %s, it is now %s", stamp(c.notBefore), stamp(now))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// clipAll bounds a list for an error message.
func clipAll(list []string) []string {
	out := slices.Clone(list[:min(len(list), 5)])
	for i := range out {
		out[i] = clip(out[i])
	}
	return out
}

// about adds the subject of the token to a refusal: its signature was good.
func about(subject string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok && validSubject(subject) {
		e.Subject = subject
	}
	return err
}
