package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const childEnv = "SALLYPORT_AUDIT_TEST_CHILD"

func TestMain(m *testing.M) {
	if file := os.Getenv(childEnv); file != "" {
		child(file)
	}
	os.Exit(m.Run())
}

// child appends from several goroutines and says which records were acknowledged,
// until it is killed.
func child(file string) {
	l, err := Open(Config{CallsPerMinute: 300, File: file, Key: testSeed, CheckpointEvery: 3 * time.Millisecond})
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	var out sync.Mutex
	for g := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i)
				if err := l.Append(context.Background(), Record{Event: "sign_in", Detail: map[string]string{"id": id, "pad": strings.Repeat("x", rand.IntN(2000))}}); err != nil {
					fmt.Println("append:", err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Println("ok", id)
				out.Unlock()
			}
		}()
	}
	select {}
}

// Killed at any moment, rotated under its hands: what was acknowledged is there.
func TestKill9(t *testing.T) {
	cfg := testConfig(t)
	acknowledged := map[string]bool{}
	for round := range 12 {
		for _, id := range killedRun(t, cfg, 20+rand.IntN(300), round) {
			acknowledged[id] = true
		}
		l, err := Open(cfg)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if round%3 == 2 {
			mustClose(t, l)
		} else {
			// Ends without Close, as if killed at once: the next start finds the lock free.
			c := copyLog(t, cfg)
			l.Close()
			cfg = c
		}
		mustVerify(t, cfg)
	}
	files, err := Segments(cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line, err := range Read(files...) {
		if err != nil {
			t.Fatal(err)
		}
		if id := line.Record.Detail["id"]; acknowledged[id] {
			delete(acknowledged, id)
			found++
		}
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged records are gone, %d are there", len(acknowledged), found)
	}
	if found == 0 {
		t.Error("nothing was acknowledged")
	}
}

// killedRun runs a child until it has acknowledged n records, kills it, and returns
// them. Every other round it rotates the file meanwhile.
func killedRun(t *testing.T, cfg Config, n, round int) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+cfg.File)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ids []string
	lines := bufio.NewScanner(out)
	for lines.Scan() { // goes on after the kill: what is in the pipe was acknowledged
		id, ok := strings.CutPrefix(lines.Text(), "ok ")
		if !ok {
			t.Errorf("child: %s", lines.Text())
			break
		}
		ids = append(ids, id)
		if round%2 == 1 && len(ids) == n/2 {
			rename(t, cfg.File, fmt.Sprintf("%s.%d", cfg.File, round))
		}
		if len(ids) == n {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return ids
}

// crashed is the files of a log of 6 signed records and 2 that no checkpoint covers,
// as a killed process leaves them.
type crashed struct {
	cfg                      Config
	lines, hashes, signature string
	ends                     []int // where each line ends
}

// signedHashes is how many bytes the hashes of the signed records take.
const signedHashes = 10 * 32

func crashState(t *testing.T) crashed {
	t.Helper()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	for i := range 8 {
		if i == 6 {
			mustClose(t, l)
			l = mustOpen(t, cfg)
		}
		if err := l.Append(t.Context(), Record{Event: "sign_in"}); err != nil {
			t.Fatal(err)
		}
	}
	c := crashed{cfg: copyLog(t, cfg)}
	c.lines, c.hashes, c.signature = readFile(t, cfg.File), readFile(t, cfg.File+hashSuffix), readFile(t, cfg.File+checkpointSuffix)
	for i, b := range c.lines {
		if b == '\n' {
			c.ends = append(c.ends, i+1)
		}
	}
	return c
}

// with puts the files there, with other lines and hashes.
func (c crashed) with(t *testing.T, lines, hashes string) Config {
	t.Helper()
	putBytes(t, c.cfg.File, lines)
	putBytes(t, c.cfg.File+hashSuffix, hashes)
	putBytes(t, c.cfg.File+checkpointSuffix, c.signature)
	return c.cfg
}

// whole is how many lines a file of that size holds.
func (c crashed) whole(size int) int64 {
	n := int64(0)
	for _, e := range c.ends {
		if e <= size {
			n++
		}
	}
	return n
}

// A power failure can cut lines and hashes anywhere behind their last fsync. With the
// hashes of a record gone, no one knows of it but its caller, who was not told yet.
func TestTornAtEveryByte(t *testing.T) {
	c := crashState(t)
	for size := c.ends[5]; size <= len(c.lines); size++ {
		hashes := c.hashes[:signedHashes+size%8]
		cfg := c.with(t, c.lines[:size], hashes)
		l, err := Open(cfg)
		if err != nil {
			t.Fatalf("lines cut at %d: %v", size, err)
		}
		want := c.whole(size)
		if size != c.ends[want-1] {
			want++ // audit_repaired
		}
		if l.Size() != want {
			t.Fatalf("lines cut at %d: %d records, want %d", size, l.Size(), want)
		}
		if size%16 == 0 {
			appendN(t, l, 1)
		}
		mustClose(t, l)
		mustVerify(t, cfg)
	}
}

// A hash is written after its line was synced. So a line that has one and is not
// there was acknowledged, and no crash has taken it.
func TestAcknowledgedRecordIsNeverDropped(t *testing.T) {
	c := crashState(t)
	for size := 1; size < len(c.lines); size++ { // an emptied file is a rotated one, see TestEmptiedInPlace
		if size < c.ends[4] && size%23 != 0 {
			continue // deep in what is signed, a sample will do
		}
		cfg := c.with(t, c.lines[:size], c.hashes)
		l, err := Open(cfg)
		if err == nil {
			l.Close()
			t.Fatalf("cut at %d of %d: opened with %d records", size, len(c.lines), l.Size())
		}
		whole := c.whole(size)
		cut, dropped := fmt.Sprintf("(seq %d) was cut short", whole), fmt.Sprintf("after seq %d", whole-1)
		if !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), cut) && !strings.Contains(err.Error(), dropped) {
			t.Fatalf("cut at %d: %v", size, err)
		}
		if got := readFile(t, cfg.File); got != c.lines[:size] {
			t.Fatalf("cut at %d: a refused file was changed", size)
		}
	}
}

