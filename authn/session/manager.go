package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/sessions"

	"sallyport/authn"
)

var (
	// ErrNoSession says that the request carries no session that is good here
	// and now. The wrapped text says why, without anything secret.
	ErrNoSession = errors.New("no session")
	// ErrUnavailable says that it could not be found out. Callers fail closed.
	ErrUnavailable = errors.New("session store unavailable")
	// ErrHandoff says that a hand-off code is unknown, spent, expired, or not
	// meant for this host or this browser. The remedy is to start again.
	ErrHandoff = errors.New("hand-off refused")
	// ErrReturnTo says that a return-to address leads off the target host.
	ErrReturnTo = errors.New("return address refused")
)

const (
	cacheSize = 1 << 17 // cookies held in memory, where the configuration has no other number

	pollEvery  = 250 * time.Millisecond
	blindAfter = 5 * time.Second
	purgeEvery = time.Minute
	flushEvery = 10 * time.Second
	// clockSkew is how far in the future a stored time may lie (clocks of two
	// replicas differ) before it is taken for a clock that was set back.
	clockSkew = 2 * time.Minute
)

// Config is what a [Manager] needs. Store, Keys and Codes are required.
type Config struct {
	Store Store
	Keys  authn.KeyStore
	Codes Once // hand-off codes

	MaxAge      time.Duration // absolute lifetime from sign-in; required
	IdleTimeout time.Duration // required
	Secure      bool          // people reach us by https: "__Host-" cookies with Secure
	// MaxPerPerson is how many sessions a person may have at once; required. One
	// more ends another: first those that were never verified, then the oldest. An
	// attacker with only the password can end at most one verified session, when their
	// first one exceeds the limit.
	MaxPerPerson int
	// Complete adds to a person what is known of them besides what the provider says (the
	// roster); nil adds nothing. It is asked whenever a session is read, and what it adds
	// is never stored: so a change holds for sessions that exist, and what it no longer
	// says falls back to the provider's word. When its answers change, call
	// [Manager.Recompleted].
	Complete  func(authn.Person) authn.Person
	CacheSize int // cookies held in memory; 0 is 131,072

	Now    func() time.Time // nil is time.Now
	Logger *slog.Logger     // nil is silence
}

// Manager owns the sessions. Its methods may be called concurrently.
type Manager struct {
	store Store
	codes Once
	log   *slog.Logger
	clock clock
	ring  ring
	cache *cache

	complete  func(authn.Person) authn.Person
	perPerson int

	maxAge, idle  time.Duration
	cookie        string
	handoffCookie string
	deviceCookie  string
	deviceBefore  string           // its name until the prefix changed; "": none
	options       sessions.Options // of every cookie; copied, never handed out

	pollMu sync.Mutex // one poll at a time; guards seq
	seq    int64
	polled atomic.Pointer[time.Time] // start of the last poll that succeeded

	endMu sync.Mutex
	onEnd atomic.Pointer[[]func(id string)]
}

var _ sessions.Store = (*Manager)(nil)

// New returns a Manager with its keys loaded; the first process on an empty store makes
// them. Call [Manager.Run] for the periodic work.
func New(ctx context.Context, c Config) (*Manager, error) {
	switch {
	case c.Store == nil, c.Keys == nil, c.Codes == nil:
		return nil, errors.New("session: Store, Keys and Codes are required")
	case c.MaxAge <= 0, c.IdleTimeout <= 0:
		return nil, fmt.Errorf("session: MaxAge is %s and IdleTimeout %s, and both must be positive", c.MaxAge, c.IdleTimeout)
	case c.MaxPerPerson <= 0:
		return nil, fmt.Errorf("session: MaxPerPerson is %d, and must be positive", c.MaxPerPerson)
	case c.CacheSize < 0:
		return nil, errors.New("session: CacheSize must not be negative")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Complete == nil {
		c.Complete = func(p authn.Person) authn.Person { return p }
	}
	m := &Manager{
		store: c.Store, codes: c.Codes, log: c.Logger, complete: c.Complete, perPerson: c.MaxPerPerson,
		clock:  newClock(c.Now),
		cache:  newCache(cmp.Or(c.CacheSize, cacheSize)),
		maxAge: c.MaxAge,
		idle:   c.IdleTimeout,
		cookie: HostCookie(c.Secure, "sallyport"), handoffCookie: HostCookie(c.Secure, "sallyport-handoff-"), deviceCookie: HostCookie(c.Secure, "sallyport-device"),
		// No Domain: the cookie stays with the host that set it. No Max-Age: it
		// is forgotten with the browser, and the server decides anyway.
		options: sessions.Options{Path: "/", Secure: c.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode},
	}
	if c.Secure {
		m.deviceBefore = "__Host-sallyport-device"
	}
	m.ring.store, m.ring.clock = c.Keys, m.clock
	if err := m.ring.init(ctx); err != nil {
		return nil, fmt.Errorf("session keys: %w", err)
	}
	if err := m.poll(ctx); err != nil {
		return nil, fmt.Errorf("session changes: %w", err)
	}
	return m, nil
}

// CookieName is the name of the session cookie; it must never reach an upstream.
func (m *Manager) CookieName() string { return m.cookie }

// HandoffCookiePrefix is how the names of the cookies begin that bind a hand-off to the
// browser that began it; they must never reach an upstream either.
func (m *Manager) HandoffCookiePrefix() string { return m.handoffCookie }

// RotateKeys makes new keys, for cookies and for the tokens of the OpenID
// provider. The three newest open: a cookie sealed four rotations ago is
// refused, and so a session older than that has to sign in again. Of the keys for
// device cookies the sixteen newest open: rotated once a month, devices stay known
// for a year.
func (m *Manager) RotateKeys(ctx context.Context) error {
	if err := m.ring.rotate(ctx); err != nil {
		return unavailable("rotating keys", err)
	}
	return nil
}

// OnEnd registers f to be called with the id of every session that ended or changed
// (person, token), in this process or another, so that open streams of it can be judged
// again. f is called in the goroutine that caused the change, may be called more than
// once for one change, and must not block.
func (m *Manager) OnEnd(f func(id string)) {
	m.endMu.Lock()
	defer m.endMu.Unlock()
	var fs []func(string)
	if old := m.onEnd.Load(); old != nil {
		fs = *old
	}
	fs = append(slices.Clip(fs), f)
	m.onEnd.Store(&fs)
}

// changed forgets what the cache holds of the sessions, then tells OnEnd. It is
// called after the store has committed, so a load that starts after it returns
// sees the new state.
func (m *Manager) changed(ids ...string) {
	for _, id := range ids {
		m.cache.drop(id)
	}
	if fs := m.onEnd.Load(); fs != nil {
		for _, id := range ids {
			for _, f := range *fs {
				f(id)
			}
		}
	}
}

func (m *Manager) session(r Record, t Token) authn.Session {
	return authn.Session{
		ID: r.ID, Person: m.complete(r.Person), Host: t.Host,
		CreatedAt: r.CreatedAt, ExpiresAt: m.expiry(r), LastSeenAt: r.LastSeenAt,
		AuthTime: r.AuthTime, Verification: t.Verification,
	}
}

// unavailable wraps a store's error. Callers have dealt with authn.ErrNotFound.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
}
