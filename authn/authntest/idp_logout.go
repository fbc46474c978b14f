package authntest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const backchannelEvent = "http://schemas.openid.net/event/backchannel-logout"

// endSession is RP-initiated logout: it ends the session that the hint names,
// tells the clients, and moves on to a registered address.
func (p *IdP) endSession(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		p.page(w, http.StatusBadRequest, "error.html", map[string]any{"Message": "The request could not be read."})
		return
	}
	client, known := p.client(r.Form.Get("client_id"))
	if hint := r.Form.Get("id_token_hint"); hint != "" {
		claims, err := p.open(hint)
		if err != nil {
			p.page(w, http.StatusBadRequest, "error.html", map[string]any{"Message": "The hint about who you are could not be read."})
			return
		}
		aud, _ := claims["aud"].(string)
		if !known {
			client, known = p.client(aud)
		}
		sid, _ := claims["sid"].(string)
		if err := p.end(r.Context(), func(g *idpGrant) bool { return g.sid == sid }); err != nil {
			p.log.Warn("back-channel logout", "error", err)
		}
	}
	to := r.Form.Get("post_logout_redirect_uri")
	if known && to != "" && slices.Contains(client.PostLogoutRedirectURIs, to) {
		if state := r.Form.Get("state"); state != "" {
			sep := "?"
			if strings.Contains(to, "?") {
				sep = "&"
			}
			to += sep + url.Values{"state": {state}}.Encode()
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	p.page(w, http.StatusOK, "signed-out.html", map[string]any{})
}

// EndSessions ends every session of a person, as an administrator would, and
// tells the clients by back-channel calls.
func (p *IdP) EndSessions(ctx context.Context, sub string) error {
	return p.end(ctx, func(g *idpGrant) bool { return g.sub == sub })
}

// end ends matching grants and calls each client once for each session.
func (p *IdP) end(ctx context.Context, match func(*idpGrant) bool) error {
	type session struct{ client, sid string }
	ended := map[session]*idpGrant{}
	p.mu.Lock()
	for _, grants := range []map[string]*idpGrant{p.codes, p.access, p.refresh} {
		for token, g := range grants {
			if match(g) {
				if !g.ended {
					ended[session{g.client.ID, g.sid}] = g
				}
				delete(grants, token)
			}
		}
	}
	for _, g := range ended {
		g.ended = true
	}
	p.mu.Unlock()
	var errs []error
	for _, g := range ended {
		errs = append(errs, p.callBack(ctx, g))
	}
	return errors.Join(errs...)
}

// callBack delivers a logout token (OpenID Connect Back-Channel Logout section 2.5).
func (p *IdP) callBack(ctx context.Context, g *idpGrant) error {
	if g.client.BackchannelLogoutURI == "" {
		return nil
	}
	token, err := p.LogoutToken(g.client.ID, g.sub, g.sid, nil)
	if err != nil {
		return err
	}
	body := strings.NewReader(url.Values{"logout_token": {token}}.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.client.BackchannelLogoutURI, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.cfg.HTTPClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("client %s answered the logout token with %d", g.client.ID, resp.StatusCode)
	}
	return nil
}

// LogoutToken signs a logout token for a client. edit may change its claims.
func (p *IdP) LogoutToken(clientID, sub, sid string, edit func(claims map[string]any)) (string, error) {
	now := p.now()
	claims := map[string]any{
		"iss": p.cfg.Issuer, "aud": clientID, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": randomText(),
		"events": map[string]any{backchannelEvent: map[string]any{}},
	}
	if sub != "" {
		claims["sub"] = sub
	}
	if sid != "" {
		claims["sid"] = sid
	}
	if edit != nil {
		edit(claims)
	}
	return p.Sign("logout+jwt", claims)
}

// open verifies a token of ours, expired or not.
func (p *IdP) open(token string) (map[string]any, error) {
	p.mu.Lock()
	keys := slices.Clone(p.keys)
	p.mu.Unlock()
	jws, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{keys[0].alg})
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if payload, err := jws.Verify(k.private.Public()); err == nil {
			var claims map[string]any
			return claims, json.Unmarshal(payload, &claims)
		}
	}
	return nil, errors.New("not signed by us")
}
