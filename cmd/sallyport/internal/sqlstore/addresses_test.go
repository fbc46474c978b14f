package sqlstore

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
)

// An address outlives the session that it was seen in, and a provider that calls a person by another.
func TestKnownAddresses(t *testing.T) {
	ctx, at := context.Background(), time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	db, err := Open(ctx, "sqlite:"+filepath.Join(t.TempDir(), "s.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ann := authn.Subject{Issuer: "https://idp", ID: "ann"}
	person := func(email authn.Email) authn.Person { return authn.Person{Subject: ann, Email: email} }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(db.CreateSession(ctx, session.Record{ID: "one", Person: person("old@example.com"), CreatedAt: at, LastSeenAt: at, ExpiresAt: at.Add(time.Hour)},
		session.Token{Digest: session.Digest{1}, SessionID: "one", Host: "localhost"}))
	must(db.RefreshSession(ctx, "one", person("new@example.com"), nil, at.Add(time.Minute)))
	must(db.RefreshSession(ctx, "one", person("new@example.com"), nil, at.Add(2*time.Minute)))
	must(db.RefreshSession(ctx, "one", person(""), nil, at.Add(3*time.Minute)))
	if _, err := db.RevokeSessions(ctx, session.Filter{ID: "one"}); err != nil {
		t.Fatal(err)
	}
	list, err := db.KnownAddresses(ctx)
	must(err)
	var got string
	for _, a := range list {
		got += fmt.Sprintln(a.Subject.ID, a.Email, a.FirstSeen.Sub(at), a.LastSeen.Sub(at))
	}
	if want := "ann new@example.com 1m0s 2m0s\nann old@example.com 0s 0s\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
