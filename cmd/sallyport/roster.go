package main

import (
	"context"
	"reflect"
	"sync/atomic"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
)

// rosterHolder is the roster in force; a reload replaces it whole.
type rosterHolder struct{ now atomic.Pointer[config.Roster] }

func newRosterHolder(r config.Roster) *rosterHolder {
	h := new(rosterHolder)
	h.set(r)
	return h
}

func (h *rosterHolder) set(r config.Roster) (before config.Roster) {
	if old := h.now.Swap(&r); old != nil {
		before = *old
	}
	return before
}

func (h *rosterHolder) complete(p authn.Person) authn.Person { return h.now.Load().Complete(p) }

// useRoster brings a roster into force: for people who sign in from now on, and for the sessions that
// exist, of which the store has only what the provider said. If the store does not answer, requests are judged by the new
// roster all the same, and open streams as soon as it does.
func (a *app) useRoster(ctx context.Context, r config.Roster) {
	before := a.roster.set(r)
	changed := func(p authn.Person) bool { return !reflect.DeepEqual(before.Complete(p), r.Complete(p)) }
	if !a.recompleted(ctx, changed) {
		go func() {
			again := time.NewTicker(time.Second)
			defer again.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-again.C:
					if a.recompleted(ctx, changed) {
						return
					}
				}
			}
		}()
	}
}

func (a *app) recompleted(ctx context.Context, changed func(authn.Person) bool) bool {
	n, err := a.sessions.Recompleted(ctx, changed)
	if err != nil {
		a.logger.Error("the roster has changed, but not all open streams were judged by it; it is tried again", "error", err)
		return false
	}
	if n > 0 {
		a.logger.Info("the roster has changed for live sessions", "sessions", n)
	}
	return true
}
