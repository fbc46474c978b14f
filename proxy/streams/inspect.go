package streams

import (
	"encoding/binary"
	"io"
)

// Inspect has every message of a WebSocket client, text or binary, put before judge,
// before any part of it goes on to the upstream. A message that judge does not pass is
// not sent; reply, if any, goes back to the client as a text message. Messages that pass
// go on as they came, frame by frame. msg is valid until judge returns.
//
// A message longer than limit goes to an [Oversize] in pieces, and nowhere else. The
// stream goes on, unless the message is longer than sixteen times the limit, or there are
// sixteen of them in a row.
//
// A message for which [Config.Inspected] has no room or which takes longer than
// [Config.MessageTime], from the client or, once it has passed, to the upstream, and
// frames that are not of RFC 6455, end the stream. Call it before the request is
// forwarded, and remove Sec-WebSocket-Extensions from the request: compressed messages
// cannot be inspected, and [Attach] refuses an upstream that turns an extension on
// anyway.
func (s *Stream) Inspect(limit int, judge func(msg []byte) (reply []byte, pass bool), oversize func() Oversize) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inspect = &inspector{judge: judge, oversize: oversize, limit: limit, hold: hold{s: s}}
}

// Oversize answers one message that is longer than the limit.
type Oversize interface {
	// Write takes the next piece of what the message says, which is valid until it
	// returns. It must not hold all of them: nothing of it is in the budget.
	io.Writer
	// Reply is called once, at the end of the message. A result that is not empty goes
	// back to the client as a text message.
	Reply() []byte
}

// Bounds of messages that are too large: each costs the client as much as a good one, and
// us no memory.
const (
	oversizeFactor = 16 // of the limit: how long one may be
	oversizeInRow  = 16 // how many there may be with no message in between that fits
)

// slack bounds the headers of a message's frames: no honest client sends a message in a
// thousand empty fragments.
func (i *inspector) slack() int { return 4<<10 + i.limit/64 }

// batch is up to how many bytes small messages are sent on together.
const batch = smallBuffer

// inspector splits the client's side of a connection into messages. It holds one copy of
// a message: it unmasks it in place, and masks it again in place when the message goes
// on.
type inspector struct {
	judge    func([]byte) ([]byte, bool)
	oversize func() Oversize
	limit    int
	hold     hold

	hdr  [14]byte // of the frame that is being read
	have int      // bytes of it; 0 between frames
	left int      // bytes of its payload that are still to come
	at   int      // where its payload begins in msg

	control []byte // a control frame so far
	heads   []byte // the headers of the message's frames so far
	msg     []byte // and what they say
	open    bool   // a message was begun and not ended

	over    Oversize // takes the message, which is too large; nil: it fits so far
	passed  int      // bytes of it, headers included
	overRow int      // such messages in a row

	rest  []byte // read, not looked at yet
	out   []byte // may go on: control frames and small messages
	sent  sent   // how far the message is sent on that follows out
	going bool   // there is one
	err   error  // of the connection, for when nothing is left to go on
}

// sent is how much of a message has gone on.
type sent struct{ head, inHead, msg, inFrame int }

// read is conn.receive for a connection that is inspected; conn.rmu is held.
func (i *inspector) read(c *conn, p []byte) (int, error) {
	for {
		if len(i.out) > 0 {
			n := copy(p, i.out)
			if i.out = i.out[n:]; len(i.out) == 0 {
				i.out = nil
			}
			return n, nil
		}
		if i.going {
			return i.emit(p), nil
		}
		if i.err != nil {
			i.drop()
			return 0, i.err
		}
		if why, ok := i.more(c, p); !ok {
			// The rest is drained like all data after an order.
			i.drop()
			i.rest, i.out, i.err = nil, nil, io.ErrUnexpectedEOF
			c.s.cut(&Cut{Reason: why, At: c.s.reg.cfg.Now()})
			return 0, i.err
		}
		if c.s.order.Load() != nil {
			i.drop()
			return 0, c.reason()
		}
	}
}

