package sqlstore

import (
	"context"

	"sallyport/policy/behavior"
)

const eventColumns = `subject_issuer, subject_id, at, kind, host, site, device, session_id`

func (t tx) insertEvents(list []behavior.Event, seq *int64) error {
	for _, e := range list {
		*seq++
		if _, err := t.exec(`insert into behavior_events (seq, `+eventColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			*seq, e.Subject.Issuer, e.Subject.ID, micros(e.At), int64(e.Kind), int64(e.Host), int64(e.Site), e.Device, e.Session); err != nil {
			return err
		}
	}
	return nil
}

func scanEvent(row scanner) (e behavior.Event, err error) {
	var host, site int64
	err = row.Scan(&e.Subject.Issuer, &e.Subject.ID, timeCol{&e.At}, &e.Kind, &host, &site, &e.Device, &e.Session)
	e.Host, e.Site = uint64(host), uint64(site)
	return e, err
}

// joinDays notes hours in their days.
func (t tx) joinDays(list []behavior.Activity) error {
	for _, a := range list {
		if _, err := t.exec(`insert into behavior_days (subject_issuer, subject_id, day, hours) values ($1, $2, $3, $4)
			on conflict (subject_id, subject_issuer, day) do update set hours = behavior_days.hours | excluded.hours`,
			a.Subject.Issuer, a.Subject.ID, a.Hour/24, int64(1)<<(a.Hour%24)); err != nil {
			return err
		}
	}
	return nil
}

const dayColumns = `subject_issuer, subject_id, day, hours`

func scanDay(row scanner) (d behavior.Day, err error) {
	err = row.Scan(&d.Subject.Issuer, &d.Subject.ID, &d.Day, &d.Hours)
	return d, err
}

// BehaviorDays implements [behavior.Store].
func (d *DB) BehaviorDays(ctx context.Context, each func(behavior.Day) error) error {
	const doing = "read days"
	rows, err := d.read.QueryContext(ctx, `select `+dayColumns+` from behavior_days`)
	if err != nil {
		return d.wrap(doing, err)
	}
	defer rows.Close()
	for rows.Next() {
		day, err := scanDay(rows)
		if err == nil {
			err = each(day)
		}
		if err != nil {
			return d.wrap(doing, err)
		}
	}
	return d.wrap(doing, rows.Err())
}

// forgetEvents deletes enrolments, and days, of more than 30 days ago, and step-ups of
// more than two.
func (d *DB) forgetEvents(ctx context.Context, l behavior.Limits) (bool, error) {
	var events, days int64
	err := d.update(ctx, "forget passkey events", func(tx tx) (err error) {
		events, err = tx.exec(`delete from behavior_events where seq in
			(select seq from behavior_events where at < $1 or at < $2 and kind <> 1 limit $3)`, micros(l.Hosts), micros(l.Condense), purgeBatch)
		if err != nil {
			return err
		}
		days, err = tx.exec(`delete from behavior_days where (subject_issuer, subject_id, day) in
			(select subject_issuer, subject_id, day from behavior_days where day < $1 limit $2)`, l.Hosts.Unix()/86400-1, purgeBatch)
		return err
	})
	return events == purgeBatch || days == purgeBatch, err
}
