package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/policy/ipintel"
	"sallyport/proxy/audit"
)

// Watcher reads IP data. *ipintel.Watcher is one.
type Watcher interface {
	Current() *ipintel.Snapshot
	Guard(g ipintel.Guard)
	// Retry reads all sources again, those that were refused too.
	Retry(ctx context.Context) error
}

// Data decides which IP data comes into use. Files change by themselves (a download every
// night), and a list can lock out as many people as a policy. Its methods are safe for
// concurrent use, but [Data.AnswerRequests] is for one caller.
type Data struct {
	config  Config
	manager *Manager
	watcher Watcher

	mu        sync.Mutex
	approved  map[string]approval         // by source; see approval.go
	baselines map[string]ipintel.Baseline // by source
	asked     int64                       // number of the last request that was answered
	report    *Report                     // of the last change that was judged; nil: none since the last request

	applied, refused atomic.Int64
}

// NewData returns the guard of a watcher's data, which does nothing before [Data.Start].
func NewData(m *Manager, w Watcher) *Data { return &Data{config: m.config, manager: m, watcher: w} }

// Stats returns how many changes came into use, and how many were refused.
func (d *Data) Stats() (applied, refused int64) { return d.applied.Load(), d.refused.Load() }

// DataLockOut is the refusal of IP data for the people that it would lock out.
type DataLockOut struct{ Report Report }

func (l *DataLockOut) Error() string {
	return l.Report.Refused + ": " + some(usersOf(l.Report.because), 20) + "; `sallyport data apply --force` takes it all the same"
}

func (l *DataLockOut) Unwrap() error { return ipintel.ErrRefused }

// admit judges a change of IP data like a change of policy: by the live sessions and by
// recorded decisions. It holds the manager's lock, so that no policy comes into force
// between the judgement and the change; the watcher's own lock is held already, and is
// always taken first.
func (d *Data) admit(ctx context.Context, c ipintel.Change) error {
	d.manager.mu.Lock()
	defer d.manager.mu.Unlock()
	before := *d.config.Gate.Current()
	next := before
	before.Intel, next.Intel = c.Since, c.Next
	by := d.manager.now
	if slices.ContainsFunc(c.Since.Sources(), func(s ipintel.Source) bool { return s.Missing }) {
		by.Guard.DataMayAllow = 1 // what was asked for want of data must end when it is back
	}
	report := d.manager.compare(ctx, by, &before, &next)
	if err := ctx.Err(); err != nil {
		return err // judged by a part of the records
	}
	d.mu.Lock()
	d.report = &report
	d.mu.Unlock()
	outcome, who := "applied", ""
	for _, s := range c.Sources {
		approver, ok := d.approvedBy(s.Name, s.SHA256)
		switch {
		case ok && (report.Refused != "" || s.Waived != ""):
			outcome, who = "forced", approver
		case s.Waived != "":
			return fmt.Errorf("the approval of %s ended while it was judged", s.Name)
		case !ok && report.Refused != "":
			return d.refuse(ctx, c, report)
		}
	}
	detail := dataDetail(c.Sources, report)
	if err := d.config.Audit.Append(ctx, audit.Record{Time: time.Now(), Event: "data_" + outcome, User: who, Action: outcome, Policy: next.Policy.Hash(), Detail: detail}); err != nil {
		return fmt.Errorf("the data could not be recorded, and does not come into use: %w", err)
	}
	if err := c.Use(); err != nil {
		return err
	}
	d.applied.Add(1)
	d.standByUsed(ctx, c.Sources)
	level := d.config.Logger.Info
	if len(report.Blocked)+len(report.Allowed) > 0 {
		level = d.config.Logger.Warn // whose access ends or begins now has to be known at once
	}
	level("IP data in use", "outcome", outcome, "by", who, "sources", detail["sources"], "people_judged", report.People, "newly_blocked", usersOf(report.Blocked), "newly_allowed", usersOf(report.Allowed))
	return nil
}

// refuse reports that data was refused. The data in use stays. If several sources were
// judged together, nothing is reported yet: each of them is judged again alone.
func (d *Data) refuse(ctx context.Context, c ipintel.Change, report Report) error {
	no := &DataLockOut{report}
	if !c.Alone {
		return no
	}
	d.recordRefusal(ctx, dataDetail(c.Sources, report), report)
	return no
}

// refuseUnlike makes it known that a source holds something much larger or smaller than
// before. The watcher has refused it, without asking about people.
func (d *Data) refuseUnlike(ctx context.Context, s ipintel.Source, why error) {
	report := Report{Refused: why.Error()}
	d.recordRefusal(ctx, dataDetail([]ipintel.Source{s}, report), report)
}

