package passkey_test

import (
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/passkey"
)

func TestAttackUserNotVerified(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)

	a.Lie.Unverified = true
	_, err := w.tryRegister(alice, a)
	refused(t, err, passkey.CodeUserVerificationMissing, false)

	a = authntest.NewAuthenticator(origin)
	w.register(alice, a)
	w.mustAssert(alice, a)
	a.Lie.Unverified = true // the credential has been verified before: that must not count
	_, err = w.assert(alice, a)
	refused(t, err, passkey.CodeUserVerificationMissing, false)

	a.Lie = authntest.Lies{}
	w.mustAssert(alice, a)
}

func TestAttackUserNotPresent(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	a.Lie.Absent = true
	_, err := w.tryRegister(alice, a)
	refused(t, err, passkey.CodeUserPresenceMissing, true)

	a = authntest.NewAuthenticator(origin)
	w.register(alice, a)
	a.Lie.Absent = true
	_, err = w.assert(alice, a)
	refused(t, err, passkey.CodeUserPresenceMissing, true)
}

// finishers run a ceremony of either kind up to the answer, and finish it.
var finishers = map[string]struct {
	answer func(*harness, authn.Session, *authntest.Authenticator) (passkey.Ceremony, []byte)
	finish func(*harness, authn.Session, string, []byte) error
}{
	"registration": {(*harness).created, func(w *harness, s authn.Session, id string, body []byte) error {
		_, err := w.FinishRegistration(w.t.Context(), s, id, body)
		return err
	}},
	"assertion": {(*harness).asserted, func(w *harness, s authn.Session, id string, body []byte) error {
		_, err := w.FinishAssertion(w.t.Context(), s, id, body)
		return err
	}},
}

func TestAttackChallengeOfAnother(t *testing.T) {
	for name, f := range finishers {
		for _, tt := range []struct {
			name   string
			attack func(t *testing.T, w *harness, alice authn.Session, a *authntest.Authenticator)
		}{
			{"chosen by the client", func(t *testing.T, w *harness, alice authn.Session, a *authntest.Authenticator) {
				a.Lie.Challenge = make([]byte, 32)
				c, body := f.answer(w, alice, a)
				refused(t, f.finish(w, alice, c.ID, body), passkey.CodeChallengeMismatch, true)
			}},
			{"of another ceremony of the same session", func(t *testing.T, w *harness, alice authn.Session, a *authntest.Authenticator) {
				_, body := f.answer(w, alice, a)
				a.Lie.IgnoreExcluded = true
				c, _ := f.answer(w, alice, a)
				refused(t, f.finish(w, alice, c.ID, body), passkey.CodeChallengeMismatch, true)
			}},
			{"used before", func(t *testing.T, w *harness, alice authn.Session, a *authntest.Authenticator) {
				c, body := f.answer(w, alice, a)
				if err := f.finish(w, alice, c.ID, body); err != nil {
					t.Fatal(err)
				}
				refused(t, f.finish(w, alice, c.ID, body), passkey.CodeChallengeUnknown, false)
			}},
			{"used up by a bad answer", func(t *testing.T, w *harness, alice authn.Session, a *authntest.Authenticator) {
				c, body := f.answer(w, alice, a)
				refused(t, f.finish(w, alice, c.ID, []byte(`{}`)), passkey.CodeResponseMalformed, false)
				refused(t, f.finish(w, alice, c.ID, body), passkey.CodeChallengeUnknown, false)
			}},
			{"of another session of the same person", func(t *testing.T, w *harness, alice authn.Session, a *authntest.Authenticator) {
				c, body := f.answer(w, alice, a)
				refused(t, f.finish(w, session("alice", "2"), c.ID, body), passkey.CodeChallengeUnknown, false)
				if err := f.finish(w, alice, c.ID, body); err != nil {
					t.Errorf("the stranger's attempt spoilt the ceremony: %v", err)
				}
			}},
			{"of another person", func(t *testing.T, w *harness, alice authn.Session, a *authntest.Authenticator) {
				c, body := f.answer(w, alice, a)
				mallory := alice // even under the same session id
				mallory.Person = person("mallory")
				refused(t, f.finish(w, mallory, c.ID, body), passkey.CodeChallengeUnknown, false)
			}},
			{"of nobody", func(t *testing.T, w *harness, alice authn.Session, a *authntest.Authenticator) {
				c, body := f.answer(w, alice, a)
				refused(t, f.finish(w, authn.Session{}, c.ID, body), passkey.CodeNotSignedIn, false)
			}},
			{"expired", func(t *testing.T, w *harness, alice authn.Session, a *authntest.Authenticator) {
				c, body := f.answer(w, alice, a)
				w.now = w.now.Add(5 * time.Minute)
				refused(t, f.finish(w, alice, c.ID, body), passkey.CodeChallengeUnknown, false)
			}},
			{"invented", func(t *testing.T, w *harness, alice authn.Session, a *authntest.Authenticator) {
				_, body := f.answer(w, alice, a)
				for _, id := range []string{"", "x", strings.Repeat("A", 43)} {
					refused(t, f.finish(w, alice, id, body), passkey.CodeChallengeUnknown, false)
				}
			}},
			{"signed for the other ceremony", func(t *testing.T, w *harness, alice authn.Session, a *authntest.Authenticator) {
				a.Lie.Type = map[string]string{"registration": "webauthn.get", "assertion": "webauthn.create"}[name]
				c, body := f.answer(w, alice, a)
				refused(t, f.finish(w, alice, c.ID, body), passkey.CodeWrongCeremony, true)
			}},
		} {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				w, alice := newHarness(t), session("alice", "1")
				w.t = t
				a := authntest.NewAuthenticator(origin)
				if name == "assertion" {
					w.register(alice, a)
				}
				tt.attack(t, w, alice, a)
			})
		}
	}
}

