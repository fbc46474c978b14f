package streams

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// judged is a gate that lets no message through that says "evil", and answers it; one that says "mute"
// is dropped without an answer.
func judged(t testing.TB, limit int) (*gate, *wsClient, net.Conn) {
	t.Helper()
	conns := make(chan net.Conn, 1)
	g := newGate(t, Config{}, wsUpstream("", conns), false, func(s *Stream, r *http.Request) {
		s.Inspect(limit, func(msg []byte) ([]byte, bool) {
			switch {
			case bytes.Contains(msg, []byte("evil")):
				return []byte("refused"), false
			case bytes.Contains(msg, []byte("mute")):
				return nil, false
			}
			return nil, true
		}, larger)
	})
	client := dialWS(t, g, "s", "")
	up := receive(t, "upstream", conns)
	t.Cleanup(func() { up.Close() })
	return g, client, up
}

// summary answers a message that is too large with what there was of it.
type summary struct {
	n           int
	first, last byte
}

func larger() Oversize { return &summary{} }

func (s *summary) Write(b []byte) (int, error) {
	for _, c := range b {
		if s.n++; s.n == 1 {
			s.first = c
		}
		s.last = c
	}
	return len(b), nil
}

func (s *summary) Reply() []byte { return fmt.Appendf(nil, "%c%c %d", s.first, s.last, s.n) }

func concat(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

func TestInspectedMessages(t *testing.T) {
	mask2 := []byte{0xff, 0, 0x80, 7}
	good := concat(frame(0x01, []byte("go"), mask), frame(0x00, nil, mask2), frame(0x80, []byte("od"), mask2))
	refused := frame(0x81, []byte("refused"), nil)
	for _, size := range []int{1, 3, 100_000} {
		_, client, up := judged(t, 100_000)
		send := func(b []byte) {
			go func() {
				for len(b) > 0 {
					n := min(size, len(b))
					client.Write(b[:n])
					b = b[n:]
				}
			}()
		}
		// What is let through arrives as it was sent, in the same fragments.
		send(good)
		expect(t, up, good)
		// What is not, in one frame, fragments, or binary, does not; what follows does.
		send(concat(
			frame(0x81, []byte("evil"), mask), frame(0x01, []byte("ev"), mask), frame(0x80, []byte("il"), mask2),
			frame(0x82, []byte("evil"), mask), frame(0x81, []byte("mute"), mask), frame(0x81, nil, mask), good))
		expect(t, client, concat(refused, refused, refused))
		expect(t, up, concat(frame(0x81, nil, mask), good))
		// Control frames between fragments pass at once, regardless of what becomes of the message.
		ping := frame(0x89, []byte("ping"), mask)
		send(concat(frame(0x01, []byte("ev"), mask), ping, frame(0x80, []byte("il"), mask), frame(0x01, []byte("o"), mask2), ping, frame(0x80, []byte("k"), mask)))
		expect(t, up, concat(ping, ping, frame(0x01, []byte("o"), mask2), frame(0x80, []byte("k"), mask)))
		expect(t, client, refused)
		if size > 1 {
			for _, n := range []int{125, 126, 65535, 65536, 99_999} {
				long := frame(0x81, bytes.Repeat([]byte("x"), n), mask2)
				send(long)
				expect(t, up, long)
			}
		}
		bye := frame(0x88, []byte{3, 0xe8}, mask)
		send(bye)
		expect(t, up, bye)
	}
}

// An answer of ours never goes into the middle of a message of the upstream's, and an upstream
// that is silent does not hold it back.
func TestAnswersStandBetweenMessages(t *testing.T) {
	_, client, up := judged(t, 1000)
	evil, refused := frame(0x81, []byte("evil"), mask), frame(0x81, []byte("refused"), nil)
	client.Write(evil)
	expect(t, client, refused)
	part := frame(0x01, []byte("part"), nil)
	up.Write(part[:3])
	expect(t, client, part[:3])
	client.Write(concat(evil, frame(0x81, []byte("good"), mask)))
	expect(t, up, frame(0x81, []byte("good"), mask)) // the evil one was judged before this came through
	ping, rest, next := frame(0x89, nil, nil), frame(0x80, []byte("rest"), nil), frame(0x81, []byte("next"), nil)
	up.Write(concat(part[3:], ping, rest, next))
	expect(t, client, concat(part[3:], ping, rest, refused, next))
}

func TestMessagesThatEndTheStream(t *testing.T) {
	huge := frame(0x81, nil, mask)
	huge = append([]byte{0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0}, huge[2:]...)
	for name, tc := range map[string]struct {
		frames []byte
		why    Reason
	}{
		"not masked":                        {frame(0x81, []byte("evil"), nil), Malformed},
		"a reserved bit":                    {frame(0xc1, []byte("evil"), mask), Malformed},
		"an opcode that does not exist":     {frame(0x83, []byte("evil"), mask), Malformed},
		"a control opcode that does not":    {frame(0x8b, nil, mask), Malformed},
		"a continuation of nothing":         {frame(0x80, []byte("evil"), mask), Malformed},
		"a message in a message":            {concat(frame(0x01, []byte("a"), mask), frame(0x81, []byte("evil"), mask)), Malformed},
		"a ping in fragments":               {frame(0x09, nil, mask), Malformed},
		"a long ping":                       {frame(0x89, make([]byte, 126), mask), Malformed},
		"a length in two bytes for no need": {append([]byte{0x81, 0x80 | 126, 0, 1}, append(mask, 'x')...), Malformed},
		"a length in eight bytes for none":  {append([]byte{0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 1, 0}, mask...), Malformed},
		"a length beyond the numbers":       {huge, Malformed},
		"a far too long message":            {frame(0x81, make([]byte, 17_000), mask)[:8], TooLarge},
		"and in fragments":                  {concat(frame(0x01, make([]byte, 15_000), mask), frame(0x00, make([]byte, 1500), mask)), TooLarge},
		"and empty ones":                    {append(frame(0x01, make([]byte, 1001), mask), bytes.Repeat(frame(0x00, nil, mask), 2600)...), TooLarge},
		"a message in empty fragments":      {append(frame(0x01, nil, mask), bytes.Repeat(frame(0x00, nil, mask), 1000)...), TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			_, client, up := judged(t, 1000)
			client.Write(tc.frames)
			expect(t, client, tc.why.closeFrame())
			client.Write(frame(0x88, nil, mask))
			ends(t, client)
			if b, _ := io.ReadAll(up); len(b) > 0 {
				t.Errorf("the upstream got % x", b)
			}
		})
	}
}

