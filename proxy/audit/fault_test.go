package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// faultyDisk is a real disk whose operations can be made to fail: before anything
// happened ("failed and not done") or after it ("failed but done").
type faultyDisk struct {
	mu    sync.Mutex
	fail  map[string]error // operation and suffix of the file
	done  bool             // the failing operation is carried out
	syncs atomic.Int64     // of the lines
	held  chan struct{}    // if set, syncs of the lines wait for it
}

var errDisk = errors.New("no space left on device")

func (d *faultyDisk) set(done bool, ops ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail, d.done = map[string]error{}, done
	for _, op := range ops {
		d.fail[op] = errDisk
	}
}

func (d *faultyDisk) disk() disk {
	return disk{
		open: func(path string, flag int) (file, error) {
			f, err := osDisk().open(path, flag)
			if err != nil {
				return nil, err
			}
			return &faultyFile{f, d, filepath.Ext(path)}, nil
		},
		replace: func(path string, data []byte) error {
			return d.do("replace", "", func() error { return replaceFile(path, data) })
		},
		syncDir: syncDir,
	}
}

func (d *faultyDisk) do(op, ext string, act func() error) error {
	d.mu.Lock()
	err, done := d.fail[op+ext], d.done
	d.mu.Unlock()
	if err == nil {
		return act()
	}
	if done {
		_ = act()
	}
	return err
}

type faultyFile struct {
	file
	d   *faultyDisk
	ext string
}

func (f *faultyFile) Write(b []byte) (n int, err error) {
	err = f.d.do("write", f.ext, func() error { n, err = f.file.Write(b); return err })
	return n, err
}

func (f *faultyFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.d.do("write", f.ext, func() error { n, err = f.file.WriteAt(b, at); return err })
	return n, err
}

func (f *faultyFile) Sync() error {
	if f.ext == ".jsonl" {
		f.d.syncs.Add(1)
		f.d.mu.Lock()
		held := f.d.held
		f.d.mu.Unlock()
		if held != nil {
			<-held
		}
	}
	return f.d.do("sync", f.ext, f.file.Sync)
}

func (f *faultyFile) Truncate(n int64) error {
	return f.d.do("truncate", f.ext, func() error { return f.file.Truncate(n) })
}

// When the record cannot be written the caller is told, nothing that was
// acknowledged is lost, and the log goes on by itself when the disk does.
func TestAttackAuditSinkDown(t *testing.T) {
	for _, op := range []string{"write.jsonl", "sync.jsonl", "write.tlog"} {
		for _, done := range []bool{false, true} {
			name := op + " fails, not done"
			if done {
				name = op + " fails, but done"
			}
			t.Run(name, func(t *testing.T) {
				cfg, d := faultyConfig(t)
				l := mustOpen(t, cfg)
				appendN(t, l, 3)
				allow := Record{Event: "access", Session: "s1", Action: "allow"}
				if err := l.AppendRun(t.Context(), allow); err != nil {
					t.Fatal(err)
				}
				d.set(done, op)
				refused(t, l, allow)
				if err := l.Reopen(); !errors.Is(err, errDisk) {
					t.Fatalf("repaired on a disk that fails: %v", err)
				}
				refused(t, l, allow)
				crashedNow(t, cfg, 4, op)

				d.set(false)
				if err := l.Reopen(); err != nil { // what the writer does once a second
					t.Fatal(err)
				}
				if err := l.Health(); err != nil {
					t.Fatal(err)
				}
				if err := l.AppendRun(t.Context(), allow); err != nil {
					t.Fatal(err)
				}
				appendN(t, l, 2)
				mustClose(t, l)
				r := mustVerify(t, cfg)
				events := map[string]int64{}
				for line := range Read(cfg.File) {
					events[line.Record.Event] += max(1, line.Record.Count)
				}
				if r.Records != 8 || events["sign_in"] != 5 || events[EventRecovered] != 1 || events["access"] != 2 {
					t.Errorf("%d records: %v", r.Records, events)
				}
			})
		}
	}
}

func faultyConfig(t *testing.T) (Config, *faultyDisk) {
	cfg := testConfig(t)
	d := &faultyDisk{}
	cfg.disk = d.disk()
	return cfg, d
}

func refused(t *testing.T, l *Log, allow Record) {
	t.Helper()
	for range 2 {
		if err := l.Append(t.Context(), Record{Event: "sign_in"}); !errors.Is(err, errDisk) {
			t.Fatalf("append: %v", err)
		}
	}
	if err := l.AppendRun(t.Context(), allow); !errors.Is(err, errDisk) {
		t.Fatalf("repeated allow: %v", err)
	}
	if _, err := l.Count(RunKeyOf(&allow)); !errors.Is(err, errDisk) {
		t.Fatalf("repeat: %v", err)
	}
	if err := l.Health(); !errors.Is(err, errDisk) {
		t.Fatalf("health: %v", err)
	}
}

// crashedNow opens a copy of the files as a process would that starts after this one
// was killed, and expects at least the acknowledged records.
func crashedNow(t *testing.T, cfg Config, acknowledged int64, when string) {
	t.Helper()
	c := copyLog(t, cfg)
	l, err := Open(c)
	if err != nil {
		t.Fatalf("open after a crash (%s): %v", when, err)
	}
	if l.Size() < acknowledged {
		t.Fatalf("after a crash (%s) %d of %d records are left", when, l.Size(), acknowledged)
	}
	mustClose(t, l)
	mustVerify(t, c)
}

