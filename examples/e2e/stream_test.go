package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// streams adds to the upstream what lasts longer than a request and an answer.
func streams(mux *http.ServeMux) {
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: []string{"treasury.localhost:*", "treasury." + company + ":*"}})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(1 << 20)
		if err := conn.Write(r.Context(), websocket.MessageText, []byte("hello "+r.Header.Get("X-Sallyport-User"))); err != nil {
			return
		}
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	})
	// One event at a time: the next is sent when the test has asked for it.
	next := make(chan string)
	mux.HandleFunc("POST /publish", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case next <- string(body):
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			fmt.Fprint(w, ": ready\n\n")
			w.(http.Flusher).Flush()
			select {
			case event := <-next:
				fmt.Fprintf(w, "data: %s\n\n", event)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("GET /think", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("POST /upload", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		fmt.Fprintf(w, "%d %x %v", n, sum.Sum(nil), err)
	})
	mux.HandleFunc("GET /download", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, noise()) })
}

const noiseBytes = 48 << 20

// noise is a large body that is the same every time, and holds no memory.
func noise() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{7}), noiseBytes) }

func TestWebSocketPassesThrough(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	c := newClient(t, s, home)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	header := http.Header{"Origin": {s.treasury}}
	to := strings.Replace(s.treasury, "http", "ws", 1) + "/ws"

	if _, res, err := websocket.Dial(ctx, to, &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: header}); err == nil || res == nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a session: %v %v", res, err)
	}
	c.getIn(alice)
	conn, _, err := websocket.Dial(ctx, to, &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	if _, hello, err := conn.Read(ctx); err != nil || string(hello) != "hello alice@example.com" {
		t.Fatalf("%q %v", hello, err)
	}
	big, err := io.ReadAll(io.LimitReader(noise(), 300<<10))
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range [][]byte{[]byte("one"), {}, big, []byte("after")} {
		if err := conn.Write(ctx, websocket.MessageBinary, message); err != nil {
			t.Fatal(err)
		}
		if _, back, err := conn.Read(ctx); err != nil || !bytes.Equal(back, message) {
			t.Fatalf("%d bytes came back as %d: %v", len(message), len(back), err)
		}
	}
	if err := conn.Close(websocket.StatusNormalClosure, "done"); err != nil {
		t.Errorf("closing: %v", err)
	}
}

// TestEventsArriveOneByOne: nothing holds an event back until the next.
func TestEventsArriveOneByOne(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	c := newClient(t, s, home)
	c.getIn(alice)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.treasury+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	expect := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == want {
				return
			}
		}
		t.Fatalf("the stream ended before %q: %v", want, lines.Err())
	}
	for i := range 5 {
		expect(": ready")
		p, err := http.NewRequestWithContext(ctx, http.MethodPost, s.tool.URL+"/publish", strings.NewReader(fmt.Sprint("block ", i)))
		if err != nil {
			t.Fatal(err)
		}
		published, err := s.tool.Client().Do(p)
		if err != nil {
			t.Fatal(err)
		}
		published.Body.Close()
		expect(fmt.Sprint("data: block ", i))
	}
}

func TestLargeBodiesPassThrough(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	c := newClient(t, s, home)
	c.getIn(alice)
	sum := sha256.New()
	if _, err := io.Copy(sum, noise()); err != nil {
		t.Fatal(err)
	}
	want := hex.EncodeToString(sum.Sum(nil))

	for _, length := range []int64{noiseBytes, -1} { // announced, and in chunks
		r, err := http.NewRequest(http.MethodPost, s.treasury+"/upload", io.NopCloser(noise()))
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = length
		if a := c.must(r, nil); a.status != http.StatusOK || a.body != fmt.Sprintf("%d %s <nil>", noiseBytes, want) {
			t.Errorf("upload: %d %s", a.status, a.body)
		}
	}
	a := c.api(s.treasury + "/download")
	if got := sha256.Sum256([]byte(a.body)); a.status != http.StatusOK || hex.EncodeToString(got[:]) != want {
		t.Errorf("download: %d, %d bytes", a.status, len(a.body))
	}
}
