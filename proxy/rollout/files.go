package rollout

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/policy/whole"
)

// decided are digests of what the policy files held when it was decided about: it is in
// force, or was refused for what it says.
type decided struct{ enforced, shadow, exceptions [32]byte }

func (p Policies) digests() decided {
	return decided{digest(p.Enforced.Source, p.Unread), digest(p.ShadowSource, p.ShadowUnread), digest(p.exceptions(), p.ExceptionsUnread)}
}

func digest(text []byte, unread error) [32]byte {
	if unread != nil {
		text = []byte("\xff" + unread.Error()) // no YAML begins with that byte
	}
	return sha256.Sum256(text)
}

// Files names the policy files.
func (m *Manager) Files() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := []string{m.now.Policies.Enforced.Name}
	if s := m.now.Policies.ShadowName; s != "" {
		list = append(list, s)
	}
	if x := m.now.Policies.Enforced.Exceptions; x != nil {
		list = append(list, x.Name)
	}
	return list
}

// ReloadFiles brings the policy files into force unless what they hold is in force, or
// was refused for what it says. What was refused for another reason is tried again. A file
// that may be half written is left for a later look, and one that is shorter than what is
// in force is refused: see [Unfinished]. Neither file holds up the other.
func (m *Manager) ReloadFiles(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.now.Policies
	is.read()
	m.again = 0
	m.enforced.See(is.Enforced.Source, time.Now())
	m.shadow.See(is.ShadowSource, time.Now())
	m.exceptions.See(is.exceptions(), time.Now())
	now, next, was := is.digests(), m.now, m.decided
	if now.exceptions != was.exceptions && m.problem.Load() != nil {
		was.enforced = m.now.Policies.digests().enforced // it may have been refused for the exceptions
	}
	o, decided := Origin{Kind: "file"}, was
	var refused error
	if now.enforced != was.enforced {
		switch wait, err := m.finished(ctx, is); {
		case wait > 0:
			m.again = wait
		case err != nil:
			m.decided.enforced, decided.enforced, refused = now.enforced, now.enforced, err
			m.refuse(ctx, Configuration{Policies: is}, o, err)
		default:
			next.Policies.Enforced, decided.enforced = is.Enforced, now.enforced
			next.Policies.Enforced.Exceptions = m.now.Policies.Enforced.Exceptions // decided about below
		}
	}
	if now.shadow != was.shadow {
		switch wait, err := m.shadowFinished(is); {
		case wait > 0:
			m.again = cmp.Or(m.again, wait)
		case err != nil:
			m.decided.shadow, decided.shadow = now.shadow, now.shadow
			is.LogShadow(m.config.Logger, err)
		default:
			next.Policies.ShadowSource, next.Policies.ShadowUnread, decided.shadow = is.ShadowSource, nil, now.shadow
		}
	}
	if now.exceptions != was.exceptions {
		wait, err := m.exceptionsFinished(is)
		if wait == 0 && err == nil { // what is wrong under any policy holds up none
			_, err = policy.ReadExceptions(*is.Enforced.Exceptions)
		}
		switch {
		case wait > 0:
			m.again = cmp.Or(m.again, wait)
		case err != nil:
			m.decided.exceptions, decided.exceptions = now.exceptions, now.exceptions
			refused = errors.Join(refused, err)
			m.refuseExceptions(ctx, is, o, err)
		default:
			next.Policies.Enforced.Exceptions, decided.exceptions, next.exceptionsRefused = is.Enforced.Exceptions, now.exceptions, ""
		}
	}
	var err error
	if decided != m.decided {
		_, err = m.apply(ctx, next, o, decided)
	}
	if err = errors.Join(refused, err); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	return nil
}

// Again is after how long [Manager.ReloadFiles] wants to look again though nothing changes,
// because a file may be half written; 0: it does not.
func (m *Manager) Again() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.again
}

// Unfinished is the refusal of a policy file that has no mark at its end and lacks what is
// in force: it may be cut off.
type Unfinished struct {
	File       string
	Dropped    []string // what is missing
	Exceptions bool     // it is a file of exceptions
	Over       bool     // it has the mark, but is as long as what is in force: it may be half overwritten
}

func (u *Unfinished) Error() string {
	switch {
	case u.Exceptions:
		return fmt.Sprintf("%s may be cut off, and does not come into force by itself: what is in force has %s; if that is meant to go, end the file with a line %q",
			u.File, some(u.Dropped, 5), whole.Mark)
	case u.Over:
		return fmt.Sprintf("%s may be half overwritten, and does not come into force by a start: it is exactly as long as what was in force, and lacks %s; "+
			"if that is meant to go, `sallyport policy apply %[1]s`", u.File, some(u.Dropped, 5))
	}
	return fmt.Sprintf("%s may be cut off, and does not come into force by itself: it does not end with a line %q, and what is in force has %s; "+
		"if that is meant to go, `sallyport policy apply %[1]s`, or end the file with that line (`sallyport policy fmt --write`)", u.File, whole.Mark, some(u.Dropped, 5))
}

