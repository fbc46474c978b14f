package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
	Candidates []string `arg:"" optional:"" placeholder:"FILE" help:"The candidates, all judged in one pass (default: the configured policy)."`
	Audit      []string `placeholder:"FILE" help:"Log files (give it several times); default: the configured log with its rotated files."`
	Policy     []string `placeholder:"FILE" help:"A candidate, as without the flag."`
	Since      span     `placeholder:"TIME" help:"Only decisions of the last so long (30d, 12h); default: all. Older records are neither read nor verified."`
	Full       bool     `help:"Verify the whole log, also the part that is not judged."`
	Key        string   `placeholder:"KEY" help:"Public key of the log, as for \"audit verify\"."`
	Unverified bool     `help:"Judge the records even if the log is not intact, and say so."`
	HTML       string   `name:"html" placeholder:"FILE" help:"Write a report on one candidate there, with a chart and tables to sort."`
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
	Name     string `json:"name"`
	Policy   string `json:"policy"`            // hash of the candidate
	Warning  string `json:"warning,omitempty"` // that its tests fail
	Verified bool   `json:"verified"`
	Unsigned int64  `json:"unsigned"` // records after the last checkpoint: whole, but not proven

	PeopleCounts rehearse.Counts  `json:"people_counts"` // people, where the counts below are requests
	Prompts      rehearse.Prompts `json:"prompts"`
	*rollout.Result
	People   []rehearse.Person  `json:"people"` // those for whose requests the verdict changes
	Examples []rehearse.Example `json:"examples"`
}

// Run judges what it reads while it verifies it, and says nothing of it before it has
// found the log to be intact.
func (p policyReplayCmd) Run(ctx context.Context, g *globals, std stdio) error {
	names := append(p.Candidates, p.Policy...)
	if len(names) == 0 {
		names = []string{""}
	}
	if p.HTML != "" && len(names) > 1 {
		return fmt.Errorf("--html: a report is about one candidate, and %d are given", len(names))
	}
	c, intel, err := configured(g, std)
	if err != nil {
		return err
	}
	candidates, failing := make([]*policy.Policy, len(names)), make([]string, len(names))
	for i, name := range names {
		if candidates[i], failing[i], err = compileFile(c, intel, name); err != nil {
			return err
		}
		if failing[i] != "" {
			fmt.Fprintln(std.err, "warning:", failing[i])
		}
		candidates[i] = keyedAsHere(ctx, g, std, candidates[i])
	}
	files := p.Audit
	if len(files) == 0 {
		if files, err = audit.Segments(c.AuditFile); err != nil {
			return err
		}
	}
	run := rollout.Replay{Candidate: candidates[0], Routes: c.RouteNames()}
	if p.Since > 0 {
		run.Since = time.Now().Add(-time.Duration(p.Since))
	}
	files, offset, err := audit.Seek(run.Since, files...)
	if err != nil {
		return err
	}
	shown := newProgress(std, "lines", p.JSON)
	var report audit.Report
	if run.Lines, err = p.verifying(ctx, g, c, files, offset, shown, &report); err != nil {
		return err
	}
	results, err := run.RunEach(ctx, candidates)
	shown.clear()
	if err != nil {
		return interrupted(ctx, err)
	}
	if !report.OK() {
		fmt.Fprint(std.err, report.Text())
		if !p.Unverified {
			fmt.Fprintln(std.err, "The log is not intact, and nothing was judged. --unverified judges it all the same.")
			return errNo
		}
	}
	return p.print(std, candidates, failing, report, results)
}

// errInterrupted is exit status 130, as a shell has it for a command that Ctrl-C ended.
var errInterrupted = errors.New("interrupted: nothing was reported")

