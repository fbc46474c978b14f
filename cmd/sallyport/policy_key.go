package main

import (
	"context"
	"fmt"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/proxy/rollout"
)

// keyedAsHere returns policies that draw as the proxy of this store does. If the store
// cannot be read, they draw with the key of tests, and a warning says so: then it is
// unknown when a person is asked again, and who is in a percentage.
func keyedAsHere(ctx context.Context, g *globals, std stdio, p *policy.Policy) *policy.Policy {
	if !p.Draws() {
		return p
	}
	var key policy.DrawKey
	err := withExistingStore(ctx, g, func(_ *config.Config, db *sqlstore.DB) error {
		var err error
		key, err = rollout.ReadDrawKey(ctx, db)
		return err
	})
	if err != nil {
		fmt.Fprintln(std.err, "warning: what the policy draws (every with jitter, enforce with percent) is drawn by the key of tests, not by that of the store:", err)
	}
	return p.Keyed(key)
}
