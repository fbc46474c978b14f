package authntest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
)

// Open returns two handles on one new, empty database, as two processes would
// hold them; both may be the same value if the store lives in one process only.
// It closes them with t.Cleanup.
type Open func(t *testing.T) (a, b Stores)

// TestStores is the contract of every store interface as a test. A store that passes it
// can serve sessions, passkeys and tickets.
func TestStores(t *testing.T, open Open) {
	for _, group := range []struct {
		name  string
		tests []storeTest
	}{
		{"Sessions", sessionTests},
		{"Tokens", tokenTests},
		{"Changes", changeTests},
		{"Once", onceTests},
		{"Keys", keyTests},
		{"Credentials", credentialTests},
		{"Tickets", ticketTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) {
					a, b := open(t)
					test.run(&storeT{T: t, a: a, b: b, ctx: t.Context()})
				})
			}
		})
	}
}

type storeTest struct {
	name string
	run  func(*storeT)
}

// storeT is one test with two handles on its database.
type storeT struct {
	*testing.T
	a, b Stores
	ctx  context.Context
}

// handle gives the two handles in turn.
func (t *storeT) handle(i int) Stores {
	if i%2 == 0 {
		return t.a
	}
	return t.b
}

func (t *storeT) ok(err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

func (t *storeT) is(err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

// refused wants an error that is not "not found": the call itself is wrong.
func (t *storeT) refused(err error) {
	t.Helper()
	if err == nil || errors.Is(err, authn.ErrNotFound) {
		t.Fatalf("got %v, want a refusal", err)
	}
}

func (t *storeT) equal(got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

// race runs f in n goroutines at once, half on each handle, and returns how
// many succeeded. Every other outcome must be one of the given errors.
func (t *storeT) race(n int, f func(i int, s Stores) error, allowed ...error) int {
	t.Helper()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		wins  int
		start = make(chan struct{})
	)
	for i := range n {
		wg.Go(func() {
			<-start
			err := f(i, t.handle(i))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				wins++
				return
			}
			for _, a := range allowed {
				if errors.Is(err, a) {
					return
				}
			}
			t.Errorf("racer %d: %v", i, err)
		})
	}
	close(start)
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return wins
}

// epoch has nanoseconds and a zone, neither of which a store keeps.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("", 3*3600))

func digest(s string) [32]byte { return sha256.Sum256([]byte(s)) }

func subject(id string) authn.Subject {
	return authn.Subject{Issuer: "https://idp.example.test", ID: id}
}

func sampleSession(id string, s authn.Subject) (session.Record, session.Token) {
	r := session.Record{
		ID: id,
		Person: authn.Person{
			Subject: s, Email: "alice@example.test", Name: "Alice \"A\" Ünal\n",
			Groups: []string{"treasury", "node, ops"}, Countries: []string{"DE", "PT"}, TimeZone: "Europe/Berlin", Region: "DE-BE",
			StartedAt: epoch.Add(-100 * time.Hour),
		},
		CreatedAt: epoch, ExpiresAt: epoch.Add(10 * time.Hour), LastSeenAt: epoch.Add(time.Minute),
		AuthTime: epoch.Add(-time.Minute), ProviderSession: "sid-" + id,
		IDToken: []byte{0, 1, 0xff}, RefreshToken: []byte("refresh-" + id), RefreshedAt: epoch.Add(time.Second),
	}
	return r, sampleToken("token-"+id, id, "app.example.test")
}

func sampleToken(secret, id, host string) session.Token {
	return session.Token{
		Digest: digest(secret), SessionID: id, Host: host, CreatedAt: epoch,
		Verification: authn.Verification{
			At: epoch.Add(time.Minute), Addr: netip.MustParseAddr("2001:db8::17"),
			Credential: sampleCredential("credential-"+id, authn.Subject{}).Credential,
			Browser:    authn.Browser{Device: "device-of-" + id, Family: `Chrome on "Linux"`, JA4: "t13d1516h2_8daaf6152771_e5627efa2ab1", TimeZone: "Europe/Zurich"},
		},
	}
}

func sampleCredential(id string, s authn.Subject) passkey.Record {
	return passkey.Record{
		Credential: authn.Credential{
			ID: []byte(id), Name: "Alice's phone", Class: authn.ClassAttested,
			AAGUID: "01020304-0506-0708-0102-030405060708", AttestationFormat: "packed", AttestationType: "basic_full",
			Transports: []string{"internal", "hybrid"}, BackupEligible: true, CreatedAt: epoch, LastUsedAt: epoch.Add(time.Hour),
		},
		Subject: s, PublicKey: []byte{0xa5, 0, 1}, SignCount: 1<<32 - 2, Data: []byte("{\"a\": 1}\x00"),
	}
}

func sampleTicket(id string) (enroll.Ticket, enroll.Digest) {
	return enroll.Ticket{
		ID: id, Email: "alice@example.test", Note: "video call, 1 March", CreatedBy: "root",
		CreatedAt: epoch, ExpiresAt: epoch.Add(time.Hour),
	}, digest("ticket-" + id)
}

// create stores a sample session and returns it as the store should.
func (t *storeT) create(id string, s authn.Subject) (session.Record, session.Token) {
	t.Helper()
	r, tok := sampleSession(id, s)
	t.ok(t.a.CreateSession(t.ctx, r, tok))
	return cloneSession(r), cloneToken(tok)
}

// alive reports whether the token opens a session.
func (t *storeT) alive(d session.Digest) bool {
	t.Helper()
	_, tok, err := t.b.LoadSession(t.ctx, d)
	if err != nil {
		t.is(err, authn.ErrNotFound)
		return false
	}
	t.equal(tok.Digest, d)
	return true
}

func (t *storeT) names(id string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%d", id, i)
	}
	return out
}
