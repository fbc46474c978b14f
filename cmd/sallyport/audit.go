package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/cmd/sallyport/internal/app"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/proxy/audit"
)

type auditCmd struct {
	AcceptRollback auditAcceptCmd `cmd:"" name:"accept-rollback" help:"Let the next start accept a log that is older than the store knows: after restoring a backup, or to begin a new log."`

	Verify     auditVerifyCmd     `cmd:"" help:"Find changed, dropped, inserted or reordered lines."`
	Tail       auditTailCmd       `cmd:"" help:"Show the latest records."`
	Key        auditKeyCmd        `cmd:"" help:"Print the public key that checkpoints are signed with."`
	Prove      auditProveCmd      `cmd:"" help:"Prove one record to a reader who does not have the log."`
	CheckProof auditCheckProofCmd `cmd:"" name:"check-proof" help:"Check such a proof. Needs no configuration."`
}

// verifierKey is the public key of the configured log.
func verifierKey(ctx context.Context, g *globals) (key string, err error) {
	err = withExistingStore(ctx, g, func(_ *config.Config, db *sqlstore.DB) error {
		key, err = app.AuditVerifierKey(ctx, db)
		return err
	})
	return key, err
}

type auditKeyCmd struct{}

func (auditKeyCmd) Run(ctx context.Context, g *globals, std stdio) error {
	key, err := verifierKey(ctx, g)
	if err == nil {
		fmt.Fprintln(std.out, key)
	}
	return err
}

type auditVerifyCmd struct {
	Files []string `arg:"" optional:"" help:"Log files, oldest first or not; default: the configured log with its rotated files."`
	Key   string   `placeholder:"KEY" help:"Public key, as \"audit key\" printed it when the log was begun. Without it the key is taken from the store, which an attacker who can change the log may be able to change too."`
	From  int64    `default:"0" help:"The first record that the files must hold; -1: wherever they begin."`
	Saved []string `placeholder:"FILE" help:"Checkpoints that were kept elsewhere: finds a log that was cut off and signed again."`
	JSON  bool     `name:"json" help:"The report as JSON."`
}

func (a auditVerifyCmd) Run(ctx context.Context, g *globals, std stdio) error {
	key, files := a.Key, a.Files
	if key == "" {
		var err error
		if key, err = verifierKey(ctx, g); err != nil {
			return err
		}
	}
	if len(files) == 0 {
		c, err := config.Load(g.Config)
		if err != nil {
			return err
		}
		if files, err = audit.Segments(c.AuditFile); err != nil {
			return err
		}
	}
	o := audit.VerifyOptions{From: a.From}
	if kept := keptCheckpoint(ctx, g, a.Files); kept != nil {
		o.Saved = append(o.Saved, kept)
	}
	for _, name := range a.Saved {
		msg, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		o.Saved = append(o.Saved, msg)
	}
	report, err := audit.Verify(files, key, o)
	if err != nil {
		return err
	}
	if a.JSON {
		if err := list(std.out, true, []audit.Report{report}, "", nil); err != nil {
			return err
		}
	} else {
		io.WriteString(std.out, report.Text())
	}
	if !report.OK() {
		return errNo
	}
	return nil
}

// keptCheckpoint is what the store knows of the configured log: nil where other files are
// verified, or the store cannot be read. It is read before the files, which are written
// first.
func keptCheckpoint(ctx context.Context, g *globals, files []string) (kept []byte) {
	if len(files) > 0 {
		return nil
	}
	_ = withExistingStore(ctx, g, func(_ *config.Config, db *sqlstore.DB) (err error) {
		kept, err = db.LastCheckpoint(ctx)
		return err
	})
	return kept
}

type auditTailCmd struct {
	Lines  int  `short:"n" default:"20" help:"How many records (default 20)."`
	Follow bool `short:"f" help:"Go on as new records come."`
	JSON   bool `name:"json" help:"The lines as they stand in the log."`

	auditFilter
}

