package streams

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Stream is one exchange.
type Stream struct {
	reg    *Registry
	info   Info // Kind is in kind
	kind   atomic.Int32
	ctx    streamContext
	cancel context.CancelCauseFunc

	prev, next *Stream // of the session; guarded by the shard

	order atomic.Pointer[Cut] // set once
	wrote atomic.Bool         // an answer has begun

	mu       sync.Mutex // guards what follows; no other lock is taken under it
	closed   bool
	severed  bool // sever has run: a later attach comes too late
	ended    bool // Observe was called, or need not be
	ender    ender
	w        writer
	inspect  *inspector
	peers    *peers // that were cut with it
	deadline time.Time
	timer    *time.Timer // at deadline
	force    *time.Timer // when Grace is over
}

// ender is what ends a stream in the terms of its protocol. The stream's context ends
// when that is done, or when Grace is over.
type ender interface {
	// cut begins, and reports whether the upstream has Grace for the rest of something.
	// It may block until the client's write deadline. last, if any, is to be called when
	// the other streams of the order have come this far, and may block too.
	cut(*Cut) (waits bool, last func())
	// breakOff ends it at once, wherever it is.
	breakOff()
	// quick says that cut does not block.
	quick() bool
	// idle reports that no write to the client is under way.
	idle() bool
}

// streamContext is a context that knows its stream. It is a part of it, so that it costs
// no allocation.
type streamContext struct {
	context.Context
	s *Stream
}

type contextKey struct{}

func (c *streamContext) Value(key any) any {
	if key == (contextKey{}) {
		return c.s
	}
	return c.Context.Value(key)
}

// From returns the stream that ctx descends from, nil if none.
func From(ctx context.Context) *Stream {
	s, _ := ctx.Value(contextKey{}).(*Stream)
	return s
}

// Context is the context to forward the request with. After an order it ends, with the
// [*Cut] as its cause.
func (s *Stream) Context() context.Context { return &s.ctx }

// Info returns what the stream is, as far as it is known by now.
func (s *Stream) Info() Info {
	info := s.info
	info.Kind = Kind(s.kind.Load())
	return info
}

// Cut returns the order to end the stream, nil if there is none.
func (s *Stream) Cut() *Cut { return s.order.Load() }

// Run runs forward, and reports whether the stream was cut before the client was
// answered: then the caller owes it the answer, also if forward wanted to abort the
// exchange (with a panic of http.ErrAbortHandler), as a forwarder does whose request was
// cut.
func (s *Stream) Run(forward func()) (why Reason, refused bool) {
	defer func() {
		if why, refused = s.Refused(); refused {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
		}
	}()
	forward()
	return 0, false
}

// Refused reports what Run does, for a forwarder that has returned.
func (s *Stream) Refused() (Reason, bool) {
	c := s.order.Load()
	if c == nil || s.wrote.Load() {
		return 0, false
	}
	return c.Reason, true
}

// Until has the stream cut at t, in place of the t of an earlier call; the zero t is
// never.
func (s *Stream) Until(t time.Time, why Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.deadline = t
	if t.IsZero() {
		return
	}
	s.timer = time.AfterFunc(t.Sub(s.reg.cfg.Now()), func() {
		s.mu.Lock()
		due := s.deadline.Equal(t) && !s.closed
		s.mu.Unlock()
		if due {
			s.cut(&Cut{Reason: why, At: s.reg.cfg.Now()})
		}
	})
}

// Close unregisters the stream, when the handler is done with it.
func (s *Stream) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	for _, t := range []*time.Timer{s.timer, s.force} {
		if t != nil {
			t.Stop()
		}
	}
	s.mu.Unlock()
	s.reg.remove(s)
	s.observe()
	s.cancel(context.Canceled)
}

func (s *Stream) cut(c *Cut) {
	if s.order.CompareAndSwap(nil, c) {
		s.sever(nil)
	}
}

// sever carries out the order, which all were given; nil is s alone. It does not block.
func (s *Stream) sever(all *peers) {
	c := s.order.Load()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		all.told()
		return
	}
	s.severed, s.peers = true, all
	end := s.ender
	if s.w.ResponseWriter != nil && s.wrote.Load() && (end == nil || end.quick()) {
		// A client that does not read must not hold the handler. A hijacked connection
		// sees to it itself; an answer that has not begun is still the caller's to give.
		http.NewResponseController(s.w.ResponseWriter).SetWriteDeadline(s.reg.patience(end != nil && end.idle()))
	}
	s.mu.Unlock()
	switch {
	case end == nil:
		s.cancel(c)
		all.told()
	case end.quick():
		s.end(end, c, all)
	default:
		go s.end(end, c, all)
	}
}

// patience is until when the client may take pending data: a short time if it blocks a
// write already; otherwise long enough for a machine that is short of processors.
func (r *Registry) patience(idle bool) time.Time {
	if idle {
		return time.Now().Add(max(r.cfg.Linger, 2*r.cfg.Grace))
	}
	return time.Now().Add(2 * r.cfg.Grace)
}

// end has e end the stream, and limits the time for that if it depends on the upstream. A
// stream that only waits for a processor is not broken off.
func (s *Stream) end(e ender, c *Cut, all *peers) {
	waits, last := e.cut(c)
	all.told()
	if last != nil {
		all.wait()
		last()
	}
	if !waits {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && !s.ended {
		s.force = time.AfterFunc(s.reg.cfg.Grace, s.breakOff)
	}
}

// breakOff ends a stream that has not ended in time.
func (s *Stream) breakOff() {
	s.mu.Lock()
	closed, end := s.closed, s.ender
	s.mu.Unlock()
	if closed {
		return
	}
	if end != nil {
		end.breakOff()
	}
	s.cancel(s.order.Load())
}

// done is called by an ender that has ended the stream in good order.
func (s *Stream) done() {
	s.mu.Lock()
	if s.force != nil {
		s.force.Stop()
	}
	s.mu.Unlock()
	s.observe()
	s.cancel(s.order.Load())
}

func (s *Stream) observe() {
	c := s.order.Load()
	s.mu.Lock()
	first := !s.ended
	s.ended = true
	s.mu.Unlock()
	if first && c != nil && s.reg.cfg.Observe != nil {
		s.reg.cfg.Observe(Kind(s.kind.Load()), c.Reason, s.reg.cfg.Now().Sub(c.At))
	}
}

// attach sets how the stream is ended from now on. It fails with the order if one was
// carried out already: the caller then stops what it was about to begin.
func (s *Stream) attach(e ender) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.severed || s.closed {
		if c := s.order.Load(); c != nil {
			return c
		}
		return context.Canceled
	}
	s.ender = e
	return nil
}

// become changes the kind.
func (s *Stream) become(k Kind) {
	s.reg.counts[k].Add(1)
	s.reg.counts[s.kind.Swap(int32(k))].Add(-1)
}
