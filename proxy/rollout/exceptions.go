package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/policy"
	"sallyport/policy/whole"
	"sallyport/proxy/audit"
)

// ErrOtherExceptions is about a file of exceptions that was written for another one than
// is in force: to bring it into force would undo what came in between.
var ErrOtherExceptions = errors.New("other exceptions are in force by now")

// WithExceptions is a candidate that differs in the text of the exceptions alone. It fails
// unless the text in force has the hash onto, or the file had that one and it was refused.
func WithExceptions(onto string, source []byte) Candidate {
	return func(c Configuration) (Configuration, error) {
		now := c.Policies.Enforced.Exceptions
		if now == nil {
			return c, errors.New("the running proxy knows of no policy_exceptions: have it reload sallyport.yaml (SIGHUP) first")
		}
		if policy.HashExceptions(now.Source) != onto && c.exceptionsRefused != onto {
			return c, fmt.Errorf("%w than %s has: a reload brings it into force, unless it is refused", ErrOtherExceptions, now.Name)
		}
		x := *now
		x.Source = source
		c.Policies.Enforced.Exceptions, c.exceptionsRefused = &x, ""
		return c, nil
	}
}

// exceptions is the text of the exceptions; nil without a file.
func (p Policies) exceptions() []byte {
	if p.Enforced.Exceptions == nil {
		return nil
	}
	return p.Enforced.Exceptions.Source
}

// recordedText is how much of a text stands in one record: the log cuts longer ones.
const recordedText = 1500

// recordExceptions records which exceptions begin and end with p, each of them, in as many
// records as that takes. Those that end by themselves are in the record of their beginning.
func (m *Manager) recordExceptions(ctx context.Context, now, p *policy.Policy, outcome string, o Origin, more map[string]string) error {
	added, removed := pieces(onlyIn(p, now)), pieces(onlyIn(now, p))
	parts := max(1, len(added), len(removed))
	for i := range parts {
		detail := map[string]string{"exceptions": p.ExceptionsHash(), "before": now.ExceptionsHash(), "origin": o.Kind}
		if i == 0 {
			for _, key := range []string{"newly_allowed", "newly_allowed_later", "newly_blocked", "not_judged_from", "against"} {
				if more[key] != "" {
					detail[key] = more[key]
				}
			}
		}
		if parts > 1 {
			detail["part"] = fmt.Sprintf("%d of %d", i+1, parts)
		}
		if i < len(added) {
			detail["added"] = added[i]
		}
		if i < len(removed) {
			detail["removed"] = removed[i]
		}
		err := m.config.Audit.Append(ctx, audit.Record{Time: time.Now(), Event: "exceptions_" + outcome, User: o.By, Action: outcome, Policy: p.Hash(), Detail: detail})
		if err != nil {
			return err
		}
	}
	return nil
}

// pieces joins texts to pieces that a record can hold. A text that is longer is in several.
func pieces(list []string) (out []string) {
	piece := ""
	for _, text := range list {
		if piece != "" && len(piece)+len(", ")+len(text) > recordedText {
			out, piece = append(out, piece), ""
		}
		if piece != "" {
			piece += ", "
		}
		for piece += text; len(piece) > recordedText; {
			cut := recordedText
			for !utf8.RuneStart(piece[cut]) {
				cut--
			}
			out, piece = append(out, piece[:cut]), piece[cut:]
		}
	}
	if piece != "" {
		out = append(out, piece)
	}
	return out
}

// onlyIn are the exceptions of p that other does not have, as texts. A text has all that an
// exception says: one that was widened must not pass for the one before.
func onlyIn(p, other *policy.Policy) (out []string) {
	text := func(x *policy.Exception) string { return x.ID + ": " + x.Entry() }
	var have []string
	for _, x := range other.Exceptions() {
		have = append(have, text(x))
	}
	for _, x := range p.Exceptions() {
		if t := text(x); !slices.Contains(have, t) {
			out = append(out, t)
		}
	}
	return out
}

// none is the text of a file without exceptions.
var none = []byte("exceptions: []\n")

// without leaves all exceptions out.
func (p Policies) without() Policies {
	no := *p.Enforced.Exceptions
	no.Source = none
	p.Enforced.Exceptions, p.ExceptionsUnread = &no, nil
	return p
}

// withRulesOf leaves out what suspends a rule that the policy does not have; false if the text
// cannot be read or edited, or has no such thing. What is left says all that is in force: the
// store, the audit log and commands name nothing else.
func (p Policies) withRulesOf(is *policy.Policy) (Policies, bool) {
	fewer := *p.Enforced.Exceptions
	list, err := policy.ReadExceptions(fewer)
	if err != nil || p.ExceptionsUnread != nil {
		return p, false
	}
	for _, e := range list {
		gone := slices.DeleteFunc(slices.Clone(e.Rules), func(name string) bool {
			return slices.ContainsFunc(is.Rules(), func(r policy.RuleInfo) bool { return r.Name == name })
		})
		if len(gone) == 0 {
			continue
		}
		if fewer.Source, err = policy.EndException(fewer, e.ID, gone); err != nil {
			return p, false
		}
	}
	changed := string(fewer.Source) != string(p.Enforced.Exceptions.Source)
	p.Enforced.Exceptions = &fewer
	return p, changed
}