// more reads from the client and parses it. It fails with the reason of an invalid
// message.
func (i *inspector) more(c *conn, p []byte) (Reason, bool) {
	if len(i.rest) > 0 {
		b := i.rest
		i.rest = nil
		return i.frames(c, b)
	}
	i.hold.clock(i.have > 0 || i.open)
	if i.left <= len(p) || i.controls() || i.over != nil {
		n, err := c.raw(p)
		i.err = err
		return i.frames(c, p[:n])
	}
	// Much is to come: it is read to where it belongs.
	if len(i.msg) == cap(i.msg) && !i.room(&i.msg, min(i.left, max(len(i.msg), 4<<10))) {
		return TooMuch, false
	}
	at := len(i.msg)
	n, err := c.raw(i.msg[at:min(cap(i.msg), at+i.left)])
	i.err = err
	i.msg = i.msg[:at+n]
	return i.payload(c, at, n)
}

// frames takes b apart, until something large may go on.
func (i *inspector) frames(c *conn, b []byte) (Reason, bool) {
	for len(b) > 0 {
		if i.going || len(i.out) >= batch {
			i.rest = append([]byte(nil), b...)
			return 0, true
		}
		if i.left > 0 {
			n := min(i.left, len(b))
			at := len(i.msg)
			switch {
			case i.controls():
				i.control = append(i.control, b[:n]...)
			case i.over != nil:
				xor(b[:n], i.hdr[i.have-4:i.have], int(payloadLen(i.hdr[:i.have]))-i.left)
				_, _ = i.over.Write(b[:n])
			case !i.room(&i.msg, n):
				return TooMuch, false
			default:
				i.msg = append(i.msg, b[:n]...)
			}
			if why, ok := i.payload(c, at, n); !ok {
				return why, false
			}
			b = b[n:]
			continue
		}
		n := copy(i.hdr[i.have:headerLen(i.hdr[:i.have])], b)
		i.have, b = i.have+n, b[n:]
		if i.have < headerLen(i.hdr[:i.have]) {
			continue
		}
		if why, ok := i.begin(c); !ok {
			return why, false
		}
	}
	return 0, true
}

// controls reports whether the frame that is being read is a control frame. Its header is
// complete.
func (i *inspector) controls() bool { return i.have > 0 && i.hdr[0]&0x0f >= opClose }

// begin looks at a header that is complete.
func (i *inspector) begin(c *conn) (Reason, bool) {
	h := i.hdr[:i.have]
	if !i.valid(h) {
		return Malformed, false
	}
	length := payloadLen(h)
	if fits := i.over == nil && length <= uint64(i.limit-len(i.msg)); i.controls() {
		i.control = append(i.control[:0], h...)
	} else if !fits {
		if !i.tooLarge(length, len(h)) {
			return TooLarge, false
		}
	} else {
		if len(i.heads)+len(h) > i.slack() {
			return TooLarge, false
		}
		if !i.room(&i.heads, len(h)) {
			return TooMuch, false
		}
		i.heads = append(i.heads, h...)
		i.at = len(i.msg)
	}
	if i.left = int(length); i.left == 0 {
		return i.end(c)
	}
	return 0, true
}

// tooLarge takes a frame with which a message is, or goes on to be, too large. It reports
// whether that is borne.
func (i *inspector) tooLarge(length uint64, head int) bool {
	if i.over == nil {
		if i.overRow++; i.overRow > oversizeInRow {
			return false
		}
		i.over, i.passed = i.oversize(), len(i.heads)+len(i.msg)
		_, _ = i.over.Write(i.msg)
		i.heads, i.msg = nil, nil
		i.hold.giveBack()
	}
	// A continuation may be empty, and its header still counts: a message must come to an
	// end.
	if most := oversizeFactor * i.limit; length > uint64(most) || i.passed+head+int(length) > most {
		return false
	}
	i.passed += head + int(length)
	return true
}

