package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

func TestReadGivesBackFacts(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	rec := fullRecord()
	if err := l.Append(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	for line, err := range Read(cfg.File) {
		if err != nil {
			t.Fatal(err)
		}
		f := line.Record.Facts
		if line.Number != 1 || line.File != cfg.File || f.IP.Addr.String() != "203.0.113.7" || f.User.Email != "alice@example.com" || f.Session.Age != 5*time.Second {
			t.Errorf("line %+v facts %+v", line, f)
		}
	}
}

func TestReadGoesOnAfterABadLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	putBytes(t, path, strings.Join([]string{
		`{"seq":0,"event":"a"}`, `nonsense`, strings.Repeat("x", maxLine+1), strings.Repeat("y", 5*maxLine), ``, `{"seq":"no"}`,
		`{"seq":1,"event":"b","detail":{"pad":"` + strings.Repeat("z", maxLine-100) + `"}}`, `{"seq":2,"ev`,
	}, "\n"))
	var events []string
	var bad []int64
	for line, err := range Read(path) {
		var le *LineError
		if errors.As(err, &le) {
			bad = append(bad, le.Number)
			continue
		}
		events = append(events, line.Record.Event)
	}
	if !slices.Equal(events, []string{"a", "b"}) || !slices.Equal(bad, []int64{2, 3, 4, 5, 6}) {
		t.Errorf("events %q, bad lines %v", events, bad)
	}
	for _, err := range Read(path + ".none") {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("missing file: %v", err)
		}
	}
	for range Read(path, path+".none") {
		break // and no more is read
	}
}

func TestTailLast(t *testing.T) {
	cfg := testConfig(t)
	rotated(t, cfg)
	tests := []struct {
		n     int
		first int64
		count int
	}{{0, 0, 0}, {1, 29, 1}, {10, 20, 10}, {11, 19, 11}, {25, 5, 25}, {30, 0, 30}, {99, 0, 30}}
	for _, tt := range tests {
		var got []int64
		for line, err := range Tail(t.Context(), cfg.File, tt.n, false) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, line.Record.Seq)
		}
		if len(got) != tt.count || tt.count > 0 && (got[0] != tt.first || !slices.IsSorted(got)) {
			t.Errorf("last %d: %v", tt.n, got)
		}
	}
}

