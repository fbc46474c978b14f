package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/proxy/edge"
	"sallyport/proxy/proxytest"
)

// strangers is a pace for tests that a client who pauses does not keep.
var strangers = edge.Pace{Patience: 50 * time.Millisecond, MinRate: 10_000}

// uploads are the beginning of a request with a body, and the rest of it.
var uploads = map[string]struct{ header, begin, rest, body string }{
	"announced and small": {"Content-Length: 10", "01234", "56789", "0123456789"},
	"announced and large": {"Content-Length: 50010", strings.Repeat("x", 50_000), "0123456789", strings.Repeat("x", 50_000) + "0123456789"},
	"chunked":             {"Transfer-Encoding: chunked", "5\r\n01234\r\n", "5\r\n56789\r\n0\r\n\r\n", "0123456789"},
}

// TestPersonMayPauseAnUpload: the pace that is asked of strangers ends with the verdict.
func TestPersonMayPauseAnUpload(t *testing.T) {
	for name, u := range uploads {
		t.Run(name, func(t *testing.T) {
			l := newLive(t)
			server, err := proxytest.NewServer(edge.Config{Handler: l.gate, Pace: strangers})
			l.must(err)
			l.handler = server
			alice := l.enrolled("alice", home)
			l.forwarded()
			c := l.begin(alice, "PUT /dump", u.begin, u.header)
			<-time.After(6 * strangers.Patience) // the pause
			_, _ = io.WriteString(c.conn, u.rest)
			c.says(http.StatusOK, "the tool")
			if got := l.forwarded(); len(got) != 1 || got[0].body != u.body {
				t.Errorf("the tool got %d requests", len(got))
			}
			if n := server.Stats().SlowBodies; n != 0 {
				t.Errorf("%d slow bodies are counted", n)
			}
		})
	}
}

// TestPauseThatIsTooLongIsAnswered: what ends an upload is the route's idle_timeout, and the
// answer says so.
func TestPauseThatIsTooLongIsAnswered(t *testing.T) {
	for name, u := range uploads {
		t.Run(name, func(t *testing.T) {
			l := newLive(t, func(p *setup) { p.idle = 150 * time.Millisecond })
			server, err := proxytest.NewServer(edge.Config{Handler: l.gate, Pace: strangers})
			l.must(err)
			l.handler = server
			c := l.begin(l.enrolled("alice", home), "PUT /dump", u.begin, u.header)
			c.says(http.StatusRequestTimeout, "slow_body")
		})
	}
}

// TestPersonMayPauseADownload: the same in the other direction.
func TestPersonMayPauseADownload(t *testing.T) {
	const size = 32 << 20 // more than the buffers on the way
	l := newLive(t)
	server, err := proxytest.NewServer(edge.Config{Handler: l.gate, Pace: strangers})
	l.must(err)
	l.handler = server
	c := l.send(l.enrolled("alice", home), fmt.Sprintf("GET /bytes?%d", size), "")
	<-time.After(6 * strangers.Patience) // the pause
	if n, err := io.Copy(io.Discard, c.res.Body); n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// says waits for the answer, and wants a status and a text in it.
func (c *client) says(status int, text string) {
	c.Helper()
	c.answered()
	body, err := io.ReadAll(c.res.Body)
	if c.res.StatusCode != status || err != nil || !strings.Contains(string(body), text) {
		c.Errorf("%d %q, %v; want %d with %q", c.res.StatusCode, body, err, status, text)
	}
}
