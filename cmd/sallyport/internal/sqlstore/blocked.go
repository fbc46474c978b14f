package sqlstore

import (
	"context"
	"errors"
	"time"

	"sallyport/authn"
)

// BlockedPerson is a person who may not sign in. Sessions are matched by the address and by
// the subject, each where there is one.
type BlockedPerson struct {
	Email   authn.Email
	Subject authn.Subject
	Why     string
	By      string // operating-system user
	At      time.Time
}

// Covers reports whether the entry keeps out a person with an address and a subject, either
// of which may be empty. [blockedSession] asks the same of a session.
func (b BlockedPerson) Covers(email authn.Email, subject authn.Subject) bool {
	return b.Email != "" && b.Email == email || !b.Subject.IsZero() && b.Subject == subject
}

// blockedSession is a condition on a session s: its person is blocked.
const blockedSession = `exists (select 1 from blocked_people b where b.email <> '' and b.email = s.email
	or b.subject_id <> '' and b.subject_id = s.subject_id and b.subject_issuer = s.subject_issuer)`

// BlockPerson notes people as blocked and ends their sessions, in one transaction: none that
// is made at the same time is left. It returns the ids of what ended. An entry for the same
// address and subject is replaced.
func (d *DB) BlockPerson(ctx context.Context, people ...BlockedPerson) (ended []string, err error) {
	err = d.update(ctx, "block a person", func(tx tx) error {
		for _, p := range people {
			if p.Email == "" && p.Subject.IsZero() || p.At.IsZero() {
				return errors.New("a block needs an address or a subject, and its time")
			}
			if err := tx.put(`insert into blocked_people (email, subject_issuer, subject_id, why, blocked_by, blocked_at) values ($1, $2, $3, $4, $5, $6)
				on conflict (email, subject_issuer, subject_id) do update set why = excluded.why, blocked_by = excluded.blocked_by, blocked_at = excluded.blocked_at`,
				string(p.Email), p.Subject.Issuer, p.Subject.ID, p.Why, p.By, micros(p.At)); err != nil {
				return err
			}
		}
		ended, err = tx.deleteBlocked()
		return err
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

// deleteBlocked ends the sessions of people who are blocked.
func (t tx) deleteBlocked() ([]string, error) {
	return t.deleteSessions(` where id in (select s.id from sessions s where ` + blockedSession + `)`)
}

// UnblockPerson removes the entry with that address and subject, and no other:
// [authn.ErrNotFound] if there is none.
func (d *DB) UnblockPerson(ctx context.Context, b BlockedPerson) error {
	return d.update(ctx, "unblock a person", func(tx tx) error {
		return tx.one(`delete from blocked_people where email = $1 and subject_issuer = $2 and subject_id = $3`,
			string(b.Email), b.Subject.Issuer, b.Subject.ID)
	})
}

// BlockedPeople returns all who are blocked, the latest first.
func (d *DB) BlockedPeople(ctx context.Context) ([]BlockedPerson, error) {
	rows, err := d.read.QueryContext(ctx, `select email, subject_issuer, subject_id, why, blocked_by, blocked_at from blocked_people
		order by blocked_at desc, email, subject_issuer, subject_id`)
	list, err := all(rows, err, scanBlocked)
	return list, d.wrap("read blocked people", err)
}

func scanBlocked(row scanner) (b BlockedPerson, err error) {
	err = row.Scan(&b.Email, &b.Subject.Issuer, &b.Subject.ID, &b.Why, &b.By, timeCol{&b.At})
	return b, err
}

// refuseBlocked fails with [authn.ErrBlocked] if the person of a session is blocked.
func (t tx) refuseBlocked(id string) error {
	var blocked bool
	if err := t.QueryRowContext(t.ctx, `select `+blockedSession+` from sessions s where s.id = $1`, id).Scan(&blocked); err != nil {
		return err
	}
	if blocked {
		return authn.ErrBlocked
	}
	return nil
}
