package streams

import (
	"bytes"
	"encoding/binary"
)

// frames follows one direction of a WebSocket connection (RFC 6455 section 5.2) without
// reading any payload. It knows nothing of extensions and need not: they change
// payloads and reserved bits, never where a frame ends.
type frames struct {
	head    int // what is passed over of the end of the HTTP head; headDone after it
	hdr     [14]byte
	have    int // bytes in hdr; 0 between frames
	left    uint64
	message bool // a message was begun and not ended
	closed  bool // a close frame has passed
	lost    bool // an impossible length: the position in the stream is unknown from here on
}

const headDone = 4

const opClose = 8

// boundary reports whether a frame may be sent now.
func (f *frames) boundary() bool { return f.head == headDone && f.have == 0 && !f.lost }

// between reports whether a whole message may be sent now.
func (f *frames) between() bool { return f.boundary() && !f.message }

// all passes over b.
func (f *frames) all(b []byte) {
	for len(b) > 0 {
		b = b[f.next(b):]
	}
}

// next passes over b up to and including the end of the frame that ends first in it, or
// over all of b, and returns how much that is.
func (f *frames) next(b []byte) int {
	if f.lost {
		return len(b)
	}
	n := 0
	if f.head < headDone {
		if n = f.passHead(b); f.head == headDone {
			return n
		}
	}
	// left is 0 until the header is complete.
	for f.left == 0 && n < len(b) {
		f.hdr[f.have] = b[n]
		f.have++
		n++
		if f.have < headerLen(f.hdr[:f.have]) {
			continue
		}
		if f.left = payloadLen(f.hdr[:f.have]); f.left>>63 != 0 {
			f.lost = true
			return len(b)
		}
		if f.left == 0 {
			f.end()
			return n
		}
	}
	take := min(f.left, uint64(len(b)-n))
	if take > 0 {
		if f.left -= take; f.left == 0 {
			f.end()
		}
	}
	return n + int(take)
}

func (f *frames) end() {
	f.have = 0
	switch op, fin := f.hdr[0]&0x0f, f.hdr[0]&0x80 != 0; {
	case op == opClose:
		f.closed = true
	case op < opClose:
		f.message = !fin
	}
}

// passHead passes over the answer to the handshake, which goes the same way. It begins
// with "HTTP/", and no frame does: that would be a control frame in fragments.
func (f *frames) passHead(b []byte) int {
	const end = "\r\n\r\n"
	for i, c := range b {
		switch {
		case c == end[f.head]:
			f.head++
		case c == '\r':
			f.head = 1
		default:
			f.head = 0
		}
		if f.head == headDone {
			return i + 1
		}
	}
	return len(b)
}

// headerLen returns the length of the frame header that begins with h, as far as h tells.
func headerLen(h []byte) int {
	if len(h) < 2 {
		return 2
	}
	n := 2
	switch h[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if h[1]&0x80 != 0 {
		n += 4
	}
	return n
}

// payloadLen returns the length that a complete header announces.
func payloadLen(h []byte) uint64 {
	switch l := h[1] & 0x7f; l {
	case 126:
		return uint64(binary.BigEndian.Uint16(h[2:]))
	case 127:
		return binary.BigEndian.Uint64(h[2:])
	default:
		return uint64(l)
	}
}

// textFrame returns text as one message of a server.
func textFrame(text []byte) []byte {
	var f bytes.Buffer
	f.WriteByte(0x81)
	switch n := len(text); {
	case n < 126:
		f.WriteByte(byte(n))
	case n < 1<<16:
		f.WriteByte(126)
		f.Write(binary.BigEndian.AppendUint16(nil, uint16(n)))
	default:
		f.WriteByte(127)
		f.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	}
	f.Write(text)
	return f.Bytes()
}
