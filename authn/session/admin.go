package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/authn"
)

// Revoke ends the sessions that match f and returns how many there were. In this
// process none of their cookies works when it returns.
func (m *Manager) Revoke(ctx context.Context, f Filter) (int, error) {
	if err := f.check(); err != nil {
		return 0, err
	}
	ids, err := m.store.RevokeSessions(ctx, f)
	if err != nil {
		// The write may have happened all the same: the cached state is invalid.
		if f.ID != "" {
			m.changed(f.ID)
		} else {
			m.cache.clear()
		}
		return 0, unavailable("revoking sessions", err)
	}
	m.changed(ids...)
	return len(ids), nil
}

// check refuses filters that would match more than they seem to say: an empty
// one, and a pair of which one half was lost on the way (a logout token without
// sid must not end the sessions of the whole company).
func (f Filter) check() error {
	switch {
	case f.ID == "" && f.Subject.IsZero() && f.Email == "" && f.ProviderIssuer == "" &&
		f.ProviderSession == "" && f.RefreshedBefore.IsZero():
		return errors.New("session: an empty filter would revoke all sessions")
	case (f.ProviderIssuer == "") != (f.ProviderSession == ""):
		return errors.New("session: a provider's session is named by issuer and sid, not by one of them")
	case (f.Subject.Issuer == "") != (f.Subject.ID == ""):
		return errors.New("session: a subject is named by issuer and id, not by one of them")
	}
	return nil
}

// List returns the sessions that match f and are alive, newest first, without the
// provider's tokens. An empty filter lists all sessions.
func (m *Manager) List(ctx context.Context, f Filter) ([]Record, error) {
	recs, err := m.live(ctx, f)
	for i := range recs {
		recs[i].IDToken, recs[i].RefreshToken = nil, nil
	}
	return recs, err
}

func (m *Manager) live(ctx context.Context, f Filter) ([]Record, error) {
	recs, err := m.store.ListSessions(ctx, f)
	if err != nil {
		return nil, unavailable("listing sessions", err)
	}
	now := m.clock.now()
	var out []Record
	for _, rec := range recs {
		if own := time.UnixMicro(m.cache.lastSeen(rec.ID)).UTC(); own.After(rec.LastSeenAt) {
			rec.LastSeenAt = own
		}
		rec.ExpiresAt, rec.Person = m.expiry(rec), m.complete(rec.Person)
		if m.stateAt(rec.ExpiresAt, rec.LastSeenAt, now) == alive {
			out = append(out, rec)
		}
	}
	return out, nil
}

// Recompleted applies that Config.Complete gives other results from now on, for the
// people for which changed returns true. changed gets them as the provider described
// them. When Recompleted returns, each of their sessions has been read anew and OnEnd
// called for it. It returns the number of those sessions. On an error all sessions are
// read anew, but open streams were not reviewed: call it again.
func (m *Manager) Recompleted(ctx context.Context, changed func(authn.Person) bool) (int, error) {
	// A load under way may have asked Complete before the change: the new epoch keeps it
	// out of the cache.
	m.cache.epoch.Add(1)
	recs, err := m.store.ListSessions(ctx, Filter{})
	if err != nil {
		m.cache.clear()
		return 0, unavailable("listing sessions", err)
	}
	var ids []string
	for _, rec := range recs {
		if changed(rec.Person) {
			ids = append(ids, rec.ID)
		}
	}
	m.changed(ids...)
	return len(ids), nil
}

// Refreshable is a session whose person the provider can be asked about.
type Refreshable struct {
	ID           string
	Subject      authn.Subject
	RefreshToken string    // secret
	ConfirmedAt  time.Time // when the provider last vouched for the person
}

// DueForRefresh returns the living sessions that hold a refresh token and that
// the provider last confirmed before the given time. A session whose token no
// key opens any more can never be confirmed again and is ended here: a disabled
// account must not live on behind it.
func (m *Manager) DueForRefresh(ctx context.Context, before time.Time) ([]Refreshable, error) {
	recs, err := m.live(ctx, Filter{RefreshedBefore: before})
	if err != nil {
		return nil, err
	}
	var due []Refreshable
	for _, rec := range recs {
		if len(rec.RefreshToken) == 0 {
			continue
		}
		rt, err := m.ring.openSecret("refresh_token", rec.ID, rec.RefreshToken)
		if err != nil {
			if err := m.ring.reloadSoon(ctx); err != nil {
				return nil, unavailable("reading keys", err)
			}
			rt, err = m.ring.openSecret("refresh_token", rec.ID, rec.RefreshToken)
		}
		if err != nil {
			m.log.Warn("no key opens a session's refresh token: the session is ended", "session", rec.ID)
			if _, err := m.Revoke(ctx, Filter{ID: rec.ID}); err != nil {
				return nil, err
			}
			continue
		}
		due = append(due, Refreshable{ID: rec.ID, Subject: rec.Person.Subject, RefreshToken: rt, ConfirmedAt: rec.RefreshedAt})
	}
	return due, nil
}

// Refreshed stores what the provider, and nothing but the provider, said about the
// session's person now. An empty newToken keeps the old one (providers need not rotate).
// An answer about another subject ends the session: ErrNoSession.
func (m *Manager) Refreshed(ctx context.Context, id string, p authn.Person, newToken string) error {
	recs, err := m.store.ListSessions(ctx, Filter{ID: id})
	if err != nil {
		return unavailable("refreshing a session", err)
	}
	if id == "" || len(recs) != 1 {
		return errUnknown
	}
	rec := recs[0]
	if rec.Person.Subject != p.Subject {
		if _, err := m.Revoke(ctx, Filter{ID: id}); err != nil {
			return err
		}
		return fmt.Errorf("%w: the provider answered for another subject", ErrNoSession)
	}
	sealed := rec.RefreshToken
	if newToken != "" {
		sealed = m.ring.sealSecret("refresh_token", id, newToken)
	}
	err = m.store.RefreshSession(ctx, id, p, sealed, m.clock.now())
	m.changed(id) // also on an error, after which the stored state is unknown
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return errUnknown
	case err != nil:
		return unavailable("refreshing a session", err)
	}
	return nil
}
