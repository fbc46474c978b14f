package upstream_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"sallyport/proxy/upstream"
)

// hasty is a tool that answers every request when it has read its head, and closes the
// connection, with a reset or without asking for one.
func hasty(t *testing.T, answer string, reset bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReaderSize(c, 16)); err != nil {
					return
				}
				_, _ = io.WriteString(c, answer)
				if reset {
					_ = c.(*net.TCPConn).SetLinger(0)
				} // otherwise the kernel resets it too, for what is unread, but later
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// TestEarlyAnswerIsPassedOn: a tool that refuses an upload before it has read it closes the
// connection in the middle of it. What it said is the answer, however the writing failed.
func TestEarlyAnswerIsPassedOn(t *testing.T) {
	const tries = 200
	for status, reset := range map[int]bool{413: false, 401: true} {
		text := fmt.Sprintf("HTTP/1.1 %d Because\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large", status)
		for size, body := range map[string]func() io.Reader{
			"short way": func() io.Reader { return strings.NewReader(strings.Repeat("x", 30<<10)) },
			"long way":  func() io.Reader { return strings.NewReader(strings.Repeat("x", 1<<20)) },
			"chunked":   func() io.Reader { return io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20))) },
		} {
			t.Run(fmt.Sprintf("%d %s reset %v", status, size, reset), func(t *testing.T) {
				g := newHarness(t, options{route: upstream.RouteConfig{To: []string{hasty(t, text, reset)}}})
				wrong := map[string]int{}
				for range tries {
					res, got := g.upload(body())
					if res.StatusCode != status || string(got) != "too large" {
						wrong[fmt.Sprintf("%d %q", res.StatusCode, got)]++
					}
				}
				if len(wrong) > 0 {
					t.Errorf("of %d tries: %v\n%s", tries, wrong, g.log.String()[:min(400, g.log.Len())])
				}
			})
		}
	}
}

// upload posts a body and reads the answer, regardless of what becomes of the body: Go's own client
// would give up with the first write that fails.
func (g *harness) upload(body io.Reader) (*http.Response, []byte) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.front.Listener.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	req, err := http.NewRequest(http.MethodPost, "http://app.example/", body)
	if err != nil {
		g.t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() { defer close(sent); _ = req.Write(c) }()
	res, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		g.t.Fatal(err)
	}
	got, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	c.Close()
	<-sent
	return res, got
}
