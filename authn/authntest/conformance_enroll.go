package authntest

import (
	"fmt"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
)

var ticketTests = []storeTest{
	{"a ticket comes back as it was stored", func(t *storeT) {
		ticket, d := t.ticket("t1")
		got, err := t.b.TicketByDigest(t.ctx, d)
		t.ok(err)
		t.equal(got, cloneTicket(ticket))
		_, err = t.b.TicketByDigest(t.ctx, digest("guess"))
		t.is(err, authn.ErrNotFound)
	}},
	{"a ticket that names no person, or exists, is refused", func(t *storeT) {
		ticket, d := t.ticket("t1")
		t.refused(t.a.CreateTicket(t.ctx, ticket, digest("other")))
		other, _ := sampleTicket("t2")
		t.refused(t.a.CreateTicket(t.ctx, other, d))
		t.refused(t.a.CreateTicket(t.ctx, other, enroll.Digest{}))
		other.Email = ""
		t.refused(t.a.CreateTicket(t.ctx, other, digest("other")))
		ts, err := t.a.ListTickets(t.ctx, "")
		t.ok(err)
		t.equal(len(ts), 1)
	}},
	{"redeeming spends the ticket and stores the credential", func(t *storeT) {
		ticket, d := t.ticket("t1")
		at := epoch.Add(time.Minute)
		t.ok(t.a.RedeemTicket(t.ctx, d, ticket.Email, at, sampleCredential("c1", subject("alice"))))
		got, err := t.b.TicketByDigest(t.ctx, d)
		t.ok(err)
		t.equal(got.RedeemedAt, micro(at))
		t.equal(got.RedeemedBy, subject("alice"))
		t.equal(len(t.credentials("alice")), 1)
		t.is(t.b.RedeemTicket(t.ctx, d, ticket.Email, at, sampleCredential("c2", subject("alice"))), authn.ErrNotFound)
		t.equal(len(t.credentials("alice")), 1)
	}},
	{"an address that was given to another person needs a ticket for a new account", testOtherAccount},
	{"a ticket that is not redeemable stores no credential", func(t *storeT) {
		ticket, d := t.ticket("t1")
		redeem := func(d enroll.Digest, email authn.Email, at time.Time) error {
			return t.a.RedeemTicket(t.ctx, d, email, at, sampleCredential("c1", subject("alice")))
		}
		t.is(redeem(digest("guess"), ticket.Email, epoch), authn.ErrNotFound)
		t.is(redeem(d, "bob@example.test", epoch), authn.ErrNotFound)
		t.is(redeem(d, "", epoch), authn.ErrNotFound)
		t.is(redeem(d, ticket.Email, ticket.ExpiresAt), authn.ErrNotFound)
		t.ok(t.a.RevokeTicket(t.ctx, "t1", epoch))
		t.is(redeem(d, ticket.Email, epoch), authn.ErrNotFound)
		t.equal(len(t.credentials("alice")), 0)
	}},
	{"a credential that cannot be stored leaves the ticket open", func(t *storeT) {
		ticket, d := t.ticket("t1")
		t.ok(t.a.AddCredential(t.ctx, sampleCredential("c1", subject("bob")), nil))
		t.refused(t.a.RedeemTicket(t.ctx, d, ticket.Email, epoch, sampleCredential("c1", subject("alice"))))
		t.refused(t.a.RedeemTicket(t.ctx, d, ticket.Email, epoch, sampleCredential("c2", authn.Subject{})))
		got, err := t.b.TicketByDigest(t.ctx, d)
		t.ok(err)
		t.equal(got, cloneTicket(ticket))
		t.equal(len(t.credentials("alice")), 0)
		t.ok(t.a.RedeemTicket(t.ctx, d, ticket.Email, epoch, sampleCredential("c2", subject("alice"))))
	}},
	{"of concurrent redemptions one wins", func(t *storeT) {
		ticket, d := t.ticket("t1")
		wins := t.race(8, func(i int, s Stores) error {
			return s.RedeemTicket(t.ctx, d, ticket.Email, epoch, sampleCredential(fmt.Sprint("c", i), subject("alice")))
		}, authn.ErrNotFound)
		t.equal(wins, 1)
		t.equal(len(t.credentials("alice")), 1)
	}},
	{"of a revocation and redemptions one wins", func(t *storeT) {
		ticket, d := t.ticket("t1")
		wins := t.race(4, func(i int, s Stores) error {
			if i == 1 {
				return s.RevokeTicket(t.ctx, "t1", epoch)
			}
			return s.RedeemTicket(t.ctx, d, ticket.Email, epoch, sampleCredential(fmt.Sprint("c", i), subject("alice")))
		}, authn.ErrNotFound)
		t.equal(wins, 1)
		got, err := t.b.TicketByDigest(t.ctx, d)
		t.ok(err)
		t.equal(got.RevokedAt.IsZero(), !got.RedeemedAt.IsZero())
		t.equal(len(t.credentials("alice")) == 1, got.RevokedAt.IsZero())
	}},
	{"only an open ticket is revoked", func(t *storeT) {
		ticket, d := t.ticket("t1")
		t.is(t.a.RevokeTicket(t.ctx, "t2", epoch), authn.ErrNotFound)
		t.is(t.a.RevokeTicket(t.ctx, "t1", ticket.ExpiresAt), authn.ErrNotFound)
		t.ok(t.a.RevokeTicket(t.ctx, "t1", epoch.Add(time.Minute)))
		t.is(t.b.RevokeTicket(t.ctx, "t1", epoch.Add(2*time.Minute)), authn.ErrNotFound)
		got, err := t.b.TicketByDigest(t.ctx, d)
		t.ok(err)
		t.equal(got.RevokedAt, micro(epoch.Add(time.Minute)))
	}},
	{"a list is newest first, of all or of one person", func(t *storeT) {
		var want []string
		for i, id := range t.names("t", 3) {
			ticket, d := sampleTicket(id)
			ticket.CreatedAt = epoch.Add(time.Duration(i) * time.Microsecond)
			if i == 1 {
				ticket.Email = "bob@example.test"
			}
			t.ok(t.a.CreateTicket(t.ctx, ticket, d))
			want = append([]string{id}, want...)
		}
		t.equal(t.tickets(""), want)
		t.equal(t.tickets("bob@example.test"), []string{"t-1"})
		t.equal(t.tickets("carol@example.test"), []string(nil))
	}},
}