// payload notes n bytes of a frame, which are at msg[at:] unless it is a control frame or
// the message is too large.
func (i *inspector) payload(c *conn, at, n int) (Reason, bool) {
	if !i.controls() && i.over == nil {
		xor(i.msg[at:at+n], i.hdr[i.have-4:i.have], at-i.at)
	}
	if i.left -= n; i.left > 0 {
		return 0, true
	}
	return i.end(c)
}

// end takes a whole frame. It fails if the client does not read our answers.
func (i *inspector) end(c *conn) (Reason, bool) {
	control, fin := i.controls(), i.hdr[0]&0x80 != 0
	i.have = 0
	switch {
	case control:
		i.out = append(i.out, i.control...) // the upstream is between two frames: it gets whole ones only
		i.control = nil
		return 0, true
	case !fin:
		i.open = true
		return 0, true
	}
	i.open = false
	i.hold.clock(false)
	if over := i.over; over != nil {
		i.drop()
		if reply := over.Reply(); reply != nil && !c.send(textFrame(reply)) {
			return TooLarge, false
		}
		return 0, true
	}
	i.overRow = 0
	reply, pass := i.judge(i.msg)
	switch {
	case !pass:
		i.drop()
	case len(i.heads)+len(i.msg) <= batch:
		i.maskAgain()
		for i.going = true; i.going; {
			var part [512]byte
			i.out = append(i.out, part[:i.emit(part[:])]...)
		}
	default:
		i.maskAgain()
		i.going = true
		i.hold.handOver()
	}
	if reply != nil && !c.send(textFrame(reply)) {
		return TooLarge, false
	}
	return 0, true
}

// maskAgain puts what the message says back into what came.
func (i *inspector) maskAgain() {
	b := i.msg
	for h := i.heads; len(h) > 0; {
		n, length := headerLen(h), int(payloadLen(h))
		xor(b[:length], h[n-4:n], 0)
		h, b = h[n:], b[length:]
	}
}

// emit sends on as much of a message as p takes.
func (i *inspector) emit(p []byte) (n int) {
	s := &i.sent
	for n < len(p) && s.head < len(i.heads) {
		h := i.heads[s.head:]
		h = h[:headerLen(h)]
		k := copy(p[n:], h[s.inHead:])
		n, s.inHead = n+k, s.inHead+k
		if s.inHead < len(h) {
			return n
		}
		length := int(payloadLen(h))
		k = copy(p[n:], i.msg[s.msg:s.msg+length-s.inFrame])
		n, s.msg, s.inFrame = n+k, s.msg+k, s.inFrame+k
		if s.inFrame < length {
			return n
		}
		s.head, s.inHead, s.inFrame = s.head+len(h), 0, 0
	}
	if s.head == len(i.heads) {
		i.drop()
	}
	return n
}

// drop forgets the message: an idle connection holds no buffers.
func (i *inspector) drop() {
	i.heads, i.msg, i.sent, i.going, i.open, i.over = nil, nil, sent{}, false, false, nil
	i.hold.release()
}

// room makes room for n more bytes in b, within the budget.
func (i *inspector) room(b *[]byte, n int) bool {
	need := len(*b) + n
	if need <= cap(*b) {
		return true
	}
	size := max(need, min(2*cap(*b), i.limit), 32)
	if !i.hold.reserve(size - cap(*b)) {
		return false
	}
	*b = append(make([]byte, 0, size), *b...)
	return true
}

// valid reports whether h is a header that a client may send now. What upstreams could
// read in two ways is not: a frame that is not masked, a length in more bytes than it
// needs.
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

// xor masks or unmasks a part of a frame that begins at its byte at.
func xor(b, key []byte, at int) {
	for ; len(b) > 0 && at&3 != 0; at++ {
		b[0] ^= key[at&3]
		b = b[1:]
	}
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
