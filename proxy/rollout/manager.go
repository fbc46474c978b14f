package rollout

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/load"
	"sallyport/policy/rehearse"
	"sallyport/policy/whole"
	"sallyport/proxy"
	"sallyport/proxy/audit"
)

// Gate judges requests by a snapshot. *proxy.Gate is one.
type Gate interface {
	Current() *proxy.Snapshot
	// Update swaps in what change makes of the current snapshot.
	Update(change func(proxy.Snapshot) proxy.Snapshot)
	// Compare judges the live sessions by both.
	Compare(before, after *proxy.Snapshot) *rehearse.Tally
	// CompareAt is Compare where rules read the time that clock makes of now.
	CompareAt(before, after *proxy.Snapshot, clock func(now time.Time) time.Time) *rehearse.Tally
}

// Auditor keeps records. *audit.Log is one. A change that it cannot record does not come
// into force.
type Auditor interface {
	Append(ctx context.Context, r audit.Record) error
}

// History is what became of policies.
type History interface {
	// PolicyVersions returns up to limit versions, newest first.
	PolicyVersions(ctx context.Context, limit int) ([]Version, error)
	// LastPolicy returns the newest version that came into force, with its text;
	// authn.ErrNotFound if there is none.
	LastPolicy(ctx context.Context) (v Version, source string, err error)
	// LastPins returns the text of the pinned invariants that were in force last;
	// authn.ErrNotFound if there were none yet.
	LastPins(ctx context.Context) (source string, err error)
}

// Store keeps versions, requests of commands, and baselines of IP data.
type Store interface {
	// AddPolicyVersion stores v as the newest. source is kept of those that came into force.
	AddPolicyVersion(ctx context.Context, v Version, source string) error
	History
	// PutPins stores the text of the pinned invariants, in place of the one before.
	PutPins(ctx context.Context, source string) error
	// PutExceptions stores the text of the exceptions in force, in place of the one before; ""
	// for no file of them.
	PutExceptions(ctx context.Context, source string) error
	// TakePolicyRequest takes the oldest request that waits: no other process gets it.
	// authn.ErrNotFound if there is none.
	TakePolicyRequest(ctx context.Context) (Request, error)
	// AnswerPolicyRequest says what became of a request that was taken.
	AnswerPolicyRequest(ctx context.Context, seq int64, state, answer string) error
	// DataRequests returns those after a number, oldest first.
	DataRequests(ctx context.Context, after int64) ([]DataRequest, error)
	// AnswerDataRequest says what came of a request. The first answer stays.
	AnswerDataRequest(ctx context.Context, seq int64, answer string) error
	// DataBaselines returns all, of former settings too.
	DataBaselines(ctx context.Context) ([]Baseline, error)
	// PutDataBaseline stores b in place of the one with its source and setting.
	PutDataBaseline(ctx context.Context, b Baseline) error
}

// Version is what became of one policy that was to come into force.
type Version struct {
	Seq     int64 // given by the store
	At      time.Time
	Hash    string // SHA-256 of the text, in hex
	Outcome string // "applied", "forced", "rolled_back" or "refused"
	Origin  string // "start", "file", "signal" or "command"
	By      string // operating-system user of a command; "" if there was none
	Detail  string // why it was refused, or what it was forced against
	Note    string // of the operator
}

// KeptVersions is how many versions that were in force a store keeps. Texts are kept as long
// as a version names them.
const KeptVersions = 1000

// KeptRefusals is how many of those that were refused a store keeps beside them: a file that
// is refused again and again pushes out no policy that was in force.
const KeptRefusals = 1000

// ListedVersions is all that a store keeps.
const ListedVersions = KeptVersions + KeptRefusals

// Config is what a Manager works with. All of it is needed.
type Config struct {
	Gate      Gate
	Audit     Auditor
	AuditFile string // whose newest records the guard judges
	Store     Store
	Intel     func() *ipintel.Snapshot // the IP data in use
	Key       policy.DrawKey           // of this installation: what policies draw by
	Logger    *slog.Logger
}

