package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/policy/load"
	"sallyport/proxy/rollout"
)

// unheld is about rules that require a kind of passkey of which the store has none: no
// person can answer what they ask, and those they match are shut out.
type unheld struct {
	kind, rule string
	keys       int  // in the store, not blocked
	certain    bool // the rule is enforced for every person
}

func (u *unheld) Error() string {
	return fmt.Sprintf("the rule %s requires a passkey that is %s, and none of the %d in the store is: no person that it matches could get in", u.rule, u.kind, u.keys)
}

// newlyUnheld finds what a request's policy requires, the one in force does not, and no
// passkey in the store is. Of a store without passkeys it finds nothing: people are yet to
// enrol theirs.
func newlyUnheld(ctx context.Context, db *sqlstore.DB, c policy.Config, next *policy.Policy) (out []*unheld, err error) {
	held, err := db.PasskeyClasses(ctx)
	if err != nil {
		return nil, err
	}
	keys := 0
	for _, n := range held {
		keys += n
	}
	now, err := policyInForce(ctx, db)
	if errors.Is(err, authn.ErrNotFound) {
		err = nil
	}
	if keys == 0 || err != nil || now.hash == next.Hash() {
		return nil, err
	}
	var before []policy.ModelRule
	c.Source = []byte(now.source)
	if p, err := load.Read(c); err == nil { // one that does not compile today requires nothing
		before = p.Policy.Model().Rules
	}
	for _, r := range next.Model().Rules {
		kind := unmet(r, held)
		if kind == "" || slices.ContainsFunc(before, func(b policy.ModelRule) bool {
			return b.Name == r.Name && unmet(b, held) == kind && (b.Enforce == nil || r.Enforce != nil)
		}) {
			continue
		}
		out = append(out, &unheld{kind, r.Name, keys, r.Enforce == nil})
	}
	return out, nil
}

// unmet is the kind of passkey that a rule requires and that none of those held is; "": it
// requires none, does not ask, or there is one.
func unmet(r policy.ModelRule, held map[authn.Class]int) string {
	switch {
	case r.Report || r.Action != policy.StepUp || r.Score > 0:
	case r.Asks.Attested && held[authn.ClassAttested] == 0:
		return "attested"
	case r.Asks.DeviceBound && held[authn.ClassAttested]+held[authn.ClassUnattested] == 0:
		return "device_bound"
	}
	return ""
}

// refuseUnheld says so, and refuses the request unless it is forced.
func refuseUnheld(std stdio, list []*unheld, r rollout.Request) error {
	certain := slices.ContainsFunc(list, func(u *unheld) bool { return u.certain })
	for _, u := range list {
		fmt.Fprintf(std.out, "No passkey answers it: %s.\n", plain(u.Error()))
	}
	if !certain || r.Forced {
		return nil
	}
	sayRefused(std, "people enrol such passkeys first, with `mode: report` in the rule until then; or --force")
	return errNo
}
