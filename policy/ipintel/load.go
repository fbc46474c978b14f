package ipintel

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Poll <= 0 {
		c.Poll = time.Minute
	}
	return c
}

// Load reads all sources once. A source that cannot be used is missing from the snapshot
// ([Network.Missing]) and is told in the errors, each with file, line where there is one,
// and why. The snapshot is nil only when the configuration itself is wrong.
func Load(c Config) (*Snapshot, []error) {
	c = c.withDefaults()
	specs, err := c.specs()
	if err != nil {
		return nil, []error{err}
	}
	var errs []error
	members := make([]member, len(specs))
	failed := make([]string, len(specs))
	for i, s := range specs {
		members[i].spec = s
		l, _, err := s.load(c.Now())
		if err != nil {
			errs = append(errs, err)
			failed[i] = err.Error()
			continue
		}
		members[i].data = l
	}
	snap, err := newSnapshot(members, c.NAT64, func(i int) Source {
		src := members[i].spec.describe(members[i].data)
		if src.Err = failed[i]; src.Err != "" {
			src.Failures = 1
		}
		return src
	}, new(atomic.Uint64))
	if err != nil {
		return nil, append(errs, err)
	}
	return snap, errs
}

// Check loads everything and gives all that is wrong. It has no effects.
func Check(c Config) error {
	_, errs := Load(c)
	return errors.Join(errs...)
}
