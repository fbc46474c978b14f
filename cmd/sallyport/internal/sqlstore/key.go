package sqlstore

import (
	"context"
	"errors"

	"sallyport/authn"
)

const keysByUse = `select id, key_use, secret, created_at from key_ring where key_use = $1 order by seq desc`

func scanKey(row scanner) (k authn.Key, err error) {
	err = row.Scan(&k.ID, &k.Use, &k.Secret, timeCol{&k.CreatedAt})
	return k, err
}

// Keys implements [authn.KeyStore].
func (d *DB) Keys(ctx context.Context, use string) ([]authn.Key, error) {
	rows, err := d.read.QueryContext(ctx, keysByUse, use)
	ks, err := all(rows, err, scanKey)
	return ks, d.wrap("read keys", err)
}

// AddFirstKey implements [authn.KeyStore].
func (d *DB) AddFirstKey(ctx context.Context, k authn.Key) (first authn.Key, err error) {
	err = d.update(ctx, "add first key", func(tx tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, `select count(*) from key_ring where key_use = $1`, k.Use).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			// Two processes that both counted none both write number 1; the
			// second one to do so writes nothing and reads the first one's.
			if _, err := tx.exec(`insert into key_ring (key_use, seq, id, secret, created_at) values ($1, 1, $2, $3, $4)
				on conflict (key_use, seq) do nothing`, k.Use, k.ID, blob(k.Secret), micros(k.CreatedAt)); err != nil {
				return err
			}
		}
		first, err = scanKey(tx.QueryRowContext(ctx, keysByUse+` limit 1`, k.Use))
		return err
	})
	if err != nil {
		return authn.Key{}, err
	}
	return first, nil
}

// AddKey implements [authn.KeyStore]. The newest key is the one added last, even if the
// clocks of the writers differ.
func (d *DB) AddKey(ctx context.Context, k authn.Key, keep int) error {
	return d.update(ctx, "add key", func(tx tx) error {
		if keep < 1 {
			return errors.New("a ring that keeps no key would drop the new one")
		}
		var newest int64
		if err := tx.QueryRowContext(ctx, `select coalesce(max(seq), 0) from key_ring where key_use = $1`, k.Use).Scan(&newest); err != nil {
			return err
		}
		if err := tx.put(`insert into key_ring (key_use, seq, id, secret, created_at) values ($1, $2, $3, $4, $5)`,
			k.Use, newest+1, k.ID, blob(k.Secret), micros(k.CreatedAt)); err != nil {
			return err
		}
		_, err := tx.exec(`delete from key_ring where key_use = $1 and seq <= $2`, k.Use, newest+1-int64(keep))
		return err
	})
}
