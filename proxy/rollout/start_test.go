package rollout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/policy"
	"sallyport/proxy"
)

// restart is what a start does with what the file and the history hold, and with a manager
// of its own on the same store.
func (b *bench) restart(t *testing.T, strict bool) (Start, *Manager, error) {
	t.Helper()
	is := b.now.Policies
	if is.read(); is.Unread != nil {
		is.Unread = fmt.Errorf("sallyport.yaml:1:1: %w", is.Unread) // as the configuration says it
	}
	c := StartConfig{History: b, AuditFile: b.config.AuditFile, Policies: is, Intel: b.config.Intel(), Settle: 3 * time.Second, Strict: strict}
	c.Compiled = CompileStart(is, c.Intel)
	s, err := ChooseStart(t.Context(), c)
	if err != nil {
		return s, nil, err
	}
	b.current = &proxy.Snapshot{Policy: s.Policy, Intel: c.Intel}
	m := New(b.config, Configuration{Policies: s.Policies, Guard: b.now.Guard, Settle: c.Settle})
	if err := m.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s, m, nil
}

const (
	misspelt = "version: 1\nrules:\n  - {name: pay, wen: ip.private, then: block}\n"
	noRule   = "version: 1\nrules:\n  - {name: other, when: ip.private, then: step_up}\n"
)

