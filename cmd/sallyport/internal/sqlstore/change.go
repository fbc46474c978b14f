package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// sessionChanges is one statement, and so one snapshot: the number never
// belongs to a later moment than the rows. With nothing new it reads one row.
const sessionChanges = `select c.last, c.trimmed, s.session_id
	from change_counter c left join session_changes s on s.seq > $1
	where c.id = 1 order by s.seq`

// SessionChanges implements [session.Store].
//
// A reader whose `after` is older than the log, or newer than anything in it (the
// database was restored from a backup), has missed changes that are no longer known. It
// gets an error, never an empty answer, and must clear its cache before it starts again
// from 0.
func (d *DB) SessionChanges(ctx context.Context, after int64) (ids []string, last int64, err error) {
	var trimmed int64
	rows, err := d.change.QueryContext(ctx, after)
	ids, err = all(rows, err, func(row scanner) (string, error) {
		var id sql.NullString
		err := row.Scan(&last, &trimmed, &id)
		return id.String, err
	})
	if err != nil {
		return nil, 0, d.wrap("read changes", err)
	}
	if after != 0 && (after < trimmed || after > last) {
		return nil, last, d.wrap("read changes", fmt.Errorf("the log spans %d to %d: changes after %d are lost", trimmed, last, after))
	}
	seen := make(map[string]bool, len(ids))
	ids = slices.DeleteFunc(ids, func(id string) bool {
		dup := id == "" || seen[id] // "": the row of a log with nothing new
		seen[id] = true
		return dup
	})
	return ids, last, nil
}

// noteChanges adds to the change log, in the transaction that makes the change.
// It is the last thing that a transaction does: the counter's row is what
// transactions of different processes wait for one another on.
func (t tx) noteChanges(ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	var last int64
	if err := t.QueryRowContext(t.ctx, `update change_counter set last = last + $1 where id = 1 returning last`,
		len(ids)).Scan(&last); err != nil {
		return fmt.Errorf("number a change: %w", err) // sql.ErrNoRows too: without its row, no change may pass unnoticed
	}
	stmt, err := t.PrepareContext(t.ctx, `insert into session_changes (seq, session_id) values ($1, $2)`)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for i, id := range ids {
		if _, err := stmt.ExecContext(t.ctx, last-int64(len(ids)-1-i), id); err != nil {
			return err
		}
	}
	return nil
}

// purgeBatch bounds how long a purge keeps other writers waiting.
const purgeBatch = 1000

// PurgeSessions implements [session.Store]. Its deletions are noted in the change log
// like any other end of a session. Expired one-time records are deleted too: any client
// can make them by starting to sign in, so they must be removed reliably.
func (d *DB) PurgeSessions(ctx context.Context, expiredBefore, seenBefore time.Time) (n int, err error) {
	// Trimmed first, so that what this purge notes is still there to be read.
	if err := d.trimChanges(ctx); err != nil {
		return 0, err
	}
	if _, err := d.PurgeOnce(ctx, expiredBefore); err != nil {
		return 0, err
	}
	for {
		batch, err := d.purgeSessions(ctx, micros(expiredBefore), micros(seenBefore))
		n += batch
		if err != nil || batch == 0 {
			return n, err
		}
	}
}

func (d *DB) purgeSessions(ctx context.Context, expired, seen int64) (int, error) {
	const dead = `(expires_at < $1 or last_seen_at < $2)`
	rows, err := d.read.QueryContext(ctx, `select id from sessions where `+dead+` limit $3`, expired, seen, purgeBatch)
	ids, err := all(rows, err, scanString)
	if err != nil || len(ids) == 0 {
		return 0, d.wrap("purge sessions", err)
	}
	gone := ids[:0]
	err = d.update(ctx, "purge sessions", func(tx tx) error {
		for _, id := range ids {
			// Looked at again: it may have been touched since.
			k, err := tx.exec(`delete from sessions where id = $3 and `+dead, expired, seen, id)
			if err != nil {
				return err
			}
			if k > 0 {
				gone = append(gone, id)
			}
		}
		return tx.noteChanges(gone...)
	})
	if err != nil {
		return 0, err
	}
	return len(gone), nil
}

func (d *DB) trimChanges(ctx context.Context) error {
	return d.update(ctx, "trim changes", func(tx tx) error {
		n, err := tx.exec(`update change_counter set trimmed = last - $1 where id = 1 and trimmed < last - $1`, d.changesKept)
		if err != nil || n == 0 {
			return err
		}
		_, err = tx.exec(`delete from session_changes where seq <= (select trimmed from change_counter where id = 1)`)
		return err
	})
}
