package edge_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn/clocktest"
	"sallyport/proxy/edge"
)

// TestStalledUploadsLeaveRoom: over HTTP/2 all requests of a browser share one connection.
// Uploads that are not read yet leave room for a small POST beside them.
func TestStalledUploadsLeaveRoom(t *testing.T) {
	const uploads = 10
	stalled, release := make(chan struct{}, uploads), make(chan struct{})
	g := newTLSHarness(t, edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stall" {
			stalled <- struct{}{}
			<-release
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		if n != 4096 {
			t.Errorf("%d bytes", n)
		}
	})})
	client := g.client("h2")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan struct{}, uploads)
	full := make(chan struct{}, uploads)
	for range uploads {
		go func() {
			defer func() { done <- struct{}{} }()
			body := io.MultiReader(strings.NewReader(strings.Repeat("x", 200<<10)), &mark{full}, &neverEnding{ctx})
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://app.example/stall", body)
			if res, err := client.Do(req); err == nil {
				res.Body.Close()
			}
		}()
		<-stalled
	}
	for range uploads {
		select {
		case <-full: // what the upload has is on its way
		case <-ctx.Done():
			t.Fatal("the uploads themselves do not fit")
		}
	}
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://app.example/small", strings.NewReader(strings.Repeat("y", 4096)))
	if res, err := client.Do(req); err != nil {
		t.Errorf("a small POST beside %d uploads that nobody reads: %v", uploads, err)
	} else {
		res.Body.Close()
	}
	close(release)
	cancel()
	for range uploads {
		<-done
	}
}

// mark says that it was read.
type mark struct{ read chan<- struct{} }

func (m *mark) Read([]byte) (int, error) { m.read <- struct{}{}; return 0, io.EOF }

// TestHeldWindowIsNotTheClientsTime: over HTTP/2, uploads that their tool does not read can use up what a client may send
// on its connection. For that time the body of a request that is still to be judged is not too slow. Where the
// client may send and does not, it is.
func TestHeldWindowIsNotTheClientsTime(t *testing.T) {
	const uploads = 20 // of 256 KiB: more than the connection has room for
	release, entered, judged := make(chan struct{}), make(chan *http.Request, 1), make(chan error, 1)
	g := newTLSHarness(t, edge.Config{Pace: quick, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stall" {
			edge.Admit(w, time.Hour)
			<-release
			return
		}
		entered <- r
		_, err := io.Copy(io.Discard, r.Body)
		judged <- err
	})})
	client := g.client("h2")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	post := func(path string, body io.Reader) {
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://app.example"+path, body)
		if res, err := client.Do(req); err == nil {
			res.Body.Close()
		}
	}
	more, rest := io.Pipe()
	defer rest.Close()
	go post("/small", more) // its first byte comes when nothing more may be sent
	r := <-entered
	for range uploads {
		go post("/stall", io.MultiReader(strings.NewReader(strings.Repeat("x", 300<<10)), &neverEnding{ctx}))
	}
	clocktest.Eventually(t, "the window is empty", func() bool { return edge.WindowHeld(r) > 0 })
	go func() {
		rest.Write([]byte("x"))
		rest.Close()
	}()
	select {
	case err := <-judged:
		t.Errorf("a body that could not be sent: %v", err)
	case <-time.After(4 * quick.Patience):
		letGo()
		if err := <-judged; err != nil {
			t.Errorf("when the window was there again: %v", err)
		}
	}
	silent, never := io.Pipe()
	defer never.Close()
	go post("/small", silent)
	<-entered
	if err := <-judged; !errors.Is(err, edge.ErrSlowBody) {
		t.Errorf("a client that may send and does not: %v", err)
	}
}