// After a file was refused, a start runs the last policy that was in force; a start that is
// strict does not. What was refused for what it does or lacks does not come by a restart.
func TestStart(t *testing.T) {
	for name, c := range map[string]struct {
		before func(b *bench) // while the product runs with the first policy
		file   string
		runs   string
		why    string
	}{
		"the same file":    {nil, first, first, ""},
		"another file":     {nil, second, second, ""},
		"a mistake":        {nil, misspelt, first, `no key "wen"`},
		"nothing":          {nil, "", first, "empty"},
		"no file":          {nil, "-", first, "no such file"},
		"a failing test":   {nil, strings.TrimSuffix(second, mark) + "tests:\n  - {name: t, given: {user: {groups: [staff]}}, expect: {action: block}}\n", first, "the test"},
		"broken invariant": {nil, strings.TrimSuffix(second, mark) + "invariants:\n  - {never: allow, when: '\"staff\" in user.groups'}\n", first, "invariant"},
		"a lock-out that was refused": {func(b *bench) {
			b.live = []*policy.Facts{alice()}
			_ = ways["file"](b, lockout)
			_ = ways["file"](b, misspelt) // in between
		}, lockout, first, "alice@example.com"},
		"a lock-out that was forced": {func(b *bench) {
			b.live = []*policy.Facts{alice()}
			_ = ways["file"](b, lockout)
			if _, err := b.Apply(b.t.Context(), WithPolicy([]byte(lockout)), Origin{Kind: "command", Force: true}); err != nil {
				b.t.Fatal(err)
			}
		}, lockout, lockout, ""},
		"a lock-out that was refused before it was forced and undone": {func(b *bench) {
			b.live = []*policy.Facts{alice()}
			for _, o := range []Origin{{Kind: "command"}, {Kind: "command", Force: true}} {
				_, _ = b.Apply(b.t.Context(), WithPolicy([]byte(lockout)), o)
			}
			if _, err := b.Apply(b.t.Context(), WithPolicy([]byte(first)), Origin{Kind: "command", Rollback: true}); err != nil {
				b.t.Fatal(err)
			}
		}, lockout, lockout, ""}, // it was in force since, so that an operator meant it
		"a copy of what others have changed since": {func(b *bench) {
			if _, err := b.Apply(b.t.Context(), WithPolicy([]byte(second)), Origin{Kind: "command"}); err != nil {
				b.t.Fatal(err)
			}
		}, "# base: " + textHash([]byte(first)) + "\n" + first + "#\n", second, "undo what others did"},
		"such a copy, refused while it ran": {func(b *bench) {
			if _, err := b.Apply(b.t.Context(), WithPolicy([]byte(second)), Origin{Kind: "command"}); err != nil {
				b.t.Fatal(err)
			}
			if err := ways["file"](b, "# base: "+textHash([]byte(first))+"\n"+first+"# copy\n"); err == nil {
				b.t.Error("it came into force")
			}
		}, first + "# copy\n", second, "undo what others did"},
		"such a copy, whose base was put right": {func(b *bench) {
			if _, err := b.Apply(b.t.Context(), WithPolicy([]byte(second)), Origin{Kind: "command"}); err != nil {
				b.t.Fatal(err)
			}
			if err := ways["file"](b, "# base: "+textHash([]byte(first))+"\n"+first+"# copy\n"); err == nil {
				b.t.Error("it came into force")
			}
		}, "# base: " + textHash([]byte(second)) + "\n" + first + "# copy\n", first + "# copy\n", ""},
		"cut off while it ran": {func(b *bench) { _ = ways["file"](b, noRule) }, noRule, first, "the rule pay"},
		"refused for a mistake elsewhere": {func(b *bench) {
			b.broken = "audit"
			_ = ways["file"](b, second)
			b.broken = ""
		}, second, second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if _, _, err := b.restart(t, false); err != nil || len(b.versions) != 1 || b.versions[0].Origin != "start" {
				t.Fatalf("%v, %+v", err, b.versions)
			}
			if c.before != nil {
				c.before(b)
			}
			if b.write(c.file); c.file == "-" {
				if err := os.Remove(b.file); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := b.restart(t, true); (err != nil) != (c.why != "") || err != nil && !strings.Contains(err.Error(), c.why) {
				t.Errorf("strict: %v", err)
			}
			versions := len(b.versions)
			var m *Manager
			for range 3 { // a supervisor starts it again and again
				var s Start
				var err error
				if s, m, err = b.restart(t, false); err != nil || s.Policy.Hash() != textHash([]byte(c.runs)) {
					t.Fatalf("%v, %+v", err, s)
				}
			}
			if c.why == "" {
				if m.Problem() != nil || b.versions[0].Hash != textHash([]byte(c.runs)) || b.versions[0].Outcome == "refused" {
					t.Errorf("%+v, %+v", m.Problem(), b.versions[0])
				}
				return
			}
			v := b.versions[0]
			if len(b.versions) != versions+1 || v.Outcome != "refused" || v.Origin != "start" || !strings.Contains(v.Detail, c.why) || !strings.HasPrefix(v.Detail, "policy "+textHash([]byte(c.runs))[:12]+" runs: ") {
				t.Errorf("%d versions more: %+v", len(b.versions)-versions, v)
			}
			if !m.Stats().LastGood || !m.Stats().Pending || !strings.Contains(m.Problem().Why, c.why) {
				t.Errorf("%+v, %+v", m.Stats(), m.Problem())
			}
			// The same text is not tried again by itself; a right one is, and all is well.
			if err := m.ReloadFiles(t.Context()); err != nil || !m.Stats().LastGood {
				t.Error("it was tried again:", err)
			}
			b.live = nil
			b.write(second + "#\n")
			if err := m.ReloadFiles(t.Context()); err != nil || m.Problem() != nil || m.Stats().LastGood || b.current.Policy.Hash() != textHash([]byte(second+"#\n")) {
				t.Errorf("%v, %+v", err, m.Problem())
			}
		})
	}
}