// With compressed files the last records are those since them, in order, and what is left
// out is said: also where a plain file is before a compressed one.
func TestTailLastOfCompressed(t *testing.T) {
	for _, tt := range []struct {
		zipped string
		n      int
		first  int64
		left   []string
	}{
		{".2", 99, 10, []string{".2.gz"}},
		{".2", 21, 10, []string{".2.gz"}},
		{".2", 20, 10, nil},
		{".2", 15, 15, nil},
		{".1", 15, 20, []string{".2", ".1.gz"}},
		{".1", 10, 20, nil},
	} {
		cfg := testConfig(t)
		rotated(t, cfg)
		compress(cfg.File + tt.zipped)
		var got []int64
		var left []string
		for line, err := range Tail(t.Context(), cfg.File, tt.n, false) {
			if compressed := (*CompressedError)(nil); errors.As(err, &compressed) && got == nil {
				left = compressed.Files
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			got = append(got, line.Record.Seq)
		}
		for i := range left {
			left[i] = strings.TrimPrefix(left[i], cfg.File)
		}
		if len(got) == 0 || got[0] != tt.first || got[len(got)-1] != 29 || !slices.IsSorted(got) || !slices.Equal(left, tt.left) {
			t.Errorf("last %d with %s compressed: %v, left out %v", tt.n, tt.zipped, got, left)
		}
		n := 0
		for line, err := range LastLines(cfg.File, tt.n) {
			if err = cmp.Or(err, line.Decode()); err != nil || line.Record.Seq != tt.first+int64(n) {
				t.Fatalf("line %d has seq %d: %v", n, line.Record.Seq, err)
			}
			n++
		}
	}
}

// Follow sees every record once, in order, regardless of what happens to the file.
func TestTailFollows(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	appendN(t, l, 5)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	want := int64(3)
	for line, err := range Tail(ctx, cfg.File, 2, true) {
		if err != nil {
			t.Fatal(err)
		}
		if line.Record.Seq != want {
			t.Fatalf("seq %d, want %d", line.Record.Seq, want)
		}
		switch want++; want {
		case 5:
			appendN(t, l, 2)
		case 7:
			rename(t, cfg.File, cfg.File+".1")
			if err := l.Reopen(); err != nil {
				t.Fatal(err)
			}
			appendN(t, l, 2)
		case 9:
			cancel()
		}
	}
	if want != 9 {
		t.Errorf("the last was seq %d", want-1)
	}
}

func FuzzRead(f *testing.F) {
	rec := fullRecord()
	b, _ := encode(&rec)
	line := appendLine(nil, 1, testTime, 0, b)
	f.Add(append(line, '\n'))
	f.Add([]byte("\n\n{\n\"seq\":1}"))
	f.Add([]byte{0x1f, 0x8b, 8, 0, 0})
	f.Add([]byte(`{"seq":00000000000000000000001,`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "audit.jsonl")
		putBytes(t, path, string(data))
		n := 0
		for line, err := range Read(path) {
			if n++; n > len(data)+1 {
				t.Fatal("more lines than bytes")
			}
			if len(line.Raw) > maxLine {
				t.Fatalf("line of %d bytes", len(line.Raw))
			}
			if err == nil && !json.Valid(line.Raw) {
				t.Fatalf("%q is no record", line.Raw)
			}
		}
		for range Tail(t.Context(), path, 3, false) {
		}
		// Without a checkpoint nothing is ever intact, and Open does not touch it.
		key, _ := VerifierKey("", testSeed)
		if r, err := Verify([]string{path}, key, VerifyOptions{}); err == nil && r.OK() {
			t.Fatal("intact")
		}
		if l, err := Open(Config{CallsPerMinute: 300, File: path, Key: testSeed, disk: quickDisk()}); err == nil {
			l.Close()
			if len(data) > 0 {
				t.Fatal("opened")
			}
			for _, s := range []string{hashSuffix, checkpointSuffix} {
				os.Remove(path + s)
			}
		}
		os.Remove(path + hashSuffix)
	})
}

// Any change of a closed log is found, and the log is refused.
func FuzzTamper(f *testing.F) {
	cfg := testConfig(f)
	lines := closedLog(f, cfg, 12)
	good := []byte(strings.Join(lines, "\n") + "\n")
	files := map[string][]byte{"": good}
	for _, s := range []string{hashSuffix, checkpointSuffix} {
		files[s] = []byte(readFile(f, cfg.File+s))
	}
	key, _ := VerifierKey("", testSeed)
	f.Add(uint8(0), uint16(10), uint16(3), []byte("x"))
	f.Add(uint8(0), uint16(0), uint16(0), []byte("\n"))
	f.Add(uint8(0), uint16(200), uint16(400), []byte{})
	f.Add(uint8(1), uint16(64), uint16(32), []byte{})
	f.Add(uint8(2), uint16(30), uint16(1), []byte("9"))
	names := []string{"", hashSuffix, checkpointSuffix}
	f.Fuzz(func(t *testing.T, which uint8, at, n uint16, insert []byte) {
		name := names[int(which)%len(names)]
		old := files[name]
		from := min(int(at), len(old))
		to := min(from+int(n), len(old))
		changed := slices.Concat(old[:from], insert, old[to:])
		for s, data := range files {
			if s == name {
				data = changed
			}
			putBytes(t, cfg.File+s, string(data))
		}
		same := bytes.Equal(changed, old)
		if name == hashSuffix && len(changed) > len(old) {
			same = same || bytes.Equal(changed[:len(old)], old) // more hashes than lines
		}
		r, err := Verify([]string{cfg.File}, key, VerifyOptions{})
		if err != nil {
			if name == "" && bytes.HasPrefix(changed, []byte(gzipMagic)) {
				return
			}
			t.Fatal(err)
		}
		torn := name == "" && bytes.HasPrefix(changed, old) && bytes.IndexByte(changed[len(old):], '\n') < 0
		if ok := same || torn; !r.OK() && ok && name != hashSuffix || r.OK() && !ok {
			t.Fatalf("%s changed at %d: %s", name, from, r.Text())
		}
	})
}

