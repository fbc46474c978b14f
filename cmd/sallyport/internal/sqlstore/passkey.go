package sqlstore

import (
	"context"
	"errors"

	"sallyport/authn"
	"sallyport/authn/passkey"
)

// UserHandle implements [passkey.Store].
func (d *DB) UserHandle(ctx context.Context, s authn.Subject, fresh []byte) (handle []byte, err error) {
	err = d.update(ctx, "user handle", func(tx tx) error {
		if _, err := tx.exec(`insert into user_handles (subject_issuer, subject_id, handle) values ($1, $2, $3)
			on conflict (subject_issuer, subject_id) do nothing`, s.Issuer, s.ID, fresh); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `select handle from user_handles where subject_issuer = $1 and subject_id = $2`,
			s.Issuer, s.ID).Scan(&handle)
	})
	if err != nil {
		return nil, err
	}
	return handle, nil
}

// Credentials implements [passkey.Store].
func (d *DB) Credentials(ctx context.Context, s authn.Subject) ([]passkey.Record, error) {
	rows, err := d.read.QueryContext(ctx, `select id, subject_issuer, subject_id, name, class, aaguid, attestation_format,
			attestation_type, transports, backup_eligible, backed_up, created_at, last_used_at, public_key, sign_count, data, blocked
		from credentials where subject_issuer = $1 and subject_id = $2 order by created_at, id`, s.Issuer, s.ID)
	rs, err := all(rows, err, scanCredential)
	return rs, d.wrap("read credentials", err)
}

func scanCredential(row scanner) (r passkey.Record, err error) {
	var class string
	if err := row.Scan(&r.ID, &r.Subject.Issuer, &r.Subject.ID, &r.Name, &class, &r.AAGUID, &r.AttestationFormat,
		&r.AttestationType, listCol{&r.Transports}, &r.BackupEligible, &r.BackedUp, timeCol{&r.CreatedAt}, timeCol{&r.LastUsedAt},
		&r.PublicKey, &r.SignCount, &r.Data, &r.Blocked); err != nil {
		return passkey.Record{}, err
	}
	r.Class, err = authn.ParseClass(class)
	return r, err
}

// AddCredential implements [passkey.Store].
func (d *DB) AddCredential(ctx context.Context, r passkey.Record, by []byte) error {
	return d.update(ctx, "add credential", func(tx tx) error {
		if len(by) > 0 {
			// Written, not read: it takes the row, so that on engines that lock rows a
			// block comes either before this or after all of it.
			if err := tx.one(`update credentials set blocked = blocked where id = $1 and subject_issuer = $2 and subject_id = $3
				and blocked = ''`, by, r.Subject.Issuer, r.Subject.ID); err != nil {
				return err
			}
		}
		return tx.insertCredential(r)
	})
}

