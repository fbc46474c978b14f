package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sallyport/authn"
)

// tx is one write transaction. SQLite takes the write lock when it begins, so that
// everything read inside still holds when it commits.
type tx struct {
	ctx context.Context
	*sql.Tx
}

// update runs f in a write transaction. What f found out counts only if update
// returns nil: until the commit, nothing that f did or took is durable.
func (d *DB) update(ctx context.Context, doing string, f func(tx) error) error {
	t, err := begin(ctx, d.write, patience)
	if err != nil {
		return d.wrap(doing, err)
	}
	if err := f(tx{ctx, t}); err != nil {
		if rerr := t.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
			err = errors.Join(err, rerr)
		}
		return d.wrap(doing, err)
	}
	return d.wrap(doing, t.Commit())
}

// exec runs a statement and returns how many rows it hit.
func (t tx) exec(query string, args ...any) (int64, error) {
	res, err := t.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// one runs a statement that hits the row that its condition describes, or says
// authn.ErrNotFound. More than one row is a broken key, and an error.
func (t tx) one(query string, args ...any) error {
	switch n, err := t.exec(query, args...); {
	case err != nil:
		return err
	case n == 0:
		return authn.ErrNotFound
	case n > 1:
		return fmt.Errorf("%d rows hit instead of one", n)
	}
	return nil
}

// put runs a statement that must write exactly one row: a statement that writes none is
// an error, and never "not found".
func (t tx) put(query string, args ...any) error {
	switch n, err := t.exec(query, args...); {
	case err != nil:
		return err
	case n != 1:
		return fmt.Errorf("%d rows written instead of one", n)
	}
	return nil
}

// found turns the absence of a row into authn.ErrNotFound.
func found(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return authn.ErrNotFound
	}
	return err
}

// all collects the rows of a query.
func all[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// scanner is a sql.Row or sql.Rows.
type scanner interface{ Scan(dest ...any) error }

func scanString(row scanner) (s string, err error) {
	err = row.Scan(&s)
	return s, err
}

// micro is t as it comes back from a column.
func micro(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()).UTC() }

// micros is a time.Time as a column that is never null.
func micros(t time.Time) int64 { return t.UnixMicro() }

// optional is a time.Time as a column: null if it is zero.
func optional(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

// timeCol scans a column of either kind into a time.Time.
type timeCol struct{ to *time.Time }

func (c timeCol) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*c.to = time.Time{}
	case int64:
		*c.to = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("a time is stored as %T", v)
	}
	return nil
}

// jsonText is a value as a column of JSON text.
func jsonText(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// jsonCol scans a column of JSON text.
type jsonCol struct{ to any }

func (c jsonCol) Scan(v any) error {
	switch v := v.(type) {
	case string:
		return json.Unmarshal([]byte(v), c.to)
	case []byte:
		return json.Unmarshal(v, c.to)
	default:
		return fmt.Errorf("JSON is stored as %T", v)
	}
}

// listText is a list as JSON; an empty one and an absent one are the same.
func listText(l []string) (string, error) {
	if len(l) == 0 {
		return "[]", nil
	}
	return jsonText(l)
}

// listCol scans what listText wrote; most lists that are looked at often are
// short, an empty one costs nothing.
type listCol struct{ to *[]string }

func (c listCol) Scan(v any) error {
	if s, ok := v.(string); ok && s == "[]" {
		*c.to = nil
		return nil
	}
	return jsonCol{c.to}.Scan(v)
}

// blob is nil for an empty value, so that both read back as nil.
func blob(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}
