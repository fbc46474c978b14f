package signin

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/oauth2"

	"sallyport/authn"
)

func TestClaimsRefuseRepeatedNames(t *testing.T) {
	for _, doc := range []string{
		`{"email_verified":false,"email_verified":true}`, `{"sub":"a","\u0073ub":"b"}`, `[]`, `"x"`, `{"a":}`, `{"a":1`, ``,
	} {
		var c claimSet
		if err := json.Unmarshal([]byte(doc), &c); err == nil {
			t.Errorf("%s: accepted as %v", doc, c)
		}
	}
	var c claimSet
	if err := json.Unmarshal([]byte(`{"sub":"a","Sub":"b","n":null}`), &c); err != nil {
		t.Fatal(err)
	}
	if s, _ := c.text("sub"); s != "a" || c.has("n") || c.has("SUB") {
		t.Errorf("%v", c)
	}
}

func TestDates(t *testing.T) {
	for text, want := range map[string]time.Time{
		`1`: time.Unix(1, 0), `1700000000`: time.Unix(1700000000, 0), `1700000000.5`: time.Unix(1700000000, 5e8), `1.7e9`: time.Unix(1700000000, 0),
	} {
		got, err := claimSet{"exp": json.RawMessage(text)}.when("exp")
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{`0`, `-1`, `1e400`, `253402300800`, `"1"`, `{}`, `true`} {
		if got, err := (claimSet{"exp": json.RawMessage(text)}).when("exp"); err == nil {
			t.Errorf("%s: accepted as %s", text, got)
		}
	}
}

func TestTooManyValues(t *testing.T) {
	doc := `{"groups":["` + strings.Repeat(`a","`, maxListed) + `b"]}`
	var c claimSet
	if err := json.Unmarshal([]byte(doc), &c); err != nil {
		t.Fatal(err)
	}
	if _, err := c.list("groups"); err == nil {
		t.Error("accepted")
	}
}

// For all claims, a person who comes out of them is well formed.
func FuzzPerson(f *testing.F) {
	for _, seed := range []string{
		`{"sub":"a","email":"a@b.c","email_verified":true,"groups":["g"],"country":"US"}`,
		`{"email":"A@B.C","email_verified":"true","groups":"g","country":["us","de"],"name":"\u202e"}`,
		`{"email":"a@b@c","email_verified":true}`, `{"email":null,"groups":[null],"country":[[]]}`, `{"a":1,"a":2}`, `{"email":"\ud800@b.c"}`,
	} {
		f.Add(seed, seed)
	}
	p := &Provider{cfg: Config{Issuer: "https://id.example", EmailClaim: "email", GroupsClaim: "groups", CountriesClaim: "country"}}
	f.Fuzz(func(t *testing.T, idToken, userinfo string) {
		var id, info claimSet
		if json.Unmarshal([]byte(idToken), &id) != nil || json.Unmarshal([]byte(userinfo), &info) != nil {
			return
		}
		_, _ = id.registered()
		person, _, err := p.personFrom(t.Context(), authn.Subject{Issuer: "https://id.example", ID: "a"}, info, answer{claims: id, token: &oauth2.Token{}})
		if err != nil {
			return
		}
		email := string(person.Email)
		if strings.Count(email, "@") != 1 || email != strings.ToLower(email) || strings.ContainsFunc(email, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("email %q", email)
		}
		if !id.truth("email_verified") && !info.truth("email_verified") {
			t.Errorf("%q is verified by nobody", email)
		}
		for _, c := range person.Countries {
			if len(c) != 2 || strings.ContainsFunc(c, func(r rune) bool { return r < 'A' || r > 'Z' }) {
				t.Errorf("country %q", c)
			}
		}
		for _, g := range append(person.Groups, person.Name) {
			if strings.ContainsFunc(g, unicode.IsControl) {
				t.Errorf("text %q", g)
			}
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("..")
	f.Fuzz(func(_ *testing.T, raw string) { _, _ = parseHeader(raw) })
}
