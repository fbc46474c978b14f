package authntest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/authn"
	"sallyport/authn/passkey"
)

var credentialTests = []storeTest{
	{"a subject has one user handle", func(t *storeT) {
		handles := make([][]byte, 8)
		wins := t.race(8, func(i int, s Stores) (err error) {
			handles[i], err = s.UserHandle(t.ctx, subject("alice"), slices.Repeat([]byte{byte(i + 1)}, 64))
			return err
		})
		t.equal(wins, 8)
		for _, h := range handles {
			t.equal(h, handles[0])
		}
		bob, err := t.a.UserHandle(t.ctx, subject("bob"), slices.Repeat([]byte{99}, 64))
		t.ok(err)
		t.equal(bob, slices.Repeat([]byte{99}, 64))
		_, err = t.a.UserHandle(t.ctx, subject("carol"), bob)
		t.refused(err) // a handle names one person
		_, err = t.a.UserHandle(t.ctx, subject("carol"), []byte("short"))
		t.refused(err)
		_, err = t.a.UserHandle(t.ctx, authn.Subject{}, slices.Repeat([]byte{98}, 64))
		t.refused(err)
	}},
	{"a credential comes back as it was stored, oldest first", func(t *storeT) {
		one, two := sampleCredential("c1", subject("alice")), sampleCredential("c0", subject("alice"))
		two.CreatedAt, two.LastUsedAt, two.Transports = epoch.Add(time.Microsecond), time.Time{}, nil
		two.Class, two.BackupEligible, two.BackedUp, two.Data = authn.ClassSynced, true, true, nil
		t.ok(t.a.AddCredential(t.ctx, two, nil))
		t.ok(t.a.AddCredential(t.ctx, one, nil))
		t.equal(t.credentials("alice"), []passkey.Record{cloneRecord(one), cloneRecord(two)})
		t.equal(len(t.credentials("bob")), 0)
	}},
	{"a credential id belongs to one person", func(t *storeT) {
		t.ok(t.a.AddCredential(t.ctx, sampleCredential("c1", subject("alice")), nil))
		for _, who := range []string{"bob", "alice"} {
			if err := t.b.AddCredential(t.ctx, sampleCredential("c1", subject(who)), nil); !errors.Is(err, passkey.ErrCredentialExists) {
				t.Errorf("a credential id for the second time, for %s: %v", who, err)
			}
		}
		t.equal(len(t.credentials("bob")), 0)
		t.equal(len(t.credentials("alice")), 1)
	}},
	{"a further credential needs one that is good", func(t *storeT) {
		one := sampleCredential("c1", subject("alice"))
		t.ok(t.a.AddCredential(t.ctx, one, nil))
		t.ok(t.a.AddCredential(t.ctx, sampleCredential("c2", subject("alice")), one.ID))
		t.is(t.a.AddCredential(t.ctx, sampleCredential("c3", subject("alice")), []byte("c9")), authn.ErrNotFound)
		t.is(t.a.AddCredential(t.ctx, sampleCredential("c3", subject("bob")), one.ID), authn.ErrNotFound)
		t.ok(t.b.BlockCredential(t.ctx, one.Subject, one.ID, "reported stolen"))
		t.is(t.a.AddCredential(t.ctx, sampleCredential("c3", subject("alice")), one.ID), authn.ErrNotFound)
		t.equal(len(t.credentials("alice")), 2)
		t.equal(len(t.credentials("bob")), 0)
	}},
	{"half a credential is refused", func(t *storeT) {
		for _, spoil := range []func(*passkey.Record){
			func(r *passkey.Record) { r.ID = nil },
			func(r *passkey.Record) { r.Subject = authn.Subject{} },
			func(r *passkey.Record) { r.PublicKey = nil },
			func(r *passkey.Record) { r.Class = authn.ClassNone },
		} {
			r := sampleCredential("c1", subject("alice"))
			spoil(&r)
			t.refused(t.a.AddCredential(t.ctx, r, nil))
		}
	}},
	{"a use is recorded only over the count it was checked against", testRecordUse},
	{"of concurrent uses with one count one wins", func(t *storeT) {
		r := sampleCredential("c1", subject("alice"))
		t.ok(t.a.AddCredential(t.ctx, r, nil))
		wins := t.race(8, func(_ int, s Stores) error {
			return s.RecordUse(t.ctx, r.Subject, r.ID, passkey.Use{OldSignCount: r.SignCount, SignCount: r.SignCount + 1, At: epoch})
		}, authn.ErrNotFound)
		t.equal(wins, 1)
	}},
	{"a blocked credential stays blocked, for its first reason", func(t *storeT) {
		r := sampleCredential("c1", subject("alice"))
		t.ok(t.a.AddCredential(t.ctx, r, nil))
		t.is(t.a.BlockCredential(t.ctx, subject("bob"), r.ID, "cloned"), authn.ErrNotFound)
		t.refused(t.a.BlockCredential(t.ctx, r.Subject, r.ID, ""))
		t.equal(t.credentials("alice")[0].Blocked, "")
		t.ok(t.a.BlockCredential(t.ctx, r.Subject, r.ID, "cloned"))
		t.ok(t.b.BlockCredential(t.ctx, r.Subject, r.ID, "later"))
		t.equal(t.credentials("alice")[0].Blocked, "cloned")
		t.is(t.a.RecordUse(t.ctx, r.Subject, r.ID, passkey.Use{OldSignCount: r.SignCount, SignCount: r.SignCount}), authn.ErrNotFound)
	}},
	{"a block ends every session of its owner, and no other", testBlockEndsSessions},
	{"a removal ends the sessions that the credential raised", testRemovalEndsSessions},
	{"an assertion under way does not outlive its credential", testLateVerification},
	{"only its owner renames a credential", func(t *storeT) {
		r := sampleCredential("c1", subject("alice"))
		t.ok(t.a.AddCredential(t.ctx, r, nil))
		t.ok(t.a.RenameCredential(t.ctx, r.Subject, r.ID, "work key"))
		t.is(t.a.RenameCredential(t.ctx, subject("bob"), r.ID, "mine"), authn.ErrNotFound)
		t.is(t.a.RenameCredential(t.ctx, r.Subject, []byte("c2"), "mine"), authn.ErrNotFound)
		t.equal(t.credentials("alice")[0].Name, "work key")
	}},
	{"the last usable credential cannot be removed", func(t *storeT) {
		one, two := sampleCredential("c1", subject("alice")), sampleCredential("c2", subject("alice"))
		t.ok(t.a.AddCredential(t.ctx, one, nil))
		t.ok(t.a.AddCredential(t.ctx, sampleCredential("c3", subject("bob")), nil)) // does not count
		t.is(t.a.RemoveCredential(t.ctx, one.Subject, one.ID), passkey.ErrLastCredential)
		t.is(t.a.RemoveCredential(t.ctx, subject("bob"), one.ID), authn.ErrNotFound)
		t.ok(t.a.AddCredential(t.ctx, two, nil))
		t.ok(t.a.BlockCredential(t.ctx, one.Subject, one.ID, "cloned"))
		t.is(t.a.RemoveCredential(t.ctx, one.Subject, two.ID), passkey.ErrLastCredential)
		t.ok(t.a.RemoveCredential(t.ctx, one.Subject, one.ID)) // a blocked one may go
		t.is(t.a.RemoveCredential(t.ctx, one.Subject, one.ID), authn.ErrNotFound)
		t.equal(len(t.credentials("alice")), 1)
	}},
	{"of concurrent removals one credential survives", func(t *storeT) {
		for _, id := range t.names("c", 4) {
			t.ok(t.a.AddCredential(t.ctx, sampleCredential(id, subject("alice")), nil))
		}
		wins := t.race(4, func(i int, s Stores) error {
			return s.RemoveCredential(t.ctx, subject("alice"), fmt.Append(nil, "c-", i))
		}, passkey.ErrLastCredential)
		t.equal(wins, 3)
		t.equal(len(t.credentials("alice")), 1)
	}},
}