func (t tx) insertCredential(r passkey.Record) error {
	transports, err := listText(r.Transports)
	if err != nil {
		return err
	}
	// Not an error of the engine's own making: the two engines word it differently.
	n, err := t.exec(`insert into credentials (id, subject_issuer, subject_id, name, class, aaguid, attestation_format, attestation_type,
			transports, backup_eligible, backed_up, created_at, last_used_at, public_key, sign_count, data, blocked)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
		on conflict (id) do nothing`,
		blob(r.ID), r.Subject.Issuer, r.Subject.ID, r.Name, r.Class.String(), r.AAGUID, r.AttestationFormat, r.AttestationType,
		transports, number(r.BackupEligible), number(r.BackedUp), micros(r.CreatedAt), optional(r.LastUsedAt), blob(r.PublicKey),
		int64(r.SignCount), blob(r.Data), r.Blocked)
	if err == nil && n == 0 {
		err = passkey.ErrCredentialExists
	}
	if err == nil {
		_, err = t.exec(`delete from removed_credentials where id = $1`, blob(r.ID))
	}
	return err
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// RecordUse implements [passkey.Store].
func (d *DB) RecordUse(ctx context.Context, s authn.Subject, id []byte, u passkey.Use) error {
	return d.update(ctx, "record use", func(tx tx) error {
		return tx.one(`update credentials set sign_count = $5, backed_up = $6, last_used_at = $7, data = $8
			where id = $1 and subject_issuer = $2 and subject_id = $3 and sign_count = $4 and blocked = ''`,
			id, s.Issuer, s.ID, int64(u.OldSignCount), int64(u.SignCount), number(u.BackedUp), optional(u.At), blob(u.Data))
	})
}

// BlockCredential implements [passkey.Store]. The first reason stays: it is
// what an investigation wants to know. A second block ends sessions as well.
func (d *DB) BlockCredential(ctx context.Context, s authn.Subject, id []byte, reason string) error {
	return d.update(ctx, "block credential", func(tx tx) error {
		if reason == "" {
			return errors.New("a credential blocked for no reason would stay usable")
		}
		if err := tx.one(`update credentials set blocked = case when blocked = '' then $4 else blocked end
			where id = $1 and subject_issuer = $2 and subject_id = $3`, id, s.Issuer, s.ID, reason); err != nil {
			return err
		}
		return tx.endSessions(`subject_issuer = $1 and subject_id = $2`, s.Issuer, s.ID)
	})
}

// RenameCredential implements [passkey.Store].
func (d *DB) RenameCredential(ctx context.Context, s authn.Subject, id []byte, name string) error {
	return d.update(ctx, "rename credential", func(tx tx) error {
		return tx.one(`update credentials set name = $4 where id = $1 and subject_issuer = $2 and subject_id = $3`,
			id, s.Issuer, s.ID, name)
	})
}

// RemoveCredential implements [passkey.Store].
func (d *DB) RemoveCredential(ctx context.Context, s authn.Subject, id []byte) error {
	return d.update(ctx, "remove credential", func(tx tx) error {
		// Takes all rows of the subject on engines that lock rows: else two
		// removals could each spare the credential that the other one takes.
		if _, err := tx.exec(`update credentials set blocked = blocked where subject_issuer = $1 and subject_id = $2`,
			s.Issuer, s.ID); err != nil {
			return err
		}
		err := tx.one(`delete from credentials where id = $1 and subject_issuer = $2 and subject_id = $3
			and (blocked <> '' or 1 < (select count(*) from credentials
				where subject_issuer = $2 and subject_id = $3 and blocked = ''))`, id, s.Issuer, s.ID)
		if err == nil {
			return tx.disown(s, id)
		}
		if !errors.Is(err, authn.ErrNotFound) {
			return err
		}
		var n int
		if err := tx.QueryRowContext(ctx, `select count(*) from credentials where id = $1 and subject_issuer = $2 and subject_id = $3`,
			id, s.Issuer, s.ID).Scan(&n); err != nil {
			return err
		}
		if n == 1 {
			return passkey.ErrLastCredential
		}
		return authn.ErrNotFound
	})
}

// disown ends the sessions that a credential raised, and keeps an assertion under
// way from raising another.
func (t tx) disown(s authn.Subject, id []byte) error {
	if err := t.put(`insert into removed_credentials (id) values ($1)`, id); err != nil {
		return err
	}
	return t.endSessions(`subject_issuer = $1 and subject_id = $2
		and id in (select session_id from session_tokens where verified_with = $3)`, s.Issuer, s.ID, id)
}

// PasskeyClasses counts the passkeys that are not blocked, of all people, by their class.
func (d *DB) PasskeyClasses(ctx context.Context) (map[authn.Class]int, error) {
	type count struct {
		class authn.Class
		n     int
	}
	rows, err := d.read.QueryContext(ctx, `select class, count(*) from credentials where blocked = '' group by class`)
	list, err := all(rows, err, func(row scanner) (c count, err error) {
		var class string
		if err := row.Scan(&class, &c.n); err != nil {
			return c, err
		}
		c.class, err = authn.ParseClass(class)
		return c, err
	})
	out := map[authn.Class]int{}
	for _, c := range list {
		out[c.class] = c.n
	}
	return out, d.wrap("count passkeys", err)
}
