package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/authn"
	"sallyport/proxy/rollout"
)

const maxDetail = 4000

// AddPolicyVersion stores v as the newest. Its Seq is ignored. The text is kept of
// those that came into force; "" for the others.
func (d *DB) AddPolicyVersion(ctx context.Context, v rollout.Version, source string) error {
	return d.update(ctx, "add policy version", func(tx tx) error {
		seq, err := tx.nextPolicySeq()
		if err != nil {
			return err
		}
		if err := tx.put(`insert into policy_versions (seq, at, hash, outcome, origin, operator, detail, note) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
			seq, micros(v.At), v.Hash, v.Outcome, v.Origin, v.By, v.Detail[:min(len(v.Detail), maxDetail)], v.Note); err != nil {
			return err
		}
		if source != "" {
			if _, err := tx.exec(`insert into policy_texts (hash, source) values ($1, $2) on conflict (hash) do nothing`, v.Hash, source); err != nil {
				return err
			}
		}
		// Those that were in force and those that were refused are counted apart: however many
		// were refused, a start or an operator may need what was in force.
		if _, err := tx.exec(`delete from policy_versions where outcome = 'refused' and seq not in (
			select seq from policy_versions where outcome = 'refused' order by seq desc limit $1)`, rollout.KeptRefusals); err != nil {
			return err
		}
		if _, err := tx.exec(`delete from policy_versions where outcome <> 'refused' and seq not in (
			select seq from policy_versions where outcome <> 'refused' order by seq desc limit $1)`, rollout.KeptVersions); err != nil {
			return err
		}
		_, err = tx.exec(`delete from policy_texts where hash not in (select hash from policy_versions)`)
		return err
	})
}

func (t tx) nextPolicySeq() (seq int64, err error) {
	err = t.QueryRowContext(t.ctx, `update policy_counter set last = last + 1 where id = 1 returning last`).Scan(&seq)
	return seq, err
}

// LastPolicy returns the newest version that came into force, with its text;
// authn.ErrNotFound if there is none.
func (d *DB) LastPolicy(ctx context.Context) (v rollout.Version, source string, err error) {
	row := d.read.QueryRowContext(ctx, `select v.seq, v.at, v.hash, v.outcome, v.origin, v.operator, v.detail, t.source
		from policy_versions v join policy_texts t on t.hash = v.hash where v.outcome <> 'refused' order by v.seq desc limit 1`)
	err = row.Scan(&v.Seq, timeCol{&v.At}, &v.Hash, &v.Outcome, &v.Origin, &v.By, &v.Detail, &source)
	return v, source, d.wrap("read the last policy", found(err))
}

// PolicyVersions returns up to limit versions, newest first.
func (d *DB) PolicyVersions(ctx context.Context, limit int) ([]rollout.Version, error) {
	rows, err := d.read.QueryContext(ctx, `select seq, at, hash, outcome, origin, operator, detail, note from policy_versions order by seq desc limit $1`, limit)
	vs, err := all(rows, err, func(row scanner) (v rollout.Version, err error) {
		err = row.Scan(&v.Seq, timeCol{&v.At}, &v.Hash, &v.Outcome, &v.Origin, &v.By, &v.Detail, &v.Note)
		return v, err
	})
	return vs, d.wrap("read policy versions", err)
}

// PolicyText returns the policy whose hash begins with prefix (lower-case hex) as it
// was in force: authn.ErrNotFound if there is none, another error if there are several.
func (d *DB) PolicyText(ctx context.Context, prefix string) (hash, source string, err error) {
	type text struct{ hash, source string }
	rows, err := d.read.QueryContext(ctx, `select hash, source from policy_texts where hash >= $1 and hash < $2 order by hash limit 2`, prefix, prefix+"g")
	found, err := all(rows, err, func(row scanner) (t text, err error) {
		err = row.Scan(&t.hash, &t.source)
		return t, err
	})
	switch {
	case err != nil:
	case len(found) == 0:
		err = authn.ErrNotFound
	case len(found) > 1:
		err = fmt.Errorf("%q is the beginning of several hashes", prefix)
	default:
		return found[0].hash, found[0].source, nil
	}
	return "", "", d.wrap("read policy", err)
}

// requestsKept is how long answers stay, for a command that reads them late.
const requestsKept = 24 * time.Hour

// AddPolicyRequest stores r and returns its number.
func (d *DB) AddPolicyRequest(ctx context.Context, r rollout.Request) (seq int64, err error) {
	err = d.update(ctx, "ask for a policy", func(tx tx) error {
		if r.At.IsZero() {
			return errors.New("a request needs its time")
		}
		if _, err := tx.exec(`delete from policy_requests where at < $1`, micros(r.At.Add(-requestsKept))); err != nil {
			return err
		}
		if seq, err = tx.nextPolicySeq(); err != nil {
			return err
		}
		return tx.put(`insert into policy_requests (seq, at, operator, name, source, forced, rollback, base, note, exceptions_onto, state, answer) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'waiting', '')`,
			seq, micros(r.At), r.By, r.Name, r.Source, truth(r.Forced), truth(r.Rollback), r.Base, r.Note, r.Onto)
	})
	return seq, err
}

// TakePolicyRequest takes the oldest waiting request, for one caller only;
// authn.ErrNotFound if there is none.
func (d *DB) TakePolicyRequest(ctx context.Context) (r rollout.Request, err error) {
	var seq int64
	err = d.read.QueryRowContext(ctx, `select seq from policy_requests where state = 'waiting' order by seq limit 1`).Scan(&seq)
	if err != nil { // looked at first without a write: most of the time there is none
		return r, d.wrap("take policy request", found(err))
	}
	err = d.update(ctx, "take policy request", func(tx tx) error {
		if err := tx.one(`update policy_requests set state = 'taken' where seq = $1 and state = 'waiting'`, seq); err != nil {
			return err
		}
		var forced, rollback int64
		row := tx.QueryRowContext(ctx, `select seq, at, operator, name, source, forced, rollback, base, note, exceptions_onto from policy_requests where seq = $1`, seq)
		err := row.Scan(&r.Seq, timeCol{&r.At}, &r.By, &r.Name, &r.Source, &forced, &rollback, &r.Base, &r.Note, &r.Onto)
		r.Forced, r.Rollback = forced == 1, rollback == 1
		return found(err)
	})
	return r, err
}

// AnswerPolicyRequest says what became of a request that was taken.
func (d *DB) AnswerPolicyRequest(ctx context.Context, seq int64, state, answer string) error {
	return d.update(ctx, "answer policy request", func(tx tx) error {
		return tx.one(`update policy_requests set state = $2, answer = $3, source = '' where seq = $1 and state = 'taken'`, seq, state, answer)
	})
}

// PolicyAnswer returns how a request stands.
func (d *DB) PolicyAnswer(ctx context.Context, seq int64) (state, answer string, err error) {
	err = d.read.QueryRowContext(ctx, `select state, answer from policy_requests where seq = $1`, seq).Scan(&state, &answer)
	return state, answer, d.wrap("read policy answer", found(err))
}

// WithdrawPolicyRequest takes a request back; authn.ErrNotFound if it was taken.
func (d *DB) WithdrawPolicyRequest(ctx context.Context, seq int64) error {
	return d.update(ctx, "withdraw policy request", func(tx tx) error {
		return tx.one(`delete from policy_requests where seq = $1 and state = 'waiting'`, seq)
	})
}

// LastPins returns the text of the pinned invariants that were in force last;
// authn.ErrNotFound if there were none yet.
func (d *DB) LastPins(ctx context.Context) (source string, err error) {
	err = d.read.QueryRowContext(ctx, `select source from policy_pins where id = 1`).Scan(&source)
	return source, d.wrap("read the pinned invariants", found(err))
}

// LastExceptions returns the text of the exceptions that came into force last; "" for no
// file of them, authn.ErrNotFound if no proxy stored one yet.
func (d *DB) LastExceptions(ctx context.Context) (source string, err error) {
	err = d.read.QueryRowContext(ctx, `select source from policy_exceptions where id = 1`).Scan(&source)
	return source, d.wrap("read the exceptions", found(err))
}

// PutExceptions stores the text of the exceptions, in place of the one before.
func (d *DB) PutExceptions(ctx context.Context, source string) error {
	return d.update(ctx, "keep the exceptions", func(tx tx) error {
		return tx.put(`insert into policy_exceptions (id, source) values (1, $1) on conflict (id) do update set source = excluded.source`, source)
	})
}

// PutPins stores the text of the pinned invariants, in place of the one before.
func (d *DB) PutPins(ctx context.Context, source string) error {
	return d.update(ctx, "keep the pinned invariants", func(tx tx) error {
		return tx.put(`insert into policy_pins (id, source) values (1, $1) on conflict (id) do update set source = excluded.source`, source)
	})
}
