package sqlstore

import (
	"context"
	"errors"
	"time"

	"sallyport/authn"
)

// Put implements session.Once and its like. A key that is there already is an
// error, whatever its state: what can be put twice can be taken twice.
func (d *DB) Put(ctx context.Context, purpose string, key [32]byte, payload []byte, expires time.Time) error {
	return d.update(ctx, "put "+purpose, func(tx tx) error {
		if key == [32]byte{} || expires.IsZero() {
			return errors.New("a one-time record needs a key and an end")
		}
		return tx.put(`insert into once_records (purpose, key, payload, expires_at) values ($1, $2, $3, $4)`,
			purpose, key[:], blob(payload), micros(expires))
	})
}

// Take implements session.Once and its like. An expired record is removed as
// well: a process whose clock runs behind cannot take it later.
//
// It is one statement in a transaction of its own, because SQLite hands out the
// row before it commits: a payload returned on the row alone could, if that
// commit fails, be taken again.
func (d *DB) Take(ctx context.Context, purpose string, key [32]byte, now time.Time) (payload []byte, err error) {
	var expires time.Time
	err = d.update(ctx, "take "+purpose, func(tx tx) error {
		return found(tx.QueryRowContext(ctx, `delete from once_records where purpose = $1 and key = $2 returning payload, expires_at`,
			purpose, key[:]).Scan(&payload, timeCol{&expires}))
	})
	if err == nil && micros(expires) <= micros(now) {
		err = d.wrap("take "+purpose, authn.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return payload, nil
}

// PurgeOnce deletes one-time records that expired before the given time.
func (d *DB) PurgeOnce(ctx context.Context, expiredBefore time.Time) (n int, err error) {
	err = d.update(ctx, "purge one-time records", func(tx tx) error {
		k, err := tx.exec(`delete from once_records where expires_at < $1`, micros(expiredBefore))
		n = int(k)
		return err
	})
	return n, err
}
