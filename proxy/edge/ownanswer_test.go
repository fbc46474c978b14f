package edge_test

import (
	"bufio"
	"bytes"
	"fmt"
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

// unframed are the headers without which a page may show an answer in a frame and read what is left of it.
var unframed = map[string]string{
	"X-Frame-Options": "DENY", "Content-Security-Policy": "frame-ancestors 'none'", "Cache-Control": "no-store",
	"X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin",
}

func wantUnframed(t testing.TB, h http.Header) {
	t.Helper()
	for name, want := range unframed {
		if h.Get(name) != want {
			t.Errorf("%s is %q", name, h.Values(name))
		}
	}
}

// aTool answers as a tool does.
var aTool = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	edge.Forwarded(w)
	w.Header().Set("X-Tool", "yes")
	fmt.Fprintf(w, "%s %s", r.Method, r.URL.Path)
})

// servers are one with and one without TLS.
func servers(t *testing.T, c edge.Config) map[string]*harness {
	return map[string]*harness{"plain": newHarness(t, c), "TLS": newTLSHarness(t, c)}
}

// net/http refuses some requests before any handler is asked. Those answers too may not be framed or
// kept, on a new connection and on one that has had answers of a tool.
func TestAnswersThatNetHTTPWritesMayNotBeFramed(t *testing.T) {
	for kind, g := range servers(t, edge.Config{Handler: aTool}) {
		for name, c := range map[string]struct {
			raw    string
			status int
		}{
			"header too large":      {"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + strings.Repeat("a", 60_000) + "\r\n\r\n", 431},
			"address too long":      {"GET /" + strings.Repeat("a", 60_000) + " HTTP/1.1\r\nHost: a\r\n\r\n", 431},
			"malformed":             {"GET\r\n\r\n", 400},
			"no host":               {"GET / HTTP/1.1\r\n\r\n", 400},
			"bad header":            {"GET / HTTP/1.1\r\nHost: a\r\nA B: c\r\n\r\n", 400},
			"bad value":             {"GET / HTTP/1.1\r\nHost: a\r\nA: b\x01c\r\n\r\n", 400},
			"version":               {"GET / HTTP/3.7\r\nHost: a\r\n\r\n", 505},
			"transfer encoding":     {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
			"expectation":           {"POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n", 417},
			"our own limit of it":   {"GET /" + strings.Repeat("a", 9_000) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
			"a preface of HTTP/2":   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
			"too many header lines": {"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 200) + "\r\n", 431},
		} {
			for _, before := range []int{0, 2} {
				t.Run(fmt.Sprintf("%s, %s, after %d", kind, name, before), func(t *testing.T) {
					g.t = t
					conn, br := g.send("")
					for range before {
						io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
						res, err := http.ReadResponse(br, nil)
						if err != nil {
							t.Fatal(err)
						}
						body, _ := io.ReadAll(res.Body)
						if string(body) != "GET /x" || res.Header.Get("X-Frame-Options") != "" || res.Header.Get("X-Tool") != "yes" {
							t.Fatalf("the tool's answer: %s %v", body, res.Header)
						}
					}
					go io.WriteString(conn, c.raw)
					res, err := http.ReadResponse(br, nil)
					if err != nil {
						t.Fatal(err)
					}
					if res.StatusCode != c.status {
						t.Errorf("status %d", res.StatusCode)
					}
					wantUnframed(t, res.Header)
				})
			}
		}
	}
}

// The answer to plain http on a TLS port is written below TLS.
func TestPlainHTTPOnATLSPortMayNotBeFramed(t *testing.T) {
	g := newTLSHarness(t, edge.Config{Handler: aTool})
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 400 {
		t.Error(res.Status)
	}
	wantUnframed(t, res.Header)
}

// The same over HTTP/2, where answers of tools and of net/http share a connection and its compression.
func TestAnswersThatNetHTTPWritesMayNotBeFramedHTTP2(t *testing.T) {
	g := newTLSHarness(t, edge.Config{Handler: aTool})
	f := g.framer()
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	long := strings.Repeat("a", 9_000)
	refused := map[string]struct {
		fields []string
		status string
	}{
		"header too large": {[]string{"a", long, "b", long, "c", long, "d", long}, "431"},
		"connection":       {[]string{"connection", "close"}, "400"},
		"te":               {[]string{"te", "gzip"}, "400"},
	}
	stream := uint32(1)
	ask := func(fields ...string) http.Header {
		t.Helper()
		block := f.block(append([]string{":method", "GET", ":scheme", "https", ":authority", "app.example", ":path", "/"}, fields...)...)
		first := block[:min(len(block), 16000)]
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, EndStream: true, EndHeaders: len(first) == len(block), BlockFragment: first})
		if rest := block[len(first):]; len(rest) > 0 {
			f.WriteContinuation(stream, true, rest)
		}
		h := http.Header{}
		err := f.until(func(fr http2.Frame) bool {
			if m, ok := fr.(*http2.MetaHeadersFrame); ok && m.StreamID == stream {
				for _, field := range m.Fields {
					h.Add(field.Name, field.Value)
				}
				return true
			}
			return false
		})
		if err != nil {
			t.Fatal(err)
		}
		stream += 2
		return h
	}
	for range 3 {
		for name, c := range refused {
			h := ask(c.fields...)
			if h.Get(":status") != c.status {
				t.Errorf("%s: %v", name, h)
			}
			wantUnframed(t, h)
			if h := ask(); h.Get("X-Tool") != "yes" || h.Get("X-Frame-Options") != "" {
				t.Errorf("the tool's answer: %v", h)
			}
		}
	}
}

// Adding to some header blocks breaks no answer of others: many at once, of all sizes.
func TestHTTP2AnswersOfToolsAreLeftAlone(t *testing.T) {
	g := newTLSHarness(t, edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		edge.Forwarded(w)
		w.Header().Set("Trailer", "X-End")
		var n int
		fmt.Sscanf(r.URL.Path, "/%d", &n)
		w.Write(bytes.Repeat([]byte{byte(n)}, n*997))
		w.Header().Set("X-End", r.URL.Path)
	})})
	client := g.client("h2")
	var all sync.WaitGroup
	for n := range 150 {
		all.Go(func() {
			res, err := client.Get(fmt.Sprintf("https://app.example/%d", n))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(body, bytes.Repeat([]byte{byte(n)}, n*997)) || res.Trailer.Get("X-End") != fmt.Sprint("/", n) ||
				res.ProtoMajor != 2 || res.Header.Get("X-Frame-Options") != "" || res.Trailer.Get("X-Frame-Options") != "" {
				t.Errorf("%d: %v, %d bytes, %v %v", n, err, len(body), res.Header, res.Trailer)
			}
		})
	}
	all.Wait()
}

// A handler that says nothing of frames is ours, not a tool.
func TestOwnAnswersMayNotBeFramed(t *testing.T) {
	c := edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/asset" {
			w.Header().Set("Cache-Control", "public, immutable")
		}
	})}
	for kind, g := range servers(t, c) {
		for _, proto := range []string{"http/1.1", "h2"} {
			if kind == "plain" && proto == "h2" {
				continue
			}
			scheme := map[string]string{"plain": "http", "TLS": "https"}[kind]
			for path, control := range map[string]string{"/": "no-store", "/asset": "public, immutable"} {
				res, err := g.client(proto).Get(scheme + "://app.example" + path)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if res.Header.Get("X-Frame-Options") != "DENY" || res.Header.Get("Cache-Control") != control {
					t.Errorf("%s %s %s: %v", kind, proto, path, res.Header)
				}
			}
		}
	}
}