// The hash file may be behind in any way: it is made again from the lines.
func TestHashesCutAtEveryByte(t *testing.T) {
	c := crashState(t)
	for size := range len(c.hashes) + 1 {
		if size < signedHashes-32 && size%11 != 0 {
			continue
		}
		cfg := c.with(t, c.lines, c.hashes[:size])
		l, err := Open(cfg)
		if err != nil {
			t.Fatalf("hashes cut at %d: %v", size, err)
		}
		if l.Size() != 8 {
			t.Fatalf("hashes cut at %d: %d records", size, l.Size())
		}
		mustClose(t, l)
		if got := readFile(t, cfg.File+hashSuffix); got != c.hashes {
			t.Fatalf("hashes cut at %d: they were not made again", size)
		}
	}
	// Zeros where a file system had not written them yet.
	for from := signedHashes; from < len(c.hashes); from += 32 {
		cfg := c.with(t, c.lines, c.hashes[:from]+strings.Repeat("\x00", len(c.hashes)-from))
		mustVerify(t, cfg)
		mustClose(t, mustOpen(t, cfg))
		mustVerify(t, cfg)
	}
}

// The tail that a power failure leaves need not be a cut line: blocks may be zeros
// or out of order. None of it was acknowledged.
func TestGarbageTail(t *testing.T) {
	c := crashState(t)
	last := c.lines[c.ends[6]:]
	for name, tail := range map[string]string{
		"zeros":           strings.Repeat("\x00", 5000),
		"zeros and line":  strings.Repeat("\x00", 300) + "\n" + last,
		"later line only": strings.Replace(last, `"seq":7`, `"seq":11`, 1),
		"not JSON":        `{"seq":9,"time":` + "\n",
		"line feed":       "\n",
	} {
		t.Run(name, func(t *testing.T) {
			cfg := c.with(t, c.lines+tail, c.hashes)
			l := mustOpen(t, cfg)
			if l.Size() != 9 {
				t.Fatalf("%d records", l.Size())
			}
			mustClose(t, l)
			mustVerify(t, cfg)
			lines := splitLines(readFile(t, cfg.File))
			if !strings.Contains(lines[8], EventRepaired) || !strings.Contains(lines[8], fmt.Sprintf(`"bytes":"%d"`, len(tail))) {
				t.Errorf("the cut is not on record: %s", lines[8])
			}
		})
	}
	t.Run("more than was ever under way", func(t *testing.T) {
		cfg := c.with(t, c.lines+strings.Repeat("\x00", maxBatch+3*maxLine), c.hashes)
		if _, err := Open(cfg); !errors.Is(err, ErrTampered) {
			t.Fatalf("open: %v", err)
		}
	})
}

// A line changed after the checkpoint, or forged at the end of a closed log.
func TestAttackOpenRefusesUnsignedChanges(t *testing.T) {
	c := crashState(t)
	changed := c.lines[:c.ends[6]] + strings.Replace(c.lines[c.ends[6]:], `"event":"sign_in"`, `"event":"sign_up"`, 1)
	cfg := c.with(t, changed, c.hashes)
	if _, err := Open(cfg); !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), "line 8 (seq 7) was changed") {
		t.Errorf("open: %v", err)
	}
}

// The first start, killed at each of its steps.
func TestCrashAtFirstStart(t *testing.T) {
	done := testConfig(t)
	l := mustOpen(t, done)
	for _, files := range [][]string{
		{}, {hashSuffix}, {hashSuffix, checkpointSuffix + ".tmp"}, {hashSuffix, checkpointSuffix}, {hashSuffix, checkpointSuffix, ""},
	} {
		cfg := testConfig(t)
		for _, f := range files {
			data := ""
			if f == checkpointSuffix {
				data = readFile(t, done.File+f)
			}
			putBytes(t, cfg.File+f, data)
		}
		l := mustOpen(t, cfg)
		appendN(t, l, 2)
		mustClose(t, l)
		mustVerify(t, cfg)
	}
	mustClose(t, l)
}

func putBytes(t testing.TB, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := putFile(path, []byte(data)); err != nil {
		t.Fatal(err)
	}
}
