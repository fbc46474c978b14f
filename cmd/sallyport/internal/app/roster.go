package app

import (
	"context"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
)

// roster is the roster in force. A reload replaces it whole, also for the sessions that
// exist.
type roster struct {
	now      atomic.Pointer[config.Roster]
	sessions interface {
		Recompleted(ctx context.Context, changed func(authn.Person) bool) (int, error)
	}
	logger *slog.Logger
}

func newRoster(r config.Roster, logger *slog.Logger) *roster {
	h := &roster{logger: logger}
	h.now.Store(&r)
	return h
}

func (h *roster) complete(p authn.Person) authn.Person { return h.now.Load().Complete(p) }

// use brings a roster into force: for people who sign in from now on, and for the
// sessions that exist, of which the store has only what the provider said. If the store
// does not answer, requests are judged by the new roster all the same, and open streams
// as soon as it does.
func (h *roster) use(ctx context.Context, r config.Roster) {
	before := *h.now.Swap(&r)
	changed := func(p authn.Person) bool { return !reflect.DeepEqual(before.Complete(p), r.Complete(p)) }
	if !h.recompleted(ctx, changed) {
		go func() {
			retry := time.NewTicker(time.Second)
			defer retry.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-retry.C:
					if h.recompleted(ctx, changed) {
						return
					}
				}
			}
		}()
	}
}

func (h *roster) recompleted(ctx context.Context, changed func(authn.Person) bool) bool {
	n, err := h.sessions.Recompleted(ctx, changed)
	if err != nil {
		h.logger.Error("cannot judge all open streams by the new roster", "error", err)
		return false
	}
	if n > 0 {
		h.logger.Info("the roster has changed for live sessions", "sessions", n)
	}
	return true
}
