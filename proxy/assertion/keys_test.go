package assertion_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/clocktest"
	"sallyport/proxy/assertion"
)

const (
	maxAge = 5 * time.Minute
	lead   = maxAge + 2*time.Minute
)

func kid(t *testing.T, token string) string {
	t.Helper()
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	return signed.Signatures[0].Protected.KeyID
}

// verifier caches key sets for as long as it may, and never asks sooner.
type verifier struct {
	jwks    []byte
	fetched time.Time
}

func (v *verifier) check(t *testing.T, s *assertion.Signer, token string, now time.Time) error {
	t.Helper()
	if v.jwks == nil || now.Sub(v.fetched) >= maxAge {
		v.jwks, v.fetched = s.JWKS(), now
	}
	_, err := assertion.Verify(token, v.jwks, assertion.Expected{Issuer: issuer, Audience: "r", Now: now})
	return err
}

// A rotation is not noticed by any verifier that caches the set as told, whichever process it
// fetched from and whichever signed.
func TestRotationOverlaps(t *testing.T) {
	mem, c := authntest.NewMemory(), clocktest.At(start)
	a, b := newSigner(t, mem, c), newSigner(t, mem, c)
	// Verifiers that fetched at every possible moment, from each of the two.
	var verifiers []*verifier
	kids := map[string]bool{}
	for minute := range 60 {
		if minute == 8 { // b learns of it a minute later
			if err := a.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := a.Rotate(t.Context()); !errors.Is(err, assertion.ErrRotating) {
				t.Errorf("a second rotation at once: %v", err)
			}
		}
		verifiers = append(verifiers, &verifier{}, &verifier{})
		for second := 0; second < 60; second += 20 {
			sess := alice()
			sess.Verification.At = c.Now().Add(-time.Second)
			for _, signer := range []*assertion.Signer{a, b} {
				token, err := signer.For(sess, "r", allow())
				if err != nil {
					t.Fatal(err)
				}
				kids[kid(t, token)] = true
				for i, v := range verifiers {
					if err := v.check(t, []*assertion.Signer{a, b}[i%2], token, c.Now()); err != nil {
						t.Fatalf("minute %d, verifier %d: %v", minute, i, err)
					}
				}
			}
			c.Add(20 * time.Second)
		}
		// Each rereads once a minute, b as late as it can.
		if err := b.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if minute%2 == 0 {
			if err := a.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(kids) != 2 {
		t.Errorf("%d keys signed in an hour with one rotation", len(kids))
	}
	if n := strings.Count(string(a.JWKS()), `"kid"`); n != 1 {
		t.Errorf("%d keys are published long after the rotation", n)
	}
}

func TestNewKeyIsPublishedBeforeItSigns(t *testing.T) {
	mem, c := authntest.NewMemory(), clocktest.At(start)
	s := newSigner(t, mem, c)
	sign := func() string {
		t.Helper()
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		token, err := s.For(alice(), "r", allow())
		if err != nil {
			t.Fatal(err)
		}
		return kid(t, token)
	}
	old := sign()
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(s.JWKS()), `"kid"`); n != 2 {
		t.Fatalf("%d keys published at once, want both", n)
	}
	c.Add(lead - time.Second)
	if sign() != old {
		t.Error("the new key signs before every cached set has it")
	}
	c.Add(time.Second)
	if sign() == old {
		t.Error("the new key does not sign when it should")
	}
	if !strings.Contains(string(s.JWKS()), old) {
		t.Error("the old key left the set while its assertions live")
	}
	c.Add(lead)
	sign()
	if strings.Contains(string(s.JWKS()), old) {
		t.Error("the old key is published for ever")
	}
}

func TestRevokeTakesEffectAtOnce(t *testing.T) {
	mem, c := authntest.NewMemory(), clocktest.At(start)
	s, other := newSigner(t, mem, c), newSigner(t, mem, c)
	leaked, err := s.For(alice(), "r", allow())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, signer := range []*assertion.Signer{s, other} {
		if strings.Contains(string(signer.JWKS()), kid(t, leaked)) {
			t.Error("the leaked key is still published")
		}
		token, err := signer.For(alice(), "r", allow())
		if err != nil {
			t.Fatal(err)
		}
		if token == leaked {
			t.Fatal("an assertion of the leaked key is still handed out")
		}
		verify(t, s, token, "r", start)
	}
}

func TestProcessesThatStartTogetherShareTheFirstKey(t *testing.T) {
	mem, c := authntest.NewMemory(), clocktest.At(start)
	var wg sync.WaitGroup
	sets := make([]string, 8)
	for i := range sets {
		wg.Go(func() {
			s, err := assertion.New(t.Context(), assertion.Config{Keys: mem, Issuer: issuer, Now: c.Now})
			if err != nil {
				t.Error(err)
				return
			}
			sets[i] = string(s.JWKS())
		})
	}
	wg.Wait()
	for _, set := range sets {
		if set != sets[0] {
			t.Fatal("two first keys")
		}
	}
}

func TestStoreFaults(t *testing.T) {
	mem, c := authntest.NewMemory(), clocktest.At(start)
	mem.Fail(authntest.NotStored, "Keys")
	if _, err := assertion.New(t.Context(), assertion.Config{Keys: mem, Issuer: issuer, Now: c.Now}); !errors.Is(err, authntest.ErrFault) {
		t.Errorf("New without a store: %v", err)
	}
	mem.Heal()
	s := newSigner(t, mem, c)
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, err := s.For(alice(), "r", allow())
	if err != nil {
		t.Fatal(err)
	}
	mem.Fail(authntest.NotStored)
	if err := s.Rotate(t.Context()); !errors.Is(err, authntest.ErrFault) {
		t.Errorf("Rotate: %v", err)
	}
	// Time goes on: the key that was published long enough begins to sign.
	c.Add(lead)
	if err := s.Reload(t.Context()); !errors.Is(err, authntest.ErrFault) {
		t.Errorf("Reload: %v", err)
	}
	after, err := s.For(alice(), "r", allow())
	if err != nil {
		t.Fatal(err)
	}
	if kid(t, before) == kid(t, after) {
		t.Error("a rotation under way stops with the store")
	}
	verify(t, s, after, "r", c.Now())
}

func TestKeysThatAreRefused(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, err := x509.MarshalPKCS8PrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{"not PKCS#8": []byte("not a key at all"), "another curve": other, "another key's id": good} {
		t.Run(name, func(t *testing.T) {
			mem := authntest.NewMemory()
			if err := mem.AddKey(t.Context(), authn.Key{ID: "x", Use: "assertion", Secret: secret, CreatedAt: start}, 3); err != nil {
				t.Fatal(err)
			}
			_, err := assertion.New(t.Context(), assertion.Config{Keys: mem, Issuer: issuer})
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), string(secret)) {
				t.Error("the secret is in the error")
			}
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	mem := authntest.NewMemory()
	for name, c := range map[string]assertion.Config{
		"no store":                {Issuer: issuer},
		"no issuer":               {Keys: mem},
		"no cache lifetime":       {Keys: mem, Issuer: issuer, JWKSMaxAge: time.Millisecond},
		"rotation without a rest": {Keys: mem, Issuer: issuer, RotateEvery: 20 * time.Minute},
	} {
		if _, err := assertion.New(t.Context(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
