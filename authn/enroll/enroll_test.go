package enroll_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
)

// harness is an issuer over a store in memory, with a clock to turn, and a relying
// party that makes the passkeys.
type harness struct {
	*enroll.Issuer
	rp    *passkey.RelyingParty
	t     *testing.T
	store *authntest.Memory
	now   time.Time
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	w := &harness{t: t, store: authntest.NewMemory(), now: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
	now := func() time.Time { return w.now }
	w.Issuer = enroll.New(enroll.Config{Store: w.store, Now: now})
	var err error
	w.rp, err = passkey.New(passkey.Config{
		RPID: "localhost", RPName: "Corp", Origins: []string{"http://localhost"},
		Store: w.store, Ceremonies: w.store, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, v := range w.store.Violations() {
			t.Error(v)
		}
	})
	return w
}

func person(name string) authn.Person {
	return authn.Person{Subject: authn.Subject{Issuer: "https://idp.example", ID: name}, Email: authn.Email(name + "@corp.example"), Name: name}
}

func (w *harness) mint(name string) (enroll.Ticket, string) {
	w.t.Helper()
	t, secret, err := w.Mint(w.t.Context(), enroll.MintRequest{Email: person(name).Email, Note: "video interview 12 Nov", By: "root"})
	if err != nil {
		w.t.Fatal(err)
	}
	return t, secret
}

// passkeyOf runs a registration ceremony.
func (w *harness) passkeyOf(name string) passkey.Record {
	w.t.Helper()
	s := authn.Session{ID: name + "-1", Person: person(name)}
	c, err := w.rp.BeginRegistration(w.t.Context(), s)
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := authntest.NewAuthenticator("http://localhost").Create(c.Options)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := w.rp.FinishRegistration(w.t.Context(), s, c.ID, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *harness) passkeys(name string) int {
	w.t.Helper()
	records, err := w.store.Credentials(context.WithoutCancel(w.t.Context()), person(name).Subject)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(records)
}

func TestTicketLife(t *testing.T) {
	w := newHarness(t)
	ticket, secret := w.mint("alice")
	if ticket.Email != "alice@corp.example" || ticket.Note != "video interview 12 Nov" || ticket.CreatedBy != "root" ||
		!ticket.CreatedAt.Equal(w.now) || !ticket.ExpiresAt.Equal(w.now.Add(24*time.Hour)) || ticket.State(w.now) != enroll.Open {
		t.Errorf("ticket %+v", ticket)
	}
	got, err := w.Check(t.Context(), secret, person("alice"))
	if err != nil || got.ID != ticket.ID {
		t.Fatalf("check: %+v, %v", got, err)
	}
	w.now = w.now.Add(time.Minute)
	r := w.passkeyOf("alice")
	if err := w.Redeem(t.Context(), secret, person("alice"), r); err != nil {
		t.Fatal(err)
	}
	tickets, err := w.List(t.Context(), "")
	if err != nil || len(tickets) != 1 || tickets[0].State(w.now) != enroll.Redeemed || tickets[0].RedeemedBy != person("alice").Subject || !tickets[0].RedeemedAt.Equal(w.now) {
		t.Errorf("list: %+v, %v", tickets, err)
	}
	if w.passkeys("alice") != 1 {
		t.Error("the passkey is not stored")
	}
	if err := w.Revoke(t.Context(), ticket.ID); !errors.Is(err, enroll.ErrUnknown) {
		t.Errorf("revoking a spent ticket: %v", err)
	}
}

func TestMint(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    enroll.MintRequest
		ok   bool
	}{
		{"good", enroll.MintRequest{Email: "alice@corp.example", By: "root"}, true},
		{"a longer one", enroll.MintRequest{Email: "alice@corp.example", By: "root", Expires: 14 * 24 * time.Hour}, true},
		{"too long", enroll.MintRequest{Email: "alice@corp.example", By: "root", Expires: 14*24*time.Hour + 1}, false},
		{"expired from birth", enroll.MintRequest{Email: "alice@corp.example", By: "root", Expires: -time.Hour}, false},
		{"for nobody", enroll.MintRequest{By: "root"}, false},
		{"not an address", enroll.MintRequest{Email: "alice", By: "root"}, false},
		{"two addresses", enroll.MintRequest{Email: "alice@corp.example@evil.example", By: "root"}, false},
		{"by nobody", enroll.MintRequest{Email: "alice@corp.example"}, false},
		{"a note of two lines", enroll.MintRequest{Email: "alice@corp.example", By: "root", Note: "a\nb"}, false},
		{"a note with an escape", enroll.MintRequest{Email: "alice@corp.example", By: "root", Note: "\x1b[2J"}, false},
		{"a long note", enroll.MintRequest{Email: "alice@corp.example", By: "root", Note: strings.Repeat("x", 201)}, false},
	} {
		w := newHarness(t)
		_, secret, err := w.Mint(t.Context(), tt.r)
		if (err == nil) != tt.ok || (secret != "") != tt.ok {
			t.Errorf("%s: %q, %v", tt.name, secret, err)
		}
	}
	w := newHarness(t)
	ticket, secret, err := w.Mint(t.Context(), enroll.MintRequest{Email: "Alice@Corp.Example", By: "root"})
	if err != nil || ticket.Email != "alice@corp.example" {
		t.Errorf("%+v, %v", ticket, err)
	}
	if _, err := w.Check(t.Context(), secret, person("alice")); err != nil {
		t.Errorf("a ticket for another spelling of the address: %v", err)
	}
}

// The store must hold nothing that could be redeemed, and no two secrets are alike.
func TestSecretIsNotStored(t *testing.T) {
	w := newHarness(t)
	seen := map[string]bool{}
	for range 100 {
		ticket, secret := w.mint("alice")
		if len(secret) != 52 || strings.ContainsAny(secret, "ilou-_=") || seen[secret] {
			t.Fatalf("secret %q", secret)
		}
		seen[secret] = true
		if _, err := w.store.TicketByDigest(t.Context(), sha256.Sum256([]byte(secret))); err == nil {
			t.Fatal("the digest is of the text") // or another encoding of it would do as well
		}
		if strings.Contains(fmt.Sprintf("%+v", ticket), secret) || strings.Contains(secret, ticket.ID) {
			t.Fatal("the ticket shows its secret")
		}
	}
}

// refusedAndUnchanged makes one attempt to redeem, that must come to nothing.
func refusedAndUnchanged(t *testing.T, w *harness, want error, name string, secret string, r passkey.Record) {
	t.Helper()
	before := w.passkeys(name)
	if err := w.Redeem(t.Context(), secret, person(name), r); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if after := w.passkeys(name); after != before {
		t.Errorf("%d passkeys became %d", before, after)
	}
}

func TestAttackTicketReused(t *testing.T) {
	w := newHarness(t)
	_, secret := w.mint("alice")
	if err := w.Redeem(t.Context(), secret, person("alice"), w.passkeyOf("alice")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Check(t.Context(), secret, person("alice")); !errors.Is(err, enroll.ErrSpent) {
		t.Errorf("check: %v", err)
	}
	refusedAndUnchanged(t, w, enroll.ErrSpent, "alice", secret, w.passkeyOf("alice"))
}

func TestAttackTicketOfSomebodyElse(t *testing.T) {
	w := newHarness(t)
	_, secret := w.mint("alice")
	if _, err := w.Check(t.Context(), secret, person("mallory")); !errors.Is(err, enroll.ErrWrongPerson) {
		t.Errorf("check: %v", err)
	}
	refusedAndUnchanged(t, w, enroll.ErrWrongPerson, "mallory", secret, w.passkeyOf("mallory"))
	// Signed in as Alice, but with a passkey that another subject made.
	refusedAndUnchanged(t, w, enroll.ErrWrongPerson, "alice", secret, w.passkeyOf("mallory"))
	// No person at all, and one without an address.
	for _, p := range []authn.Person{{}, {Subject: person("alice").Subject}, {Email: person("alice").Email}} {
		if err := w.Redeem(t.Context(), secret, p, w.passkeyOf("alice")); !errors.Is(err, enroll.ErrWrongPerson) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if err := w.Redeem(t.Context(), secret, person("alice"), w.passkeyOf("alice")); err != nil {
		t.Errorf("the attempts spoilt the ticket: %v", err)
	}
}

func TestAttackTicketExpired(t *testing.T) {
	w := newHarness(t)
	_, secret := w.mint("alice")
	r := w.passkeyOf("alice")
	w.now = w.now.Add(24 * time.Hour)
	if _, err := w.Check(t.Context(), secret, person("alice")); !errors.Is(err, enroll.ErrExpired) {
		t.Errorf("check: %v", err)
	}
	refusedAndUnchanged(t, w, enroll.ErrExpired, "alice", secret, r)
}

func TestAttackSecondPasskeyThroughOneTicket(t *testing.T) {
	w := newHarness(t)
	_, secret := w.mint("alice")
	first, second := w.passkeyOf("alice"), w.passkeyOf("alice") // both ceremonies are under way
	if err := w.Redeem(t.Context(), secret, person("alice"), first); err != nil {
		t.Fatal(err)
	}
	refusedAndUnchanged(t, w, enroll.ErrSpent, "alice", secret, second)
}

// Revoked after the desk has looked, before the store has written: the
// narrowest place in between.
func TestAttackRevokedInBetween(t *testing.T) {
	w := newHarness(t)
	ticket, secret := w.mint("alice")
	if _, err := w.Check(t.Context(), secret, person("alice")); err != nil {
		t.Fatal(err)
	}
	r := w.passkeyOf("alice")
	w.store.OnCall("RedeemTicket", func() {
		if err := w.Revoke(t.Context(), ticket.ID); err != nil {
			t.Errorf("revoke: %v", err)
		}
	})
	refusedAndUnchanged(t, w, enroll.ErrRevoked, "alice", secret, r)
	w.store.Heal()
	refusedAndUnchanged(t, w, enroll.ErrRevoked, "alice", secret, w.passkeyOf("alice"))
}

func TestAttackRaceOfTwoRedemptions(t *testing.T) {
	w := newHarness(t)
	_, secret := w.mint("alice")
	records := make([]passkey.Record, 8)
	for i := range records {
		records[i] = w.passkeyOf("alice")
	}
	results := make([]error, len(records))
	var wg sync.WaitGroup
	for i := range records {
		wg.Go(func() { results[i] = w.Redeem(t.Context(), secret, person("alice"), records[i]) })
	}
	wg.Wait()
	winners := 0
	for _, err := range results {
		if err == nil {
			winners++
		} else if !errors.Is(err, enroll.ErrSpent) {
			t.Errorf("a loser got %v", err)
		}
	}
	if winners != 1 || w.passkeys("alice") != 1 {
		t.Errorf("%d winners, %d passkeys", winners, w.passkeys("alice"))
	}
}

// lax is a store that forgets to look before it writes.
type lax struct{ *authntest.Memory }

func (lax) RedeemTicket(context.Context, enroll.Digest, authn.Email, time.Time, passkey.Record) error {
	return nil
}

// The store's transaction decides; the desk does not rely on it alone.
func TestAttackDeskChecksToo(t *testing.T) {
	w := newHarness(t)
	desk := enroll.New(enroll.Config{Store: lax{w.store}, Now: func() time.Time { return w.now }})
	ticket, secret := w.mint("alice")
	if err := desk.Redeem(t.Context(), secret, person("mallory"), w.passkeyOf("mallory")); !errors.Is(err, enroll.ErrWrongPerson) {
		t.Errorf("somebody else's: %v", err)
	}
	if err := w.Revoke(t.Context(), ticket.ID); err != nil {
		t.Fatal(err)
	}
	if err := desk.Redeem(t.Context(), secret, person("alice"), w.passkeyOf("alice")); !errors.Is(err, enroll.ErrRevoked) {
		t.Errorf("revoked: %v", err)
	}
}

// A stranger learns the same from every ticket, in every state, and from none.
func TestStrangersLearnNothing(t *testing.T) {
	w := newHarness(t)
	mallory := person("mallory")
	_, open := w.mint("alice")
	revoked, secretOfRevoked := w.mint("alice")
	_, spent := w.mint("alice")
	if err := errors.Join(w.Revoke(t.Context(), revoked.ID), w.Redeem(t.Context(), spent, person("alice"), w.passkeyOf("alice"))); err != nil {
		t.Fatal(err)
	}
	words := func(secret string) string {
		_, err := w.Check(t.Context(), secret, mallory)
		var e *enroll.Error
		if !errors.As(err, &e) {
			t.Fatalf("%q: %v", secret, err)
		}
		return e.Public
	}
	want := words(strings.Repeat("0", 52))
	if want == "" {
		t.Error("no words for the person")
	}
	for _, secret := range []string{open, secretOfRevoked, spent, "", "x", open + "0", open[1:], strings.ToUpper(open), open[:51] + "\n", open + "\n"} {
		if got := words(secret); got != want {
			t.Errorf("%q: %q", secret, got)
		}
	}
	w.now = w.now.Add(30 * 24 * time.Hour)
	if got := words(open); got != want {
		t.Errorf("expired: %q", got)
	}
}

// One ticket has one spelling: the last character of a secret has unused bits,
// and decoders skip line ends.
func TestSecretHasOneSpelling(t *testing.T) {
	w := newHarness(t)
	_, secret := w.mint("alice")
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	for _, c := range alphabet {
		other := secret[:51] + string(c)
		_, err := w.Check(t.Context(), other, person("alice"))
		if (err == nil) != (other == secret) {
			t.Errorf("last character %c: %v", c, err)
		}
	}
	for _, other := range []string{strings.ToUpper(secret), secret[:20] + "\n" + secret[20:], secret + "=", " " + secret} {
		if _, err := w.Check(t.Context(), other, person("alice")); !errors.Is(err, enroll.ErrUnknown) {
			t.Errorf("%q: %v", other, err)
		}
	}
}

// When the store fails the desk says so, and both or neither have happened.
func TestStoreDown(t *testing.T) {
	for _, fault := range []authntest.Fault{authntest.NotStored, authntest.Stored} {
		w := newHarness(t)
		ticket, secret := w.mint("alice")
		r := w.passkeyOf("alice")
		w.store.FailNext("RedeemTicket", fault)
		err := w.Redeem(t.Context(), secret, person("alice"), r)
		var refusal *enroll.Error
		if !errors.Is(err, authntest.ErrFault) || errors.As(err, &refusal) {
			t.Errorf("redeem: %v", err)
		}
		tickets, err := w.List(t.Context(), person("alice").Email)
		if err != nil {
			t.Fatal(err)
		}
		if spent := tickets[0].State(w.now) == enroll.Redeemed; spent != (w.passkeys("alice") == 1) {
			t.Errorf("spent %t, %d passkeys", spent, w.passkeys("alice"))
		}
		w.store.Fail(fault)
		_, _, mintErr := w.Mint(t.Context(), enroll.MintRequest{Email: "a@b.c", By: "root"})
		_, checkErr := w.Check(t.Context(), secret, person("alice"))
		_, listErr := w.List(t.Context(), "")
		for _, err := range []error{mintErr, checkErr, listErr, w.Revoke(t.Context(), ticket.ID)} {
			if err == nil || errors.As(err, &refusal) && fault == authntest.NotStored {
				t.Errorf("got %v", err)
			}
		}
	}
}

func TestZeroStateIsNotOpen(t *testing.T) {
	var s enroll.State
	if s == enroll.Open || (enroll.Ticket{}).State(time.Now()) == enroll.Open {
		t.Error("the zero value is open")
	}
	for s, want := range map[enroll.State]string{enroll.Open: "open", enroll.Redeemed: "redeemed", enroll.Revoked: "revoked", enroll.Expired: "expired"} {
		if s.String() != want {
			t.Errorf("%d is %q", s, s)
		}
	}
}
