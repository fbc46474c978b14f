package assertion

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sallyport/authn"

	"github.com/go-jose/go-jose/v4"
)

const (
	keyUse   = "assertion"
	keysKept = 5 // several processes may rotate at the same moment
)

// key is one signing key.
type key struct {
	public  jose.JSONWebKey
	signer  jose.Signer
	created time.Time
}

func generate(now time.Time) (authn.Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authn.Key{}, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return authn.Key{}, err
	}
	id, err := thumbprint(&private.PublicKey)
	if err != nil {
		return authn.Key{}, err
	}
	return authn.Key{ID: id, Use: keyUse, Secret: secret, CreatedAt: now}, nil
}

func thumbprint(public *ecdsa.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

func parse(stored authn.Key) (*key, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(stored.Secret)
	if err != nil {
		// What x509 says may quote the secret.
		return nil, fmt.Errorf("key %s is not PKCS#8", stored.ID)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() || stored.Use != keyUse {
		return nil, fmt.Errorf("key %s is not a P-256 %q key", stored.ID, keyUse)
	}
	id, err := thumbprint(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	if id != stored.ID {
		return nil, fmt.Errorf("key %s has the thumbprint %s", stored.ID, id)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: id}},
		(&jose.SignerOptions{}).WithType(Type))
	if err != nil {
		return nil, err
	}
	return &key{
		public:  jose.JSONWebKey{Key: &private.PublicKey, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"},
		signer:  signer,
		created: stored.CreatedAt,
	}, nil
}

// ring is the keys at one moment. It is immutable.
type ring struct {
	all     []*key // newest first
	signing *key
	jwks    []byte
	etag    string
}

// arrange decides which of the keys, newest first, signs and which are published.
// lead is the time from a key's making to its first signature, and from its
// last signature to its disappearance.
func arrange(all []*key, lead time.Duration, now time.Time) (*ring, error) {
	if len(all) == 0 {
		return nil, errors.New("there is no key")
	}
	// The newest that is old enough. If none is, no cache can hold a set without the
	// oldest: it is the first key, or those before it were revoked.
	at := len(all) - 1
	for i, k := range all {
		if now.Sub(k.created) >= lead {
			at = i
			break
		}
	}
	last := at
	for last+1 < len(all) && now.Sub(all[last].created) < 2*lead { // its predecessor signed until a moment ago
		last++
	}
	var set jose.JSONWebKeySet
	for _, k := range all[:last+1] {
		set.Keys = append(set.Keys, k.public)
	}
	jwks, err := json.Marshal(set)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(jwks)
	return &ring{all: all, signing: all[at], jwks: jwks, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}, nil
}
