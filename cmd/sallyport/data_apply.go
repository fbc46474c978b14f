package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy/ipintel"
	"sallyport/proxy/rollout"
)

type dataApplyCmd struct {
	Sources []string `arg:"" optional:"" placeholder:"SOURCE" help:"Sources that are meant, by name (default: all)."`

	Force  bool          `help:"Use the files as they are, even if that locks people out or if they are much larger or smaller."`
	Reason string        `placeholder:"TEXT" help:"Why, for the audit log."`
	Wait   time.Duration `default:"30s" help:"For how long to wait for the running proxy to take it up (default 30s)."`
}

// Run asks the running proxies to read refused sources again. With --force it approves
// what the files hold at this moment, by name and hash: content that takes its place
// afterwards is judged as ever.
func (d dataApplyCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if d.Wait > rollout.MaxWait {
		return fmt.Errorf("--wait: %s at most", rollout.MaxWait)
	}
	return withExistingStore(ctx, g, func(c *config.Config, db *sqlstore.DB) error {
		intel, err := loadIntelAnyway(c, std)
		if err != nil {
			return err
		}
		sources, err := d.pick(intel.Sources())
		if err != nil {
			return err
		}
		r := rollout.DataRequest{At: time.Now(), By: operator(), Forced: d.Force, Sources: map[string]string{}}
		for _, s := range sources {
			if !s.Missing {
				r.Sources[s.Name] = s.SHA256
			}
		}
		detail := given(map[string]string{"sources": rollout.SourceNames(sources), "force": map[bool]string{true: "yes"}[d.Force], "reason": d.Reason})
		if err := recordOperatorEvent(ctx, db, "data_apply", detail); err != nil {
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
		return printData(std, answer, sources)
	})
}

// pick finds the sources that were named. One that cannot be loaded has no content that
// could be approved.
func (d dataApplyCmd) pick(all []ipintel.Source) ([]ipintel.Source, error) {
	if len(d.Sources) == 0 {
		return all, nil
	}
	for _, name := range d.Sources {
		i := slices.IndexFunc(all, func(s ipintel.Source) bool { return s.Name == name })
		switch {
		case i < 0:
			return nil, fmt.Errorf("there is no IP source %q; there are %s", name, nameList(all))
		case all[i].Missing:
			return nil, fmt.Errorf("%s cannot be loaded, and nothing of it can be applied: %s", name, plain(all[i].Err))
		}
	}
	return slices.DeleteFunc(all, func(s ipintel.Source) bool { return !slices.Contains(d.Sources, s.Name) }), nil
}

func nameList(all []ipintel.Source) string {
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	return orNone(names)
}

// printData answers no (exit status 1) if one of the sources that were asked about keeps
// what it had.
func printData(std stdio, a rollout.DataAnswer, sources []ipintel.Source) error {
	if a.Report != nil {
		io.WriteString(std.out, a.Report.Text())
	}
	kept := false
	for _, s := range sources { // in configured order
		if why := a.Kept[s.Name]; why != "" {
			kept = true
			fmt.Fprintf(std.err, "%s keeps what it had: %s\n", s.Name, plain(why))
		}
	}
	if kept {
		return errNo
	}
	fmt.Fprintf(std.out, "In use as the files hold it: %s.\n", nameList(sources))
	return nil
}

// awaitData waits for the first answer of a running proxy.
func awaitData(ctx context.Context, db *sqlstore.DB, seq int64, wait time.Duration) (a rollout.DataAnswer, err error) {
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
