package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/proxy/audit"
)

// auditAcceptCmd is the way out after a backup of the log was put back, or a new log
// begun. The fact is the first thing that the log then says.
type auditAcceptCmd struct {
	Reason string `required:"" placeholder:"TEXT" help:"Why the log is older than it was, for the record."`
}

func (a auditAcceptCmd) Run(ctx context.Context, g *globals, std stdio) error {
	return withExistingStore(ctx, g, func(_ *config.Config, db *sqlstore.DB) error {
		kept, err := db.LastCheckpoint(ctx)
		if err != nil {
			return err
		}
		if kept == nil {
			fmt.Fprintln(std.err, "The store keeps no checkpoint: the next start accepts the log as it is.")
			return errNo
		}
		records, at, err := audit.Describe(kept)
		if err != nil {
			return err
		}
		if err := recordOperatorEvent(ctx, db, "audit_accept_rollback", map[string]string{
			"reason": a.Reason, "records": strconv.FormatInt(records, 10), "signed": at.UTC().Format(time.RFC3339), "risk": "high",
		}); err != nil {
			return err
		}
		if err := db.ForgetCheckpoint(ctx); err != nil {
			return err
		}
		fmt.Fprintf(std.out, "The next start accepts the log as it is. It had %d records, signed %s; the log will say that this was accepted.\n", records, at.UTC().Format(time.RFC3339))
		return nil
	})
}