func (a auditTailCmd) Run(ctx context.Context, g *globals, std stdio) error {
	c, err := config.Load(g.Config)
	if err != nil {
		return err
	}
	if !a.Follow && !hasAudit(c.AuditFile) {
		return noAudit(c.AuditFile)
	}
	wanted, err := a.wanted(ctx, g, std.err)
	if err != nil {
		return err
	}
	if wanted == nil {
		return a.print(ctx, std, audit.Tail(ctx, c.AuditFile, a.Lines, a.Follow), nil)
	}
	// The last that are wanted may be anywhere in the log: it is read whole.
	files, err := audit.Segments(c.AuditFile)
	if err != nil {
		return err
	}
	var last [][]byte
	found, after := false, lineAt{}
	has := seenValues{}
	for line, err := range audit.Read(files...) {
		if bad := (*audit.LineError)(nil); errors.As(err, &bad) {
			continue // `audit verify` is for those
		} else if err != nil {
			return err
		}
		after = lineAt{line.Record.Seq, line.Record.Time}
		has.add(&line.Record)
		if wanted(line.Record) {
			found = true
			if last = append(last, bytes.Clone(line.Raw)); len(last) > max(a.Lines, 0) {
				last = last[1:]
			}
		}
	}
	if !found {
		a.sayNone(std.err, has)
	}
	for _, raw := range last {
		line := audit.Line{Raw: raw}
		if err := line.Decode(); err != nil {
			return err
		}
		a.show(std, line)
	}
	switch {
	case !a.Follow && !found:
		return errNo
	case !a.Follow:
		return nil
	}
	// Lines written meanwhile are at its end.
	return a.print(ctx, std, audit.Tail(ctx, c.AuditFile, math.MaxInt, true), func(r audit.Record) bool {
		return after.before(r) && wanted(r)
	})
}

// lineAt is the last record that a search has read. A log that is begun anew counts from
// 0 again, later.
type lineAt struct {
	seq  int64
	time time.Time
}

func (l lineAt) before(r audit.Record) bool {
	return l.time.IsZero() || r.Seq > l.seq || r.Time.After(l.time)
}

// sayNone says why there may be no record like that. An empty answer is easily read as "was
// never refused", where a word was only misspelt.
func (a auditTailCmd) sayNone(w io.Writer, has seenValues) {
	fmt.Fprintln(w, "no record of the log is like that")
	asked := a.asked()
	for _, flag := range slices.Sorted(maps.Keys(asked)) {
		for _, word := range asked[flag] {
			switch known := slices.Sorted(maps.Keys(has[flag])); {
			case has[flag][word]:
			case len(known) == 0:
				fmt.Fprintf(w, "%s %s: there is none, and the log has no other\n", flag, plain(word))
			default:
				fmt.Fprintf(w, "%s %s: there is none; the log has %s\n", flag, plain(word), plain(strings.Join(known, ", ")))
			}
		}
	}
}

// print shows lines as they come; wanted may be nil.
func (a auditTailCmd) print(ctx context.Context, std stdio, lines iter.Seq2[audit.Line, error], wanted func(audit.Record) bool) error {
	for line, err := range lines {
		compressed, _ := errors.AsType[*audit.CompressedError](err)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case compressed != nil:
			fmt.Fprintf(std.err, "note: these have older records: %s\n", plain(compressed.Error()))
		case err != nil:
			return err
		case wanted == nil || wanted(line.Record):
			a.show(std, line)
		}
	}
	return nil
}

func (a auditTailCmd) show(std stdio, line audit.Line) {
	if a.JSON {
		fmt.Fprintf(std.out, "%s\n", line.Raw)
		return
	}
	printRecord(std.out, line.Record)
}

// hasAudit reports whether there is a log: the file, or others that it was rotated to.
func hasAudit(file string) bool {
	files, err := audit.Segments(file)
	if err == nil && len(files) == 1 {
		_, err = os.Stat(file)
	}
	return !errors.Is(err, fs.ErrNotExist) // any other error is for who reads it to tell
}