func (t *storeT) credentials(id string) []passkey.Record {
	t.Helper()
	rs, err := t.b.Credentials(t.ctx, subject(id))
	t.ok(err)
	return rs
}

func testRecordUse(t *storeT) {
	r := cloneRecord(sampleCredential("c1", subject("alice")))
	t.ok(t.a.AddCredential(t.ctx, r, nil))
	use := passkey.Use{OldSignCount: r.SignCount, SignCount: r.SignCount + 1, BackedUp: true, At: epoch.Add(time.Minute), Data: []byte("{}")}

	wrong := use
	wrong.OldSignCount--
	t.is(t.a.RecordUse(t.ctx, r.Subject, r.ID, wrong), authn.ErrNotFound)
	t.is(t.a.RecordUse(t.ctx, subject("bob"), r.ID, use), authn.ErrNotFound)
	t.is(t.a.RecordUse(t.ctx, r.Subject, []byte("c2"), use), authn.ErrNotFound)
	t.equal(t.credentials("alice"), []passkey.Record{r})

	t.ok(t.a.RecordUse(t.ctx, r.Subject, r.ID, use))
	r.SignCount, r.BackedUp, r.LastUsedAt, r.Data = use.SignCount, true, micro(use.At), use.Data
	t.equal(t.credentials("alice"), []passkey.Record{r})
	t.is(t.b.RecordUse(t.ctx, r.Subject, r.ID, use), authn.ErrNotFound)
}

