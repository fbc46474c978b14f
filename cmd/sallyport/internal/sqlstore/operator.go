package sqlstore

import (
	"context"
	"errors"
	"time"
)

// OperatorEvent is one act of an operator with a shell on the server: a ticket made, a
// session revoked. The process that serves holds the audit log, so commands store their
// events here, before they act, and the server moves them over.
type OperatorEvent struct {
	Seq    int64 // given by the store, never twice
	At     time.Time
	By     string            // operating-system user
	Event  string            // such as "ticket_create"
	Detail map[string]string // never a secret
}

// AddOperatorEvent stores e as the newest event. Its Seq is ignored.
func (d *DB) AddOperatorEvent(ctx context.Context, e OperatorEvent) error {
	detail, err := jsonText(e.Detail)
	if err != nil {
		return d.wrap("add operator event", err)
	}
	return d.update(ctx, "add operator event", func(tx tx) error {
		if e.At.IsZero() {
			return errors.New("an operator event needs its time")
		}
		// Not the highest existing number plus one: if a number was deleted and assigned
		// again, a reader that had seen the first would delete the second unread.
		var seq int64
		if err := tx.QueryRowContext(ctx, `update operator_counter set last = last + 1 where id = 1 returning last`).Scan(&seq); err != nil {
			return err
		}
		return tx.put(`insert into operator_events (seq, at, operator, event, detail) values ($1, $2, $3, $4, $5)`,
			seq, micros(e.At), e.By, e.Event, detail)
	})
}

// OperatorEvents returns up to limit events, oldest first.
func (d *DB) OperatorEvents(ctx context.Context, limit int) ([]OperatorEvent, error) {
	rows, err := d.read.QueryContext(ctx, `select seq, at, operator, event, detail from operator_events order by seq limit $1`, limit)
	es, err := all(rows, err, func(row scanner) (e OperatorEvent, err error) {
		err = row.Scan(&e.Seq, timeCol{&e.At}, &e.By, &e.Event, jsonCol{&e.Detail})
		return e, err
	})
	return es, d.wrap("read operator events", err)
}

// DeleteOperatorEvents deletes the events up to and including upToSeq.
func (d *DB) DeleteOperatorEvents(ctx context.Context, upToSeq int64) error {
	return d.update(ctx, "delete operator events", func(tx tx) error {
		_, err := tx.exec(`delete from operator_events where seq <= $1`, upToSeq)
		return err
	})
}
