// Package clocktest is the time of tests: a clock that only the test moves, and a bounded
// wait for another goroutine.
//
// It is not for production, and it does not replace testing/synctest, which also moves the
// timers of the code under test.
package clocktest

import (
	"sync"
	"testing"
	"time"
)

// Clock stands still until a test moves it. Goroutines may share it.
type Clock struct {
	mu sync.Mutex
	t  time.Time
}

// At returns a clock that stands at t.
func At(t time.Time) *Clock { return &Clock{t: t} }

// Now is the time for a Config.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// Add moves the clock by d; a negative d sets it back.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// patience is how long Eventually waits on a busy machine.
const patience = 30 * time.Second

// Eventually waits until done is true, and fails the test if that takes longer than 30
// seconds. what says in the failure what did not happen.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); !done(); <-look.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
