package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"

	"sallyport/authn"
	"sallyport/policy/behavior"
)

const (
	placeColumns    = `subject_issuer, subject_id, address, host, network, country, asn, is_ipv6, flagged, device`
	sightingColumns = placeColumns + `, first_at, at, allowed, session_id, lat, lon, radius, site`
)

// AppendBehavior implements [behavior.Store]. Hours are taken in the order of their
// keys, so that two processes with the same people cannot deadlock.
func (d *DB) AppendBehavior(ctx context.Context, b behavior.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	hours := slices.Clone(b.Activity)
	slices.SortFunc(hours, func(a, b behavior.Activity) int {
		return cmp.Or(cmp.Compare(a.Subject.ID, b.Subject.ID), cmp.Compare(a.Subject.Issuer, b.Subject.Issuer), cmp.Compare(a.Hour, b.Hour))
	})
	return d.update(ctx, "write behaviour", func(tx tx) error {
		var seq int64
		if err := tx.QueryRowContext(ctx, `update behavior_counter set last = last + $1 where id = 1 returning last`, b.Len()).Scan(&seq); err != nil {
			return fmt.Errorf("number a sighting: %w", err)
		}
		seq -= int64(b.Len())
		if err := tx.insertSightings(b.Sightings, &seq); err != nil {
			return err
		}
		if err := tx.joinHours(hours, &seq); err != nil {
			return err
		}
		if err := tx.joinDays(hours); err != nil {
			return err
		}
		return tx.insertEvents(b.Events, &seq)
	})
}

func (t tx) insertSightings(list []behavior.Sighting, seq *int64) error {
	stmt, err := t.PrepareContext(t.ctx, `insert into behavior_sightings (seq, `+sightingColumns+`)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)`)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for i := range list {
		s := &list[i]
		var lat, lon, radius sql.NullInt64
		if s.Point.Known {
			lat = sql.NullInt64{Int64: int64(math.Round(s.Point.Lat * 1e4)), Valid: true}
			lon = sql.NullInt64{Int64: int64(math.Round(s.Point.Lon * 1e4)), Valid: true}
			radius = sql.NullInt64{Int64: int64(s.Point.RadiusKm), Valid: true}
		}
		*seq++
		if _, err := stmt.ExecContext(t.ctx, *seq, s.Subject.Issuer, s.Subject.ID, addrText(s.Addr), int64(s.Host), int64(s.Network), s.Country,
			int64(s.ASN), truth(s.Six), truth(s.Flagged), s.Device, micros(s.First), micros(s.At), truth(s.Allowed), s.Session, lat, lon, radius, int64(s.Site)); err != nil {
			return err
		}
	}
	return nil
}

func (t tx) joinHours(list []behavior.Activity, seq *int64) error {
	stmt, err := t.PrepareContext(t.ctx, `insert into behavior_activity (subject_issuer, subject_id, at_hour, bits, seq) values ($1, $2, $3, $4, $5)
		on conflict (subject_id, subject_issuer, at_hour) do update set bits = behavior_activity.bits | excluded.bits, seq = excluded.seq`)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for _, a := range list {
		*seq++
		if _, err := stmt.ExecContext(t.ctx, a.Subject.Issuer, a.Subject.ID, a.Hour, int64(a.Bits), *seq); err != nil {
			return err
		}
	}
	return nil
}

// BehaviorSince implements [behavior.Store]. The counter is read first: what has a number
// up to that is committed, and visible to what is read after it.
func (d *DB) BehaviorSince(ctx context.Context, after int64, limit int) (b behavior.Batch, last int64, err error) {
	const doing = "read behaviour"
	if err := d.read.QueryRowContext(ctx, `select last from behavior_counter where id = 1`).Scan(&last); err != nil {
		return behavior.Batch{}, 0, d.wrap(doing, err)
	}
	if last <= after {
		return behavior.Batch{}, last, nil
	}
	// Where the page ends is looked up first, in the indexes: of sightings and hours that
	// were written in turns, each would else be read, in vain, as far as the other does
	// not reach.
	for _, table := range []string{"behavior_sightings", "behavior_activity", "behavior_events"} {
		err := d.read.QueryRowContext(ctx, `select seq from `+table+` where seq > $1 and seq <= $2 order by seq limit 1 offset $3`, after, last, limit-1).Scan(&last)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return behavior.Batch{}, 0, d.wrap(doing, err)
		}
	}
	rows, err := d.read.QueryContext(ctx, `select `+sightingColumns+` from behavior_sightings where seq > $1 and seq <= $2 order by seq`, after, last)
	if b.Sightings, err = all(rows, err, scanSighting); err != nil {
		return behavior.Batch{}, 0, d.wrap(doing, err)
	}
	rows, err = d.read.QueryContext(ctx, `select subject_issuer, subject_id, at_hour, bits from behavior_activity where seq > $1 and seq <= $2 order by seq`, after, last)
	if b.Activity, err = all(rows, err, scanActivity); err != nil {
		return behavior.Batch{}, 0, d.wrap(doing, err)
	}
	rows, err = d.read.QueryContext(ctx, `select `+eventColumns+` from behavior_events where seq > $1 and seq <= $2 order by seq`, after, last)
	if b.Events, err = all(rows, err, scanEvent); err != nil {
		return behavior.Batch{}, 0, d.wrap(doing, err)
	}
	return b, last, nil
}

