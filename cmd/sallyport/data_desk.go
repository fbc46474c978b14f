package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/policy/ipintel"
	"sallyport/proxy/audit"
)

// dataDesk decides which IP data comes into use. Files change by themselves (a download every night), and a list
// can lock out as many people as a policy.
type dataDesk struct {
	mu        sync.Mutex
	approved  map[string]dataApproval     // by source; see data_approval.go
	baselines map[string]ipintel.Baseline // by source
	asked     int64                       // number of the last request that was answered; the request loop's own
	report    *guardReport                // of the last change that was judged; nil: none since the last request

	applied, refusals atomic.Int64
}

// dataLockOut is the refusal of IP data for the people that it would lock out.
type dataLockOut struct{ report guardReport }

func (l *dataLockOut) Error() string {
	return l.report.Refused + ": " + some(usersOf(l.report.because), 20) + "; `sallyport data apply --force` takes it all the same"
}

func (l *dataLockOut) Unwrap() error { return ipintel.ErrRefused }

// guardData has all IP data judged that is read from now on. What a start reads is taken as it is: there is nothing
// else to run on.
func (a *app) guardData() {
	a.intel.Guard(ipintel.Guard{Approved: a.data.isApproved, Baseline: a.data.baseline, Refused: a.refuseUnlike, Admit: a.admitData})
}

// admitData judges a change of IP data as a change of policy is judged: by the sessions that are alive and by what
// was recorded. It holds the desk's lock, so that no policy comes into force between the judgement and
// the change; the watcher's own lock is held already, and is always taken first.
func (a *app) admitData(ctx context.Context, c ipintel.Change) error {
	a.policies.mu.Lock()
	defer a.policies.mu.Unlock()
	before := *a.gate.Current()
	next := before
	before.Intel, next.Intel = c.Since, c.Next
	report := a.guard(ctx, a.policies.loaded, &before, &next)
	if err := ctx.Err(); err != nil {
		return err // judged by a part of what there is
	}
	a.data.mu.Lock()
	a.data.report = &report
	a.data.mu.Unlock()
	outcome, by := "applied", ""
	for _, s := range c.Sources {
		who, ok := a.data.approvedBy(s.Name, s.SHA256)
		switch {
		case ok && (report.Refused != "" || s.Waived != ""):
			outcome, by = "forced", who
		case s.Waived != "":
			return fmt.Errorf("the approval of %s ended while it was judged", s.Name)
		case !ok && report.Refused != "":
			return a.refuseData(ctx, c, report)
		}
	}
	detail := dataDetail(c.Sources, report)
	if err := a.audit.Append(ctx, audit.Record{Time: time.Now(), Event: "data_" + outcome, User: by, Action: outcome, Policy: next.Policy.Hash(), Detail: detail}); err != nil {
		return fmt.Errorf("the data could not be recorded, and does not come into use: %w", err)
	}
	if err := c.Use(); err != nil {
		return err
	}
	a.data.applied.Add(1)
	a.standByUsed(ctx, c.Sources)
	level := a.logger.Info
	if len(report.Blocked)+len(report.Allowed) > 0 {
		level = a.logger.Warn // whose access ends or begins now has to be known at once
	}
	level("IP data in use", "outcome", outcome, "by", by, "sources", detail["sources"], "people_judged", report.People, "newly_blocked", report.users(), "newly_allowed", usersOf(report.Allowed))
	return nil
}

// refuseData makes it known that data was refused. What was in use stays. Of several sources that were judged together
// nothing is said yet: each of them is judged once more.
func (a *app) refuseData(ctx context.Context, c ipintel.Change, report guardReport) error {
	no := &dataLockOut{report}
	if !c.Alone {
		return no
	}
	a.recordRefusal(ctx, dataDetail(c.Sources, report), report)
	return no
}

// refuseUnlike makes it known that a source holds something much larger or smaller than before. The watcher has
// refused it, without asking about people.
func (a *app) refuseUnlike(ctx context.Context, s ipintel.Source, why error) {
	report := guardReport{Refused: why.Error()}
	a.recordRefusal(ctx, dataDetail([]ipintel.Source{s}, report), report)
}

