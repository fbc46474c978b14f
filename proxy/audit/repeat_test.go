package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/authn/clocktest"
	"sallyport/policy"
)

func allowed(session string) Record {
	return Record{Event: "access", Session: session, User: "alice@example.com", IP: "203.0.113.7", Route: "treasury", Action: "allow", Policy: "p1"}
}

func mustAllow(t testing.TB, l *Log, rec Record) {
	t.Helper()
	if err := l.AppendRun(context.Background(), rec); err != nil {
		t.Fatal(err)
	}
}

// counts are the count fields on disk, in order.
func counts(t testing.TB, cfg Config) []int64 {
	t.Helper()
	var out []int64
	for line, err := range Read(cfg.File) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, line.Record.Count)
	}
	return out
}

func wantCounts(t testing.TB, cfg Config, want ...int64) {
	t.Helper()
	if got := counts(t, cfg); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counts %v, want %v", got, want)
	}
}

func TestRepeatedAllows(t *testing.T) {
	c := clocktest.At(testTime)
	cfg := testConfig(t)
	cfg.Now = c.Now
	l := mustOpen(t, cfg)
	for range 5 {
		mustAllow(t, l, allowed("s1"))
	}
	wantCounts(t, cfg, 0) // the first, at once
	l.repeats.sweep(c.Now(), false)
	wantCounts(t, cfg, 0)
	c.Add(time.Minute)
	l.repeats.sweep(c.Now(), false)
	wantCounts(t, cfg, 0, 4)
	for range 3 {
		mustAllow(t, l, allowed("s1"))
	}
	c.Add(59 * time.Second)
	l.repeats.sweep(c.Now(), false)
	wantCounts(t, cfg, 0, 4)
	c.Add(time.Second)
	l.repeats.sweep(c.Now(), false)
	wantCounts(t, cfg, 0, 4, 3)
	// A minute without any: the run is over, and the next is a first again.
	c.Add(time.Minute)
	l.repeats.sweep(c.Now(), false)
	mustAllow(t, l, allowed("s1"))
	wantCounts(t, cfg, 0, 4, 3, 0)
	mustAllow(t, l, allowed("s1"))
	mustClose(t, l)
	wantCounts(t, cfg, 0, 4, 3, 0, 1)
	mustVerify(t, cfg)
	for line := range Read(cfg.File) {
		if r := line.Record; r.Session != "s1" || r.Route != "treasury" || r.Action != "allow" || r.User != "alice@example.com" {
			t.Errorf("record %+v", r)
		}
	}
}

// The writer does it by itself, by the clock of the machine.
func TestRepeatsAreWrittenByThemselves(t *testing.T) {
	cfg := testConfig(t)
	cfg.Now, cfg.RepeatEvery = time.Now, time.Millisecond
	l := mustOpen(t, cfg)
	mustAllow(t, l, allowed("s1"))
	known, err := l.Count(RunKeyOf(new(allowed("s1"))))
	if !known || err != nil {
		t.Fatal(known, err)
	}
	await(t, func() bool { return l.Size() == 2 })
	mustClose(t, l)
}

func TestDifferentAllowsAreWrittenAtOnce(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	base := allowed("s1")
	mustAllow(t, l, base)
	for i, change := range []func(*Record){
		func(r *Record) { r.Session = "s2" },
		func(r *Record) { r.IP = "198.51.100.1" },
		func(r *Record) { r.Route = "rpc" },
		func(r *Record) { r.Policy = "p2" },
		func(r *Record) { r.Action = "step_up" },
		func(r *Record) { r.Rules = []string{"x"} },
		func(r *Record) { r.Reported = []policy.Reported{{Rule: "x"}} },
		func(r *Record) { r.Event = "other" },
	} {
		rec := base
		change(&rec)
		mustAllow(t, l, rec)
		if l.Size() != int64(i)+2 {
			t.Errorf("change %d was counted as a repeat", i)
		}
	}
	// What is only read is one run, wherever it is.
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		base.Method, base.Path = method, "/other/"+method
		mustAllow(t, l, base)
	}
	if l.Size() != 9 {
		t.Errorf("another path started a run")
	}
	// Without a session there is no run.
	for range 2 {
		mustAllow(t, l, allowed(""))
	}
	if l.Size() != 11 {
		t.Errorf("allows without a session were counted")
	}
}

