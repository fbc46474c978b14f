package observe_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/authn/clocktest"
	"sallyport/proxy/observe"
)

func report(w io.Writer, lost int64) { fmt.Fprintf(w, "lost %d\n", lost) }

// TestLinesDoNotWaitForTheirReader: a pipe that is full holds nothing up; what did not fit
// is counted; once the pipe is read, a line says how many.
func TestLinesDoNotWaitForTheirReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var now atomic.Int64
	l := observe.NewLines(w, func() time.Time { return time.Unix(now.Load(), 0) }, report)
	const sent = 30_000
	line := []byte(strings.Repeat("x", 99) + "\n")
	for range sent {
		if n, err := l.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	lost := l.Lost()
	if lost == 0 || lost > sent-10_000 {
		t.Errorf("%d of %d lines are lost: the queue holds 10485", lost, sent)
	}
	now.Add(60)
	clocktest.Eventually(t, "Health names the reader", func() bool {
		err := l.Health()
		return err != nil && strings.Contains(err.Error(), "not been read for 1m0s")
	})
	start := time.Now()
	if err := l.Close(10 * time.Millisecond); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("Close with a pipe that is full: %v after %s", err, time.Since(start))
	}
	read := make(chan []byte)
	go func() { b, _ := io.ReadAll(r); read <- b }()
	if err := l.Close(10 * time.Second); err != nil {
		t.Error(err)
	}
	w.Close()
	got := strings.Split(strings.TrimSuffix(string(<-read), "\n"), "\n")
	want := fmt.Sprintf("lost %d", lost)
	found := 0
	for _, g := range got {
		if g == want {
			found++
		} else if g+"\n" != string(line) {
			t.Fatalf("a line that was not sent: %q", g)
		}
	}
	if found != 1 || int64(len(got)-1) != sent-lost {
		t.Errorf("%d lines and %d reports of %q, want %d and 1", len(got)-found, found, want, sent-lost)
	}
	if err := l.Health(); err != nil {
		t.Error("everything is read and said, but:", err)
	}
}

// failing is a standard error that fails, or takes a part, until it is told to work.
type failing struct {
	bytes.Buffer
	err  atomic.Bool
	part int
}

func (f *failing) Write(p []byte) (int, error) {
	if f.err.Load() && len(p) > f.part {
		n, _ := f.Buffer.Write(p[:f.part])
		return n, syscall.ENOSPC
	}
	return f.Buffer.Write(p)
}

// TestLinesOutliveAFailure: a write that fails loses its lines and no others.
func TestLinesOutliveAFailure(t *testing.T) {
	for _, part := range []int{0, 3} {
		f := &failing{part: part}
		f.err.Store(true)
		l := observe.NewLines(f, time.Now, report)
		log := slog.New(slog.NewTextHandler(l, nil))
		log.Info("first")
		clocktest.Eventually(t, "the loss is counted", func() bool { return l.Lost() == 1 })
		if err := l.Health(); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Error(err)
		}
		f.err.Store(false)
		log.Info("second")
		if err := l.Close(10 * time.Second); err != nil {
			t.Error(err)
		}
		lines := strings.Split(f.String(), "\n")
		if part > 0 {
			lines = lines[1:] // what went out of the first
		}
		if len(lines) != 3 || !strings.Contains(lines[0], "second") || lines[1] != "lost 1" {
			t.Errorf("part %d: %q", part, f.String())
		}
		if err := l.Health(); err != nil {
			t.Error(err)
		}
		if log.Info("late"); l.Lost() != 2 {
			t.Error("a line after Close is not counted")
		}
	}
}
