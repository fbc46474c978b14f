package sqlstore

import (
	"crypto/sha256"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
)

// TestBlockedPerson: no session of a blocked person is loaded, is made, or becomes theirs, by their address or by their
// subject.
func TestBlockedPerson(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	alice := authn.Subject{Issuer: "https://idp", ID: "a-1"}
	digest := func(id string) session.Digest { return sha256.Sum256([]byte(id)) }
	for name, tt := range map[string]struct {
		block                 BlockedPerson
		sameMail, sameSubject bool // whether another subject with her address, and she under another, are blocked
	}{
		"by address":           {BlockedPerson{Email: "alice@example.test"}, true, false},
		"by subject":           {BlockedPerson{Subject: alice}, false, true},
		"by both":              {BlockedPerson{Email: "alice@example.test", Subject: alice}, true, true},
		"someone else":         {BlockedPerson{Email: "bob@example.test", Subject: authn.Subject{Issuer: "https://other", ID: "a-1"}}, false, false},
		"no address at all is": {BlockedPerson{Subject: authn.Subject{Issuer: "https://idp", ID: "b-1"}}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, filepath.Join(t.TempDir(), "s.db"))
			create := func(id string, s authn.Subject, email authn.Email) error {
				return db.CreateSession(t.Context(), session.Record{ID: id, Person: authn.Person{Subject: s, Email: email}, CreatedAt: now, ExpiresAt: now.Add(time.Hour), LastSeenAt: now},
					session.Token{Digest: digest(id), SessionID: id, Host: "h", CreatedAt: now})
			}
			alive := func(id string) bool {
				_, _, err := db.LoadSession(t.Context(), digest(id))
				if err != nil && !errors.Is(err, authn.ErrNotFound) {
					t.Fatal(err)
				}
				return err == nil
			}
			other := authn.Subject{Issuer: "https://idp", ID: "o-1"}
			for id, err := range map[string]error{"hers": create("hers", alice, "alice@example.test"), "moved": create("moved", alice, "old@example.test"),
				"other": create("other", other, "alice@example.test"), "none": create("none", other, ""), "renamed": create("renamed", other, "new@example.test")} {
				if err != nil {
					t.Fatal(id, err)
				}
			}
			_, before, err := db.SessionChanges(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			tt.block.Why, tt.block.By, tt.block.At = "case 7", "ops", now
			ended, err := db.BlockPerson(t.Context(), tt.block)
			if err != nil {
				t.Fatal(err)
			}
			changed, _, err := db.SessionChanges(t.Context(), before)
			if err != nil || len(changed) != len(ended) {
				t.Errorf("%v ended, and %v are noted: %v", ended, changed, err)
			}
			for id, gone := range map[string]bool{"hers": tt.sameMail || tt.sameSubject, "moved": tt.sameSubject, "other": tt.sameMail, "none": false, "renamed": false} {
				if alive(id) == gone {
					t.Errorf("the session %s: alive %v", id, !gone)
				}
			}
			for id, blocked := range map[string]bool{"hers2": tt.sameMail || tt.sameSubject, "moved2": tt.sameSubject, "other2": tt.sameMail} {
				who, email := alice, authn.Email("alice@example.test")
				switch id {
				case "moved2":
					email = "third@example.test"
				case "other2":
					who = other
				}
				if err := create(id, who, email); errors.Is(err, authn.ErrBlocked) != blocked || !blocked && err != nil || alive(id) == blocked {
					t.Errorf("%s: %v", id, err)
				}
			}
			// The provider gives a session a blocked address.
			if err := db.RefreshSession(t.Context(), "renamed", authn.Person{Subject: other, Email: "alice@example.test"}, nil, now); err != nil {
				t.Fatal(err)
			}
			if alive("renamed") == tt.sameMail {
				t.Errorf("after its address changed, the session is alive: %v", !tt.sameMail)
			}

			list, err := db.BlockedPeople(t.Context())
			if err != nil || len(list) != 1 || list[0] != tt.block {
				t.Errorf("%+v %v", list, err)
			}
			beside := BlockedPerson{Email: tt.block.Email, Subject: authn.Subject{Issuer: "https://idp", ID: "beside"}, Why: "another case", By: "ops", At: now}
			if _, err := db.BlockPerson(t.Context(), beside); err != nil {
				t.Fatal(err)
			}
			if err := db.UnblockPerson(t.Context(), tt.block); err != nil {
				t.Error(err)
			}
			if err := db.UnblockPerson(t.Context(), tt.block); !errors.Is(err, authn.ErrNotFound) {
				t.Errorf("unblocked twice: %v", err)
			}
			if list, err := db.BlockedPeople(t.Context()); err != nil || len(list) != 1 || list[0] != beside {
				t.Errorf("the entry beside it is gone: %+v %v", list, err)
			}
			if err := db.UnblockPerson(t.Context(), beside); err != nil {
				t.Error(err)
			}
			if err := create("again", alice, "alice@example.test"); err != nil || !alive("again") {
				t.Error(err)
			}
		})
	}
	if _, err := open(t, filepath.Join(t.TempDir(), "s.db")).BlockPerson(t.Context(), BlockedPerson{Why: "x", At: now}); err == nil {
		t.Error("a block of no person is accepted")
	}
}