// Without a policy that was in force there is none to run, and one that is not right under
// the configuration of now does not run either.
func TestStartWithoutALastPolicy(t *testing.T) {
	b := newBench(t)
	b.write(misspelt)
	if _, _, err := b.restart(t, false); err == nil || !strings.Contains(err.Error(), "wen") || len(b.versions) != 0 {
		t.Errorf("%v, %+v", err, b.versions)
	}
	b.write(first)
	if _, _, err := b.restart(t, false); err != nil {
		t.Fatal(err)
	}
	b.write(misspelt)
	b.now.Policies.Enforced.Pinned = &policy.Pinned{Name: "pinned.yaml", Source: []byte("version: 1\ninvariants:\n  - {name: asks, always: step_up, when: '\"staff\" in user.groups'}\n")}
	_, _, err := b.restart(t, false)
	for _, want := range []string{"wen", "the last policy that was in force", "pinned.yaml:3", "asks"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	var broken historyFails
	if _, err := ChooseStart(t.Context(), StartConfig{History: broken}); !errors.Is(err, errBroken) {
		t.Error("a history that cannot be read is not one without a policy:", err)
	}
}

type historyFails struct{ *memory }

func (historyFails) LastPolicy(context.Context) (Version, string, error) {
	return Version{}, "", errBroken
}

// A file that was left shorter while no process ran is refused as by a running one, unless
// it says that it is whole, or was in force before. One that is being written is waited for.
func TestStartWithAShorterFile(t *testing.T) {
	longer := strings.TrimSuffix(noRule, "\n") + "\n  - {name: third, when: ip.private, then: block}\n"
	over := func(old, edit string) string { return edit + old[len(edit):] }
	for name, c := range map[string]struct {
		was, file, want string // texts; want: what runs
		before          string // what was in force earlier; "": nothing
		why             string
	}{
		"cut off":                         {longer, noRule, longer, "", "may be cut off"},
		"shorter, with the mark":          {longer, noRule + mark, noRule + mark, "", ""},
		"an earlier policy":               {longer, noRule, noRule, noRule, ""},
		"more":                            {noRule, longer, longer, "", ""},
		"the mark is gone":                {first, strings.TrimSuffix(first, mark), first, "", "the line ..."},
		"half overwritten, with the mark": {first, over(first, "version: 1\nrules:\n  - {name: buy"), first, "", "may be half overwritten"},
		"as long, and all is there":       {first, second, second, "", ""},
		"as long, and an earlier policy":  {first, over(first, "version: 1\nrules:\n  - {name: buy"), over(first, "version: 1\nrules:\n  - {name: buy"), over(first, "version: 1\nrules:\n  - {name: buy"), ""},
	} {
		for _, age := range []time.Duration{0, time.Hour} {
			t.Run(name+", "+age.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					b.now.Settle = 3 * time.Second
					for _, text := range []string{c.before, c.was} {
						if text == "" {
							continue
						}
						if _, err := b.Apply(t.Context(), WithPolicy([]byte(text)), Origin{Kind: "command"}); err != nil {
							t.Fatal(err)
						}
						if len(b.versions) == 0 { // it is the one of the bench
							_ = b.AddPolicyVersion(t.Context(), Version{Hash: textHash([]byte(text)), Outcome: "applied", Origin: "start"}, text)
						}
					}
					b.write(c.file)
					written := time.Now().Add(-age) // of the bubble
					if err := os.Chtimes(b.file, written, written); err != nil {
						t.Fatal(err)
					}
					s, m, err := b.restart(t, false)
					if err != nil || s.Policy.Hash() != textHash([]byte(c.want)) || (s.Refused != nil) != (c.why != "") {
						t.Fatalf("%v, %+v", err, s)
					}
					if _, unfinished := errors.AsType[*Unfinished](s.Refused); unfinished != (c.why != "") {
						t.Error(s.Refused)
					}
					if c.why == "" {
						return
					}
					if !strings.Contains(s.Refused.Error(), c.why) || !m.Stats().LastGood {
						t.Errorf("%v, %+v", s.Refused, m.Stats())
					}
					// Nor does it come by a signal, which log rotation sends, but by a command.
					if _, err := m.Apply(t.Context(), WithPolicy([]byte(c.file)), Origin{Kind: "signal"}); err == nil || !strings.Contains(err.Error(), c.why) {
						t.Error("by signal:", err)
					}
					if _, err := m.Apply(t.Context(), WithPolicy([]byte(c.file)), Origin{Kind: "command"}); err != nil || m.Problem() != nil {
						t.Error("by command:", err, m.Problem())
					}
				})
			})
		}
	}
	for _, written := range []string{second, lockout} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			if _, _, err := b.restart(t, false); err != nil {
				t.Fatal(err)
			}
			b.live = []*policy.Facts{alice()}
			_ = ways["file"](b, lockout)
			b.write(noRule)
			now := time.Now() // of the bubble
			if err := os.Chtimes(b.file, now, now); err != nil {
				t.Fatal(err)
			}
			go func() {
				time.Sleep(time.Second)
				b.write(written)
			}()
			s, _, err := b.restart(t, false)
			if err != nil || (s.Policy.Hash() == textHash([]byte(written))) != (written == second) || (s.Refused != nil) != (written == lockout) {
				t.Errorf("%v, %+v", err, s)
			}
		})
	}
}
