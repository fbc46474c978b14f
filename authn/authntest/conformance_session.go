package authntest

import (
	"context"
	"slices"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
)

var sessionTests = []storeTest{
	{"a session comes back as it was stored", func(t *storeT) {
		r, tok := t.create("s1", subject("alice"))
		gotR, gotT, err := t.b.LoadSession(t.ctx, tok.Digest)
		t.ok(err)
		t.equal(gotR, r)
		t.equal(gotT, tok)
		_, _, err = t.b.LoadSession(t.ctx, digest("no session's"))
		t.is(err, authn.ErrNotFound)
	}},
	{"times are UTC, to the microsecond, and zero stays zero", func(t *storeT) {
		r, tok := sampleSession("s1", subject("alice"))
		r.AuthTime = time.Unix(0, 0) // not "never"
		r.RefreshedAt = time.Time{}
		tok.Verification = authn.Verification{}
		t.ok(t.a.CreateSession(t.ctx, r, tok))
		got, gotT, err := t.b.LoadSession(t.ctx, tok.Digest)
		t.ok(err)
		t.equal(got.CreatedAt, time.Date(2026, 3, 1, 9, 0, 0, 123456000, time.UTC))
		t.equal(got.AuthTime, time.Unix(0, 0).UTC())
		t.equal(got.RefreshedAt, time.Time{})
		t.equal(gotT.Verification, authn.Verification{})
	}},
	{"what is absent stays absent", func(t *storeT) {
		r, tok := sampleSession("s1", subject("alice"))
		r.Person = authn.Person{Subject: r.Person.Subject, Groups: []string{}}
		r.IDToken, r.RefreshToken, r.ProviderSession = nil, []byte{}, ""
		t.ok(t.a.CreateSession(t.ctx, r, tok))
		got, _, err := t.b.LoadSession(t.ctx, tok.Digest)
		t.ok(err)
		t.equal(got, cloneSession(r))
	}},
	{"a session and its token are stored together or not at all", func(t *storeT) {
		_, tok := t.create("s1", subject("alice"))
		r2, tok2 := sampleSession("s2", subject("alice"))
		tok2.Digest = tok.Digest
		t.refused(t.a.CreateSession(t.ctx, r2, tok2))
		rs, err := t.a.ListSessions(t.ctx, session.Filter{ID: "s2"})
		t.ok(err)
		t.equal(len(rs), 0)
		r1, tok1 := sampleSession("s1", subject("mallory"))
		tok1.Digest = digest("another")
		t.refused(t.a.CreateSession(t.ctx, r1, tok1))
		t.equal(t.alive(tok1.Digest), false)
	}},
	{"a session that belongs to no person is refused", func(t *storeT) {
		for _, s := range []authn.Subject{{}, {Issuer: "https://idp.example.test"}, {ID: "alice"}} {
			r, tok := sampleSession("s1", s)
			t.refused(t.a.CreateSession(t.ctx, r, tok))
		}
		r, tok := sampleSession("s1", subject("alice"))
		tok.Digest = session.Digest{}
		t.refused(t.a.CreateSession(t.ctx, r, tok))
		r, tok = sampleSession("s1", subject("alice"))
		tok.SessionID = "s2"
		t.refused(t.a.CreateSession(t.ctx, r, tok))
	}},
	{"last seen moves forward and never back", func(t *storeT) {
		r, tok := t.create("s1", subject("alice"))
		seen := func(at time.Time) time.Time {
			t.Helper()
			t.ok(t.a.TouchSessions(t.ctx, map[string]time.Time{"s1": at, "unknown": at}))
			got, _, err := t.b.LoadSession(t.ctx, tok.Digest)
			t.ok(err)
			return got.LastSeenAt
		}
		later := r.LastSeenAt.Add(time.Minute)
		t.equal(seen(later), later)
		t.equal(seen(r.LastSeenAt), later)
		t.ok(t.a.TouchSessions(t.ctx, nil))
	}},
	{"a refresh replaces person, token and time", func(t *storeT) {
		r, tok := t.create("s1", subject("alice"))
		r.Person.Groups, r.Person.Email = []string{"support"}, "alice.b@example.test"
		r.Person.StartedAt = micro(epoch.Add(-time.Hour))
		r.RefreshToken, r.RefreshedAt = []byte("next"), micro(epoch.Add(time.Hour))
		t.ok(t.a.RefreshSession(t.ctx, "s1", r.Person, r.RefreshToken, r.RefreshedAt))
		got, _, err := t.b.LoadSession(t.ctx, tok.Digest)
		t.ok(err)
		t.equal(got, r)
		t.is(t.a.RefreshSession(t.ctx, "s2", r.Person, nil, epoch), authn.ErrNotFound)
		r.Person.Subject = subject("mallory")
		if err := t.a.RefreshSession(t.ctx, "s1", r.Person, nil, epoch); err == nil {
			t.Fatal("a session changed its owner")
		}
	}},
	{"a list is newest first, filtered and limited", testListSessions},
	{"a filter revokes what matches it and nothing else", testRevokeFilters},
	{"a person's sessions are trimmed: first those never verified, then the oldest", testTrimSessions},
	{"an empty filter and half a filter are refused", func(t *storeT) {
		_, tok := t.create("s1", subject("alice"))
		for _, f := range []session.Filter{
			{}, {Limit: 1}, {RefreshedBefore: time.Time{}.In(time.FixedZone("", 3600))},
			{ProviderSession: "sid-s1"}, {ProviderIssuer: "https://idp.example.test"},
			{Subject: authn.Subject{ID: "alice"}}, {Subject: authn.Subject{Issuer: "https://idp.example.test"}},
		} {
			_, err := t.a.RevokeSessions(t.ctx, f)
			t.refused(err)
		}
		t.equal(t.alive(tok.Digest), true)
	}},
	{"a limit does not leave matching sessions alive", func(t *storeT) {
		for _, id := range t.names("s", 3) {
			t.create(id, subject("alice"))
		}
		ids, err := t.a.RevokeSessions(t.ctx, session.Filter{Subject: subject("alice"), Limit: 1})
		t.ok(err)
		t.equal(len(ids), 3)
	}},
	{"purge removes what expired or lies idle", func(t *storeT) {
		r, tok := t.create("s1", subject("alice"))
		purge := func(expired, seen time.Time) int {
			t.Helper()
			n, err := t.a.PurgeSessions(t.ctx, expired, seen)
			t.ok(err)
			return n
		}
		t.equal(purge(time.Time{}, time.Time{}), 0)
		t.equal(purge(r.ExpiresAt, r.LastSeenAt), 0)
		t.equal(purge(r.ExpiresAt.Add(time.Microsecond), time.Time{}), 1)
		t.equal(t.alive(tok.Digest), false)
		r, tok = t.create("s2", subject("alice"))
		t.equal(purge(time.Time{}, r.LastSeenAt.Add(time.Microsecond)), 1)
		t.equal(t.alive(tok.Digest), false)
	}},
	{"subjects whose parts run together stay apart", testCollidingSubjects},
	{"a cancelled call changes nothing", func(t *storeT) {
		_, tok := t.create("s1", subject("alice"))
		ctx, cancel := context.WithCancel(t.ctx)
		cancel()
		_, err := t.a.RevokeSessions(ctx, session.Filter{ID: "s1"})
		t.is(err, context.Canceled)
		t.equal(t.alive(tok.Digest), true)
	}},
}

