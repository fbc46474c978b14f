package sqlstore

import (
	"context"
	"slices"
	"time"

	"sallyport/authn"
	"sallyport/policy/behavior"
)

// nearby is a condition on a row: it is of another person than $1|$2, lets through, and has
// an address, a household or a device in common with a row of theirs, both not before $3.
// An index would cost every write; this is asked by hand.
var nearby = func() string {
	in := func(column string) string {
		of := ` where subject_issuer = $1 and subject_id = $2 and `
		return column + ` in (select ` + column + ` from behavior_sightings` + of + `at >= $3 and allowed = 1
			union select ` + column + ` from behavior_places` + of + `last_at >= $3)`
	}
	return ` and not (subject_issuer = $1 and subject_id = $2) and (host <> 0 and ` + in("host") +
		` or site <> 0 and ` + in("site") + ` or device <> '' and ` + in("device") + `)`
}()

// BehaviorNear returns the rows that count for the people at the addresses and on the
// devices of one person, since a time: theirs, and those of others in the same places.
func (d *DB) BehaviorNear(ctx context.Context, s authn.Subject, since time.Time) (own, others []behavior.Sighting, err error) {
	const doing = "read who was near a person"
	whole, err := d.BehaviorOf(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	own = slices.DeleteFunc(whole.Sightings, func(r behavior.Sighting) bool { return !r.Allowed || r.At.Before(since) })
	rows, err := d.read.QueryContext(ctx, `select `+sightingColumns+` from behavior_sightings where at >= $3 and allowed = 1`+nearby, s.Issuer, s.ID, micros(since))
	if others, err = all(rows, err, scanSighting); err != nil {
		return nil, nil, d.wrap(doing, err)
	}
	rows, err = d.read.QueryContext(ctx, `select `+placeColumns+`, first_at, last_at, site from behavior_places where last_at >= $3`+nearby, s.Issuer, s.ID, micros(since))
	places, err := all(rows, err, scanPlace)
	if err != nil {
		return nil, nil, d.wrap(doing, err)
	}
	return own, append(others, places...), nil
}