// Configuration is everything that comes into force together.
type Configuration struct {
	Policies Policies
	Guard    Guard
	// Settle is for how long a policy file without the mark at its end has to be unchanged
	// before it may come into force by itself.
	Settle time.Duration
	// Beside are the other files that a signal takes up. Each has the mark, or is unchanged
	// for Settle by then.
	Beside []Text

	exceptionsRefused string // hash of what the file of exceptions holds, if that was refused; a command may replace it

	// What comes into force beside the policies; nil: nothing. It is done once.
	Prepare func() error          // last of what can fail
	Change  func(*proxy.Snapshot) // further parts of the snapshot
	Done    func(context.Context) // when it is in force
}

// Candidate makes the new configuration from the one in force. It is called when no other
// change is under way; its error ends the attempt, and does not count as a refused
// policy.
type Candidate func(now Configuration) (Configuration, error)

// WithPolicy is a candidate that differs in the text of the enforced policy alone.
func WithPolicy(source []byte) Candidate {
	return func(c Configuration) (Configuration, error) {
		c.Policies.Enforced.Source = policy.NamingItself(source) // as the command puts it into the file
		return c, nil
	}
}

// Origin is the way on which a candidate came.
type Origin struct {
	Kind            string // "file", "signal", "command"
	By              string // operating-system user of a command
	Force, Rollback bool
	Base            string // how the hash of the policy that it continues begins; "": any
	Note            string // of the operator
}

// LockOut is the refusal of a policy because of the people that it would lock out, or let
// in.
type LockOut struct {
	Report Report
	force  string // how to have it all the same
}

func (l *LockOut) Error() string {
	people := ""
	if len(l.Report.because) > 0 {
		people = ": " + some(usersOf(l.Report.because), 20)
	}
	return l.Report.Refused + people + "; " + l.force
}

// otherLimit is how to have other grants all the same: nothing but a reload brings them, and
// there is no --force.
func (r *Report) otherLimit() string {
	switch r.limit {
	case "":
		return "if it is meant, restart"
	case "break_glass_group":
		return "if it is meant, leave policy_guard." + r.limit + " out for it in the same configuration and reload again, or restart"
	}
	return "if it is meant, set policy_guard." + r.limit + " for it in the same configuration and reload again, or restart"
}

// forcing names what takes a candidate in spite of the guard, which differs from what is in
// force in its exceptions alone, or not.
func forcing(o Origin, exceptions bool) string {
	switch {
	case o.Kind == "command":
		return "the same command with `--force`"
	case exceptions:
		return "`sallyport policy except apply --force`"
	}
	return "`sallyport policy apply --force`"
}

// Manager brings configurations into force, one at a time. Its methods are safe for
// concurrent use.
type Manager struct {
	config Config

	mu      sync.Mutex // one change at a time
	now     Configuration
	decided decided // about what the policy files hold

	enforced, shadow, exceptions whole.File // the policy files as they were seen
	beside                       map[string]*whole.File

	unfinished     error // why the start refused a text; nil: it did not
	unfinishedText string
	again          time.Duration // after how long a file that may be half written is looked at again

	problem          atomic.Pointer[Problem] // nil: the policy file is in force
	unexcepted       atomic.Pointer[string]  // why the file of exceptions is not in force; nil: it is
	applied, refused atomic.Int64
}

// New returns a manager beside a gate that goes by now already.
func New(c Config, now Configuration) *Manager {
	return &Manager{config: c, now: inForce(now), decided: now.Policies.digests()}
}

// inForce is a configuration without the steps that are done once.
func inForce(c Configuration) Configuration {
	c.Prepare, c.Change, c.Done = nil, nil, nil
	return c
}

// Problem is why the policy that the file holds is not in force. A request of a command that
// was refused is none: nothing waits for it.
type Problem struct {
	Why      string
	LastGood bool      // since the start, which therefore took the last policy that was in force
	Since    time.Time // when it was refused first, of refusals in a row
}

