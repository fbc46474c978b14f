package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/changes"
)

// Two analysts may edit copies of one policy at the same time. The second one to apply must
// not undo, without a word, what the first one did: a candidate that was made from another
// policy than the one in force is refused. The manager compares under its lock, so that of
// two requests at once the second one is compared with what the first one left.

// Stale is the refusal of a policy that was made from another one than is in force.
type Stale struct {
	Base    string `json:"base"` // how the hash of that one begins
	InForce string `json:"in_force"`
	// Since is what came into force after Base, newest first. Known is false if nothing is
	// recorded of Base: then it is the newest alone.
	Since []Step `json:"since"`
	Known bool   `json:"known"`
}

// Step is a policy that came into force.
type Step struct {
	At      time.Time `json:"at"`
	Hash    string    `json:"hash"`
	Outcome string    `json:"outcome"`
	Origin  string    `json:"origin"`
	By      string    `json:"by,omitempty"`
	Note    string    `json:"note,omitempty"`
}

const maxSteps = 10 // in a refusal

func (s *Stale) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "it was made from policy %.12s, and policy %.12s is in force: bringing it into force would undo what others did", s.Base, s.InForce)
	b.WriteString(s.List())
	if !s.Known {
		fmt.Fprintf(&b, "\n  (nothing is recorded here of policy %.12s)", s.Base)
	}
	return b.String()
}

// List is the policies that came since, one a line, each behind a line break.
func (s *Stale) List() string {
	var b strings.Builder
	for _, step := range s.Since[:min(len(s.Since), maxSteps)] {
		fmt.Fprintf(&b, "\n  %s", step.text())
	}
	if more := len(s.Since) - maxSteps; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more: see `sallyport policy history`", more)
	}
	return b.String()
}

func (s Step) text() string {
	by := s.By
	if by == "" {
		by = map[string]string{"file": "an edit of the file", "signal": "SIGHUP", "start": "a start"}[s.Origin]
	}
	text := fmt.Sprintf("policy %.12s, %s by %s, %s UTC", s.Hash, strings.ReplaceAll(s.Outcome, "_", " "), policy.Printable(by), s.At.UTC().Format(time.DateTime))
	if s.Note != "" {
		text += ": " + policy.Printable(s.Note)
	}
	return text
}

// continues refuses a candidate that was made from another policy than the one in force. The
// caller holds the lock. A command says what its candidate continues; a file says it in its
// text, if at all ([undoes]).
//
// What is in force is what the store says: another proxy of the fleet may have taken up a
// policy that this one did not, and a candidate that continues that one undoes nothing. now
// and inForce are its hash and its text.
func (m *Manager) continues(ctx context.Context, c Configuration, o Origin, now string, inForce []byte) error {
	if o.Kind == "command" && (o.Base == "" || strings.HasPrefix(now, o.Base)) {
		return nil
	}
	list, err := m.config.Store.PolicyVersions(ctx, ListedVersions)
	if err != nil {
		return fmt.Errorf("what came into force before could not be read: %w", err)
	}
	if o.Kind == "command" {
		stale := Since(list, o.Base)
		stale.InForce = now
		return stale
	}
	source := c.Policies.Enforced.Source
	if stale := undoes(list, now, inForce, source); stale != nil {
		return stale.ofFile(c.Policies.Enforced.Name, source)
	}
	if stale := undoesCommands(list, now, source); stale != nil {
		return stale.ofFile(c.Policies.Enforced.Name, source)
	}
	return nil
}

// newest is the policy that came into force last in any proxy on this store, with its text. It
// is this one's own unless there are several.
func (m *Manager) newest(ctx context.Context) (hash string, source []byte, err error) {
	hash, source = m.config.Gate.Current().Policy.Hash(), m.now.Policies.Enforced.Source
	switch v, text, err := m.config.Store.LastPolicy(ctx); {
	case errors.Is(err, authn.ErrNotFound) || err == nil && v.Hash == hash:
		return hash, source, nil
	case err != nil:
		return "", nil, fmt.Errorf("what came into force before could not be read: %w", err)
	default:
		return v.Hash, []byte(text), nil
	}
}

// undoesCommands says what a text would undo that was in force once and names no base, as
// none does that was there before the first command; nil: nothing. Who edits in its place
// what a command wrote keeps the line, and who goes back over edits of the file undoes what
// was done by edits of the file. A start does not ask: no command came while no proxy ran.
func undoesCommands(list []Version, hash string, text []byte) *Stale {
	if base, err := policy.Base(text); err != nil || base != "" {
		return nil
	}
	stale := Since(list, policy.Hash(text))
	stale.InForce = hash
	if !stale.Known || !slices.ContainsFunc(stale.Since, func(s Step) bool { return s.Origin == "command" }) {
		return nil
	}
	return stale
}

// undoes says what a text that stands in the policy file would undo; nil: nothing. It may
// name the policy in force, or what that one's text names, as one does that is edited in
// its place; the newest in the store, which another proxy of the fleet took up before this
// one; or a policy that was never in force here. One that names itself is a copy of what
// was in force, and undoes what came since.
func undoes(list []Version, hash string, inForce, text []byte) *Stale {
	base, err := policy.Base(text)
	if err != nil || base == "" || strings.HasPrefix(hash, base) {
		return nil // an unusual comment says nothing
	}
	if same, err := policy.Base(inForce); err == nil && same == base {
		return nil
	}
	stale := Since(list, base)
	if stale.InForce = hash; !stale.Known || len(stale.Since) == 0 {
		return nil
	}
	return stale
}

// ofFile says of the refusal of a file what leads on.
func (s *Stale) ofFile(name string, text []byte) error {
	if strings.HasPrefix(policy.Hash(text), s.Base) {
		return fmt.Errorf("%w\n  to go back to it all the same: `sallyport policy rollback %.12s --onto %.12s`", s, s.Base, s.InForce)
	}
	return fmt.Errorf("%w\n  to bring it into force all the same: `sallyport policy apply %s --onto %.12s`", s, name, s.InForce)
}

// Since is what came into force after a policy, according to versions, newest first.
func Since(versions []Version, base string) *Stale {
	s := &Stale{Base: base}
	for _, v := range versions {
		if v.Outcome == "refused" {
			continue
		}
		if s.Known = strings.HasPrefix(v.Hash, base); s.Known {
			return s
		}
		s.Since = append(s.Since, Step{At: v.At, Hash: v.Hash, Outcome: v.Outcome, Origin: v.Origin, By: v.By, Note: v.Note})
	}
	s.Since = s.Since[:min(1, len(s.Since))]
	return s
}

// changes compares the candidate with the policy in force, by what they say. Both compile,
// so that both can be compared; of another version of this program, nothing is said.
func (m *Manager) changes(c Configuration) []changes.Change {
	list, err := changes.Between(m.now.Policies.Enforced.Source, c.Policies.Enforced.Source)
	if err != nil {
		m.config.Logger.Warn("the policies cannot be compared", "error", err)
	}
	return list
}

const maxChanged = 1000 // bytes of a record

// changed names the rules and invariants that are not what they were, for a record.
func (r Report) changed() string {
	parts := []string{changes.Summary(r.Changes)}
	for _, kind := range []string{changes.Rule, changes.Invariant, changes.List, changes.Setting} {
		if names := changes.Names(r.Changes, kind); names != nil {
			parts = append(parts, kind+" "+some(names, 20))
		}
	}
	text := strings.ToValidUTF8(strings.Join(parts, "; "), "")
	return text[:min(len(text), maxChanged)]
}
