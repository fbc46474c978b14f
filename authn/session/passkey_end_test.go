package session_test

import (
	"net/http/httptest"
	"testing"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
)

// enrolled stores alice's passkeys.
func (e *harness) enrolled(ids ...string) {
	e.Helper()
	for _, id := range ids {
		e.ok(e.mem.AddCredential(e.Context(), passkey.Record{Subject: alice().Subject, PublicKey: []byte{1},
			Credential: authn.Credential{ID: []byte(id), Class: authn.ClassSynced, CreatedAt: epoch}}, nil))
	}
}

// A passkey is removed or blocked by way of its own store, behind the manager's
// back: no cookie is answered from memory after Sync.
func TestAttackSyncForgetsAtOnce(t *testing.T) {
	for name, end := range map[string]func(*harness) error{
		"removed": func(e *harness) error { return e.mem.RemoveCredential(e.Context(), alice().Subject, []byte("cred")) },
		"blocked": func(e *harness) error {
			return e.mem.BlockCredential(e.Context(), alice().Subject, []byte("spare"), "copied")
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newHarness(t)
			e.enrolled("cred", "spare")
			b := e.browser()
			b.verify(b.signIn(signInHost, alice()))
			b.must(signInHost) // from here on it is in the cache
			var ended []string
			e.m.OnEnd(func(id string) { ended = append(ended, id) })
			e.ok(end(e))
			b.must(signInHost) // the process has not heard of it
			e.ok(e.m.Sync(t.Context()))
			b.refused(signInHost)
			if len(ended) != 1 {
				t.Errorf("OnEnd saw %q", ended)
			}
		})
	}
}

// A store that does not tell what changed costs the cache, not the revocation.
func TestSyncFailsClosed(t *testing.T) {
	e := newHarness(t)
	e.enrolled("cred", "spare")
	b := e.browser()
	b.verify(b.signIn(signInHost, alice()))
	b.must(signInHost)
	e.ok(e.mem.RemoveCredential(t.Context(), alice().Subject, []byte("cred")))
	e.mem.FailNext("SessionChanges", authntest.NotStored)
	e.is(e.m.Sync(t.Context()), session.ErrUnavailable)
	b.refused(signInHost)
}

// The assertion was checked, then its passkey was removed, then the session is to
// be raised, here or by a hand-off that was under way.
func TestAttackLateVerification(t *testing.T) {
	e := newHarness(t)
	e.enrolled("cred", "spare", "third")
	b := e.browser()
	s := b.signIn(signInHost, alice())
	e.mem.OnCall("ReplaceToken", func() {
		e.ok(e.mem.RemoveCredential(t.Context(), alice().Subject, []byte("cred")))
	})
	_, err := e.m.Verify(httptest.NewRecorder(), b.request(signInHost), s, e.verification())
	e.is(err, session.ErrNoSession)
	e.mem.Heal()
	if got := b.must(signInHost); got.Level() != authn.SignedIn {
		t.Fatalf("the session is %s", got.Level())
	}
}
