package h1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/proxy/upstream/h1"
)

// What a server says is the same answer, or the same failure, whichever client reads it.
func TestBothReadTheSameAnswer(t *testing.T) {
	for name, c := range map[string]struct{ method, text string }{
		"length":                {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\nhi"},
		"empty":                 {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"chunks":                {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"},
		"chunks and trailers":   {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n"},
		"surprise trailers":     {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n"},
		"until it closes":       {"GET", "HTTP/1.1 200 OK\r\n\r\nhi there"},
		"HTTP/1.0":              {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"},
		"HTTP/1.0, kept":        {"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi"},
		"close":                 {"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"},
		"HEAD":                  {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n"},
		"HEAD of chunks":        {"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		"204":                   {"DELETE", "HTTP/1.1 204 No Content\r\n\r\n"},
		"304 with a length":     {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 20\r\n\r\n"},
		"hop-by-hop stays":      {"GET", "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n"},
		"error":                 {"POST", "HTTP/1.1 500 Broken\r\nContent-Length: 2\r\n\r\nno"},
		"a status of its own":   {"GET", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"},
		"status 000":            {"GET", "HTTP/1.1 000 Nothing\r\nContent-Length: 2\r\n\r\nhi"},
		"status 099":            {"GET", "HTTP/1.1 099 Less\r\nContent-Length: 2\r\n\r\nhi"},
		"early hints":           {"GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok},
		"100 unasked":           {"GET", "HTTP/1.1 100 Continue\r\n\r\n" + ok},
		"hangs up":              {"POST", " "},
		"only hints":            {"GET", "HTTP/1.1 103 Early Hints\r\n\r\n"},
		"is not HTTP":           {"GET", "SSH-2.0-x\r\n"},
		"half a header":         {"GET", "HTTP/1.1 200 OK\r\nContent-"},
		"cut short":             {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi"},
		"a broken chunk":        {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n"},
		"no last chunk":         {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"},
		"length and chunks":     {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"},
		"chunks twice":          {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"},
		"gzip and chunks":       {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"},
		"two lengths":           {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"},
		"negative length":       {"GET", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi"},
		"plus length":           {"GET", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi"},
		"split header":          {"GET", "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n"},
		"folded header":         {"GET", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"},
		"header without name":   {"GET", "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n"},
		"space in the name":     {"GET", "HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 0\r\n\r\n"},
		"header at the limit":   {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: " + strings.Repeat("x", headerLimit/2) + "\r\n\r\nhi"},
		"header over the limit": {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: " + strings.Repeat("x", 2*headerLimit) + "\r\n\r\nhi"},
	} {
		t.Run(name, func(t *testing.T) {
			s := once(t, c.text)
			var got []string
			for _, by := range s.bothWays(t) {
				res, err := by.roundTrip(t.Context(), request(c.method, "/"))
				got = append(got, read(res, err))
			}
			if got[0] != got[1] {
				t.Errorf("h1:\n%s\n\nnet/http:\n%s", got[0], got[1])
			}
		})
	}
}

// once answers one request of each connection with text, and closes it.
func once(t testing.TB, text string) *server {
	return serve(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err == nil {
			_, _ = io.WriteString(c, text)
		}
	})
}

// Where this client is stricter than net/http, which takes these for answers.
func TestStricterThanNetHTTP(t *testing.T) {
	for name, text := range map[string]string{
		"101":    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + ok,
		"HTTP/2": "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"hints":  strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 17) + ok,
	} {
		t.Run(name, func(t *testing.T) {
			both := once(t, text).bothWays(t)
			if res, err := both[0].roundTrip(t.Context(), request("GET", "/")); err == nil {
				t.Error("h1 took it:", res.Status)
			}
			res, err := both[1].roundTrip(t.Context(), request("GET", "/"))
			if err != nil {
				t.Fatal("net/http is as strict now:", err)
			}
			res.Body.Close()
		})
	}
}

// FuzzBothSendTheSame: a server reads the same request, or none, whichever client sends it.
func FuzzBothSendTheSame(f *testing.F) {
	for _, header := range []string{
		"Accept: x", "X-Many: 1\nX-Many: 2", "Te: trailers", "Cookie: a=1; b=2\nCookie: c=3", "X-High: \xe9\xff", "X-Empty:", "X Y: z", "X: a\rb", "X: \x00",
		"Host: evil", "content-length: 5", "Transfer-Encoding: chunked", "Idempotency-Key: k", "X_Y: 1", "Keep-Alive: 5", "Authorization: Bearer x",
	} {
		f.Add("GET", "/x", "y=%20", header, "")
		f.Add("POST", "/", "", header, "body")
	}
	for _, method := range []string{"HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "", "G T", "get", "G\r\nX: y"} {
		f.Add(method, "/", "", "", "")
		f.Add(method, "/a%2Fb/../c//d;e", "?&%zz=\xff", "", "a body")
	}
	for _, path := range []string{"", "x", "*", "/a b", "/\r\n", "/\x7f", "/é", "/x#y", "/a?b"} {
		f.Add("GET", path, "", "", "")
		f.Add("GET", "/", path, "", "")
	}
	var mu sync.Mutex
	var seen []string
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf("%s %s %s %q %v %d %v\n%s", r.Method, r.RequestURI, r.Host, body, err, r.ContentLength, r.TransferEncoding, lines(r.Header)))
	}))
	f.Cleanup(up.Close)
	both := (&server{addr: up.Listener.Addr().String()}).bothWays(f)
	f.Fuzz(func(t *testing.T, method, path, query, header, body string) {
		if len(path)+len(query)+len(header)+len(body) > 16<<10 {
			t.Skip("too long for the server")
		}
		if strings.HasPrefix(path, "//") {
			t.Skip("net/url makes a host of it")
		}
		r := request(method, path)
		r.Query, r.Body = query, []byte(body)
		for line := range strings.SplitSeq(header, "\n") {
			if line == "" {
				continue
			}
			name, value, _ := strings.Cut(line, ":")
			switch http.CanonicalHeaderKey(name) {
			case "User-Agent", "Connection", "Trailer", "Expect", "Upgrade", "Proxy-Connection": // the forwarder sends none, or one
				t.Skip()
			}
			r.Header = append(r.Header, h1.Field{Name: http.CanonicalHeaderKey(name), Value: strings.TrimSpace(value)})
		}
		var got [2][]string
		var failed [2]error
		for i, by := range both {
			res, err := by.roundTrip(t.Context(), r)
			if failed[i] = err; err == nil {
				res.Body.Close()
			}
			mu.Lock()
			got[i], seen = seen, nil
			mu.Unlock()
		}
		if failed[0] != nil {
			if len(got[0]) > 0 {
				t.Errorf("%v, and the server had %q", failed[0], got[0])
			}
			return // net/http leaves out what it will not send, or writes a path as it is
		}
		if failed[1] != nil || !slices.Equal(got[0], got[1]) {
			t.Errorf("h1:\n%q\n\nnet/http:\n%q %v", got[0], got[1], failed[1])
		}
	})
}

// The parts of a request are written as they are, and framed as net/http does it.
func TestWire(t *testing.T) {
	field := []h1.Field{{Name: "x-a", Value: "1"}, {Name: "X-a", Value: " two "}}
	for _, c := range []struct {
		r    h1.Request
		want string
	}{
		{h1.Request{Method: "GET", Path: "/a%2fb", Query: "c=d&?", Host: "x:80", Header: field}, "GET /a%2fb?c=d&? HTTP/1.1\r\nHost: x:80\r\nx-a: 1\r\nX-a:  two \r\n\r\n"},
		{h1.Request{Method: "DELETE", Path: "//", Host: "x"}, "DELETE // HTTP/1.1\r\nHost: x\r\n\r\n"},
		{h1.Request{Method: "POST", Path: "/", Host: "x"}, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"},
		{h1.Request{Method: "PUT", Path: "/", Host: "x"}, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"},
		{h1.Request{Method: "PATCH", Path: "/", Host: "x"}, "PATCH / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"},
		{h1.Request{Method: "GET", Path: "/", Host: "x", Body: []byte("a\r\n")}, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na\r\n"},
	} {
		had := make(chan string, 1)
		s := serve(t, func(c net.Conn, br *bufio.Reader) {
			_, _ = br.Peek(1)
			var text strings.Builder
			for !strings.Contains(text.String(), "\r\n\r\n") || br.Buffered() > 0 { // it comes in one piece
				b, err := br.ReadByte()
				if err != nil {
					break
				}
				text.WriteByte(b)
			}
			had <- text.String()
			_, _ = io.WriteString(c, ok)
		})
		res, err := h1.New(s.config()).RoundTrip(t.Context(), &c.r)
		must(t, res, err)
		if got := <-had; got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// What would end a part of the request is not written, and nor is what frames it.
func TestUnwritableRequestIsNotSent(t *testing.T) {
	for name, change := range map[string]func(*h1.Request){
		"no method":         func(r *h1.Request) { r.Method = "" },
		"method":            func(r *h1.Request) { r.Method = "GET / HTTP/1.1\r\nX: y\r\n\r\nGET" },
		"no path":           func(r *h1.Request) { r.Path = "" },
		"absolute path":     func(r *h1.Request) { r.Path = "http://evil/" },
		"path":              func(r *h1.Request) { r.Path = "/ HTTP/1.1\r\nX: y\r\n\r\n" },
		"query":             func(r *h1.Request) { r.Query = "a b" },
		"host":              func(r *h1.Request) { r.Host = "a\r\nX: y" },
		"name":              func(r *h1.Request) { r.Header[0].Name = "X: y\r\nZ" },
		"no name":           func(r *h1.Request) { r.Header[0].Name = "" },
		"value":             func(r *h1.Request) { r.Header[0].Value = "a\r\nX: y" },
		"second host":       func(r *h1.Request) { r.Header[0].Name = "host" },
		"length":            func(r *h1.Request) { r.Header[0].Name = "content-LENGTH" },
		"transfer encoding": func(r *h1.Request) { r.Header[0].Name = "Transfer-encoding" },
	} {
		t.Run(name, func(t *testing.T) {
			had := make(chan int64, 1)
			s := serve(t, func(c net.Conn, br *bufio.Reader) {
				n, _ := br.WriteTo(io.Discard)
				had <- n
			})
			r := request("GET", "/")
			change(r)
			if _, err := h1.New(s.config()).RoundTrip(t.Context(), r); err == nil {
				t.Error("sent")
			}
			if n := <-had; n != 0 {
				t.Errorf("%d bytes were sent", n)
			}
		})
	}
}

// A connection serves the next request if its answer was read to the end and does not rule that out.
func TestConnectionIsKept(t *testing.T) {
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
	for name, c := range map[string]struct {
		method, text string
		leave        bool // the body is not read
		want         int32
	}{
		"length":            {"GET", ok, false, 1},
		"chunks":            {"GET", chunked, false, 1},
		"no body":           {"GET", "HTTP/1.1 204 No Content\r\n\r\n", false, 1},
		"HEAD":              {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", false, 1},
		"HEAD, no length":   {"HEAD", "HTTP/1.1 200 OK\r\n\r\n", false, 1},
		"HTTP/1.0":          {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, 3},
		"close":             {"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false, 3},
		"body left":         {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000), true, 3},
		"second answer":     {"GET", ok + ok, false, 3},
		"answer after HEAD": {"HEAD", ok, false, 3},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 2 {
				s := answering(t, func(*http.Request) string { return c.text })
				by := s.bothWays(t)[i]
				if i == 1 && (name == "second answer" || name == "answer after HEAD") {
					continue // net/http may take these for the next answer
				}
				for range 3 {
					res, err := by.roundTrip(t.Context(), request(c.method, "/"))
					if err != nil {
						t.Fatal(by.name, err)
					}
					if !c.leave {
						must(t, res, nil)
					}
					res.Body.Close()
				}
				if n := s.conns.Load(); n != c.want {
					t.Errorf("%s: %d connections, want %d", by.name, n, c.want)
				}
			}
		})
	}
}

// A kept connection that dies with a request on it: the server may have acted on the request. Only
// a safe method is sent again.
func TestKeptConnectionThatDies(t *testing.T) {
	for _, c := range []struct {
		method string
		sent   int32
	}{{"GET", 2}, {"HEAD", 2}, {"OPTIONS", 2}, {"TRACE", 2}, {"POST", 1}, {"PUT", 1}, {"DELETE", 1}, {"PATCH", 1}, {"PROPFIND", 1}} {
		for i := range 2 {
			var sent atomic.Int32
			s := answering(t, func(r *http.Request) string {
				if r.URL.Path == "/second" && sent.Add(1) == 1 {
					return ""
				}
				return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
			})
			by := s.bothWays(t)[i]
			res, err := by.roundTrip(t.Context(), request("GET", "/first"))
			must(t, res, err)
			res, err = by.roundTrip(t.Context(), request(c.method, "/second"))
			if err == nil {
				res.Body.Close()
			}
			if n := sent.Load(); n != c.sent || (err == nil) != (c.sent == 2) {
				t.Errorf("%s by %s: sent %d times, %v", c.method, by.name, n, err)
			}
			if i == 0 && err != nil && !errors.Is(err, h1.ErrStale) {
				t.Errorf("%s: %v is not ErrStale", c.method, err)
			}
		}
	}
}

// A new connection that dies is an error for every method: it is not sent again.
func TestNewConnectionThatDies(t *testing.T) {
	for i := range 2 {
		s := answering(t, func(*http.Request) string { return "" })
		by := s.bothWays(t)[i]
		if _, err := by.roundTrip(t.Context(), request("GET", "/")); err == nil || errors.Is(err, h1.ErrStale) || s.conns.Load() != 1 {
			t.Errorf("%s: %v, %d connections", by.name, err, s.conns.Load())
		}
	}
}

// An idempotency key is the client's word, and does not have a POST sent twice.
func TestIdempotencyKeyChangesNothing(t *testing.T) {
	var sent atomic.Int32
	s := answering(t, func(r *http.Request) string {
		if r.Method == "POST" {
			sent.Add(1)
			return ""
		}
		return ok
	})
	own := h1.New(s.config())
	res, err := own.RoundTrip(t.Context(), request("GET", "/"))
	must(t, res, err)
	r := request("POST", "/")
	r.Header = append(r.Header, h1.Field{Name: "Idempotency-Key", Value: "k"})
	if _, err := own.RoundTrip(t.Context(), r); !errors.Is(err, h1.ErrStale) || sent.Load() != 1 {
		t.Errorf("%v, sent %d times", err, sent.Load())
	}
}

// A connection that the server closed, or sent something on, while it was idle carries no request
// of any method.
func TestIdleConnectionIsLookedAt(t *testing.T) {
	for name, text := range map[string]string{"closed": "", "an answer that nothing asked for": "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"} {
		t.Run(name, func(t *testing.T) {
			idle, said := make(chan struct{}), make(chan struct{})
			var n atomic.Int32
			s := serve(t, func(c net.Conn, br *bufio.Reader) {
				for first := n.Add(1) == 1; ; {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(c, ok)
					if first {
						<-idle
						_, _ = io.WriteString(c, text)
						if text == "" {
							c.Close()
						}
						close(said)
						_, _ = br.WriteTo(io.Discard)
						return
					}
				}
			})
			own := h1.New(s.config())
			res, err := own.RoundTrip(t.Context(), request("GET", "/"))
			must(t, res, err)
			close(idle)
			<-said
			r := request("POST", "/")
			r.Body = []byte("x")
			res, err = own.RoundTrip(t.Context(), r)
			if got := must(t, res, err); got != "ok" || s.conns.Load() != 2 {
				t.Errorf("%q over %d connections", got, s.conns.Load())
			}
		})
	}
}

// A server that refuses an upload before it has read it closes the connection in the middle of it.
// What it said is the answer.
func TestEarlyAnswerCounts(t *testing.T) {
	s := once(t, "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large")
	own := h1.New(s.config())
	r := request("POST", "/")
	r.Body = make([]byte, 16<<20) // more than the buffers of both ends
	for range 20 {
		res, err := own.RoundTrip(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if must(t, res, nil); res.StatusCode != 413 || own.Idle() != 0 {
			t.Fatal(res.Status, own.Idle(), "connections are kept")
		}
	}
}

// Interim answers are passed on as they come, but not 100, which nothing asked for.
func TestInterimAnswers(t *testing.T) {
	s := answering(t, func(*http.Request) string {
		return "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok
	})
	for _, by := range s.bothWays(t) {
		var got []string
		r := request("GET", "/")
		r.Interim = func(res *http.Response) { got = append(got, fmt.Sprint(res.StatusCode, res.Header)) }
		res, err := by.roundTrip(t.Context(), r)
		if body := must(t, res, err); body != "ok" || strings.Join(got, " ") != "103 map[Link:[</a>]] 102 map[]" {
			t.Errorf("%s: %q, %q", by.name, body, got)
		}
	}
}

// The end of the context ends the exchange, before the answer and in the middle of it.
func TestContextEndsTheExchange(t *testing.T) {
	for i := range 2 {
		s := serve(t, func(c net.Conn, br *bufio.Reader) {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if r.URL.Path == "/half" {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")
			}
			_, _ = br.WriteTo(io.Discard) // until the client hangs up
		})
		by := s.bothWays(t)[i]
		cause := errors.New("the session was revoked")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Millisecond, func() { cancel(cause) })
		if _, err := by.roundTrip(ctx, request("GET", "/")); !errors.Is(err, cause) {
			t.Errorf("%s: %v", by.name, err)
		}
		again, stop := context.WithCancel(t.Context())
		res, err := by.roundTrip(again, request("GET", "/half"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		stop()
		if _, err := io.ReadAll(res.Body); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", by.name, err)
		}
		res.Body.Close()
	}
}

// Both limits on silence are errors of a timeout, and end the connection.
func TestSilence(t *testing.T) {
	s := serve(t, func(c net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if r.URL.Path == "/half" {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")
		}
		_, _ = br.WriteTo(io.Discard)
	})
	c := s.config()
	c.ResponseHeaderTimeout = 20 * time.Millisecond
	for _, by := range s.bothWith(t, c) {
		var timeout net.Error
		if _, err := by.roundTrip(t.Context(), request("GET", "/")); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: %v", by.name, err)
		}
	}
	r := request("GET", "/half")
	r.IdleTimeout = 20 * time.Millisecond
	res, err := h1.New(s.config()).RoundTrip(t.Context(), r) // net/http has no such limit
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); string(body) != "half" || !errors.Is(err, h1.ErrIdle) {
		t.Errorf("%q, %v", body, err)
	}
}

// The limit on the header is no limit on the body, and begins anew with each answer.
func TestHeaderLimitIsForEachAnswer(t *testing.T) {
	body := strings.Repeat("x", 4*headerLimit)
	s := answering(t, func(*http.Request) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nX: %s\r\nContent-Length: %d\r\n\r\n%s", strings.Repeat("x", headerLimit/2), len(body), body)
	})
	for _, by := range s.bothWays(t) {
		for range 4 {
			res, err := by.roundTrip(t.Context(), request("GET", "/"))
			if got := must(t, res, err); got != body {
				t.Errorf("%s: %d bytes", by.name, len(got))
			}
		}
	}
	if n := s.conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// Unused connections are bounded in number and in age, and not kept after CloseIdleConnections.
func TestIdleConnectionsEnd(t *testing.T) {
	s := answering(t, func(*http.Request) string { return ok })
	now := time.Now()
	c := s.config()
	c.MaxIdleConns, c.Now = 2, func() time.Time { return now }
	own := h1.New(c)
	open := func() (all []*http.Response) {
		for range 3 {
			res, err := own.RoundTrip(t.Context(), request("GET", "/"))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, res)
		}
		return all
	}
	check := func(when string, want int) {
		t.Helper()
		if n := own.Idle(); n != want {
			t.Errorf("%s: %d unused connections, want %d", when, n, want)
		}
	}
	for _, res := range open() {
		must(t, res, nil)
	}
	check("three at once", 2)
	now = now.Add(idleTimeout - 1)
	own.Sweep()
	check("before their time", 2)
	now = now.Add(1)
	own.Sweep()
	check("after it", 0)
	inFlight := open()
	must(t, inFlight[0], nil)
	own.CloseIdleConnections()
	check("closed", 0)
	for _, res := range inFlight[1:] {
		must(t, res, nil) // goes on
	}
	check("in flight when it was closed", 0)
}

// Arrived tells a chunked body that is here from one that is not.
func TestArrived(t *testing.T) {
	s := answering(t, func(r *http.Request) string {
		text := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"
		if r.URL.Path == "/all" {
			text += "0\r\n\r\n"
		}
		return text
	})
	own := h1.New(s.config())
	for path, want := range map[string]bool{"/all": true, "/half": false} {
		res, err := own.RoundTrip(t.Context(), request("GET", path))
		if err != nil {
			t.Fatal(err)
		}
		if h1.Arrived(res.Body) != want {
			t.Errorf("%s: %v", path, !want)
		}
		res.Body.Close()
	}
	if h1.Arrived(strings.NewReader("\r\n0\r\n\r\n")) {
		t.Error("the body of another client")
	}
}

// A connection that is no socket of the operating system is not used: it cannot be looked at.
func TestConnectionMustBeTheSystems(t *testing.T) {
	own := h1.New(h1.Config{Dial: func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		t.Cleanup(func() { far.Close() })
		return near, nil
	}, MaxResponseHeaderBytes: headerLimit, Now: time.Now})
	if _, err := own.RoundTrip(t.Context(), request("GET", "/")); err == nil {
		t.Error("used")
	}
}

// BenchmarkRoundTrip is why this package exists.
//
//	go test ./proxy/upstream/h1 -run '^$' -bench RoundTrip -benchmem
func BenchmarkRoundTrip(b *testing.B) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1024)) }))
	defer up.Close()
	for _, by := range (&server{addr: up.Listener.Addr().String()}).bothWays(b) {
		b.Run(by.name, func(b *testing.B) {
			b.ReportAllocs()
			r := request("GET", "/")
			for b.Loop() {
				res, err := by.roundTrip(b.Context(), r)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
}
