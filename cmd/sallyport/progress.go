package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progressLine shows on a terminal how far a long command is. Its nil value shows nothing.
type progressLine struct {
	w    io.Writer
	now  func() time.Time
	unit string // what is counted

	mu    sync.Mutex
	phase string
	began time.Time // of the phase
	shown time.Time
	drawn bool
}

// progressEvery is how often the line is drawn again.
const progressEvery = 200 * time.Millisecond

// newProgress counts in a unit such as "lines". It is nil where standard error is no
// terminal, or a program reads the answer.
func newProgress(std stdio, unit string, quiet bool) *progressLine {
	f, ok := std.err.(*os.File)
	if !ok || quiet {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return &progressLine{w: f, now: time.Now, unit: unit}
}

// at is called as often as one likes.
func (p *progressLine) at(phase string, done, of int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if phase != p.phase {
		p.phase, p.began, p.shown = phase, now, time.Time{}
	}
	if done <= 0 || now.Sub(p.shown) < progressEvery {
		return
	}
	p.shown, p.drawn = now, true
	fmt.Fprintf(p.w, "\r\x1b[K%s: ", phase)
	took := now.Sub(p.began)
	if of <= 0 || done > of { // it is not known how many there are
		fmt.Fprintf(p.w, "%d %s", done, p.unit)
		return
	}
	fmt.Fprintf(p.w, "%d%% of %d %s", 100*done/of, of, p.unit)
	if took >= time.Second {
		left := time.Duration(float64(took) * float64(of-done) / float64(done))
		fmt.Fprintf(p.w, ", %s left", left.Round(time.Second))
	}
}

// clear takes the line away.
func (p *progressLine) clear() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	p.drawn = false
}
