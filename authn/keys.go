package authn

import (
	"context"
	"time"
)

// Key is one secret of a key ring. Use separates purposes ("cookie", "audit",
// "assertion"), so that no key serves two.
type Key struct {
	ID        string
	Use       string
	Secret    []byte
	CreatedAt time.Time
}

// KeyStore keeps the key rings of the installation: of session cookies, identity
// assertions, the audit log, of what is kept of addresses, and of random re-verification.
type KeyStore interface {
	// Keys returns the keys of one use, newest first.
	Keys(ctx context.Context, use string) ([]Key, error)
	// AddFirstKey stores k if its use has no key yet and returns the newest
	// key of that use either way: of two processes that start at once, both get
	// the same key.
	AddFirstKey(ctx context.Context, k Key) (Key, error)
	// AddKey stores k as the newest of its use and drops all but the `keep`
	// newest.
	AddKey(ctx context.Context, k Key, keep int) error
}
