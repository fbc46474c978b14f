package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t testing.TB, path string) *DB {
	t.Helper()
	d, err := Open(context.Background(), "sqlite:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func digest(s string) [32]byte { return sha256.Sum256([]byte(s)) }

func sample(id string) (session.Record, session.Token) {
	s := authn.Subject{Issuer: "https://idp.example.test", ID: "user-" + id}
	r := session.Record{
		ID: id, Person: authn.Person{Subject: s, Email: "alice@example.test", Name: "Alice", Groups: []string{"treasury", "ops"}, Countries: []string{"DE"}},
		CreatedAt: epoch, ExpiresAt: epoch.Add(10 * time.Hour), LastSeenAt: epoch, RefreshToken: []byte("sealed"),
	}
	t := session.Token{Digest: digest(id), SessionID: id, Host: "app.example.test", CreatedAt: epoch}
	t.Verification.At = epoch
	t.Verification.Credential = credential("c-" + id).Credential
	return r, t
}

func credential(id string) passkey.Record {
	return passkey.Record{
		Credential: authn.Credential{ID: []byte(id), Name: "phone", Class: authn.ClassSynced, Transports: []string{"internal"}, CreatedAt: epoch},
		Subject:    authn.Subject{Issuer: "https://idp.example.test", ID: "alice"}, PublicKey: []byte{1}, Data: []byte("{}"),
	}
}

func create(t testing.TB, d *DB, id string) session.Token {
	t.Helper()
	r, tok := sample(id)
	if err := d.CreateSession(context.Background(), r, tok); err != nil {
		t.Fatal(err)
	}
	return tok
}

// Two handles on one file, as a server and a command hold them.
func TestConformance(t *testing.T) {
	authntest.TestStores(t, func(t *testing.T) (a, b authntest.Stores) {
		path := filepath.Join(t.TempDir(), "state", "sallyport.db")
		return open(t, path), open(t, path)
	})
}

func TestAClosedDatabaseIsNotAMissingRow(t *testing.T) {
	d, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "s.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err = d.LoadSession(t.Context(), digest("x"))
	refuse(t, err, d.path, "load session")
	_, err = d.Take(t.Context(), "handoff", digest("x"), epoch)
	refuse(t, err, d.path)
	refuse(t, d.Ping(t.Context()), d.path)
}

// A reader that was away for longer than the log is kept must hear of it.
func TestTrimmedChangesAreAnError(t *testing.T) {
	ctx := t.Context()
	d := open(t, filepath.Join(t.TempDir(), "s.db"))
	d.changesKept = 3
	_, old, err := d.SessionChanges(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		id := fmt.Sprint("s", i)
		create(t, d, id)
		if _, err := d.RevokeSessions(ctx, session.Filter{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if ids, _, err := d.SessionChanges(ctx, old); err != nil || len(ids) != 5 {
		t.Fatalf("before the purge: %v, %v", ids, err)
	}
	for range 2 { // the second one finds nothing to trim
		if _, err := d.PurgeSessions(ctx, time.Time{}, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	_, last, err := d.SessionChanges(ctx, old)
	refuse(t, err, "are lost")
	if last != old+5 {
		t.Errorf("last = %d, want %d", last, old+5)
	}
	if ids, _, err := d.SessionChanges(ctx, old+2); err != nil || len(ids) != 3 {
		t.Fatalf("a reader at the edge: %v, %v", ids, err)
	}
	if ids, _, err := d.SessionChanges(ctx, 0); err != nil || len(ids) != 3 {
		t.Fatalf("a reader that starts: %v, %v", ids, err)
	}
}

func TestPurgeInBatches(t *testing.T) {
	ctx := t.Context()
	d := open(t, filepath.Join(t.TempDir(), "s.db"))
	err := d.update(ctx, "fill", func(tx tx) error {
		_, err := tx.exec(`with recursive n(i) as (select 1 union all select i + 1 from n where i < $1)
			insert into sessions (id, subject_issuer, subject_id, email, name, group_names, country_codes, time_zone, created_at, expires_at, last_seen_at, provider_session)
			select 's' || i, 'iss', 'sub', '', '', '[]', '[]', '', 0, 100 + i, 0, '' from n`,
			2*purgeBatch+2)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Put(ctx, "flow", digest("k"), nil, time.UnixMicro(1)); err != nil {
		t.Fatal(err)
	}
	n, err := d.PurgeSessions(ctx, time.UnixMicro(100+2*purgeBatch+2), time.Time{})
	if err != nil || n != 2*purgeBatch+1 {
		t.Fatalf("purged %d, %v", n, err)
	}
	ids, _, err := d.SessionChanges(ctx, 0)
	if err != nil || len(ids) != n {
		t.Fatalf("noted %d, %v", len(ids), err)
	}
	if n, err := d.PurgeOnce(ctx, epoch); err != nil || n != 0 {
		t.Errorf("an expired one-time record outlived the purge (%d, %v)", n, err)
	}
}

// The rows behind a write must be there when the process is gone.
func TestReopenedDatabaseHoldsEverything(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "s.db")
	d, err := Open(ctx, "sqlite:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	tok := create(t, d, "s1")
	if err := d.CreateTicket(ctx, enroll.Ticket{ID: "t1", Email: "alice@example.test", CreatedAt: epoch, ExpiresAt: epoch.Add(time.Hour)}, digest("t1")); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, path)
	if _, _, err := d.LoadSession(ctx, tok.Digest); err != nil {
		t.Error(err)
	}
	if _, err := d.TicketByDigest(ctx, digest("t1")); err != nil {
		t.Error(err)
	}
}

func TestEveryConnectionIsDurableAndChecked(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "s.db"))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "temp_store": "2"} { // 2: memory, since nothing beside the store need be writable
		for name, db := range map[string]*sql.DB{"write": d.write, "read": d.read} {
			var got string
			if err := db.QueryRowContext(t.Context(), "pragma "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s: %s = %q, %v; want %q", name, pragma, got, err, want)
			}
		}
	}
	if _, err := d.read.ExecContext(t.Context(), `delete from sessions`); err == nil {
		t.Error("a reader wrote")
	}
}

// A command that writes for long holds up writers for as long as they want to
// wait, and readers not at all.
func TestReadersDoNotWaitForAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	a, b := open(t, path), open(t, path)
	tok := create(t, a, "s1")
	held, err := b.write.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.LoadSession(t.Context(), tok.Digest); err != nil {
		t.Error(err)
	}
	if _, _, err := a.SessionChanges(t.Context(), 0); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err = a.RevokeSessions(ctx, session.Filter{ID: "s1"})
	refuse(t, err, path)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if waited := time.Since(begun); waited > 4*time.Second {
		t.Errorf("waited %v after being told to stop: %v", waited, err)
	}
	if err := held.Rollback(); err != nil {
		t.Fatal(err)
	}
	if ids, err := a.RevokeSessions(t.Context(), session.Filter{ID: "s1"}); err != nil || len(ids) != 1 {
		t.Errorf("afterwards: %v, %v", ids, err)
	}
}
