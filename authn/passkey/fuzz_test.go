package passkey_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/passkey"
)

// replay gives the same ceremony as often as it is asked, so that one recorded
// answer stays right while it is mutated.
type replay struct{ payload []byte }

func (r *replay) PutBounded(_ context.Context, _ string, _ [32]byte, payload []byte, _ time.Time, _ authn.Bound) error {
	r.payload = payload
	return nil
}

func (r *replay) Take(context.Context, string, [32]byte, time.Time) ([]byte, error) {
	return r.payload, nil
}

func fuzzWorld(f *testing.F) (*passkey.RelyingParty, *authntest.Memory) {
	store := authntest.NewMemory()
	rp, err := passkey.New(passkey.Config{RPID: rpID, RPName: "Corp", Origins: []string{origin}, Store: store, Ceremonies: &replay{}})
	if err != nil {
		f.Fatal(err)
	}
	return rp, store
}

// judge fails unless err is nil or a refusal: hostile bytes are never an outage,
// nor do they block anyone.
func judge(t *testing.T, err error) {
	t.Helper()
	var e *passkey.Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("not a refusal: %v", err)
	}
}

// splice is a mutation: it replaces drop bytes at cut by insert, in the answer
// itself or, before encoding, in one of the fields of its response. Keys and
// challenges differ in every process, so whole answers would not survive the way
// from one fuzzing worker to another; mutations do.
func splice(t *testing.T, body []byte, field, cut, drop uint16, insert []byte) []byte {
	apply := func(b []byte) []byte {
		from := min(int(cut), len(b))
		return slices.Concat(b[:from], insert, b[min(from+int(drop), len(b)):])
	}
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	response := m["response"].(map[string]any)
	var names []string // of what is base64url
	for _, name := range slices.Sorted(maps.Keys(response)) {
		if _, ok := response[name].(string); ok {
			names = append(names, name)
		}
	}
	if field %= uint16(len(names) + 1); int(field) == len(names) {
		return apply(body)
	}
	name := names[field]
	b, err := base64.RawURLEncoding.DecodeString(response[name].(string))
	if err != nil {
		t.Fatal(err)
	}
	response[name] = base64.RawURLEncoding.EncodeToString(apply(b))
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func seeds(f *testing.F) {
	for field := range uint16(8) {
		f.Add(field, uint16(0), uint16(0), []byte{})
		f.Add(field, uint16(33), uint16(4), []byte{0, 0, 0, 0})
		f.Add(field, uint16(0), uint16(0xffff), []byte("{}"))
		f.Add(field, uint16(60), uint16(1), []byte{0x9f})
	}
}

func FuzzFinishRegistration(f *testing.F) {
	rp, _ := fuzzWorld(f)
	alice := session("alice", "1")
	c, err := rp.BeginRegistration(f.Context(), alice)
	if err != nil {
		f.Fatal(err)
	}
	var bodies [][]byte
	for _, attestation := range []string{"none", "packed", "x5c"} {
		a := authntest.NewAuthenticator(origin)
		a.Attestation = attestation
		body, err := a.Create(c.Options)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := rp.FinishRegistration(f.Context(), alice, c.ID, body); err != nil {
			f.Fatalf("the seed itself is refused: %v", err)
		}
		bodies = append(bodies, body)
	}
	seeds(f)
	f.Fuzz(func(t *testing.T, field, cut, drop uint16, insert []byte) {
		for _, body := range bodies {
			r, err := rp.FinishRegistration(t.Context(), alice, c.ID, splice(t, body, field, cut, drop, insert))
			judge(t, err)
			if err == nil && (r.Class == authn.ClassAttested || r.Class == authn.ClassNone || r.Subject != alice.Person.Subject ||
				len(r.ID) == 0 || len(r.PublicKey) == 0 || !json.Valid(r.Data) || r.BackedUp && !r.BackupEligible) {
				t.Fatalf("record %+v", r)
			}
		}
	})
}

func FuzzFinishAssertion(f *testing.F) {
	rp, store := fuzzWorld(f)
	alice := session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	a.Uncounted = true // or the first success would make all others refusals
	c, err := rp.BeginRegistration(f.Context(), alice)
	if err != nil {
		f.Fatal(err)
	}
	body, err := a.Create(c.Options)
	if err != nil {
		f.Fatal(err)
	}
	r, err := rp.FinishRegistration(f.Context(), alice, c.ID, body)
	if err != nil {
		f.Fatal(err)
	}
	if err := store.AddCredential(f.Context(), r, nil); err != nil {
		f.Fatal(err)
	}
	if c, err = rp.BeginAssertion(f.Context(), alice); err != nil {
		f.Fatal(err)
	}
	if body, err = a.Get(c.Options); err != nil {
		f.Fatal(err)
	}
	if _, err := rp.FinishAssertion(f.Context(), alice, c.ID, body); err != nil {
		f.Fatalf("the seed itself is refused: %v", err)
	}
	signed := signedParts(body)
	seeds(f)
	f.Fuzz(func(t *testing.T, field, cut, drop uint16, insert []byte) {
		answer := splice(t, body, field, cut, drop, insert)
		_, err := rp.FinishAssertion(t.Context(), alice, c.ID, answer)
		judge(t, err)
		if err == nil && !bytes.Equal(signedParts(answer), signed) {
			t.Fatalf("accepted although what was signed has changed: %s", answer)
		}
		records, err := store.Credentials(t.Context(), r.Subject)
		if err != nil || len(records) != 1 || records[0].Blocked != "" {
			t.Fatalf("blocked by bytes that nobody signed: %+v, %v", records, err)
		}
	})
}

// signedParts reads what a signature covers, as leniently as the library does.
func signedParts(body []byte) []byte {
	var m struct {
		Response struct{ ClientDataJSON, AuthenticatorData string }
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return nil
	}
	client, _ := base64.RawURLEncoding.DecodeString(strings.TrimRight(m.Response.ClientDataJSON, "="))
	auth, _ := base64.RawURLEncoding.DecodeString(strings.TrimRight(m.Response.AuthenticatorData, "="))
	return slices.Concat(client, []byte("."), auth)
}
