package authntest

import (
	"fmt"
	"slices"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
)

var tokenTests = []storeTest{
	{"a replaced token is dead and its successor alive", func(t *storeT) {
		r, old := t.create("s1", subject("alice"))
		next := sampleToken("next", "s1", old.Host)
		t.ok(t.a.ReplaceToken(t.ctx, old.Digest, next))
		t.equal(t.alive(old.Digest), false)
		gotR, gotT, err := t.b.LoadSession(t.ctx, next.Digest)
		t.ok(err)
		t.equal(gotR, r)
		t.equal(gotT, cloneToken(next))

		t.is(t.a.ReplaceToken(t.ctx, old.Digest, sampleToken("late", "s1", old.Host)), authn.ErrNotFound)
		t.equal(t.alive(digest("late")), false)
		t.equal(t.alive(next.Digest), true)
	}},
	{"a token keeps what its assertion was made with", func(t *storeT) {
		_, old := t.create("s1", subject("alice"))
		bare := sampleToken("bare", "s1", old.Host)
		bare.Verification.Browser = authn.Browser{}
		full := sampleToken("full", "s1", "other.example.test")
		t.ok(t.a.ReplaceToken(t.ctx, old.Digest, bare))
		t.ok(t.a.PutToken(t.ctx, full))
		for _, want := range []session.Token{bare, full} {
			_, got, err := t.b.LoadSession(t.ctx, want.Digest)
			t.ok(err)
			t.equal(got.Verification.Browser, want.Verification.Browser)
		}
	}},
	{"of concurrent rotations one wins", func(t *storeT) {
		_, old := t.create("s1", subject("alice"))
		wins := t.race(8, func(i int, s Stores) error {
			return s.ReplaceToken(t.ctx, old.Digest, sampleToken(fmt.Sprint("next-", i), "s1", old.Host))
		}, authn.ErrNotFound)
		t.equal(wins, 1)
		t.equal(t.countAlive("next", 8), 1)
	}},
	{"a failed replacement leaves the old token", func(t *storeT) {
		_, old := t.create("s1", subject("alice"))
		_, taken := t.create("s2", subject("bob"))
		t.refused(t.a.ReplaceToken(t.ctx, old.Digest, session.Token{Digest: taken.Digest, SessionID: "s1", Host: old.Host, CreatedAt: epoch}))
		t.equal(t.alive(old.Digest), true)
		t.refused(t.a.ReplaceToken(t.ctx, old.Digest, session.Token{SessionID: "s1", Host: old.Host, CreatedAt: epoch}))
		t.equal(t.alive(old.Digest), true)
		_, got, err := t.a.LoadSession(t.ctx, taken.Digest)
		t.ok(err)
		t.equal(got.SessionID, "s2")
	}},
	{"a token cannot be exchanged for another session's or host's", func(t *storeT) {
		_, old := t.create("s1", subject("alice"))
		t.create("s2", subject("bob"))
		t.is(t.a.ReplaceToken(t.ctx, old.Digest, sampleToken("x", "s2", "new.example.test")), authn.ErrNotFound)
		t.is(t.a.ReplaceToken(t.ctx, old.Digest, sampleToken("x", "s1", "new.example.test")), authn.ErrNotFound)
		t.equal(t.alive(digest("x")), false)
		t.equal(t.alive(old.Digest), true)
	}},
	{"a host has one token of a session", func(t *storeT) {
		_, first := t.create("s1", subject("alice"))
		other := sampleToken("elsewhere", "s1", "other.example.test")
		t.ok(t.a.PutToken(t.ctx, other))
		t.equal(t.alive(first.Digest), true)
		t.ok(t.a.PutToken(t.ctx, sampleToken("second", "s1", first.Host)))
		t.equal(t.alive(first.Digest), false)
		t.equal(t.alive(digest("second")), true)
		t.equal(t.alive(other.Digest), true)
	}},
	{"concurrent puts leave one token", func(t *storeT) {
		t.create("s1", subject("alice"))
		wins := t.race(8, func(i int, s Stores) error {
			return s.PutToken(t.ctx, sampleToken(fmt.Sprint("put-", i), "s1", "other.example.test"))
		})
		t.equal(wins, 8)
		t.equal(t.countAlive("put", 8), 1)
	}},
	{"a session that is gone takes no token", func(t *storeT) {
		t.is(t.a.PutToken(t.ctx, sampleToken("x", "s1", "app.example.test")), authn.ErrNotFound)
		t.equal(t.alive(digest("x")), false)
	}},
	{"a revocation leaves no token, under concurrent use", func(t *storeT) {
		_, old := t.create("s1", subject("alice"))
		t.race(9, func(i int, s Stores) error {
			switch i % 3 {
			case 0:
				return s.ReplaceToken(t.ctx, old.Digest, sampleToken(fmt.Sprint("any-", i), "s1", old.Host))
			case 1:
				return s.PutToken(t.ctx, sampleToken(fmt.Sprint("any-", i), "s1", "other.example.test"))
			default:
				_, err := s.RevokeSessions(t.ctx, session.Filter{ID: "s1"})
				return err
			}
		}, authn.ErrNotFound)
		t.equal(t.alive(old.Digest), false)
		t.equal(t.countAlive("any", 9), 0)
	}},
}