func (d *Data) recordRefusal(ctx context.Context, detail map[string]string, report Report) {
	d.refused.Add(1)
	d.config.Logger.Error("IP data refused", "sources", detail["sources"], "reason", report.Refused, "newly_blocked", usersOf(report.Blocked), "newly_allowed", usersOf(report.Allowed))
	if err := d.config.Audit.Append(ctx, audit.Record{Time: time.Now(), Event: "data_refused", Action: "refused", Policy: d.config.Gate.Current().Policy.Hash(), Detail: detail}); err != nil {
		d.config.Logger.Error("the refusal of IP data could not be recorded", "error", err)
	}
}

func dataDetail(sources []ipintel.Source, r Report) map[string]string {
	detail := map[string]string{"sources": SourceNames(sources)}
	var against []string
	if r.Refused != "" {
		against = append(against, r.Refused)
	}
	for _, s := range sources {
		if s.Waived != "" {
			against = append(against, s.Name+": "+s.Waived)
		}
	}
	if against != nil {
		detail["against"] = strings.Join(against, "; ")
	}
	if len(r.Blocked) > 0 {
		detail["newly_blocked"] = some(usersOf(r.Blocked), 50)
	}
	if len(r.Allowed) > 0 { // a list that lost entries: the people are named at any threshold
		detail["newly_allowed"] = some(usersOf(r.Allowed), 50)
	}
	return detail
}

// SourceNames is sources as "name=hash".
func SourceNames(sources []ipintel.Source) string {
	var list []string
	for _, s := range sources {
		list = append(list, s.Name+"="+s.SHA256)
	}
	return strings.Join(list, " ")
}

// Refused says which sources keep old data because the guard refused the new.
func (d *Data) Refused() (list []ipintel.Source) {
	for _, s := range d.watcher.Current().Sources() {
		if s.Refused {
			list = append(list, s)
		}
	}
	return list
}

// Start makes the guard judge all IP data that is read from now on. It records data that
// the start took although it was refused while the proxy ran, or is far from the last
// approved data: a restart bypasses the guard, and must be visible.
func (d *Data) Start(ctx context.Context) error {
	drift, err := d.loadBaselines(ctx)
	if err != nil {
		return err
	}
	refused, since := refusedIn(d.config.AuditFile)
	for _, s := range d.watcher.Current().Sources() {
		r, was := refused[SourceNames([]ipintel.Source{s})]
		why := r.Why
		switch {
		case was:
			d.config.Logger.Warn("this start takes IP data that was refused while the proxy ran", "source", s.Name, "sha256", s.SHA256, "refused", r.At, "why", why)
		case drift[s.Name] != nil:
			why = drift[s.Name].Error()
			d.config.Logger.Warn("this start takes IP data that is far from what was last approved", "source", s.Name, "sha256", s.SHA256, "why", why)
		case s.Missing || since[s.Name].IsZero():
			continue
		}
		detail := map[string]string{"sources": SourceNames([]ipintel.Source{s}), "origin": "start"}
		if why != "" {
			detail["against"] = why
		}
		err := d.config.Audit.Append(ctx, audit.Record{Time: time.Now(), Event: "data_applied", Action: "applied", Policy: d.config.Gate.Current().Policy.Hash(), Detail: detail})
		if err != nil {
			return err
		}
	}
	d.watcher.Guard(ipintel.Guard{Approved: d.Approved, Baseline: d.baseline, Refused: d.refuseUnlike, Admit: d.admit})
	return nil
}

// DataAnswer is what the running proxy says to `data apply`.
type DataAnswer struct {
	Kept   map[string]string `json:"kept,omitempty"`   // why sources keep old data, by name
	Report *Report           `json:"report,omitempty"` // nil: no people were judged
}

// AnswerRequests takes up what `data apply` asks for. Every process of a fleet does, for
// its own files; the first one answers.
func (d *Data) AnswerRequests(ctx context.Context) error {
	list, err := d.config.Store.DataRequests(ctx, d.asked)
	if err != nil {
		return err
	}
	for _, r := range list {
		d.asked = r.Seq
		if age := time.Since(r.At); age > MaxWait {
			continue // the caller has given up, and must not see a change now
		}
		if r.Forced {
			d.approveRequested(ctx, r)
		}
		d.mu.Lock()
		d.report = nil // of an earlier change
		d.mu.Unlock()
		retried := d.watcher.Retry(ctx)
		answer := DataAnswer{Kept: map[string]string{}}
		for _, s := range d.watcher.Current().Sources() {
			if s.Err != "" {
				answer.Kept[s.Name] = s.Err
			}
		}
		d.mu.Lock()
		answer.Report = d.report
		d.mu.Unlock()
		if retried != nil {
			d.config.Logger.Warn("not all IP data that an operator asked for is in use", "by", r.By, "error", retried)
		}
		text, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		if err := d.config.Store.AnswerDataRequest(context.WithoutCancel(ctx), r.Seq, string(text)); err != nil {
			return err
		}
	}
	return nil
}
