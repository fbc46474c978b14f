package rollout

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/policy"
)

// analyst copies the policy in force, adds a rule to the copy, and applies it, at moments
// of their own.
type analyst struct {
	name   string
	base   string
	source string
	done   bool
}

// copies is what an analyst does first.
func (a *analyst) copies(b *bench) {
	b.mu.Lock()
	defer b.mu.Unlock()
	source := string(b.now.Policies.Enforced.Source)
	a.base = policy.Hash([]byte(source))
	a.source = strings.Replace(source, "rules:\n", "rules:\n  - {name: "+a.name+", when: 'request.path == \"/\"', then: step_up}\n", 1)
}

func (a *analyst) applies(b *bench) error {
	_, err := b.Apply(b.t.Context(), WithPolicy([]byte(a.source)), Origin{Kind: "command", By: a.name, Base: a.base, Note: "for " + a.name})
	return err
}

func inForceHas(b *bench, rule string) bool {
	return strings.Contains(string(b.now.Policies.Enforced.Source), "name: "+rule+",")
}

// However the steps of several analysts fall, no rule that came into force is lost, and each of
// them comes to an end.
func TestNoRuleIsLostBetweenAnalysts(t *testing.T) {
	refused := 0
	for seed := range uint64(200) {
		draw := rand.New(rand.NewPCG(seed, 0))
		b := newBench(t)
		b.versions = []Version{{Hash: policy.Hash([]byte(first)), Outcome: "applied", Origin: "start"}}
		analysts := make([]*analyst, 2+draw.IntN(3))
		for i := range analysts {
			analysts[i] = &analyst{name: fmt.Sprintf("rule-%d", i)}
		}
		var inForce []string
		for left := len(analysts); left > 0; {
			a := analysts[draw.IntN(len(analysts))]
			switch {
			case a.done:
			case a.source == "":
				a.copies(b)
			default:
				err := a.applies(b)
				stale, isStale := errors.AsType[*Stale](err)
				switch {
				case err == nil:
					a.done, inForce, left = true, append(inForce, a.name), left-1
				case !isStale || !stale.Known || stale.Since[0].By != inForce[len(inForce)-1]:
					t.Fatalf("seed %d: %v", seed, err)
				default:
					refused++
					a.source = "" // and begins anew
				}
			}
			for _, rule := range inForce {
				if !inForceHas(b, rule) {
					t.Fatalf("seed %d: %s is lost", seed, rule)
				}
			}
		}
	}
	if refused < 100 {
		t.Errorf("%d refusals: the interleavings do not meet", refused)
	}
}

// The comparison is made under the lock: of many at once, each one is compared with what the
// one before left.
func TestNoRuleIsLostAtOnce(t *testing.T) {
	b := newBench(t)
	var wait sync.WaitGroup
	for i := range 12 {
		a := &analyst{name: fmt.Sprintf("rule-%d", i)}
		a.copies(b) // all from the same
		wait.Go(func() {
			for {
				err := a.applies(b)
				if err == nil {
					return
				}
				if _, stale := errors.AsType[*Stale](err); !stale {
					t.Error(err)
					return
				}
				a.copies(b)
			}
		})
	}
	wait.Wait()
	for i := range 12 {
		if rule := fmt.Sprintf("rule-%d", i); !inForceHas(b, rule) {
			t.Errorf("%s is lost", rule)
		}
	}
}

