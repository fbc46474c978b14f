package assertion

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Expected is what a verifier knows without the token.
type Expected struct {
	Issuer, Audience string
	Now              time.Time
}

// Verify checks an assertion against a key set, the way an upstream should. It allows
// for no difference between clocks.
func Verify(token string, jwks []byte, want Expected) (Claims, error) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(jwks, &set); err != nil {
		return Claims{}, fmt.Errorf("key set: %w", err)
	}
	if err := onlySpelling(token); err != nil {
		return Claims{}, err
	}
	// The algorithm is ours to choose, not the token's: neither "none" nor an HMAC keyed
	// with the public key gets any further.
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return Claims{}, err
	}
	header := signed.Signatures[0].Protected
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != Type {
		return Claims{}, fmt.Errorf("typ is %q", typ)
	}
	keys := set.Key(header.KeyID)
	if header.KeyID == "" || len(keys) != 1 {
		return Claims{}, fmt.Errorf("key %q is not in the set", header.KeyID)
	}
	payload, err := signed.Verify(keys[0])
	if err != nil {
		return Claims{}, err
	}
	var c Claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return Claims{}, fmt.Errorf("claims: %w", err)
	}
	now := want.Now.Unix()
	switch {
	case c.Issuer != want.Issuer:
		return Claims{}, fmt.Errorf("iss is %q", c.Issuer)
	case c.Audience != want.Audience:
		return Claims{}, fmt.Errorf("aud is %q", c.Audience)
	case now < c.NotBefore || now >= c.Expires:
		return Claims{}, errors.New("not valid now")
	case c.Expires-c.NotBefore > int64(Life/time.Second):
		return Claims{}, errors.New("valid for too long")
	case c.Subject == "":
		return Claims{}, errors.New("no subject")
	}
	return c, nil
}

// onlySpelling refuses tokens that decode to the same bytes as another text: unused bits
// of the last character, line breaks (which encoding/base64 skips).
func onlySpelling(token string) error {
	for part := range strings.SplitSeq(token, ".") {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil {
			return fmt.Errorf("base64url: %w", err)
		}
		if base64.RawURLEncoding.EncodeToString(raw) != part {
			return errors.New("base64url: not canonical")
		}
	}
	return nil
}
