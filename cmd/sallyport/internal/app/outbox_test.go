package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/proxy/audit"
)

// shelf is an outbox in memory, and the log behind it, which fail on demand.
type shelf struct {
	mu         sync.Mutex
	events     []sqlstore.OperatorEvent
	log        []string
	logFails   bool
	loseDelete bool // the next delete
}

var errShelf = errors.New("disk full")

// do changes the shelf, or looks at it, while the outbox runs.
func (s *shelf) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *shelf) OperatorEvents(_ context.Context, limit int) ([]sqlstore.OperatorEvent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events[:min(limit, len(s.events))]), nil
}

func (s *shelf) DeleteOperatorEvents(_ context.Context, upTo int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loseDelete {
		s.loseDelete = false
		return errShelf
	}
	s.events = slices.DeleteFunc(s.events, func(e sqlstore.OperatorEvent) bool { return e.Seq <= upTo })
	return nil
}

func (s *shelf) Append(_ context.Context, r audit.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logFails {
		return errShelf
	}
	s.log = append(s.log, r.Event+" "+r.User+" "+r.Detail["outbox"]+" "+r.Detail["ticket"])
	return nil
}

func (s *shelf) add(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, sqlstore.OperatorEvent{Seq: n, At: monday, By: "root", Event: "ticket_create", Detail: map[string]string{"ticket": fmt.Sprint("t", n)}})
}

// At once at the start, in order, within a second, and again until it worked.
func TestOutboxReachesTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		var logged bytes.Buffer
		o := &outbox{store: s, audit: s, logger: slog.New(slog.NewTextHandler(&logged, nil))}
		s.add(1)
		s.add(2)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); o.run(ctx) }()
		wants := func(want ...string) {
			t.Helper()
			synctest.Wait()
			s.do(func() {
				if !slices.Equal(s.log, want) {
					t.Errorf("log %q, want %q", s.log, want)
				}
				s.log = nil
			})
		}
		wants("operator.ticket_create root 1 t1", "operator.ticket_create root 2 t2")
		s.add(3)
		<-time.After(outboxEvery)
		wants("operator.ticket_create root 3 t3")

		s.do(func() { s.logFails = true })
		s.add(4)
		<-time.After(5 * outboxEvery)
		wants()
		if n := strings.Count(logged.String(), "disk full"); n != 1 {
			t.Errorf("%d lines about one outage", n)
		}
		s.do(func() { s.logFails, s.loseDelete = false, true })
		<-time.After(2 * outboxEvery)
		wants("operator.ticket_create root 4 t4", "operator.ticket_create root 4 t4") // at least once
		for n := range int64(2*outboxBatch + 1) {
			s.add(5 + n)
		}
		<-time.After(outboxEvery)
		synctest.Wait()
		s.do(func() {
			if len(s.log) != 2*outboxBatch+1 || len(s.events) != 0 {
				t.Errorf("%d in the log, %d left", len(s.log), len(s.events))
			}
		})
		stop()
		<-done
	})
}
