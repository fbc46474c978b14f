package streams

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// script is a net.Conn that reads what it was given and remembers what is written.
type script struct {
	in, out bytes.Buffer
	step    int
}

func (s *script) Read(p []byte) (int, error)       { return s.in.Read(p[:min(len(p), s.step)]) }
func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// frameEnds is another, plainer reader of frames: where they end, until one cannot be read.
// lost is where a length makes no sense.
func frameEnds(b []byte) (ends []int, msgEnds map[int]bool, lost int) {
	at, inMessage := 0, false
	msgEnds = map[int]bool{0: true}
	ends = []int{0}
	for {
		rest := b[at:]
		if len(rest) < 2 {
			return ends, msgEnds, -1
		}
		n, size := uint64(rest[1]&127), 2
		switch n {
		case 126:
			if len(rest) < 4 {
				return ends, msgEnds, -1
			}
			n, size = uint64(binary.BigEndian.Uint16(rest[2:4])), 4
		case 127:
			if len(rest) < 10 {
				return ends, msgEnds, -1
			}
			n, size = binary.BigEndian.Uint64(rest[2:10]), 10
		}
		if rest[1] >= 128 {
			size += 4
		}
		if len(rest) < size {
			return ends, msgEnds, -1
		}
		if n >= 1<<63 {
			return ends, msgEnds, at
		}
		if uint64(len(rest)-size) < n {
			return ends, msgEnds, -1
		}
		if op := rest[0] & 15; op < 8 {
			inMessage = rest[0] < 128
		}
		at += size + int(n)
		ends = append(ends, at)
		msgEnds[at] = !inMessage
	}
}

// Regardless of what the upstream sends, in which pieces, and whenever the order comes: the client gets what
// was sent up to the end of a frame, then a close frame, and nothing else.
func FuzzFrames(f *testing.F) {
	f.Add(concat(frame(1, []byte("frag"), nil), frame(0x89, nil, nil), frame(0x80, bytes.Repeat([]byte("x"), 300), nil)), uint16(3), uint16(7))
	f.Add(concat(frame(0x82, make([]byte, 70_000), nil), frame(0x88, []byte{3, 0xe8}, nil)), uint16(1000), uint16(70_000>>1))
	f.Add([]byte{0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3}, uint16(1), uint16(5))
	f.Add([]byte{0x81, 0xfe, 0, 1, 9, 9, 9, 9, 7, 0xc1, 0}, uint16(1), uint16(9))
	head := []byte(switching + "\r\n")
	f.Fuzz(func(t *testing.T, sent []byte, step, cutAt uint16) {
		for _, ordered := range []bool{false, true} {
			r := newRegistry(Config{Grace: time.Hour, Linger: time.Nanosecond})
			s := r.Open(t.Context(), r.Epoch(), Info{Session: "s", Kind: WebSocket})
			raw := &script{step: 1}
			c := newConn(s, raw, nil)
			c.Write(head)
			order := &Cut{Reason: Revoked}
			given := -1
			var failed error
			for n := 0; n < len(sent) && failed == nil; {
				if ordered && given < 0 && n >= int(cutAt)%(len(sent)+1) {
					given = n
					s.order.Store(order)
					c.cut(order)
				}
				part := sent[n:min(len(sent), n+int(step)%2000+1)]
				m, err := c.Write(part)
				if n, failed = n+m, err; err == nil && m != len(part) {
					t.Fatal("a short write without an error")
				}
			}
			s.Close()
			got, ok := bytes.CutPrefix(raw.out.Bytes(), head)
			if !ok {
				t.Fatal("the head was changed")
			}
			if given < 0 {
				if failed != nil || !bytes.Equal(got, sent) {
					t.Fatalf("sent % x, got % x, %v", sent, got, failed)
				}
				continue
			}
			ends, _, lost := frameEnds(sent)
			at := -1
			for _, e := range ends {
				if e >= given {
					at = e
					break
				}
			}
			if at < 0 || lost >= 0 && at > lost {
				// No end of a frame after the order: all was passed on, nothing was added.
				if !bytes.Equal(got, sent) {
					t.Fatalf("sent % x, got % x", sent, got)
				}
				continue
			}
			want := append(bytes.Clone(sent[:at]), order.Reason.closeFrame()...)
			for _, e := range ends {
				if e > 0 && e <= at && closes(sent, ends, e) { // said already
					want = sent[:at]
				}
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("order after %d of % x, ends %d: got % x", given, sent, ends, got)
			}
		}
	})
}

