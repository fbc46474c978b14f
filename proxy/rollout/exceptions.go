package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/proxy/audit"
)

// ErrOtherExceptions is about a file of exceptions that was written for another one than
// is in force: to bring it into force would undo what came in between.
var ErrOtherExceptions = errors.New("other exceptions are in force by now")

// WithExceptions is a candidate that differs in the text of the exceptions alone. It fails
// unless the text in force has the hash onto.
func WithExceptions(onto string, source []byte) Candidate {
	return func(c Configuration) (Configuration, error) {
		now := c.Policies.Enforced.Exceptions
		if now == nil {
			return c, errors.New("the running proxy knows of no policy_exceptions: have it reload sallyport.yaml (SIGHUP) first")
		}
		if textHash(now.Source) != onto {
			return c, fmt.Errorf("%w than %s has: a reload brings it into force, unless it is refused", ErrOtherExceptions, now.Name)
		}
		x := *now
		x.Source = source
		c.Policies.Enforced.Exceptions = &x
		return c, nil
	}
}

// exceptions is the text of the exceptions; nil without a file.
func (p Policies) exceptions() []byte {
	if p.Enforced.Exceptions == nil {
		return nil
	}
	return p.Enforced.Exceptions.Source
}

// keptExceptions is how many exceptions a record names.
const keptExceptions = 50

// recordExceptions records which exceptions begin and end with p. Those that end by
// themselves are in the record of their beginning.
func (m *Manager) recordExceptions(ctx context.Context, now, p *policy.Policy, outcome string, o Origin, more map[string]string) error {
	detail := map[string]string{"exceptions": p.ExceptionsHash(), "before": now.ExceptionsHash(), "origin": o.Kind}
	for _, key := range []string{"newly_allowed", "newly_blocked", "against"} {
		if more[key] != "" {
			detail[key] = more[key]
		}
	}
	for key, list := range map[string][]string{"added": onlyIn(p, now), "removed": onlyIn(now, p)} {
		if len(list) > 0 {
			detail[key] = some(list, keptExceptions)
		}
	}
	return m.config.Audit.Append(ctx, audit.Record{Time: time.Now(), Event: "exceptions_" + outcome, User: o.By, Action: outcome, Policy: p.Hash(), Detail: detail})
}

// onlyIn are the exceptions of p that other does not have, as texts.
func onlyIn(p, other *policy.Policy) (out []string) {
	text := func(x *policy.Exception) string {
		return fmt.Sprintf("%s: %s from %s until %s, approved by %s: %s", x.ID, x.User, strings.Join(x.Rules, " "), x.Until.UTC().Format(time.RFC3339), x.ApprovedBy, x.Why)
	}
	var have []string
	for _, x := range other.Exceptions() {
		have = append(have, text(x))
	}
	for _, x := range p.Exceptions() {
		if t := text(x); !slices.Contains(have, t) {
			out = append(out, t)
		}
	}
	return out
}
