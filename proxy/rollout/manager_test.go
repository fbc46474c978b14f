package rollout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/rehearse"
	"sallyport/policy/whole"
	"sallyport/proxy"
	"sallyport/proxy/audit"
)

const (
	first   = "version: 1\nrules:\n  - {name: pay, when: 'request.path.startsWith(\"/pay\")', then: step_up, max_age: 5m}\n" + mark
	second  = "version: 1\nrules:\n  - {name: pay, when: 'request.path.startsWith(\"/pay\")', then: step_up, max_age: 6m}\n" + mark
	lockout = "version: 1\nrules:\n  - {name: staff, when: '\"staff\" in user.groups', then: block}\n" + mark
	mark    = whole.Mark + "\n"
)

// bench is a manager among fakes that note, in order, what is done.
type bench struct {
	*Manager
	*memory
	t       *testing.T
	file    string
	live    []*policy.Facts // of live sessions
	broken  string          // the step that fails
	done    []string
	records []audit.Record
	current *proxy.Snapshot
}

var errBroken = errors.New("broken")

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, memory: &memory{}, file: filepath.Join(dir, "policy.yaml")}
	b.write(first)
	intel, errs := ipintel.Load(ipintel.Config{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	pay := policy.Config{Name: b.file, Source: []byte(first), Routes: []string{"treasury"}}
	now := Configuration{Policies: Policies{Enforced: pay}, Guard: Guard{MaxNewlyBlocked: 0.2, MaxNewlyAllowed: 1}}
	p, err := policy.Compile(pay)
	if err != nil {
		t.Fatal(err)
	}
	b.current = &proxy.Snapshot{Policy: p, Intel: intel}
	b.Manager = New(Config{
		Gate: b, Audit: b, AuditFile: filepath.Join(dir, "audit.jsonl"), Store: b, Intel: func() *ipintel.Snapshot { return intel }, Logger: slog.New(slog.DiscardHandler),
	}, now)
	return b
}

func (b *bench) write(source string) {
	b.t.Helper()
	if err := os.WriteFile(b.file, []byte(source), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// step notes a step, which fails if it is the broken one.
func (b *bench) step(name string) error {
	b.done = append(b.done, name)
	if b.broken == name {
		return errBroken
	}
	return nil
}

func (b *bench) Current() *proxy.Snapshot { return b.current }

func (b *bench) Update(change func(proxy.Snapshot) proxy.Snapshot) {
	_ = b.step("swap")
	next := change(*b.current)
	b.current = &next
}

func (b *bench) Compare(before, after *proxy.Snapshot) *rehearse.Tally {
	_ = b.step("guard")
	return b.CompareAt(before, after, func(now time.Time) time.Time { return now })
}

func (b *bench) CompareAt(before, after *proxy.Snapshot, clock func(time.Time) time.Time) *rehearse.Tally {
	t := &rehearse.Tally{}
	for _, live := range b.live {
		f := new(*live)
		f.Time.Now = clock(time.Now())
		was, is := before.Policy.Decide(f), after.Policy.Decide(f)
		t.Add(f.User.Email, f, 1, was, is)
		t.AddAsked(f.User.Email, f, 1, rehearse.Pair{Given: was, Asked: was}, rehearse.Pair{Given: is, Asked: is})
	}
	return t
}

func (b *bench) Append(_ context.Context, r audit.Record) error {
	if r.Action == "refused" {
		b.records = append(b.records, r)
		return nil
	}
	if err := b.step("audit"); err != nil {
		return err
	}
	b.records = append(b.records, r)
	return nil
}

func (b *bench) AddPolicyVersion(ctx context.Context, v Version, source string) error {
	if v.Outcome != "refused" {
		if err := b.step("version"); err != nil {
			return err
		}
	}
	return b.memory.AddPolicyVersion(ctx, v, source)
}

// memory is a store in memory.
type memory struct {
	Store    // what these tests do not need
	versions []Version
	texts    map[string]string
	requests []Request
	answers  map[int64]string
	pins     string
	excepted string
}

func (m *memory) PutExceptions(_ context.Context, source string) error {
	m.excepted = source
	return nil
}

func (m *memory) LastPins(context.Context) (string, error) {
	if m.pins == "" {
		return "", authn.ErrNotFound
	}
	return m.pins, nil
}

func (m *memory) PutPins(_ context.Context, source string) error {
	m.pins = source
	return nil
}

func (m *memory) AddPolicyVersion(_ context.Context, v Version, source string) error {
	v.Seq = int64(len(m.versions)) + 1
	if m.texts == nil {
		m.texts = map[string]string{}
	}
	if source != "" {
		m.texts[v.Hash] = source
	}
	m.versions = append([]Version{v}, m.versions...)
	return nil
}

func (m *memory) PolicyVersions(_ context.Context, limit int) ([]Version, error) {
	return m.versions[:min(limit, len(m.versions))], nil
}

func (m *memory) LastPolicy(context.Context) (Version, string, error) {
	for _, v := range m.versions {
		if v.Outcome != "refused" {
			return v, m.texts[v.Hash], nil
		}
	}
	return Version{}, "", authn.ErrNotFound
}

func (m *memory) TakePolicyRequest(context.Context) (r Request, err error) {
	if len(m.requests) == 0 {
		return r, authn.ErrNotFound
	}
	r, m.requests = m.requests[0], m.requests[1:]
	return r, nil
}

func (m *memory) AnswerPolicyRequest(_ context.Context, seq int64, state, answer string) error {
	if m.answers == nil {
		m.answers = map[int64]string{}
	}
	m.answers[seq] = state + " " + answer
	return nil
}

// alice is at work, in the United States.
func alice() *policy.Facts {
	return &policy.Facts{
		IP: policy.IP{Country: "US"}, User: policy.User{Email: "alice@example.com", Groups: []string{"staff"}},
		Session: policy.Session{Level: authn.Verified.String(), VerifiedAge: time.Minute}, Request: policy.Request{Purpose: "access", Route: "treasury"},
	}
}

// ways are all on which a policy comes.
var ways = map[string]func(b *bench, source string) error{
	"file": func(b *bench, source string) error {
		b.write(source)
		return b.ReloadFiles(b.t.Context())
	},
	"signal": func(b *bench, source string) error {
		_, err := b.Apply(b.t.Context(), func(c Configuration) (Configuration, error) {
			c.Policies.Enforced.Source = []byte(source)
			c.Prepare = func() error { return b.step("prepare") }
			c.Done = func(context.Context) { _ = b.step("done") }
			return c, nil
		}, Origin{Kind: "signal"})
		return err
	},
	"command": func(b *bench, source string) error {
		b.requests = append(b.requests, Request{Seq: 7, At: time.Now(), By: "root", Source: source})
		if err := b.AnswerRequest(b.t.Context()); err != nil {
			return err
		}
		if answer := b.answers[7]; !strings.HasPrefix(answer, RequestApplied) {
			return errors.New(answer)
		}
		return nil
	},
}

// Whichever way a policy comes, the steps and their order are the same.
func TestOrderOfARollout(t *testing.T) {
	for way, come := range ways {
		b := newBench(t)
		if err := come(b, second); err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		want := []string{"guard", "audit", "version", "swap"}
		if way == "signal" {
			want = []string{"guard", "prepare", "audit", "version", "swap", "done"}
		}
		if d := cmp.Diff(want, b.done); d != "" {
			t.Errorf("%s: %s", way, d)
		}
		if b.current.Policy.Hash() != b.versions[0].Hash || b.versions[0].Outcome != "applied" || b.versions[0].Origin != way || b.records[0].Event != "policy_applied" {
			t.Errorf("%s: %+v", way, b.versions)
		}
		if s := b.Stats(); s != (Stats{Applied: 1}) {
			t.Errorf("%s: %+v", way, s)
		}
		// The same again is nothing new, and a refusal before it is not pending any more.
		b.done = nil
		b.problem.Store(&Problem{})
		if err := come(b, second+"#\n"); err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		if way == "file" && b.versions[0].Outcome != "applied" {
			t.Errorf("%+v", b.versions)
		}
	}
}

// A policy that must not come into force does not, whichever way it comes; the refusal is recorded.
func TestRefusedPolicies(t *testing.T) {
	for name, c := range map[string]struct{ source, broken, why string }{
		"empty":                {"", "", "empty"},
		"a typing error":       {strings.Replace(second, "when", "wen", 1), "", "wen"},
		"too long":             {second + strings.Repeat("#", maxPolicy), "", "at most"},
		"its tests fail":       {strings.TrimSuffix(second, mark) + "tests:\n  - {name: t, given: {user: {groups: [staff]}}, expect: {action: block}}\n", "", "the test"},
		"an invariant fails":   {strings.TrimSuffix(second, mark) + "invariants:\n  - {never: allow, when: '\"staff\" in user.groups'}\n", "", "invariant"},
		"it locks people out":  {lockout, "", "1 of 1 people"},
		"it is not recorded":   {second, "audit", "could not be recorded"},
		"it is not in history": {second, "version", "could not be recorded"},
	} {
		for way, come := range ways {
			b := newBench(t)
			b.live = []*policy.Facts{alice()}
			b.broken = c.broken
			before := b.current
			err := come(b, c.source)
			if err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%s by %s: %v", name, way, err)
			}
			if b.current != before || slices.Contains(b.done, "swap") || slices.Contains(b.done, "done") {
				t.Errorf("%s by %s is in force: %v", name, way, b.done)
			}
			if s := b.Stats(); s != (Stats{Refused: 1, Pending: way != "command"}) {
				t.Errorf("%s by %s: %+v", name, way, s)
			}
			if last := b.records[len(b.records)-1]; last.Event != "policy_refused" || last.Detail["reason"] == "" || b.versions[0].Outcome != "refused" || b.versions[0].Detail == "" {
				t.Errorf("%s by %s: %+v", name, way, last)
			}
		}
	}
}

// What else of a configuration cannot come into force keeps its policy out as well.
func TestPreparationThatFails(t *testing.T) {
	b := newBench(t)
	b.broken = "prepare"
	before := b.current
	if err := ways["signal"](b, first); !errors.Is(err, errBroken) || b.Stats() != (Stats{}) || len(b.versions) != 0 {
		t.Errorf("%v, %+v: no other policy was refused", err, b.Stats())
	}
	if err := ways["signal"](b, second); !errors.Is(err, errBroken) || b.current != before {
		t.Errorf("%v, %v", err, b.done)
	}
	if s := b.Stats(); s != (Stats{Refused: 1, Pending: true}) || b.records[0].Event != "policy_refused" || b.versions[0].Outcome != "refused" || b.versions[0].Detail != "broken" {
		t.Errorf("%+v, %+v: the refusal is not known", s, b.versions)
	}
	if _, err := b.Apply(t.Context(), func(c Configuration) (Configuration, error) { return c, errBroken }, Origin{Kind: "signal"}); !errors.Is(err, errBroken) || b.Stats().Refused != 1 {
		t.Errorf("%v, %+v: no policy was refused", err, b.Stats())
	}
	b.broken = ""
	if err := ways["signal"](b, second); err != nil {
		t.Fatal(err)
	}
	b.done = nil
	if err := ways["command"](b, first); err != nil || slices.Contains(b.done, "prepare") || slices.Contains(b.done, "done") {
		t.Errorf("%v: what comes once came twice: %v", err, b.done)
	}
}

// A policy that was refused for another reason than what it says is tried again without a
// change of its file.
func TestWhatIsNotThePolicysFaultIsTriedAgain(t *testing.T) {
	for _, c := range []struct{ way, broken string }{{"signal", "prepare"}, {"signal", "audit"}, {"signal", "version"}, {"file", "audit"}, {"file", "version"}} {
		b := newBench(t)
		b.write(second)
		b.broken = c.broken
		if err := ways[c.way](b, second); !errors.Is(err, errBroken) {
			t.Fatalf("%+v: %v", c, err)
		}
		b.broken = ""
		if err := b.ReloadFiles(t.Context()); err != nil || b.versions[0].Outcome != "applied" || b.Stats() != (Stats{Applied: 1, Refused: 1}) {
			t.Errorf("%+v: %v, %+v", c, err, b.Stats())
		}
		before := len(b.done)
		if err := b.ReloadFiles(t.Context()); err != nil || len(b.done) != before {
			t.Errorf("%+v: what is in force came again: %v", c, b.done[before:])
		}
	}
}

// With force the guard is overruled, by name, and only the guard.
func TestForce(t *testing.T) {
	b := newBench(t)
	b.live = []*policy.Facts{alice()}
	report, err := b.Apply(t.Context(), WithPolicy([]byte(lockout)), Origin{Kind: "command", By: "root"})
	no, refused := errors.AsType[*LockOut](err)
	if !refused || len(no.Report.Blocked) != 1 || report.Blocked[0].User != "alice@example.com" || !strings.Contains(err.Error(), "alice@example.com") {
		t.Fatalf("%v, %+v", err, report)
	}
	if _, err := b.Apply(t.Context(), WithPolicy([]byte(lockout)), Origin{Kind: "command", By: "root", Force: true}); err != nil {
		t.Fatal(err)
	}
	v := b.versions[0]
	if v.Outcome != "forced" || v.By != "root" || !strings.Contains(v.Detail, "1 of 1 people") || b.records[len(b.records)-1].Detail["newly_blocked"] != "alice@example.com" {
		t.Errorf("%+v", v)
	}
	if _, err := b.Apply(t.Context(), WithPolicy([]byte("version: 2")), Origin{Kind: "command", Force: true}); err == nil {
		t.Error("what is no policy came into force")
	}
	if _, err := b.Apply(t.Context(), WithPolicy([]byte(first)), Origin{Kind: "command", Rollback: true}); err != nil || b.versions[0].Outcome != "rolled_back" {
		t.Errorf("%v, %+v", err, b.versions[0])
	}
}

// The file watcher looks at files, and not at what a command brought beside them.
func TestFilesAndCommands(t *testing.T) {
	b := newBench(t)
	if err := b.ReloadFiles(t.Context()); err != nil || b.done != nil {
		t.Fatal("the files are as at the start:", err, b.done)
	}
	if err := ways["command"](b, second); err != nil {
		t.Fatal(err)
	}
	now := b.current
	if err := b.ReloadFiles(t.Context()); err != nil || b.current != now {
		t.Fatal("the old file came back:", err)
	}
	b.write(second) // as the command does now
	if err := b.ReloadFiles(t.Context()); err != nil || len(b.versions) != 1 {
		t.Error(err, b.versions)
	}
	for _, change := range []func() error{
		func() error { return os.Remove(b.file) },
		func() error { return os.Mkdir(b.file, 0o700) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if err := b.ReloadFiles(t.Context()); err == nil {
			t.Error("no policy was there")
		}
		if err := b.ReloadFiles(t.Context()); err != nil {
			t.Error("said twice:", err)
		}
	}
	if b.Stats().Refused != 2 {
		t.Errorf("%+v", b.Stats())
	}
}

// A request of a command that gave up is not for the process that starts next.
func TestRequestThatIsTooOld(t *testing.T) {
	b := newBench(t)
	b.requests = []Request{{Seq: 1, At: time.Now().Add(-MaxWait - time.Second), Source: second, Forced: true}}
	if err := b.AnswerRequest(t.Context()); err != nil || b.done != nil || !strings.HasPrefix(b.answers[1], RequestRefused) {
		t.Errorf("%v, %v, %v", err, b.done, b.answers)
	}
	if err := b.AnswerRequest(t.Context()); !errors.Is(err, authn.ErrNotFound) {
		t.Error(err)
	}
}

// Of changes that come at once each is made on top of the one before.
func TestChangesAreSerialised(t *testing.T) {
	b := newBench(t)
	var inside int
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			_, err := b.Apply(t.Context(), func(c Configuration) (Configuration, error) {
				if inside++; inside != 1 {
					return c, errors.New("two at once")
				}
				c.Policies.Enforced.Source = fmt.Appendf(nil, "%s# %d\n", c.Policies.Enforced.Source, i)
				c.Done = func(context.Context) { inside-- }
				return c, nil
			}, Origin{Kind: "signal"})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if got := strings.Count(string(b.now.Policies.Enforced.Source), "# "); got != 20 {
		t.Errorf("%d of 20 changes are left", got)
	}
}