// changesSince wants the ids, and no others, in the change log.
func (t *storeT) changesSince(after int64, want ...string) {
	t.Helper()
	ids, _, err := t.b.SessionChanges(t.ctx, after)
	t.ok(err)
	if !slices.Equal(ids, want) {
		t.Fatalf("the change log names %v, want %v", ids, want)
	}
}

func (t *storeT) seq() int64 {
	t.Helper()
	_, last, err := t.b.SessionChanges(t.ctx, 0)
	t.ok(err)
	return last
}

func testBlockEndsSessions(t *storeT) {
	r := sampleCredential("c1", subject("alice"))
	t.ok(t.a.AddCredential(t.ctx, r, nil))
	_, one := t.create("s1", subject("alice")) // verified with another credential
	_, two := t.create("s2", subject("alice"))
	_, bob := t.create("s3", subject("bob"))
	last := t.seq()
	t.is(t.a.BlockCredential(t.ctx, subject("bob"), r.ID, "cloned"), authn.ErrNotFound)
	t.changesSince(last)
	t.ok(t.a.BlockCredential(t.ctx, r.Subject, r.ID, "cloned"))
	t.changesSince(last, "s1", "s2")
	t.equal(t.alive(one.Digest), false)
	t.equal(t.alive(two.Digest), false)
	t.equal(t.alive(bob.Digest), true)

	_, three := t.create("s4", subject("alice"))
	t.ok(t.a.BlockCredential(t.ctx, r.Subject, r.ID, "again"))
	t.equal(t.alive(three.Digest), false)
}

func testRemovalEndsSessions(t *storeT) {
	for _, id := range []string{"credential-s1", "spare"} {
		t.ok(t.a.AddCredential(t.ctx, sampleCredential(id, subject("alice")), nil))
	}
	_, raised := t.create("s1", subject("alice")) // with credential-s1
	_, other := t.create("s2", subject("alice"))
	_, handed := t.create("s3", subject("alice"))
	elsewhere := sampleToken("elsewhere", "s3", "other.example.test")
	elsewhere.Verification.Credential.ID = []byte("credential-s1")
	t.ok(t.a.PutToken(t.ctx, elsewhere))
	last := t.seq()
	t.is(t.a.RemoveCredential(t.ctx, subject("bob"), []byte("credential-s1")), authn.ErrNotFound)
	t.changesSince(last)
	t.ok(t.a.RemoveCredential(t.ctx, subject("alice"), []byte("credential-s1")))
	t.changesSince(last, "s1", "s3")
	t.equal(t.alive(raised.Digest), false)
	t.equal(t.alive(handed.Digest), false)
	t.equal(t.alive(elsewhere.Digest), false)
	t.equal(t.alive(other.Digest), true)

	last = t.seq()
	t.is(t.a.RemoveCredential(t.ctx, subject("alice"), []byte("spare")), passkey.ErrLastCredential)
	t.changesSince(last)
}

// The assertion is checked, then its credential goes, then the session is raised.
func testLateVerification(t *storeT) {
	for _, id := range []string{"c1", "c2", "c3"} {
		t.ok(t.a.AddCredential(t.ctx, sampleCredential(id, subject("alice")), nil))
	}
	t.ok(t.a.BlockCredential(t.ctx, subject("alice"), []byte("c1"), "cloned"))
	t.ok(t.a.RemoveCredential(t.ctx, subject("alice"), []byte("c2")))
	_, old := t.create("s1", subject("alice"))
	for _, id := range []string{"c1", "c2"} {
		late := sampleToken("late-"+id, "s1", old.Host)
		late.Verification.Credential.ID = []byte(id)
		t.is(t.a.ReplaceToken(t.ctx, old.Digest, late), authn.ErrNotFound)
		t.is(t.a.PutToken(t.ctx, late), authn.ErrNotFound)
		t.equal(t.alive(late.Digest), false)
	}
	t.equal(t.alive(old.Digest), true)
	good := sampleToken("good", "s1", old.Host)
	good.Verification.Credential.ID = []byte("c3")
	t.ok(t.a.ReplaceToken(t.ctx, old.Digest, good))
}
