package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
	"sallyport/cmd/sallyport/internal/sqlstore"
)

// shell is a person with a shell on the server, beside the process that serves.
type shell struct {
	t   *testing.T
	dir string
	db  *sqlstore.DB // the server's
}

func newShell(t *testing.T) *shell {
	t.Helper()
	s := &shell{t: t, dir: t.TempDir()}
	for name, port := range map[string]string{"PORT": "8080", "OPS": "9090", "IDP": "9"} {
		t.Setenv(name, port)
	}
	for name, content := range site {
		s.ok(os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600))
	}
	var err error
	s.db, err = sqlstore.Open(t.Context(), "sqlite:"+filepath.Join(s.dir, "state", "sallyport.db"), sqlstore.Options{})
	s.ok(err)
	t.Cleanup(func() { s.db.Close() })
	return s
}

func (s *shell) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// run runs a command and wants its exit status; it returns what was printed.
func (s *shell) run(status int, args ...string) string {
	s.t.Helper()
	var out bytes.Buffer
	if got := run(s.t.Context(), append([]string{"--config", filepath.Join(s.dir, "sallyport.yaml")}, args...), stdio{nil, &out, &out}); got != status {
		s.t.Fatalf("sallyport %s: exit status %d, want %d\n%s", strings.Join(args, " "), got, status, out.String())
	}
	return out.String()
}

// events takes what is in the outbox.
func (s *shell) events() []sqlstore.OperatorEvent {
	s.t.Helper()
	list, err := s.db.OperatorEvents(s.t.Context(), 100)
	s.ok(err)
	for _, e := range list {
		s.ok(s.db.DeleteOperatorEvents(s.t.Context(), e.Seq))
	}
	return list
}

// noted wants one event, with this detail.
func (s *shell) noted(event string, detail map[string]string) {
	s.t.Helper()
	list := s.events()
	if len(list) != 1 || list[0].Event != event || list[0].By != operator() || time.Since(list[0].At) > time.Minute || !maps.Equal(list[0].Detail, detail) {
		s.t.Fatalf("noted %+v, want one %s with %v", list, event, detail)
	}
}

var alice = authn.Person{Subject: authn.Subject{Issuer: "https://idp", ID: "a-1"}, Email: "alice@example.com"}

// signedIn stores a session of alice's that a passkey raised, and the passkeys.
func (s *shell) signedIn(id string, passkeys ...string) {
	s.t.Helper()
	now := time.Now()
	s.ok(s.db.CreateSession(s.t.Context(), session.Record{ID: id, Person: alice, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour)},
		session.Token{Digest: session.Digest{1, id[0]}, SessionID: id, Host: "localhost", CreatedAt: now}))
	for _, c := range passkeys {
		s.ok(s.db.AddCredential(s.t.Context(), passkey.Record{Subject: alice.Subject, PublicKey: []byte{1},
			Credential: authn.Credential{ID: []byte(c), Name: "key " + c, Class: authn.ClassSynced, CreatedAt: now}}, nil))
	}
}

func TestOperatorsActsAreNoted(t *testing.T) {
	s := newShell(t)
	out := s.run(0, "ticket", "create", "--user", "alice@example.com", "--note", "video interview", "--new-account")
	tickets, err := s.db.ListTickets(t.Context(), "")
	s.ok(err)
	secret := out[strings.LastIndex(strings.TrimSpace(out), "=")+1:]
	for _, e := range s.events() {
		want := map[string]string{"ticket": tickets[0].ID, "user": "alice@example.com", "note": "video interview", "new_account": "true",
			"expires": tickets[0].ExpiresAt.Format(time.RFC3339)}
		if e.Event != "ticket_create" || !maps.Equal(e.Detail, want) || strings.Contains(fmt.Sprint(e), strings.TrimSpace(secret)) {
			t.Errorf("noted %+v", e)
		}
	}
	if !tickets[0].NewAccount {
		t.Error("the ticket is not for a new account")
	}
	s.run(0, "ticket", "revoke", tickets[0].ID)
	s.noted("ticket_revoke", map[string]string{"ticket": tickets[0].ID})
	s.signedIn("s1")
	s.run(0, "session", "revoke", "s1")
	s.noted("session_revoke", map[string]string{"session": "s1"})
	s.run(1, "session", "revoke", "--user", "alice@example.com")
	s.noted("session_revoke", map[string]string{"user": "alice@example.com", "issuer": "https://idp", "subject": "a-1"})
	s.run(0, "keys", "rotate")
	s.noted("keys_rotate", nil)
	s.run(0, "ticket", "list")
	s.run(0, "people", "list")
	if list := s.events(); len(list) != 0 {
		t.Errorf("looking was noted: %+v", list)
	}
}

