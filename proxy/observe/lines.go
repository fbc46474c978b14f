package observe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// waitingBytes is how much of the log waits for its reader: some 4000 access lines. As
// much again may be in the write under way.
const waitingBytes = 1 << 20

// slowRead is how long one write may take before Health says that the reader has stopped.
const slowRead = 5 * time.Second

// Lines takes log lines for a reader that may stop reading, such as a pipe to a program
// that hangs, and never waits for it: a request must not depend on who reads the log.
//
// It is lossy. Lines wait in a queue of bounded size, a goroutine writes them, and a line
// that finds the queue full is dropped and counted. A write that fails loses the
// lines that it was for, and the next one is tried. What must not be lost is in the
// audit log, which does not come this way.
type Lines struct {
	to     io.Writer
	report func(w io.Writer, lost int64)
	now    func() time.Time

	wake, done chan struct{}
	total      atomic.Int64

	mu      sync.Mutex
	waiting []byte    // whole lines
	lost    int64     // lines that no report has said yet
	since   time.Time // start of the write under way; zero: there is none
	failed  error     // of the last write
	closed  bool
}

// NewLines writes to w until Close. Once w takes lines again after some were lost, report
// is called to write one line that says how many.
func NewLines(w io.Writer, now func() time.Time, report func(w io.Writer, lost int64)) *Lines {
	l := &Lines{to: w, report: report, now: now, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go l.run()
	return l
}

// Write takes whole lines, and never fails or waits.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	if l.closed || len(l.waiting)+len(p) > waitingBytes {
		l.lose(p)
	} else {
		l.waiting = append(l.waiting, p...)
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
	return len(p), nil
}

// lose counts the lines of p. l.mu is held.
func (l *Lines) lose(p []byte) {
	n := int64(bytes.Count(p, []byte{'\n'}))
	l.lost += n
	l.total.Add(n)
}

// Lost is the number of lines that were dropped since the start.
func (l *Lines) Lost() int64 { return l.total.Load() }

// Health says what is wrong with the reader of the log.
func (l *Lines) Health() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.since.IsZero() && l.now().Sub(l.since) > slowRead:
		return fmt.Errorf("standard error has not been read for %s; %d lines of the log are lost", l.now().Sub(l.since).Round(time.Second), l.lost)
	case l.failed != nil:
		return fmt.Errorf("standard error cannot be written, and %d lines of the log are lost: %w", l.lost, l.failed)
	case l.lost > 0:
		return fmt.Errorf("standard error is read too slowly; %d lines of the log are lost", l.lost)
	}
	return nil
}

// Close writes what waits, for as long as that may take. What comes after it is dropped.
func (l *Lines) Close(within time.Duration) error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-l.done:
		return nil
	case <-late.C:
		return errors.New("standard error is not read; the end of the log is lost")
	}
}

func (l *Lines) run() {
	defer close(l.done)
	var batch []byte
	for range l.wake {
		for {
			l.mu.Lock()
			batch, l.waiting = l.waiting, batch[:0]
			end := l.closed
			l.mu.Unlock()
			if len(batch) == 0 {
				if end {
					return
				}
				break
			}
			if l.write(batch) {
				l.tell()
			}
		}
	}
}

// write writes whole lines, and counts those that did not go out.
func (l *Lines) write(p []byte) bool {
	l.mu.Lock()
	l.since = l.now()
	l.mu.Unlock()
	n, err := l.to.Write(p)
	if err != nil && n > 0 && p[n-1] != '\n' {
		_, _ = l.to.Write([]byte{'\n'}) // the next line begins on a line of its own
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since, l.failed = time.Time{}, err
	if err != nil {
		l.lose(p[n:])
	}
	return err == nil
}

// tell reports the lines that were lost, now that the reader is back.
func (l *Lines) tell() {
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	if lost == 0 {
		return
	}
	var line bytes.Buffer
	l.report(&line, lost)
	if l.write(line.Bytes()) {
		l.mu.Lock()
		l.lost -= lost
		l.mu.Unlock()
	}
}
