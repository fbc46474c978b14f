package signin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"time"

	"sallyport/authn"
)

const (
	logoutEvent   = "http://schemas.openid.net/event/backchannel-logout"
	logoutPurpose = "signin.logout"
	maxHint       = 2000             // bytes of an ID token in an address: servers refuse some 8 KB, and other things stand there as well
	logoutMaxAge  = 10 * time.Minute // of a logout token, regardless of exp: bounds how long it must be remembered
)

// Logout is a verified back-channel logout: whose sessions to end.
type Logout struct {
	Subject         authn.Subject // ID is "" if the provider named a session only; Issuer is always set
	ProviderSession string        // sid; "" means every session of Subject
	IssuedAt        time.Time
	NoExpiry        bool // the token had no exp (Hydra): it counts for logoutMaxAge after IssuedAt

	remembered [32]byte
}

// EndSessionURL is where to send a browser so that the provider ends its own
// session too (OpenID Connect RP-Initiated Logout 1.0). false if the provider
// has no such page or is not known yet. idToken may be empty; one that is too long for an
// address (many groups) is left out. hint is the person's e-mail address, or "".
func (p *Provider) EndSessionURL(idToken, hint, postLogoutRedirectURI, state string) (string, bool) {
	m := p.known.Load()
	if m == nil || m.endSession == "" {
		return "", false
	}
	u, err := url.Parse(m.endSession)
	if err != nil {
		return "", false
	}
	if len(idToken) > maxHint {
		idToken = ""
	}
	q := u.Query()
	q.Set("client_id", p.cfg.ClientID)
	for name, value := range map[string]string{
		"id_token_hint": idToken, "logout_hint": hint, "post_logout_redirect_uri": postLogoutRedirectURI, "state": state,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), true
}

// VerifyLogoutToken judges a logout token (OpenID Connect Back-Channel Logout 1.0 section
// 2.6), which may come from any sender. Each token is accepted once; if the sessions then
// cannot be ended, call [Provider.ForgetLogout], so that the provider's next attempt is
// accepted.
func (p *Provider) VerifyLogoutToken(ctx context.Context, raw string) (Logout, error) {
	m, err := p.ready()
	if err != nil {
		return Logout{}, err
	}
	token, head, err := p.signed(ctx, m, m.logoutKeys, raw)
	if err != nil {
		return Logout{}, err
	}
	var all claimSet
	if err := token.Claims(&all); err != nil {
		return Logout{}, refuse(CodeTokenMalformed, "logout token: %w", err)
	}
	c, err := all.registered()
	if err != nil {
		return Logout{}, refuse(CodeTokenMalformed, "logout token: %w", err)
	}
	id, err := all.text("jti")
	if err != nil {
		return Logout{}, refuse(CodeTokenMalformed, "logout token: %w", err)
	}
	if err := p.judgeLogoutToken(head, all, c, id); err != nil {
		return Logout{}, err
	}
	out := Logout{Subject: authn.Subject{Issuer: p.cfg.Issuer, ID: c.subject}, ProviderSession: c.session,
		IssuedAt: c.issued, NoExpiry: c.expires.IsZero(), remembered: logoutKey(p.cfg.Issuer, id)}
	if err := p.noteLogout(ctx, out); err != nil {
		return Logout{}, err
	}
	return out, nil
}

// judgeLogoutToken lists every reason to refuse a correctly signed logout token.
func (p *Provider) judgeLogoutToken(head header, all claimSet, c registered, id string) error {
	now := p.now()
	if c.expires.IsZero() && !c.issued.IsZero() {
		// Hydra sends none. Refusing it would keep a session alive that the provider
		// ended; iat bounds the token as well, and jti is accepted once.
		c.expires = c.issued.Add(logoutMaxAge)
	}
	untimely := c.untimely(now)
	switch {
	case head.Type != "" && head.Type != "jwt" && head.Type != "logout+jwt":
		return refuse(CodeTokenType, "token of type %q is not a logout token", clip(head.Type))
	case c.issuer != p.cfg.Issuer:
		return refuse(CodeTokenIssuer, "token was issued by %q, not by %q", clip(c.issuer), p.cfg.Issuer)
	case !slices.Contains(c.audience, p.cfg.ClientID):
		return refuse(CodeTokenAudience, "token is for %q, not for %q", clipAll(c.audience), p.cfg.ClientID)
	case untimely != nil:
		return untimely
	case !now.Before(c.issued.Add(logoutMaxAge)):
		return refuse(CodeTokenStale, "token was issued at %s, it is now %s", stamp(c.issued), stamp(now))
	case !isLogoutEvent(all):
		return refuse(CodeLogoutEvent, "events does not hold %s", logoutEvent)
	case all.has("nonce"):
		// An ID token, which every browser extension can see, must not end sessions.
		return refuse(CodeLogoutNonce, "a logout token must not have a nonce")
	case id == "":
		return refuse(CodeLogoutTokenID, "token has no jti")
	case c.subject == "" && c.session == "":
		return refuse(CodeLogoutNobody, "token has neither sub nor sid")
	case c.subject != "" && !validSubject(c.subject):
		return refuse(CodeTokenSubject, "sub is not 1 to 255 ASCII characters")
	}
	return nil
}

// isLogoutEvent: the member must be there, and be an object (section 2.4).
func isLogoutEvent(all claimSet) bool {
	var events claimSet
	if json.Unmarshal(all["events"], &events) != nil {
		return false
	}
	member := events[logoutEvent]
	return len(member) > 0 && member[0] == '{'
}

// noteLogout refuses a token id that was seen before: a replay could end a session that
// began after the first delivery.
//
// Put refuses an existing key, so of any number of first deliveries, in any process, one
// wins. Distinguishing "exists" from "store down" takes the record out for a moment. Two
// replays in two processes may meet in that moment and one be accepted, which signs a
// person out and never lets one in.
func (p *Provider) noteLogout(ctx context.Context, l Logout) error {
	p.replays.Lock()
	defer p.replays.Unlock()
	until := l.IssuedAt.Add(logoutMaxAge + skew)
	failed := p.cfg.Flows.Put(ctx, logoutPurpose, l.remembered, nil, until)
	if failed == nil {
		return nil
	}
	if _, err := p.cfg.Flows.Take(ctx, logoutPurpose, l.remembered, p.now()); err != nil {
		return refuse(CodeStoreUnavailable, "%w: note the logout token: %w", ErrUnavailable, failed)
	}
	if err := p.cfg.Flows.Put(ctx, logoutPurpose, l.remembered, nil, until); err != nil {
		return refuse(CodeStoreUnavailable, "%w: note the logout token: %w", ErrUnavailable, err)
	}
	return refuse(CodeLogoutReplay, "this logout token was delivered before")
}

// ForgetLogout makes the token acceptable again: its sessions could not be ended.
func (p *Provider) ForgetLogout(ctx context.Context, l Logout) error {
	_, err := p.cfg.Flows.Take(ctx, logoutPurpose, l.remembered, p.now())
	if errors.Is(err, authn.ErrNotFound) {
		return nil
	}
	return err
}

// logoutKey is injective: the issuer's length keeps ("a","bc") and ("ab","c") apart.
func logoutKey(issuer, id string) [32]byte {
	return sha256.Sum256([]byte(strconv.Itoa(len(issuer)) + ":" + issuer + id))
}
