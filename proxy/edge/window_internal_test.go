package edge

import (
	"slices"
	"testing"
)

// TestWindowCountsWhatArrived: a client that announces a frame as large as what it may still send, and does not send it, is
// not held by us. Its silence counts against it.
func TestWindowCountsWhatArrived(t *testing.T) {
	frame := func(kind byte, n int) []byte {
		return append([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, 0, 0, 0, 0, 1}, make([]byte, n)...)
	}
	sent := slices.Concat([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(0x1, 300), frame(frameData, 0), frame(frameData, initialWindow))
	for _, size := range []int{1, 7, 4096, len(sent)} { // of what one read returns
		c := h2Conn{window: newWindow()}
		for rest := sent[:len(sent)-1]; len(rest) > 0; {
			n := min(size, len(rest))
			c.window.change(-c.in.pass(rest[:n]))
			rest = rest[n:]
		}
		if left := c.window.left; left != 1 || !c.window.empty.IsZero() {
			t.Errorf("reads of %d: without its last byte, %d may still be sent", size, left)
		}
		c.window.change(-c.in.pass(sent[len(sent)-1:]))
		if left := c.window.left; left != 0 || c.window.empty.IsZero() {
			t.Errorf("reads of %d: with its last byte, %d may still be sent", size, left)
		}
	}
}