// Stats are figures for metrics.
type Stats struct {
	Applied, Refused int64 // policies
	Pending          bool  // a file was refused, and nothing has come into force since
	LastGood         bool  // the file was refused at the start, and the last policy in force runs
	Exceptions       bool  // what the file of exceptions holds was refused
}

// Stats returns them as of now.
func (m *Manager) Stats() Stats {
	p, x := m.problem.Load(), m.unexcepted.Load()
	return Stats{Applied: m.applied.Load(), Refused: m.refused.Load(), Pending: p != nil || x != nil, LastGood: p != nil && p.LastGood, Exceptions: x != nil}
}

// Problem returns why the policy that the file holds is not in force; nil: it is.
func (m *Manager) Problem() *Problem { return m.problem.Load() }

// Apply brings a candidate into force, or refuses it and records that. The error is a
// *[LockOut] if the guard refused it. The report says who was judged, if the policy is
// another. A policy file that a signal takes up is waited for if it may be half written.
func (m *Manager) Apply(ctx context.Context, candidate Candidate, o Origin) (Report, error) {
	for waited := 0; ; waited++ {
		report, wait, err := m.try(ctx, candidate, o, waited < signalWaits)
		if wait == 0 || err != nil {
			return report, err
		}
		select {
		case <-ctx.Done():
			return report, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// signalWaits is how often a signal waits for a file to stay as it is.
const signalWaits = 5

func (m *Manager) try(ctx context.Context, candidate Candidate, o Origin, patient bool) (r Report, wait time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, err := candidate(m.now)
	if err != nil {
		return r, 0, err
	}
	decided := m.decided
	if o.Kind == "signal" { // a command brings a text that the file does not have yet
		switch wait, name := m.besideWait(next, time.Now()); {
		case wait > 0 && patient:
			return r, wait, nil
		case wait > 0:
			return r, 0, fmt.Errorf("%s is still being written", name)
		}
		decided = next.Policies.digests()
		m.enforced.See(next.Policies.Enforced.Source, time.Now())
		m.shadow.See(next.Policies.ShadowSource, time.Now())
		m.exceptions.See(next.Policies.exceptions(), time.Now())
		file := next.Policies.Enforced.Name
		wait, err := m.finished(ctx, next.Policies)
		if x := next.Policies.Enforced.Exceptions; x != nil && wait == 0 && err == nil {
			file = x.Name
			wait, err = m.exceptionsFinished(next.Policies)
		}
		switch {
		case wait > 0 && patient:
			return r, wait, nil
		case wait > 0: // not decided: the watcher takes it when it is written
			err = fmt.Errorf("%s is still being written", file)
			m.refuse(ctx, next, o, err)
			return r, 0, err
		case err != nil:
			m.decided = decided
			m.refuse(ctx, next, o, err)
			return r, 0, err
		}
	}
	r, err = m.apply(ctx, next, o, decided)
	return r, 0, err
}

// apply is the one way into force. The caller holds the lock. decided is what is known of
// the files when this has come into force or was refused for what it says.
func (m *Manager) apply(ctx context.Context, c Configuration, o Origin, decided decided) (report Report, err error) {
	lookedAt := m.decided
	gone, err := pinsGone(m.now.Policies.pinned(), c.Policies)
	if err != nil { // the policy is not what is wrong
		return report, err
	}
	m.decided = decided
	next, now := *m.config.Gate.Current(), time.Now()
	if next.Policy, next.Shadow, err = m.compile(&c, now); err != nil {
		m.refuse(ctx, c, o, err)
		return report, err
	}
	outcome, report, err := m.admit(ctx, c, change{m.asOf(now), &next}, o)
	if ctx.Err() != nil { // it was judged by a part of the records
		m.decided = lookedAt
		return report, context.Cause(ctx)
	}
	ctx = context.WithoutCancel(ctx) // from here on it is done as a whole
	if err != nil {
		if len(m.grants(c)) > 0 {
			m.decided = lookedAt // without the grants the texts may be right: the watcher tries
		}
		m.refuse(ctx, c, o, err)
		return report, err
	}
	if c.Prepare != nil {
		if err := c.Prepare(); err != nil {
			m.decided = lookedAt // the texts are not what is wrong, and must be tried again
			if outcome != "" {
				m.refuse(ctx, c, o, err)
			}
			return report, err
		}
	}
	if err := m.record(ctx, c, next.Policy, outcome, o, report); err != nil {
		m.decided = lookedAt
		m.refuse(ctx, c, o, err)
		return report, err
	}
	was := m.config.Gate.Current().Policy
	if err := m.recordPins(ctx, c.Policies, gone, o); err != nil {
		m.decided = lookedAt
		return report, fmt.Errorf("the pinned invariants could not be recorded, and do not come into force: %w", err)
	}
	if text := string(c.Policies.exceptions()); text != string(m.now.Policies.exceptions()) {
		if err := m.config.Store.PutExceptions(ctx, text); err != nil {
			m.decided = lookedAt
			return report, fmt.Errorf("the exceptions could not be stored, and do not come into force: %w", err)
		}
	}
	m.config.Gate.Update(func(now proxy.Snapshot) proxy.Snapshot {
		now.Policy, now.Shadow = next.Policy, next.Shadow
		now.Intel = m.config.Intel() // asked here, so that no older data takes the place of newer
		if c.Change != nil {
			c.Change(&now)
		}
		return now
	})
	if c.Done != nil {
		c.Done(ctx)
	}
	m.now = inForce(c)
	m.judgeAgain(was, next.Policy)
	m.config.Logger.Info("policy in force", "policy", next.Policy.Hash(), "shadow", hashOf(next.Shadow), "outcome", outcome, "origin", o.Kind, "by", o.By,
		"people_judged", report.People, "newly_blocked", len(report.Blocked), "newly_allowed", len(report.Allowed))
	return report, nil
}

func hashOf(p *policy.Policy) string {
	if p == nil {
		return ""
	}
	return p.Hash()
}

// compile leaves a policy in shadow that is wrong as it is. Of another file than before,
// there is none then.
func (m *Manager) compile(c *Configuration, now time.Time) (enforced, shadow *policy.Policy, err error) {
	if enforced, err = c.Policies.compileAt(m.config.Intel(), now); err != nil {
		return nil, nil, err
	}
	shadow, wrong := c.Policies.CompileShadow(m.config.Intel())
	enforced, shadow = Keyed(enforced, shadow, m.config.Key)
	if wrong != nil {
		c.Policies.LogShadow(m.config.Logger, wrong)
		if c.Policies.ShadowName == m.now.Policies.ShadowName {
			shadow = m.config.Gate.Current().Shadow
			c.Policies.ShadowSource, c.Policies.ShadowUnread = m.now.Policies.ShadowSource, m.now.Policies.ShadowUnread
		}
	}
	return enforced, shadow, nil
}

// change is a snapshot that is to take the place of another one.
type change struct{ before, next *proxy.Snapshot }

// asOf is what is in force, with its policy compiled at the moment at which a candidate is.
// An exception that has ended since the policy came into force still holds for the decisions
// that were recorded before, and the candidate does not have it any more: without this the
// guard would take that for what the candidate does.
func (m *Manager) asOf(now time.Time) *proxy.Snapshot {
	current := m.config.Gate.Current()
	if m.now.Policies.Enforced.Exceptions == nil {
		return current
	}
	again, err := load.Read(m.now.Policies.configAt(m.config.Intel(), now)) // it was tested and proven when it came into force
	if err != nil {                                                         // other IP data than it was compiled for
		m.config.Logger.Warn("the policy in force cannot be compiled again", "error", err)
		return current
	}
	before := *current
	before.Policy, _ = Keyed(again.Policy, nil, m.config.Key)
	return &before
}

// LogShadow says that the policy in shadow is not taken, and why.
func (p Policies) LogShadow(l *slog.Logger, why error) {
	l.Error("the policy in shadow is wrong and not taken", "file", p.ShadowName, "error", why)
}

// admit says whether a snapshot may come into force, and by which name that is recorded:
// "" if its policy and its grants are those that are in force.
func (m *Manager) admit(ctx context.Context, c Configuration, by change, o Origin) (outcome string, report Report, err error) {
	now, next := by.before, by.next
	same := next.Policy.Hash() == now.Policy.Hash() && next.Policy.ExceptionsHash() == now.Policy.ExceptionsHash()
	grants := m.grants(c)
	if same && len(grants) == 0 {
		return "", Report{Unchanged: true}, nil
	}
	changed := m.changes(c)
	if next.Policy.Hash() != now.Policy.Hash() {
		newest, text, err := m.newest(ctx)
		if err != nil {
			return "", Report{Changes: changed}, err
		}
		// What another proxy on this store brought into force last was judged there, and a fleet
		// must not stay divided over it: this proxy takes it as a start does, without the guard
		// and without an entry of its own in the history.
		if newest == next.Policy.Hash() && len(grants) == 0 && next.Policy.ExceptionsHash() == now.Policy.ExceptionsHash() {
			return "adopted", Report{Changes: changed}, nil
		}
		if err := m.continues(ctx, c, o, newest, text); err != nil {
			return "", Report{Changes: changed}, err
		}
	}
	judged := *next
	judged.Policy = next.Policy.Granting(judgedGrants(m.now.Policies.Enforced.Grants, c.Policies.Enforced.Grants))
	report = m.compare(ctx, c, now, &judged)
	report.Changes = changed
	switch {
	case report.Refused != "" && !o.Force && len(grants) > 0:
		return "", report, &LockOut{report, report.otherLimit()}
	case report.Refused != "" && !o.Force:
		return "", report, &LockOut{report, forcing(o, next.Policy.Hash() == now.Policy.Hash()) + " does it all the same"}
	case report.Refused != "":
		return "forced", report, nil
	case o.Rollback:
		return "rolled_back", report, nil
	}
	return "applied", report, nil
}

// record comes before the swap: a change that cannot be recorded does not come into
// force.
func (m *Manager) record(ctx context.Context, c Configuration, p *policy.Policy, outcome string, o Origin, r Report) (err error) {
	// A change that was refused is not pending any more, unless this is about the policy in
	// shadow, beside a file that is still refused.
	is, now := c.Policies.digests(), m.config.Gate.Current().Policy
	others := p.ExceptionsHash() != now.ExceptionsHash()
	command := func(own bool) bool { return o.Kind == "command" && own }
	defer func() {
		if err != nil {
			return
		}
		if m.decided.enforced == is.enforced || command(!others) {
			m.problem.Store(nil)
		}
		if x := c.Policies.Enforced.Exceptions; x == nil || m.decided.exceptions == is.exceptions || command(others) {
			m.unexcepted.Store(nil)
		}
	}()
	changed := append(m.grants(c), routesDiffer(m.now.Policies.Enforced.Grants, c.Policies.Enforced.Grants)...)
	if len(changed) > 0 {
		if err := m.recordGrants(ctx, changed, p, o, r); err != nil {
			return err
		}
	}
	if outcome == "" {
		return nil
	}
	if p.Hash() == now.Hash() && !others {
		return nil
	}
	detail := map[string]string{"policy": p.Hash(), "before": now.Hash()}
	if len(r.Changes) > 0 {
		detail["changes"] = r.changed()
	}
	if len(r.Allowed) > 0 { // below the threshold, too: the security team has to look at them
		detail["newly_allowed"], detail["newly_allowed_by_rule"] = some(usersOf(r.Allowed), 50), byRule(r.Allowed, 10)
	}
	for _, l := range r.Later {
		if len(l.Allowed) > 0 {
			detail["newly_allowed_later"] = strings.TrimPrefix(detail["newly_allowed_later"]+"; "+l.from()+": "+some(usersOf(l.Allowed), 20), "; ")
		}
	}
	if len(r.Unjudged) > 0 { // it may let in one person, and no case says who
		detail["not_judged"] = some(r.Unjudged, 50)
	}
	if !r.JudgedUntil.IsZero() {
		detail["not_judged_from"] = r.JudgedUntil.UTC().Format(time.RFC3339)
	}
	if outcome == "forced" {
		detail["against"], detail["newly_blocked"] = r.Refused, some(usersOf(r.everBlocked()), 50)
	}
	if others {
		if err := m.recordExceptions(ctx, now, p, outcome, o, detail); err != nil {
			return fmt.Errorf("the exceptions could not be recorded, and do not come into force: %w", err)
		}
	}
	if p.Hash() == now.Hash() {
		m.applied.Add(1)
		return nil
	}
	if outcome == "adopted" {
		err := m.config.Audit.Append(ctx, audit.Record{Time: time.Now(), Event: "policy_applied", User: o.By, Action: "applied", Policy: p.Hash(), Detail: detail})
		if err != nil {
			return fmt.Errorf("the policy could not be recorded, and does not come into force: %w", err)
		}
		m.applied.Add(1)
		return nil
	}
	if err := m.addVersion(ctx, p.Hash(), outcome, o, detail, string(c.Policies.Enforced.Source)); err != nil {
		return fmt.Errorf("the policy could not be recorded, and does not come into force: %w", err)
	}
	m.applied.Add(1)
	return nil
}

func (m *Manager) addVersion(ctx context.Context, hash, outcome string, o Origin, detail map[string]string, source string) error {
	now := time.Now()
	why := detail["reason"] + detail["against"]
	if by := detail["newly_allowed_by_rule"]; why == "" && by != "" {
		why = "newly allowed or asked less: " + by
	}
	detail["origin"] = o.Kind
	if o.Note != "" {
		detail["note"] = o.Note
	}
	err := m.config.Audit.Append(ctx, audit.Record{Time: now, Event: "policy_" + outcome, User: o.By, Action: outcome, Policy: hash, Detail: detail})
	if err != nil {
		return err
	}
	return m.config.Store.AddPolicyVersion(ctx, Version{At: now, Hash: hash, Outcome: outcome, Origin: o.Kind, By: o.By, Detail: why, Note: o.Note}, source)
}

// refuse records that a candidate was refused. The caller holds the lock.
func (m *Manager) refuse(ctx context.Context, c Configuration, o Origin, err error) {
	if m.refuseGrants(ctx, c, o, err) {
		return
	}
	if p := c.Policies; textHash(p.Enforced.Source) == m.config.Gate.Current().Policy.Hash() && string(p.exceptions()) != string(m.now.Policies.exceptions()) {
		m.refuseExceptions(ctx, p, o, err)
		return
	}
	m.refused.Add(1)
	if o.Kind != "command" { // its operator has the answer, and the files are what they were
		before := m.problem.Load()
		p := &Problem{Why: err.Error(), Since: time.Now()}
		if before != nil {
			p.LastGood, p.Since = before.LastGood, before.Since
		}
		m.problem.Store(p)
	}
	if failed := m.recordRefusal(ctx, textHash(c.Policies.Enforced.Source), o, refusalText(err)); failed != nil {
		m.config.Logger.Error("the refusal of a policy could not be recorded", "error", failed)
	}
}

func (m *Manager) recordRefusal(ctx context.Context, hash string, o Origin, why string) error {
	detail := map[string]string{"policy": hash, "in_force": m.config.Gate.Current().Policy.Hash(), "reason": reason(why)}
	return m.addVersion(ctx, hash, "refused", o, detail, "")
}

// reason is as much of a reason as is recorded.
func reason(why string) string { return strings.ToValidUTF8(why[:min(len(why), 1000)], "") }
