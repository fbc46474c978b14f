package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/policy/changes"
	"sallyport/policy/load"
	"sallyport/proxy/rollout"
)

type policyApplyCmd struct {
	File  string        `arg:"" help:"The policy to bring into force."`
	Onto  string        `placeholder:"HASH" help:"How the hash of the policy in force begins, whose place this one is to take, instead of the one that it was made from."`
	Note  string        `placeholder:"TEXT" help:"Why, for \"policy history\" and the audit log."`
	Force bool          `help:"Even if the guard refuses it, for the people that it locks out or lets in."`
	Wait  time.Duration `default:"30s" help:"For how long to wait for the running proxy to take it up (default 30s)."`
}

type policyRollbackCmd struct {
	Hash  string        `arg:"" help:"How the policy's hash begins, from \"policy history\"."`
	Onto  string        `placeholder:"HASH" help:"How the hash of the policy in force begins, whose place it is to take: needed to undo more than the last change."`
	Note  string        `placeholder:"TEXT" help:"Why, for \"policy history\" and the audit log."`
	Force bool          `help:"Even if the guard refuses it, for the people that it locks out or lets in."`
	Wait  time.Duration `default:"30s" help:"For how long to wait for the running proxy to take it up (default 30s)."`
}

// Run asks the running proxy, and puts the policy where the configuration says once it is
// in force: the file stays the truth, and a policy that is refused never gets there.
func (p policyApplyCmd) Run(ctx context.Context, g *globals, std stdio) error {
	f, err := os.Open(p.File) // which may be a pipe
	if err != nil {
		return err
	}
	defer f.Close()
	source, err := rollout.ReadAll(f)
	if err != nil {
		return err
	}
	return applyPolicy(ctx, g, std, rollout.Request{Name: p.File, Source: string(source), Forced: p.Force, Note: p.Note}, p.Onto, p.Wait)
}

func (p policyRollbackCmd) Run(ctx context.Context, g *globals, std stdio) error {
	r := rollout.Request{Name: "policy " + p.Hash, Forced: p.Force, Rollback: true, Note: p.Note}
	if err := withPolicyText(ctx, g, std, p.Hash, func(_, source string) error { r.Source = source; return nil }); err != nil {
		return err
	}
	return applyPolicy(ctx, g, std, r, p.Onto, p.Wait)
}

func applyPolicy(ctx context.Context, g *globals, std stdio, r rollout.Request, onto string, wait time.Duration) (err error) {
	if wait > rollout.MaxWait {
		return fmt.Errorf("--wait: %s at most", rollout.MaxWait)
	}
	if r.Note, err = cleanNote(r.Note); err != nil {
		return err
	}
	return withPolicyFile(ctx, g, func(c *config.Config, db *sqlstore.DB) error {
		// Mistakes in it are printed here, with line and column, without the running
		// process.
		intel, err := loadIntelAnyway(c, std)
		if err != nil {
			return err
		}
		what := policyConfig(c, intel)
		what.Name, what.Source = r.Name, []byte(r.Source)
		candidate, err := load.Tested(what)
		if err != nil {
			return err
		}
		if err := findBase(ctx, db, &r, onto); err != nil {
			return refuseBase(ctx, g, std, db, r, err)
		}
		unheld, err := newlyUnheld(ctx, db, what, candidate)
		if err != nil {
			return err
		}
		if err := refuseUnheld(std, unheld, r); err != nil {
			return err
		}
		file, err := prepareFile(c.PolicyFile, string(policy.NamingItself([]byte(r.Source)))) // what is wrong there is found before the policy is in force
		if err != nil {
			return err
		}
		defer file.close()
		before, _, err := db.LastPolicy(ctx)
		if err != nil && !errors.Is(err, authn.ErrNotFound) {
			return err
		}
		r.At, r.By = time.Now(), operator()
		event := map[bool]string{false: "policy_apply", true: "policy_rollback"}[r.Rollback]
		if err := recordOperatorEvent(ctx, db, event, given(map[string]string{"policy": r.Hash(), "onto": r.Base, "note": r.Note, "force": map[bool]string{true: "yes"}[r.Forced]})); err != nil {
			return err
		}
		seq, err := db.AddPolicyRequest(ctx, r)
		if err != nil {
			return err
		}
		state, answer, err := awaitPolicy(ctx, db, seq, wait)
		if err != nil {
			return err
		}
		io.WriteString(std.out, answer.Report.Text())
		if state == rollout.RequestRefused {
			sayRefused(std, plainLines(answer.Error))
			if s := answer.Stale; s != nil {
				explainStale(ctx, g, std, db, r, s.Base, s.InForce)
			}
			return errNo
		}
		if answer.Report.Unchanged && r.Note != "" {
			fmt.Fprintln(std.err, "note: the policy was in force already, with the note of then: this one is not in \"policy history\", and stands in the audit log alone")
		}
		err = putPolicy(std, file, c.PolicyFile, r, before.Hash, answer.Report.Unchanged)
		if !r.Rollback {
			nameCandidate(std, r.Name, c.PolicyFile, []byte(r.Source))
		}
		return err
	})
}