// What a candidate may continue, by the way on which it comes.
func TestBaseOfACandidate(t *testing.T) {
	hash := func(source string) string { return policy.Hash([]byte(source)) }
	named := func(base, source string) string { return "# base: " + base + "\n" + source }
	third := strings.Replace(second, "6m", "7m", 1)
	for name, c := range map[string]struct {
		now, next string
		base      string // of a request
		ways      string // on which it is taken
	}{
		"it says nothing":                           {first, second, "", "command file signal"},
		"the one in force":                          {first, second, hash(first), "command file signal"},
		"the beginning of that":                     {first, second, hash(first)[:6], "command file signal"},
		"one that is not in force":                  {third, second, hash(first), ""},
		"one that was never in force here":          {third, second, strings.Repeat("ab", 32), "file signal"},
		"what the text in force says, too":          {named(hash(first), third), second, hash(first), "file signal"},
		"itself, as a copy from another proxy":      {third, second, hash(second), "file signal"},
		"itself, which others have changed since":   {second, first, hash(first), ""},
		"what is in force already continues itself": {second, second + "# \n", hash(second), "command file signal"},
	} {
		for way := range ways {
			b := newBench(t)
			now, err := policy.Compile(policy.Config{Name: b.file, Source: []byte(c.now), Routes: []string{"treasury"}})
			if err != nil {
				t.Fatal(err)
			}
			b.current.Policy, b.now.Policies.Enforced.Source = now, []byte(c.now)
			b.versions = []Version{{Hash: hash(c.now), Outcome: "applied", Origin: "command", By: "ann", Note: "mine", At: time.Unix(7, 0)}, {Hash: hash(first), Outcome: "refused"}, {Hash: hash(first), Outcome: "applied", Origin: "start"}}
			text := c.next
			if c.base != "" {
				text = named(c.base, c.next)
			}
			if way == "command" {
				b.requests = append(b.requests, Request{Seq: 7, At: time.Now(), By: "bob", Source: text, Base: c.base})
				err = b.AnswerRequest(t.Context())
				if err == nil && !strings.HasPrefix(b.answers[7], RequestApplied) {
					err = errors.New(b.answers[7])
				}
			} else {
				err = ways[way](b, text)
			}
			if taken := err == nil; taken != strings.Contains(c.ways, way) {
				t.Errorf("%s, by %s: %v", name, way, err)
			}
			if err != nil && (!strings.Contains(err.Error(), "is in force") || b.current.Policy != now || name == "one that is not in force" && !strings.Contains(err.Error(), "applied by ann, 1970-01-01 00:00:07 UTC: mine")) {
				t.Errorf("%s, by %s: %v", name, way, err)
			}
		}
	}
}

// The file of one proxy of a fleet may have what another one brought into force.
func TestFileIsWhatAnotherProxyTookUp(t *testing.T) {
	newest, before := policy.Hash([]byte(second)), policy.Hash([]byte(first))
	copied := []byte("# base: " + newest + "\n" + second)
	list := []Version{{Hash: "0", Outcome: "refused"}, {Hash: newest, Outcome: "applied"}, {Hash: before, Outcome: "applied"}}
	if stale := undoes(list, before, []byte(first), copied); stale != nil {
		t.Error(stale)
	}
	list = append([]Version{{Hash: before, Outcome: "rolled_back", By: "ann"}}, list...)
	if stale := undoes(list, before, []byte(first), copied); stale == nil || len(stale.Since) != 1 || !strings.Contains(stale.ofFile("policy.yaml", copied).Error(), "sallyport policy rollback "+newest[:12]+" --onto "+before[:12]) {
		t.Error(stale)
	}
}

