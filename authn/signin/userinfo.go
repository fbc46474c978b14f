package signin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"

	"sallyport/authn"
)

// fetchUserinfo returns what the userinfo endpoint says about sub (OpenID
// Connect Core 1.0 section 5.3). It is not go-oidc's: the status must be known to tell an
// outage from a withdrawn token, and its errors repeat the answer's body.
func (p *Provider) fetchUserinfo(ctx context.Context, m *metadata, sub authn.Subject, accessToken string) (claimSet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.userinfo, nil)
	if err != nil {
		return nil, unavailable(errors.New("userinfo: malformed endpoint"))
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	req.Header.Set("Accept", "application/json, application/jwt")
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, unavailable(fmt.Errorf("userinfo: %w", network(err)))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body) // bounded by the client
	if err != nil {
		return nil, unavailable(fmt.Errorf("userinfo: %w", network(err)))
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, refuse(CodeUserinfoRejected, "userinfo refused an access token that was just issued")
	case resp.StatusCode != http.StatusOK:
		return nil, unavailable(fmt.Errorf("userinfo answered %d", resp.StatusCode))
	}
	return p.userinfoClaims(ctx, m, sub, resp.Header.Get("Content-Type"), body)
}

// userinfoClaims reads a plain or signed answer and checks that it is about sub.
func (p *Provider) userinfoClaims(ctx context.Context, m *metadata, sub authn.Subject, contentType string, body []byte) (claimSet, error) {
	var claims claimSet
	kind, _, _ := mime.ParseMediaType(contentType)
	if kind == "application/jwt" {
		token, _, err := p.signed(ctx, m, m.keys, string(body))
		if err != nil {
			return nil, err
		}
		if err := token.Claims(&claims); err != nil {
			return nil, refuse(CodeTokenMalformed, "userinfo: %w", err)
		}
		if err := p.judgeSignedUserinfo(claims); err != nil {
			return nil, err
		}
	} else if err := json.Unmarshal(body, &claims); err != nil {
		return nil, refuse(CodeTokenMalformed, "userinfo: %w", err)
	}
	got, err := claims.text("sub")
	if err != nil || got != sub.ID {
		// Without this an access token swapped for another person's lends that
		// person's groups to this session (Core section 5.3.2).
		return nil, refuse(CodeUserinfoSubject, "userinfo speaks about another subject than the ID token")
	}
	return claims, nil
}

// judgeSignedUserinfo: in a signed answer, iss and aud say for which client it is (Core
// section 5.3.2); a JWT of the same keys made for another purpose must not pass.
func (p *Provider) judgeSignedUserinfo(claims claimSet) error {
	iss, err1 := claims.text("iss")
	aud, err2 := claims.list("aud")
	switch {
	case err1 != nil || err2 != nil:
		return refuse(CodeTokenMalformed, "userinfo: %w", errors.Join(err1, err2))
	case iss != p.cfg.Issuer:
		return refuse(CodeTokenIssuer, "userinfo was issued by %q", clip(iss))
	case !slices.Contains(aud, p.cfg.ClientID):
		return refuse(CodeTokenAudience, "userinfo is for %q", clipAll(aud))
	}
	return nil
}