// While the first is on its way to the disk, no one passes as its repeat.
func TestRepeatWaitsForTheFirst(t *testing.T) {
	cfg, d := faultyConfig(t)
	l := mustOpen(t, cfg)
	release := d.hold()
	d.set(false, "sync.jsonl")
	var done sync.WaitGroup
	var passed atomic.Int64
	for range 50 {
		done.Go(func() {
			if l.AppendRun(context.Background(), allowed("s1")) == nil {
				passed.Add(1)
			}
		})
	}
	await(t, func() bool { return d.syncs.Load() > 0 })
	if known, err := l.Count(RunKeyOf(new(allowed("s1")))); known || err != nil {
		t.Errorf("repeat of what is not on disk: %v %v", known, err)
	}
	if passed.Load() > 0 {
		t.Error("an allow passed before anything was on disk")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.AppendRun(ctx, allowed("s1")); !errors.Is(err, context.Canceled) {
		t.Errorf("allow with an ended context: %v", err)
	}
	release()
	done.Wait()
	if passed.Load() > 0 {
		t.Errorf("%d allows passed without a record", passed.Load())
	}
	d.set(false)
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		done.Go(func() { mustAllow(t, l, allowed("s1")) })
	}
	done.Wait()
	mustClose(t, l)
	wantCounts(t, cfg, 0, 0, 49) // audit_recovered, the first, the others
}

// Bounded: the run that was written longest ago makes room, and its count is kept.
func TestRepeatMemoryIsBounded(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxRepeats = shards * 2
	l := mustOpen(t, cfg)
	const sessions, each = 1000, 3
	for i := range sessions {
		for range each {
			mustAllow(t, l, allowed(fmt.Sprint("s", i)))
		}
	}
	runs := 0
	for i := range l.repeats.shard {
		runs += len(l.repeats.shard[i].runs)
	}
	if runs > cfg.MaxRepeats {
		t.Errorf("%d runs are kept, the limit is %d", runs, cfg.MaxRepeats)
	}
	mustClose(t, l)
	var sum int64
	for _, n := range counts(t, cfg) {
		sum += max(1, n)
	}
	if sum != sessions*each {
		t.Errorf("%d allows are on record, %d were given", sum, sessions*each)
	}
}

// Counts that cannot be written are kept for later.
func TestCountsSurviveAFailingDisk(t *testing.T) {
	for _, done := range []bool{false, true} {
		c := clocktest.At(testTime)
		cfg, d := faultyConfig(t)
		cfg.Now = c.Now
		l := mustOpen(t, cfg)
		for range 4 {
			mustAllow(t, l, allowed("s1"))
		}
		c.Add(time.Minute)
		d.set(done, "write.jsonl")
		l.repeats.sweep(c.Now(), false)
		d.set(false)
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
		wantCounts(t, cfg, 0, 0, 3) // the first, audit_recovered, the count
		mustVerify(t, cfg)
	}
}

// Every allow that was answered with nil before Close is in the log after it.
func TestNoCountIsLostAtClose(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	var given atomic.Int64
	var done sync.WaitGroup
	for g := range 8 {
		done.Go(func() {
			for {
				if err := l.AppendRun(context.Background(), allowed(fmt.Sprint("s", g%3))); err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
				given.Add(1)
			}
		})
	}
	await(t, func() bool { return given.Load() > 1000 })
	mustClose(t, l)
	done.Wait()
	var sum int64
	for _, n := range counts(t, cfg) {
		sum += max(1, n)
	}
	if sum != given.Load() {
		t.Errorf("%d allows are on record, %d were given", sum, given.Load())
	}
}

func TestRepeatDoesNotAllocate(t *testing.T) {
	l := mustOpen(t, testConfig(t))
	rec := allowed("s1")
	mustAllow(t, l, rec)
	k := RunKeyOf(&rec)
	if n := testing.AllocsPerRun(100, func() { _, _ = l.Count(k) }); n > 0 {
		t.Errorf("Repeat: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { _ = l.AppendRun(context.Background(), rec) }); n > 0 {
		t.Errorf("Allow: %v allocations", n)
	}
}

func BenchmarkAllowRepeat(b *testing.B) {
	l := mustOpen(b, testConfig(b))
	rec := allowed("0123456789abcdef")
	mustAllow(b, l, rec)
	b.Run("Repeat", func(b *testing.B) {
		k := RunKeyOf(&rec)
		b.ReportAllocs()
		for b.Loop() {
			if known, err := l.Count(k); !known || err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Allow", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := l.AppendRun(context.Background(), rec); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// An allow that a policy in shadow would not have given is a run of its own, and so is
// each verdict and reason that it would have had.
func TestShadowIsPartOfARun(t *testing.T) {
	seen := map[RunKey]int{}
	for i, s := range []*Shadow{nil, {Policy: "p", Action: "block", Rules: []string{"a"}}, {Policy: "p", Action: "block", Rules: []string{"b"}}, {Policy: "p", Action: "step_up", Rules: []string{"a"}}, {Policy: "q", Action: "block", Rules: []string{"a"}}} {
		k := RunKeyOf(&Record{Event: "access", Session: "s", Action: "allow", Shadow: s})
		if other, known := seen[k]; known {
			t.Errorf("%d and %d are one run", other, i)
		}
		seen[k] = i
	}
	if k := RunKeyOf(&Record{Event: "access", Session: "s", Action: "allow"}); k.Decision != "allow" {
		t.Errorf("without a shadow: %q", k.Decision)
	}
}
