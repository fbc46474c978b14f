package edge_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"sallyport/authn/clocktest"
	"sallyport/proxy/edge"
)

// quick is a pace for tests: what takes minutes takes tenths of a second.
var quick = edge.Pace{Patience: 300 * time.Millisecond, MinRate: 10_000}

// Slowloris. A header must come within its time, however it trickles.
func TestAttackSlowHeader(t *testing.T) {
	g := newHarness(t, edge.Config{Limits: edge.Limits{HeaderTimeout: 300 * time.Millisecond}})
	c := g.dial()
	begun := time.Now()
	for line := 0; ; line++ {
		if _, err := fmt.Fprintf(c, "%s\r\n", [2]string{"GET / HTTP/1.1", "X: y"}[min(line, 1)]); err != nil {
			break
		}
		if time.Since(begun) > 30*time.Second {
			t.Fatal("a header that never ends is still being read")
		}
		time.Sleep(20 * time.Millisecond) // the attacker's rhythm
	}
	clocktest.Eventually(t, "the connection is gone", func() bool { return g.Stats().OpenConnections == 0 })
}

// R U Dead Yet. A body must keep the pace; the handler's read fails.
func TestAttackSlowBody(t *testing.T) {
	for name, head := range map[string]string{"announced": "Content-Length: 100000\r\n", "chunked": "Transfer-Encoding: chunked\r\n"} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			g := newHarness(t, edge.Config{Pace: quick, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(io.Discard, r.Body)
				failed <- err
			})})
			c, _ := g.send("POST / HTTP/1.1\r\nHost: a\r\n" + head + "\r\n")
			stop := trickle(c, map[string]string{"announced": "x", "chunked": "1\r\nx\r\n"}[name])
			defer stop()
			if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if n := g.Stats().SlowBodies; n != 1 {
				t.Errorf("%d slow bodies counted", n)
			}
		})
	}
}

// trickle writes s to c every few milliseconds until it is stopped or c is closed.
func trickle(c net.Conn, s string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if _, err := io.WriteString(c, s); err != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return cancel
}

// The same when no one reads the body. net/http then reads it itself before
// it answers, and no handler is there to count.
func TestAttackSlowBodyNobodyReads(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"refused":           func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", 403) },
		"nothing written":   func(w http.ResponseWriter, r *http.Request) {},
		"streamed":          func(w http.ResponseWriter, r *http.Request) { edge.Stream(w) },
		"header sent early": func(w http.ResponseWriter, r *http.Request) { http.NewResponseController(w).Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			g := newHarness(t, edge.Config{Pace: quick, Handler: handler})
			c, _ := g.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx")
			defer trickle(c, "x")()
			clocktest.Eventually(t, "the connection is closed", func() bool { return g.Stats().OpenConnections == 0 })
		})
	}
}

func TestAttackSlowBodyHTTP2(t *testing.T) {
	failed := make(chan error, 1)
	g := newTLSHarness(t, edge.Config{Pace: quick, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		failed <- err
	})})
	// A client that says gRPC is not believed before the gate has judged the request.
	req, _ := http.NewRequest("POST", "https://app.example/", &neverEnding{t.Context()})
	req.Header.Set("Content-Type", "application/grpc")
	go g.client("h2").Do(req)
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// neverEnding is a body that never says anything.
type neverEnding struct{ context.Context }

func (n *neverEnding) Read([]byte) (int, error) { <-n.Done(); return 0, io.EOF }