func testListSessions(t *storeT) {
	var want []session.Record
	for i, id := range t.names("s", 4) {
		r, tok := sampleSession(id, subject("alice"))
		r.CreatedAt = epoch.Add(time.Duration(i) * time.Microsecond)
		if i == 3 {
			r.RefreshToken = nil
		}
		t.ok(t.a.CreateSession(t.ctx, r, tok))
		want = append([]session.Record{cloneSession(r)}, want...)
	}
	list := func(f session.Filter) []session.Record {
		t.Helper()
		rs, err := t.b.ListSessions(t.ctx, f)
		t.ok(err)
		return rs
	}
	t.equal(list(session.Filter{}), want)
	t.equal(list(session.Filter{Limit: 2}), want[:2])
	t.equal(list(session.Filter{RefreshedBefore: want[0].RefreshedAt}), []session.Record(nil))
	t.equal(list(session.Filter{RefreshedBefore: want[0].RefreshedAt.Add(time.Microsecond)}), want[1:])
	t.equal(list(session.Filter{ID: "s-1", Email: "alice@example.test", Subject: subject("alice")}), want[2:3])
	t.equal(list(session.Filter{ID: "s-1", Email: "bob@example.test"}), []session.Record(nil))
}

func testRevokeFilters(t *storeT) {
	for _, f := range []session.Filter{
		{ID: "s1"}, {Subject: subject("alice")}, {Email: "alice@example.test"},
		{ProviderIssuer: subject("").Issuer, ProviderSession: "sid-s1"},
		{RefreshedBefore: epoch.Add(time.Minute)},
		{Subject: subject("alice"), Email: "alice@example.test"},
	} {
		_, mine := t.create("s1", subject("alice"))
		other, theirs := sampleSession("s2", authn.Subject{Issuer: "https://other.example.test", ID: "alice"})
		other.Person.Email, other.ProviderSession, other.RefreshedAt = "bob@example.test", "sid-s1", epoch.Add(time.Hour)
		t.ok(t.a.CreateSession(t.ctx, other, theirs))

		ids, err := t.a.RevokeSessions(t.ctx, f)
		t.ok(err)
		t.equal(ids, []string{"s1"})
		t.equal(t.alive(mine.Digest), false)
		t.equal(t.alive(theirs.Digest), true)
		ids, err = t.a.RevokeSessions(t.ctx, f)
		t.ok(err)
		t.equal(len(ids), 0)
		_, err = t.a.RevokeSessions(t.ctx, session.Filter{ID: "s2"})
		t.ok(err)
	}
}

