package streams

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// speaker is an upstream that says what it is told to, until its request ends.
type speaker struct {
	header http.Header
	say    chan string
	ended  chan struct{}
}

func newSpeaker(header ...string) *speaker {
	s := &speaker{header: http.Header{}, say: make(chan string), ended: make(chan struct{})}
	for i := 0; i < len(header); i += 2 {
		s.header.Set(header[i], header[i+1])
	}
	return s
}

func (s *speaker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer close(s.ended)
	for k, v := range s.header {
		w.Header()[k] = v
	}
	rc := http.NewResponseController(w)
	rc.EnableFullDuplex()
	rc.Flush()
	for {
		select {
		case text, ok := <-s.say:
			if !ok {
				return
			}
			io.WriteString(w, text)
			rc.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func get(t testing.TB, g *gate, method string, body io.Reader) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, g.url+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Session", "s")
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// The session of an open event stream is revoked: a last event, and a clean end.
func TestAttackRevokedSessionKeepsEventStream(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		up := newSpeaker("Content-Type", "text/event-stream; charset=utf-8")
		g := newGate(t, Config{}, up, h2)
		res := get(t, g, "GET", nil)
		up.say <- "data: one\n\n"
		expect(t, res.Body, []byte("data: one\n\n"))
		if g.reg.Count(EventStream) != 1 {
			t.Error("not counted as an event stream")
		}
		g.reg.Cut("s", Revoked)
		rest, err := io.ReadAll(res.Body)
		if want := "event: sallyport\ndata: {\"error\":\"session_ended\",\"reason\":\"revoked\"}\n\n"; string(rest) != want || err != nil {
			t.Errorf("h2 %v: %q, %v", h2, rest, err)
		}
		receive(t, "end of the upstream's request", up.ended)
		if o := receive(t, "observation", g.seen); o.kind != EventStream || o.took > 100*time.Millisecond {
			t.Errorf("observed %+v", o)
		}
	}
}

// An event that is under way is completed first; one that is not completed in time is never
// completed by us.
func TestEventsAreNotMixed(t *testing.T) {
	up := newSpeaker("Content-Type", "text/event-stream")
	g := newGate(t, Config{Grace: 5 * time.Second}, up, false)
	res := get(t, g, "GET", nil)
	up.say <- "data: one\ndata"
	expect(t, res.Body, []byte("data: one\ndata"))
	g.reg.Cut("s", Stale)
	up.say <- ": two\r\n\r\ndata: after\n\n"
	rest, err := io.ReadAll(res.Body)
	if text := strings.Replace(string(rest), "\n\nevent", "\r\nevent", 1); err != nil || !strings.HasPrefix(string(rest), ": two\r\n\r") ||
		!strings.HasSuffix(string(rest), string(Stale.event())) || strings.Contains(text, "after") {
		t.Errorf("%q, %v", rest, err)
	}

	up = newSpeaker("Content-Type", "text/event-stream")
	g = newGate(t, Config{Grace: 20 * time.Millisecond}, up, false)
	res = get(t, g, "GET", nil)
	up.say <- "data: half"
	expect(t, res.Body, []byte("data: half"))
	g.reg.Cut("s", Stale)
	if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
		t.Errorf("half an event is followed by %q, %v", rest, err)
	}
}

// The session of an open gRPC stream is revoked: trailers with a status, between two messages.
func TestAttackRevokedSessionKeepsGRPC(t *testing.T) {
	message := func(text string) string { return "\x00\x00\x00\x00" + string(rune(len(text))) + text }
	for _, tc := range []struct {
		why    Reason
		status string
	}{{Revoked, "16"}, {Expired, "16"}, {Blocked, "7"}, {Shutdown, "14"}} {
		for _, announced := range []string{"", "Grpc-Status, Grpc-Message", "X-One, X-Two", "X-One"} {
			up := newSpeaker("Content-Type", "application/grpc+proto")
			if announced != "" {
				up.header.Set("Trailer", announced)
			}
			g := newGate(t, Config{Grace: 5 * time.Second}, up, true)
			sending, send := io.Pipe() // a client that is still sending
			res := get(t, g, "POST", sending)
			up.say <- message("one") + message("two")[:6]
			expect(t, res.Body, []byte(message("one")+message("two")[:6]))
			g.reg.Cut("s", tc.why)
			up.say <- message("two")[6:] + message("three")
			rest, err := io.ReadAll(res.Body)
			if string(rest) != message("two")[6:] || err != nil {
				t.Errorf("%s, %q: %q, %v", tc.why, announced, rest, err)
			}
			if res.Trailer.Get("Grpc-Status") != tc.status || res.Trailer.Get("Grpc-Message") == "" {
				t.Errorf("%s, %q: trailers %v", tc.why, announced, res.Trailer)
			}
			send.Close()
			receive(t, "end of the upstream's request", up.ended)
		}
	}
}

func TestGRPCWebEndsInItsBody(t *testing.T) {
	up := newSpeaker("Content-Type", "application/grpc-web+proto")
	g := newGate(t, Config{}, up, false)
	res := get(t, g, "POST", nil)
	up.say <- "\x00\x00\x00\x00\x01x"
	expect(t, res.Body, []byte("\x00\x00\x00\x00\x01x"))
	g.reg.Cut("s", Blocked)
	rest, err := io.ReadAll(res.Body)
	text := "grpc-status: 7\r\ngrpc-message: access is blocked\r\n"
	if want := "\x80\x00\x00\x00" + string(rune(len(text))) + text; string(rest) != want || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

// Half a download must not look like a whole one, nor get words of ours.
func TestDownloadsAreBrokenOff(t *testing.T) {
	for name, header := range map[string][]string{
		"unknown length":           {"Content-Type", "application/octet-stream"},
		"known length":             {"Content-Type", "application/octet-stream", "Content-Length", "5000000"},
		"compressed events":        {"Content-Type", "text/event-stream", "Content-Encoding", "gzip"},
		"events of a known length": {"Content-Type", "text/event-stream", "Content-Length", "5000000"},
		"no type":                  {"Content-Type", ""},
		"gRPC-Web in base64":       {"Content-Type", "application/grpc-web-text"},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprint(name, h2), func(t *testing.T) {
				up := newSpeaker(header...)
				g := newGate(t, Config{}, up, h2)
				res := get(t, g, "GET", nil)
				up.say <- "some"
				expect(t, res.Body, []byte("some"))
				g.reg.Cut("s", Revoked)
				if rest, err := io.ReadAll(res.Body); err == nil || len(rest) > 0 {
					t.Errorf("%q, %v", rest, err)
				}
				receive(t, "end of the upstream's request", up.ended)
				receive(t, "observation", g.seen)
			})
		}
	}
}