func TestAttackCeremonyOfOtherPurpose(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	w.register(alice, a)
	c, body := w.asserted(alice, a)
	_, err := w.FinishRegistration(t.Context(), alice, c.ID, body)
	refused(t, err, passkey.CodeChallengeUnknown, false)
	if _, err := w.FinishAssertion(t.Context(), alice, c.ID, body); err != nil {
		t.Error(err)
	}
}

func TestAttackAlgorithmNotOffered(t *testing.T) {
	for _, attestation := range []string{"none", "packed", "x5c"} {
		w, alice := newHarness(t), session("alice", "1")
		a := authntest.NewAuthenticator(origin)
		a.Algorithm, a.Attestation = authntest.ES384, attestation
		_, err := w.tryRegister(alice, a)
		refused(t, err, passkey.CodeAlgorithmNotOffered, false)
	}
}

// What cannot be trusted is not refused here, but it is never more than what a
// policy may call unattested.
func TestAttackUnprovenIsNotAttested(t *testing.T) {
	for _, tt := range []struct {
		name       string
		set        func(*authntest.Authenticator)
		class      authn.Class
		format     string
		typ        string
		zeroAAGUID bool
	}{
		{"no statement", func(a *authntest.Authenticator) { a.Attestation = "none" }, authn.ClassUnattested, "none", "none", false},
		{"self attestation", func(a *authntest.Authenticator) {}, authn.ClassUnattested, "packed", "basic_surrogate", false},
		{"unknown root", func(a *authntest.Authenticator) { a.Attestation = "x5c" }, authn.ClassUnattested, "packed", "basic_full", false},
		{"zero AAGUID", func(a *authntest.Authenticator) { a.AAGUID = [16]byte{} }, authn.ClassUnattested, "packed", "basic_surrogate", true},
		{"synced", func(a *authntest.Authenticator) { a.BackupEligible, a.Attestation = true, "x5c" }, authn.ClassSynced, "packed", "basic_full", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, alice := newHarness(t), session("alice", "1")
			a := authntest.NewAuthenticator(origin)
			tt.set(a)
			r := w.register(alice, a)
			if r.Class != tt.class || r.AttestationFormat != tt.format || r.AttestationType != tt.typ {
				t.Errorf("class %s, format %q, type %q", r.Class, r.AttestationFormat, r.AttestationType)
			}
			if zero := r.AAGUID == "00000000-0000-0000-0000-000000000000"; zero != tt.zeroAAGUID {
				t.Errorf("AAGUID %s", r.AAGUID)
			}
			if c := w.mustAssert(alice, a); c.Class != tt.class {
				t.Errorf("class %s after an assertion", c.Class)
			}
		})
	}
}

func TestAttackFalseStatement(t *testing.T) {
	for _, attestation := range []string{"packed", "x5c"} {
		w, alice := newHarness(t), session("alice", "1")
		a := authntest.NewAuthenticator(origin)
		a.Attestation = attestation
		a.Lie.TamperedSig = true
		_, err := w.tryRegister(alice, a)
		refused(t, err, passkey.CodeAttestationInvalid, false)
	}
}

func TestAttackCredentialOfSomebodyElse(t *testing.T) {
	w, alice, bob := newHarness(t), session("alice", "1"), session("bob", "1")
	a := authntest.NewAuthenticator(origin) // a shared machine
	bobs := w.register(bob, a)
	a.Lie.IgnoreExcluded = true
	w.register(alice, a)

	a.Lie.CredentialID = bobs.ID
	_, err := w.assert(alice, a)
	refused(t, err, passkey.CodeWrongCredential, true)
}

func TestAttackUserHandleOfSomebodyElse(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	w.register(alice, a)
	a.Lie.UserHandle = []byte("somebody else")
	_, err := w.assert(alice, a)
	refused(t, err, passkey.CodeUserHandleMismatch, true)
}

// A record of one person must not be stored for another, regardless of what the caller
// mixes up.
func TestAttackRecordOfSomebodyElse(t *testing.T) {
	w, alice, bob := newHarness(t), session("alice", "1"), session("bob", "1")
	a := authntest.NewAuthenticator(origin)
	w.register(alice, a)
	alice = w.verified(alice, a)
	bobs, err := w.tryRegister(bob, authntest.NewAuthenticator(origin))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Propose(t.Context(), alice, bobs)
	refused(t, err, passkey.CodeWrongCredential, true)
}

func TestAttackBlockedOrRemovedMeanwhile(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a, b := authntest.NewAuthenticator(origin), authntest.NewAuthenticator(origin)
	first, second := w.register(alice, a), w.register(alice, b)

	c, body := w.asserted(alice, a)
	if err := w.store.BlockCredential(t.Context(), first.Subject, first.ID, "reported stolen"); err != nil {
		t.Fatal(err)
	}
	_, err := w.FinishAssertion(t.Context(), alice, c.ID, body)
	refused(t, err, passkey.CodeCredentialBlocked, false)

	third := w.register(alice, authntest.NewAuthenticator(origin))
	c, body = w.asserted(alice, b)
	if err := w.Remove(t.Context(), third.Subject, third.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.FinishAssertion(t.Context(), alice, c.ID, body); err != nil {
		t.Errorf("removing another passkey spoilt the ceremony: %v", err)
	}

	w.register(alice, authntest.NewAuthenticator(origin))
	c, body = w.asserted(alice, b)
	if err := w.Remove(t.Context(), second.Subject, second.ID); err != nil {
		t.Fatal(err)
	}
	_, err = w.FinishAssertion(t.Context(), alice, c.ID, body)
	refused(t, err, passkey.CodeCredentialGone, false)
}
