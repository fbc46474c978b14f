package edge

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// stall measures how long a client keeps one direction of a request waiting.
// begin and end are called by one goroutine at a time.
type stall struct {
	pace  Pace
	quiet time.Duration // minimum length of one wait for a client that was let through; see Admit
	left  time.Duration // what is left of the patience: waiting uses it, bytes refill it
	since time.Time
	timer *time.Timer

	// held, if set, returns for how long, in total, we have kept the client from sending:
	// other uploads that are not read use up the window of an HTTP/2 connection. That
	// time does not count.
	held   func() time.Duration
	before time.Duration // when the wait began

	mu      sync.Mutex
	waiting bool // between begin and end; cut acts only then
	late    bool // it has
	cut     func()
	heldAt  time.Duration // the part of held that was subtracted already
}

// begin starts the wait for up to n bytes.
func (s *stall) begin(n int) {
	s.since = time.Now()
	// A write of n bytes shows no progress until all are taken, so what they will refill
	// is granted in advance, but never more than the whole patience.
	allowed := max(max(s.left, 0)+min(s.worth(n), s.pace.Patience), s.quiet)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = true
	if s.held != nil {
		s.heldAt = s.held()
	}
	s.before = s.heldAt
	if s.timer == nil {
		s.timer = time.AfterFunc(allowed, s.fire)
	} else {
		s.timer.Reset(allowed)
	}
}

// end stops the wait; n bytes have moved. It reports whether the client was too slow.
func (s *stall) end(n int) (late bool) {
	s.timer.Stop()
	waited := time.Since(s.since)
	if s.held != nil {
		waited -= s.held() - s.before
	}
	s.left = min(s.pace.Patience, s.left-waited+s.worth(n))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = false
	return s.late
}

func (s *stall) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A timer that was stopped too late must not cut the next wait.
	if !s.waiting {
		return
	}
	if s.held != nil {
		if held := s.held(); held > s.heldAt {
			s.timer.Reset(max(held-s.heldAt, s.pace.Patience/16)) // may be again and again
			s.heldAt = held
			return
		}
	}
	s.late = true
	s.cut()
}

// rest is how long the client may still take to read net/http's buffer.
func (s *stall) rest() time.Duration { return max(s.left, s.quiet, time.Second) }

func (s *stall) worth(n int) time.Duration {
	return time.Duration(float64(n) / float64(s.pace.MinRate) * float64(time.Second))
}

// ErrSlowBody is wrapped by the read error of a body whose client was too slow.
var ErrSlowBody = errors.New("the body comes too slowly")

// Admit tells the server that the person behind the request was let through. The minimum
// speed is for strangers; a person may pause an upload or a download for as long as quiet
// at a time (a dump that is being computed, a laptop that slept). Zero or less means
// without limit. Call it before the body is read or the answer is written, and never
// before the verdict.
func Admit(w http.ResponseWriter, quiet time.Duration) {
	x := exchangeOf(w)
	if x == nil {
		return
	}
	if quiet <= 0 {
		quiet = math.MaxInt64
	}
	x.writing.quiet = quiet
	if x.body != nil {
		x.body.reading.quiet = quiet
	}
}

// pacedBody is a request body whose client must not be too slow.
type pacedBody struct {
	io.ReadCloser
	x       *exchange
	reading stall
	exempt  atomic.Bool // the request is a stream
	ended   atomic.Bool // no more of it is on the connection
	limited atomic.Bool // leave has set a deadline
}

func (b *pacedBody) Read(p []byte) (int, error) {
	b.stay()
	if b.exempt.Load() {
		n, err := b.ReadCloser.Read(p)
		b.ended.Store(err != nil)
		return n, err
	}
	b.reading.begin(0)
	n, err := b.ReadCloser.Read(p)
	late := b.reading.end(n)
	if err != nil {
		b.ended.Store(true)
		if late && err != io.EOF {
			err = fmt.Errorf("%w: %w", ErrSlowBody, err)
		}
	}
	return n, err
}

// Within makes reads of the body fail after d, regardless of its speed, until stop is
// called. It is for a body that is held in memory as a whole.
func (b *pacedBody) Within(d time.Duration) (stop func() bool) {
	return time.AfterFunc(d, b.x.cutRead).Stop
}

// leave sets a deadline for the rest of the body, because net/http is about to read it,
// to keep the connection, without measuring its speed. It is for HTTP/1 only: HTTP/2
// resets the stream instead.
func (b *pacedBody) leave(end time.Time) {
	if b.x.request.ProtoMajor == 1 && !b.ended.Load() {
		b.limited.Store(true)
		b.x.deadline(func(d deadlines) { d.SetReadDeadline(end) })
	}
}

// stay removes that deadline: the handler goes on reading. It matters at the end of the
// body too. A deadline left in place would end the request itself, since net/http takes a
// read that fails after the body for a client that has gone.
func (b *pacedBody) stay() {
	if b.limited.Swap(false) {
		b.x.deadline(func(d deadlines) { d.SetReadDeadline(time.Time{}) })
	}
}