// exceptionsFinished says for how long the file of exceptions has to stay as it was seen
// until it may come into force without a command, or why it may not. A file that lacks
// whole exceptions may: that is how they are ended by hand, and fewer are stricter. One
// whose last exception is cut off may not: without its last lines it can hold everywhere.
func (m *Manager) exceptionsFinished(is Policies) (wait time.Duration, err error) {
	now, text := m.now.Policies.exceptions(), is.exceptions()
	if is.ExceptionsUnread == nil && string(text) == string(now) || m.exceptions.Sure() {
		return 0, nil
	}
	if wait = m.exceptions.Wait(m.now.Settle, time.Now()); wait > 0 {
		return wait, nil
	}
	if is.ExceptionsUnread != nil {
		return 0, is.ExceptionsUnread
	}
	if cut := whole.CutException(now, text); len(cut) > 0 {
		return 0, &Unfinished{File: is.Enforced.Exceptions.Name, Dropped: cut, Exceptions: true}
	}
	return 0, nil
}

// refuseExceptions records that what is in the file of exceptions, or what a command wants
// there, was refused: those in force go on. The caller holds the lock.
func (m *Manager) refuseExceptions(ctx context.Context, p Policies, o Origin, err error) {
	m.refused.Add(1)
	if o.Kind != "command" { // which tells its operator, and leaves the file as it is
		why := err.Error()
		m.unexcepted.Store(&why)
		m.now.exceptionsRefused = policy.HashExceptions(p.exceptions())
	}
	if failed := m.recordExceptionsRefused(ctx, p, o, err); failed != nil {
		m.config.Logger.Error("the refusal of exceptions could not be recorded", "error", failed)
	}
}

func (m *Manager) recordExceptionsRefused(ctx context.Context, p Policies, o Origin, err error) error {
	now := m.config.Gate.Current().Policy
	return m.config.Audit.Append(ctx, audit.Record{Time: time.Now(), Event: "exceptions_refused", User: o.By, Action: "refused", Policy: now.Hash(), Detail: map[string]string{
		"exceptions": policy.HashExceptions(p.exceptions()), "in_force": now.ExceptionsHash(), "reason": reason(refusalText(err)), "origin": o.Kind,
	}})
}

// judgeAgain forgets what was decided about a file that was refused beside another one that
// has changed: a policy without a rule that an exception named, or exceptions from a rule
// that the policy did not have.
func (m *Manager) judgeAgain(was, is *policy.Policy) {
	inForce := m.now.Policies.digests()
	if m.problem.Load() != nil && was.ExceptionsHash() != is.ExceptionsHash() {
		m.decided.enforced = inForce.enforced
	}
	if m.unexcepted.Load() != nil && was.Hash() != is.Hash() {
		m.decided.exceptions = inForce.exceptions
	}
}

// ExceptionsProblem returns why what the file of exceptions holds is not in force; "": it
// is.
func (m *Manager) ExceptionsProblem() string {
	if why := m.unexcepted.Load(); why != nil {
		return *why
	}
	return ""
}

// startExceptions records the exceptions that a start brought into force, and why those of
// the file are not among them. Their text is stored, for commands to say what is in force.
func (m *Manager) startExceptions(ctx context.Context, s Start) error {
	now, o := m.config.Gate.Current().Policy, Origin{Kind: "start"}
	if s.Exceptions != nil {
		m.config.Logger.Error("exceptions are refused, and this start runs with fewer", "file", s.file.Enforced.Exceptions.Name,
			"exceptions", len(now.Exceptions()), "error", s.Exceptions)
		m.refuseExceptions(ctx, s.file, o, s.Exceptions)
	}
	if err := m.config.Store.PutExceptions(ctx, string(s.Policies.exceptions())); err != nil {
		return err
	}
	if len(now.Exceptions()) == 0 {
		return nil
	}
	return m.recordExceptions(ctx, now.Unexcepted(), now, "applied", o, nil)
}

// standingExceptions returns why exceptions with this hash were refused, if a restart is
// not to get round that. It reads the newest records of the audit log.
func standingExceptions(log, hash string) (why string) {
	r := refusedExceptions(log, hash, func(r audit.Record) bool {
		reason := r.Detail["reason"]
		return r.Detail["origin"] != "start" && (strings.HasPrefix(reason, guardRefused) || strings.HasPrefix(reason, cutOff))
	})
	if r == nil {
		return ""
	}
	return fmt.Sprintf("the exceptions were refused at %s UTC: %s", r.Time.UTC().Format(time.DateTime), r.Detail["reason"])
}

// ExceptionsRefused returns the record of it, if the running proxy refused exceptions with
// this text and has not taken them since; else nil. It reads the newest records of the
// audit log.
func ExceptionsRefused(log string, source []byte) *audit.Record {
	return refusedExceptions(log, policy.HashExceptions(source), func(audit.Record) bool { return true })
}

// refusedExceptions returns the newest refusal that counts, if no record after it says that
// they came into force.
func refusedExceptions(log, hash string, counts func(audit.Record) bool) (refused *audit.Record) {
	for line, err := range audit.LastLines(log, RecentLines) {
		if err != nil || !strings.Contains(string(line.Raw), `"exceptions_`) || line.Decode() != nil || line.Record.Detail["exceptions"] != hash {
			continue // `audit verify` reports a broken line
		}
		switch r := line.Record; {
		case r.Event != "exceptions_refused":
			refused = nil
		case counts(r):
			refused = &r
		}
	}
	return refused
}