func TestProofs(t *testing.T) {
	cfg := testConfig(t)
	rotated(t, cfg)
	compress(cfg.File + ".2")
	key, _ := VerifierKey("", cfg.Key)
	for seq := range int64(30) {
		p, err := Prove(cfg.File, seq)
		if err != nil {
			t.Fatal(err)
		}
		if claimedSeq([]byte(p.Line)) != seq {
			t.Fatalf("seq %d: line %s", seq, p.Line)
		}
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back Proof
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		for _, line := range [][]byte{nil, []byte(p.Line), []byte(p.Line + "\n")} {
			if err := CheckProof(back, line, key); err != nil {
				t.Fatalf("seq %d: %v", seq, err)
			}
		}
	}
}

func TestAttackForgedProof(t *testing.T) {
	cfg := testConfig(t)
	closedLog(t, cfg, 20)
	key, _ := VerifierKey("", cfg.Key)
	otherSeed := bytes.Repeat([]byte{7}, 32)
	otherKey, _ := VerifierKey("", otherSeed)
	good, err := Prove(cfg.File, 13)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := Prove(cfg.File, 12)
	for name, forge := range map[string]func(*Proof) (line []byte, key string){
		"line":       func(p *Proof) ([]byte, string) { p.Line = strings.Replace(p.Line, "alice", "bob", 1); return nil, key },
		"other line": func(p *Proof) ([]byte, string) { return []byte(other.Line), key },
		"empty line": func(p *Proof) ([]byte, string) { return []byte{}, key },
		"seq":        func(p *Proof) ([]byte, string) { p.Seq = 12; return nil, key },
		"seq -1":     func(p *Proof) ([]byte, string) { p.Seq = -1; return nil, key },
		"seq 20":     func(p *Proof) ([]byte, string) { p.Seq = 20; return nil, key },
		"path":       func(p *Proof) ([]byte, string) { p.Path = other.Path; return nil, key },
		"no path":    func(p *Proof) ([]byte, string) { p.Path = nil; return nil, key },
		"checkpoint": func(p *Proof) ([]byte, string) {
			p.Checkpoint = strings.Replace(p.Checkpoint, "\n20\n", "\n21\n", 1)
			return nil, key
		},
		"no checkpoint": func(p *Proof) ([]byte, string) { p.Checkpoint = ""; return nil, key },
		"other key":     func(p *Proof) ([]byte, string) { return nil, otherKey },
		"no key":        func(p *Proof) ([]byte, string) { return nil, "" },
	} {
		p := good
		p.Path = slices.Clone(good.Path)
		line, k := forge(&p)
		if err := CheckProof(p, line, k); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Prove(cfg.File, 20); !errors.Is(err, ErrUnsigned) {
		t.Errorf("unsigned: %v", err)
	}
	writeLines(t, cfg.File, edit(splitLines(readFile(t, cfg.File)), 13))
	if _, err := Prove(cfg.File, 13); err == nil {
		t.Error("a changed line was proven")
	}
}

func TestKeys(t *testing.T) {
	a, err := NewSeed()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := NewSeed()
	ka, _ := VerifierKey("", a)
	kb, _ := VerifierKey("", b)
	if len(a) != 32 || ka == kb || !strings.HasPrefix(ka, DefaultName+"+") {
		t.Errorf("keys %q %q", ka, kb)
	}
	for _, bad := range []struct {
		name string
		seed []byte
	}{{"", nil}, {"", a[:31]}, {"with space", a}, {"a+b", a}} {
		if _, err := VerifierKey(bad.name, bad.seed); err == nil {
			t.Errorf("name %q and %d bytes were accepted", bad.name, len(bad.seed))
		}
	}
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	if want, _ := VerifierKey("", testSeed); l.Key() != want || strings.Contains(l.Key(), "PRIVATE") {
		t.Errorf("Key() = %s", l.Key())
	}
	appendN(t, l, 1)
	mustClose(t, l)
	cfg.Key = b
	if _, err := Open(cfg); !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), "does not fit the key") {
		t.Errorf("open with another key: %v", err)
	}
	if _, err := Open(Config{File: filepath.Join(t.TempDir(), "a"), Key: a}); err == nil || !strings.Contains(err.Error(), "CallsPerMinute is 0") {
		t.Errorf("no budget: %v", err)
	}
	if _, err := Open(Config{CallsPerMinute: 300, Key: a}); err == nil {
		t.Error("opened without a file")
	}
}

