package streams

import (
	"sync"
	"time"
)

// hold is what an inspected connection takes of the budget, and of the time, for the message that it has not
// passed on. The connection may be closed while it is being read.
type hold struct {
	s *Stream

	mu     sync.Mutex
	taken  int
	timer  *time.Timer // runs while a message is begun and not ended
	closed bool
}

// take reserves n bytes.
func (h *hold) take(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || !h.s.reg.Inspected.Take(h.s.info.Session, n) {
		return false
	}
	h.taken += n
	return true
}

// clock says whether a message is under way, before the client is waited for. One that takes too long ends the stream: what
// is held for it is not there for others.
func (h *hold) clock(runs bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !runs && h.timer != nil:
		h.timer.Stop()
		h.timer = nil
	case runs && h.timer == nil && !h.closed && h.s.reg.MessageTime > 0:
		h.timer = time.AfterFunc(h.s.reg.MessageTime, func() { h.s.cut(&Cut{Reason: Slow, At: h.s.reg.Now()}) })
	}
}

// release gives everything back.
func (h *hold) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.s.reg.Inspected.Give(h.s.info.Session, h.taken)
	h.taken = 0
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
}

// close is release for good: a reader that is still at it can take nothing any more.
func (h *hold) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.release()
}
