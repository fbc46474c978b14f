package sqlstore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
)

const sessionColumns = `s.id, s.subject_issuer, s.subject_id, s.email, s.name, s.group_names, s.country_codes, s.time_zone,
	s.created_at, s.expires_at, s.last_seen_at, s.auth_time, s.provider_session, s.id_token, s.refresh_token, s.refreshed_at, s.started_at, s.region`

const loadSession = `select ` + sessionColumns + `,
	t.host, t.created_at, t.verified_at, t.verified_addr, t.verified_credential, t.verified_browser
	from session_tokens t join sessions s on s.id = t.session_id where t.digest = $1 and not ` + blockedSession

// sessionInto lists where sessionColumns are scanned to.
func sessionInto(r *session.Record) []any {
	return []any{
		&r.ID, &r.Person.Subject.Issuer, &r.Person.Subject.ID, &r.Person.Email, &r.Person.Name,
		listCol{&r.Person.Groups}, listCol{&r.Person.Countries}, &r.Person.TimeZone,
		timeCol{&r.CreatedAt}, timeCol{&r.ExpiresAt}, timeCol{&r.LastSeenAt}, timeCol{&r.AuthTime},
		&r.ProviderSession, &r.IDToken, &r.RefreshToken, timeCol{&r.RefreshedAt}, timeCol{&r.Person.StartedAt}, &r.Person.Region,
	}
}

func scanSession(row scanner) (r session.Record, err error) {
	err = row.Scan(sessionInto(&r)...)
	return r, err
}

