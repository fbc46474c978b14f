package sqlstore

import (
	"context"
	"errors"

	"sallyport/proxy/rollout"
)

// AddDataRequest stores r and returns its number.
func (d *DB) AddDataRequest(ctx context.Context, r rollout.DataRequest) (seq int64, err error) {
	sources, err := jsonText(r.Sources)
	if err != nil {
		return 0, d.wrap("ask for IP data", err)
	}
	err = d.update(ctx, "ask for IP data", func(tx tx) error {
		if r.At.IsZero() {
			return errors.New("a request needs its time")
		}
		if _, err := tx.exec(`delete from data_requests where at < $1`, micros(r.At.Add(-requestsKept))); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `update data_counter set last = last + 1 where id = 1 returning last`).Scan(&seq); err != nil {
			return err
		}
		return tx.put(`insert into data_requests (seq, at, operator, forced, sources, answer) values ($1, $2, $3, $4, $5, '')`,
			seq, micros(r.At), r.By, truth(r.Forced), sources)
	})
	return seq, err
}

// DataRequests returns those with a higher number, oldest first.
func (d *DB) DataRequests(ctx context.Context, after int64) ([]rollout.DataRequest, error) {
	rows, err := d.read.QueryContext(ctx, `select seq, at, operator, forced, sources from data_requests where seq > $1 order by seq`, after)
	list, err := all(rows, err, func(row scanner) (r rollout.DataRequest, err error) {
		err = row.Scan(&r.Seq, timeCol{&r.At}, &r.By, &r.Forced, jsonCol{&r.Sources})
		return r, err
	})
	return list, d.wrap("read requests about IP data", err)
}

// AnswerDataRequest says what came of a request. The first answer stays.
func (d *DB) AnswerDataRequest(ctx context.Context, seq int64, answer string) error {
	return d.update(ctx, "answer a request about IP data", func(tx tx) error {
		_, err := tx.exec(`update data_requests set answer = $2 where seq = $1 and answer = ''`, seq, answer)
		return err
	})
}

// DataAnswer returns the answer, "" while there is none. authn.ErrNotFound: there is no
// such request.
func (d *DB) DataAnswer(ctx context.Context, seq int64) (answer string, err error) {
	err = d.read.QueryRowContext(ctx, `select answer from data_requests where seq = $1`, seq).Scan(&answer)
	return answer, d.wrap("read an answer about IP data", found(err))
}

// WithdrawDataRequest takes back a request that has no answer yet; authn.ErrNotFound if
// it has one.
func (d *DB) WithdrawDataRequest(ctx context.Context, seq int64) error {
	return d.update(ctx, "withdraw a request about IP data", func(tx tx) error {
		return tx.one(`delete from data_requests where seq = $1 and answer = ''`, seq)
	})
}

// PutDataBaseline stores b in place of the one with its key.
func (d *DB) PutDataBaseline(ctx context.Context, b rollout.Baseline) error {
	return d.update(ctx, "put a baseline of IP data", func(tx tx) error {
		_, err := tx.exec(`insert into data_baselines (source, setting, at, operator, sha256, figures) values ($1, $2, $3, $4, $5, $6)
			on conflict (source, setting) do update set at = excluded.at, operator = excluded.operator, sha256 = excluded.sha256, figures = excluded.figures`,
			b.Source, b.Setting, micros(b.At), b.By, b.SHA256, b.Figures)
		return err
	})
}

// DataBaselines returns all, of former settings too.
func (d *DB) DataBaselines(ctx context.Context) ([]rollout.Baseline, error) {
	rows, err := d.read.QueryContext(ctx, `select source, setting, at, operator, sha256, figures from data_baselines order by source, setting`)
	list, err := all(rows, err, func(row scanner) (b rollout.Baseline, err error) {
		err = row.Scan(&b.Source, &b.Setting, timeCol{&b.At}, &b.By, &b.SHA256, &b.Figures)
		return b, err
	})
	return list, d.wrap("read baselines of IP data", err)
}
