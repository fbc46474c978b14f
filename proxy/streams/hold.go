package streams

import (
	"io"
	"sync"
	"time"
)

// hold is what an inspected connection takes of the budget, and of the time, for the
// message that it has not passed on. The connection may be closed while it is being read.
type hold struct {
	s *Stream

	mu     sync.Mutex
	taken  int
	timer  *time.Timer // runs while a message is begun and not ended, or passed and not taken
	closed bool
}

// reserve reserves n bytes.
func (h *hold) reserve(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || !h.s.reg.cfg.Inspected.Take(h.s.info.Session, h.s.info.Person, n) {
		return false
	}
	h.taken += n
	return true
}

// clock records, before waiting for the client, whether a message is under way. A message
// that takes too long ends the stream, because its memory is not available to others.
func (h *hold) clock(runs bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !runs:
		h.stop()
	case h.timer == nil:
		h.start(Slow)
	}
}

// handOver is clock for a message that was passed: from now on the upstream is waited
// for, until release. An upstream that does not read keeps the memory in use like a
// client that does not write.
func (h *hold) handOver() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stop()
	h.start(NotTaken)
}

// start and stop are called with mu held.
func (h *hold) start(why Reason) {
	if !h.closed {
		h.timer = time.AfterFunc(h.s.reg.cfg.MessageTime, func() { h.s.cut(&Cut{Reason: why, At: h.s.reg.cfg.Now()}) })
	}
}

func (h *hold) stop() {
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
}

// release gives everything back, and stops the clock.
func (h *hold) release() {
	h.giveBack()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stop()
}

// giveBack returns the reserved budget. The message goes on, and so does its clock.
func (h *hold) giveBack() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.s.reg.cfg.Inspected.Give(h.s.info.Session, h.s.info.Person, h.taken)
	h.taken = 0
}

// close is release for good: a reader that is still at it can take nothing any more.
func (h *hold) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.release()
}

// HandOver is for a request whose body of size bytes is held whole, as a message is. It
// returns the body to forward: the upstream has [Config.MessageTime] to take all of it,
// then the stream is cut. The caller calls stop when the request is over.
func (s *Stream) HandOver(b io.ReadCloser, size int64) (body io.ReadCloser, stop func()) {
	if size <= 0 {
		return b, func() {}
	}
	t := time.AfterFunc(s.reg.cfg.MessageTime, func() { s.cut(&Cut{Reason: NotTaken, At: s.reg.cfg.Now()}) })
	return &handedOver{b, t, size}, func() { t.Stop() }
}

// handedOver is a body that stops the clock when it was read. A reader that knows its
// length need not read up to its end.
type handedOver struct {
	io.ReadCloser
	timer *time.Timer
	left  int64
}

func (b *handedOver) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left <= 0 {
		b.timer.Stop()
	}
	return n, err
}
