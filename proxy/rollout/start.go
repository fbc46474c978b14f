package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/whole"
)

// Start is what a start runs.
type Start struct {
	Policy   *policy.Policy // without the key of the installation
	Policies Policies       // Enforced has the text of Policy
	// Refused is why the policy file is not what runs; nil: it is. What runs then is the
	// last policy that was in force.
	Refused error
	// Exceptions is why the exceptions of the file are not all in force; nil: they are. Those
	// from rules that Policy does not have are left out, or else all of them: fewer are
	// stricter.
	Exceptions error
	// PinsGone is what was pinned and is not any more, unless PinsKept says why it stays.
	PinsGone []string
	PinsKept error

	file Policies // as the files are
	last Version  // that was in force
}

// StartConfig is what a start chooses from.
type StartConfig struct {
	History   History
	AuditFile string   // whose newest records tell which exceptions were refused
	Policies  Policies // as the files are
	Compiled  Compiled // of them
	Intel     *ipintel.Snapshot
	Settle    time.Duration // as of [Configuration]
	Strict    bool          // a policy file that is refused refuses the start
}

// Compiled is the policy of a start.
type Compiled struct {
	Policy     *policy.Policy
	Policies   Policies // of which it is
	Wrong      error    // why there is no Policy
	Exceptions error    // why it is without the exceptions of the file, or some of them
}

// CompileStart compiles policies. Exceptions that cannot be taken do not keep a policy from
// running: it runs without those.
func CompileStart(p Policies, intel *ipintel.Snapshot) (c Compiled) {
	c.Policies = p
	if c.Policy, c.Wrong = p.Compile(intel); c.Wrong == nil || p.Unread != nil {
		return c
	}
	if p.Enforced.Exceptions == nil {
		return c
	}
	fewest := c.without(c.Wrong, intel)
	if fewest.Wrong != nil {
		c.Wrong = fewest.Wrong
		return c
	}
	if fewer, ok := p.withRulesOf(fewest.Policy); ok {
		if some, err := fewer.Compile(intel); err == nil {
			return Compiled{some, fewer, nil, c.Wrong}
		}
	}
	return fewest
}

// without leaves all exceptions out.
func (c Compiled) without(why error, intel *ipintel.Snapshot) Compiled {
	p := c.Policies.without()
	compiled, err := p.Compile(intel)
	return Compiled{compiled, p, err, why}
}

// ChooseStart chooses the policy of a start: the one in the file, unless that has a
// mistake, or was refused for what it does or lacks while the product ran: a restart is
// not a way round the guard. In its place the last policy that was in force runs, which
// has to be right under the configuration of now, pinned invariants included. A file that may
// be cut off, and is not in force, is refused as by a running manager ([Unfinished]), and so is
// one that would undo what came since ([Stale]), unless nothing else may run. The error says
// why neither may run, or why the file may not and there is no other.
func ChooseStart(ctx context.Context, c StartConfig) (s Start, err error) {
	last, text, err := c.History.LastPolicy(ctx)
	first := errors.Is(err, authn.ErrNotFound)
	if err != nil && !first {
		return s, err
	}
	if err := s.keepPins(ctx, &c); err != nil || c.Strict && s.PinsKept != nil {
		return s, cmp.Or(err, s.PinsKept)
	}
	s.file = c.Policies
	s.use(c.Compiled, c)
	if !first && s.Refused == nil {
		if err := s.settle(ctx, c, last, text); err != nil {
			return s, err
		}
	}
	s.last = last
	if c.Strict && s.Exceptions != nil {
		return s, errors.Join(s.Refused, s.Exceptions)
	}
	if s.Refused == nil || first || c.Strict {
		return s, s.Refused
	}
	good, name, refused, file := s.file, s.file.Enforced.Name, s.Refused, s
	good.Enforced.Name, good.Enforced.Source, good.Unread = fmt.Sprintf("policy %.12s of `sallyport policy history`", last.Hash), []byte(text), nil
	s.use(CompileStart(good, c.Intel), c)
	if _, stale := errors.AsType[*Stale](refused); stale && s.Refused != nil { // it is right by itself
		file.Refused = nil
		return file, nil
	}
	if s.Refused != nil {
		return s, fmt.Errorf("%w\n\nthe last policy that was in force may not run either:\n%w", refused, s.Refused)
	}
	s.Policies.Enforced.Name, s.Refused = name, refused
	return s, nil
}

// use takes what was compiled, without exceptions that the guard refused.
func (s *Start) use(compiled Compiled, c StartConfig) {
	if x := s.file.Enforced.Exceptions; compiled.Wrong == nil && x != nil {
		// Of the text of the file, which is what the guard refused, also if a part of it is left.
		if why := standingExceptions(c.AuditFile, policy.HashExceptions(x.Source)); why != "" {
			compiled = compiled.without(fmt.Errorf("%s: %s", x.Name, why), c.Intel)
		}
	}
	s.Policy, s.Policies, s.Refused, s.Exceptions = compiled.Policy, compiled.Policies, compiled.Wrong, compiled.Exceptions
}

