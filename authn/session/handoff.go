package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"sallyport/authn"
)

// A hand-off carries a session from the sign-in host to an app host:
//
//	app host      BeginHandoff: nonce into a cookie, its digest (bind) into the redirect
//	sign-in host  Load, Handoff: a code for that host and that bind
//	app host      Redeem: the code, with the nonce's cookie, for a cookie of its own
//
// A code that leaks (history, referrer, log) is of no use in another browser,
// which lacks the nonce, nor on another host, nor a second time, nor a minute
// later. Nor can a code made for an attacker's session be slipped to somebody.
const (
	handoffPurpose = "handoff"
	handoffLife    = time.Minute
	nonceLife      = 15 * time.Minute // a sign-in and an assertion lie in between
)

// handoff is what is kept under a code.
type handoff struct {
	Session      string             `json:"session"`
	Host         string             `json:"host"`
	Bind         string             `json:"bind"`
	ReturnTo     string             `json:"return_to"`
	Verification authn.Verification `json:"verification"`
	Expires      time.Time          `json:"expires"`
}

// BeginHandoff gives the browser a nonce for this host and returns its digest,
// which the redirect to the sign-in host carries. A nonce that the browser has
// already is used again, so that tabs opened together do not undo each other.
func (m *Manager) BeginHandoff(w http.ResponseWriter, r *http.Request, _ string) (bind string) {
	nonce, ok := m.nonce(r)
	if !ok {
		var b [32]byte
		rand.Read(b[:])
		nonce = encoding.EncodeToString(b[:])
	}
	send(w, m.newCookie(m.handoffCookie, nonce, int(nonceLife/time.Second)))
	return bindOf(nonce)
}

// nonce returns the browser's nonce, if it has exactly one.
func (m *Manager) nonce(r *http.Request) (string, bool) {
	v, times := lookup(r.Header, m.handoffCookie)
	return v, times == 1 && isSecret(v)
}

// isSecret reports whether s is 32 bytes in the one spelling that we give them.
func isSecret(s string) bool {
	if len(s) != secretChars {
		return false
	}
	b, err := encoding.DecodeString(s)
	return err == nil && len(b) == 32
}

func bindOf(nonce string) string {
	d := sha256.Sum256([]byte(nonce))
	return encoding.EncodeToString(d[:])
}

// Handoff makes a code for s on targetHost, for the browser that bind names. s
// is the session just loaded on the sign-in host; its freshness goes with it.
// returnTo is a path of the target host or a URL on it (ErrReturnTo otherwise).
func (m *Manager) Handoff(ctx context.Context, s authn.Session, targetHost, bind, returnTo string) (code string, err error) {
	switch {
	case s.Level() == authn.None:
		return "", errAbsent
	case targetHost == "", !isSecret(bind):
		return "", fmt.Errorf("%w: it names no host or no browser", ErrHandoff)
	}
	path, err := returnPath(returnTo, targetHost)
	if err != nil {
		return "", err
	}
	expires := m.clock.now().Add(handoffLife)
	payload, err := json.Marshal(handoff{s.ID, targetHost, bind, path, s.Verification, expires})
	if err != nil {
		return "", fmt.Errorf("session: encoding a hand-off: %w", err)
	}
	var b [32]byte
	rand.Read(b[:])
	code = encoding.EncodeToString(b[:])
	if err := m.codes.Put(ctx, handoffPurpose, sha256.Sum256([]byte(code)), payload, expires); err != nil {
		return "", unavailable("storing a hand-off", err)
	}
	return code, nil
}

// Redeem takes a code on host and sends the cookie of the session it stands for.
// returnTo is a path on this host. Any presentation spends the code, a wrong one
// too: a code that is shown in a second place has leaked.
func (m *Manager) Redeem(w http.ResponseWriter, r *http.Request, host, code string) (s authn.Session, returnTo string, err error) {
	h, err := m.take(r.Context(), code)
	if err != nil {
		return authn.Session{}, "", err
	}
	nonce, ok := m.nonce(r)
	switch {
	case h.Host != host:
		return authn.Session{}, "", fmt.Errorf("%w: it is for another host", ErrHandoff)
	case !ok, subtle.ConstantTimeCompare([]byte(h.Bind), []byte(bindOf(nonce))) != 1:
		return authn.Session{}, "", fmt.Errorf("%w: another browser began it", ErrHandoff)
	}
	rec, err := m.recordByID(r.Context(), h.Session)
	if err != nil {
		return authn.Session{}, "", err
	}
	if err := m.endPrevious(r, host, rec.ID); err != nil {
		return authn.Session{}, "", err
	}
	digest, cookie, err := m.issue()
	if err != nil {
		return authn.Session{}, "", err
	}
	tok := Token{Digest: digest, SessionID: rec.ID, Host: host, CreatedAt: m.clock.now(), Verification: h.Verification}
	err = m.store.PutToken(r.Context(), tok)
	m.changed(rec.ID) // the tokens that PutToken removed; whatever err is
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return authn.Session{}, "", errUnknown
	case err != nil:
		return authn.Session{}, "", unavailable("storing a token", err)
	}
	send(w, cookie)
	return m.session(rec, tok), h.ReturnTo, nil
}

func (m *Manager) take(ctx context.Context, code string) (handoff, error) {
	var h handoff
	if !isSecret(code) {
		return h, fmt.Errorf("%w: no such code", ErrHandoff)
	}
	now := m.clock.now()
	payload, err := m.codes.Take(ctx, handoffPurpose, sha256.Sum256([]byte(code)), now)
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return h, fmt.Errorf("%w: no such code, or it was used or has expired", ErrHandoff)
	case err != nil:
		return h, unavailable("taking a hand-off", err)
	}
	if err := json.Unmarshal(payload, &h); err != nil {
		return h, fmt.Errorf("%w: its record cannot be read", ErrHandoff)
	}
	// The store checks the end of its life as well; this also catches a clock
	// that was set back since.
	if left := h.Expires.Sub(now); left <= 0 || left > handoffLife+clockSkew {
		return h, fmt.Errorf("%w: expired", ErrHandoff)
	}
	return h, nil
}

// recordByID returns the living session with this id.
func (m *Manager) recordByID(ctx context.Context, id string) (Record, error) {
	recs, err := m.store.ListSessions(ctx, Filter{ID: id})
	if err != nil {
		return Record{}, unavailable("loading a session", err)
	}
	if id == "" || len(recs) != 1 || recs[0].ID != id {
		return Record{}, errUnknown
	}
	return recs[0], m.refuseDead(ctx, recs[0])
}
