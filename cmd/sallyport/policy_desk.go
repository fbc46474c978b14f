package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/audit"
	"sallyport/proxy/edge"
)

// policyDesk serialises policy changes from the file watcher, SIGHUP and `policy apply`.
type policyDesk struct {
	mu     sync.Mutex     // one change at a time
	loaded *config.Config // what is in force
	seen   [32]byte       // what the policy files held when they were last looked at

	pending           atomic.Bool // the last candidate was refused, and nothing has come into force since
	applied, refusals atomic.Int64
}

// how is the way on which a candidate came.
type how struct {
	origin          string // "start", "file", "signal", "command"
	by              string // operating-system user of a command
	force, rollback bool
}

// lockOut is the refusal of a policy for the people whom it would lock out.
type lockOut struct{ report guardReport }

func (l *lockOut) Error() string {
	return l.report.Refused + ": " + some(usersOf(l.report.because), 20) + "; `sallyport policy apply --force` does it all the same"
}

// vet says whether a snapshot may come into force, and by which name that is recorded:
// "" if its policy is the one that is in force.
func (a *app) vet(ctx context.Context, c *config.Config, next *proxy.Snapshot, h how) (outcome string, report guardReport, err error) {
	if next.Policy.Hash() == a.gate.Current().Policy.Hash() {
		return "", report, nil
	}
	report = a.guard(ctx, c, a.gate.Current(), next)
	switch {
	case report.Refused != "" && !h.force:
		return "", report, &lockOut{report}
	case report.Refused != "":
		return "forced", report, nil
	case h.rollback:
		return "rolled_back", report, nil
	}
	return "applied", report, nil
}

// recordPolicy has it in the audit log and among the versions that a policy comes into
// force. It comes before: what cannot be recorded does not happen.
func (a *app) recordPolicy(ctx context.Context, c *config.Config, p *policy.Policy, outcome string, h how, r guardReport) error {
	if outcome == "" {
		a.policies.pending.Store(false) // whatever was refused, it is not wanted any more
		return nil
	}
	detail := map[string]string{"policy": p.Hash(), "before": a.gate.Current().Policy.Hash()}
	if len(r.Allowed) > 0 { // whatever the threshold: it is who to look at
		detail["newly_allowed"] = some(usersOf(r.Allowed), 50)
	}
	if outcome == "forced" {
		detail["against"], detail["newly_blocked"] = r.Refused, some(r.users(), 50)
	}
	if err := a.noteVersion(ctx, p.Hash(), outcome, h, detail, string(c.PolicySource)); err != nil {
		return fmt.Errorf("the policy could not be recorded, and does not come into force: %w", err)
	}
	a.policies.applied.Add(1)
	a.policies.pending.Store(false)
	return nil
}

func (a *app) noteVersion(ctx context.Context, hash, outcome string, h how, detail map[string]string, source string) error {
	now := time.Now()
	why := detail["reason"] + detail["against"]
	detail["origin"] = h.origin
	err := a.audit.Append(ctx, audit.Record{Time: now, Event: "policy_" + outcome, User: h.by, Action: outcome, Policy: hash, Detail: detail})
	if err != nil {
		return err
	}
	return a.store.AddPolicyVersion(ctx, sqlstore.PolicyVersion{At: now, Hash: hash, Outcome: outcome, Origin: h.origin, By: h.by, Detail: why}, source)
}

// refusePolicy makes it known that a candidate was refused. What ran goes on.
func (a *app) refusePolicy(ctx context.Context, source []byte, h how, err error) {
	a.policies.refusals.Add(1)
	a.policies.pending.Store(true)
	sum := sha256.Sum256(source)
	detail := map[string]string{"policy": hex.EncodeToString(sum[:]), "in_force": a.gate.Current().Policy.Hash(), "reason": err.Error()[:min(len(err.Error()), 1000)]}
	if noted := a.noteVersion(ctx, hex.EncodeToString(sum[:]), "refused", h, detail, ""); noted != nil {
		a.logger.Error("the refusal of a policy could not be recorded", "error", noted)
	}
}

// noteStart records the policy that a start brings into force, if it is another than
// before. A start takes the file as it is: there is nothing else to run on.
func (a *app) noteStart(ctx context.Context) error {
	a.policies.loaded, a.policies.seen = a.config, digestOf(a.config.PolicySource, a.config.ShadowSource)
	p := a.gate.Current().Policy
	list, err := a.store.PolicyVersions(ctx, sqlstore.KeptVersions)
	if err != nil {
		return err
	}
	detail := map[string]string{"policy": p.Hash()}
	for _, v := range list {
		if v.Outcome != "refused" {
			if v.Hash == p.Hash() {
				return nil
			}
			break
		}
		if _, known := detail["against"]; !known && v.Hash == p.Hash() { // a restart is a way round the guard, and must show
			a.logger.Warn("this start brings a policy into force that was refused while the proxy ran", "policy", p.Hash(), "refused", v.At, "why", v.Detail)
			detail["against"] = v.Detail
		}
	}
	return a.noteVersion(ctx, p.Hash(), "applied", how{origin: "start"}, detail, string(a.config.PolicySource))
}

