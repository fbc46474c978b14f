package streams

import (
	"encoding/binary"
	"io"
)

// Inspect has every message of a WebSocket client, text or binary, put before judge,
// before any part of it goes on to the upstream. A message that judge does not pass is not
// sent; reply, if any, goes back to the client as a text message. Messages that
// pass go on as they came, frame by frame. msg is valid until judge returns.
//
// A message longer than limit, and frames that are not of RFC 6455, end the stream. Call it before
// the request is forwarded, and remove Sec-WebSocket-Extensions from the request: compressed
// messages cannot be inspected, and [Attach] refuses an upstream that turns an extension on anyway.
func (s *Stream) Inspect(limit int, judge func(msg []byte) (reply []byte, pass bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inspect = &inspector{judge: judge, limit: limit}
}

// slack is how much the headers of a message's frames may weigh: a message in
// a thousand empty fragments is none that anybody means well with.
const slack = 4 << 10

// inspector takes the client's side of a connection apart into messages.
type inspector struct {
	judge func([]byte) ([]byte, bool)
	limit int

	in   []byte // read, not a whole frame yet
	held []byte // the frames of the message so far, as they came
	msg  []byte // and what they say
	open bool   // a message was begun and not ended
	out  []byte // may go on
	err  error  // of the connection, for when out is empty
}

// read is conn.receive for a connection that is inspected; conn.rmu is held.
func (i *inspector) read(c *conn, p []byte) (int, error) {
	for len(i.out) == 0 {
		if i.err != nil {
			return 0, i.err
		}
		n, err := c.raw(p)
		i.in = append(i.in, p[:n]...)
		if err != nil {
			i.err = err
		}
		if why, ok := i.frames(c); !ok {
			// What is left of it is drained like anything after an order.
			i.in, i.held, i.msg, i.out, i.err = nil, nil, nil, nil, io.ErrUnexpectedEOF
			c.s.cut(&Cut{Reason: why, At: c.s.reg.Now()})
			return 0, i.err
		}
		if c.s.order.Load() != nil {
			return 0, c.reason()
		}
	}
	n := copy(p, i.out)
	if i.out = i.out[n:]; len(i.out) == 0 {
		i.out = nil
	}
	return n, nil
}

// frames takes the complete frames off i.in. It fails with what is wrong with the next.
func (i *inspector) frames(c *conn) (Reason, bool) {
	rest := i.in
	for {
		if len(rest) < 2 || len(rest) < headerLen(rest) {
			break
		}
		h := rest[:headerLen(rest)]
		if !i.valid(h) {
			return Malformed, false
		}
		length := payloadLen(h)
		if h[0]&0x0f < opClose && (length > uint64(i.limit-len(i.msg)) || len(i.held)+len(h) > i.limit+slack) {
			return TooLarge, false
		}
		size := len(h) + int(length)
		if len(rest) < size {
			break
		}
		if !i.frame(c, rest[:size], h) {
			return TooLarge, false
		}
		rest = rest[size:]
	}
	if i.in = append(i.in[:0], rest...); len(rest) == 0 {
		i.in = nil
	}
	return 0, true
}

// valid reports whether h is a header that a client may send now. What upstreams could read in
// two ways is not: a frame that is not masked, a length in more bytes than it needs.
func (i *inspector) valid(h []byte) bool {
	fin, op, l := h[0]&0x80 != 0, h[0]&0x0f, payloadLen(h)
	switch {
	case h[0]&0x70 != 0, h[1]&0x80 == 0:
		return false
	case h[1]&0x7f == 126 && l < 126, h[1]&0x7f == 127 && (l < 1<<16 || l>>63 != 0):
		return false
	}
	switch op {
	case 0:
		return i.open
	case 1, 2:
		return !i.open
	case 8, 9, 10:
		return fin && l < 126
	}
	return false
}

// frame takes one frame. It fails if the client does not read our answers.
func (i *inspector) frame(c *conn, raw, h []byte) bool {
	if op := h[0] & 0x0f; op >= opClose {
		i.out = append(i.out, raw...) // the upstream is between two frames: it gets whole ones only
		return true
	}
	i.held = append(i.held, raw...)
	at := len(i.msg)
	i.msg = append(i.msg, raw[len(h):]...)
	unmask(i.msg[at:], h[len(h)-4:])
	if i.open = h[0]&0x80 == 0; i.open {
		return true
	}
	reply, pass := i.judge(i.msg)
	if pass {
		i.out = append(i.out, i.held...)
	}
	// An idle connection holds no buffers.
	i.held, i.msg = nil, nil
	return reply == nil || c.send(textFrame(reply))
}

func unmask(b, key []byte) {
	k := binary.LittleEndian.Uint32(key)
	k64 := uint64(k)<<32 | uint64(k)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k64)
		b = b[8:]
	}
	for n := range b {
		b[n] ^= key[n&3]
	}
}
