package edge

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// window is what an HTTP/2 client may still send on its connection (RFC 9113 section
// 5.2), computed from the frames of both directions. While it is empty the client cannot
// send, on any stream, until a handler of ours reads: that time does not count as its
// slowness.
type window struct {
	mu    sync.Mutex
	left  int64
	empty time.Time     // since when; zero: it is not empty
	sum   time.Duration // for how long before that
}

const initialWindow = 65535 // before the first WINDOW_UPDATE

func newWindow() *window { return &window{left: initialWindow} }

// change adds n to what the client may send.
func (w *window) change(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left += n
	switch {
	case w.left <= 0 && w.empty.IsZero():
		w.empty = time.Now()
	case w.left > 0 && !w.empty.IsZero():
		w.sum, w.empty = w.sum+time.Since(w.empty), time.Time{}
	}
}

// held is for how long the window was empty in total.
func (w *window) held() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.empty.IsZero() {
		return w.sum
	}
	return w.sum + time.Since(w.empty)
}

// inbound tracks the frames that a client sends.
type inbound struct {
	preface int // bytes of it that have arrived
	head    [9]byte
	have    int  // bytes of head
	left    int  // bytes of its payload still missing
	data    bool // the payload belongs to a DATA frame

	block atomic.Int64 // bytes of the last header block, by the headers of its frames
}

// prefaceLen is the length of the preface that every HTTP/2 connection starts with.
const prefaceLen = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

// pass reads b, and returns how many bytes of the connection's window it uses, padding
// included. Bytes count when they arrive, not with their frame's header: otherwise a
// client that announces a frame as large as its window and never sends it would seem to
// wait for us, and could be slow forever.
func (f *inbound) pass(b []byte) (data int64) {
	n := min(prefaceLen-f.preface, len(b))
	f.preface, b = f.preface+n, b[n:]
	for len(b) > 0 {
		if f.left > 0 {
			n := min(f.left, len(b))
			f.left, b = f.left-n, b[n:]
			if f.data {
				data += int64(n)
			}
			continue
		}
		n := copy(f.head[f.have:], b)
		if f.have, b = f.have+n, b[n:]; f.have < len(f.head) {
			return data
		}
		f.have, f.left = 0, int(f.head[0])<<16|int(f.head[1])<<8|int(f.head[2])
		f.data = f.head[3] == frameData
		switch f.head[3] {
		case frameHeaders:
			f.block.Store(int64(f.left))
		case frameContinuation:
			f.block.Add(int64(f.left))
		}
	}
	return data
}

// Read counts what the client uses of its window.
func (c *h2Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if data := c.in.pass(p[:n]); data > 0 {
		c.window.change(-data)
	}
	return n, err
}

// noteUpdate takes the next bytes of a WINDOW_UPDATE of the connection that is being
// written.
func (c *h2Conn) noteUpdate(payload []byte) {
	c.increment = append(c.increment, payload...)
	if len(c.increment) == 4 {
		c.window.change(int64(binary.BigEndian.Uint32(c.increment) & (1<<31 - 1)))
		c.increment = c.increment[:0]
	}
}
