package authntest_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"sallyport/authn/authntest"
)

const creation = `{"rp":{"id":%q,"name":"Corp"},"user":{"id":"dXNlcg","name":"alice","displayName":"Alice"},"challenge":"AAAAAAAAAAAAAAAAAAAAAA",
	"pubKeyCredParams":[{"type":"public-key","alg":-7}],"attestation":"direct","excludeCredentials":[%s]}`

// The authenticator refuses what a browser refuses: a test that passes with it
// would not fail in front of a person.
func TestAuthenticatorIsAsStrictAsABrowser(t *testing.T) {
	a := authntest.NewAuthenticator("https://login.corp.example")
	if _, err := a.Create(fmt.Appendf(nil, creation, "corp.example", "")); err != nil {
		t.Fatal(err)
	}
	id := base64.RawURLEncoding.EncodeToString(a.Credentials()[0])
	exclude := `{"type":"public-key","id":"` + id + `"}`
	if _, err := a.Create(fmt.Appendf(nil, creation, "corp.example", exclude)); !errors.Is(err, authntest.ErrExcluded) {
		t.Errorf("excluded: %v", err)
	}
	for _, rp := range []string{"", "example.org", "in.corp.example", "ogin.corp.example"} {
		if _, err := a.Create(fmt.Appendf(nil, creation, rp, "")); !errors.Is(err, authntest.ErrSecurity) {
			t.Errorf("relying party %q: %v", rp, err)
		}
	}
	if _, err := a.Create([]byte(`{"publicKey":{}}`)); err == nil {
		t.Error("took options of another shape")
	}
	if _, err := a.Get([]byte(`{"rpId":"corp.example"}`)); err == nil {
		t.Error("signed without a challenge")
	}
	if _, err := a.Get([]byte(`{"rpId":"login.corp.example","challenge":"AAAA","allowCredentials":[` + exclude + `]}`)); !errors.Is(err, authntest.ErrNoPasskey) {
		t.Errorf("key of another relying party: %v", err)
	}
	a.Algorithm = -999
	if _, err := a.Create(fmt.Appendf(nil, creation, "corp.example", "")); err == nil {
		t.Error("made a key of no algorithm")
	}
}

func TestAuthenticatorFindsDiscoverableKeys(t *testing.T) {
	a := authntest.NewAuthenticator("https://login.corp.example")
	for _, nonResident := range []bool{true, false} {
		a.NonResident = nonResident
		_, err := a.Create(fmt.Appendf(nil, creation, "corp.example", ""))
		if err != nil {
			t.Fatal(err)
		}
		body, err := a.Get([]byte(`{"rpId":"corp.example","challenge":"AAAA"}`))
		if nonResident {
			if !errors.Is(err, authntest.ErrNoPasskey) {
				t.Errorf("found a key that is not discoverable: %v", err)
			}
			continue
		}
		var m struct{ Response struct{ UserHandle string } }
		if err := errors.Join(err, json.Unmarshal(body, &m)); err != nil || m.Response.UserHandle != "dXNlcg" {
			t.Errorf("user handle %q: %v", m.Response.UserHandle, err)
		}
	}
}

func TestCloneSharesKeysAndCountsAlone(t *testing.T) {
	a := authntest.NewAuthenticator("https://login.corp.example")
	if _, err := a.Create(fmt.Appendf(nil, creation, "corp.example", "")); err != nil {
		t.Fatal(err)
	}
	b := a.Clone()
	for range 3 {
		if _, err := a.Get([]byte(`{"rpId":"corp.example","challenge":"AAAA"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Get([]byte(`{"rpId":"corp.example","challenge":"AAAA"}`)); err != nil || b.Count != 2 || a.Count != 4 {
		t.Errorf("counts %d and %d: %v", a.Count, b.Count, err)
	}
}