// Two texts that run together: ("a","bc") and ("ab","c") are two people.
func testCollidingSubjects(t *storeT) {
	one, two := authn.Subject{Issuer: "a", ID: "bc"}, authn.Subject{Issuer: "ab", ID: "c"}
	_, tok1 := t.create("s1", one)
	_, tok2 := t.create("s2", two)
	ids, err := t.a.RevokeSessions(t.ctx, session.Filter{Subject: one})
	t.ok(err)
	t.equal(ids, []string{"s1"})
	t.equal(t.alive(tok1.Digest), false)
	t.equal(t.alive(tok2.Digest), true)

	h1, err := t.a.UserHandle(t.ctx, one, slices.Repeat([]byte{1}, 64))
	t.ok(err)
	h2, err := t.a.UserHandle(t.ctx, two, slices.Repeat([]byte{2}, 64))
	t.ok(err)
	t.equal(slices.Equal(h1, h2), false)
	t.ok(t.a.AddCredential(t.ctx, sampleCredential("c1", one), nil))
	rs, err := t.a.Credentials(t.ctx, two)
	t.ok(err)
	t.equal(len(rs), 0)
	t.is(t.a.RemoveCredential(t.ctx, two, []byte("c1")), authn.ErrNotFound)

	// The same for the parts of a one-time record, and of a token.
	k := digest("k")
	t.ok(t.a.Put(t.ctx, "sign-in", k, []byte("1"), epoch.Add(time.Hour)))
	_, err = t.a.Take(t.ctx, "sign-i", k, epoch)
	t.is(err, authn.ErrNotFound)
	t.ok(t.a.PutToken(t.ctx, sampleToken("t3", "s2", "other.example.test")))
	t.equal(t.alive(tok2.Digest), true)
}

func testTrimSessions(t *storeT) {
	for i, id := range []string{"oldest", "old", "unverified", "new", "spare"} {
		r, tok := sampleSession(id, subject("alice"))
		r.CreatedAt = epoch.Add(time.Duration(i) * time.Second)
		tok.Verification = authn.Verification{}
		if id != "unverified" && id != "spare" {
			tok.Verification = sampleToken("t", id, tok.Host).Verification
			tok.Verification.At = epoch
		}
		t.ok(t.a.CreateSession(t.ctx, r, tok))
	}
	_, other := t.create("other", subject("bob"))
	_, last, err := t.b.SessionChanges(t.ctx, 0)
	t.ok(err)
	trim := func(keep int) []string {
		t.Helper()
		ids, err := t.a.TrimSessions(t.ctx, subject("alice"), keep, "spare")
		t.ok(err)
		return ids
	}
	t.equal(len(trim(5)), 0)
	t.equal(trim(4), []string{"unverified"})
	t.equal(len(trim(4)), 0)
	t.equal(trim(2), []string{"old", "oldest"})
	t.equal(trim(1), []string{"new"})
	t.equal(len(trim(1)), 0)
	t.equal(t.alive(other.Digest), true)
	ids, _, err := t.b.SessionChanges(t.ctx, last)
	t.ok(err)
	t.equal(len(ids), 4)
	_, err = t.a.TrimSessions(t.ctx, subject("alice"), 0, "spare")
	t.refused(err)
	_, err = t.a.TrimSessions(t.ctx, authn.Subject{ID: "alice"}, 1, "spare")
	t.refused(err)
}
