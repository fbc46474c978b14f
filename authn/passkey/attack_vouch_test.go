package passkey_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/passkey"
)

// couple is Alice in a session that her laptop's passkey has just verified.
func couple(t *testing.T) (w *harness, alice authn.Session, laptop *authntest.Authenticator) {
	t.Helper()
	w, alice, laptop = newHarness(t), session("alice", "1"), authntest.NewAuthenticator(origin)
	w.register(alice, laptop)
	return w, w.verified(alice, laptop), laptop
}

// What a person signs to add a passkey commits to that key. However an assertion was come
// by, none that was made for something else adds one.
func TestAttackVouchingWithAnotherSignature(t *testing.T) {
	for _, tt := range []struct {
		name, code string
		risk       bool
		attack     func(w *harness, alice authn.Session, laptop *authntest.Authenticator, proposal string) (ceremony string, body []byte)
	}{
		{"over the challenge of another key", passkey.CodeChallengeMismatch, true, func(w *harness, alice authn.Session, laptop *authntest.Authenticator, proposal string) (string, []byte) {
			other, _ := w.proposed(alice, authntest.NewAuthenticator(origin))
			_, body := w.vouching(alice, other, laptop)
			c, _ := w.vouching(alice, proposal, laptop)
			return c.ID, body
		}},
		{"over the challenge of the same key, begun before", passkey.CodeChallengeMismatch, true, func(w *harness, alice authn.Session, laptop *authntest.Authenticator, proposal string) (string, []byte) {
			_, body := w.vouching(alice, proposal, laptop)
			c, _ := w.vouching(alice, proposal, laptop)
			return c.ID, body
		}},
		{"for a step-up, handed in as one for the key", passkey.CodeChallengeMismatch, true, func(w *harness, alice authn.Session, laptop *authntest.Authenticator, proposal string) (string, []byte) {
			_, body := w.asserted(alice, laptop)
			c, _ := w.vouching(alice, proposal, laptop)
			return c.ID, body
		}},
		{"for a step-up, under the step-up's ceremony", passkey.CodeChallengeUnknown, false, func(w *harness, alice authn.Session, laptop *authntest.Authenticator, _ string) (string, []byte) {
			c, body := w.asserted(alice, laptop)
			return c.ID, body
		}},
		{"of a registration", passkey.CodeWrongCeremony, true, func(w *harness, alice authn.Session, laptop *authntest.Authenticator, proposal string) (string, []byte) {
			laptop.Lie.Type = "webauthn.create"
			c, body := w.vouching(alice, proposal, laptop)
			return c.ID, body
		}},
		{"over a challenge of the client's", passkey.CodeChallengeMismatch, true, func(w *harness, alice authn.Session, laptop *authntest.Authenticator, proposal string) (string, []byte) {
			laptop.Lie.Challenge = make([]byte, 32)
			c, body := w.vouching(alice, proposal, laptop)
			return c.ID, body
		}},
		{"that was tampered with", passkey.CodeSignatureInvalid, true, func(w *harness, alice authn.Session, laptop *authntest.Authenticator, proposal string) (string, []byte) {
			laptop.Lie.TamperedSig = true
			c, body := w.vouching(alice, proposal, laptop)
			return c.ID, body
		}},
		{"without user verification", passkey.CodeUserVerificationMissing, false, func(w *harness, alice authn.Session, laptop *authntest.Authenticator, proposal string) (string, []byte) {
			laptop.Lie.Unverified = true
			c, body := w.vouching(alice, proposal, laptop)
			return c.ID, body
		}},
		{"made on a tool's page", passkey.CodeOriginMismatch, true, func(w *harness, alice authn.Session, laptop *authntest.Authenticator, proposal string) (string, []byte) {
			laptop.Lie.Origin = "https://tool.corp.example"
			c, body := w.vouching(alice, proposal, laptop)
			return c.ID, body
		}},
		{"of a copied passkey", passkey.CodeCounterRegressed, true, func(w *harness, alice authn.Session, laptop *authntest.Authenticator, proposal string) (string, []byte) {
			laptop.Count--
			c, body := w.vouching(alice, proposal, laptop)
			return c.ID, body
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, alice, laptop := couple(t)
			w.t = t
			proposal, further := w.proposed(alice, authntest.NewAuthenticator(origin))
			ceremony, body := tt.attack(w, alice, laptop, proposal)
			vouched, err := w.FinishVouching(t.Context(), alice, ceremony, body)
			refused(t, err, tt.code, tt.risk)
			refused(t, w.Add(t.Context(), vouched), passkey.CodeNotFresh, false) // what a careless caller would do
			if w.has(further) {
				t.Error("the passkey was added")
			}
			// What no honest browser causes ends the proposal.
			_, err = w.BeginVouching(t.Context(), alice, proposal)
			if tt.risk && tt.code != passkey.CodeCounterRegressed {
				refused(t, err, passkey.CodeChallengeUnknown, false)
			}
		})
	}
}

