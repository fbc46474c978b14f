package audit

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// closedLog makes a log of n records and returns its lines.
func closedLog(t testing.TB, cfg Config, n int) []string {
	t.Helper()
	l := mustOpen(t, cfg)
	appendN(t, l, n)
	mustClose(t, l)
	return splitLines(readFile(t, cfg.File))
}

func splitLines(s string) []string {
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

func writeLines(t testing.TB, path string, lines []string) {
	t.Helper()
	data := strings.Join(lines, "\n")
	if len(lines) > 0 {
		data += "\n"
	}
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func swap(l []string, i, j int) []string { l[i], l[j] = l[j], l[i]; return l }

func edit(l []string, i int) []string {
	l[i] = strings.Replace(l[i], "alice", "mallory", 1)
	return l
}

func TestAttackTamperedLineIsNamed(t *testing.T) {
	tests := []struct {
		name   string
		tamper func([]string) []string
		want   []string // all problems, without folder
	}{
		{"nothing", func(l []string) []string { return l }, nil},
		{"changed", func(l []string) []string { return edit(l, 16) },
			[]string{"audit.jsonl:17: line 17 (seq 16) was changed"}},
		{"first changed", func(l []string) []string { return edit(l, 0) },
			[]string{"audit.jsonl:1: line 1 (seq 0) was changed"}},
		{"last changed", func(l []string) []string { return edit(l, 49) },
			[]string{"audit.jsonl:50: line 50 (seq 49) was changed"}},
		{"white space", func(l []string) []string { l[3] += " "; return l },
			[]string{"audit.jsonl:4: line 4 (seq 3) was changed"}},
		{"carriage return", func(l []string) []string { l[3] += "\r"; return l },
			[]string{"audit.jsonl:4: line 4 (seq 3) was changed"}},
		{"own seq changed", func(l []string) []string { l[7] = strings.Replace(l[7], `"seq":7`, `"seq":99`, 1); return l },
			[]string{"audit.jsonl:8: line 8 (seq 7) was changed"}},
		{"first seq changed", func(l []string) []string { l[0] = strings.Replace(l[0], `"seq":0`, `"seq":30`, 1); return l },
			[]string{"audit.jsonl:1: line 1 (seq 0) was changed"}},
		{"two changed", func(l []string) []string { return edit(edit(l, 16), 20) },
			[]string{"audit.jsonl:17: line 17 (seq 16) was changed", "audit.jsonl:21: line 21 (seq 20) was changed"}},
		{"three in a row changed", func(l []string) []string { return edit(edit(edit(l, 16), 17), 18) },
			[]string{"audit.jsonl:17: lines 17 to 19 (seq 16 to 18) were changed"}},
		{"all changed", func(l []string) []string {
			for i := range l {
				edit(l, i)
			}
			return l
		}, []string{"audit.jsonl:1: lines 1 to 50 (seq 0 to 49) were changed"}},
		{"dropped", func(l []string) []string { return slices.Delete(l, 42, 43) },
			[]string{"audit.jsonl:43: 1 line was dropped after seq 41, before line 43"}},
		{"first dropped", func(l []string) []string { return l[1:] },
			[]string{"audit.jsonl:1: 1 line was dropped at the beginning, before line 1"}},
		{"tail dropped", func(l []string) []string { return l[:40] },
			[]string{"audit.jsonl: 10 lines were dropped at the end, after seq 39"}},
		{"all dropped", func(l []string) []string { return nil },
			[]string{"audit.jsonl: 50 lines were dropped at the end, at the beginning"}},
		{"blank line inserted", func(l []string) []string { return slices.Insert(l, 9, "") },
			[]string{"audit.jsonl:10: line 10 was inserted after seq 8"}},
		{"forged line inserted", func(l []string) []string { return slices.Insert(l, 9, strings.Replace(l[9], "alice", "bob", 1)) },
			[]string{"audit.jsonl:10: line 10 was inserted after seq 8"}},
		{"line copied", func(l []string) []string { return slices.Insert(l, 20, l[5]) },
			[]string{"audit.jsonl:21: line 21 was inserted: it is a second copy of seq 5"}},
		{"appended", func(l []string) []string { return append(l, strings.Replace(l[49], `"seq":49`, `"seq":50`, 1)) },
			[]string{"audit.jsonl: 1 added at the end (from seq 50) after the log was closed"}},
		{"neighbours swapped", func(l []string) []string { return swap(l, 10, 11) },
			[]string{"audit.jsonl:11: lines 11 and 12 were swapped (seq 11 and 10)"}},
		{"distant lines swapped", func(l []string) []string { return swap(l, 10, 30) },
			[]string{"audit.jsonl:11: lines 11 and 31 were swapped (seq 30 and 10)"}},
		{"moved down", func(l []string) []string { x := l[5]; return slices.Insert(slices.Delete(l, 5, 6), 20, x) },
			[]string{"audit.jsonl:6: seq 5 was moved: it should be line 6 and stands at line 21"}},
		{"moved up", func(l []string) []string { x := l[20]; return slices.Insert(slices.Delete(l, 20, 21), 5, x) },
			[]string{"audit.jsonl:6: line 6 (seq 20) was moved: it stands before seq 5"}},
		{"changed and dropped", func(l []string) []string { return slices.Delete(edit(l, 10), 30, 32) },
			[]string{"audit.jsonl:11: line 11 (seq 10) was changed", "audit.jsonl:31: 2 lines were dropped after seq 29, before line 31"}},
		{"reversed", func(l []string) []string { slices.Reverse(l[:3]); return l },
			[]string{"audit.jsonl:1: lines 1 and 3 were swapped (seq 2 and 0)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig(t)
			writeLines(t, cfg.File, tt.tamper(closedLog(t, cfg, 50)))
			r := verify(t, cfg, VerifyOptions{})
			checkProblems(t, cfg, r, tt.want)
			l, err := Open(cfg)
			if err == nil {
				l.Close()
			}
			if (err != nil) != (len(tt.want) > 0) {
				// An emptied file looks like a rotated one to Open: what was in it may
				// have been taken elsewhere. Verify says that it is not here.
				if tt.name != "all dropped" {
					t.Errorf("open: %v", err)
				}
			} else if err != nil && !strings.Contains(err.Error(), strings.SplitN(tt.want[0], ": ", 2)[1]) {
				t.Errorf("open says %v", err)
			}
		})
	}
}

func checkProblems(t *testing.T, cfg Config, r Report, want []string) {
	t.Helper()
	var got []string
	for _, p := range r.Problems {
		got = append(got, strings.ReplaceAll(p.String(), filepath.Dir(cfg.File)+"/", ""))
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems\n%q\nwant\n%q", got, want)
	}
	if r.OK() != (len(want) == 0) {
		t.Errorf("OK() = %v", r.OK())
	}
}

// sides tampers with the files beside the log.
func TestAttackTamperedSideFiles(t *testing.T) {
	otherKey := func(cfg Config) Config { cfg.Key = []byte("another seed that has 32 bytes.."); return cfg }
	rehash := func(t *testing.T, cfg Config, lines []string) {
		c := testConfig(t) // hashes that fit the lines, and a checkpoint that no one signed
		writeLines(t, c.File, lines)
		s := &scan{files: []string{c.File}, hashes: newHashFile(nil, 0)}
		var raw []byte
		s.stored = storeInto(&raw)
		if err := s.run(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(cfg.File+hashSuffix, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		writeLines(t, cfg.File, lines)
	}
	tests := []struct {
		name   string
		tamper func(t *testing.T, cfg Config, lines []string)
		want   []string
		opens  bool // the log can be opened again, repaired
	}{
		{"hash file rewritten to fit a changed line", func(t *testing.T, cfg Config, l []string) { rehash(t, cfg, edit(l, 16)) },
			[]string{"audit.jsonl: lines and hash file match each other but not the signed checkpoint: some of seq 0 to 49 were changed and the hash file was rewritten to fit"}, false},
		{"truncated together", func(t *testing.T, cfg Config, l []string) { rehash(t, cfg, l[:40]) },
			[]string{"audit.jsonl.tlog: the hash file has 40 records, the checkpoint covers 50", "audit.jsonl: 10 lines were dropped at the end, after seq 39"}, false},
		{"hash file gone", func(t *testing.T, cfg Config, l []string) { os.Remove(cfg.File + hashSuffix) },
			[]string{"audit.jsonl.tlog: there is no hash file; the lines that are signed are intact"}, true},
		{"hash file gone and line dropped", func(t *testing.T, cfg Config, l []string) {
			os.Remove(cfg.File + hashSuffix)
			writeLines(t, cfg.File, slices.Delete(l, 42, 43))
		}, []string{"audit.jsonl.tlog: there is no hash file", "audit.jsonl:43: 1 line was dropped after seq 41, before line 43"}, false},
		{"hash file gone and line changed", func(t *testing.T, cfg Config, l []string) {
			os.Remove(cfg.File + hashSuffix)
			writeLines(t, cfg.File, edit(l, 16))
		}, []string{"audit.jsonl.tlog: there is no hash file", "audit.jsonl: some of seq 0 to 49 were changed; without a complete hash file it cannot be told which"}, false},
		{"hash file gone and own seq changed", func(t *testing.T, cfg Config, l []string) {
			os.Remove(cfg.File + hashSuffix)
			l[7] = strings.Replace(l[7], `"seq":7`, `"seq":99`, 1)
			writeLines(t, cfg.File, l)
		}, []string{"audit.jsonl.tlog: there is no hash file", "audit.jsonl:8: line 8 (seq 7) was changed"}, false},
		{"leaf hash changed", func(t *testing.T, cfg Config, l []string) { flip(t, cfg.File+hashSuffix, 32*40) },
			[]string{"the hash file was changed; the lines that are signed are intact"}, true},
		{"inner hash changed", func(t *testing.T, cfg Config, l []string) { flip(t, cfg.File+hashSuffix, 32*2) },
			[]string{"the hash file was changed; the lines that are signed are intact"}, true},
		{"checkpoint gone", func(t *testing.T, cfg Config, l []string) { os.Remove(cfg.File + checkpointSuffix) },
			[]string{"audit.jsonl.checkpoint: there is no checkpoint: nothing proves these lines"}, false},
		{"checkpoint of another key", func(t *testing.T, cfg Config, l []string) {
			other := otherKey(testConfig(t))
			closedLog(t, other, 50)
			os.WriteFile(cfg.File+checkpointSuffix, []byte(readFile(t, other.File+checkpointSuffix)), 0o600)
		}, []string{"audit.jsonl.checkpoint: the signature does not fit the key sallyport-audit+"}, false},
		{"checkpoint text changed", func(t *testing.T, cfg Config, l []string) {
			text := strings.Replace(readFile(t, cfg.File+checkpointSuffix), "\n50\n", "\n49\n", 1)
			os.WriteFile(cfg.File+checkpointSuffix, []byte(text), 0o600)
		}, []string{"audit.jsonl.checkpoint: the signature does not fit the key: "}, false},
		{"everything written by another key", func(t *testing.T, cfg Config, l []string) {
			for _, suffix := range []string{"", hashSuffix, checkpointSuffix} {
				os.Remove(cfg.File + suffix)
			}
			closedLog(t, otherKey(cfg), 50)
		}, []string{"audit.jsonl.checkpoint: the signature does not fit the key sallyport-audit+"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig(t)
			tt.tamper(t, cfg, closedLog(t, cfg, 50))
			r := verify(t, cfg, VerifyOptions{})
			if len(tt.want) == 1 && len(r.Problems) == 1 && strings.Contains(r.Problems[0].Message, "signature") {
				if got := strings.ReplaceAll(r.Problems[0].String(), filepath.Dir(cfg.File)+"/", ""); !strings.HasPrefix(got, tt.want[0]) {
					t.Errorf("problem %q", got)
				}
			} else {
				checkProblems(t, cfg, r, tt.want)
			}
			l, err := Open(cfg)
			if (err == nil) != tt.opens {
				t.Fatalf("open: %v", err)
			}
			if err != nil {
				return
			}
			appendN(t, l, 3)
			mustClose(t, l)
			mustVerify(t, cfg)
		})
	}
}

func storeInto(raw *[]byte) func(int64, []tlog.Hash) error {
	return func(_ int64, hs []tlog.Hash) error {
		for _, h := range hs {
			*raw = append(*raw, h[:]...)
		}
		return nil
	}
}

func flip(t testing.TB, path string, at int64) {
	t.Helper()
	b := []byte(readFile(t, path))
	b[at] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A machine that is rolled back as a whole is consistent with itself. Only a
// checkpoint that was kept elsewhere can tell.
func TestVerifySavedCheckpoints(t *testing.T) {
	cfg := testConfig(t)
	var saved [][]byte
	cfg.OnCheckpoint = func(c []byte) { saved = append(saved, c) }
	for range 4 {
		l := mustOpen(t, cfg)
		appendN(t, l, 10)
		mustClose(t, l)
	}
	if r := verify(t, cfg, VerifyOptions{Saved: saved}); !r.OK() {
		t.Fatal(r.Text())
	}

	t.Run("rolled back", func(t *testing.T) {
		old := testConfig(t)
		closedLog(t, old, 30)
		r := verify(t, old, VerifyOptions{Saved: saved[len(saved)-1:]})
		if r.OK() || !strings.Contains(r.Text(), "covers 40 records, the log has 30: it was rolled back") {
			t.Fatal(r.Text())
		}
	})
	t.Run("history rewritten with the key", func(t *testing.T) {
		forged := testConfig(t)
		forged.Now = func() time.Time { return testTime.Add(1) }
		l := mustOpen(t, forged)
		appendN(t, l, 40)
		mustClose(t, l)
		r := verify(t, forged, VerifyOptions{Saved: saved})
		if r.OK() || !strings.Contains(r.Text(), "are not the ones it was signed over") {
			t.Fatal(r.Text())
		}
	})
	t.Run("place narrowed down", func(t *testing.T) {
		lines := splitLines(readFile(t, cfg.File))
		writeLines(t, cfg.File, edit(lines, 25))
		os.Remove(cfg.File + hashSuffix)
		r := verify(t, cfg, VerifyOptions{Saved: saved})
		if !strings.Contains(r.Text(), "saved checkpoints say between seq 20 and 29") {
			t.Fatal(r.Text())
		}
	})
}

func TestVerifyWrongCall(t *testing.T) {
	cfg := testConfig(t)
	closedLog(t, cfg, 3)
	key, _ := VerifierKey("", testSeed)
	for name, err := range map[string]error{
		"no files":     verifyErr(nil, key, VerifyOptions{}),
		"no such file": verifyErr([]string{cfg.File + ".9"}, key, VerifyOptions{}),
		"bad key":      verifyErr([]string{cfg.File}, "nonsense", VerifyOptions{}),
		"bad saved":    verifyErr([]string{cfg.File}, key, VerifyOptions{Saved: [][]byte{[]byte("x")}}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func verifyErr(files []string, key string, o VerifyOptions) error {
	_, err := Verify(files, key, o)
	return err
}

func TestReportText(t *testing.T) {
	r := Report{Records: 3, First: 5, Files: []string{"a"}, Signed: 8, SignedAt: testTime, Unsigned: 2, TornBytes: 7, More: 4,
		Problems: []Problem{{File: "a", Line: 2, Message: "m"}}}
	want := "a:2: m\nand 4 more\nNOT INTACT: 3 records from seq 5 in 1 file; checkpoint over 8 records signed 2026-05-16T09:30:00Z; 2 records after it are not signed yet; 7 bytes of an unfinished record at the end\n"
	if got := r.Text(); got != want {
		t.Errorf("text\n%q\nwant\n%q", got, want)
	}

}
