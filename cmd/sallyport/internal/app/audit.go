package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/proxy/audit"
)

// auditKeyUse is the key ring's name for the key that checkpoints of the audit log are
// signed with.
const auditKeyUse = "audit"

// OpenAudit opens the audit log for writing, with its own signing key, which is made on
// first start.
func OpenAudit(ctx context.Context, c *config.Config, store *sqlstore.DB, logger *slog.Logger) (*audit.Log, error) {
	seed, err := audit.NewSeed()
	if err != nil {
		return nil, err
	}
	key, err := store.AddFirstKey(ctx, authn.Key{ID: "audit-1", Use: auditKeyUse, Secret: seed, CreatedAt: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	return audit.Open(audit.Config{
		File: c.AuditFile, Key: key.Secret, CallsPerMinute: c.Limits.ChangesPerMinute, Translators: c.IPData.NAT64,
		Anchor: store, Now: time.Now, Logger: logger,
	})
}

// AuditVerifierKey returns the public key of the audit log of this installation, in the
// text form of golang.org/x/mod/sumdb/note.
func AuditVerifierKey(ctx context.Context, keys authn.KeyStore) (string, error) {
	list, err := keys.Keys(ctx, auditKeyUse)
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", errors.New("there is no audit key yet: the first `serve` makes it")
	}
	return audit.VerifierKey(audit.DefaultName, list[0].Secret)
}