// interrupted is err, or that the command was told to end.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// verifying reads the files, and holds them against the log's hashes and signature
// meanwhile: all that is judged, and what is before only with --full. The report is there
// when all is read.
func (p policyReplayCmd) verifying(ctx context.Context, g *globals, c *config.Config, files []string, offset int64, shown *progressLine, report *audit.Report) (iter.Seq2[audit.Line, error], error) {
	key, err := p.Key, error(nil)
	if key == "" {
		if key, err = verifierKey(ctx, g); err != nil {
			return nil, fmt.Errorf("%w\nthe log is verified with the key from the store; where there is none, give the key with --key", err)
		}
	}
	if p.Full {
		offset = 0
		if files = p.Audit; len(files) == 0 {
			if files, err = audit.Segments(c.AuditFile); err != nil {
				return nil, err
			}
		}
	}
	return audit.Verifying(files, key, audit.VerifyOptions{From: -1, Offset: offset, Progress: func(n, of int64) error {
		shown.at("verifying and judging", n, of)
		return ctx.Err()
	}}, report), nil
}

// notes are what a reader of the figures has to know.
func (p policyReplayCmd) notes(v audit.Report, r *rollout.Result) (notes []string) {
	if !v.OK() {
		notes = append(notes, "UNVERIFIED: the log is not intact. A person who changed it may have changed these figures.")
	}
	if v.Unsigned > 0 {
		notes = append(notes, fmt.Sprintf("%s not signed yet: no checkpoint proves that they are as they were written.", count(int(v.Unsigned), "record is", "records are")))
	}
	for _, why := range []string{rollout.NoDecision, rollout.NoFacts, rollout.NoRoute, rollout.BeforeSince, rollout.Unreadable} {
		if n := r.Skipped[why]; n > 0 {
			notes = append(notes, fmt.Sprintf("%s not judged: %s.", count(int(n), "line was", "lines were"), why))
		}
	}
	return notes
}

func (p policyReplayCmd) print(std stdio, candidates []*policy.Policy, failing []string, v audit.Report, results []*rollout.Result) error {
	notes := p.notes(v, results[0])
	if p.HTML != "" {
		page := notes
		if failing[0] != "" { // the terminal has it already
			page = append([]string{"Warning: " + failing[0]}, notes...)
		}
		title := fmt.Sprintf("%s (%s) against what was recorded", candidates[0].Name(), candidates[0].Hash()[:12])
		if err := writeReport(p.HTML, func(w io.Writer) error { return results[0].HTML(w, title, page) }); err != nil {
			return err
		}
	}
	if p.JSON {
		return p.printJSON(std, candidates, failing, v, results)
	}
	for _, n := range notes {
		fmt.Fprintln(std.out, n)
	}
	if len(results) == 1 {
		_, err := io.WriteString(std.out, results[0].Text())
		return err
	}
	names, replays := make([]string, len(results)), make([]*rehearse.Replay, len(results))
	for i, r := range results {
		names[i], replays[i] = candidates[i].Name(), r.Replay
	}
	fmt.Fprint(std.out, rehearse.Compare(names, replays))
	for i, r := range results {
		fmt.Fprintf(std.out, "\n== %s ==\n%s", names[i], r.Text())
	}
	return nil
}

// printJSON prints one object, or with several candidates a list of them.
func (p policyReplayCmd) printJSON(std stdio, candidates []*policy.Policy, failing []string, v audit.Report, results []*rollout.Result) error {
	reports := make([]replayReport, len(results))
	for i, r := range results {
		people := r.People()
		for i, q := range people { // people without a change come last
			if q.Changed() == 0 {
				people = people[:i]
				break
			}
		}
		reports[i] = replayReport{candidates[i].Name(), candidates[i].Hash(), failing[i], v.OK(), v.Unsigned, r.PeopleCounts(), r.Prompts(), r, people, r.Replay.Examples()}
	}
	enc := json.NewEncoder(std.out)
	enc.SetIndent("", "  ")
	if len(reports) == 1 {
		return enc.Encode(reports[0])
	}
	return enc.Encode(reports)
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

// compileFile compiles a candidate as the configured policy would be; "" is that one. It
// also says whether its tests fail.
func compileFile(c *config.Config, intel *ipintel.Snapshot, name string) (p *policy.Policy, failing string, err error) {
	what := asRecorded(policyConfig(c, intel))
	if name != "" {
		source, err := rollout.ReadPolicy(name)
		if err != nil {
			return nil, "", fmt.Errorf("the candidate: %w", err)
		}
		what.Name, what.Source = name, source
	}
	loaded, err := load.Read(what)
	if err != nil {
		return nil, "", err
	}
	return loaded.Policy, failingTests(loaded, name), nil
}