// finished says for how long the enforced policy has to stay as it was seen until it may
// come into force without a command, or why it may not: an *[Unfinished], unless it has a
// mistake, which is what to mend.
func (m *Manager) finished(ctx context.Context, is Policies) (wait time.Duration, err error) {
	now := m.now.Policies.Enforced.Source
	if is.Unread == nil && string(is.Enforced.Source) == string(now) {
		return 0, nil
	}
	if over, ok := errors.AsType[*Unfinished](m.unfinished); ok && over.Over && m.unfinishedText == textHash(is.Enforced.Source) {
		return 0, over // to wait longer shows nothing more
	}
	wait, err = finished(&m.enforced, is.Enforced.Name, now, is.Enforced.Source, m.now.Settle)
	if err != nil { // what was in force is no part of a file
		if known, failed := wasInForce(ctx, m.config.Store, is.Enforced.Source); failed == nil && known {
			err = nil
		}
	}
	if wait == 0 && (err != nil || is.Unread != nil) {
		is.Enforced.Exceptions, is.ExceptionsUnread = m.now.Policies.Enforced.Exceptions, nil
		if _, wrong := is.Compile(m.config.Intel()); wrong != nil {
			err = wrong
		}
	}
	return wait, err
}

// shadowFinished is finished for the policy in shadow. A file that is missing is one that
// is being written, until it was missing for long enough.
func (m *Manager) shadowFinished(is Policies) (wait time.Duration, err error) {
	wait, err = finished(&m.shadow, is.ShadowName, m.now.Policies.ShadowSource, is.ShadowSource, m.now.Settle)
	if wait == 0 && is.ShadowUnread != nil {
		err = is.ShadowUnread
	}
	return wait, err
}

func finished(f *whole.File, name string, inForce, text []byte, settle time.Duration) (time.Duration, error) {
	if f.Sure() {
		return 0, nil
	}
	if wait := f.Wait(settle, time.Now()); wait > 0 {
		return wait, nil
	}
	if whole.Ended(text) {
		return 0, nil
	}
	if dropped := whole.Dropped(inForce, text); len(dropped) > 0 {
		return 0, &Unfinished{File: name, Dropped: dropped}
	}
	return 0, nil
}

// wasInForce reports whether a policy came into force before: it was complete then.
func wasInForce(ctx context.Context, h History, text []byte) (bool, error) {
	list, err := h.PolicyVersions(ctx, ListedVersions)
	hash := textHash(text)
	return slices.ContainsFunc(list, func(v Version) bool { return v.Outcome != "refused" && v.Hash == hash }), err
}

// refusalText is how the history says why a policy was refused. A restart does not get
// round a refusal that [stands].
func refusalText(err error) string {
	if _, locks := errors.AsType[*LockOut](err); locks {
		return guardRefused + err.Error()
	}
	if _, cut := errors.AsType[*Unfinished](err); cut {
		return cutOff + err.Error()
	}
	if _, stale := errors.AsType[*Stale](err); stale {
		return overtaken + err.Error()
	}
	return err.Error()
}

const (
	guardRefused = "the guard: "
	cutOff       = "not by itself: "
	overtaken    = "overtaken: "
)

// stands reports whether a refusal is for what a policy does or lacks, and not for a mistake,
// which may have been one in another file. What a policy undoes is judged anew where the
// text says what it was made from: the hash leaves that line out, and it may have been
// corrected.
func (v Version) stands(text []byte) bool {
	base, err := policy.Base(text)
	unsaid := err != nil || base == "" // so that nothing can be judged anew
	return v.Outcome == "refused" && (strings.HasPrefix(v.Detail, guardRefused) || strings.HasPrefix(v.Detail, cutOff) || unsaid && strings.HasPrefix(v.Detail, overtaken))
}

// read reads the texts from their files.
func (p *Policies) read() {
	p.Enforced.Source, p.Unread = ReadPolicy(p.Enforced.Name)
	if p.ShadowName != "" {
		p.ShadowSource, p.ShadowUnread = ReadPolicy(p.ShadowName)
	}
	if x := p.Enforced.Exceptions; x != nil {
		read := *x
		read.Source, p.ExceptionsUnread = ReadPolicy(x.Name)
		p.Enforced.Exceptions = &read
	}
}

// sameErrors gives files that could not be read the errors that read gives them, so that a
// look at the files finds nothing new.
func (p *Policies) sameErrors() {
	is := *p
	is.read()
	if p.Unread != nil && is.Unread != nil {
		p.Unread = is.Unread
	}
	if p.ShadowUnread != nil && is.ShadowUnread != nil {
		p.ShadowUnread = is.ShadowUnread
	}
	if p.ExceptionsUnread != nil && is.ExceptionsUnread != nil {
		p.ExceptionsUnread = is.ExceptionsUnread
	}
}
