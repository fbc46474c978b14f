package sqlstore

import (
	"context"
	"errors"
	"time"

	"sallyport/authn"
)

// Put implements session.Once and similar interfaces. An existing key is an error in any
// state: what can be put twice can be taken twice.
func (d *DB) Put(ctx context.Context, purpose string, key [32]byte, payload []byte, expires time.Time) error {
	return d.update(ctx, "put "+purpose, func(tx tx) error {
		if key == [32]byte{} || expires.IsZero() {
			return errors.New("a one-time record needs a key and an end")
		}
		return tx.put(`insert into once_records (purpose, key, payload, expires_at) values ($1, $2, $3, $4)`,
			purpose, key[:], blob(payload), micros(expires))
	})
}

// PutBounded implements signin.Once and passkey.Once. Records of one purpose have one
// lifetime, so that the first to end is the oldest.
func (d *DB) PutBounded(ctx context.Context, purpose string, key [32]byte, payload []byte, expires time.Time, b authn.Bound) error {
	return d.update(ctx, "put "+purpose, func(tx tx) error {
		if key == [32]byte{} || expires.IsZero() || b.Group == "" || b.Wide == "" || b.PerGroup < 1 || b.InAll < 1 {
			return errors.New("a bounded one-time record needs a key, an end and a bound")
		}
		if err := tx.put(`insert into once_records (purpose, key, payload, expires_at, maker, maker_wide) values ($1, $2, $3, $4, $5, $6)`,
			purpose, key[:], blob(payload), micros(expires), b.Group, b.Wide); err != nil {
			return err
		}
		n, err := tx.count(`select count(*) from once_records where purpose = $1 and maker = $2`, purpose, b.Group)
		if err != nil {
			return err
		}
		if n > b.PerGroup {
			if _, err := tx.exec(`delete from once_records where purpose = $1 and key in (
				select key from once_records where purpose = $1 and maker = $2 order by expires_at, key limit $3)`, purpose, b.Group, n-b.PerGroup); err != nil {
				return err
			}
		}
		if n, err = tx.count(`select count(*) from once_records where purpose = $1 and maker_wide <> ''`, purpose); err != nil || n <= b.InAll {
			return err
		}
		// A fiftieth more than must go: finding out who has most reads the whole index.
		_, err = tx.exec(`delete from once_records where purpose = $1 and key in (
			select key from once_records where purpose = $1 and maker_wide = (
				select maker_wide from once_records where purpose = $1 and maker_wide <> '' group by maker_wide order by count(*) desc, maker_wide limit 1)
			order by expires_at, key limit $2)`, purpose, n-b.InAll+b.InAll/50)
		return err
	})
}

func (t tx) count(query string, args ...any) (n int, err error) {
	err = t.QueryRowContext(t.ctx, query, args...).Scan(&n)
	return n, err
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
