package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"sallyport/authn"
	"sallyport/policy/behavior"
)

// joined ends an insert into behavior_places: it joins what is there already. What it
// follows groups by every column of the key, so that no row is hit twice. A site follows
// from its host, and is 0 only in older rows.
const joined = `
	on conflict (subject_id, subject_issuer, address, host, network, country, asn, is_ipv6, flagged, device) do update set
	site = case when excluded.site > behavior_places.site then excluded.site else behavior_places.site end,
	first_at = case when excluded.first_at < behavior_places.first_at then excluded.first_at else behavior_places.first_at end,
	last_at = case when excluded.last_at > behavior_places.last_at then excluded.last_at else behavior_places.last_at end`

// TidyBehavior implements [behavior.Store]. It works in short transactions, since
// sign-ins wait for them. Two processes that do so at once do the same twice.
func (d *DB) TidyBehavior(ctx context.Context, l behavior.Limits) error {
	const doing = "tidy behaviour"
	for _, step := range []func(context.Context, behavior.Limits) (more bool, err error){d.hideSightings, d.condense, d.tidyPlaces, d.forgetHours, d.forgetEvents} {
		for more := true; more; {
			var err error
			if more, err = step(ctx, l); err != nil {
				return d.wrap(doing, err)
			}
		}
	}
	return nil
}

// forgetHours deletes the activity of past hours: an hour after they began. After a day
// without a proxy that is a day's worth of all people.
func (d *DB) forgetHours(ctx context.Context, l behavior.Limits) (bool, error) {
	var n int64
	err := d.update(ctx, "forget hours", func(tx tx) (err error) {
		n, err = tx.exec(`delete from behavior_activity where seq in (select seq from behavior_activity where at_hour < $1 limit $2)`,
			l.Condense.Add(-time.Hour).Unix()/3600, purgeBatch)
		return err
	})
	return n == purgeBatch, err
}

// hideSightings takes the addresses out of sightings, where they live for less than
// those.
func (d *DB) hideSightings(ctx context.Context, l behavior.Limits) (bool, error) {
	var n int64
	err := d.update(ctx, "hide addresses", func(tx tx) (err error) {
		n, err = tx.exec(`update behavior_sightings set address = '' where seq in
			(select seq from behavior_sightings where address <> '' and at < $1 limit $2)`, micros(l.Addrs), purgeBatch)
		return err
	})
	return n == purgeBatch, err
}

// condense makes places of the oldest sightings: a batch of them, told by their time, for
// which there is an index (the + keeps SQLite from taking that of the numbers, and going
// through all of the younger ones each time). What another process adds meanwhile has a
// higher number, and stays.
func (d *DB) condense(ctx context.Context, l behavior.Limits) (more bool, err error) {
	const old = ` from behavior_sightings where at <= $1 and +seq <= $2`
	err = d.update(ctx, "condense", func(tx tx) error {
		upTo, cut := int64(0), micros(l.Condense)-1
		if err := tx.QueryRowContext(ctx, `select last from behavior_counter where id = 1`).Scan(&upTo); err != nil {
			return err
		}
		err := tx.QueryRowContext(ctx, `select at from behavior_sightings where at <= $1 order by at limit 1 offset $2`, cut, purgeBatch-1).Scan(&cut)
		if more = err == nil; err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if _, err := tx.exec(`insert into behavior_places (`+placeColumns+`, site, first_at, last_at)
			select `+placeColumns+`, max(site), min(first_at), max(at)`+old+` and allowed = 1 group by `+placeColumns+joined, cut, upTo); err != nil {
			return err
		}
		_, err = tx.exec(`delete`+old, cut, upTo)
		return err
	})
	return more, err
}

// tidyPeople is how many people's places one transaction tidies.
const tidyPeople = 200

// tidyPlaces forgets places, and their addresses. Places that differed in nothing else
// are then one.
func (d *DB) tidyPlaces(ctx context.Context, l behavior.Limits) (more bool, err error) {
	const due = `(last_at < $1 or last_at < $2 and address <> '' or last_at < $3 and host <> 0)`
	rows, err := d.read.QueryContext(ctx, `select distinct subject_issuer, subject_id from behavior_places where `+due+` limit $4`,
		micros(l.Forget), micros(l.Addrs), micros(l.Hosts), tidyPeople)
	people, err := all(rows, err, func(row scanner) (s authn.Subject, err error) {
		err = row.Scan(&s.Issuer, &s.ID)
		return s, err
	})
	if err != nil || len(people) == 0 {
		return false, err
	}
	err = d.update(ctx, "tidy places", func(tx tx) error {
		for _, s := range people {
			if err := tx.tidyPlacesOf(s, l); err != nil {
				return err
			}
		}
		return nil
	})
	return true, err
}

const (
	placesOf  = ` from behavior_places where subject_issuer = $1 and subject_id = $2 and last_at < $3`
	hasAddr   = placesOf + ` and address <> ''`
	hasHost   = placesOf + ` and host <> 0`
	remaining = `network, country, asn, is_ipv6, flagged, device`
	putPlaces = `insert into behavior_places (` + placeColumns + `, site, first_at, last_at) select subject_issuer, subject_id, `
)

func (t tx) tidyPlacesOf(s authn.Subject, l behavior.Limits) error {
	for _, step := range []struct {
		statement string
		before    time.Time
	}{
		{`delete` + placesOf, l.Forget},
		{putPlaces + `'', host, ` + remaining + `, max(site), min(first_at), max(last_at)` + hasAddr + ` group by subject_issuer, subject_id, host, ` + remaining + joined, l.Addrs},
		{`delete` + hasAddr, l.Addrs},
		{putPlaces + `address, 0, ` + remaining + `, 0, min(first_at), max(last_at)` + hasHost + ` group by subject_issuer, subject_id, address, ` + remaining + joined, l.Hosts},
		{`delete` + hasHost, l.Hosts},
	} {
		if _, err := t.exec(step.statement, s.Issuer, s.ID, micros(step.before)); err != nil {
			return err
		}
	}
	return nil
}
