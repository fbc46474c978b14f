package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
)

const ticketColumns = `id, email, note, created_by, created_at, expires_at, redeemed_at, redeemed_issuer, redeemed_id, revoked_at, new_account`

// isOpen is the state in which a ticket can be redeemed or revoked; the time in
// question is the first placeholder of each statement that uses it.
const isOpen = `redeemed_at is null and revoked_at is null and expires_at > $1`

func scanTicket(row scanner) (t enroll.Ticket, err error) {
	var issuer, id sql.NullString
	err = row.Scan(&t.ID, &t.Email, &t.Note, &t.CreatedBy, timeCol{&t.CreatedAt}, timeCol{&t.ExpiresAt},
		timeCol{&t.RedeemedAt}, &issuer, &id, timeCol{&t.RevokedAt}, &t.NewAccount)
	t.RedeemedBy = authn.Subject{Issuer: issuer.String, ID: id.String}
	return t, err
}

// CreateTicket implements [enroll.Store].
func (d *DB) CreateTicket(ctx context.Context, t enroll.Ticket, digest enroll.Digest) error {
	return d.update(ctx, "create ticket", func(tx tx) error {
		if digest == (enroll.Digest{}) {
			return errors.New("a ticket needs a digest")
		}
		if !t.RedeemedAt.IsZero() || !t.RevokedAt.IsZero() {
			return errors.New("a new ticket cannot be spent")
		}
		return tx.put(`insert into tickets (id, digest, email, note, created_by, created_at, expires_at, new_account)
			values ($1, $2, $3, $4, $5, $6, $7, $8)`,
			t.ID, digest[:], string(t.Email), t.Note, t.CreatedBy, micros(t.CreatedAt), micros(t.ExpiresAt), number(t.NewAccount))
	})
}

// TicketByDigest implements [enroll.Store].
func (d *DB) TicketByDigest(ctx context.Context, digest enroll.Digest) (enroll.Ticket, error) {
	t, err := scanTicket(d.read.QueryRowContext(ctx, `select `+ticketColumns+` from tickets where digest = $1`, digest[:]))
	if err != nil {
		return enroll.Ticket{}, d.wrap("read ticket", found(err))
	}
	return t, nil
}

// RedeemTicket implements [enroll.Store].
func (d *DB) RedeemTicket(ctx context.Context, digest enroll.Digest, email authn.Email, at time.Time, c passkey.Record) error {
	return d.update(ctx, "redeem ticket", func(tx tx) error {
		if err := tx.one(`update tickets set redeemed_at = $1, redeemed_issuer = $4, redeemed_id = $5
			where digest = $2 and email = $3 and `+isOpen,
			micros(at), digest[:], string(email), c.Subject.Issuer, c.Subject.ID); err != nil {
			return err
		}
		if err := tx.insertCredential(c); err != nil {
			return err
		}
		if err := tx.noteAddress(c.Subject, email, at); err != nil {
			return err
		}
		var newAccount bool
		if err := tx.QueryRowContext(ctx, `select new_account from tickets where digest = $1`, digest[:]).Scan(&newAccount); err != nil || newAccount {
			return err
		}
		other, err := otherAccount(ctx, tx, email, c.Subject)
		if err == nil && other {
			err = enroll.ErrOtherAccount
		}
		return err
	})
}

// OtherAccount implements [enroll.Store].
func (d *DB) OtherAccount(ctx context.Context, email authn.Email, s authn.Subject) (bool, error) {
	other, err := otherAccount(ctx, d.read, email, s)
	return other, d.wrap("look up who enrolled", err)
}

func otherAccount(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, email authn.Email, s authn.Subject) (bool, error) {
	var n int
	err := q.QueryRowContext(ctx, `select count(*) from tickets t
		join credentials c on c.subject_issuer = t.redeemed_issuer and c.subject_id = t.redeemed_id
		where t.email = $1 and t.redeemed_at is not null and not (t.redeemed_issuer = $2 and t.redeemed_id = $3)`,
		string(email), s.Issuer, s.ID).Scan(&n)
	return n > 0, err
}

// ListTickets implements [enroll.Store].
func (d *DB) ListTickets(ctx context.Context, email authn.Email) ([]enroll.Ticket, error) {
	rows, err := d.read.QueryContext(ctx, `select `+ticketColumns+` from tickets
		where $1 = '' or email = $1 order by created_at desc, id`, string(email))
	ts, err := all(rows, err, scanTicket)
	return ts, d.wrap("list tickets", err)
}

// RevokeTicket implements [enroll.Store].
func (d *DB) RevokeTicket(ctx context.Context, id string, at time.Time) error {
	return d.update(ctx, "revoke ticket", func(tx tx) error {
		return tx.one(`update tickets set revoked_at = $1 where id = $2 and `+isOpen, micros(at), id)
	})
}