// A signature given for a further passkey raises no session.
func TestAttackVouchingIsNoStepUp(t *testing.T) {
	w, alice, laptop := couple(t)
	proposal, _ := w.proposed(alice, authntest.NewAuthenticator(origin))
	c, body := w.vouching(alice, proposal, laptop)
	_, err := w.FinishAssertion(t.Context(), alice, c.ID, body)
	refused(t, err, passkey.CodeChallengeUnknown, false)
	stepUp, _ := w.asserted(alice, laptop)
	_, err = w.FinishAssertion(t.Context(), alice, stepUp.ID, body)
	refused(t, err, passkey.CodeChallengeMismatch, true)
	_, err = w.FinishRegistration(t.Context(), alice, c.ID, body)
	refused(t, err, passkey.CodeChallengeUnknown, false)
}

// The new key is not among those that are asked, and its signature counts for nothing,
// even if it has come into the store by another way meanwhile.
func TestAttackNewKeyVouchesForItself(t *testing.T) {
	for _, stored := range []bool{false, true} {
		w, alice, _ := couple(t)
		own := authntest.NewAuthenticator(origin)
		proposal, further := w.proposed(alice, own)
		if stored {
			if err := w.store.AddCredential(t.Context(), further, nil); err != nil {
				t.Fatal(err)
			}
		}
		c, err := w.BeginVouching(t.Context(), alice, proposal)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(c.Options), base64.RawURLEncoding.EncodeToString(further.ID)) {
			t.Error("the new passkey is asked to vouch for itself")
		}
		own.Lie.CredentialID = further.ID
		body, err := own.Get(anyOf(t, c.Options))
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.FinishVouching(t.Context(), alice, c.ID, body)
		refused(t, err, passkey.CodeWrongCredential, true)
	}
}

