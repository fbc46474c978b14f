package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy/behavior"
)

const behaviorKeyUse = "behavior"

// openBehavior makes the tracker, which knows nothing before its Run has read history.
// The key under which addresses are kept is made on first start, and never rotated: with
// another one, every place would be new.
func openBehavior(ctx context.Context, c *config.Config, store *sqlstore.DB, logger *slog.Logger) (*behavior.Tracker, error) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails (crypto/rand, Go 1.24)
	key, err := store.AddFirstKey(ctx, authn.Key{ID: "behavior-1", Use: behaviorKeyUse, Secret: secret, CreatedAt: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("behavior key: %w", err)
	}
	of := c.History()
	of.Store, of.Now, of.Logger, of.Key = store, time.Now, logger, key.Secret
	return behavior.New(of)
}
