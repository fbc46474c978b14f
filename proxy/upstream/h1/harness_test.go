package h1_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/proxy/upstream/h1"
)

// server is a listener that gives each connection to a function.
type server struct {
	addr  string
	conns atomic.Int32
}

func serve(t testing.TB, each func(net.Conn, *bufio.Reader)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &server{addr: l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			go func() {
				defer c.Close()
				each(c, bufio.NewReader(c))
			}()
		}
	}()
	return s
}

// answering reads requests, and answers each with what answer makes of it, until that is "".
func answering(t testing.TB, answer func(*http.Request) string) *server {
	return serve(t, func(c net.Conn, br *bufio.Reader) {
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
			text := answer(r)
			if _, err := io.WriteString(c, text); err != nil || text == "" {
				return
			}
		}
	})
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func (s *server) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
}

const (
	headerLimit = 16 << 10
	idleTimeout = 90 * time.Second
)

func (s *server) config() h1.Config {
	return h1.Config{
		Dial: s.dial, ResponseHeaderTimeout: 20 * time.Second, MaxResponseHeaderBytes: headerLimit,
		MaxIdleConns: 8, IdleConnTimeout: idleTimeout, Now: time.Now,
	}
}

// client is this package's, or net/http's.
type client struct {
	name      string
	roundTrip func(context.Context, *h1.Request) (*http.Response, error)
}

// bothWays are the clients that every behaviour is shown of. net/http's is set up as the
// forwarder does it.
func (s *server) bothWays(t testing.TB) []client { return s.bothWith(t, s.config()) }

func (s *server) bothWith(t testing.TB, c h1.Config) []client {
	own := h1.New(c)
	std := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Dial(ctx) },
		ResponseHeaderTimeout:  c.ResponseHeaderTimeout,
		MaxResponseHeaderBytes: c.MaxResponseHeaderBytes,
		MaxIdleConnsPerHost:    c.MaxIdleConns,
		IdleConnTimeout:        c.IdleConnTimeout,
		DisableCompression:     true,
	}
	t.Cleanup(own.CloseIdleConnections)
	t.Cleanup(std.CloseIdleConnections)
	return []client{{"h1", own.RoundTrip}, {"net/http", func(ctx context.Context, r *h1.Request) (*http.Response, error) {
		return std.RoundTrip(stdRequest(ctx, r))
	}}}
}

// stdRequest is r for net/http.
func stdRequest(ctx context.Context, r *h1.Request) *http.Request {
	if r.Interim != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
			if status != http.StatusContinue {
				r.Interim(&http.Response{StatusCode: status, Header: http.Header(h)})
			}
			return nil
		}})
	}
	out := (&http.Request{
		Method: r.Method, URL: &url.URL{Scheme: "http", Host: r.Host, Opaque: r.Path, RawQuery: r.Query}, Host: r.Host,
		ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, ContentLength: int64(len(r.Body)),
	}).WithContext(ctx)
	if len(r.Body) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(r.Body))
	}
	for _, f := range r.Header {
		out.Header[f.Name] = append(out.Header[f.Name], f.Value)
	}
	return out
}

// request is a plain one.
func request(method, path string) *h1.Request {
	return &h1.Request{Method: method, Path: path, Host: "app.example", Header: []h1.Field{{Name: "User-Agent", Value: "test"}}}
}

// read is all of an answer as text, or "error".
func read(res *http.Response, err error) string {
	if err != nil {
		return "error"
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%s %q, length %d, broken off %v, close %v\n%s\n%v", res.Status, body, res.ContentLength, err != nil, res.Close, lines(res.Header), res.Trailer)
}

func lines(h http.Header) string {
	var all []string
	for name, values := range h {
		all = append(all, fmt.Sprintf("%s=%q", name, values))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// must returns the body of an answer that must come whole.
func must(t testing.TB, res *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
