package main

import (
	"context"
	"time"

	"sallyport/cmd/sallyport/internal/sqlstore"
)

// recordOperatorEvent leaves the event of an operator's act in the store, for the server
// to put it into the audit log. Commands call it before they act: an act that cannot be
// noted does not happen, and a note without an act says what was tried.
func recordOperatorEvent(ctx context.Context, db *sqlstore.DB, event string, detail map[string]string) error {
	return db.AddOperatorEvent(ctx, sqlstore.OperatorEvent{At: time.Now(), By: operator(), Event: event, Detail: detail})
}