func testOtherAccount(t *storeT) {
	other := func(id string) bool {
		t.Helper()
		other, err := t.b.OtherAccount(t.ctx, "alice@example.test", subject(id))
		t.ok(err)
		return other
	}
	redeem := func(id, who, credential string, newAccount bool) error {
		t.Helper()
		ticket, d := sampleTicket(id)
		ticket.NewAccount = newAccount
		t.ok(t.a.CreateTicket(t.ctx, ticket, d))
		got, err := t.b.TicketByDigest(t.ctx, d)
		t.ok(err)
		t.equal(got, cloneTicket(ticket))
		return t.a.RedeemTicket(t.ctx, d, ticket.Email, epoch, sampleCredential(credential, subject(who)))
	}
	t.equal(other("alice-2"), false)
	t.ok(redeem("t1", "alice", "c1", false))
	t.equal(other("alice"), false)
	t.equal(other("alice-2"), true)
	t.ok(redeem("t2", "alice", "c2", false)) // the same account, again

	t.is(redeem("t3", "alice-2", "c3", false), enroll.ErrOtherAccount)
	t.equal(len(t.credentials("alice-2")), 0)
	ticket, err := t.b.TicketByDigest(t.ctx, digest("ticket-t3"))
	t.ok(err)
	t.equal(ticket.RedeemedAt.IsZero(), true)

	t.ok(t.a.BlockCredential(t.ctx, subject("alice"), []byte("c1"), "left the company"))
	t.equal(other("alice-2"), true) // a block may be a mistake
	t.ok(redeem("t4", "alice-2", "c4", true))
	t.equal(len(t.credentials("alice-2")), 1)
	t.equal(other("alice"), true)
	for _, id := range []string{"c1", "c2"} {
		t.ok(t.a.BlockCredential(t.ctx, subject("alice"), []byte(id), "left the company"))
		t.ok(t.a.RemoveCredential(t.ctx, subject("alice"), []byte(id)))
	}
	t.equal(other("alice-2"), false) // the address is free again
}

func (t *storeT) ticket(id string) (enroll.Ticket, enroll.Digest) {
	t.Helper()
	ticket, d := sampleTicket(id)
	t.ok(t.a.CreateTicket(t.ctx, ticket, d))
	return ticket, d
}

func (t *storeT) tickets(email authn.Email) (ids []string) {
	t.Helper()
	ts, err := t.b.ListTickets(t.ctx, email)
	t.ok(err)
	for _, ticket := range ts {
		ids = append(ids, ticket.ID)
	}
	return ids
}