func scanSighting(row scanner) (s behavior.Sighting, err error) {
	var lat, lon, radius sql.NullInt64
	var host, network, site int64
	err = row.Scan(&s.Subject.Issuer, &s.Subject.ID, addrCol{&s.Addr}, &host, &network, &s.Country, &s.ASN, &s.Six, &s.Flagged,
		&s.Device, timeCol{&s.First}, timeCol{&s.At}, &s.Allowed, &s.Session, &lat, &lon, &radius, &site)
	s.Host, s.Network, s.Site = uint64(host), uint64(network), uint64(site)
	if lat.Valid {
		s.Point = behavior.Point{Lat: float64(lat.Int64) / 1e4, Lon: float64(lon.Int64) / 1e4, RadiusKm: float64(radius.Int64), Known: true}
	}
	return s, err
}

func scanPlace(row scanner) (s behavior.Sighting, err error) {
	var host, network, site int64
	err = row.Scan(&s.Subject.Issuer, &s.Subject.ID, addrCol{&s.Addr}, &host, &network, &s.Country, &s.ASN, &s.Six, &s.Flagged,
		&s.Device, timeCol{&s.First}, timeCol{&s.At}, &site)
	s.Host, s.Network, s.Site, s.Allowed = uint64(host), uint64(network), uint64(site), true
	return s, err
}

func scanActivity(row scanner) (a behavior.Activity, err error) {
	err = row.Scan(&a.Subject.Issuer, &a.Subject.ID, &a.Hour, &a.Bits)
	return a, err
}

// BehaviorPlaces implements [behavior.Store]. There may be millions: they are not
// collected first.
func (d *DB) BehaviorPlaces(ctx context.Context, each func(behavior.Sighting) error) error {
	rows, err := d.read.QueryContext(ctx, `select `+placeColumns+`, first_at, last_at, site from behavior_places`)
	if err != nil {
		return d.wrap("read places", err)
	}
	defer rows.Close()
	for rows.Next() {
		s, err := scanPlace(rows)
		if err == nil {
			err = each(s)
		}
		if err != nil {
			return d.wrap("read places", err)
		}
	}
	return d.wrap("read places", rows.Err())
}

// BehaviorOf implements [behavior.Store]. Sightings are read first: a row that is
// condensed meanwhile is then found twice, and not missed.
func (d *DB) BehaviorOf(ctx context.Context, s authn.Subject) (b behavior.Batch, err error) {
	const doing, of = "read a person's behaviour", ` where subject_issuer = $1 and subject_id = $2`
	rows, err := d.read.QueryContext(ctx, `select `+sightingColumns+` from behavior_sightings`+of, s.Issuer, s.ID)
	if b.Sightings, err = all(rows, err, scanSighting); err != nil {
		return behavior.Batch{}, d.wrap(doing, err)
	}
	rows, err = d.read.QueryContext(ctx, `select `+placeColumns+`, first_at, last_at, site from behavior_places`+of, s.Issuer, s.ID)
	places, err := all(rows, err, scanPlace)
	if err != nil {
		return behavior.Batch{}, d.wrap(doing, err)
	}
	b.Sightings = append(b.Sightings, places...)
	rows, err = d.read.QueryContext(ctx, `select subject_issuer, subject_id, at_hour, bits from behavior_activity`+of, s.Issuer, s.ID)
	if b.Activity, err = all(rows, err, scanActivity); err != nil {
		return behavior.Batch{}, d.wrap(doing, err)
	}
	rows, err = d.read.QueryContext(ctx, `select `+eventColumns+` from behavior_events`+of+` order by seq`, s.Issuer, s.ID)
	if b.Events, err = all(rows, err, scanEvent); err != nil {
		return behavior.Batch{}, d.wrap(doing, err)
	}
	rows, err = d.read.QueryContext(ctx, `select `+dayColumns+` from behavior_days`+of, s.Issuer, s.ID)
	if b.Days, err = all(rows, err, scanDay); err != nil {
		return behavior.Batch{}, d.wrap(doing, err)
	}
	return b, nil
}

// truth is a bool as a column.
func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