// closes reports whether the frame that ends at e is a close frame.
func closes(b []byte, ends []int, e int) bool {
	for i, end := range ends {
		if end == e && i > 0 {
			return b[ends[i-1]]&15 == 8
		}
	}
	return false
}

// Answers of ours go out, whole, at ends of messages only; without them the rest is what was sent.
func FuzzAnswers(f *testing.F) {
	f.Add(concat(frame(1, []byte("frag"), nil), frame(0x89, nil, nil), frame(0x80, []byte("ment"), nil), frame(0x81, nil, nil)), uint16(3), uint16(2))
	ours := textFrame([]byte("\x01\x02 an answer that nobody else sends"))
	f.Fuzz(func(t *testing.T, sent []byte, step, at uint16) {
		r := newRegistry(Config{})
		s := r.Open(t.Context(), r.Epoch(), Info{Session: "s", Kind: WebSocket})
		defer s.Close()
		raw := &script{step: 1}
		c := newConn(s, raw, nil)
		c.out.head = headDone
		answered := false
		for n := 0; n < len(sent); {
			if !answered && n >= int(at)%(len(sent)+1) {
				answered = true
				c.send(ours)
			}
			part := sent[n:min(len(sent), n+int(step)%2000+1)]
			m, err := c.Write(part)
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		got := raw.out.Bytes()
		i := bytes.Index(got, ours)
		if i < 0 || bytes.Contains(sent, ours) {
			if i < 0 && !bytes.Equal(got, sent) {
				t.Fatalf("sent % x, got % x", sent, got)
			}
			return
		}
		if rest := append(bytes.Clone(got[:i]), got[i+len(ours):]...); !bytes.Equal(rest, sent) {
			t.Fatalf("sent % x, got % x", sent, got)
		}
		if _, msgEnds, _ := frameEnds(sent); !msgEnds[i] {
			t.Fatalf("an answer at %d of % x", i, sent)
		}
	})
}

// What reaches the upstream of an inspected connection is whole messages that were judged.
func FuzzInspect(f *testing.F) {
	f.Add(concat(frame(1, []byte("go"), mask), frame(0x89, []byte("p"), mask), frame(0x80, []byte("od"), mask), frame(0x81, []byte("evil"), mask), frame(0x81, []byte("x"), mask)), uint16(3))
	f.Add(frame(0x81, bytes.Repeat([]byte("e"), 200), mask), uint16(50))
	f.Add(concat(frame(0x01, make([]byte, 900), mask), frame(0x00, make([]byte, 900), mask), frame(0x80, nil, mask), frame(0x81, []byte("x"), mask)), uint16(400))
	f.Fuzz(func(t *testing.T, said []byte, step uint16) {
		r := newRegistry(Config{Grace: time.Hour})
		s := r.Open(t.Context(), r.Epoch(), Info{Session: "s", Kind: WebSocket})
		defer s.Close()
		passed := 0
		s.Inspect(1000, func(msg []byte) ([]byte, bool) {
			if bytes.Contains(msg, []byte("e")) {
				return []byte("no"), false
			}
			passed++
			return nil, true
		}, larger)
		raw := &script{step: int(step)%500 + 1}
		raw.in.Write(said)
		c := newConn(s, raw, nil)
		c.out.head = headDone
		var got bytes.Buffer
		buf := make([]byte, 333)
		for {
			n, err := c.Read(buf)
			got.Write(buf[:n])
			if err != nil {
				break
			}
		}
		ends, _, _ := frameEnds(got.Bytes())
		if ends[len(ends)-1] != got.Len() {
			t.Fatalf("half a frame went on: % x of % x", got.Bytes(), said)
		}
		messages, text := 0, []byte(nil)
		for i := 1; i < len(ends); i++ {
			raw := bytes.Clone(got.Bytes()[ends[i-1]:ends[i]])
			if !bytes.Contains(said, raw) {
				t.Fatal("a frame was changed")
			}
			if raw[0]&15 >= 8 {
				continue
			}
			h := headerLen(raw)
			xor(raw[h:], raw[h-4:h], 0)
			text = append(text, raw[h:]...)
			if raw[0]&0x80 != 0 {
				if bytes.Contains(text, []byte("e")) {
					t.Fatalf("%q went on", text)
				}
				messages, text = messages+1, nil
			}
		}
		// Of messages that were let through, those before a malformed frame in the same read
		// may be dropped with it.
		if messages > passed || text != nil {
			t.Fatalf("%d messages and %q went on, %d were let through", messages, text, passed)
		}
	})
}

// A body that is cut ends where one of its units ends, and never has words of ours elsewhere.
func FuzzBody(f *testing.F) {
	f.Add([]byte("data: a\n\ndata: b\r\n\r\n:\r\rdata"), uint16(3), uint16(5))
	f.Add([]byte("\x00\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x01\x00\x00\x01\x00x"), uint16(2), uint16(6))
	f.Fuzz(func(t *testing.T, sent []byte, step, cutAt uint16) {
		for _, fresh := range []func() framing{
			func() framing { return &eventFraming{} }, func() framing { return &grpcFraming{} }, func() framing { return &grpcFraming{web: true} },
		} {
			r := newRegistry(Config{Grace: time.Hour})
			s := r.Open(t.Context(), r.Epoch(), Info{Session: "s"})
			src := &stepReader{b: sent, step: int(step)%100 + 1}
			at := int(cutAt) % (len(sent) + 1)
			b := &body{s: s, src: src, res: &http.Response{}, framing: fresh()}
			var got bytes.Buffer
			buf := [64]byte{}
			given := -1
			for {
				if given < 0 && src.at >= at {
					given = got.Len()
					order := &Cut{Reason: Blocked}
					s.order.Store(order)
					b.cut(order)
				}
				n, err := b.Read(buf[:])
				got.Write(buf[:n])
				if err != nil {
					if !errors.Is(err, io.EOF) {
						t.Fatal(err)
					}
					break
				}
			}
			s.Close()
			if given < 0 { // the order came too late
				if !bytes.Equal(got.Bytes(), sent) {
					t.Fatalf("sent %q, got %q", sent, got.Bytes())
				}
				continue
			}
			words, _ := fresh().end(Blocked)
			said := got.Bytes()
			if len(words) > 0 {
				said = bytes.TrimSuffix(said, words)
			}
			if !bytes.HasPrefix(sent, said) || len(said) < given {
				t.Fatalf("sent %q, order after %d, got %q", sent, given, got.Bytes())
			}
			check := fresh()
			check.pass(said)
			if len(said) < len(sent) && !check.boundary() {
				t.Fatalf("%q was cut after %q", sent, said)
			}
			if len(words) > 0 && len(said) < got.Len() && !check.boundary() {
				t.Fatalf("words of ours after %q", said)
			}
			if _, ok := check.(*eventFraming); ok && len(said) > 0 && check.boundary() {
				text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(said))
				if !strings.HasSuffix(text, "\n\n") && strings.Trim(text, "\n") != "" {
					t.Fatalf("%q does not end with an empty line", said)
				}
			}
		}
	})
}

type stepReader struct {
	b        []byte
	at, step int
}

func (r *stepReader) Read(p []byte) (int, error) {
	if r.at == len(r.b) {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.step)], r.b[r.at:])
	r.at += n
	return n, nil
}

func (r *stepReader) Close() error { return nil }
