package app

import (
	"context"
	"log/slog"
	"time"

	"sallyport/authn/session"
	"sallyport/authn/signin"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
)

// identity is who people are: the OpenID provider, their sessions, and the roster.
type identity struct {
	provider *signin.Provider
	sessions *session.Manager
	roster   *roster
}

func newIdentity(ctx context.Context, c *config.Config, store *sqlstore.DB, logger *slog.Logger) (*identity, error) {
	i := &identity{roster: newRoster(c.Roster, logger)}
	sc := c.SignIn()
	sc.Flows, sc.Now, sc.Logger = store, time.Now, logger
	var err error
	if i.provider, err = signin.New(sc); err != nil {
		return nil, err
	}
	i.sessions, err = session.New(ctx, session.Config{
		Store: store, Keys: store, Codes: store, MaxAge: c.Session.MaxAge, IdleTimeout: c.Session.IdleTimeout, MaxPerPerson: c.Session.MaxPerPerson,
		Secure: c.ExternalURL.Scheme == "https", Complete: i.roster.complete, Logger: logger,
	})
	i.roster.sessions = i.sessions
	return i, err
}
