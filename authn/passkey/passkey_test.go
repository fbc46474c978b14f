package passkey_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/passkey"
)

func TestPasskeyLife(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	a.BackupEligible = true

	r, err := w.tryRegister(alice, a)
	if err != nil {
		t.Fatal(err)
	}
	if records, err := w.List(t.Context(), r.Subject); err != nil || len(records) != 0 {
		t.Fatalf("finishing a registration stored it: %v, %v", records, err)
	}
	if err := w.store.AddCredential(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	if r.Subject != alice.Person.Subject || string(r.ID) != string(a.Credentials()[0]) || !r.CreatedAt.Equal(w.now) || !r.LastUsedAt.IsZero() ||
		!r.BackupEligible || r.BackedUp || r.SignCount != 1 || r.AAGUID != "5a000000-0000-4000-8000-000000000001" ||
		fmt.Sprint(r.Transports) != "[internal]" || r.Name != "Synced passkey" {
		t.Errorf("record %+v", r)
	}

	w.now = w.now.Add(time.Hour)
	a.BackedUp = true // the person switched synchronisation on: legal, and remembered
	got := w.mustAssert(alice, a)
	if !got.BackedUp || !got.LastUsedAt.Equal(w.now) || got.Class != authn.ClassSynced {
		t.Errorf("credential %+v", got)
	}
	after := w.stored(r)
	if !after.BackedUp || after.SignCount != 2 || !after.LastUsedAt.Equal(w.now) {
		t.Errorf("stored %+v", after)
	}
	a.BackedUp = false
	if got := w.mustAssert(alice, a); got.BackedUp {
		t.Error("still backed up")
	}
}

func TestSeveralPasskeys(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	laptop, key := authntest.NewAuthenticator(origin), authntest.NewAuthenticator(origin)
	key.Attachment, key.Transports = "cross-platform", []string{"usb", "nfc"}
	w.register(alice, laptop)
	alice = w.verified(alice, laptop)
	proposal, second := w.proposed(alice, key)
	c1, body := w.vouching(alice, proposal, laptop)
	vouched, err := w.FinishVouching(t.Context(), alice, c1.ID, body)
	if err != nil || string(vouched.Record().ID) != string(second.ID) || string(vouched.By().ID) != string(laptop.Credentials()[0]) {
		t.Fatalf("%+v, %v", vouched, err)
	}
	if w.has(second) {
		t.Error("finishing stored it")
	}
	if err := w.Add(t.Context(), vouched); err != nil {
		t.Fatal(err)
	}
	refused(t, w.Add(t.Context(), vouched), passkey.CodeCredentialExists, false)
	if c := w.mustAssert(alice, key); string(c.ID) != string(second.ID) || c.Name != "Security key" {
		t.Errorf("used %+v", c)
	}
	w.mustAssert(alice, laptop)

	c, err := w.BeginRegistration(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Create(c.Options); !errors.Is(err, authntest.ErrExcluded) {
		t.Errorf("a second passkey on the same authenticator: %v", err)
	}
}

// A person whose passkey was blocked may make a new one on the same device, with
// a new ticket.
func TestBlockedPasskeyIsNotExcluded(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	r := w.register(alice, a)
	if err := w.store.BlockCredential(t.Context(), r.Subject, r.ID, "reported stolen"); err != nil {
		t.Fatal(err)
	}
	w.register(alice, a)
	if c := w.mustAssert(alice, a); string(c.ID) == string(r.ID) {
		t.Error("the blocked passkey was used")
	}
}

func TestTooManyPasskeys(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	for range passkey.MaxCredentials {
		w.register(alice, authntest.NewAuthenticator(origin))
	}
	_, err := w.BeginRegistration(t.Context(), alice)
	refused(t, err, passkey.CodeTooManyCredentials, false)
}

func TestAlgorithmsAndAttestations(t *testing.T) {
	for _, alg := range []int{authntest.ES256, authntest.EdDSA, authntest.RS256} {
		for _, attestation := range []string{"none", "packed", "x5c"} {
			t.Run(fmt.Sprint(alg, attestation), func(t *testing.T) {
				w, alice := newHarness(t), session("alice", "1")
				w.t = t
				a := authntest.NewAuthenticator(origin)
				a.Algorithm, a.Attestation = alg, attestation
				w.register(alice, a)
				w.mustAssert(alice, a)
			})
		}
	}
}

func TestAuthenticatorsThatDoLess(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	a.Uncounted, a.NonResident = true, true
	w.register(alice, a)
	for range 3 {
		w.mustAssert(alice, a)
	}
}

func TestCreationOptions(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	first := w.register(alice, authntest.NewAuthenticator(origin))
	c, err := w.BeginRegistration(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		RP                     struct{ ID, Name string }
		User                   struct{ ID, Name, DisplayName string }
		Challenge              string
		Timeout                int
		Attestation            string
		AuthenticatorSelection map[string]any
		ExcludeCredentials     []struct{ ID, Type string }
		PubKeyCredParams       []struct{ Alg int }
	}
	if err := json.Unmarshal(c.Options, &o); err != nil {
		t.Fatal(err)
	}
	handle, err := base64.RawURLEncoding.DecodeString(o.User.ID)
	if err != nil || len(handle) != 64 || strings.Contains(string(handle), "alice") {
		t.Errorf("user handle %q: %v", handle, err)
	}
	if challenge, err := base64.RawURLEncoding.DecodeString(o.Challenge); err != nil || len(challenge) < 16 {
		t.Errorf("challenge %q: %v", o.Challenge, err)
	}
	if o.RP.ID != rpID || o.RP.Name != "Corp" || o.User.Name != "alice@corp.example" || o.User.DisplayName != "alice" ||
		o.Timeout != 300_000 || o.Attestation != "direct" || fmt.Sprint(o.PubKeyCredParams) != "[{-7} {-8} {-257}]" {
		t.Errorf("options %s", c.Options)
	}
	if s := o.AuthenticatorSelection; s["userVerification"] != "required" || s["residentKey"] != "preferred" || s["authenticatorAttachment"] != nil {
		t.Errorf("selection %v", s)
	}
	if len(o.ExcludeCredentials) != 1 || o.ExcludeCredentials[0].ID != base64.RawURLEncoding.EncodeToString(first.ID) {
		t.Errorf("exclude %v", o.ExcludeCredentials)
	}
}

func TestRequestOptions(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	first := w.register(alice, authntest.NewAuthenticator(origin))
	w.register(session("bob", "1"), authntest.NewAuthenticator(origin))
	c, err := w.BeginAssertion(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		RPID, UserVerification string
		Timeout                int
		AllowCredentials       []struct {
			ID         string
			Transports []string
		}
	}
	if err := json.Unmarshal(c.Options, &o); err != nil {
		t.Fatal(err)
	}
	if o.RPID != rpID || o.UserVerification != "required" || o.Timeout != 300_000 {
		t.Errorf("options %s", c.Options)
	}
	if len(o.AllowCredentials) != 1 || o.AllowCredentials[0].ID != base64.RawURLEncoding.EncodeToString(first.ID) || len(o.AllowCredentials[0].Transports) != 1 {
		t.Errorf("allow %v", o.AllowCredentials)
	}
}

// The whole attestation is kept as it came, for the code that judges it later.
func TestAttestationIsKeptVerbatim(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	a.Attestation = "x5c"
	c, body := w.created(alice, a)
	r, err := w.FinishRegistration(t.Context(), alice, c.ID, body)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.AddCredential(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	w.mustAssert(alice, a) // writes Data anew
	var sent struct {
		Response struct{ AttestationObject, ClientDataJSON string }
	}
	var kept struct {
		Attestation struct{ Object, ClientDataJSON []byte }
	}
	if err := errors.Join(json.Unmarshal(body, &sent), json.Unmarshal(w.stored(r).Data, &kept)); err != nil {
		t.Fatal(err)
	}
	if base64.RawURLEncoding.EncodeToString(kept.Attestation.Object) != sent.Response.AttestationObject ||
		base64.RawURLEncoding.EncodeToString(kept.Attestation.ClientDataJSON) != sent.Response.ClientDataJSON {
		t.Error("the attestation was not kept verbatim")
	}
}

// What browsers and password managers add, or write in a shape of their own, is no reason to
// refuse a person: none of it is signed, and none is read.
func TestUnreadMembersAreIgnored(t *testing.T) {
	anything := []any{nil, false, 1, -7.5, "x", []any{1, nil}, map[string]any{"a": map[string]any{"b": []any{}}}}
	type edit struct {
		name string
		do   func(answer, response map[string]any, v any)
	}
	edits := []edit{
		{"appid", func(a, _ map[string]any, v any) { a["clientExtensionResults"] = map[string]any{"appid": v} }},
		{"credProps", func(a, _ map[string]any, v any) { a["clientExtensionResults"] = map[string]any{"credProps": v} }},
		{"prf", func(a, _ map[string]any, v any) {
			a["clientExtensionResults"] = map[string]any{"prf": v, "largeBlob": v}
		}},
		{"outputs", func(a, _ map[string]any, v any) { a["clientExtensionResults"] = v }},
		{"no outputs", func(a, _ map[string]any, _ any) { delete(a, "clientExtensionResults") }},
		{"attachment", func(a, _ map[string]any, v any) { a["authenticatorAttachment"] = v }},
		{"unknown attachment", func(a, _ map[string]any, _ any) { a["authenticatorAttachment"] = "hybrid-of-tomorrow" }},
		{"no attachment", func(a, _ map[string]any, _ any) { delete(a, "authenticatorAttachment") }},
		{"transports", func(_, r map[string]any, v any) { r["transports"] = v }},
		{"unknown transports", func(_, r map[string]any, v any) { r["transports"] = []any{"smart-card", v, "neural"} }},
		{"more members", func(a, r map[string]any, v any) { a["deviceName"], a["signals"], r["authenticatorName"] = v, v, v }},
		{"public key", func(_, r map[string]any, v any) { r["publicKey"], r["publicKeyAlgorithm"] = v, v }},
	}
	for name, f := range finishers {
		for _, e := range edits {
			for _, v := range anything {
				w, alice := newHarness(t), session("alice", "1")
				a := authntest.NewAuthenticator(origin)
				if name == "assertion" {
					w.register(alice, a)
				}
				c, body := f.answer(w, alice, a)
				var m map[string]any
				if err := json.Unmarshal(body, &m); err != nil {
					t.Fatal(err)
				}
				e.do(m, m["response"].(map[string]any), v)
				if name == "registration" { // its authenticator data is in the attestation object
					m["response"].(map[string]any)["authenticatorData"] = v
				}
				body, err := json.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				if err := f.finish(w, alice, c.ID, body); err != nil {
					t.Errorf("%s, %s = %v: %v", name, e.name, v, err)
				}
			}
		}
	}
}

// A password manager's answer has the least that there can be.
func TestNoExtensionIsRequested(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	c, err := w.BeginRegistration(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	var o struct{ Extensions map[string]any }
	if err := json.Unmarshal(c.Options, &o); err != nil || len(o.Extensions) != 0 {
		t.Errorf("%v, %v", o.Extensions, err)
	}
}

func TestTransportsAreCleaned(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	a.Transports = []string{"usb", "usb", "<script>", "", "line\nbreak", strings.Repeat("x", 33), "smart-card"}
	r := w.register(alice, a)
	if fmt.Sprint(r.Transports) != "[usb smart-card]" {
		t.Errorf("transports %q", r.Transports)
	}
	if strings.Contains(string(r.Data), "script") && strings.Contains(string(r.Data), `\u003cscript`) {
		t.Error("the library's record keeps them")
	}
}

func TestNobodyHasNoCeremony(t *testing.T) {
	w := newHarness(t)
	_, err := w.BeginRegistration(t.Context(), authn.Session{})
	refused(t, err, passkey.CodeNotSignedIn, false)
	_, err = w.BeginAssertion(t.Context(), authn.Session{})
	refused(t, err, passkey.CodeNotSignedIn, false)
	_, err = w.BeginAssertion(t.Context(), session("alice", "1"))
	if !errors.Is(err, passkey.ErrNoCredential) {
		t.Errorf("without a passkey: %v", err)
	}
	refused(t, err, passkey.CodeNoCredential, false)
}

// Whichever store call fails, nothing is proven and no one is told that they
// did something wrong.
func TestStoreDown(t *testing.T) {
	for name, f := range finishers {
		for _, method := range []string{"Put", "Take", "Credentials", "UserHandle", "RecordUse"} {
			if name == "registration" && method == "RecordUse" {
				continue
			}
			t.Run(name+"/"+method, func(t *testing.T) {
				w, alice := newHarness(t), session("alice", "1")
				a := authntest.NewAuthenticator(origin)
				if name == "assertion" {
					w.register(alice, a)
				}
				w.store.Fail(authntest.NotStored, method)
				var c passkey.Ceremony
				var err error
				if name == "registration" {
					c, err = w.BeginRegistration(t.Context(), alice)
				} else {
					c, err = w.BeginAssertion(t.Context(), alice)
				}
				if err == nil {
					var body []byte
					w.store.Heal()
					if name == "registration" {
						body, err = a.Create(c.Options)
					} else {
						body, err = a.Get(c.Options)
					}
					if err != nil {
						t.Fatal(err)
					}
					w.store.Fail(authntest.NotStored, method)
					err = f.finish(w, alice, c.ID, body)
				}
				var refusal *passkey.Error
				if !errors.Is(err, authntest.ErrFault) || errors.As(err, &refusal) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// A row whose parts contradict each other proves nothing.
func TestDamagedRecord(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	r, err := w.tryRegister(alice, a)
	if err != nil {
		t.Fatal(err)
	}
	other, err := w.tryRegister(alice, authntest.NewAuthenticator(origin))
	if err != nil {
		t.Fatal(err)
	}
	r.PublicKey = other.PublicKey
	if err := w.store.AddCredential(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	if c, err := w.BeginAssertion(t.Context(), alice); err == nil {
		t.Errorf("asked for %s", c.Options)
	}
}

// The row's sign count is the one that stores compare and swap: an older copy of
// it must not make a copied key look good.
func TestRowDecidesOnSignCount(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	r, err := w.tryRegister(alice, a)
	if err != nil {
		t.Fatal(err)
	}
	r.SignCount = 100
	if err := w.store.AddCredential(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	_, err = w.assert(alice, a)
	refused(t, err, passkey.CodeCounterRegressed, true)
}
