package sqlstore

import (
	"context"
	"time"

	"sallyport/authn"
)

// KnownAddress is an e-mail address that a person was seen under.
type KnownAddress struct {
	Subject   authn.Subject
	Email     authn.Email
	FirstSeen time.Time
	LastSeen  time.Time
}

// noteAddress remembers that a person was seen under an address. It is kept when the
// session and the ticket are gone.
func (t tx) noteAddress(s authn.Subject, email authn.Email, at time.Time) error {
	if email == "" {
		return nil
	}
	_, err := t.exec(`insert into known_addresses (subject_issuer, subject_id, email, first_at, last_at) values ($1, $2, $3, $4, $4)
		on conflict (subject_issuer, subject_id, email) do update set last_at = excluded.last_at where excluded.last_at > known_addresses.last_at`,
		s.Issuer, s.ID, string(email), micros(at))
	return err
}

// KnownAddresses returns all addresses of all people, of each person the newest first.
func (d *DB) KnownAddresses(ctx context.Context) ([]KnownAddress, error) {
	rows, err := d.read.QueryContext(ctx, `select subject_issuer, subject_id, email, first_at, last_at from known_addresses
		order by subject_issuer, subject_id, last_at desc, first_at desc, email`)
	list, err := all(rows, err, func(row scanner) (a KnownAddress, err error) {
		err = row.Scan(&a.Subject.Issuer, &a.Subject.ID, &a.Email, timeCol{&a.FirstSeen}, timeCol{&a.LastSeen})
		return a, err
	})
	return list, d.wrap("read known addresses", err)
}
