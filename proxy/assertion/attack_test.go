package assertion_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sallyport/authn/authntest"
	"sallyport/authn/clocktest"
	"sallyport/proxy/assertion"
)

// forged returns tokens made from a good one that must not verify.
func forged(t testing.TB, token string, jwks []byte) map[string]string {
	t.Helper()
	parts := strings.Split(token, ".")
	raw := func(i int) []byte {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	enc := base64.RawURLEncoding.EncodeToString
	header := func(old, new string) string {
		h := string(raw(0))
		if !strings.Contains(h, old) {
			t.Fatalf("%q is not in the header %s", old, h)
		}
		return enc([]byte(strings.Replace(h, old, new, 1)))
	}
	claims := func(old, new string) string {
		return enc([]byte(strings.Replace(string(raw(1)), old, new, 1)))
	}
	// The last character of a 64 byte signature carries 2 bits; the rest are free.
	last := "AQgw"[strings.IndexByte("AQgw", parts[2][len(parts[2])-1])]
	sig := raw(2)
	flipped := append([]byte(nil), sig...)
	flipped[10] ^= 1

	out := map[string]string{
		"empty":                       "",
		"truncated":                   token[:len(token)-4],
		"truncated by one":            token[:len(token)-1],
		"extended":                    token + "AAAA",
		"a fourth part":               token + ".AAAA",
		"another spelling, low bits":  token[:len(token)-1] + string(last+1),
		"another spelling, padded":    token + "==",
		"another spelling, line feed": parts[0] + "." + parts[1] + "\n." + parts[2],
		"another spelling, standard":  parts[0] + "." + parts[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(parts[2]) + " ",
		"leading space":               " " + token,
		"no signature":                parts[0] + "." + parts[1] + ".",
		"alg none":                    header("ES256", "none") + "." + parts[1] + ".",
		"alg none, signature kept":    header("ES256", "none") + "." + parts[1] + "." + parts[2],
		"alg None":                    header("ES256", "None") + "." + parts[1] + ".",
		"alg ES384":                   header("ES256", "ES384") + "." + parts[1] + "." + parts[2],
		"another typ":                 header("sallyport+jwt", "JWT") + "." + parts[1] + "." + parts[2],
		"another subject":             parts[0] + "." + claims(`"u1"`, `"u2"`) + "." + parts[2],
		"signature with a bit wrong":  parts[0] + "." + parts[1] + "." + enc(flipped),
		"signature in DER":            parts[0] + "." + parts[1] + "." + enc(append([]byte{0x30, 0x44, 2, 32}, sig...)),
		"signature of zeros":          parts[0] + "." + parts[1] + "." + enc(make([]byte, 64)),
		"JSON serialisation":          `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	public := set.Keys[0].Key.(*ecdsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	point, err := public.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{"DER": der, "point": point, "JWK": jwks} {
		out["HS256 with the public key as "+name] = sign(t, jose.HS256, secret, assertion.Type, set.Keys[0].KeyID, raw(1))
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	out["a stranger's key under our kid"] = sign(t, jose.ES256, stranger, assertion.Type, set.Keys[0].KeyID, raw(1))
	out["a stranger's key under its own kid"] = sign(t, jose.ES256, stranger, assertion.Type, "stranger", raw(1))
	out["a stranger's key under no kid"] = sign(t, jose.ES256, stranger, assertion.Type, "", raw(1))
	return out
}

func sign(t testing.TB, alg jose.SignatureAlgorithm, k any, typ, kid string, payload []byte) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType(jose.ContentType(typ))
	if kid != "" {
		opts = opts.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: k}, opts)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Another text that our key may ever sign is not an assertion.
func TestAttackTypeConfusion(t *testing.T) {
	mem := authntest.NewMemory()
	s := newSigner(t, mem, clocktest.At(start))
	token, err := s.For(alice(), "r", allow())
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	keys, err := mem.Keys(t.Context(), "assertion")
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.ParsePKCS8PrivateKey(keys[0].Secret)
	if err != nil {
		t.Fatal(err)
	}
	want := assertion.Expected{Issuer: issuer, Audience: "r", Now: start}
	for _, typ := range []string{"JWT", "at+jwt", "logout+jwt", "", assertion.Type} {
		_, err := assertion.Verify(sign(t, jose.ES256, private, typ, keys[0].ID, payload), s.JWKS(), want)
		if accepted := err == nil; accepted != (typ == assertion.Type) {
			t.Errorf("typ %q: %v", typ, err)
		}
	}
}

func TestAttackForgedAssertion(t *testing.T) {
	c := clocktest.At(start)
	s := newSigner(t, authntest.NewMemory(), c)
	token, err := s.For(alice(), "r", allow())
	if err != nil {
		t.Fatal(err)
	}
	verify(t, s, token, "r", start)
	for name, bad := range forged(t, token, s.JWKS()) {
		if got, err := assertion.Verify(bad, s.JWKS(), assertion.Expected{Issuer: issuer, Audience: "r", Now: start}); err == nil {
			t.Errorf("%s: accepted as %q", name, got.Subject)
		}
	}
	good := assertion.Expected{Issuer: issuer, Audience: "r", Now: start}
	for name, want := range map[string]assertion.Expected{
		"another route":  {Issuer: good.Issuer, Audience: "r2", Now: good.Now},
		"another issuer": {Issuer: "https://evil.example.com", Audience: good.Audience, Now: good.Now},
		"expired":        {Issuer: good.Issuer, Audience: good.Audience, Now: good.Now.Add(55 * time.Second)},
		"not yet valid":  {Issuer: good.Issuer, Audience: good.Audience, Now: good.Now.Add(-6 * time.Second)},
	} {
		if _, err := assertion.Verify(token, s.JWKS(), want); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	other := newSigner(t, authntest.NewMemory(), c)
	if _, err := assertion.Verify(token, other.JWKS(), good); err == nil {
		t.Error("accepted with the keys of another installation")
	}
}
