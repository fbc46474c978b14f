package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy/ipintel"
)

type dataApplyCmd struct {
	Force bool          `help:"What the files hold now is meant, whoever it locks out and however much larger or smaller it is."`
	Wait  time.Duration `default:"30s" help:"For how long to wait for the running proxy to take it up (default 30s)."`
}

// Run asks the running proxies to read refused sources again. With --force it approves what the files hold at this
// moment, by hash: what somebody puts in their place afterwards is judged as ever.
func (d dataApplyCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if d.Wait > maxPolicyWait {
		return fmt.Errorf("--wait: %s at most", maxPolicyWait)
	}
	return withExistingStore(ctx, g, func(c *config.Config, db *sqlstore.DB) error {
		intel, err := loadIntelAnyway(c, std)
		if err != nil {
			return err
		}
		r := sqlstore.DataRequest{At: time.Now(), By: operator(), Forced: d.Force, Sources: map[string]string{}}
		for _, s := range intel.Sources() {
			if !s.Missing {
				r.Sources[s.Name] = s.SHA256
			}
		}
		detail := map[string]string{"sources": namesOf(intel.Sources())}
		if d.Force {
			detail["force"] = "yes"
		}
		if err := note(ctx, db, "data_apply", detail); err != nil {
			return err
		}
		seq, err := db.AddDataRequest(ctx, r)
		if err != nil {
			return err
		}
		answer, err := awaitData(ctx, db, seq, d.Wait)
		if err != nil {
			return err
		}
		return answer.print(std, intel.Sources())
	})
}

// print answers no (exit status 1) if a source keeps what it had.
func (a dataAnswer) print(std stdio, sources []ipintel.Source) error {
	io.WriteString(std.out, a.Report.Text())
	for _, s := range sources { // in configured order
		if why := a.Kept[s.Name]; why != "" {
			fmt.Fprintf(std.err, "%s keeps what it had: %s\n", s.Name, plain(why))
		}
	}
	if len(a.Kept) > 0 {
		return errNo
	}
	fmt.Fprintln(std.out, "All IP data is in use as the files hold it.")
	return nil
}

// awaitData waits for the first answer of a running proxy.
func awaitData(ctx context.Context, db *sqlstore.DB, seq int64, wait time.Duration) (a dataAnswer, err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	late := time.After(wait)
	for {
		text, err := db.DataAnswer(ctx, seq)
		if err != nil {
			return a, err
		}
		if text != "" {
			return a, json.Unmarshal([]byte(text), &a)
		}
		select {
		case <-ctx.Done():
			return a, errors.Join(context.Cause(ctx), db.WithdrawDataRequest(context.WithoutCancel(ctx), seq))
		case <-tick.C:
		case <-late:
			return a, errors.Join(errors.New("no running proxy has taken it up: is `sallyport serve` running on this store? One that is judging it still answers in its log"), db.WithdrawDataRequest(ctx, seq))
		}
	}
}
