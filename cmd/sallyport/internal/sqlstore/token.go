package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"sallyport/authn"
	"sallyport/authn/session"
)

func placeholder(n int) string { return `$` + strconv.Itoa(n) }

// ReplaceToken implements [session.Store]. The old token must be of the same
// session and host: nothing else may be exchanged for t.
func (d *DB) ReplaceToken(ctx context.Context, old session.Digest, t session.Token) error {
	return d.update(ctx, "replace token", func(tx tx) error {
		if err := tx.holdSession(t.SessionID); err != nil {
			return err
		}
		if err := tx.one(`delete from session_tokens where digest = $1 and session_id = $2 and host = $3`,
			old[:], t.SessionID, t.Host); err != nil {
			return err
		}
		if err := tx.holdCredential(t); err != nil {
			return err
		}
		if err := tx.insertToken(t); err != nil {
			return err
		}
		return tx.noteChanges(t.SessionID)
	})
}

// PutToken implements [session.Store].
func (d *DB) PutToken(ctx context.Context, t session.Token) error {
	return d.update(ctx, "put token", func(tx tx) error {
		if err := tx.holdSession(t.SessionID); err != nil {
			return err
		}
		if err := tx.holdCredential(t); err != nil {
			return err
		}
		if _, err := tx.exec(`delete from session_tokens where session_id = $1 and host = $2`, t.SessionID, t.Host); err != nil {
			return err
		}
		if err := tx.insertToken(t); err != nil {
			return err
		}
		return tx.noteChanges(t.SessionID)
	})
}

// holdSession takes the session's row before its tokens', as a revocation does,
// on engines that lock rows. Without it two puts would both insert, and a
// rotation and a revocation could each wait for the other.
func (t tx) holdSession(id string) error {
	return t.one(`update sessions set last_seen_at = last_seen_at where id = $1`, id)
}

// holdCredential says authn.ErrNotFound if the passkey that raises a session was
// blocked or removed since its assertion was checked.
func (t tx) holdCredential(tok session.Token) error {
	var n int
	err := t.QueryRowContext(t.ctx, `select (select count(*) from removed_credentials where id = $1)
		+ (select count(*) from credentials where id = $1 and blocked <> '')`, blob(tok.Verification.Credential.ID)).Scan(&n)
	if err == nil && n > 0 {
		err = authn.ErrNotFound
	}
	return err
}

func (t tx) insertToken(tok session.Token) error {
	if tok.Digest == (session.Digest{}) {
		return errors.New("a token needs a digest")
	}
	v := tok.Verification
	v.Credential.CreatedAt, v.Credential.LastUsedAt = micro(v.Credential.CreatedAt), micro(v.Credential.LastUsedAt)
	if len(v.Credential.Transports) == 0 {
		v.Credential.Transports = nil
	}
	credential, err := jsonText(v.Credential)
	if err != nil {
		return err
	}
	browser, err := jsonText(v.Browser)
	if err != nil {
		return err
	}
	return t.put(`insert into session_tokens (digest, session_id, host, created_at, verified_at, verified_addr, verified_credential, verified_with, verified_browser)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		tok.Digest[:], tok.SessionID, tok.Host, micros(tok.CreatedAt), optional(v.At), addrText(v.Addr), credential, blob(v.Credential.ID), browser)
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// addrCol scans what addrText wrote.
type addrCol struct{ to *netip.Addr }

func (c addrCol) Scan(v any) (err error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return fmt.Errorf("an address is stored as %T", v)
	case s == "":
		*c.to = netip.Addr{}
	default:
		*c.to, err = netip.ParseAddr(s)
	}
	return err
}
