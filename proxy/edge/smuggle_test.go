package edge_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn/clocktest"
	"sallyport/proxy/edge"
)

// recorder notes which requests reach the handler.
type recorder struct {
	mu   sync.Mutex
	seen []string
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, req.Method+" "+req.URL.Path+" "+string(body))
}

func (r *recorder) paths() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.seen, "|")
}

// What stands behind a request that could be framed in two ways is
// never a request of its own.
func TestAttackSmuggling(t *testing.T) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"
	for name, c := range map[string]struct {
		raw     string
		refused bool // not even the first reaches the handler
	}{
		"CL.TE":                        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, false},
		"TE.CL":                        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + smuggled, false},
		"TE hidden by a bare LF":       {"POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\nContent-Length: 55\r\n\r\n0\r\n\r\n" + smuggled, false},
		"TE in HTTP/1.0":               {"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + smuggled, false},
		"keep-alive in HTTP/1.0":       {"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" + smuggled, false},
		"chunked":                      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, false},
		"bare LF in chunked":           {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n" + smuggled, false},
		"chunk extension with quote":   {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;x=\"\r\n\r\n" + smuggled, false},
		"chunk extension with bare LF": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n0\r\n\r\n" + smuggled, false},
		"chunk extensions without end": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("a", 1<<20) + "\r\nx\r\n0\r\n\r\n" + smuggled, false},
		"chunk size with a sign":       {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + smuggled, false},
		"chunk size that overflows":    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + smuggled, false},
		"trailers":                     {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n" + smuggled, false},

		"two lengths":            {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 47\r\n\r\n" + smuggled, true},
		"list of lengths":        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 47\r\n\r\n" + smuggled, true},
		"signed length":          {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n" + smuggled, true},
		"length with underscore": {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0_0\r\n\r\n" + smuggled, true},
		"empty length":           {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n" + smuggled, true},
		"length that overflows":  {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n" + smuggled, true},
		"space before the colon": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + smuggled, true},
		"space before the name":  {"POST / HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: a\r\n\r\n0\r\n\r\n" + smuggled, true},
		"vertical tab":           {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + smuggled, true},
		"TE xchunked":            {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled, true},
		"TE identity":            {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n" + smuggled, true},
		"TE twice":               {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, true},
		"TE list":                {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + smuggled, true},
		"TE folded":              {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n x chunked\r\n\r\n0\r\n\r\n" + smuggled, true},
		"bare CR":                {"POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n" + smuggled, true},
		"NUL":                    {"POST / HTTP/1.1\r\nHost: a\r\nX: y\x00\r\n\r\n" + smuggled, true},
		"header without colon":   {"POST / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n" + smuggled, true},
		"two hosts":              {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + smuggled, true},
		"no host":                {"GET / HTTP/1.1\r\n\r\n" + smuggled, true},
		"HTTP/0.9":               {"GET /\r\n" + smuggled, true},
		"HTTP/1.2 spelling":      {"GET / HTTP/1.1x\r\nHost: a\r\n\r\n" + smuggled, true},
		"HTTP/2 preface":         {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + smuggled, true},
		"two spaces":             {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n" + smuggled, true},
		"tabs":                   {"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n" + smuggled, true},
	} {
		t.Run(name, func(t *testing.T) {
			rec := &recorder{}
			g := newHarness(t, edge.Config{Handler: rec, Pace: quick})
			conn, br := g.send(c.raw)
			conn.(*net.TCPConn).CloseWrite()
			answers := 0
			for {
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					break
				}
				io.Copy(io.Discard, res.Body)
				if answers++; c.refused && res.StatusCode < 400 {
					t.Errorf("answered %d", res.StatusCode)
				}
			}
			got := rec.paths()
			if strings.Contains(got, "smuggled HTTP") || strings.Contains(got, "GET /smuggled ") || c.refused && got != "" || answers > 1 {
				t.Errorf("reached the handler: %q, with %d answers", got, answers)
			}
		})
	}
}

// What is framed plainly keeps its connection, or every upload would cost a handshake.
func TestPlainFramingKeepsTheConnection(t *testing.T) {
	rec := &recorder{}
	g := newHarness(t, edge.Config{Handler: rec})
	const plain = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	_, br := g.send(plain)
	if a, b := status(t, br), status(t, br); a != 200 || b != 200 || rec.paths() != "POST /a abc|GET /b " {
		t.Errorf("got %d, %d, %q", a, b, rec.paths())
	}
}

// FuzzFraming: however a connection's bytes look, the requests that the server
// sees after a chunked or HTTP/1.0 one number none.
func FuzzFraming(f *testing.F) {
	f.Add("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n")
	f.Add("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n")
	f.Add("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n")
	ended, after := false, false
	var mu sync.Mutex
	g := newHarness(f, edge.Config{Pace: quick, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		after = after || ended
		ended = ended || r.ProtoMinor == 0 || len(r.TransferEncoding) > 0
		mu.Unlock()
		io.Copy(io.Discard, r.Body)
	})})
	f.Fuzz(func(t *testing.T, raw string) {
		mu.Lock()
		ended, after = false, false
		mu.Unlock()
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(c, raw)
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, bufio.NewReader(c))
		clocktest.Eventually(t, "the connection is closed", func() bool { return g.Stats().OpenConnections == 0 })
		mu.Lock()
		defer mu.Unlock()
		if after {
			t.Errorf("a request was served behind one whose framing is in doubt: %q", raw)
		}
	})
}