// CreateSession implements [session.Store].
func (d *DB) CreateSession(ctx context.Context, r session.Record, t session.Token) error {
	groups, err := listText(r.Person.Groups)
	if err != nil {
		return d.wrap("create session", err)
	}
	countries, err := listText(r.Person.Countries)
	if err != nil {
		return d.wrap("create session", err)
	}
	return d.update(ctx, "create session", func(tx tx) error {
		if t.SessionID != r.ID {
			return errors.New("the token names another session")
		}
		if err := tx.put(`insert into sessions (id, subject_issuer, subject_id, email, name, group_names, country_codes, time_zone,
				created_at, expires_at, last_seen_at, auth_time, provider_session, id_token, refresh_token, refreshed_at, started_at, region)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
			r.ID, r.Person.Subject.Issuer, r.Person.Subject.ID, string(r.Person.Email), r.Person.Name, groups, countries, r.Person.TimeZone,
			micros(r.CreatedAt), micros(r.ExpiresAt), micros(r.LastSeenAt), optional(r.AuthTime), r.ProviderSession,
			blob(r.IDToken), blob(r.RefreshToken), optional(r.RefreshedAt), optional(r.Person.StartedAt), r.Person.Region); err != nil {
			return err
		}
		if err := tx.refuseBlocked(r.ID); err != nil {
			return err
		}
		if err := tx.noteAddress(r.Person.Subject, r.Person.Email, r.CreatedAt); err != nil {
			return err
		}
		return tx.insertToken(t)
	})
}

// LoadSession implements [session.Store].
func (d *DB) LoadSession(ctx context.Context, digest session.Digest) (session.Record, session.Token, error) {
	var r session.Record
	t := session.Token{Digest: digest}
	err := d.load.QueryRowContext(ctx, digest[:]).Scan(append(sessionInto(&r),
		&t.Host, timeCol{&t.CreatedAt}, timeCol{&t.Verification.At}, addrCol{&t.Verification.Addr}, jsonCol{&t.Verification.Credential},
		jsonCol{&t.Verification.Browser})...)
	if err != nil {
		return session.Record{}, session.Token{}, d.wrap("load session", found(err))
	}
	t.SessionID = r.ID
	return r, t, nil
}

// TouchSessions implements [session.Store]. Rows are taken in the order of
// their ids, so that two processes with the same sessions cannot deadlock.
func (d *DB) TouchSessions(ctx context.Context, seen map[string]time.Time) error {
	if len(seen) == 0 {
		return nil
	}
	ids := make([]string, 0, len(seen))
	for id := range seen {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return d.update(ctx, "touch sessions", func(tx tx) error {
		stmt, err := tx.PrepareContext(ctx, `update sessions set last_seen_at = $2 where id = $1 and last_seen_at < $2`)
		if err != nil {
			return err
		}
		defer stmt.Close()
		for _, id := range ids {
			// No row is as good as one: the session is gone, or was seen later.
			if _, err := stmt.ExecContext(ctx, id, micros(seen[id])); err != nil {
				return err
			}
		}
		return nil
	})
}

// RefreshSession implements [session.Store]. A session never changes its owner.
func (d *DB) RefreshSession(ctx context.Context, id string, p authn.Person, refreshToken []byte, at time.Time) error {
	groups, err := listText(p.Groups)
	if err != nil {
		return d.wrap("refresh session", err)
	}
	countries, err := listText(p.Countries)
	if err != nil {
		return d.wrap("refresh session", err)
	}
	return d.update(ctx, "refresh session", func(tx tx) error {
		if err := tx.one(`update sessions set email = $4, name = $5, group_names = $6, country_codes = $7, time_zone = $8,
				refresh_token = $9, refreshed_at = $10, started_at = $11, region = $12 where id = $1 and subject_issuer = $2 and subject_id = $3`,
			id, p.Subject.Issuer, p.Subject.ID, string(p.Email), p.Name, groups, countries, p.TimeZone,
			blob(refreshToken), optional(at), optional(p.StartedAt), p.Region); err != nil {
			return err
		}
		if err := tx.noteAddress(p.Subject, p.Email, at); err != nil {
			return err
		}
		// The address may be a blocked one only now.
		if gone, err := tx.deleteBlocked(); err != nil || slices.Contains(gone, id) {
			return err
		}
		return tx.noteChanges(id)
	})
}

// RevokeSessions implements [session.Store]. It ignores f.Limit: a revocation
// that stops half-way would leave sessions alive.
func (d *DB) RevokeSessions(ctx context.Context, f session.Filter) (ids []string, err error) {
	where, args, err := condition(f)
	if err == nil && where == "" {
		err = errors.New("an empty filter would revoke every session")
	}
	if err != nil {
		return nil, d.wrap("revoke sessions", err)
	}
	err = d.update(ctx, "revoke sessions", func(tx tx) error {
		ids, err = tx.deleteSessions(where, args...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// TrimSessions implements [session.Store]. Of two that run at once, each may see too few:
// the next one makes up for it.
func (d *DB) TrimSessions(ctx context.Context, person authn.Subject, keep int, spare string) (ids []string, err error) {
	if keep < 1 || person.Issuer == "" || person.ID == "" {
		return nil, d.wrap("trim sessions", errors.New("one session at least is kept, of a whole subject"))
	}
	err = d.update(ctx, "trim sessions", func(tx tx) error {
		rows, err := tx.QueryContext(ctx, `select s.id from sessions s left join session_tokens t on t.session_id = s.id and t.verified_at is not null
			where s.subject_issuer = $1 and s.subject_id = $2 and s.id <> $3
			group by s.id, s.created_at
			order by case when count(t.digest) > 0 then 0 else 1 end, s.created_at desc, s.id`, person.Issuer, person.ID, spare)
		all, err := all(rows, err, scanString)
		if err != nil || len(all) < keep {
			return err
		}
		gone := all[keep-1:]
		slices.Sort(gone) // the order in which others lock rows
		for _, id := range gone {
			switch err := tx.one(`delete from sessions where id = $1`, id); {
			case err == nil:
				ids = append(ids, id)
			case !errors.Is(err, authn.ErrNotFound): // another process ended it
				return err
			}
		}
		return tx.noteChanges(ids...)
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// deleteSessions deletes what the where clause selects, and notes each in the
// change log: like noteChanges, the last thing that a transaction does.
func (t tx) deleteSessions(where string, args ...any) ([]string, error) {
	rows, err := t.QueryContext(t.ctx, `delete from sessions`+where+` returning id`, args...)
	ids, err := all(rows, err, scanString)
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	return ids, t.noteChanges(ids...)
}

func (t tx) endSessions(condition string, args ...any) error {
	_, err := t.deleteSessions(` where `+condition, args...)
	return err
}

// ListSessions implements [session.Store].
func (d *DB) ListSessions(ctx context.Context, f session.Filter) ([]session.Record, error) {
	where, args, err := condition(f)
	if err != nil {
		return nil, d.wrap("list sessions", err)
	}
	query := `select ` + sessionColumns + ` from sessions s` + where + ` order by s.created_at desc, s.id`
	if f.Limit > 0 {
		args = append(args, f.Limit)
		query += ` limit ` + placeholder(len(args))
	}
	rows, err := d.read.QueryContext(ctx, query, args...)
	rs, err := all(rows, err, scanSession)
	return rs, d.wrap("list sessions", err)
}

// condition is f as a where clause, empty if f matches everything.
//
// Half of a pair is refused: a sid means nothing without its issuer, and half a subject
// would match no session, which a caller that revokes would take for "done".
func condition(f session.Filter) (where string, args []any, err error) {
	var terms []string
	add := func(column string, v any) {
		args = append(args, v)
		terms = append(terms, column+placeholder(len(args)))
	}
	if f.ID != "" {
		add(`id = `, f.ID)
	}
	if !f.Subject.IsZero() {
		if f.Subject.Issuer == "" || f.Subject.ID == "" {
			return "", nil, errors.New("a filter needs both parts of a subject, or neither")
		}
		add(`subject_issuer = `, f.Subject.Issuer)
		add(`subject_id = `, f.Subject.ID)
	}
	if f.Email != "" {
		add(`email = `, string(f.Email))
	}
	if (f.ProviderIssuer == "") != (f.ProviderSession == "") {
		return "", nil, errors.New("a filter needs both the provider's issuer and its session, or neither")
	}
	if f.ProviderSession != "" {
		add(`subject_issuer = `, f.ProviderIssuer)
		add(`provider_session = `, f.ProviderSession)
	}
	if !f.RefreshedBefore.IsZero() {
		add(`refresh_token is not null and coalesce(refreshed_at, -62135596800000000) < `, micros(f.RefreshedBefore))
	}
	if len(terms) == 0 {
		return "", nil, nil
	}
	return ` where ` + strings.Join(terms, ` and `), args, nil
}
