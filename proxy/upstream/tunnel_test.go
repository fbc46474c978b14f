package upstream_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/proxy/upstream"
)

// A connection that has switched protocols can be carried after its handler has returned. Until it has
// ended it holds its place at the upstream.
func TestDetachedConnection(t *testing.T) {
	carries, returned := make(chan func(), 1), make(chan struct{})
	g := newHarness(t, options{upstream: http.HandlerFunc(echoUpgrade), detach: func(carry func()) { carries <- carry }})
	inner := g.front.Config.Handler
	g.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(returned)
		inner.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	})
	conn, br := g.raw(webSocketHandshake + "early\n")
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	<-returned
	if n := g.state().Outstanding; n != 1 {
		t.Errorf("%d places are held, want 1", n)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		(<-carries)()
	}()
	for _, want := range []string{"early\n", "late\n"} { // the first was said before there was an answer
		if want == "late\n" {
			io.WriteString(conn, want)
		}
		if got, err := br.ReadString('\n'); got != "echo "+want {
			t.Fatalf("%q %v", got, err)
		}
	}
	conn.Close()
	<-ended
	if n := g.state().Outstanding; n != 0 {
		t.Errorf("%d places are held after the end", n)
	}
}

// What inspects a connection runs on it. If it panics, that is the end of this connection and of no other.
func TestPanicOnAConnection(t *testing.T) {
	g := newHarness(t, options{upstream: http.HandlerFunc(echoUpgrade), config: upstream.Config{
		OnResponse: func(fr *upstream.ForwardRequest, res *http.Response) error {
			if fr.Target.RawQuery == "broken" {
				res.Body = broken{res.Body.(io.ReadWriteCloser)}
			}
			return nil
		},
	}})
	good, goodBr := g.raw(webSocketHandshake)
	bad, badBr := g.raw(strings.Replace(webSocketHandshake, "/ws", "/ws?broken", 1))
	for _, br := range []interface {
		io.Reader
		ReadString(byte) (string, error)
	}{goodBr, badBr} {
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = br.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
	io.WriteString(bad, "x\n")
	bad.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := badBr.ReadByte(); err != io.EOF {
		t.Errorf("the connection is still open: %v", err)
	}
	io.WriteString(good, "x\n")
	if got, err := goodBr.ReadString('\n'); got != "echo x\n" {
		t.Errorf("the other one: %q %v", got, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !strings.Contains(g.log.String(), "panic on an upgraded connection") {
		t.Errorf("it is not in the log: %s", g.log.String())
	}
}

type broken struct{ io.ReadWriteCloser }

func (broken) Write([]byte) (int, error) { panic("a bug") }

// A request that wants to switch protocols is read to its end first: afterwards its connection is another
// person's, and no one may still read a body from it.
func TestBodyOfAHandshake(t *testing.T) {
	bodies := make(chan string, 2)
	g := newHarness(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "wait" {
			body, _ := io.ReadAll(r.Body)
			bodies <- string(body)
		}
		echoUpgrade(w, r)
	})})
	for _, body := range []string{"Content-Length: 4\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"} {
		handshake := strings.TrimSuffix(strings.Replace(webSocketHandshake, "/ws", "/ws?wait", 1), "\r\n")
		_, br := g.raw(handshake + body + "said\n")
		if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
			t.Fatal(res, err)
		}
		if got := <-bodies; got != "body" {
			t.Errorf("the body arrived as %q", got)
		}
		if got, err := br.ReadString('\n'); got != "echo said\n" {
			t.Errorf("%q %v", got, err)
		}
	}
	// One that is not worth keeping, while it is still being sent: the upstream would answer.
	_, br := g.raw(strings.TrimSuffix(webSocketHandshake, "\r\n") + "Content-Length: 100000\r\n\r\n" + strings.Repeat("x", 50000))
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 413 {
		t.Error(res, err)
	}
}
