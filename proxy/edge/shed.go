package edge

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"
)

// ShedConfig says when a server is full.
type ShedConfig struct {
	// Requests is how many are handled at once, without streams.
	Requests int
	// Queued is how many more may wait, each for at most QueueFor.
	Queued   int
	QueueFor time.Duration
	// Streams is how many streams may be open in addition. A stream beyond that uses a
	// request's place for its whole life.
	Streams int
	// RetryAfter is sent to a refused client.
	RetryAfter time.Duration
	// Memory, if set, returns which part of the memory limit is in use, as [LiveMemory]
	// does. From MemoryHigh (0.85) up, only requests that are Verified are admitted; from
	// MemoryFull (0.95) up, no request and no connection is: new and unverified clients
	// are shed first.
	Memory                 func() float64
	MemoryHigh, MemoryFull float64
	// Verified reports whether a request comes from a person with a verified session. It is
	// called only when memory is short. Nil: no request does.
	Verified func(*http.Request) bool
}

// The states of memory.
const (
	ample int32 = iota
	short       // strangers wait
	full        // all requests do
)

// Shedder refuses work before the server is overloaded. It takes no lock while there is
// room. A nil Shedder admits everything.
type Shedder struct {
	config   ShedConfig
	requests atomic.Int64
	streams  atomic.Int64
	queued   atomic.Int64
	memory   atomic.Int32 // ample, short or full; read for each request, written by Run
	wake     chan struct{}

	shedFull, shedMemory atomic.Uint64
}

// NewShedder checks c.
func NewShedder(c ShedConfig) (*Shedder, error) {
	if c.Requests <= 0 || c.Streams <= 0 || c.QueueFor <= 0 || c.RetryAfter <= 0 {
		return nil, errors.New("edge: the shedder needs Requests, Streams, QueueFor and RetryAfter, all positive")
	}
	orDefault(&c.MemoryHigh, 0.85)
	orDefault(&c.MemoryFull, max(0.95, c.MemoryHigh))
	if c.MemoryFull < c.MemoryHigh || c.MemoryFull > 1 || c.Queued < 0 || c.MemoryHigh < 0 || c.MemoryHigh > 1 {
		return nil, errors.New("edge: a limit of the shedder is out of range")
	}
	return &Shedder{config: c, wake: make(chan struct{}, max(c.Queued, 1))}, nil
}

// Run watches the memory until ctx ends. Without ShedConfig.Memory it returns at once.
func (s *Shedder) Run(ctx context.Context) {
	if s.config.Memory == nil {
		return
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		switch used := s.config.Memory(); {
		case used >= s.config.MemoryFull:
			s.memory.Store(full)
		case used >= s.config.MemoryHigh:
			s.memory.Store(short)
		default:
			s.memory.Store(ample)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// slot is what a request holds in a Shedder. The zero place holds nothing.
type slot struct {
	in     *Shedder
	stream bool
	short  bool // refused because memory is short
}

func (s *Shedder) enter(r *http.Request) (p slot, ok bool) {
	if s == nil {
		return slot{}, true
	}
	if m := s.memory.Load(); m == full || m == short && (s.config.Verified == nil || !s.config.Verified(r)) {
		s.shedMemory.Add(1)
		return slot{short: true}, false
	}
	if s.acquire() || s.wait(r.Context()) {
		return slot{in: s}, true
	}
	s.shedFull.Add(1)
	return slot{}, false
}

func (s *Shedder) acquire() bool { return addBelow(&s.requests, int64(s.config.Requests)) }

// addBelow adds one unless that is more than limit.
func addBelow(v *atomic.Int64, limit int64) bool {
	for {
		n := v.Load()
		if n >= limit {
			return false
		}
		if v.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *Shedder) wait(ctx context.Context) bool {
	if !addBelow(&s.queued, int64(s.config.Queued)) {
		return false
	}
	defer s.queued.Add(-1)
	end := time.NewTimer(s.config.QueueFor)
	defer end.Stop()
	for {
		// After queued was raised: a goroutine that returned its place before that did
		// not see us, and the place is free; one that returns it later wakes us.
		if s.acquire() {
			return true
		}
		select {
		case <-s.wake:
		case <-end.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (s *Shedder) freed() {
	s.requests.Add(-1)
	if s.queued.Load() > 0 {
		select {
		case s.wake <- struct{}{}:
		default: // there are as many wakes as there can be waiters
		}
	}
}

// toStream reports whether the request could move to a place among the streams, if it
// needs one.
func (p *slot) toStream() bool {
	if p.in == nil || p.stream {
		return true
	}
	if !addBelow(&p.in.streams, int64(p.in.config.Streams)) {
		return false
	}
	p.stream = true
	p.in.freed()
	return true
}

func (p *slot) leave() {
	switch {
	case p.in == nil:
	case p.stream:
		p.in.streams.Add(-1)
	default:
		p.in.freed()
	}
	p.in = nil
}

func (s *Shedder) retryAfter() int {
	return max(1, int((s.config.RetryAfter+time.Second-1)/time.Second))
}

// ShedStats is for metrics.
type ShedStats struct {
	Requests, Streams, Queued int64  // now
	ShedFull, ShedMemory      uint64 // refused so far
	MemoryFull                bool   // now: at least strangers are refused
}

// closed reports whether new connections are refused.
func (s *Shedder) closed() bool {
	if s == nil || s.memory.Load() != full {
		return false
	}
	s.shedMemory.Add(1)
	return true
}

// Stats is cheap to call.
func (s *Shedder) Stats() ShedStats {
	return ShedStats{Requests: s.requests.Load(), Streams: s.streams.Load(), Queued: s.queued.Load(),
		ShedFull: s.shedFull.Load(), ShedMemory: s.shedMemory.Load(), MemoryFull: s.memory.Load() != ample}
}
