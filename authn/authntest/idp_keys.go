package authntest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

type idpKey struct {
	id      string
	alg     jose.SignatureAlgorithm
	private crypto.Signer
}

func newIdPKey(algorithm string) (k idpKey, err error) {
	k = idpKey{id: "k-" + randomText()[:8], alg: jose.SignatureAlgorithm(algorithm)}
	switch k.alg {
	case "", jose.ES256:
		k.alg = jose.ES256
		k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, k.private, err = ed25519.GenerateKey(rand.Reader)
	case jose.RS256, jose.PS256:
		k.private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		err = fmt.Errorf("no key for algorithm %q", algorithm)
	}
	return k, err
}

// RotateKeys makes a new signing key. The one before stays published, older ones
// are gone.
func (p *IdP) RotateKeys() error {
	k, err := newIdPKey(p.cfg.Algorithm)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = []idpKey{k, p.keys[0]}
	return nil
}

func (p *IdP) signingKey() idpKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[0]
}

func (p *IdP) jwks(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	keys := make([]any, 0, len(p.oddKeys)+len(p.keys))
	for _, k := range p.oddKeys {
		keys = append(keys, k)
	}
	for _, k := range p.keys {
		keys = append(keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: string(k.alg), Use: "sig"})
	}
	p.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"keys": keys})
}

// Sign makes a JWT of any claims with the provider's current key. typ is the
// type in its header, or "".
func (p *IdP) Sign(typ string, claims map[string]any) (string, error) {
	return signJWT(p.signingKey(), typ, claims)
}

func signJWT(k idpKey, typ string, claims map[string]any) (string, error) {
	return compact(jose.SigningKey{Algorithm: k.alg, Key: jose.JSONWebKey{Key: k.private, KeyID: k.id}}, typ, claims)
}

func compact(key jose.SigningKey, typ string, claims map[string]any) (string, error) {
	opts := &jose.SignerOptions{}
	if typ != "" {
		opts.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(key, opts)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// signIDToken signs honestly, or as the faults say.
func (p *IdP) signIDToken(claims map[string]any, client IdPClient) (string, error) {
	key, typ := p.signingKey(), "JWT"
	switch {
	case p.has(FaultAlgNone):
		payload, err := json.Marshal(claims)
		if err != nil {
			return "", err
		}
		b64 := base64.RawURLEncoding
		return b64.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + b64.EncodeToString(payload) + ".", nil
	case p.has(FaultAlgHS256):
		secret := []byte(client.Secret)
		if short := 32 - len(secret); short > 0 { // RFC 7518 section 3.2 asks for 256 bits; HMAC pads with zeros anyway
			secret = append(secret, strings.Repeat("\x00", short)...)
		}
		return compact(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, typ, claims)
	case p.has(FaultForeignKey):
		foreign, err := newIdPKey(p.cfg.Algorithm)
		if err != nil {
			return "", err
		}
		foreign.id = key.id
		key = foreign
	case p.has(FaultLogoutAsIDToken):
		claims["events"] = map[string]any{backchannelEvent: map[string]any{}}
	case p.has(FaultAccessTokenType):
		typ = "at+jwt"
	}
	return signJWT(key, typ, claims)
}

func randomText() string {
	var b [24]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // an error means that the client went away
}
