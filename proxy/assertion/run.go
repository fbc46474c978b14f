package assertion

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Run rereads the keys once a minute, and rotates them if Config says so, until ctx ends.
// Without it a process never learns of the keys of others.
func (s *Signer) Run(ctx context.Context) {
	t := time.NewTicker(reloadEvery)
	defer t.Stop()
	// Processes that share the store do not all rotate in the same minute.
	due := s.cfg.RotateEvery + rand.N(10*reloadEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := s.Reload(ctx)
		if err == nil && s.cfg.RotateEvery > 0 && s.cfg.Now().Sub(s.ring.Load().all[0].created) >= due {
			if err = s.Rotate(ctx); err == nil {
				s.cfg.Logger.Info("assertion key rotated", "kid", s.ring.Load().all[0].public.KeyID, "signs_in", s.lead())
			}
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrRotating) {
			s.cfg.Logger.Warn("cannot maintain assertion keys", "error", err)
		}
	}
}
