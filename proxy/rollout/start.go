package rollout

import (
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
	// Dropped is what the last policy in force has and the file, which runs, has not.
	Dropped []string

	file Policies // as the files are
}

// StartConfig is what a start chooses from.
type StartConfig struct {
	History  History
	Policies Policies       // as the files are
	Policy   *policy.Policy // of them, as compiled
	Wrong    error          // why there is no Policy
	Intel    *ipintel.Snapshot
	Settle   time.Duration // as of [Configuration]
	Strict   bool          // a policy file that is refused refuses the start
}

// ChooseStart chooses the policy of a start: the one in the file, unless that has a
// mistake, or was refused for what it does or lacks while the product ran: a restart is
// not a way round the guard. In its place the last policy that was in force runs, which
// has to be right under the configuration of now, pinned invariants included. The error
// says why neither may run, or why the file may not and there is no other.
func ChooseStart(ctx context.Context, c StartConfig) (s Start, err error) {
	last, text, err := c.History.LastPolicy(ctx)
	first := errors.Is(err, authn.ErrNotFound)
	if err != nil && !first {
		return s, err
	}
	s.Policies, s.Policy, s.Refused = c.Policies, c.Policy, c.Wrong
	if !first && s.Refused == nil {
		if s.Refused, err = standing(ctx, c, last); err != nil {
			return s, err
		}
	}
	if !first && s.Refused == nil {
		s.settle(ctx, c, text)
	}
	s.file = s.Policies
	if s.Refused == nil || first || c.Strict {
		return s, s.Refused
	}
	s.Policies.Enforced.Source, s.Policies.Unread = []byte(text), nil
	good := s.Policies
	good.Enforced.Name = fmt.Sprintf("policy %.12s of `sallyport policy history`", last.Hash)
	if s.Policy, err = good.Compile(c.Intel); err != nil {
		return s, fmt.Errorf("%w\n\nthe last policy that was in force may not run either:\n%w", s.Refused, err)
	}
	return s, nil
}

// standing returns why the text of the file was refused since the last policy came into
// force, if a restart is not to get round that.
func standing(ctx context.Context, c StartConfig, last Version) (refused, err error) {
	hash := textHash(c.Policies.Enforced.Source)
	if hash == last.Hash {
		return nil, nil
	}
	list, err := c.History.PolicyVersions(ctx, KeptVersions)
	for _, v := range list {
		if v.Seq > last.Seq && v.Hash == hash && v.stands() {
			return fmt.Errorf("%s was refused at %s UTC: %s", c.Policies.Enforced.Name, v.At.UTC().Format(time.DateTime), v.Detail), nil
		}
	}
	return nil, err
}

// settle notes what the file lacks, which was changed while no process ran. One that was
// written just now may be half written: it is read again when it has been unchanged for
// long enough.
func (s *Start) settle(ctx context.Context, c StartConfig, last string) {
	for range signalWaits {
		source := s.Policies.Enforced.Source
		s.Dropped = nil
		if !whole.Ended(source) {
			s.Dropped = whole.Dropped([]byte(last), source)
		}
		info, err := os.Stat(s.Policies.Enforced.Name)
		if len(s.Dropped) == 0 || err != nil {
			return
		}
		wait := c.Settle - time.Since(info.ModTime())
		if wait <= 0 || wait > c.Settle { // a time in the future says nothing
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		s.Policies.Enforced.Source, s.Policies.Unread = ReadPolicy(s.Policies.Enforced.Name)
		if s.Policy, s.Refused = s.Policies.Compile(c.Intel); s.Refused != nil {
			return
		}
	}
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
	list, err := m.config.Store.PolicyVersions(ctx, KeptVersions)
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
	if len(s.Dropped) > 0 {
		m.config.Logger.Warn("this start takes a policy file that may be cut off", "file", s.file.Enforced.Name, "missing", s.Dropped)
		detail["against"] += fmt.Sprintf("it does not end with a line %q, and the policy before had %s", whole.Mark, some(s.Dropped, 20))
	}
	return m.addVersion(ctx, hash, "applied", Origin{Kind: "start"}, detail, string(m.now.Policies.Enforced.Source))
}

// startWithout says that the file is not what runs. The history says it once for each text
// and reason, however often the process starts.
func (m *Manager) startWithout(ctx context.Context, s Start, list []Version) error {
	runs := m.config.Gate.Current().Policy.Hash()
	m.config.Logger.Warn("the policy file is refused, and this start runs the last good policy", "file", s.file.Enforced.Name, "policy", runs, "error", s.Refused)
	m.problem.Store(&Problem{Why: s.Refused.Error(), LastGood: true})
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
