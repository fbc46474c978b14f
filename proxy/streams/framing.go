package streams

import (
	"encoding/binary"
	"net/http"
)

// eventFraming follows a text/event-stream body: units end with an empty line. Lines
// end with LF, CR or CRLF (HTML Living Standard, section 9.2.5).
type eventFraming struct {
	tail [3]byte // the last bytes
	n    int     // how many of them there are
}

func (f *eventFraming) next(b []byte) int {
	for i, c := range b {
		f.push(c)
		// CR ends a line already, even if the LF that belongs to it is still to come.
		if f.boundary() {
			return i + 1
		}
	}
	return len(b)
}

func (f *eventFraming) pass(b []byte) {
	for _, c := range b[max(0, len(b)-len(f.tail)):] {
		f.push(c)
	}
}

func (f *eventFraming) push(c byte) {
	if f.n < len(f.tail) {
		f.tail[f.n] = c
		f.n++
		return
	}
	f.tail[0], f.tail[1], f.tail[2] = f.tail[1], f.tail[2], c
}

func (f *eventFraming) boundary() bool {
	if f.n == 0 {
		return true
	}
	t := f.tail[:f.n]
	last := t[len(t)-1]
	if last != '\n' && last != '\r' {
		return false
	}
	t = t[:len(t)-1]
	if last == '\n' && len(t) > 0 && t[len(t)-1] == '\r' {
		t = t[:len(t)-1]
	}
	if len(t) == 0 {
		return true // an empty first line
	}
	return t[len(t)-1] == '\n' || t[len(t)-1] == '\r'
}

func (f *eventFraming) end(r Reason) ([]byte, http.Header) { return r.event(), nil }

// grpcFraming follows a gRPC body: messages with five bytes before each, a flag and a
// length.
type grpcFraming struct {
	web  bool // trailers go into the body, as a message with the flag 0x80
	head [5]byte
	have int
	left uint32
}

func (f *grpcFraming) next(b []byte) int {
	n := 0
	for f.have < len(f.head) {
		if n == len(b) {
			return n
		}
		f.head[f.have] = b[n]
		f.have++
		n++
		if f.have == len(f.head) {
			f.left = binary.BigEndian.Uint32(f.head[1:])
		}
	}
	take := min(uint64(f.left), uint64(len(b)-n))
	f.left -= uint32(take)
	if f.left == 0 {
		f.have = 0
	}
	return n + int(take)
}

func (f *grpcFraming) pass(b []byte) {
	for len(b) > 0 {
		b = b[f.next(b):]
	}
}

func (f *grpcFraming) boundary() bool { return f.have == 0 }

func (f *grpcFraming) end(r Reason) ([]byte, http.Header) {
	status, message := r.grpc()
	if !f.web {
		return nil, http.Header{"Grpc-Status": {status}, "Grpc-Message": {message}}
	}
	text := "grpc-status: " + status + "\r\ngrpc-message: " + message + "\r\n"
	return append(binary.BigEndian.AppendUint32([]byte{0x80}, uint32(len(text))), text...), nil
}