// A client that asks for much and reads nothing. With HTTP/2 it need not even
// stop reading: a window of zero does.
func TestAttackSlowReader(t *testing.T) {
	big := make([]byte, 64<<10)
	writes := func(n int) (http.HandlerFunc, chan error) {
		failed := make(chan error, 1)
		return func(w http.ResponseWriter, r *http.Request) {
			var err error
			for i := 0; i < n && err == nil; i++ {
				_, err = w.Write(big)
			}
			failed <- err
		}, failed
	}
	t.Run("HTTP/1", func(t *testing.T) {
		h, failed := writes(1000)
		g := newHarness(t, edge.Config{Pace: quick, Handler: h})
		g.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("HTTP/2, window shut", func(t *testing.T) {
		h, failed := writes(10)
		g := newTLSHarness(t, edge.Config{Pace: quick, Handler: h})
		f := g.framer()
		f.settings(http2InitialWindow, 0)
		f.get(1)
		if err := <-failed; err == nil {
			t.Error("the answer went into a window of zero")
		}
		clocktest.Eventually(t, "the request is over", func() bool { return g.Stats().Requests == 0 })
	})
	t.Run("HTTP/2, window shut for a small answer", func(t *testing.T) {
		g := newTLSHarness(t, edge.Config{Pace: quick})
		f := g.framer()
		f.settings(http2InitialWindow, 0)
		f.get(1)
		f.wantReset(1) // net/http writes it when the handler has gone
	})
}

// A client is not slow because we are: a body that waits for a slow upstream, and
// a request whose handler takes its time.
func TestSlowHandlersAreNotSlowClients(t *testing.T) {
	for _, proto := range []string{"http/1.1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			body := bytes.Repeat([]byte("x"), 300<<10)
			g := newTLSHarness(t, edge.Config{Pace: quick, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n, buf := 0, make([]byte, 100<<10)
				for {
					k, err := io.ReadFull(r.Body, buf)
					n += k
					if err != nil {
						break
					}
					if r.Context().Err() != nil {
						t.Error("the request was given up")
					}
					time.Sleep(400 * time.Millisecond) // the slow upstream
				}
				time.Sleep(400 * time.Millisecond)
				if r.Context().Err() != nil {
					t.Error("the request was given up after its body")
				}
				fmt.Fprint(w, n)
			})})
			res, err := g.client(proto).Post("https://app.example/", "text/plain", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(res.Body)
			if string(got) != fmt.Sprint(len(body)) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A handler that answers early and goes on reading: the end that was set for the
// rest of the body, had no one read it, is taken back.
func TestEarlyAnswerGoesOnReading(t *testing.T) {
	got := make(chan error, 1)
	g := newHarness(t, edge.Config{Pace: quick, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		got <- errors.Join(rc.EnableFullDuplex(), rc.Flush())
		_, err := io.Copy(io.Discard, r.Body)
		got <- err
	})})
	c, _ := g.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n")
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	for range 5 {
		time.Sleep(150 * time.Millisecond)
		io.WriteString(c, strings.Repeat("x", 4000))
	}
	if err := <-got; err != nil {
		t.Errorf("after %s: %v", 5*150*time.Millisecond, err)
	}
}

// An answer to a request whose body no one reads, such as a tool's 413, reaches a client that is still
// sending: the connection ends with a FIN, and not with a reset that overtakes the answer.
func TestAnswerBeforeTheBodyIsNotCutOff(t *testing.T) {
	g := newHarness(t, edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	})})
	c, _ := g.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + strings.Repeat("x", 64<<10))
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 413 ") {
		t.Errorf("got %q, %v", answer, err)
	}
}

// A client that asks whether to send its body at all hears the refusal, and not silence until its patience
// or ours is over.
func TestRefusalOfABodyThatWaitsForItsGo(t *testing.T) {
	for name, size := range map[string]int{"short": 10, "longer than net/http's buffer": 10000} {
		t.Run(name, func(t *testing.T) {
			g := newHarness(t, edge.Config{Pace: edge.Pace{Patience: time.Hour}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusUnauthorized)
				io.WriteString(w, strings.Repeat("n", size))
			})})
			c, r := g.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, res.Body); res.StatusCode != 401 || n != int64(size) || err != nil || !res.Close {
				t.Errorf("got %d, %d bytes, %v, close %v", res.StatusCode, n, err, res.Close)
			}
		})
	}
}

