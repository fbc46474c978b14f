package app

import (
	"context"
	"log/slog"
	"maps"
	"strconv"
	"time"

	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/proxy/audit"
)

// outbox moves what operators did by command into the audit log, which only the
// server can write. Each event is there at least once, in order: a crash between log
// and store repeats some, with the same detail "outbox".
type outbox struct {
	store interface {
		OperatorEvents(ctx context.Context, limit int) ([]sqlstore.OperatorEvent, error)
		DeleteOperatorEvents(ctx context.Context, upToSeq int64) error
	}
	audit interface {
		Append(ctx context.Context, r audit.Record) error
	}
	logger *slog.Logger
}

func newOutbox(store *sqlstore.DB, log *audit.Log, logger *slog.Logger) *outbox {
	return &outbox{store: store, audit: log, logger: logger}
}

const (
	outboxEvery = time.Second
	outboxBatch = 100
	outboxFirst = 5 * time.Second // how long the start waits for the events that are there
)

// first moves the operator events from the time when the server was down to the audit
// log, before the first request is served. run retries those that fail.
func (o *outbox) first(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, outboxFirst)
	defer cancel()
	if err := o.drain(ctx); err != nil {
		o.logger.Warn("operator events wait for the audit log", "error", err)
	}
}

// run drains the outbox, at once and then every second, until ctx ends.
func (o *outbox) run(ctx context.Context) {
	tick := time.NewTicker(outboxEvery)
	defer tick.Stop()
	failing := false
	for {
		err := o.drain(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			o.logger.Error("cannot move operator events to the audit log", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (o *outbox) drain(ctx context.Context) error {
	for {
		events, err := o.store.OperatorEvents(ctx, outboxBatch)
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			if err := o.audit.Append(ctx, operatorRecord(e)); err != nil {
				return err
			}
			// One by one, and even if the server is stopping: what is in the log goes.
			if err := o.store.DeleteOperatorEvents(context.WithoutCancel(ctx), e.Seq); err != nil {
				return err
			}
		}
	}
}

func operatorRecord(e sqlstore.OperatorEvent) audit.Record {
	detail := map[string]string{"outbox": strconv.FormatInt(e.Seq, 10)}
	maps.Copy(detail, e.Detail)
	return audit.Record{Time: e.At, Event: "operator." + e.Event, User: e.By, Action: "attempt", Detail: detail}
}
