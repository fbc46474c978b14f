// Package verifynode runs the tests of the verifier in JavaScript, with assertions that the
// product signed.
package verifynode

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/policy"
	"sallyport/proxy/assertion"
)

func TestNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "all" {
			t.Fatal("node is required and not installed")
		}
		t.Skip("node is not installed")
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const issuer = "https://sallyport.example.com"
	signer := func() *assertion.Signer {
		s, err := assertion.New(t.Context(), assertion.Config{Keys: authntest.NewMemory(), Issuer: issuer, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ours, theirs := signer(), signer()
	keys := httptest.NewServer(ours)
	defer keys.Close()
	session := &authn.Session{
		ID: "s-1", AuthTime: now, Person: authn.Person{Subject: authn.Subject{Issuer: "https://idp.example.com", ID: "u1"}, Email: "alice@example.com"},
		Verification: authn.Verification{At: now, Credential: authn.Credential{Class: authn.ClassAttested}},
	}
	sign := func(s *assertion.Signer, route string) string {
		token, err := s.Sign(assertion.ClaimsOf(session, route, &policy.Decision{Action: policy.Allow}))
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good := sign(ours, "tool")
	other := sign(ours, "other")
	foreign := sign(theirs, "tool")
	now = now.Add(-5 * time.Minute)
	expired := sign(ours, "tool")
	now = now.Add(5 * time.Minute)

	vectors, err := json.Marshal(map[string]any{
		"issuer": issuer, "audience": "tool", "jwks": keys.URL, "now": now.Unix(), "sub": "u1", "good": good,
		"bad": map[string]string{"another tool": other, "another installation": foreign, "expired": expired, "truncated": good[:len(good)-2]},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "vectors.json")
	if err := os.WriteFile(file, vectors, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, "--test", "--test-reporter=tap", "verify.test.mjs")
	cmd.Env = append(os.Environ(), "SALLYPORT_VECTORS="+file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