// Server-sent events may be minutes apart.
func TestQuietEventsLive(t *testing.T) {
	for _, proto := range []string{"http/1.1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			next := make(chan struct{})
			g := newTLSHarness(t, edge.Config{Pace: quick, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				for range next {
					io.WriteString(w, "data: x\n\n")
					http.NewResponseController(w).Flush()
				}
			})})
			next2 := make(chan struct{})
			go func() { next <- struct{}{}; close(next2) }()
			res, err := g.client(proto).Get("https://app.example/")
			if err != nil {
				t.Fatal(err)
			}
			<-next2
			br := bufio.NewReader(res.Body)
			for range 2 {
				if line, err := br.ReadString('\n'); err != nil || line != "data: x\n" {
					t.Fatalf("got %q, %v", line, err)
				}
				br.ReadString('\n')
				if g.Stats().Streams != 1 {
					t.Errorf("%+v", g.Stats())
				}
				time.Sleep(2 * quick.Patience)
				next <- struct{}{}
			}
			close(next)
		})
	}
}

// A call whose client streams may be silent, once the request has been judged.
func TestQuietClientStreamLives(t *testing.T) {
	g := newTLSHarness(t, edge.Config{Pace: quick, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		edge.Stream(&wrapped{w}) // through the wrappers of others
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})})
	pr, pw := io.Pipe()
	go func() {
		for range 3 {
			pw.Write([]byte("x"))
			time.Sleep(2 * quick.Patience)
		}
		pw.Close()
	}()
	res, err := g.client("h2").Post("https://app.example/", "application/grpc", pr)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(res.Body); string(got) != "3 <nil>" {
		t.Errorf("got %q", got)
	}
}

type wrapped struct{ http.ResponseWriter }

func (w *wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A hijacked connection has no deadline of ours left on it, and is a stream.
func TestQuietWebSocketLives(t *testing.T) {
	g := newHarness(t, edge.Config{Pace: quick, Handler: websocket.Handler(func(c *websocket.Conn) { io.Copy(c, c) })})
	c, err := websocket.Dial("ws://"+g.addr+"/", "", "http://a/")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		time.Sleep(2 * quick.Patience)
		io.WriteString(c, "hello")
		buf := make([]byte, 5)
		if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
			t.Fatalf("got %q, %v", buf, err)
		}
	}
	if s := g.Stats(); s.Streams != 1 || s.Requests != 1 {
		t.Errorf("%+v", s)
	}
	c.Close()
	clocktest.Eventually(t, "the stream is over", func() bool { return g.Stats().Streams == 0 })
}

// Keep-alive: a slow request leaves no deadline for the next.
func TestDeadlinesDoNotLeak(t *testing.T) {
	g := newHarness(t, edge.Config{Pace: quick})
	c, br := g.send("")
	for range 3 {
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
		if got := status(t, br); got != 200 {
			t.Fatal(got)
		}
		time.Sleep(2 * quick.Patience)
	}
	if !strings.HasPrefix(g.addr, "127.") || g.Stats().Accepted != 1 {
		t.Errorf("%+v", g.Stats())
	}
}

// A person who was let through may pause for longer than a stranger, and not for ever.
func TestAdmittedMayPause(t *testing.T) {
	for _, proto := range []string{"http/1.1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			failed := make(chan error, 1)
			g := newTLSHarness(t, edge.Config{Pace: quick, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				edge.Admit(&wrapped{w}, 3*quick.Patience)
				n, err := io.Copy(io.Discard, r.Body)
				if n != 2 {
					err = fmt.Errorf("%d bytes, %w", n, err)
				}
				failed <- err
			})})
			pr, pw := io.Pipe()
			defer pw.Close()
			go func() {
				for range 2 {
					<-time.After(2 * quick.Patience)
					pw.Write([]byte("x"))
				}
			}()
			go g.client(proto).Post("https://app.example/", "text/plain", pr)
			if err := <-failed; !errors.Is(err, edge.ErrSlowBody) || strings.Contains(err.Error(), "bytes") {
				t.Errorf("got %v", err)
			}
		})
	}
}
