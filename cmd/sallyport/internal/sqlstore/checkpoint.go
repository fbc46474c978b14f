package sqlstore

import (
	"context"
	"errors"

	"sallyport/authn"
	"sallyport/proxy/audit"
)

var _ audit.Anchor = (*DB)(nil)

// LastCheckpoint implements [audit.Anchor].
func (d *DB) LastCheckpoint(ctx context.Context) (note []byte, err error) {
	err = found(d.read.QueryRowContext(ctx, `select note from audit_checkpoint where id = 1`).Scan(&note))
	if errors.Is(err, authn.ErrNotFound) {
		return nil, nil
	}
	return note, d.wrap("read audit checkpoint", err)
}

// KeepCheckpoint implements [audit.Anchor].
func (d *DB) KeepCheckpoint(ctx context.Context, note []byte) error {
	return d.update(ctx, "keep audit checkpoint", func(tx tx) error {
		return tx.put(`insert into audit_checkpoint (id, note) values (1, $1) on conflict (id) do update set note = excluded.note`, blob(note))
	})
}

// ForgetCheckpoint takes the checkpoint away, so that the next start accepts the log as
// it is; authn.ErrNotFound if there is none.
func (d *DB) ForgetCheckpoint(ctx context.Context) error {
	return d.update(ctx, "forget audit checkpoint", func(tx tx) error {
		return tx.one(`delete from audit_checkpoint where id = 1`)
	})
}
