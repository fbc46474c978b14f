package edge_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sallyport/proxy/edge"
)

const http2InitialWindow = http2.SettingInitialWindowSize

// framer speaks HTTP/2 frame by frame, which no client library would.
type framer struct {
	*http2.Framer
	g    *harness
	conn net.Conn
	mu   sync.Mutex
	buf  bytes.Buffer
	enc  *hpack.Encoder
}

// framer opens a connection and has exchanged the preface.
func (g *harness) framer() *framer {
	g.t.Helper()
	c := g.dial("h2")
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		g.t.Fatal(err)
	}
	f := &framer{Framer: http2.NewFramer(c, c), g: g, conn: c}
	f.enc = hpack.NewEncoder(&f.buf)
	f.WriteSettings()
	return f
}

func (f *framer) settings(id http2.SettingID, v uint32) {
	f.WriteSettings(http2.Setting{ID: id, Val: v})
}

func (f *framer) block(fields ...string) []byte {
	f.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		f.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(f.buf.Bytes())
}

func (f *framer) get(id uint32, more ...string) error {
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndStream: true, EndHeaders: true,
		BlockFragment: f.block(append([]string{":method", "GET", ":scheme", "https", ":authority", "app.example", ":path", "/"}, more...)...)})
}

// locked is for writes beside until, which writes too.
func (f *framer) locked(write func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return write()
}

// until reads frames until done says so. It answers pings and settings.
func (f *framer) until(done func(http2.Frame) bool) error {
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			return err
		}
		if s, ok := fr.(*http2.SettingsFrame); ok && !s.IsAck() {
			f.locked(f.WriteSettingsAck)
		}
		if done(fr) {
			return nil
		}
	}
}

func (f *framer) wantReset(id uint32) {
	f.g.t.Helper()
	err := f.until(func(fr http2.Frame) bool {
		r, ok := fr.(*http2.RSTStreamFrame)
		return ok && r.StreamID == id
	})
	if err != nil {
		f.g.t.Errorf("stream %d was not reset: %v", id, err)
	}
}

// wantEnd expects the server to give the connection up, and returns its reason.
func (f *framer) wantEnd() http2.ErrCode {
	f.g.t.Helper()
	code := http2.ErrCodeNo
	err := f.until(func(fr http2.Frame) bool {
		if g, ok := fr.(*http2.GoAwayFrame); ok {
			code = g.ErrCode
		}
		return false
	})
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		f.g.t.Error("the connection is still open")
	}
	return code
}

// serves checks that another client is not affected.
func (g *harness) serves() {
	g.t.Helper()
	begun := time.Now()
	res, err := g.client("h2").Get("https://app.example/")
	if err != nil {
		g.t.Fatal(err)
	}
	res.Body.Close()
	if d := time.Since(begun); res.StatusCode != http.StatusOK || d > 30*time.Second {
		g.t.Errorf("another client got %d after %s", res.StatusCode, d)
	}
}

// Rapid reset. Streams that are opened and reset at once must not start more
// handlers than the limit, and the connection must end.
func TestAttackRapidReset(t *testing.T) {
	release := make(chan struct{})
	var mu sync.Mutex
	running, most := 0, 0
	g := newTLSHarness(t, edge.Config{Limits: edge.Limits{StreamsPerConnection: 10}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && r.Header.Get("Attack") == "" {
			return
		}
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		<-release // an upstream that takes its time
		mu.Lock()
		running--
		mu.Unlock()
	})})
	defer close(release)
	f := g.framer()
	go func() {
		for id := uint32(1); id < 40_000; id += 2 {
			if f.locked(func() error { return errors.Join(f.get(id, "attack", "1"), f.WriteRSTStream(id, http2.ErrCodeCancel)) }) != nil {
				return
			}
		}
	}()
	if code := f.wantEnd(); code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("the connection ended with %v", code)
	}
	mu.Lock()
	defer mu.Unlock()
	if most > 10 {
		t.Errorf("%d handlers ran at once", most)
	}
	g.serves()
}

// CONTINUATION frames without end. The header must not grow beyond its limit.
func TestAttackContinuationFlood(t *testing.T) {
	g := newTLSHarness(t, edge.Config{Limits: edge.Limits{HeaderBytes: 16 << 10}})
	f := g.framer()
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block(":method", "GET", ":scheme", "https", ":authority", "app.example", ":path", "/")})
	sent, long := make(chan int, 1), strings.Repeat("{", 4000)
	go func() {
		n := 0
		for ; n < 100_000; n++ {
			// Never indexed, so that the frames are as large as what they say.
			f.buf.Reset()
			f.enc.WriteField(hpack.HeaderField{Name: "x", Value: long, Sensitive: true})
			if f.locked(func() error { return f.WriteContinuation(1, false, f.buf.Bytes()) }) != nil {
				break
			}
		}
		sent <- n
	}()
	f.wantEnd()
	f.conn.Close()
	if n := <-sent; n >= 100_000 {
		t.Errorf("%d frames were taken", n)
	}
	g.serves()
}

