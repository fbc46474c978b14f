package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/load"
	"sallyport/policy/rehearse"
	"sallyport/proxy/audit"
	"sallyport/proxy/rollout"
)

type policyReplayCmd struct {
	Audit      []string `placeholder:"FILE" help:"Log files (give it several times); default: the configured log with its rotated files."`
	Policy     string   `placeholder:"FILE" help:"The candidate (default: the configured policy)."`
	Since      span     `placeholder:"TIME" help:"Only decisions of the last so long (30d, 12h); default: all."`
	Key        string   `placeholder:"KEY" help:"Public key of the log, as for \"audit verify\"."`
	Unverified bool     `help:"Judge the records even if the log is not intact, and say so."`
	HTML       string   `name:"html" placeholder:"FILE" help:"Write a report with a chart there."`
	JSON       bool     `name:"json" help:"As JSON."`
}

// span is a duration that may be given in days.
type span time.Duration

func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		var n int64
		if n, err = strconv.ParseInt(days, 10, 32); err == nil {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is not a time such as 30d or 12h", text)
	}
	*s = span(d)
	return nil
}

// replayReport is what --json prints.
type replayReport struct {
	Policy   string `json:"policy"` // hash of the candidate
	Verified bool   `json:"verified"`
	Unsigned int64  `json:"unsigned"` // records after the last checkpoint: whole, but not proven
	*rollout.Result
	People   []rehearse.Person  `json:"people"` // those for whose requests the verdict changes
	Examples []rehearse.Example `json:"examples"`
}

// Run checks the log before it believes a word of it.
func (p policyReplayCmd) Run(ctx context.Context, g *globals, std stdio) error {
	c, intel, err := configured(g, std)
	if err != nil {
		return err
	}
	candidate, err := compileFile(std, c, intel, p.Policy)
	if err != nil {
		return err
	}
	candidate = keyedAsHere(ctx, g, std, candidate)
	files := p.Audit
	if len(files) == 0 {
		if files, err = audit.Segments(c.AuditFile); err != nil {
			return err
		}
	}
	report, err := p.verify(ctx, g, files)
	if err != nil {
		return err
	}
	if !report.OK() {
		fmt.Fprint(std.err, report.Text())
		if !p.Unverified {
			fmt.Fprintln(std.err, "The log is not intact, and nothing was judged. --unverified judges it all the same.")
			return errNo
		}
	}
	run := rollout.Replay{Lines: audit.Lines(report.Files...), Candidate: candidate, Routes: c.RouteNames()}
	if p.Since > 0 {
		run.Since = time.Now().Add(-time.Duration(p.Since))
	}
	done := watched(&run, std.err)
	result, err := run.Run(ctx)
	done()
	if err != nil {
		return err
	}
	return p.print(std, candidate, report, result)
}

// verify holds the files against the log's hashes and signature.
func (p policyReplayCmd) verify(ctx context.Context, g *globals, files []string) (audit.Report, error) {
	key := p.Key
	if key == "" {
		var err error
		if key, err = verifierKey(ctx, g); err != nil {
			return audit.Report{}, fmt.Errorf("%w\nthe log is verified with the key from the store; where there is none, give the key with --key", err)
		}
	}
	return audit.Verify(files, key, audit.VerifyOptions{From: -1})
}

func (p policyReplayCmd) print(std stdio, candidate *policy.Policy, v audit.Report, r *rollout.Result) error {
	var notes []string
	if !v.OK() {
		notes = append(notes, "UNVERIFIED: the log is not intact. A person who changed it may have changed these figures.")
	}
	for _, why := range []string{rollout.NoDecision, rollout.NoFacts, rollout.NoRoute, rollout.BeforeSince, rollout.Unreadable} {
		if n := r.Skipped[why]; n > 0 {
			notes = append(notes, fmt.Sprintf("%s not judged: %s.", count(int(n), "line was", "lines were"), why))
		}
	}
	if p.HTML != "" {
		title := fmt.Sprintf("%s (%s) against what was recorded", candidate.Name(), candidate.Hash()[:12])
		if err := writeReport(p.HTML, func(w io.Writer) error { return r.HTML(w, title, notes) }); err != nil {
			return err
		}
	}
	if p.JSON {
		people := r.People()
		for i, q := range people { // people without a change come last
			if q.Changed() == 0 {
				people = people[:i]
				break
			}
		}
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		return enc.Encode(replayReport{candidate.Hash(), v.OK(), v.Unsigned, r, people, r.Replay.Examples()})
	}
	for _, n := range notes {
		fmt.Fprintln(std.out, n)
	}
	_, err := io.WriteString(std.out, r.Text())
	return err
}

// writeReport writes a file, whole or not at all.
func writeReport(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".sallyport-report-*")
	if err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("--html: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// compileFile compiles a candidate as the configured policy would be; "" is that one.
func compileFile(std stdio, c *config.Config, intel *ipintel.Snapshot, name string) (*policy.Policy, error) {
	what := policyConfig(c, intel)
	if name != "" {
		source, err := rollout.ReadPolicy(name)
		if err != nil {
			return nil, fmt.Errorf("--policy: %w", err)
		}
		what.Name, what.Source = name, source
	}
	loaded, err := load.Read(what)
	if err != nil {
		return nil, err
	}
	warnFailing(std, loaded, name)
	return loaded.Policy, nil
}

// watched shows how far a run is, on a terminal.
func watched(r *rollout.Replay, w io.Writer) (done func()) {
	f, ok := w.(*os.File)
	if !ok {
		return func() {}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func() {}
	}
	var lines atomic.Int64
	r.Progress = lines.Store
	begin, stop, stopped := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				fmt.Fprint(f, "\r\x1b[K")
				return
			case <-tick.C:
				fmt.Fprintf(f, "\r\x1b[K%d lines, %.0f a second", lines.Load(), float64(lines.Load())/time.Since(begin).Seconds())
			}
		}
	}()
	return func() { close(stop); <-stopped }
}
