package session

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"sallyport/authn"
)

// NewSession is what a completed OpenID sign-in gives.
type NewSession struct {
	Person          authn.Person // as the provider describes them
	AuthTime        time.Time
	ProviderSession string // sid claim
	IDToken         string // kept, sealed, for id_token_hint
	RefreshToken    string // kept, sealed; empty if the provider gives none
	// Displaced, if set, is called with the sessions of the same person that ended for
	// this one (Config.MaxPerPerson).
	Displaced func(ids []string)
}

// SignIn makes a session and sends its cookie for host. Any session that the browser had
// on this host is ended first: a cookie planted before sign-in (fixation) never becomes
// the person's, and no forgotten session lives on. For a person that an operator has
// blocked the error is [authn.ErrBlocked].
func (m *Manager) SignIn(w http.ResponseWriter, r *http.Request, host string, n NewSession) (authn.Session, error) {
	g := m.blank()
	g.Values[KeySignIn], g.Values[keyHost] = n, host
	return saved(w, r, g)
}

func (m *Manager) signIn(w http.ResponseWriter, r *http.Request, host string, n NewSession) (authn.Session, error) {
	if n.Person.Subject.Issuer == "" || n.Person.Subject.ID == "" || host == "" {
		return authn.Session{}, errors.New("session: signing in needs a subject and a host")
	}
	ctx := r.Context()
	if err := m.endPrevious(r, host, ""); err != nil {
		return authn.Session{}, err
	}
	digest, cookie, err := m.issue()
	if err != nil {
		return authn.Session{}, err
	}
	now := m.clock.now()
	rec := Record{
		ID: rand.Text(), Person: n.Person,
		CreatedAt: now, ExpiresAt: now.Add(m.maxAge), LastSeenAt: now, RefreshedAt: now,
		AuthTime: n.AuthTime.UTC().Truncate(time.Microsecond), ProviderSession: n.ProviderSession,
	}
	rec.IDToken = m.ring.sealSecret("id_token", rec.ID, n.IDToken)
	rec.RefreshToken = m.ring.sealSecret("refresh_token", rec.ID, n.RefreshToken)
	tok := Token{Digest: digest, SessionID: rec.ID, Host: host, CreatedAt: now}
	switch err := m.store.CreateSession(ctx, rec, tok); {
	case errors.Is(err, authn.ErrBlocked):
		return authn.Session{}, err
	case err != nil:
		return authn.Session{}, unavailable("creating a session", err)
	}
	if err := m.trim(ctx, n, rec.ID); err != nil {
		return authn.Session{}, err
	}
	send(w, cookie)
	return m.session(rec, tok), nil
}

// trim ends the sessions that the person has too many of, now that there is the one
// called spare. If it fails, the next sign-in does it.
func (m *Manager) trim(ctx context.Context, n NewSession, spare string) error {
	ids, err := m.store.TrimSessions(ctx, n.Person.Subject, m.perPerson, spare)
	if err != nil {
		return unavailable("trimming sessions", err)
	}
	m.changed(ids...)
	if len(ids) > 0 {
		m.log.Info("sessions ended: the person has too many", "subject", n.Person.Subject.ID, "sessions", ids, "kept", m.perPerson)
		if n.Displaced != nil {
			n.Displaced(ids)
		}
	}
	return nil
}

// endPrevious ends the session that the browser's cookie names on host, unless
// it is `keep`.
func (m *Manager) endPrevious(r *http.Request, host, keep string) error {
	old, _, err := m.current(r, host)
	switch {
	case errors.Is(err, ErrNoSession):
		return nil
	case err != nil:
		return err
	case old.ID == keep:
		return nil
	}
	_, err = m.Revoke(r.Context(), Filter{ID: old.ID})
	return err
}

// current is Load without the cache.
func (m *Manager) current(r *http.Request, host string) (Record, Token, error) {
	sealed, err := m.sealed(r)
	if err != nil {
		return Record{}, Token{}, err
	}
	return m.find(r.Context(), sealed, host)
}

// Verify raises the browser's session after a user-verified assertion: s gets a new token
// on its host, which carries v, and the old one is dead. The request's cookie must still
// be s's; if it was replaced meanwhile (by a second assertion or a sign-out) the answer
// is ErrNoSession, and v is discarded.
func (m *Manager) Verify(w http.ResponseWriter, r *http.Request, s authn.Session, v authn.Verification) (authn.Session, error) {
	g := m.blank()
	adopt(g, s)
	g.Values[KeyVerification] = v
	return saved(w, r, g)
}

func (m *Manager) verify(w http.ResponseWriter, r *http.Request, s authn.Session, v authn.Verification) (authn.Session, error) {
	if v.At.IsZero() || v.At.Sub(m.clock.now()) > clockSkew {
		return authn.Session{}, errors.New("session: a verification needs the time when it was made")
	}
	rec, old, err := m.current(r, s.Host)
	switch {
	case err != nil:
		return authn.Session{}, err
	case rec.ID != s.ID, rec.Person.Subject != s.Person.Subject:
		// The ceremony was begun in another session than the cookie's.
		return authn.Session{}, errPerson
	}
	digest, cookie, err := m.issue()
	if err != nil {
		return authn.Session{}, err
	}
	v.At = v.At.UTC().Truncate(time.Microsecond)
	tok := Token{Digest: digest, SessionID: rec.ID, Host: old.Host, CreatedAt: m.clock.now(), Verification: v}
	err = m.store.ReplaceToken(r.Context(), old.Digest, tok)
	m.changed(rec.ID) // also on an error, after which the stored state is unknown
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return authn.Session{}, errUnknown
	case err != nil:
		return authn.Session{}, unavailable("replacing a token", err)
	}
	send(w, cookie)
	return m.session(rec, tok), nil
}

// SignOut ends s on every host, clears the browser's cookie and returns the ID
// token for the provider's end-session endpoint, if one was kept. If the store
// is down the session lives on, and so does the cookie: the person is told, and
// can try again.
func (m *Manager) SignOut(w http.ResponseWriter, r *http.Request, s authn.Session) (idToken string, err error) {
	g := m.blank()
	adopt(g, s)
	g.Options.MaxAge = -1
	if _, err := saved(w, r, g); err != nil {
		return "", err
	}
	idToken, _ = g.Values[keyIDToken].(string)
	return idToken, nil
}

func (m *Manager) signOut(w http.ResponseWriter, r *http.Request, s authn.Session) (idToken string, err error) {
	if s.ID != "" {
		if idToken, err = m.end(r.Context(), s.ID); err != nil {
			return "", err
		}
	}
	send(w, m.newCookie(m.cookie, "", -1))
	return idToken, nil
}

func (m *Manager) end(ctx context.Context, id string) (idToken string, err error) {
	recs, err := m.store.ListSessions(ctx, Filter{ID: id})
	if err != nil {
		return "", unavailable("ending a session", err)
	}
	if _, err := m.Revoke(ctx, Filter{ID: id}); err != nil {
		return "", err
	}
	for _, rec := range recs {
		if len(rec.IDToken) > 0 {
			// A hint only: signing out works without it.
			idToken, _ = m.ring.openSecret("id_token", rec.ID, rec.IDToken)
		}
	}
	return idToken, nil
}
