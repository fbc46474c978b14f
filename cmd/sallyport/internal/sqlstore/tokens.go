package sqlstore

import (
	"context"

	"sallyport/authn/session"
)

// SessionTokens returns what each host knows of a session, the latest proof first,
// without the tokens' digests.
func (d *DB) SessionTokens(ctx context.Context, id string) ([]session.Token, error) {
	rows, err := d.read.QueryContext(ctx, `select session_id, host, created_at, verified_at, verified_addr, verified_credential
		from session_tokens where session_id = $1 order by coalesce(verified_at, 0) desc, host`, id)
	ts, err := all(rows, err, func(row scanner) (t session.Token, err error) {
		err = row.Scan(&t.SessionID, &t.Host, timeCol{&t.CreatedAt}, timeCol{&t.Verification.At}, addrCol{&t.Verification.Addr}, jsonCol{&t.Verification.Credential})
		return t, err
	})
	return ts, d.wrap("read session tokens", err)
}