// Streams that no one cuts pass unchanged, with their trailers.
func TestBodiesPassUnchanged(t *testing.T) {
	var events, messages strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&events, "id: %d\r\ndata: %s\r\rdata\n\n:\n", i, strings.Repeat("x", i%100))
		fmt.Fprintf(&messages, "\x00\x00\x00%c%c%s", 0, i%100, strings.Repeat("x", i%100))
	}
	for media, text := range map[string]string{"text/event-stream": events.String(), "application/grpc": messages.String(), "video/mp4": events.String()} {
		g := newGate(t, Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			io.WriteString(w, text)
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		}), true)
		res := get(t, g, "GET", nil)
		if got, err := io.ReadAll(res.Body); string(got) != text || err != nil {
			t.Errorf("%s: %d bytes, want %d; %v", media, len(got), len(text), err)
		}
		if res.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("%s: trailers %v", media, res.Trailer)
		}
	}
}

// A request whose upstream has not answered: the client gets the gate's answer.
func TestCutBeforeTheAnswer(t *testing.T) {
	waiting := make(chan struct{})
	g := newGate(t, Config{}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(waiting)
		<-r.Context().Done()
	}), false)
	go func() {
		<-waiting
		g.reg.Cut("s", Blocked)
	}()
	res := get(t, g, "GET", nil)
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusUnauthorized || string(body) != "blocked\n" {
		t.Errorf("%s %q", res.Status, body)
	}
	receive(t, "refusal", g.refused)
}

// The connection of an event stream that was ended in good order serves the next request.
func TestConnectionOutlivesTheStream(t *testing.T) {
	up := newSpeaker("Content-Type", "text/event-stream")
	g := newGate(t, Config{Grace: time.Millisecond}, up, false)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	req, _ := http.NewRequest("GET", g.url, nil)
	req.Header.Set("X-Session", "s")
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	g.reg.Cut("s", Shutdown)
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	time.AfterFunc(20*time.Millisecond, func() { close(up.say) }) // later than the write deadline of the first
	up.ended = make(chan struct{})
	if res, err = c.Do(req); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Error(err)
	}
	res.Body.Close()
}

// A client that does not read is broken off.
func TestReaderThatDoesNotRead(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		wrote := make(chan struct{}, 1000)
		g := newGate(t, Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte("data: x\n\n"), 10_000)); err != nil {
					return
				}
				wrote <- struct{}{}
			}
		}), h2)
		res := get(t, g, "GET", nil)
		for stuck := false; !stuck; { // until every buffer on the way is full
			select {
			case <-wrote:
			case <-time.After(200 * time.Millisecond):
				stuck = true
			}
		}
		g.reg.Cut("s", Revoked)
		o := receive(t, "observation", g.seen)
		if o.took > time.Second {
			t.Errorf("h2 %v: closed after %s", h2, o.took)
		}
		res.Body.Close()
	}
}

func TestEventBoundaries(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "\n": true, "\r": true, "\r\n": true, "data: x": false, "data: x\n": false, "data: x\r\n": false, "data: x\r": false,
		"data: x\n\n": true, "data: x\r\r": true, "data: x\r\n\r\n": true, "data: x\r\n\r": true, "data: x\n\r\n": true, "data: x\n\r": true, "data: x\r\n\n": true,
		"data: x\n\ny": false, "\n\n\n": true, ":\n": false,
	} {
		whole, parts := &eventFraming{}, &eventFraming{}
		whole.pass([]byte(text))
		for i := range text {
			parts.pass([]byte(text[i : i+1]))
		}
		if whole.boundary() != want || parts.boundary() != want {
			t.Errorf("%q: %v and %v, want %v", text, whole.boundary(), parts.boundary(), want)
		}
	}
}

func TestAttachLeavesStrangersAlone(t *testing.T) {
	body := io.NopCloser(strings.NewReader(""))
	res := &http.Response{StatusCode: 200, Body: body, ContentLength: -1, Header: http.Header{"Content-Type": {"text/event-stream"}}}
	if err := Attach(res); err != nil || res.Body != body {
		t.Errorf("an answer to no request: %v", err)
	}
	res.Request, _ = http.NewRequestWithContext(t.Context(), "GET", "/", nil)
	if err := Attach(res); err != nil || res.Body != body {
		t.Errorf("an answer to a request of no stream: %v", err)
	}
	r := newRegistry(Config{})
	s := r.Open(t.Context(), r.Epoch(), Info{Session: "s"})
	defer s.Close()
	r.Cut("s", Revoked)
	res.Request = res.Request.WithContext(s.Context())
	var c *Cut
	if err := Attach(res); !errors.As(err, &c) || c.Reason != Revoked {
		t.Errorf("an answer that comes after the order: %v", err)
	}
}
