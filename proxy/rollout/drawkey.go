package rollout

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"sallyport/authn"
	"sallyport/policy"
)

// drawKeyUse is the key ring's name for the key that policies draw by. The key is made
// once and never rotated: a new one would put other people into every percentage.
const drawKeyUse = "policy-draw"

// ErrNoDrawKey means that the installation has never been started.
var ErrNoDrawKey = errors.New("there is no key yet: the first `serve` makes it")

// MakeDrawKey returns the key of this installation, and makes it on first start.
func MakeDrawKey(ctx context.Context, keys authn.KeyStore) (policy.DrawKey, error) {
	secret := make([]byte, len(policy.DrawKey{}))
	rand.Read(secret) // never fails
	k, err := keys.AddFirstKey(ctx, authn.Key{ID: "draw-1", Use: drawKeyUse, Secret: secret, CreatedAt: time.Now()})
	if err != nil {
		return policy.DrawKey{}, fmt.Errorf("key for what policies draw: %w", err)
	}
	return drawKeyOf(k)
}

// ReadDrawKey returns the key of this installation, or ErrNoDrawKey.
func ReadDrawKey(ctx context.Context, keys authn.KeyStore) (policy.DrawKey, error) {
	list, err := keys.Keys(ctx, drawKeyUse)
	if err != nil {
		return policy.DrawKey{}, err
	}
	if len(list) == 0 {
		return policy.DrawKey{}, ErrNoDrawKey
	}
	return drawKeyOf(list[0])
}

func drawKeyOf(k authn.Key) (key policy.DrawKey, err error) {
	if copy(key[:], k.Secret) != len(key) || len(k.Secret) != len(key) {
		return policy.DrawKey{}, fmt.Errorf("key %s is not a %d byte %q key", k.ID, len(key), drawKeyUse)
	}
	return key, nil
}
