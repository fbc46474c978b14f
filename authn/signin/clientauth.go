package signin

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
)

// ClientAuth is how this client proves itself at the token endpoint (OpenID Connect Core
// section 9).
type ClientAuth string

// The ways of client authentication.
const (
	AuthAuto       ClientAuth = "" // what the provider advertises, client_secret_basic first
	AuthBasic      ClientAuth = "basic"
	AuthPost       ClientAuth = "post"
	AuthPrivateKey ClientAuth = "private_key_jwt"
)

// ClientKey signs the assertions of private_key_jwt (RFC 7523 section 3).
type ClientKey struct {
	private     crypto.Signer
	id          string // kid; "" leaves it out
	thumbprint  string // x5t#S256 of the certificate, which Entra ID asks for; "" without one
	certificate *x509.Certificate
}

// ReadClientKey reads a PEM file with a private key (PKCS #8, PKCS #1 or SEC 1) and, if
// the provider knows the key by it, its certificate. id is the key's id at the provider;
// it may be empty.
func ReadClientKey(pemText []byte, id string) (*ClientKey, error) {
	k := &ClientKey{id: id}
	for block, rest := pem.Decode(pemText); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE":
			if k.certificate != nil {
				continue // the issuers of ours
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate: %w", err)
			}
			sum := sha256.Sum256(c.Raw)
			k.certificate, k.thumbprint = c, base64.RawURLEncoding.EncodeToString(sum[:])
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
			if k.private != nil {
				return nil, errors.New("more than one private key")
			}
			private, err := parsePrivateKey(block)
			if err != nil {
				return nil, err
			}
			k.private = private
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("the private key is encrypted: openssl pkey -in FILE -out FILE.clear writes it in the clear")
		}
	}
	if k.private == nil {
		return nil, errors.New("no private key in PEM form")
	}
	if k.certificate != nil {
		public, ok := k.certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if !ok || !public.Equal(k.private.Public()) {
			return nil, errors.New("the certificate belongs to another key")
		}
	}
	if _, err := k.algorithm(nil); err != nil {
		return nil, err
	}
	return k, nil
}

func parsePrivateKey(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	return signer, nil
}

// algorithm picks one that fits the key and that the provider accepts; nil: it does not
// say.
func (k *ClientKey) algorithm(accepted []string) (jose.SignatureAlgorithm, error) {
	var fitting []jose.SignatureAlgorithm
	switch public := k.private.Public().(type) {
	case *rsa.PublicKey:
		if public.N.BitLen() < 2048 {
			return "", fmt.Errorf("an RSA key of %d bits is too short: 2048 or more", public.N.BitLen())
		}
		fitting = []jose.SignatureAlgorithm{jose.RS256, jose.PS256}
	case *ecdsa.PublicKey:
		switch public.Curve.Params().BitSize {
		case 256:
			fitting = []jose.SignatureAlgorithm{jose.ES256}
		case 384:
			fitting = []jose.SignatureAlgorithm{jose.ES384}
		case 521:
			fitting = []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		fitting = []jose.SignatureAlgorithm{jose.EdDSA}
	}
	for _, a := range fitting {
		if len(accepted) == 0 || slices.Contains(accepted, string(a)) {
			return a, nil
		}
	}
	return "", fmt.Errorf("the provider takes assertions signed with %q; this key makes %q", accepted, fitting)
}

// assertion makes a client assertion for one call.
func (k *ClientKey) assertion(clientID, tokenURL string, accepted []string, now time.Time) (string, error) {
	alg, err := k.algorithm(accepted)
	if err != nil {
		return "", err
	}
	opts := (&jose.SignerOptions{}).WithType("JWT")
	if k.thumbprint != "" {
		opts = opts.WithHeader("x5t#S256", k.thumbprint)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: k.private, KeyID: k.id}}, opts)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: clientID, Subject: clientID, Audience: jwt.Audience{tokenURL}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute)),
	}).Serialize()
}

// asserting adds a client assertion to each call of the token endpoint: package oauth2
// has no way to add one to a refresh.
type asserting struct {
	base http.RoundTripper
	make func() (string, error)
}

func (a asserting) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	signed, err := a.make()
	if err != nil {
		return nil, fmt.Errorf("client assertion: %w", err)
	}
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", signed)
	encoded := []byte(form.Encode())
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(encoded)), int64(len(encoded))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(encoded)), nil }
	return a.base.RoundTrip(r)
}

// tokenClient is the HTTP client for the token endpoint.
func (p *Provider) tokenClient(tokenURL string, accepted []string) *http.Client {
	if p.cfg.ClientKey == nil {
		return p.client
	}
	c := *p.client
	c.Transport = asserting{c.Transport, func() (string, error) {
		return p.cfg.ClientKey.assertion(p.cfg.ClientID, tokenURL, accepted, p.now())
	}}
	return &c
}

// authStyle picks how we authenticate at the token endpoint. An absent list
// means client_secret_basic (Discovery section 3). method is its name there.
//
// The library's own detection tries one way and then the other, which burns the
// code when the first try is refused for another reason.
func (p *Provider) authStyle(methods []string) (style oauth2.AuthStyle, method string, err error) {
	switch p.cfg.ClientAuth {
	case AuthBasic:
		return oauth2.AuthStyleInHeader, "client_secret_basic", nil
	case AuthPost:
		return oauth2.AuthStyleInParams, "client_secret_post", nil
	case AuthPrivateKey:
		return oauth2.AuthStyleInParams, "private_key_jwt", nil
	}
	switch {
	case p.cfg.ClientSecret == "": // public client: client_id in the body
		return oauth2.AuthStyleInParams, "none", nil
	case len(methods) == 0, slices.Contains(methods, "client_secret_basic"):
		return oauth2.AuthStyleInHeader, "client_secret_basic", nil
	case slices.Contains(methods, "client_secret_post"):
		return oauth2.AuthStyleInParams, "client_secret_post", nil
	}
	return 0, "", fmt.Errorf("the provider's token endpoint takes only %q; set oidc.client_auth", methods)
}
