package assertion_test

import (
	"testing"

	"sallyport/authn/authntest"
	"sallyport/authn/clocktest"
	"sallyport/proxy/assertion"
)

// There is one text that verifies.
func FuzzVerify(f *testing.F) {
	s := newSigner(f, authntest.NewMemory(), clocktest.At(start))
	token, err := s.For(alice(), "r", allow())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	for _, bad := range forged(f, token, s.JWKS()) {
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := assertion.Verify(text, s.JWKS(), assertion.Expected{Issuer: issuer, Audience: "r", Now: start}); err == nil && text != token {
			t.Fatalf("another text verifies: %q", text)
		}
	})
}
