package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// Why there is no session. Fixed values: refusing a request allocates nothing.
var (
	errAbsent    = fmt.Errorf("%w: no cookie", ErrNoSession)
	errDuplicate = fmt.Errorf("%w: the cookie is there more than once", ErrNoSession)
	errLength    = fmt.Errorf("%w: the cookie has the wrong length", ErrNoSession)
	errAltered   = fmt.Errorf("%w: the cookie was not sealed by us, or with a key that is gone", ErrNoSession)
	errUnknown   = fmt.Errorf("%w: signed out, revoked or replaced", ErrNoSession)
	errHost      = fmt.Errorf("%w: the cookie belongs to another host", ErrNoSession)
	errExpired   = fmt.Errorf("%w: expired", ErrNoSession)
	errIdle      = fmt.Errorf("%w: idle for too long", ErrNoSession)
	errAhead     = fmt.Errorf("%w: it lies in the future, the clock was set back", ErrNoSession)
	errPerson    = fmt.Errorf("%w: the cookie belongs to another session", ErrNoSession)
)

// lookup returns the value of the cookie called name and how often it is there.
// It reads as net/http does, without its allocations, except that it undoes no
// quotes and keeps values that net/http would drop: both count, so that a
// second cookie cannot hide by being malformed.
func lookup(h http.Header, name string) (value string, times int) {
	for _, line := range h["Cookie"] {
		for more := true; more; {
			var part string
			part, line, more = strings.Cut(line, ";")
			rest, ok := strings.CutPrefix(textproto.TrimString(part), name)
			if !ok {
				continue
			}
			if rest = textproto.TrimString(rest); rest == "" || rest[0] == '=' {
				value, times = strings.TrimPrefix(rest, "="), times+1
			}
		}
	}
	return value, times
}

// sealed returns the session cookie as it was sent, if there is one that could be ours.
//
// If there are two cookies of one name, one was planted: browsers send one per name, host
// and path, and ours has one path. The genuine one cannot be recognised, so neither is
// used.
func (m *Manager) sealed(r *http.Request) (string, error) {
	value, times := lookup(r.Header, m.cookie)
	switch {
	case times == 0:
		return "", errAbsent
	case times > 1:
		return "", errDuplicate
	case len(value) != sealedLen:
		return "", errLength
	}
	return value, nil
}

// open returns the digest of the token in a sealed cookie.
func (m *Manager) open(ctx context.Context, value string) (Digest, error) {
	var t token
	if m.decode(value, &t) != nil {
		if err := m.ring.reloadSoon(ctx); err != nil {
			// The key may be one that we could not read: not knowing is not "no".
			return Digest{}, unavailable("reading keys", err)
		}
		if m.decode(value, &t) != nil {
			return Digest{}, errAltered
		}
	}
	return sha256.Sum256(t[:]), nil
}

func (m *Manager) decode(value string, t *token) error {
	return securecookie.DecodeMulti(m.cookie, value, t, m.ring.keys.Load().cookies...)
}

// issue makes a token. The caller stores the digest, and sends the cookie only
// when the store has it.
func (m *Manager) issue() (Digest, *http.Cookie, error) {
	var t token
	rand.Read(t[:])
	value, err := securecookie.EncodeMulti(m.cookie, t, m.ring.keys.Load().cookies...)
	if err != nil {
		return Digest{}, nil, errors.New("sealing a session cookie did not work")
	}
	return sha256.Sum256(t[:]), m.newCookie(m.cookie, value, 0), nil
}

// HostCookie is the full name of a cookie of ours that belongs to one host. It is the one
// place that makes such names.
//
// On https the prefix "__Host-" makes browsers refuse the cookie from a sibling domain or
// from plain http, which could otherwise plant one (RFC 6265bis section 4.1.3.2). A
// script of a tool runs on the tool's own host, and can push our cookies out of the jar
// and write its own in their place, HttpOnly or not: "__Host-Http-" makes browsers
// (Chromium from 140 on, Firefox 153) refuse a cookie that a script sets (RFC 6265bis
// section 4.1.3.4). Others treat it as "__Host-"; authn/README.md lists what they permit.
func HostCookie(secure bool, name string) string {
	if secure {
		return "__Host-Http-" + name
	}
	return name
}

func (m *Manager) newCookie(name, value string, maxAge int) *http.Cookie {
	o := m.options
	o.MaxAge = maxAge
	return sessions.NewCookie(name, value, &o)
}

// send adds the cookie to the response, which no cache may keep from then on.
func send(w http.ResponseWriter, c *http.Cookie) {
	http.SetCookie(w, c)
	w.Header().Set("Cache-Control", "no-store")
}
