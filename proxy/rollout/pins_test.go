package rollout

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/policy"
	"sallyport/policy/whole"
)

const (
	onePin  = "version: 1\ninvariants:\n  - {name: asks, always: step_up, when: 'request.path.startsWith(\"/pay\")'}\n"
	twoPins = onePin + "  - {name: asks-abroad, always: step_up, when: 'request.path.startsWith(\"/pay\") && \"x\" in user.groups'}\n"
	weak    = "version: 1\nrules:\n  - {name: pay, when: ip.private, then: step_up, max_age: 6m}\n" + mark
)

// pinnedBy are the policies of a configuration that pins a text; "": it pins nothing.
func pinnedBy(p Policies, pins, config string) Policies {
	p.Enforced.Pinned, p.PinsWhole = nil, whole.Ended([]byte(config))
	if pins != "" {
		p.Enforced.Pinned, p.PinsWhole = &policy.Pinned{Name: "inv.yaml", Source: []byte(pins)}, whole.Ended([]byte(pins))
	}
	return p
}

// Half a file of pinned invariants, or of the configuration that names it, lifts none of
// them, by SIGHUP and by a start; a text with the mark does, and it is said which.
func TestPinnedInvariantsAreNotCutOff(t *testing.T) {
	const config = "a: 1\n"
	for name, c := range map[string]struct {
		before, pins, config string
		kept, gone           string
	}{
		"the same":               {twoPins, twoPins, config, "", ""},
		"a first one":            {"", onePin, config, "", ""},
		"one more":               {onePin, twoPins, config, "", ""},
		"cut at a line end":      {twoPins, onePin, config, "the invariant asks-abroad", ""},
		"cut in a line":          {twoPins, strings.TrimSuffix(twoPins, " && \"x\" in user.groups'}\n") + "'}", config, "in the invariant that the file ends with", ""},
		"only the mark cut off":  {twoPins + mark, twoPins, config, "the line ...", ""},
		"the key cut off":        {twoPins, "", config, "policy_invariants", ""},
		"fewer, with the mark":   {twoPins, onePin + mark, config, "", "the invariant asks-abroad"},
		"no key, with the mark":  {twoPins, "", config + mark, "", "the invariant asks, the invariant asks-abroad"},
		"one more with the mark": {onePin, twoPins + mark, config, "", ""},
	} {
		for _, way := range []string{"signal", "start"} {
			t.Run(name+" by "+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					b.now.Settle = 3 * time.Second
					full := b.now.Policies
					b.now.Policies = pinnedBy(full, c.before, config)
					if _, _, err := b.restart(t, false); err != nil {
						t.Fatal(err)
					}
					if c.before != "" && b.pins != c.before {
						t.Fatalf("the store has %q", b.pins)
					}
					var err error
					m := b.Manager
					if way == "signal" {
						_, err = b.Apply(t.Context(), func(now Configuration) (Configuration, error) {
							now.Policies = pinnedBy(now.Policies, c.pins, c.config)
							return now, nil
						}, Origin{Kind: "signal"})
					} else {
						b.now.Policies = pinnedBy(full, c.pins, c.config)
						if _, _, strict := b.restart(t, true); (strict != nil) != (c.kept != "") {
							t.Error("strict:", strict)
						}
						b.now.Policies = pinnedBy(full, c.pins, c.config)
						var s Start
						if s, m, err = b.restart(t, false); err == nil {
							err = s.PinsKept
						}
						if m == nil {
							t.Fatal(err)
						}
						if (m.Problem() != nil) != (c.kept != "") {
							t.Errorf("%+v", m.Problem())
						}
					}
					if _, gone := errors.AsType[*PinsGone](err); gone != (c.kept != "") || err != nil && (!gone || !strings.Contains(err.Error(), c.kept)) {
						t.Fatalf("%v, want %q", err, c.kept)
					}
					want := c.pins
					if c.kept != "" {
						want = c.before
					}
					if want == "" {
						want = noPins
					}
					if got := string(m.now.Policies.pinned()); got != want || b.pins != want {
						t.Errorf("%q is in force, and %q in the store; want %q", got, b.pins, want)
					}
					var said string
					for _, r := range b.records {
						if r.Event == "pins_removed" {
							said += r.Detail["gone"]
						}
					}
					if said != c.gone {
						t.Errorf("recorded: %q, want %q", said, c.gone)
					}
					// What the pins are for.
					if c.before != "" && c.kept != "" {
						if _, err := m.Apply(t.Context(), WithPolicy([]byte(weak)), Origin{Kind: "command"}); err == nil {
							t.Error("a policy that breaks them came into force")
						}
					}
				})
			})
		}
	}
}

// A signal waits until the files beside the policies are as they are for a while; it gives
// up on one that is written on and on.
func TestSignalWaitsForTheFilesBeside(t *testing.T) {
	for name, c := range map[string]struct {
		texts  []string // as read, one a second
		taken  string
		within time.Duration
	}{
		"the same":      {[]string{"a: 1\n"}, "a: 1\n", 0},
		"the mark":      {[]string{"a: 1\nb: 1\n...\n"}, "a: 1\nb: 1\n...\n", 0},
		"another":       {[]string{"a: 1\nb: 1\n"}, "a: 1\nb: 1\n", 3 * time.Second},
		"in two writes": {[]string{"", "a: 1\n", "a: 1\nc: 1\n"}, "a: 1\nc: 1\n", 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.now.Settle = 3 * time.Second
				b.now.Beside = []Text{{"sallyport.yaml", []byte("a: 1\n")}}
				begin := time.Now()
				_, err := b.Apply(t.Context(), func(now Configuration) (Configuration, error) {
					n := min(int(time.Since(begin)/time.Second), len(c.texts)-1)
					now.Beside = []Text{{"sallyport.yaml", []byte(c.texts[n])}}
					return now, nil
				}, Origin{Kind: "signal"})
				if err != nil || string(b.now.Beside[0].Source) != c.taken || time.Since(begin) > c.within {
					t.Errorf("%v: %q after %s", err, b.now.Beside, time.Since(begin))
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.now.Settle = 3 * time.Second
		_, err := b.Apply(t.Context(), func(now Configuration) (Configuration, error) {
			now.Beside = []Text{{"roster.csv", []byte(time.Now().String())}}
			now.Done = func(context.Context) { t.Error("it is in force") }
			return now, nil
		}, Origin{Kind: "signal"})
		if err == nil || !strings.Contains(err.Error(), "roster.csv is still being written") {
			t.Error(err)
		}
	})
}
