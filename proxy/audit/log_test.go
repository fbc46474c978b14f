package audit

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

var testSeed = []byte("0123456789abcdef0123456789abcdef")

var testTime = time.Date(2026, 5, 16, 9, 30, 0, 0, time.UTC)

func testConfig(t testing.TB) Config {
	t.Helper()
	return Config{CallsPerMinute: 300,
		File: filepath.Join(t.TempDir(), "audit.jsonl"), Key: testSeed,
		CheckpointEvery: time.Hour, RepeatEvery: time.Minute,
		Now:  func() time.Time { return testTime },
		disk: quickDisk(),
	}
}

// quickDisk is a disk that does not wait for the medium: tests do not cut the power,
// and those that kill a process or fail a sync use another.
func quickDisk() disk {
	return disk{
		open: func(path string, flag int) (file, error) {
			f, err := osDisk().open(path, flag)
			if err != nil {
				return nil, err
			}
			return quickFile{f}, nil
		},
		replace: putFile,
		syncDir: func(string) error { return nil },
	}
}

// putFile writes a new file: rewriting one in place makes some file systems flush it.
func putFile(path string, data []byte) error {
	_ = os.Remove(path)
	return os.WriteFile(path, data, fileMode)
}

type quickFile struct{ file }

func (quickFile) Sync() error { return nil }

func mustOpen(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// appendN appends n records that say which they are.
func appendN(t testing.TB, l *Log, n int) {
	t.Helper()
	for range n {
		rec := Record{Event: "sign_in", User: "alice@example.com", IP: "203.0.113.7", Detail: map[string]string{"n": strconv.FormatInt(l.Size(), 10)}}
		if err := l.Append(context.Background(), rec); err != nil {
			t.Fatal(err)
		}
	}
}

func mustVerify(t testing.TB, cfg Config) Report {
	t.Helper()
	r := verify(t, cfg, VerifyOptions{})
	if !r.OK() {
		t.Fatalf("not intact:\n%s", r.Text())
	}
	return r
}

func verify(t testing.TB, cfg Config, o VerifyOptions) Report {
	t.Helper()
	files, err := Segments(cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	key, err := VerifierKey(cfg.Name, cfg.Key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Verify(files, key, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAppendReopenVerify(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	appendN(t, l, 5)
	mustClose(t, l)
	l = mustOpen(t, cfg)
	appendN(t, l, 4)
	if r := mustVerify(t, cfg); r.Records != 9 || r.Signed != 5 || r.Unsigned != 4 {
		t.Fatalf("report of the open log: %+v", r)
	}
	mustClose(t, l)
	if r := mustVerify(t, cfg); r.Records != 9 || r.Signed != 9 {
		t.Fatalf("report: %+v", r)
	}
	if err := l.Append(context.Background(), Record{Event: "x"}); err != ErrClosed {
		t.Fatalf("append after close: %v", err)
	}
}
