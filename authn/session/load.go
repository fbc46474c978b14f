package session

import (
	"context"
	"errors"
	"net/http"
	"time"

	"sallyport/authn"
)

// Load returns the session of the request's cookie on host.
//
// It answers ErrNoSession (with the reason) or ErrUnavailable, never a zero
// session without an error. A cookie seen before is answered from memory: one
// SHA-256, one read lock of a shard, no allocation, no I/O. The session's slices
// are shared and must not be written to.
func (m *Manager) Load(r *http.Request, host string) (s authn.Session, err error) {
	sealed, err := m.sealed(r)
	if err != nil {
		return authn.Session{}, err
	}
	now, key := m.clock.now(), keyOf(sealed)
	if !m.blind(now) {
		if e := m.cache.get(key); e != nil {
			// The cookie of one host, presented on another (a sibling's log, a
			// hostile upstream that was sent it): not good there.
			if e.sess.Host != host {
				return authn.Session{}, errHost
			}
			seen := time.UnixMicro(e.live.seen.Load())
			if m.stateAt(e.sess.ExpiresAt, seen, now) == alive {
				e.live.touch(now.UnixMicro())
				s = e.sess
				s.LastSeenAt = now
				return s, nil
			}
			// Another process may have seen it since; and the dead are buried there.
		}
	}
	return m.loadStored(r.Context(), sealed, key, host)
}

func (m *Manager) loadStored(ctx context.Context, sealed string, key cacheKey, host string) (authn.Session, error) {
	epoch := m.cache.epoch.Load() // before the store is read, or a change in between would be missed
	rec, tok, err := m.find(ctx, sealed, host)
	if err != nil {
		return authn.Session{}, err
	}
	now := m.clock.now()
	s := m.session(rec, tok)
	// While blind too: the poll that ends blindness starts with an empty cache.
	m.cache.put(epoch, key, s, rec.LastSeenAt.UnixMicro(), now.UnixMicro())
	s.LastSeenAt = now
	return s, nil
}

// find asks the store for the session of a sealed cookie, and judges it.
func (m *Manager) find(ctx context.Context, sealed, host string) (Record, Token, error) {
	d, err := m.open(ctx, sealed)
	if err != nil {
		return Record{}, Token{}, err
	}
	rec, tok, err := m.store.LoadSession(ctx, d)
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return Record{}, Token{}, errUnknown
	case err != nil:
		return Record{}, Token{}, unavailable("loading a session", err)
	case tok.Digest != d, tok.SessionID != rec.ID, rec.Person.Subject.IsZero():
		// A store that answers with another person's session must not be believed.
		return Record{}, Token{}, unavailable("loading a session", errors.New("the store returned another one"))
	case tok.Host != host:
		return Record{}, Token{}, errHost
	}
	return rec, tok, m.refuseDead(ctx, rec)
}

// refuseDead returns why rec has ended, or nil. An expired session is deleted, so that it
// stays dead if the clock is set back.
func (m *Manager) refuseDead(ctx context.Context, rec Record) error {
	seen := rec.LastSeenAt
	if own := time.UnixMicro(m.cache.lastSeen(rec.ID)); own.After(seen) {
		seen = own
	}
	var reason error
	switch m.stateAt(m.expiry(rec), seen, m.clock.now()) {
	case alive:
		return nil
	case ahead:
		return errAhead // not deleted: our clock may be the wrong one
	case idle:
		reason = errIdle
	default:
		reason = errExpired
	}
	if _, err := m.Revoke(ctx, Filter{ID: rec.ID}); err != nil {
		m.log.Warn("an expired session cannot be deleted", "session", rec.ID, "error", err)
	}
	return reason
}

// blind reports whether this process has not learnt of revocations for so long that the
// cache must not be used. A last poll in the future means a clock set back: blind too.
func (m *Manager) blind(now time.Time) bool {
	last := m.polled.Load()
	if last == nil {
		return true
	}
	age := now.Sub(*last)
	return age > blindAfter || age < -blindAfter
}
