package session

import (
	"context"
	"time"

	"sallyport/authn"
)

// Digest is the SHA-256 of a session token. Tokens themselves are never stored.
type Digest [32]byte

// Record is a session as it is stored, one for all hosts that know it.
type Record struct {
	ID              string
	Person          authn.Person // as the provider describes them; what List returns is completed
	CreatedAt       time.Time
	ExpiresAt       time.Time
	LastSeenAt      time.Time
	AuthTime        time.Time
	ProviderSession string // sid claim, for back-channel logout; may be empty

	// Sealed by the Manager before they reach the store; empty when absent.
	IDToken      []byte // id_token_hint at sign-out
	RefreshToken []byte
	RefreshedAt  time.Time // last time the provider confirmed the person
}

// Token binds one host's cookie to a session, with the freshness that this
// cookie, and no other of the same session, has earned.
type Token struct {
	Digest       Digest
	SessionID    string
	Host         string
	CreatedAt    time.Time
	Verification authn.Verification
}

// Filter selects sessions to list or revoke; empty fields match everything.
type Filter struct {
	ID              string
	Subject         authn.Subject
	Email           authn.Email
	ProviderIssuer  string // with ProviderSession
	ProviderSession string
	RefreshedBefore time.Time // only sessions that hold a refresh token
	Limit           int
}

// Store is what the Manager needs from a database. Times are kept to the
// microsecond, in UTC. Every write is durable when the method returns.
type Store interface {
	// CreateSession stores r and its first token in one transaction. It fails with
	// authn.ErrBlocked, and stores nothing, if the person is blocked.
	CreateSession(ctx context.Context, r Record, t Token) error
	// LoadSession returns the session that d belongs to, or authn.ErrNotFound.
	// It does not judge expiry.
	LoadSession(ctx context.Context, d Digest) (Record, Token, error)
	// ReplaceToken removes old and stores t in one transaction. It fails with
	// authn.ErrNotFound, and stores nothing, if old is no longer there (of two
	// concurrent rotations one wins), or if t was verified with a passkey that has
	// been blocked or removed since: a session must not outlive its passkey.
	ReplaceToken(ctx context.Context, old Digest, t Token) error
	// PutToken stores t and removes every other token of the same session and
	// host. It fails with authn.ErrNotFound if the session is gone, and for such a
	// passkey.
	PutToken(ctx context.Context, t Token) error
	// TouchSessions moves LastSeenAt forward, never back; unknown ids are ignored.
	TouchSessions(ctx context.Context, seen map[string]time.Time) error
	// RefreshSession replaces person, refresh token and RefreshedAt. If the person is
	// blocked, which a new address can bring about, the session ends as with RevokeSessions.
	RefreshSession(ctx context.Context, id string, p authn.Person, refreshToken []byte, at time.Time) error
	// RevokeSessions deletes the sessions that match f with their tokens, notes
	// each in the change log in the same transaction, and returns their ids.
	// Limit does not apply. An empty filter, and half of a pair (an issuer without
	// its sid or subject id), is refused.
	RevokeSessions(ctx context.Context, f Filter) ([]string, error)
	// TrimSessions ends the sessions of a person so that keep are left, spare among them:
	// those that no host has a verified token of go first, then those made first. It
	// notes them as RevokeSessions does, and returns their ids. keep is at least 1.
	TrimSessions(ctx context.Context, person authn.Subject, keep int, spare string) ([]string, error)
	// ListSessions returns matching sessions, newest first.
	ListSessions(ctx context.Context, f Filter) ([]Record, error)
	// PurgeSessions deletes sessions that expired, or were last seen, before the
	// given times, and trims the change log.
	PurgeSessions(ctx context.Context, expiredBefore, seenBefore time.Time) (int, error)
	// SessionChanges returns the ids of sessions changed or revoked after sequence number
	// `after` by any process, and the newest number. Changes are what ReplaceToken,
	// PutToken, RefreshSession and RevokeSessions do, and the ends that a blocked or
	// removed passkey brings about, each noted in the transaction that does it; new
	// sessions and touches are no changes. 0 asks for all that the log holds, for a
	// caller without state. Any other number outside the log is an error, because the
	// caller has missed changes that are no longer known. It is cheap enough to be called
	// every 250 ms.
	SessionChanges(ctx context.Context, after int64) (ids []string, last int64, err error)
}

// Once keeps records that can be taken exactly once: hand-off codes here, sign-in
// flows and ceremonies elsewhere (each consumer declares its own copy).
type Once interface {
	// Put stores payload under (purpose, key) until expires.
	Put(ctx context.Context, purpose string, key [32]byte, payload []byte, expires time.Time) error
	// Take removes and returns the payload in one statement; authn.ErrNotFound
	// if it is not there, was taken before, or has expired at now.
	Take(ctx context.Context, purpose string, key [32]byte, now time.Time) ([]byte, error)
}
