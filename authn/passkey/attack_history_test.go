package passkey_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"sallyport/authn/authntest"
	"sallyport/authn/passkey"
)

func TestAttackCopiedPasskey(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(*authntest.Authenticator) // at registration
		attack func(*authntest.Authenticator) // before the second assertion
		code   string
	}{
		{"count goes back", nil, func(a *authntest.Authenticator) { a.Count = 0 }, passkey.CodeCounterRegressed},
		{"count stands still", nil, func(a *authntest.Authenticator) { a.Count-- }, passkey.CodeCounterRegressed},
		{"count falls to zero", nil, func(a *authntest.Authenticator) { a.Uncounted = true }, passkey.CodeCounterRegressed},
		{"becomes eligible for backup", nil, func(a *authntest.Authenticator) { a.BackupEligible = true }, passkey.CodeBackupFlagChanged},
		{"is eligible for backup no more", func(a *authntest.Authenticator) { a.BackupEligible = true }, func(a *authntest.Authenticator) { a.BackupEligible = false }, passkey.CodeBackupFlagChanged},
		{"backed up without being eligible", nil, func(a *authntest.Authenticator) { a.BackedUp = true }, passkey.CodeBackupFlagChanged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, alice := newHarness(t), session("alice", "1")
			a := authntest.NewAuthenticator(origin)
			if tt.before != nil {
				tt.before(a)
			}
			r := w.register(alice, a)
			w.mustAssert(alice, a)
			before := w.stored(r)

			tt.attack(a)
			_, err := w.assert(alice, a)
			refused(t, err, tt.code, true)
			after := w.stored(r)
			if after.Blocked == "" {
				t.Error("the credential is not blocked")
			}
			if after.SignCount != before.SignCount || !after.LastUsedAt.Equal(before.LastUsedAt) {
				t.Error("the refused answer was recorded as a use")
			}
			_, err = w.BeginAssertion(t.Context(), alice)
			refused(t, err, passkey.CodeCredentialBlocked, false)
		})
	}
}

// The block must hold even if the attacker hangs up, and if the store fails the
// answer is still no.
func TestAttackBlockIsDurable(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	r := w.register(alice, a)
	w.mustAssert(alice, a)
	clone := a.Clone()
	w.mustAssert(alice, a)

	c, body := w.asserted(alice, clone)
	ctx, cancel := context.WithCancel(t.Context())
	w.store.OnCall("BlockCredential", cancel)
	_, err := w.FinishAssertion(ctx, alice, c.ID, body)
	refused(t, err, passkey.CodeCounterRegressed, true)
	if w.stored(r).Blocked == "" {
		t.Error("hanging up saved the copied key")
	}
}

func TestAttackBlockFails(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	w.register(alice, a)
	clone := a.Clone()
	w.mustAssert(alice, a)
	w.store.FailNext("BlockCredential", authntest.NotStored)
	_, err := w.assert(alice, clone)
	refused(t, err, passkey.CodeCounterRegressed, true)
	if !strings.Contains(err.Error(), authntest.ErrFault.Error()) {
		t.Errorf("the log does not learn that the block failed: %v", err)
	}
}

// Blocking is a weapon in the hands of an attacker who can cause it: only what the
// authenticator signed may.
func TestAttackForgedHistoryBlocksNothing(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	r := w.register(alice, a)
	w.mustAssert(alice, a)
	count := a.Count
	a.Count, a.Lie.TamperedSig = 0, true
	_, err := w.assert(alice, a)
	refused(t, err, passkey.CodeSignatureInvalid, true)
	if b := w.stored(r).Blocked; b != "" {
		t.Errorf("blocked by an unsigned answer: %s", b)
	}
	a.Count, a.Lie = count, authntest.Lies{}
	w.mustAssert(alice, a)
}

