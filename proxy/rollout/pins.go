package rollout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/whole"
	"sallyport/proxy/audit"
)

// Pinned invariants are the last defence against a policy. Half a file of them is valid, and
// a reload of it would lift a defence without a word, and let in what it kept out. So they
// are held to the completeness of a policy at every reload and start: what is in force goes
// only if a text with the mark at its end says so. The store keeps the text in force, so
// that a start knows it too.

// Text is a file that comes into force together with policies.
type Text struct {
	Name   string
	Source []byte
}

// noPins is a file without a pinned invariant.
const noPins = "version: 1\ninvariants: []\n"

// pinned is the text of the pinned invariants.
func (p Policies) pinned() []byte {
	if p.Enforced.Pinned == nil {
		return []byte(noPins)
	}
	return p.Enforced.Pinned.Source
}

// PinsGone is the refusal of pinned invariants, or of a configuration without any, that may
// be cut off.
type PinsGone struct {
	File    string // "": the configuration names none
	Dropped []string
}

func (p *PinsGone) Error() string {
	if p.File == "" {
		return fmt.Sprintf("the configuration has no policy_invariants any more and may be cut off: what is pinned has %s, and stays in force; "+
			"if that is meant to go, end the configuration with a line %q", some(p.Dropped, 20), whole.Mark)
	}
	return fmt.Sprintf("%s may be cut off: it does not end with a line %q, and what is pinned has %s, which stays in force; "+
		"if that is meant to go, end the file with that line (`sallyport policy fmt --write %[1]s`)", p.File, whole.Mark, some(p.Dropped, 20))
}

// pinsGone names what is pinned before and not after. The error, a *[PinsGone], says that
// it must stay.
func pinsGone(before []byte, after Policies) (gone []string, err error) {
	if bytes.Equal(before, after.pinned()) {
		return nil, nil
	}
	text, name := []byte(noPins+whole.Mark), ""
	if p := after.Enforced.Pinned; p != nil {
		text, name = p.Source, p.Name
	}
	if gone = whole.Dropped(before, text); len(gone) == 0 || after.PinsWhole {
		return gone, nil
	}
	return gone, &PinsGone{name, gone}
}

// keepPins lets a start keep the pinned invariants that were in force, if the files lack
// some and may be cut off.
func (s *Start) keepPins(ctx context.Context, c *StartConfig) error {
	before, err := c.History.LastPins(ctx)
	if errors.Is(err, authn.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.PinsGone, s.PinsKept = pinsGone([]byte(before), c.Policies); s.PinsKept == nil {
		return nil
	}
	name := "the pinned invariants that were in force"
	if p := c.Policies.Enforced.Pinned; p != nil {
		name = p.Name
	}
	c.Policies.Enforced.Pinned = &policy.Pinned{Name: name, Source: []byte(before)}
	c.Compiled = CompileStart(c.Policies, c.Intel)
	return nil
}

// recordPins comes before the swap: the store has to know what is pinned by then, and the
// log who may do more from then on.
func (m *Manager) recordPins(ctx context.Context, c Policies, gone []string, o Origin) error {
	if len(gone) > 0 {
		m.config.Logger.Warn("pinned invariants are not in force any more", "gone", gone, "origin", o.Kind)
		err := m.config.Audit.Append(ctx, audit.Record{Time: time.Now(), Event: "pins_removed", User: o.By, Action: "applied",
			Detail: map[string]string{"gone": some(gone, 50), "origin": o.Kind}})
		if err != nil {
			return err
		}
	}
	switch before, err := m.config.Store.LastPins(ctx); {
	case err != nil && !errors.Is(err, authn.ErrNotFound):
		return err
	case before == string(c.pinned()) || err != nil && c.Enforced.Pinned == nil:
		return nil
	}
	return m.config.Store.PutPins(ctx, string(c.pinned()))
}

// besideWait is for how long the files beside the policies have to stay as they are: half
// of one may be valid too, without its last routes or people.
func (m *Manager) besideWait(next Configuration, now time.Time) (wait time.Duration, name string) {
	if m.beside == nil {
		m.beside = map[string]*whole.File{}
		for _, t := range m.now.Beside {
			m.beside[t.Name] = &whole.File{}
			m.beside[t.Name].See(t.Source, time.Time{}.Add(1))
		}
	}
	for _, t := range next.Beside {
		if m.beside[t.Name] == nil {
			m.beside[t.Name] = &whole.File{}
		}
		m.beside[t.Name].See(t.Source, now)
		if w := m.beside[t.Name].Wait(m.now.Settle, now); w > wait {
			wait, name = w, t.Name
		}
	}
	return wait, name
}

// startPins says what a start does with the pinned invariants.
func (m *Manager) startPins(ctx context.Context, s Start) error {
	if s.PinsKept == nil {
		return m.recordPins(ctx, s.Policies, s.PinsGone, Origin{Kind: "start"})
	}
	m.config.Logger.Error("pinned invariants are missing from their file, and stay in force", "missing", s.PinsGone, "error", s.PinsKept)
	m.problem.Store(&Problem{Why: s.PinsKept.Error(), Since: time.Now()})
	return m.config.Audit.Append(ctx, audit.Record{Time: time.Now(), Event: "pins_kept", Action: "refused",
		Detail: map[string]string{"missing": some(s.PinsGone, 50), "origin": "start", "reason": reason(s.PinsKept.Error())}})
}