// Two proxies on one store: what one of them brought into force, the other takes as it is, and
// neither calls the other's newest policy old. Only a file that is older than the newest one is
// refused, and the refusal names that one.
func TestProxiesOnOneStore(t *testing.T) {
	named := func(base, source string) string { return "# base: " + policy.Hash([]byte(base)) + "\n" + source }
	third, fourth, fifth := strings.Replace(second, "6m", "7m", 1), strings.Replace(second, "6m", "8m", 1), strings.Replace(second, "6m", "9m", 1)
	for way, come := range ways {
		a, b := newBench(t), newBench(t)
		b.memory = a.memory
		b.config.Store = b
		if _, err := a.Apply(t.Context(), WithPolicy([]byte(second)), Origin{Kind: "command", By: "ann"}); err != nil {
			t.Fatal(err)
		}
		edited := named(second, third) // in its place
		if err := ways["file"](a, edited); err != nil {
			t.Fatal(err)
		}
		versions := len(a.versions)
		// The second one has had neither, and its people are judged by no guard.
		b.live = []*policy.Facts{alice()}
		b.now.Guard.MaxNewlyBlocked, b.now.Guard.MaxNewlyAllowed = 0, 0
		if err := come(b, edited); err != nil {
			t.Errorf("%s: the very file of the first proxy: %v", way, err)
		}
		if b.current.Policy.Hash() != policy.Hash([]byte(third)) || len(a.versions) != versions || b.records[len(b.records)-1].Event != "policy_applied" {
			t.Errorf("%s: %s is in force; %+v", way, b.current.Policy.Hash(), b.records)
		}
		if _, err := a.Apply(t.Context(), WithPolicy([]byte(fourth)), Origin{Kind: "command", By: "ann"}); err != nil {
			t.Fatal(err)
		}
		c := newBench(t) // as far behind
		c.memory, c.config.Store = a.memory, c
		if way == "command" {
			_, err := c.Apply(t.Context(), WithPolicy([]byte(fifth)), Origin{Kind: "command", Base: policy.Hash([]byte(fourth))})
			if err != nil {
				t.Errorf("a candidate that continues the newest: %v", err)
			}
			continue
		}
		err := come(c, named(second, second))
		stale, isStale := errors.AsType[*Stale](err)
		if !isStale || stale.InForce != policy.Hash([]byte(fourth)) || !strings.Contains(err.Error(), "--onto "+policy.Hash([]byte(fourth))[:12]) {
			t.Errorf("%s: older than the newest: %v", way, err)
		}
		if err := come(c, named(fourth, fifth)); err != nil {
			t.Errorf("%s: a copy of the newest: %v", way, err)
		}
	}
}

// A text that says nothing of its base, and was in force itself, undoes what commands brought into force since.
func TestOldFileWithoutALine(t *testing.T) {
	in := func(origin, text string) Version {
		return Version{Hash: policy.Hash([]byte(text)), Outcome: "applied", Origin: origin, By: "ann"}
	}
	third := strings.Replace(second, "6m", "7m", 1)
	for name, c := range map[string]struct {
		list   []Version // newest first
		undone int
	}{
		"a command came since":           {[]Version{in("command", second), in("start", first)}, 1},
		"a command, and then an edit":    {[]Version{in("file", third), in("command", second), in("start", first)}, 2},
		"an edit came since":             {[]Version{in("file", second), in("start", first)}, 0},
		"it came again":                  {[]Version{in("file", first), in("command", second), in("start", first)}, 0},
		"it was only ever refused":       {[]Version{in("command", second), {Hash: policy.Hash([]byte(first)), Outcome: "refused"}}, 0},
		"nothing is recorded of it here": {[]Version{in("command", second)}, 0},
	} {
		stale := undoesCommands(c.list, c.list[0].Hash, []byte(first))
		if undone := stale != nil; undone != (c.undone > 0) || undone && (len(stale.Since) != c.undone || !strings.Contains(stale.ofFile("policy.yaml", []byte(first)).Error(), "sallyport policy rollback ")) {
			t.Errorf("%s: %v", name, stale)
		}
	}
	b := newBench(t)
	b.versions = []Version{in("start", first)}
	if _, err := b.Apply(t.Context(), WithPolicy([]byte(second)), Origin{Kind: "command", By: "ann"}); err != nil {
		t.Fatal(err)
	}
	b.write(string(policy.NamingItself([]byte(second))))
	if err := b.ReloadFiles(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.write(first)
	if err := b.ReloadFiles(t.Context()); err == nil || !strings.Contains(err.Error(), "would undo what others did") || b.current.Policy.Hash() != policy.Hash([]byte(second)) {
		t.Errorf("%v", err)
	}
}

// --force is for the guard alone.
func TestForceDoesNotUndo(t *testing.T) {
	b := newBench(t)
	if _, err := b.Apply(t.Context(), WithPolicy([]byte(second)), Origin{Kind: "command", Base: strings.Repeat("0", 64), Force: true}); err == nil {
		t.Error("it came into force")
	}
	if b.records[0].Event != "policy_refused" || !strings.Contains(b.versions[0].Detail, "it was made from") {
		t.Errorf("%+v", b.records)
	}
}