// anyOf is options that do not say which passkeys may answer.
func anyOf(t *testing.T, options []byte) []byte {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal(options, &o); err != nil {
		t.Fatal(err)
	}
	delete(o, "allowCredentials")
	out, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Another person's passkey vouches for nothing of Alice's.
func TestAttackStrangersPasskeyVouches(t *testing.T) {
	w, alice, _ := couple(t)
	mallory, own := session("mallory", "1"), authntest.NewAuthenticator(origin)
	w.register(mallory, own)
	proposal, _ := w.proposed(alice, authntest.NewAuthenticator(origin))
	c, err := w.BeginVouching(t.Context(), alice, proposal)
	if err != nil {
		t.Fatal(err)
	}
	body, err := own.Get(anyOf(t, c.Options))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.FinishVouching(t.Context(), alice, c.ID, body)
	refused(t, err, passkey.CodeWrongCredential, true)
}

// A proposal is bound to session and person, has five minutes, and one right answer.
func TestAttackProposalOfAnother(t *testing.T) {
	w, alice, laptop := couple(t)
	proposal, further := w.proposed(alice, authntest.NewAuthenticator(origin))
	c, body := w.vouching(alice, proposal, laptop)

	elsewhere := w.verified(session("alice", "2"), laptop)
	mallory := alice // under the same session id
	mallory.Person = person("mallory")
	unproven := alice
	unproven.Verification = authn.Verification{}
	for name, s := range map[string]struct {
		session authn.Session
		code    string
	}{
		"another session of hers": {elsewhere, passkey.CodeChallengeUnknown}, "another person": {mallory, passkey.CodeChallengeUnknown},
		"a session without an assertion": {unproven, passkey.CodeNotFresh}, "nobody": {authn.Session{}, passkey.CodeNotFresh},
	} {
		_, err := w.BeginVouching(t.Context(), s.session, proposal)
		refused(t, err, s.code, false)
		_, err = w.FinishVouching(t.Context(), s.session, c.ID, body)
		refused(t, err, s.code, false)
		if w.has(further) {
			t.Errorf("%s added it", name)
		}
	}
	_, err := w.Propose(t.Context(), unproven, further)
	refused(t, err, passkey.CodeNotFresh, false)
	for _, id := range []string{"", "x", c.ID} {
		_, err := w.BeginVouching(t.Context(), alice, id)
		refused(t, err, passkey.CodeChallengeUnknown, false)
	}
	// None of that has spoilt it.
	c, body = w.vouching(alice, proposal, laptop)
	if _, err := w.FinishVouching(t.Context(), alice, c.ID, body); err != nil {
		t.Error(err)
	}
}

func TestAttackVouchingReplayedOrLate(t *testing.T) {
	t.Run("replayed", func(t *testing.T) {
		w, alice, laptop := couple(t)
		w.t = t
		proposal, _ := w.proposed(alice, authntest.NewAuthenticator(origin))
		c, body := w.vouching(alice, proposal, laptop)
		second, secondBody := w.vouching(alice, proposal, laptop)
		if _, err := w.FinishVouching(t.Context(), alice, c.ID, body); err != nil {
			t.Fatal(err)
		}
		for id, body := range map[string][]byte{c.ID: body, second.ID: secondBody} {
			_, err := w.FinishVouching(t.Context(), alice, id, body)
			refused(t, err, passkey.CodeChallengeUnknown, false)
		}
		_, err := w.BeginVouching(t.Context(), alice, proposal)
		refused(t, err, passkey.CodeChallengeUnknown, false)
	})
	t.Run("after five minutes", func(t *testing.T) {
		w, alice, laptop := couple(t)
		w.t = t
		proposal, _ := w.proposed(alice, authntest.NewAuthenticator(origin))
		w.now = w.now.Add(4 * time.Minute)
		c, body := w.vouching(alice, proposal, laptop) // beginning again does not prolong it
		w.now = w.now.Add(time.Minute)
		_, err := w.FinishVouching(t.Context(), alice, c.ID, body)
		refused(t, err, passkey.CodeChallengeUnknown, false)
		_, err = w.BeginVouching(t.Context(), alice, proposal)
		refused(t, err, passkey.CodeChallengeUnknown, false)
	})
}

func TestOneOfTwoVouchingsWins(t *testing.T) {
	w, alice, laptop := couple(t)
	laptop.Uncounted = true // a count would tell the second from the first
	phone := authntest.NewAuthenticator(origin)
	phone.Uncounted = true
	w.register(alice, phone)
	proposal, _ := w.proposed(alice, authntest.NewAuthenticator(origin))
	var wg sync.WaitGroup
	results := make([]error, 4)
	ceremonies, bodies := make([]string, len(results)), make([][]byte, len(results))
	for i := range results {
		c, body := w.vouching(alice, proposal, phone)
		ceremonies[i], bodies[i] = c.ID, body
	}
	for i := range results {
		wg.Go(func() { _, results[i] = w.FinishVouching(t.Context(), alice, ceremonies[i], bodies[i]) })
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
			continue
		}
		refused(t, err, passkey.CodeChallengeUnknown, false)
	}
	if won != 1 {
		t.Errorf("%d of them won", won)
	}
}

// A passkey that is blocked or removed does not vouch: not when it is asked, not when it
// has answered, and not while the new one is being stored.
func TestAttackBlockedPasskeyVouches(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(w *harness, r passkey.Record) error
		code string
	}{
		"blocked": {func(w *harness, r passkey.Record) error {
			return w.store.BlockCredential(context.Background(), r.Subject, r.ID, "reported stolen")
		}, passkey.CodeCredentialBlocked},
		"removed": {func(w *harness, r passkey.Record) error {
			return w.store.RemoveCredential(context.Background(), r.Subject, r.ID)
		}, passkey.CodeCredentialGone},
	} {
		t.Run(name, func(t *testing.T) {
			start := func() (*harness, authn.Session, *authntest.Authenticator, passkey.Record, string, passkey.Record) {
				w, alice, a := newHarness(t), session("alice", "1"), authntest.NewAuthenticator(origin)
				first := w.register(alice, a)
				w.register(alice, authntest.NewAuthenticator(origin)) // the last one cannot be removed
				alice = w.verified(alice, a)
				proposal, further := w.proposed(alice, authntest.NewAuthenticator(origin))
				return w, alice, a, first, proposal, further
			}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}

			w, alice, _, first, proposal, _ := start()
			must(end.do(w, first))
			c, err := w.BeginVouching(t.Context(), alice, proposal)
			must(err)
			if strings.Contains(string(c.Options), base64.RawURLEncoding.EncodeToString(first.ID)) {
				t.Error("it is asked")
			}

			w, alice, a, first, proposal, _ := start()
			c, body := w.vouching(alice, proposal, a)
			must(end.do(w, first))
			_, err = w.FinishVouching(t.Context(), alice, c.ID, body)
			refused(t, err, end.code, false)

			w, alice, a, first, proposal, further := start()
			c, body = w.vouching(alice, proposal, a)
			vouched, err := w.FinishVouching(t.Context(), alice, c.ID, body)
			must(err)
			w.store.OnCall("AddCredential", func() { must(end.do(w, first)) })
			refused(t, w.Add(t.Context(), vouched), passkey.CodeNotFresh, false)
			if w.has(further) {
				t.Error("it was added")
			}
		})
	}
	t.Run("all of them", func(t *testing.T) {
		w, alice, _ := couple(t)
		w.t = t
		proposal, further := w.proposed(alice, authntest.NewAuthenticator(origin))
		records, err := w.List(t.Context(), further.Subject)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if err := w.store.BlockCredential(t.Context(), r.Subject, r.ID, "reported stolen"); err != nil {
				t.Fatal(err)
			}
		}
		_, err = w.BeginVouching(t.Context(), alice, proposal)
		refused(t, err, passkey.CodeCredentialBlocked, false)
	})
}

