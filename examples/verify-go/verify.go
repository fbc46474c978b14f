package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// leeway is how far the clocks of this machine and Sallyport's may be apart.
const leeway = 5 * time.Second

// Claims is what an assertion says. Times are seconds since 1970.
type Claims struct {
	Issuer     string   `json:"iss"`
	Audience   string   `json:"aud"`
	Subject    string   `json:"sub"` // the key to store things under; e-mail addresses change hands
	Provider   string   `json:"idp"`
	Email      string   `json:"email"`
	Groups     []string `json:"groups"`
	Session    string   `json:"sid"`
	AuthTime   int64    `json:"auth_time"`
	VerifiedAt int64    `json:"uv_time"`    // last passkey assertion
	Credential string   `json:"credential"` // synced, unattested or attested
	AMR        []string `json:"amr"`
	ACR        string   `json:"acr"`
	Risk       int      `json:"risk"`
	Reasons    []string `json:"reasons"`
	NotBefore  int64    `json:"nbf"`
	Expires    int64    `json:"exp"`
	ID         string   `json:"jti"`
}

// Verifier checks assertions. All fields but Now are required.
type Verifier struct {
	Issuer   string // external_url of Sallyport
	Audience string // name of the route that leads to this tool
	Keys     *KeySet
	Now      func() time.Time
}

// Verify returns what a good assertion says. ErrNoKeys means that nothing can be checked
// at the moment; any other error that the assertion is not good.
func (v *Verifier) Verify(ctx context.Context, token string) (*Claims, error) {
	if err := canonical(token); err != nil {
		return nil, err
	}
	// The algorithm is decided here and not by the token. With "none", or HS256 and the
	// public key as its secret, any attacker can sign.
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, err
	}
	header := signed.Signatures[0].Protected
	// Other tokens that this issuer or its keys may ever sign are not assertions.
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != "sallyport+jwt" {
		return nil, fmt.Errorf("typ is %q", typ)
	}
	key, err := v.Keys.Key(ctx, header.KeyID, v.now())
	if err != nil {
		return nil, err
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return nil, err
	}
	var c Claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	now := v.now()
	switch {
	case c.Issuer != v.Issuer:
		return nil, fmt.Errorf("iss is %q", c.Issuer)
	case c.Audience != v.Audience:
		return nil, fmt.Errorf("aud is %q: the assertion is for another tool", c.Audience)
	case now.Add(leeway).Unix() < c.NotBefore:
		return nil, errors.New("not valid yet")
	case now.Add(-leeway).Unix() >= c.Expires: // also if there is no exp
		return nil, errors.New("expired")
	case c.Subject == "":
		return nil, errors.New("no sub")
	}
	return &c, nil
}

func (v *Verifier) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}

// canonical refuses all but one spelling of a token: three parts in base64url without
// padding, line breaks or stray bits.
func canonical(token string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > 16<<10 {
		return errors.New("not a token")
	}
	for _, part := range parts {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || base64.RawURLEncoding.EncodeToString(raw) != part {
			return errors.New("not base64url")
		}
	}
	return nil
}

type contextKey struct{}

// With returns a context that carries the claims; From finds them there.
func With(ctx context.Context, c *Claims) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// From returns the claims of a request that Require let through.
func From(ctx context.Context) *Claims {
	c, _ := ctx.Value(contextKey{}).(*Claims)
	return c
}