// An act that cannot be noted does not happen.
func TestNothingHappensUnnoted(t *testing.T) {
	s := newShell(t)
	s.run(0, "ticket", "create", "--user", "alice@example.com")
	tickets, err := s.db.ListTickets(t.Context(), "")
	s.ok(err)
	s.signedIn("s1", "passkey-one")
	s.events()
	raw, err := sql.Open("sqlite", filepath.Join(s.dir, "state", "sallyport.db"))
	s.ok(err)
	defer raw.Close()
	_, err = raw.Exec(`create trigger full before insert on operator_events begin select raise(abort, 'disk full'); end`)
	s.ok(err)
	s.run(2, "ticket", "create", "--user", "bob@example.com")
	s.run(2, "ticket", "revoke", tickets[0].ID)
	s.run(2, "session", "revoke", "s1")
	s.run(2, "people", "revoke-passkey", "alice@example.com", "7061")
	keys, err := s.db.Keys(t.Context(), "cookie")
	s.ok(err)
	s.run(2, "keys", "rotate")
	after, err := s.db.Keys(t.Context(), "cookie")
	s.ok(err)
	now, err := s.db.ListTickets(t.Context(), "")
	s.ok(err)
	live, err := s.db.ListSessions(t.Context(), session.Filter{})
	s.ok(err)
	records, err := s.db.Credentials(t.Context(), alice.Subject)
	s.ok(err)
	if !reflect.DeepEqual(now, tickets) || len(live) != 1 || records[0].Blocked != "" || !reflect.DeepEqual(keys, after) {
		t.Errorf("tickets %+v, %d sessions, passkey blocked %q, %d keys", now, len(live), records[0].Blocked, len(after))
	}
}

func TestRevokePasskey(t *testing.T) {
	s := newShell(t)
	s.signedIn("s1", "passkey-one", "passkey-two", "other")
	s.signedIn("t2")
	blocked := func() (list []string) {
		t.Helper()
		records, err := s.db.Credentials(t.Context(), alice.Subject)
		s.ok(err)
		for _, r := range records {
			if r.Blocked != "" {
				list = append(list, string(r.ID)+": "+r.Blocked)
			}
		}
		slices.Sort(list)
		return list
	}
	sessions := func() int {
		t.Helper()
		list, err := s.db.ListSessions(t.Context(), session.Filter{Subject: alice.Subject})
		s.ok(err)
		return len(list)
	}
	for _, none := range [][]string{{"alice@example.com", "70617373ff"}, {"bob@example.com", "706173736b65792d6f6e65"}} {
		if out := s.run(1, "people", "revoke-passkey", none[0], none[1]); !strings.Contains(out, "has no passkey") {
			t.Errorf("%v: %s", none, out)
		}
	}
	for _, wrong := range [][]string{
		{"alice@example.com", "706173736b6579"}, // both of "passkey-"
		{"alice@example.com", "cGFzc2tleS"},
		{"alice@example.com", "706"},
		{"alice@", "706173736b65792d6f"},
		{"alice@example.com", "706173736b65792d6f", "--reason", "two\nlines"},
		{"alice@example.com", "706173736b65792d6f", "--reason", ""},
	} {
		s.run(2, append([]string{"people", "revoke-passkey"}, wrong...)...)
	}
	if got := blocked(); got != nil || sessions() != 2 || len(s.events()) != 0 {
		t.Fatalf("blocked %q, %d sessions", got, sessions())
	}

	s.run(0, "people", "revoke-passkey", "alice@example.com", "706173736B65792D6F", "--reason", "phone lost on a train") // "passkey-o"
	s.noted("passkey_revoke", map[string]string{"user": "alice@example.com", "subject": "a-1", "issuer": "https://idp",
		"credential": "cGFzc2tleS1vbmU", "reason": "phone lost on a train"})
	if got := blocked(); !slices.Equal(got, []string{"passkey-one: phone lost on a train"}) || sessions() != 0 {
		t.Fatalf("blocked %q, %d sessions", got, sessions())
	}
	s.signedIn("u3")
	if out := s.run(0, "people", "show", "alice@example.com"); !strings.Contains(out, "706173736b65792d  key passkey-two") || !strings.Contains(out, "BLOCKED: phone lost") {
		t.Errorf("people show: %s", out)
	}
	// As the audit log writes ids.
	s.run(0, "people", "revoke-passkey", "alice@example.com", "cGFzc2tleS10d28")
	if got := blocked(); len(got) != 2 || got[1] != "passkey-two: revoked by the security team" {
		t.Fatalf("blocked %q", got)
	}
}