// What goes wrong without anyone's fault costs the new passkey nothing: the
// confirmation can be tried again.
func TestVouchingCanBeTriedAgain(t *testing.T) {
	w, alice, laptop := couple(t)
	proposal, further := w.proposed(alice, authntest.NewAuthenticator(origin))

	if _, err := w.BeginVouching(t.Context(), alice, proposal); err != nil { // and the prompt is cancelled
		t.Fatal(err)
	}
	c, _ := w.vouching(alice, proposal, laptop)
	_, err := w.FinishVouching(t.Context(), alice, c.ID, []byte("{"))
	refused(t, err, passkey.CodeResponseMalformed, false)

	c, body := w.vouching(alice, proposal, laptop)
	w.store.FailNext("Credentials", authntest.NotStored)
	if _, err := w.FinishVouching(t.Context(), alice, c.ID, body); err == nil {
		t.Error("vouched for while the store was down")
	}

	ctx, hangUp := context.WithCancel(t.Context())
	c, body = w.vouching(alice, proposal, laptop)
	w.store.OnCall("Credentials", hangUp)
	if _, err := w.FinishVouching(ctx, alice, c.ID, body); err == nil {
		t.Error("vouched for by a request that was gone")
	}
	w.store.Heal()

	c, body = w.vouching(alice, proposal, laptop)
	vouched, err := w.FinishVouching(t.Context(), alice, c.ID, body)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(t.Context(), vouched); err != nil || !w.has(further) {
		t.Error(err)
	}
}

// Each confirmation has a challenge of its own.
func TestEveryVouchingHasItsOwnChallenge(t *testing.T) {
	w, alice, _ := couple(t)
	proposal, _ := w.proposed(alice, authntest.NewAuthenticator(origin))
	seen := map[string]bool{}
	for range 3 {
		c, err := w.BeginVouching(t.Context(), alice, proposal)
		if err != nil {
			t.Fatal(err)
		}
		var o struct{ Challenge string }
		if err := json.Unmarshal(c.Options, &o); err != nil {
			t.Fatal(err)
		}
		challenge, err := base64.RawURLEncoding.DecodeString(o.Challenge)
		if err != nil || len(challenge) != sha256.Size || seen[o.Challenge] {
			t.Errorf("challenge %x, %v", challenge, err)
		}
		seen[o.Challenge] = true
	}
}

func TestProposalsThatCannotBeStored(t *testing.T) {
	w, alice, laptop := couple(t)
	records, err := w.List(t.Context(), alice.Person.Subject)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Propose(t.Context(), alice, records[0])
	refused(t, err, passkey.CodeCredentialExists, false)

	proposal, _ := w.proposed(alice, authntest.NewAuthenticator(origin))
	c, body := w.vouching(alice, proposal, laptop)
	vouched, err := w.FinishVouching(t.Context(), alice, c.ID, body)
	if err != nil {
		t.Fatal(err)
	}
	for range passkey.MaxCredentials - 1 {
		w.register(alice, authntest.NewAuthenticator(origin))
	}
	refused(t, w.Add(t.Context(), vouched), passkey.CodeTooManyCredentials, false)
	refused(t, w.Add(t.Context(), passkey.Vouched{}), passkey.CodeNotFresh, false)
}