// changePolicy brings the policies of c into force, on the routes that are. The caller
// holds the lock.
func (a *app) changePolicy(ctx context.Context, c *config.Config, h how) (guardReport, error) {
	next := *a.gate.Current()
	var err error
	if next.Policy, next.Shadow, err = a.compilePolicies(c, next.Intel); err != nil {
		return guardReport{}, err
	}
	outcome, report, err := a.vet(ctx, c, &next, h)
	if err != nil {
		return report, err
	}
	if err := a.recordPolicy(ctx, c, next.Policy, outcome, h, report); err != nil {
		return report, err
	}
	a.gate.Update(func(now proxy.Snapshot) proxy.Snapshot {
		now.Policy, now.Shadow = next.Policy, next.Shadow
		return a.withIntel(now)
	})
	a.policies.loaded = c
	shadow := ""
	if next.Shadow != nil {
		shadow = next.Shadow.Hash()
	}
	a.logger.Info("policy in force", "policy", next.Policy.Hash(), "shadow", shadow, "outcome", outcome, "origin", h.origin, "by", h.by, "people_judged", report.People, "newly_blocked", len(report.Blocked), "newly_allowed", len(report.Allowed))
	return report, nil
}

// policyFiles are the policy and the one in shadow, for edge.Watch.
type policyFiles struct {
	app *app
	ctx context.Context
}

var _ edge.Reloader = policyFiles{}

func (f policyFiles) Files() []string {
	f.app.policies.mu.Lock()
	defer f.app.policies.mu.Unlock()
	list := []string{f.app.policies.loaded.PolicyFile}
	if s := f.app.policies.loaded.ShadowFile; s != "" {
		list = append(list, s)
	}
	return list
}

// Reload brings the files into force if they are others than when they were last looked
// at. What they held then may be in force or have been refused; neither is news.
func (f policyFiles) Reload() error {
	d := &f.app.policies
	d.mu.Lock()
	defer d.mu.Unlock()
	c := *d.loaded
	var errs [2]error
	c.PolicySource, errs[0] = readPolicy(c.PolicyFile)
	if c.ShadowFile != "" {
		c.ShadowSource, errs[1] = readPolicy(c.ShadowFile)
	}
	err := errors.Join(errs[:]...)
	now := digestOf(c.PolicySource, c.ShadowSource)
	if err != nil {
		now = digestOf(c.PolicySource, c.ShadowSource, []byte(err.Error()))
	}
	if now == d.seen {
		return nil
	}
	d.seen = now
	h := how{origin: "file"}
	if err == nil {
		_, err = f.app.changePolicy(f.ctx, &c, h)
	}
	if err != nil {
		f.app.refusePolicy(f.ctx, c.PolicySource, h, err)
		return fmt.Errorf("policy: %w", err)
	}
	return nil
}

// readPolicy reads one byte more than a policy may have, so that one that is too long is refused.
// A FIFO is no policy: opening it would block until another process writes to it.
func readPolicy(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return readSome(f)
}

func readSome(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, 1<<20+1)) }

func digestOf(parts ...[]byte) [32]byte { return sha256.Sum256(bytes.Join(parts, []byte{0xff})) } // no YAML holds that byte

func (a *app) watchPolicy(ctx context.Context) {
	edge.Watch(ctx, edge.WatchConfig{Logger: a.logger}, policyFiles{a, ctx})
}

// policyRequests answers what `policy apply` and `policy rollback` ask for, until ctx ends.
func (a *app) policyRequests(ctx context.Context) {
	tick := time.NewTicker(requestsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := a.answerPolicyRequest(ctx); err != nil && !errors.Is(err, authn.ErrNotFound) && ctx.Err() == nil {
				a.logger.Error("a request for another policy could not be answered", "error", err)
			}
			if err := a.answerDataRequests(ctx); err != nil && ctx.Err() == nil {
				a.logger.Error("a request about IP data could not be answered", "error", err)
			}
		}
	}
}

const (
	requestsEvery = time.Second
	// maxPolicyWait is how long a command may wait for its policy to be taken up. One that was
	// killed has not withdrawn its request: what somebody wanted last week, with no proxy running, must
	// not come into force at the next start.
	maxPolicyWait = 10 * time.Minute
)

// answerPolicyRequest takes one request. The command that asks writes the file: it may, and
// this process as a rule may not.
func (a *app) answerPolicyRequest(ctx context.Context) error {
	r, err := a.store.TakePolicyRequest(ctx)
	if err != nil {
		return err
	}
	a.policies.mu.Lock()
	defer a.policies.mu.Unlock()
	if age := time.Since(r.At); age > maxPolicyWait {
		a.logger.Warn("a request for another policy is too old: nobody waits for it any more", "by", r.By, "at", r.At, "age", age.Round(time.Second).String())
		return a.store.AnswerPolicyRequest(context.WithoutCancel(ctx), r.Seq, sqlstore.RequestRefused, policyAnswer{Error: "nobody took it up in time"}.text())
	}
	c := *a.policies.loaded
	c.PolicySource = []byte(r.Source)
	h := how{origin: "command", by: r.By, force: r.Forced, rollback: r.Rollback}
	report, err := a.changePolicy(ctx, &c, h)
	state, answer := sqlstore.RequestApplied, policyAnswer{Report: report}
	if err != nil {
		state, answer.Error = sqlstore.RequestRefused, err.Error()
		a.logger.Error("a policy was refused; what ran goes on", "by", r.By, "error", err)
		a.refusePolicy(ctx, c.PolicySource, h, err)
	}
	return a.store.AnswerPolicyRequest(context.WithoutCancel(ctx), r.Seq, state, answer.text())
}
