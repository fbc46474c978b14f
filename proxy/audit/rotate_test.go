package audit

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func rename(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// rotated is a log in three files of 10 records, as logrotate names them.
func rotated(t *testing.T, cfg Config) {
	t.Helper()
	l := mustOpen(t, cfg)
	appendN(t, l, 10)
	rename(t, cfg.File, cfg.File+".1")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 10)
	rename(t, cfg.File+".1", cfg.File+".2")
	rename(t, cfg.File, cfg.File+".1")
	appendN(t, l, 10) // notices by itself
	mustClose(t, l)
}

// While a rotated file is compressed, it lies there twice, and the new one is not done.
func TestRotatedFileThatIsBeingCompressed(t *testing.T) {
	cfg := testConfig(t)
	rotated(t, cfg)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := z.Write([]byte(readFile(t, cfg.File+".1")))
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{nil, zipped.Bytes()[:zipped.Len()/2], zipped.Bytes()} {
		if err := os.WriteFile(cfg.File+".1.gz", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := mustVerify(t, cfg); r.Records != 30 || len(r.Files) != 3 {
			t.Errorf("%d bytes: %s", len(text), r.Text())
		}
	}
	if err := os.Remove(cfg.File + ".1"); err != nil {
		t.Fatal(err)
	}
	if r := mustVerify(t, cfg); r.Records != 30 || !slices.Contains(r.Files, cfg.File+".1.gz") {
		t.Errorf("done: %s", r.Text())
	}
}

func TestRotation(t *testing.T) {
	cfg := testConfig(t)
	rotated(t, cfg)
	r := mustVerify(t, cfg)
	want := []string{cfg.File + ".2", cfg.File + ".1", cfg.File}
	if r.Records != 30 || !slices.Equal(r.Files, want) {
		t.Fatalf("%+v", r)
	}
	for i, f := range want {
		lines := splitLines(readFile(t, f))
		if len(lines) != 10 || claimedSeq([]byte(lines[0])) != int64(10*i) {
			t.Errorf("%s: %d lines, the first is %s", f, len(lines), lines[0])
		}
	}
	key, _ := VerifierKey("", cfg.Key)
	// In any order, with the files beside it that a glob brings along.
	files, _ := filepath.Glob(cfg.File + "*")
	slices.Reverse(files)
	if r, err := Verify(files, key, VerifyOptions{}); err != nil || !r.OK() || r.Records != 30 {
		t.Errorf("%v\n%s", err, r.Text())
	}
	l := mustOpen(t, cfg)
	appendN(t, l, 1)
	mustClose(t, l)
	if r := mustVerify(t, cfg); r.Records != 31 {
		t.Fatalf("%+v", r)
	}
}

func TestVerifyRotated(t *testing.T) {
	tests := []struct {
		name   string
		from   int64
		tamper func(cfg Config)
		want   []string
	}{
		{"all there", 0, func(Config) {}, nil},
		{"a changed line", 0, func(cfg Config) { editFile(cfg.File+".1", func(l []string) []string { return edit(l, 3) }) },
			[]string{"audit.jsonl.1:4: line 4 (seq 13) was changed"}},
		{"tail of a rotated file", 0, func(cfg Config) { editFile(cfg.File+".1", func(l []string) []string { return l[:7] }) },
			[]string{"audit.jsonl:1: 3 lines were dropped after seq 16, before line 1"}},
		{"head of a rotated file", 0, func(cfg Config) { editFile(cfg.File+".1", func(l []string) []string { return l[3:] }) },
			[]string{"audit.jsonl.1:1: 3 lines were dropped after seq 9, before line 1"}},
		{"a file gone", 0, func(cfg Config) { os.Remove(cfg.File + ".1") },
			[]string{"audit.jsonl:1: 10 lines were dropped after seq 9, before line 1"}},
		{"lines swapped between files", 0, func(cfg Config) {
			a, b := readLinesOf(cfg.File+".2"), readLinesOf(cfg.File+".1")
			a[9], b[0] = b[0], a[9]
			putLines(cfg.File+".2", a)
			putLines(cfg.File+".1", b)
		}, []string{"audit.jsonl.2:10: lines audit.jsonl.2:10 and audit.jsonl.1:1 were swapped (seq 10 and 9)"}},
		{"oldest file gone", 0, func(cfg Config) { os.Remove(cfg.File + ".2") },
			[]string{"the files given begin at seq 10: 10 earlier records, from seq 0, are not in them"}},
		{"oldest file gone, as agreed", 10, func(cfg Config) { os.Remove(cfg.File + ".2") }, nil},
		{"oldest file gone, wherever", -1, func(cfg Config) { os.Remove(cfg.File + ".2") }, nil},
		{"oldest gone and head of the next cut", -1, func(cfg Config) {
			os.Remove(cfg.File + ".2")
			editFile(cfg.File+".1", func(l []string) []string { return l[2:] })
		}, []string{"audit.jsonl.1:1: 2 lines were dropped after seq 9, before line 1"}},
		{"newest file gone", 0, func(cfg Config) { os.Remove(cfg.File) },
			[]string{"audit.jsonl.1: 10 lines were dropped at the end, after seq 19"}},
		{"compressed", 0, func(cfg Config) { compress(cfg.File + ".2") }, nil},
		{"compressed and changed", 0, func(cfg Config) {
			editFile(cfg.File+".2", func(l []string) []string { return edit(l, 3) })
			compress(cfg.File + ".2")
		}, []string{"audit.jsonl.2.gz:4: line 4 (seq 3) was changed"}},
		{"half a line in the middle", 0, func(cfg Config) {
			s := readFileString(cfg.File + ".1")
			os.WriteFile(cfg.File+".1", []byte(s[:len(s)-5]), 0o600)
		}, []string{"audit.jsonl:1: 1 line was dropped after seq 18, before line 1"}},
		{"earlier file and hash file gone", -1, func(cfg Config) { os.Remove(cfg.File + ".2"); os.Remove(cfg.File + hashSuffix) },
			[]string{"audit.jsonl.tlog: there is no hash file", "the records before seq 10 are neither in the files given nor in the hash file, so the lines cannot be held against the signature"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig(t)
			rotated(t, cfg)
			tt.tamper(cfg)
			checkProblems(t, cfg, verify(t, cfg, VerifyOptions{From: tt.from}), tt.want)
		})
	}
}

func readFileString(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func readLinesOf(path string) []string { return splitLines(readFileString(path)) }

func putLines(path string, l []string) {
	if err := os.WriteFile(path, []byte(strings.Join(l, "\n")+"\n"), 0o600); err != nil {
		panic(err)
	}
}

func editFile(path string, f func([]string) []string) { putLines(path, f(readLinesOf(path))) }

func compress(path string) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	fmt.Fprint(z, readFileString(path))
	z.Close()
	os.WriteFile(path+".gz", b.Bytes(), 0o600)
	os.Remove(path)
}

// A process that ends between the rename and its next look has written to the
// renamed file, and has left no new one.
func TestCrashWhileRotating(t *testing.T) {
	for _, create := range []bool{false, true} {
		t.Run(fmt.Sprintf("create=%v", create), func(t *testing.T) {
			cfg := testConfig(t)
			l := mustOpen(t, cfg)
			appendN(t, l, 10)
			c := copyLog(t, cfg)
			rename(t, c.File, c.File+"-20260516")
			f, _ := os.OpenFile(c.File+"-20260516", os.O_APPEND|os.O_WRONLY, 0)
			f.WriteString(`{"seq":10,"ti`)
			f.Close()
			if create {
				os.WriteFile(c.File, nil, 0o600)
			}
			l = mustOpen(t, c)
			appendN(t, l, 5)
			mustClose(t, l)
			if r := mustVerify(t, c); r.Records != 16 || len(r.Files) != 2 { // one is audit_repaired
				t.Fatalf("%+v", r)
			}
		})
	}
	t.Run("renamed file changed", func(t *testing.T) {
		cfg := testConfig(t)
		l := mustOpen(t, cfg)
		appendN(t, l, 10)
		c := copyLog(t, cfg)
		rename(t, c.File, c.File+".1")
		editFile(c.File+".1", func(l []string) []string { return edit(l, 7) })
		if _, err := Open(c); err == nil || !strings.Contains(err.Error(), "line 8 (seq 7) was changed") {
			t.Fatalf("open: %v", err)
		}
	})
}

// copytruncate loses what is written between copy and truncation; nothing else.
func TestEmptiedInPlace(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	appendN(t, l, 10)
	putLines(cfg.File+".1", readLinesOf(cfg.File))
	if err := os.Truncate(cfg.File, 0); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 5)
	mustClose(t, l)
	if r := mustVerify(t, cfg); r.Records != 15 {
		t.Fatalf("%+v", r)
	}
}

func TestReplacedByAnotherFile(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	appendN(t, l, 3)
	rename(t, cfg.File, cfg.File+".1")
	putLines(cfg.File, []string{"not ours"})
	if err := l.Append(t.Context(), Record{Event: "x"}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Fatalf("append: %v", err)
	}
	os.Remove(cfg.File)
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 1)
	mustClose(t, l)
	mustVerify(t, cfg)
}

func TestSegmentNames(t *testing.T) {
	for name, want := range map[string]bool{
		"audit.jsonl.1": true, "audit.jsonl.2.gz": true, "audit.jsonl-20260516": true, "audit-2026-05-16.jsonl": true, "audit-2026-05-16.jsonl.gz": true,
		"audit.jsonl": false, "audit.jsonl.bak": false, "audit.jsonl.tlog": false, "audit.jsonl.checkpoint": false, "audit.jsonl.checkpoint.tmp": false,
		"audit2.jsonl": false, "other.jsonl.1": false, "audit.jsonl1": false, "audit.jsonl.": false, "audit": false,
	} {
		if got := isRotation("audit.jsonl", name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
