package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
)

// drawKeyUse is the key ring's name for what policies draw by. The key is made once and stays: a new one would
// put other people into every percentage.
const drawKeyUse = "policy-draw"

// makeDrawKey returns the key of this installation, and makes it on first start.
func makeDrawKey(ctx context.Context, keys authn.KeyStore) (policy.DrawKey, error) {
	secret := make([]byte, len(policy.DrawKey{}))
	rand.Read(secret) // never fails
	k, err := keys.AddFirstKey(ctx, authn.Key{ID: "draw-1", Use: drawKeyUse, Secret: secret, CreatedAt: time.Now()})
	if err != nil {
		return policy.DrawKey{}, fmt.Errorf("key for what policies draw: %w", err)
	}
	return drawKeyOf(k)
}

func drawKeyOf(k authn.Key) (key policy.DrawKey, err error) {
	if copy(key[:], k.Secret) != len(key) || len(k.Secret) != len(key) {
		return policy.DrawKey{}, fmt.Errorf("key %s is not a %d byte %q key", k.ID, len(key), drawKeyUse)
	}
	return key, nil
}

// keyedAsHere returns policies that draw as the proxy of this store does. Where the store cannot be read, they draw by the
// key of tests, and the person is told: then it is not known when somebody is asked again, nor who is in a percentage.
func keyedAsHere(ctx context.Context, g *globals, std stdio, p *policy.Policy) *policy.Policy {
	if !p.Draws() {
		return p
	}
	var key policy.DrawKey
	err := withExistingStore(ctx, g, func(_ *config.Config, db *sqlstore.DB) error {
		keys, err := db.Keys(ctx, drawKeyUse)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return errors.New("there is no key yet: the first `serve` makes it")
		}
		key, err = drawKeyOf(keys[0])
		return err
	})
	if err != nil {
		fmt.Fprintln(std.err, "warning: what the policy draws (every with jitter, enforce with percent) is drawn by the key of tests, not by that of the store:", err)
	}
	return p.Keyed(key)
}