// TestMessagesThatAreTooLarge: each gets its answer, nothing of it goes on or is held, and what comes before,
// in between and after does.
func TestMessagesThatAreTooLarge(t *testing.T) {
	mask2 := []byte{0xff, 0, 0x80, 7}
	text := append(append([]byte("a"), bytes.Repeat([]byte("x"), 2998)...), 'z')
	ping, good := frame(0x89, []byte("ping"), mask), frame(0x81, []byte("good"), mask)
	for name, long := range map[string][]byte{
		"one frame":                   frame(0x81, text, mask),
		"fragments":                   concat(frame(0x01, text[:700], mask), frame(0x00, text[700:1500], mask2), frame(0x00, nil, mask), frame(0x80, text[1500:], mask)),
		"a fragment that is too long": concat(frame(0x01, text[:2000], mask), frame(0x80, text[2000:], mask2)),
		"an empty end":                concat(frame(0x01, text[:1001], mask), frame(0x00, text[1001:], mask2), frame(0x80, nil, mask2)),
		"binary":                      frame(0x82, text, mask2),
	} {
		for _, size := range []int{1, 7, 100_000} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				g, client, up := judged(t, 1000)
				g.reg.cfg.Inspected = NewBudget(2000, 2000)
				sent := concat(good, long, ping, good)
				go func() {
					for len(sent) > 0 {
						n := min(size, len(sent))
						client.Write(sent[:n])
						sent = sent[n:]
					}
				}()
				expect(t, client, frame(0x81, []byte("az 3000"), nil))
				expect(t, up, concat(good, ping, good))
				if n := g.reg.cfg.Inspected.Used(); n != 0 {
					t.Errorf("%d bytes are held", n)
				}
			})
		}
	}
}

// TestNothingIsHeldOfAMessageThatIsTooLarge, while the rest of it is still to come.
func TestNothingIsHeldOfAMessageThatIsTooLarge(t *testing.T) {
	g, client, up := judged(t, 1000)
	g.reg.cfg.Inspected = NewBudget(5000, 5000)
	ping := frame(0x89, []byte("ping"), mask)
	client.Write(concat(frame(0x01, make([]byte, 900), mask), ping))
	expect(t, up, ping)
	if g.reg.cfg.Inspected.Used() < 900 {
		t.Fatal("nothing is held of a message that fits so far")
	}
	client.Write(concat(frame(0x00, make([]byte, 900), mask), ping))
	expect(t, up, ping)
	if n := g.reg.cfg.Inspected.Used(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestManyMessagesThatAreTooLarge: a client that sends nothing else is sent away.
func TestManyMessagesThatAreTooLarge(t *testing.T) {
	long, answer, good := frame(0x81, make([]byte, 1001), mask), frame(0x81, []byte("\x00\x00 1001"), nil), frame(0x81, []byte("good"), mask)
	_, client, up := judged(t, 1000)
	for range 2 {
		client.Write(bytes.Repeat(long, 16))
		expect(t, client, bytes.Repeat(answer, 16))
		client.Write(good)
		expect(t, up, good)
	}
	client.Write(bytes.Repeat(long, 17))
	expect(t, client, append(bytes.Repeat(answer, 16), TooLarge.closeFrame()...))
}

// A client that sends messages that are refused and reads no answers does not fill the memory.
func TestAnswersThatAreNotReadAreBounded(t *testing.T) {
	_, client, up := judged(t, 1000)
	part := frame(0x01, []byte("part"), nil)
	up.Write(part) // a message that does not end: no answer can go out
	expect(t, client, part)
	evil := frame(0x81, []byte("evil"), mask)
	go func() {
		for range 2 * maxQueue / len("refused") {
			if _, err := client.Write(evil); err != nil {
				return
			}
		}
		client.Write(frame(0x88, nil, mask))
	}()
	expect(t, client, TooLarge.closeFrame())
}

// Compression would hide the messages: an upstream that turns it on, though it was not
// offered, gets no connection.
func TestInspectionRefusesWhatItCannotRead(t *testing.T) {
	for name, upstream := range map[string]http.Handler{
		"websocket": wsUpstream("Sec-WebSocket-Extensions: permessage-deflate\r\n", make(chan net.Conn, 1)),
		"h2c": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			io.WriteString(conn, strings.Replace(switching, "websocket", "h2c", 1)+"\r\n")
			conn.Close()
		}),
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, Config{}, upstream, false, func(s *Stream, r *http.Request) {
				s.Inspect(1000, func([]byte) ([]byte, bool) { return nil, true }, larger)
			})
			conn, err := net.Dial("tcp", g.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: "+name+"\r\n\r\n")
			b, _ := io.ReadAll(conn)
			if bytes.Contains(b, []byte(" 101 ")) {
				t.Errorf("upgraded: %q", b)
			}
		})
	}
}