func TestAttackForeignOriginOrFrame(t *testing.T) {
	for name, f := range finishers {
		for _, tt := range []struct {
			name, code string
			lie        authntest.Lies
		}{
			{"suffix", passkey.CodeOriginMismatch, authntest.Lies{Origin: "https://login.corp.example.evil"}},
			{"prefix", passkey.CodeOriginMismatch, authntest.Lies{Origin: "https://evillogin.corp.example"}},
			{"sibling", passkey.CodeOriginMismatch, authntest.Lies{Origin: "https://wiki.corp.example"}},
			{"scheme", passkey.CodeOriginMismatch, authntest.Lies{Origin: "http://login.corp.example"}},
			{"port", passkey.CodeOriginMismatch, authntest.Lies{Origin: "https://login.corp.example:8443"}},
			{"default port", passkey.CodeOriginMismatch, authntest.Lies{Origin: "https://login.corp.example:443"}},
			{"user info", passkey.CodeOriginMismatch, authntest.Lies{Origin: "https://evil@login.corp.example"}},
			{"path", passkey.CodeOriginMismatch, authntest.Lies{Origin: "https://login.corp.example/evil"}},
			{"case", passkey.CodeOriginMismatch, authntest.Lies{Origin: "https://LOGIN.corp.example"}},
			{"opaque", passkey.CodeOriginMismatch, authntest.Lies{Origin: "null"}},
			{"application", passkey.CodeOriginMismatch, authntest.Lies{Origin: "android:apk-key-hash:AAAA"}},
			{"frame", passkey.CodeCrossOrigin, authntest.Lies{CrossOrigin: true}},
			{"frame of a named site", passkey.CodeCrossOrigin, authntest.Lies{CrossOrigin: true, TopOrigin: "https://evil.example"}},
			{"frame of our own site", passkey.CodeCrossOrigin, authntest.Lies{CrossOrigin: true, TopOrigin: origin}},
			{"top origin alone", passkey.CodeCrossOrigin, authntest.Lies{TopOrigin: origin}},
			{"relying party", passkey.CodeRelyingPartyMismatch, authntest.Lies{RPID: "evil.example"}},
			{"relying party above", passkey.CodeRelyingPartyMismatch, authntest.Lies{RPID: "example"}},
		} {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				w, alice := newHarness(t), session("alice", "1")
				a := authntest.NewAuthenticator(origin)
				if name == "assertion" {
					w.register(alice, a)
				}
				a.Lie = tt.lie
				c, body := f.answer(w, alice, a)
				refused(t, f.finish(w, alice, c.ID, body), tt.code, true)
			})
		}
	}
}

func TestAttackRegistrationBackedUpWithoutEligibility(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	a.BackedUp = true
	_, err := w.tryRegister(alice, a)
	refused(t, err, passkey.CodeBackupStateIllegal, true)
}

func TestAttackRaceOfTwoFinishes(t *testing.T) {
	for name, f := range finishers {
		t.Run(name, func(t *testing.T) {
			w, alice := newHarness(t), session("alice", "1")
			a := authntest.NewAuthenticator(origin)
			a.Uncounted = true // a count would tell the second one from the first
			if name == "assertion" {
				w.register(alice, a)
			}
			c, body := f.answer(w, alice, a)
			results := make([]error, 8)
			var wg sync.WaitGroup
			for i := range results {
				wg.Go(func() { results[i] = f.finish(w, alice, c.ID, body) })
			}
			wg.Wait()
			winners := 0
			for _, err := range results {
				if err == nil {
					winners++
					continue
				}
				refused(t, err, passkey.CodeChallengeUnknown, false)
			}
			if winners != 1 {
				t.Errorf("%d winners", winners)
			}
		})
	}
}

// Two ceremonies at once, in two tabs: the one that stores second must not win
// with a count that is no longer compared with the right one, and is no reason to
// block either.
func TestAttackRaceOfTwoCeremonies(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	a := authntest.NewAuthenticator(origin)
	r := w.register(alice, a)
	c1, body1 := w.asserted(alice, a)
	c2, body2 := w.asserted(alice, a)
	overtaking := false
	w.store.OnCall("RecordUse", func() {
		if overtaking {
			return
		}
		overtaking = true
		if _, err := w.FinishAssertion(t.Context(), alice, c2.ID, body2); err != nil {
			t.Errorf("the quicker one: %v", err)
		}
	})
	_, err := w.FinishAssertion(t.Context(), alice, c1.ID, body1)
	refused(t, err, passkey.CodeOvertaken, false)
	if b := w.stored(r).Blocked; b != "" {
		t.Errorf("blocked: %s", b)
	}
	w.store.Heal()
	w.mustAssert(alice, a)
}

func TestAttackEmptyPost(t *testing.T) {
	for name, f := range finishers {
		t.Run(name, func(t *testing.T) {
			for _, body := range []string{"", "null", "{}", "[]", `""`, "0", `{"id":"AA","rawId":"AA","type":"public-key"}`, `{"id":"AA","rawId":"AA","type":"public-key","response":{}}`} {
				w, alice := newHarness(t), session("alice", "1")
				a := authntest.NewAuthenticator(origin)
				if name == "assertion" {
					w.register(alice, a)
				}
				c, _ := f.answer(w, alice, a)
				refused(t, f.finish(w, alice, c.ID, []byte(body)), passkey.CodeResponseMalformed, false)
			}
		})
	}
}

func TestAttackOversizedAnswer(t *testing.T) {
	for name, f := range finishers {
		t.Run(name, func(t *testing.T) {
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
			m["padding"] = strings.Repeat("x", passkey.MaxBody)
			body, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			refused(t, f.finish(w, alice, c.ID, body), passkey.CodeResponseTooLarge, false)
		})
	}
}