func TestCheckpointsArePublished(t *testing.T) {
	cfg := testConfig(t)
	var got []string
	cfg.OnCheckpoint = func(c []byte) { got = append(got, string(c)) }
	l := mustOpen(t, cfg)
	appendN(t, l, 2)
	mustClose(t, l)
	if len(got) != 2 || got[1] != readFile(t, cfg.File+checkpointSuffix) || string(l.Checkpoint()) != got[1] {
		t.Fatalf("%q", got)
	}
	want := "sallyport-audit\n2\n"
	if !strings.HasPrefix(got[1], want) || !strings.Contains(got[1], "\ntime 2026-05-16T09:30:00Z\nfiles 0\nclosed\n\n— sallyport-audit ") {
		t.Errorf("checkpoint\n%s", got[1])
	}
}

func FuzzCheckpoint(f *testing.F) {
	cfg := testConfig(f)
	closedLog(f, cfg, 3)
	f.Add([]byte(readFile(f, cfg.File+checkpointSuffix)))
	f.Add([]byte("a\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nfiles 0 9\n\n— a AAAA\n"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		c, err := openCheckpoint(msg, nil)
		if err == nil && (c.size < 0 || !slices.IsSorted(c.starts)) {
			t.Fatalf("%+v", c)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{2, 16, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			cfg := testConfig(b)
			cfg.disk = disk{} // with fsync
			l := mustOpen(b, cfg)
			rec := fullRecord()
			b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Append(context.Background(), rec); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	cfg := testConfig(b)
	l := mustOpen(b, cfg)
	const records = 20000
	p := make([]pending, 1000)
	for i := range p {
		rec := Record{Event: "access", Facts: &policy.Facts{}, Detail: map[string]string{"i": fmt.Sprint(i)}, Path: strings.Repeat("p", 300)}
		body, _ := encode(&rec)
		p[i] = pending{body, testTime, 0, nil}
	}
	for range records / len(p) {
		if err := l.writeRuns(false, p); err != nil {
			b.Fatal(err)
		}
	}
	mustClose(b, l)
	info, _ := os.Stat(cfg.File)
	b.SetBytes(info.Size())
	for b.Loop() {
		mustVerify(b, cfg)
	}
	b.ReportMetric(float64(b.N)*records/b.Elapsed().Seconds(), "lines/s")
}

// Lines are what Read reads, before it is decoded.
func TestLinesDecodeToWhatReadReads(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	text := `{"seq":0,"event":"access","facts":{"ip":{"address":"192.0.2.1"}}}` + "\nnot json\n" + strings.Repeat("x", maxLine+1) + "\n" + `{"seq":1,"event":"sign_in"}` + "\n" + `{"seq":2,`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	collect := func(lines iter.Seq2[Line, error], decode bool) (out []string) {
		for l, err := range lines {
			if err == nil && decode {
				err = l.Decode()
			}
			addr := ""
			if l.Record.Facts != nil {
				addr = l.Record.Facts.IP.Addr.String()
			}
			out = append(out, fmt.Sprint(l.Number, l.Record.Event, addr, err))
		}
		return out
	}
	read, lines := collect(Read(file), false), collect(Lines(file), true)
	if !slices.Equal(read, lines) || len(read) != 4 {
		t.Errorf("read  %q\nlines %q", read, lines)
	}
}