// withPolicyFile is withExistingStore with a policy file that may be missing: the command is
// what brings one back.
func withPolicyFile(ctx context.Context, g *globals, f func(*config.Config, *sqlstore.DB) error) error {
	c, err := config.LoadToServe(g.Config)
	if err != nil {
		return err
	}
	if c.PolicyUnread != nil {
		if _, err := os.Lstat(c.PolicyFile); !errors.Is(err, fs.ErrNotExist) {
			return c.PolicyUnread
		}
	}
	if c.ExceptionsUnread != nil {
		return c.ExceptionsUnread
	}
	return withExistingStoreOf(ctx, c, f)
}

// sayRefused says why a change is refused; why begins with a small letter.
func sayRefused(std stdio, why string) {
	fmt.Fprintf(std.err, "Refused, and what ran goes on: %s\n", why)
}

// refuseBase says that a candidate is refused before the running proxy is asked.
func refuseBase(ctx context.Context, g *globals, std stdio, db *sqlstore.DB, r rollout.Request, err error) error {
	more, isMore := errors.AsType[*steps](err)
	none, isNone := errors.AsType[*unbased](err)
	switch {
	case isMore:
		sayRefused(std, plainLines(more.Error()))
		explainStale(ctx, g, std, db, r, r.Hash(), r.Base)
	case isNone:
		io.WriteString(std.out, changes.Text(none.changes))
		sayRefused(std, plainLines(none.Error()))
		explainStale(ctx, g, std, db, r, "", none.inForce)
	default:
		return err
	}
	return errNo
}

// putPolicy makes the file hold the policy that is in force; before is the hash of the one
// that was.
func putPolicy(std stdio, file *replacement, path string, r rollout.Request, before string, unchanged bool) error {
	hash := r.Hash()[:12]
	switch err := file.commit(); {
	case errors.Is(err, errEdited):
		return fmt.Errorf("policy %s came into force, but %s was edited while this command waited, and keeps the edited text: a restart or a reload takes that, "+
			"if the proxy has not taken it already; to keep policy %[1]s, save that text elsewhere and run this command again", hash, path)
	case err != nil:
		return fmt.Errorf("policy %s came into force, but could not be put in %s, and the next restart or reload takes what is there: %w", hash, path, err)
	}
	has := file.has(string(policy.NamingItself([]byte(r.Source))))
	switch {
	case has && !unchanged: // a file that did not come into force by itself
		fmt.Fprintf(std.out, "Policy %s is in force now; %s had it already.\n", hash, path)
	case unchanged && file.missing:
		fmt.Fprintf(std.out, "Policy %s is in %s now, which was missing.\n", hash, path)
	case has:
		fmt.Fprintf(std.out, "Policy %s is in %s already: nothing changes.\n", hash, path)
	case unchanged:
		fmt.Fprintf(std.out, "Policy %s is in %s now; the other text that was there is in %s.\n", hash, path, file.backup())
	case file.missing:
		fmt.Fprintf(std.out, "Policy %s is in force, and in %s, which was missing.\n", hash, path)
	case policy.Hash(file.was) != before:
		fmt.Fprintf(std.out, "Policy %s is in force, and in %s. What that file held was not in force, and may be the work of another person: "+
			"it is in %s until the next change.\n", hash, path, file.backup())
	default:
		fmt.Fprintf(std.out, "Policy %s is in force, and in %s; the one before is in %s.\n", hash, path, file.backup())
	}
	return nil
}

// takenFor is how long the proxy may think about a request that it took.
const takenFor = 2 * time.Minute

// awaitPolicy waits for the answer. A request that is not taken in time is withdrawn; one
// that was taken is answered.
func awaitPolicy(ctx context.Context, db *sqlstore.DB, seq int64, wait time.Duration) (state string, answer rollout.Answer, err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	late, taken := time.After(wait), false
	for {
		var text string
		if state, text, err = db.PolicyAnswer(ctx, seq); err != nil {
			return "", answer, err
		}
		if state == rollout.RequestApplied || state == rollout.RequestRefused {
			return state, answer, json.Unmarshal([]byte(text), &answer)
		}
		select {
		case <-ctx.Done():
			return "", answer, errors.Join(context.Cause(ctx), db.WithdrawPolicyRequest(context.WithoutCancel(ctx), seq))
		case <-tick.C:
		case <-late:
			switch err := db.WithdrawPolicyRequest(ctx, seq); {
			case errors.Is(err, authn.ErrNotFound) && !taken:
				taken, late = true, time.After(takenFor)
			case errors.Is(err, authn.ErrNotFound):
				return "", answer, errors.New("the running proxy took it up and does not answer: see its log, and `sallyport policy history`")
			case err == nil:
				return "", answer, errors.New("no running proxy took it up, and it is not in force: is `sallyport serve` running on this store?")
			default:
				return "", answer, err
			}
		}
	}
}
