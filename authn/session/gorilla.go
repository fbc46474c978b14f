package session

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gorilla/sessions"

	"sallyport/authn"
)

// valueKey keys the Values of a gorilla session.
type valueKey int

// The values that a gorilla session of this store can hold.
const (
	KeySession      valueKey = iota // authn.Session, read only: who it is
	KeySignIn                       // NewSession: set it and Save to sign in
	KeyVerification                 // authn.Verification: set it and Save to verify

	keyHost    // string: the canonical host to sign in on, instead of r.Host
	keyIDToken // string: what signing out leaves for the provider's end-session endpoint
)

var errName = errors.New("session: the store knows one cookie name")

// blank is a session of the library without a person.
func (m *Manager) blank() *sessions.Session {
	g := sessions.NewSession(m, m.cookie)
	o := m.options
	g.Options, g.IsNew = &o, true
	return g
}

// saved saves g by the library, and returns who it is for then. Every change of a
// browser's session goes this way; reading does not ([Manager.Load]): it is on the way of
// each request.
func saved(w http.ResponseWriter, r *http.Request, g *sessions.Session) (authn.Session, error) {
	if err := g.Save(r, w); err != nil {
		return authn.Session{}, err
	}
	s, _ := g.Values[KeySession].(authn.Session)
	return s, nil
}

// Get implements [sessions.Store]: New, once per request.
func (m *Manager) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(m, name)
}

// New implements [sessions.Store]. The host is r.Host, which the caller has
// canonicalised. No session is a new, empty one and no error; a store that is
// down is ErrUnavailable (and, as gorilla demands, an empty session).
func (m *Manager) New(r *http.Request, name string) (*sessions.Session, error) {
	g := m.blank()
	if name != m.cookie {
		return sessions.NewSession(m, name), fmt.Errorf("%w: %q", errName, m.cookie)
	}
	s, err := m.Load(r, r.Host)
	switch {
	case errors.Is(err, ErrNoSession):
		return g, nil
	case err != nil:
		return g, err
	}
	adopt(g, s)
	return g, nil
}

// Save implements [sessions.Store]: it signs out (Options.MaxAge < 0), signs in
// (KeySignIn) or verifies (KeyVerification). A session without sign-in is not stored,
// other values are refused rather than lost, and of Options only the sign of MaxAge
// counts: a caller cannot make the cookie weaker.
func (m *Manager) Save(r *http.Request, w http.ResponseWriter, g *sessions.Session) error {
	if g.Name() != m.cookie {
		return fmt.Errorf("%w: %q", errName, m.cookie)
	}
	for k := range g.Values {
		if _, ok := k.(valueKey); !ok {
			return fmt.Errorf("session: a session keeps an identity, not a value of its own (%v)", k)
		}
	}
	was, _ := g.Values[KeySession].(authn.Session)
	var s authn.Session
	var idToken string
	var err error
	if n, ok := g.Values[KeySignIn].(NewSession); g.Options != nil && g.Options.MaxAge < 0 {
		idToken, err = m.signOut(w, r, was)
	} else if ok {
		host, named := g.Values[keyHost].(string)
		if !named {
			host = r.Host
		}
		s, err = m.signIn(w, r, host, n)
	} else if v, ok := g.Values[KeyVerification].(authn.Verification); ok {
		s, err = m.verify(w, r, was, v)
	} else if was.ID == "" {
		return errAbsent
	} else {
		return nil // unchanged: Load has touched it
	}
	if err != nil {
		return err
	}
	adopt(g, s)
	if idToken != "" {
		g.Values[keyIDToken] = idToken
	}
	return nil
}

// adopt makes g stand for s; the zero session empties it. Values is a fresh map:
// nothing of it is shared between requests.
func adopt(g *sessions.Session, s authn.Session) {
	g.ID, g.IsNew, g.Values = s.ID, s.ID == "", map[any]any{}
	if s.ID != "" {
		g.Values[KeySession] = s
	}
}