// copyLog copies the files beside the log into a folder of their own.
func copyLog(t *testing.T, cfg Config) Config {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir(filepath.Dir(cfg.File))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data := readFile(t, filepath.Join(filepath.Dir(cfg.File), e.Name()))
		if err := os.WriteFile(filepath.Join(dir, e.Name()), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := cfg
	c.File, c.disk = filepath.Join(dir, filepath.Base(cfg.File)), quickDisk()
	return c
}

// A hash says that its line is durable: it must not be written before that is so.
func TestHashesComeAfterTheSync(t *testing.T) {
	for _, done := range []bool{false, true} {
		cfg, d := faultyConfig(t)
		l := mustOpen(t, cfg)
		appendN(t, l, 1)
		d.set(done, "sync.jsonl")
		if err := l.Append(t.Context(), Record{Event: "x"}); !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		if n := len(readFile(t, cfg.File+hashSuffix)); n != 32 {
			t.Errorf("%d bytes of hashes after 1 durable record", n)
		}
		d.set(false)
	}
}

// Verify may run while the log is written.
func TestVerifyWhileWriting(t *testing.T) {
	cfg := testConfig(t)
	cfg.CheckpointEvery, cfg.disk = time.Millisecond, disk{}
	l := mustOpen(t, cfg)
	appendN(t, l, 1)
	var done sync.WaitGroup
	var stop atomic.Bool
	for range 4 {
		done.Go(func() {
			for !stop.Load() {
				if err := l.Append(context.Background(), Record{Event: "sign_in"}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 30 {
		mustVerify(t, cfg)
	}
	stop.Store(true)
	done.Wait()
}

// A checkpoint that cannot be written leaves the records durable: requests go on,
// readiness says so.
func TestCheckpointFails(t *testing.T) {
	cfg, d := faultyConfig(t)
	l := mustOpen(t, cfg)
	appendN(t, l, 2)
	d.set(false, "replace")
	appendN(t, l, 2)
	if err := l.Close(); !errors.Is(err, errDisk) {
		t.Fatalf("close: %v", err)
	}
	if r := mustVerify(t, cfg); r.Signed != 0 || r.Unsigned != 4 {
		t.Fatalf("%+v", r)
	}
	d.set(false)
	mustClose(t, mustOpen(t, cfg))
	if r := mustVerify(t, cfg); r.Signed != 4 {
		t.Fatalf("%+v", r)
	}
}

// While one record is on its way to the disk, the others line up; then they go
// together.
func TestGroupCommit(t *testing.T) {
	cfg, d := faultyConfig(t)
	l := mustOpen(t, cfg)
	release := d.hold()
	before := d.syncs.Load()
	var done sync.WaitGroup
	appendOne := func() {
		if err := l.Append(context.Background(), Record{Event: "sign_in"}); err != nil {
			t.Error(err)
		}
	}
	done.Go(appendOne)
	await(t, func() bool { return d.syncs.Load() == before+1 })
	const callers = 200
	for range callers {
		done.Go(appendOne)
	}
	await(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.queue) == callers
	})
	release()
	done.Wait()
	if n := d.syncs.Load() - before; n != 2 {
		t.Errorf("%d records took %d syncs", callers+1, n)
	}
	mustClose(t, l)
	if r := mustVerify(t, cfg); r.Records != callers+1 {
		t.Errorf("%+v", r)
	}
}

// hold makes syncs of the lines wait until the function it returns is called.
func (d *faultyDisk) hold() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	held := make(chan struct{})
	d.held = held
	return func() { close(held) }
}

// await gives other goroutines their turn until it is so.
func await(t *testing.T, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

// A disk that hangs must not hold callers that have given up, nor all the memory.
func TestHangingDisk(t *testing.T) {
	cfg, d := faultyConfig(t)
	l := mustOpen(t, cfg)
	release := d.hold()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range maxQueue + maxQueue/2 {
		err := l.Append(ctx, Record{Event: "sign_in"})
		if errors.Is(err, ErrBehind) {
			release()
			mustClose(t, l)
			return
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("append: %v", err)
		}
	}
	t.Error("the queue has no end")
}

func TestOneProcessOnly(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	if _, err := Open(cfg); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	appendN(t, l, 1)
	mustClose(t, l)
	mustClose(t, mustOpen(t, cfg))
}

// Something else that writes to the file, or cuts it, is noticed before the next
// record, which would otherwise be glued to it.
func TestAttackForeignWriter(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	appendN(t, l, 3)
	f, err := os.OpenFile(cfg.File, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"seq":3,"event":"forged"}`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := l.Append(t.Context(), Record{Event: "x"}); err == nil || !strings.Contains(err.Error(), "something else writes to it") {
		t.Fatalf("append: %v", err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 1)
	if text := readFile(t, cfg.File); strings.Contains(text, "forged") || !strings.Contains(text, EventRecovered) {
		t.Fatalf("after the repair:\n%s", text)
	}

	if err := os.Truncate(cfg.File, 40); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Append(t.Context(), Record{Event: "x"}); !errors.Is(err, ErrTampered) {
			t.Fatalf("append to a file that was cut: %v", err)
		}
		_ = l.Reopen()
	}
	l.Close()
	if _, err := Open(cfg); !errors.Is(err, ErrTampered) {
		t.Fatalf("open: %v", err)
	}
}