// standing returns why the text of the file was refused since the last policy came into
// force, if a restart is not to get round that, or what it would undo.
func standing(ctx context.Context, h History, is Policies, last Version, inForce []byte) (refused, err error) {
	hash := textHash(is.Enforced.Source)
	if hash == last.Hash {
		return nil, nil
	}
	list, err := h.PolicyVersions(ctx, ListedVersions)
	if stale := undoes(list, last.Hash, inForce, is.Enforced.Source); stale != nil {
		return stale.ofFile(is.Enforced.Name, is.Enforced.Source), nil
	}
	for _, v := range list {
		if v.Seq > last.Seq && v.Hash == hash && v.stands(is.Enforced.Source) {
			return fmt.Errorf("%s was refused at %s UTC: %s", is.Enforced.Name, v.At.UTC().Format(time.DateTime), v.Detail), nil
		}
	}
	return nil, err
}

// settle holds a file that was changed while no process ran to what the running manager
// holds it to: half a file must not come into force by a restart. One that was written just
// now may be half written: it is read again when it has been unchanged for long enough.
func (s *Start) settle(ctx context.Context, c StartConfig, last Version, text string) (err error) {
	for waited := 0; ; waited++ {
		if s.Refused, err = standing(ctx, c.History, s.Policies, last, []byte(text)); err != nil || s.Refused != nil {
			return err
		}
		var f whole.File
		f.See([]byte(text), time.Time{}.Add(1))
		source := s.Policies.Enforced.Source
		if f.See(source, time.Now()); f.Sure() || text == string(source) {
			return nil
		}
		wait := time.Duration(0)
		if info, err := os.Stat(s.Policies.Enforced.Name); err == nil {
			wait = c.Settle - time.Since(info.ModTime())
		}
		if wait <= 0 || wait > c.Settle || waited == signalWaits { // a time in the future says nothing
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		s.file.Enforced.Source, s.file.Unread = ReadPolicy(s.Policies.Enforced.Name)
		if s.use(CompileStart(s.file, c.Intel), c); s.Refused != nil {
			return nil
		}
	}
	dropped := whole.Dropped([]byte(text), s.Policies.Enforced.Source)
	if len(dropped) == 0 {
		return nil
	}
	known, err := wasInForce(ctx, c.History, s.Policies.Enforced.Source)
	if err == nil && !known {
		s.Refused = &Unfinished{File: s.Policies.Enforced.Name, Dropped: dropped, Over: whole.Ended(s.Policies.Enforced.Source)}
	}
	return err
}

// Start records what a start brought into force, if it is another policy than before, and
// why it is not the one in the file.
func (m *Manager) Start(ctx context.Context, s Start) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.file.sameErrors()
	m.decided = s.file.digests()
	m.enforced.See(s.file.Enforced.Source, time.Now())
	m.shadow.See(s.file.ShadowSource, time.Now())
	m.exceptions.See(s.file.exceptions(), time.Now())
	if err := m.startExceptions(ctx, s); err != nil {
		return err
	}
	if err := m.startPins(ctx, s); err != nil {
		return err
	}
	list, err := m.config.Store.PolicyVersions(ctx, ListedVersions)
	if err != nil {
		return err
	}
	if s.Refused != nil {
		return m.startWithout(ctx, s, list)
	}
	hash := m.config.Gate.Current().Policy.Hash()
	detail := map[string]string{"policy": hash}
	for _, v := range list {
		if v.Outcome != "refused" {
			if v.Hash == hash {
				return nil
			}
			break
		}
		if _, known := detail["against"]; !known && v.Hash == hash { // for a mistake in another file, which was mended
			m.config.Logger.Warn("this start takes a policy that was refused while the proxy ran", "policy", hash, "refused", v.At, "why", v.Detail)
			detail["against"] = v.Detail
		}
	}
	return m.addVersion(ctx, hash, "applied", Origin{Kind: "start"}, detail, string(m.now.Policies.Enforced.Source))
}

// startWithout says that the file is not what runs. The history says it once for each text
// and reason, however often the process starts.
func (m *Manager) startWithout(ctx context.Context, s Start, list []Version) error {
	runs := m.config.Gate.Current().Policy.Hash()
	m.config.Logger.Warn("the policy file is refused, and this start runs the last good policy", "file", s.file.Enforced.Name, "policy", runs, "in_force_since", s.last.At, "error", s.Refused)
	m.unfinished, m.unfinishedText = s.Refused, textHash(s.file.Enforced.Source)
	m.problem.Store(&Problem{Why: s.Refused.Error(), LastGood: true, Since: time.Now()})
	m.refused.Add(1)
	hash, why := textHash(s.file.Enforced.Source), fmt.Sprintf("policy %.12s runs: %s", runs, s.Refused)
	for _, v := range list {
		if v.Outcome != "refused" {
			break
		}
		if v.Hash == hash && v.Origin == "start" && v.Detail == reason(why) {
			return nil
		}
	}
	return m.recordRefusal(ctx, hash, Origin{Kind: "start"}, why)
}
