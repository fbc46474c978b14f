package streams

import (
	"io"
	"net/http"
	"sync"
)

// framing follows the units that a body consists of.
type framing interface {
	// pass passes over b.
	pass(b []byte)
	// next passes over b up to and including the end of the unit that ends first in it, or
	// over all of b, and returns how much that is.
	next(b []byte) int
	// boundary reports whether the bytes so far end at the end of a unit.
	boundary() bool
	// end returns what to send last, at a boundary, and the trailers to send after the body.
	end(Reason) ([]byte, http.Header)
}

// body is the body of an answer that ends in good order when it is cut. The end of the
// request's context wakes its reader, because every transport's read from an upstream
// returns then.
type body struct {
	s   *Stream
	src io.ReadCloser
	res *http.Response

	mu      sync.Mutex // guards what follows; not held while src is read
	framing framing
	order   *Cut
	reading bool   // from src
	broken  bool   // do not wait for a boundary any longer
	ending  []byte // the rest of the last words
	ended   bool   // the last words are in ending, or were said
}

func (b *body) Close() error { return b.src.Close() }

func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b.mu.Lock()
	over := b.over()
	b.reading = !over
	b.mu.Unlock()
	if over {
		return b.last(p)
	}
	n, err := b.src.Read(p)
	b.mu.Lock()
	b.reading = false
	if b.order == nil {
		b.framing.pass(p[:n])
		b.mu.Unlock()
		return n, err
	}
	// Cut while it was reading: only what completes a unit goes on.
	if b.over() {
		n = 0
	} else {
		n = b.framing.next(p[:n])
	}
	if err != nil {
		b.broken = true
	}
	over = b.over()
	b.mu.Unlock()
	if over && n == 0 {
		return b.last(p)
	}
	return n, nil
}

// over reports whether the order is to be carried out now.
func (b *body) over() bool {
	return b.order != nil && (b.broken || b.framing.boundary())
}

// last returns the last words, then the end.
func (b *body) last(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.ended = true
		words, trailer := b.framing.end(b.order.Reason)
		if b.framing.boundary() {
			b.ending = words
		}
		b.setTrailer(trailer)
		// The upstream is not listened to any more. Closing its body could otherwise
		// wait for a client that is still sending.
		b.s.cancel(b.order)
	}
	n := copy(p, b.ending)
	if b.ending = b.ending[n:]; n > 0 {
		return n, nil
	}
	return 0, io.EOF
}

// setTrailer makes the answer end with these trailers. The announced ones stay, without
// values, so that a forwarder that compares announced and received trailers sees the
// difference.
func (b *body) setTrailer(h http.Header) {
	if h == nil {
		return
	}
	trailer := http.Header{}
	for name := range b.res.Trailer {
		trailer[name] = nil
	}
	for name, v := range h {
		trailer[name] = v
	}
	b.res.Trailer = trailer
}

func (b *body) quick() bool { return true }

func (b *body) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reading
}

func (b *body) cut(c *Cut) (bool, func()) {
	b.mu.Lock()
	b.order = c
	wake := b.over()
	b.mu.Unlock()
	if wake {
		b.s.cancel(c)
	}
	return !wake, nil
}

func (b *body) breakOff() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = true
}