func noAudit(file string) error {
	return fmt.Errorf("there is no audit log %s yet: the first `serve` makes it", file)
}

const shownPath = 200 // letters of a path on a line for people; --json has all that the log has

// cut is the beginning of a text, and says when there is more.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

// printRecord is one record on one line, for people.
func printRecord(w io.Writer, r audit.Record) {
	who := r.User
	if who == "" {
		who = "-"
	}
	fmt.Fprintf(w, "%s  %-8s  %-16s  %s  %s %s", r.Time.Local().Format(time.DateTime), plain(audit.Outcome(r.Event, r.Action)), plain(r.Event), plain(who), plain(r.IP), plain(r.Country))
	if r.Route != "" {
		fmt.Fprintf(w, "  %s", plain(r.Route))
		if r.Method != "" { // what was done; of reads, the first of the run
			fmt.Fprintf(w, "  %s %s", plain(r.Method), strconv.Quote(cut(plain(r.Path), shownPath)))
		}
	}
	if len(r.Rules) > 0 {
		fmt.Fprintf(w, "  rules: %s", plain(strings.Join(r.Rules, ",")))
	}
	for _, p := range r.Reported {
		fmt.Fprintf(w, "  report: %s would %s", plain(p.Rule), p.Action)
	}
	for _, x := range r.Excepted {
		fmt.Fprintf(w, "  excepted: %s by %s until %s", plain(x.Rule), plain(x.Exception), x.Until.UTC().Format(time.RFC3339))
	}
	if r.Shadow != nil {
		fmt.Fprintf(w, "  shadow: %s", plain(r.Shadow.Action))
		if len(r.Shadow.Rules) > 0 {
			fmt.Fprintf(w, " (%s)", plain(strings.Join(r.Shadow.Rules, ",")))
		}
	}
	if r.Device != "" {
		fmt.Fprintf(w, "  device %s", plain(r.Device))
	}
	if r.Count > 1 {
		fmt.Fprintf(w, "  x%d", r.Count)
	}
	if r.Incident != "" {
		fmt.Fprintf(w, "  incident %s", plain(r.Incident))
	}
	for _, k := range slices.Sorted(maps.Keys(r.Detail)) {
		if k == "outbox" { // where it waited for the log
			continue
		}
		v := plain(oneLine(r.Detail[k]))
		if v == "" || strings.ContainsAny(v, " \"") {
			v = strconv.Quote(v)
		}
		fmt.Fprintf(w, "  %s=%s", plain(k), v)
	}
	fmt.Fprintln(w)
}

type auditProveCmd struct {
	Seq int64 `arg:"" help:"The record's seq."`
}

func (a auditProveCmd) Run(g *globals, std stdio) error {
	c, err := config.Load(g.Config)
	if err != nil {
		return err
	}
	proof, err := audit.Prove(c.AuditFile, a.Seq)
	if errors.Is(err, audit.ErrUnsigned) {
		fmt.Fprintln(std.err, err)
		return errNo
	}
	if err != nil {
		return err
	}
	return printJSON(std.out, proof)
}

type auditCheckProofCmd struct {
	Proof string `arg:"" type:"existingfile" help:"The file that \"audit prove\" wrote."`
	Key   string `required:"" placeholder:"KEY" help:"The log's public key, from a source that you trust."`
}

func (a auditCheckProofCmd) Run(std stdio) error {
	data, err := os.ReadFile(a.Proof)
	if err != nil {
		return err
	}
	var proof audit.Proof
	if err := json.Unmarshal(data, &proof); err != nil {
		return fmt.Errorf("%s is not a proof: %w", a.Proof, err)
	}
	if err := audit.CheckProof(proof, []byte(proof.Line), a.Key); err != nil {
		fmt.Fprintln(std.err, err)
		return errNo
	}
	fmt.Fprintf(std.out, "Proven: record %d was in the log.\n%s\n", proof.Seq, proof.Line)
	return nil
}
