package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/policy"
	"sallyport/proxy/assertion"
)

const issuer = "https://sallyport.example.com"

// harness is Sallyport's side: a real signer and its key set.
type harness struct {
	*assertion.Signer
	store   *authntest.Memory
	now     time.Time
	server  *httptest.Server
	fetches atomic.Int32
	down    atomic.Bool
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	w := &harness{store: authntest.NewMemory(), now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	var err error
	w.Signer, err = assertion.New(t.Context(), assertion.Config{
		Keys: w.store, Issuer: issuer, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.fetches.Add(1)
		if w.down.Load() {
			http.Error(rw, "down", http.StatusInternalServerError)
			return
		}
		w.Signer.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.server.Close)
	return w
}

func (w *harness) token(t *testing.T, route string) string {
	t.Helper()
	s := &authn.Session{
		ID: "s-1", Host: "h", AuthTime: w.now,
		Person:       authn.Person{Subject: authn.Subject{Issuer: "https://idp.example.com", ID: "u1"}, Email: "alice@example.com", Groups: []string{"ops"}},
		Verification: authn.Verification{At: w.now, Credential: authn.Credential{Class: authn.ClassAttested}},
	}
	token, err := w.Sign(assertion.ClaimsOf(s, route, &policy.Decision{Action: policy.Allow}))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (w *harness) verifier() *Verifier {
	return &Verifier{Issuer: issuer, Audience: "tool", Keys: &KeySet{URL: w.server.URL}, Now: func() time.Time { return w.now }}
}

func TestVerify(t *testing.T) {
	w := newHarness(t)
	c, err := w.verifier().Verify(t.Context(), w.token(t, "tool"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject != "u1" || c.Email != "alice@example.com" || c.Session != "s-1" || c.Credential != "attested" || c.ACR != "phrh" || c.VerifiedAt != w.now.Unix() {
		t.Errorf("%+v", c)
	}
}

// An assertion that was changed in any way is refused.
func TestAttackForgedAssertion(t *testing.T) {
	w := newHarness(t)
	good := w.token(t, "tool")
	p := strings.Split(good, ".")
	decode := func(s string) string {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	swap := func(s, old, new string) string {
		if !strings.Contains(decode(s), old) {
			t.Fatalf("no %q in %s", old, decode(s))
		}
		return encode(strings.Replace(decode(s), old, new, 1))
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(w.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	kid, public := set.Keys[0].KeyID, set.Keys[0].Key.(*ecdsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := w.store.Keys(t.Context(), "assertion")
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.ParsePKCS8PrivateKey(stored[0].Secret)
	if err != nil {
		t.Fatal(err)
	}
	typ := jose.ContentType("sallyport+jwt")
	sign := func(alg jose.SignatureAlgorithm, key any, kid string) string {
		opts := (&jose.SignerOptions{}).WithType(typ).WithHeader("kid", kid)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign([]byte(decode(p[1])))
		if err != nil {
			t.Fatal(err)
		}
		token, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	if _, err := w.verifier().Verify(t.Context(), sign(jose.ES256, private, kid)); err != nil {
		t.Fatal(err) // so that what follows is refused for its type alone
	}
	typ = "JWT"
	otherType := sign(jose.ES256, private, kid)
	typ = "sallyport+jwt"
	last := good[len(good)-1]
	for name, token := range map[string]string{
		"nothing":                      "",
		"truncated":                    good[:len(good)-1],
		"extended":                     good + "A",
		"extended by a part":           good + ".AAAA",
		"re-encoded, stray bits":       good[:len(good)-1] + string(last+1),
		"re-encoded, padded":           good + "==",
		"re-encoded, line break":       p[0] + ".\n" + p[1] + "." + p[2],
		"re-encoded, JSON form":        `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`,
		"alg none":                     swap(p[0], "ES256", "none") + "." + p[1] + ".",
		"alg none with a signature":    swap(p[0], "ES256", "none") + "." + p[1] + "." + p[2],
		"HS256 with the public key":    sign(jose.HS256, der, kid),
		"HS256 with the key set":       sign(jose.HS256, w.JWKS(), kid),
		"another typ":                  otherType,
		"another kid":                  swap(p[0], kid, "other") + "." + p[1] + "." + p[2],
		"a stranger under our kid":     sign(jose.ES256, stranger, kid),
		"a stranger under his own kid": sign(jose.ES256, stranger, "stranger"),
		"a stranger without a kid":     sign(jose.ES256, stranger, ""),
		"another e-mail":               p[0] + "." + swap(p[1], "alice", "admin") + "." + p[2],
		"another tool's":               w.token(t, "other"),
		"another installation's":       newHarness(t).token(t, "tool"),
	} {
		if c, err := w.verifier().Verify(t.Context(), token); err == nil {
			t.Errorf("%s: accepted for %s", name, c.Email)
		}
	}
	v := w.verifier()
	v.Issuer = "https://other.example.com"
	if _, err := v.Verify(t.Context(), good); err == nil {
		t.Error("another issuer's: accepted")
	}
	start := w.now
	for _, d := range []time.Duration{61 * time.Second, -11 * time.Second} {
		w.now = start.Add(d)
		if _, err := w.verifier().Verify(t.Context(), good); err == nil {
			t.Errorf("accepted %s after it was made", d)
		}
	}
}

func TestKeysAreCached(t *testing.T) {
	w := newHarness(t)
	v := w.verifier()
	verify := func(token string) error {
		_, err := v.Verify(context.Background(), token)
		return err
	}
	for range 10 {
		if err := verify(w.token(t, "tool")); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.fetches.Load(); n != 1 {
		t.Errorf("%d fetches for ten requests", n)
	}
	// Key ids that do not exist do not make it fetch each time.
	other := newHarness(t)
	for range 10 {
		w.now = w.now.Add(time.Second)
		verify(other.token(t, "tool"))
	}
	if n := w.fetches.Load(); n != 2 {
		t.Errorf("%d fetches after unknown keys", n)
	}
	// A rotation is seen in time.
	if err := w.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		w.now = w.now.Add(time.Minute)
		if err := w.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := verify(w.token(t, "tool")); err != nil {
			t.Fatal(err)
		}
	}
	// A key that was replaced at once is found by its id.
	if err := w.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(10 * time.Second)
	if err := verify(w.token(t, "tool")); err != nil {
		t.Error(err)
	}
	// Without the key set the old keys serve for a while, and then nothing is accepted.
	w.down.Store(true)
	w.now = w.now.Add(30 * time.Minute)
	if err := verify(w.token(t, "tool")); err != nil {
		t.Error(err)
	}
	w.now = w.now.Add(2 * time.Hour)
	if err := verify(w.token(t, "tool")); !errors.Is(err, ErrNoKeys) {
		t.Errorf("with keys that are hours old: %v", err)
	}
}

func TestServer(t *testing.T) {
	w := newHarness(t)
	s := httptest.NewServer(w.verifier().Require(http.HandlerFunc(hello)))
	defer s.Close()
	get := func(assertions ...string) (int, string) {
		req, err := http.NewRequest(http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header[Header] = assertions
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	good := w.token(t, "tool")
	if status, body := get(good); status != 200 || !strings.Contains(body, "Hello alice@example.com (u1)") {
		t.Errorf("%d %s", status, body)
	}
	for name, assertions := range map[string][]string{"none": nil, "empty": {""}, "two": {good, good}, "another tool's": {w.token(t, "other")}} {
		if status, _ := get(assertions...); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
	broken := &Verifier{Issuer: issuer, Audience: "tool", Keys: &KeySet{URL: "http://127.0.0.1:1/"}, Now: func() time.Time { return w.now }}
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	req.Header.Set(Header, good)
	broken.Require(http.NotFoundHandler()).ServeHTTP(rec, req)
	if rec.Code != http.StatusServiceUnavailable {
		t.Errorf("without a key set: %d", rec.Code)
	}
}
