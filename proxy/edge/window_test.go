package edge_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/proxy/edge"
)

// TestStalledUploadsLeaveRoom: over HTTP/2 all requests of a browser share one connection.
// Uploads that are not read yet leave room for a small POST beside them.
func TestStalledUploadsLeaveRoom(t *testing.T) {
	const uploads = 10
	stalled, release := make(chan struct{}, uploads), make(chan struct{})
	g := startTLS(t, edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