// Many streams are refused beyond the limit, and empty frames, pings,
// settings and priorities do not pile up.
func TestAttackHTTP2Floods(t *testing.T) {
	for name, flood := range map[string]func(f *framer) error{
		"pings":      func(f *framer) error { return f.WritePing(false, [8]byte{}) },
		"settings":   func(f *framer) error { return f.WriteSettings() },
		"empty data": func(f *framer) error { return f.WriteData(1, false, nil) },
		"priorities": func(f *framer) error { return f.WritePriority(3, http2.PriorityParam{StreamDep: 1}) },
		"windows":    func(f *framer) error { return f.WriteWindowUpdate(0, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newTLSHarness(t, edge.Config{Limits: edge.Limits{HeaderTimeout: time.Second}, Pace: quick})
			f := g.framer()
			f.conn.SetDeadline(time.Now().Add(2 * time.Second))
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true,
				BlockFragment: f.block(":method", "POST", ":scheme", "https", ":authority", "app.example", ":path", "/")})
			for range 20_000 { // nothing that comes back is read
				if flood(f) != nil {
					break
				}
			}
			g.serves()
		})
	}
}

// What HTTP/2 can carry and HTTP/1 must not see.
func TestAttackHTTP2Shapes(t *testing.T) {
	reached := make(chan *http.Request, 1)
	g := newTLSHarness(t, edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached <- r })})
	base := []string{":method", "GET", ":scheme", "https", ":authority", "app.example"}
	for name, fields := range map[string][]string{
		"line feed in a value":          append(base, ":path", "/", "x", "a\r\nx-sallyport-user: evil"),
		"line feed in the path":         append(base, ":path", "/ HTTP/1.1\r\nX: y"),
		"NUL in a value":                append(base, ":path", "/", "x", "a\x00b"),
		"upper-case name":               append(base, ":path", "/", "X-Evil", "a"),
		"colon in a name":               append(base, ":path", "/", "x:y", "a"),
		"space in a name":               append(base, ":path", "/", "x y", "a"),
		"transfer-encoding":             append(base, ":path", "/", "transfer-encoding", "chunked"),
		"connection":                    append(base, ":path", "/", "connection", "x-real-ip"),
		"te other than trailers":        append(base, ":path", "/", "te", "gzip"),
		"two paths":                     append(base, ":path", "/", ":path", "/b"),
		"two methods":                   append(base, ":path", "/", ":method", "POST"),
		"pseudo-header after the first": append(base, "x", "y", ":path", "/"),
		"unknown pseudo-header":         append(base, ":path", "/", ":evil", "x"),
		"response pseudo-header":        append(base, ":path", "/", ":status", "200"),
		"no path":                       base,
		"empty path":                    append(base, ":path", ""),
		"path without slash":            append(base, ":path", "evil"),
		"protocol without CONNECT":      append(base, ":path", "/", ":protocol", "websocket"),
	} {
		t.Run(name, func(t *testing.T) {
			f := g.framer()
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: f.block(fields...)})
			refused := false
			err := f.until(func(fr http2.Frame) bool {
				switch fr := fr.(type) {
				case *http2.RSTStreamFrame, *http2.GoAwayFrame:
					refused = true
				case *http2.HeadersFrame:
					fields, _ := hpack.NewDecoder(4096, nil).DecodeFull(fr.HeaderBlockFragment())
					refused = len(fields) > 0 && fields[0].Value == "400"
				default:
					return false
				}
				return true
			})
			if !refused && err == nil {
				t.Error("answered")
			}
			select {
			case r := <-reached:
				t.Errorf("reached the handler: %s %s %v", r.Method, r.RequestURI, r.Header)
			default:
			}
		})
	}
}

func headers(block []byte) http2.HeadersFrameParam {
	return http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: block}
}

// status returns the :status of a stream's answer.
func (f *framer) status(id uint32) string {
	f.g.t.Helper()
	var got string
	err := f.until(func(fr http2.Frame) bool {
		h, ok := fr.(*http2.HeadersFrame)
		if !ok || h.StreamID != id {
			return false
		}
		fields, _ := hpack.NewDecoder(4096, nil).DecodeFull(h.HeaderBlockFragment())
		if len(fields) > 0 {
			got = fields[0].Value
		}
		return true
	})
	if err != nil {
		f.g.t.Errorf("stream %d was not answered: %v", id, err)
	}
	return got
}

// More streams than the client was told there may be are reset, and counted as a limit.
func TestStreamsOfAConnection(t *testing.T) {
	begun, release := make(chan struct{}, 2), make(chan struct{})
	exceeded := make(chan string, 10)
	g := newTLSHarness(t, edge.Config{Limits: edge.Limits{StreamsPerConnection: 2}, Exceeded: func(limit string) { exceeded <- limit },
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { begun <- struct{}{}; <-release })})
	defer close(release)
	f := g.framer()
	f.get(1)
	f.get(3)
	<-begun
	<-begun
	f.get(5)
	f.wantReset(5)
	if got := <-exceeded; got != "http2_streams" || len(exceeded) != 0 {
		t.Errorf("%s was exceeded, and %d more", got, len(exceeded))
	}
}