func (t *storeT) countAlive(prefix string, n int) (alive int) {
	t.Helper()
	for _, name := range t.names(prefix, n) {
		if t.alive(digest(name)) {
			alive++
		}
	}
	return alive
}

var changeTests = []storeTest{
	{"a reader starts with a number above zero", func(t *storeT) {
		ids, last, err := t.b.SessionChanges(t.ctx, 0)
		t.ok(err)
		t.equal(len(ids), 0)
		if last < 1 {
			t.Fatalf("last = %d: a reader that has started could not be told from one that has not", last)
		}
		ids, again, err := t.b.SessionChanges(t.ctx, last)
		t.ok(err)
		t.equal(len(ids), 0)
		t.equal(again, last)
	}},
	{"every change of a session is seen by the other process", func(t *storeT) {
		r, tok := t.create("s1", subject("alice"))
		t.create("s2", subject("bob"))
		_, last, err := t.b.SessionChanges(t.ctx, 0)
		t.ok(err)
		changed := func(what string, want ...string) {
			t.Helper()
			ids, now, err := t.b.SessionChanges(t.ctx, last)
			t.ok(err)
			if !slices.Equal(ids, want) {
				t.Fatalf("after %s: changed %v, want %v", what, ids, want)
			}
			if now < last || (len(want) > 0) != (now > last) {
				t.Fatalf("after %s: number went from %d to %d", what, last, now)
			}
			last = now
		}
		t.ok(t.a.TouchSessions(t.ctx, map[string]time.Time{"s1": epoch.Add(time.Hour)}))
		changed("a touch")
		t.ok(t.a.RefreshSession(t.ctx, "s1", r.Person, nil, epoch))
		changed("a refresh", "s1")
		t.ok(t.a.ReplaceToken(t.ctx, tok.Digest, sampleToken("n1", "s1", tok.Host)))
		changed("a rotation", "s1")
		t.is(t.a.ReplaceToken(t.ctx, tok.Digest, sampleToken("n2", "s1", tok.Host)), authn.ErrNotFound)
		changed("a lost rotation")
		t.ok(t.a.PutToken(t.ctx, sampleToken("n3", "s1", tok.Host)))
		changed("a new token for the same host", "s1")
		_, err = t.a.RevokeSessions(t.ctx, session.Filter{})
		t.refused(err)
		changed("a refused revocation")
		_, err = t.a.RevokeSessions(t.ctx, session.Filter{Email: "alice@example.test"})
		t.ok(err)
		changed("a revocation of two", "s1", "s2")
	}},
	{"a purged session is a change", func(t *storeT) {
		r, _ := t.create("s1", subject("alice"))
		_, last, err := t.b.SessionChanges(t.ctx, 0)
		t.ok(err)
		_, err = t.a.PurgeSessions(t.ctx, r.ExpiresAt.Add(time.Hour), time.Time{})
		t.ok(err)
		ids, _, err := t.b.SessionChanges(t.ctx, last)
		t.ok(err)
		t.equal(ids, []string{"s1"})
	}},
	{"a session that changed often is named once", func(t *storeT) {
		r, _ := t.create("s1", subject("alice"))
		for range 3 {
			t.ok(t.a.RefreshSession(t.ctx, "s1", r.Person, nil, epoch))
		}
		ids, _, err := t.b.SessionChanges(t.ctx, 0)
		t.ok(err)
		t.equal(ids, []string{"s1"})
	}},
	{"a reader from the future is refused", func(t *storeT) {
		// The database was restored from a backup, or replaced: what happened
		// since is unknown, and no answer would be an answer.
		_, last, err := t.b.SessionChanges(t.ctx, 0)
		t.ok(err)
		_, _, err = t.b.SessionChanges(t.ctx, last+1)
		t.refused(err)
	}},
	{"a polling reader misses nothing", testPollingReader},
}

// Numbers must appear in the order in which their transactions commit: a
// reader that has seen 5 never asks for 4 again.
func testPollingReader(t *storeT) {
	const writers, each = 4, 10
	for w := range writers {
		for i := range each {
			t.create(fmt.Sprintf("s-%d-%d", w, i), subject("alice"))
		}
	}
	_, last, err := t.b.SessionChanges(t.ctx, 0)
	t.ok(err)
	seen := map[string]bool{}
	poll := func() error {
		ids, now, err := t.b.SessionChanges(t.ctx, last)
		for _, id := range ids {
			seen[id] = true
		}
		if err == nil {
			last = now
		}
		return err
	}
	t.race(writers+1, func(i int, s Stores) error {
		if i == writers {
			for range 50 {
				if err := poll(); err != nil {
					return err
				}
			}
			return nil
		}
		for j := range each {
			if _, err := s.RevokeSessions(t.ctx, session.Filter{ID: fmt.Sprintf("s-%d-%d", i, j)}); err != nil {
				return err
			}
		}
		return nil
	})
	t.ok(poll())
	t.equal(len(seen), writers*each)
}