func (a *app) recordRefusal(ctx context.Context, detail map[string]string, report guardReport) {
	a.data.refusals.Add(1)
	a.logger.Error("IP data refused; what was in use stays", "sources", detail["sources"], "reason", report.Refused, "newly_blocked", report.users(), "newly_allowed", usersOf(report.Allowed))
	if err := a.audit.Append(ctx, audit.Record{Time: time.Now(), Event: "data_refused", Action: "refused", Policy: a.gate.Current().Policy.Hash(), Detail: detail}); err != nil {
		a.logger.Error("the refusal of IP data could not be recorded", "error", err)
	}
}

func dataDetail(sources []ipintel.Source, r guardReport) map[string]string {
	detail := map[string]string{"sources": namesOf(sources)}
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
		detail["newly_blocked"] = some(r.users(), 50)
	}
	if len(r.Allowed) > 0 { // a list that lost entries: whatever the threshold, it is who to look at
		detail["newly_allowed"] = some(usersOf(r.Allowed), 50)
	}
	return detail
}

// namesOf is sources as "name=hash".
func namesOf(sources []ipintel.Source) string {
	var list []string
	for _, s := range sources {
		list = append(list, s.Name+"="+s.SHA256)
	}
	return strings.Join(list, " ")
}

// dataRefused says which sources keep old data because the guard refused the new.
func (a *app) dataRefused() (list []ipintel.Source) {
	for _, s := range a.intel.Current().Sources() {
		if s.Refused {
			list = append(list, s)
		}
	}
	return list
}

// noteDataStart says so if this start takes data that was refused while the proxy ran, or that is far from what was
// last approved: a restart is a way round the guard, and must show.
func (a *app) noteDataStart(ctx context.Context) error {
	drift, err := a.loadBaselines(ctx)
	if err != nil {
		return err
	}
	refused, since := refusedData(a.config.AuditFile)
	for _, s := range a.intel.Current().Sources() {
		r, was := refused[namesOf([]ipintel.Source{s})]
		why := r.why
		switch {
		case was:
			a.logger.Warn("this start takes IP data that was refused while the proxy ran", "source", s.Name, "sha256", s.SHA256, "refused", r.at, "why", why)
		case drift[s.Name] != nil:
			why = drift[s.Name].Error()
			a.logger.Warn("this start takes IP data that is far from what was last approved", "source", s.Name, "sha256", s.SHA256, "why", why)
		case s.Missing || since[s.Name].IsZero():
			continue
		}
		err := a.audit.Append(ctx, audit.Record{Time: time.Now(), Event: "data_applied", Action: "applied", Policy: a.gate.Current().Policy.Hash(),
			Detail: given(map[string]string{"sources": namesOf([]ipintel.Source{s}), "origin": "start", "against": why})})
		if err != nil {
			return err
		}
	}
	return nil
}

// dataAnswer is what the running proxy says to `data apply`.
type dataAnswer struct {
	Kept   map[string]string `json:"kept,omitempty"`   // why sources keep old data, by name
	Report *guardReport      `json:"report,omitempty"` // nil: no people were judged
}

// answerDataRequests takes up what `data apply` asks for. Every process of a fleet does, for its own files; the first
// one answers.
func (a *app) answerDataRequests(ctx context.Context) error {
	list, err := a.store.DataRequests(ctx, a.data.asked)
	if err != nil {
		return err
	}
	for _, r := range list {
		a.data.asked = r.Seq
		if age := time.Since(r.At); age > maxPolicyWait {
			continue // nobody waits for it any more, and nothing of it may happen now
		}
		if r.Forced {
			a.approveRequested(ctx, r)
		}
		a.data.mu.Lock()
		a.data.report = nil // of an earlier change
		a.data.mu.Unlock()
		retried := a.intel.Retry(ctx)
		answer := dataAnswer{Kept: map[string]string{}}
		for _, s := range a.intel.Current().Sources() {
			if s.Err != "" {
				answer.Kept[s.Name] = s.Err
			}
		}
		a.data.mu.Lock()
		answer.Report = a.data.report
		a.data.mu.Unlock()
		if retried != nil {
			a.logger.Warn("not all IP data that an operator asked for is in use", "by", r.By, "error", retried)
		}
		text, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		if err := a.store.AnswerDataRequest(context.WithoutCancel(ctx), r.Seq, string(text)); err != nil {
			return err
		}
	}
	return nil
}
