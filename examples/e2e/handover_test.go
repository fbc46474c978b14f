package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// socketFor opens what a service manager holds open across restarts.
func socketFor(t *testing.T, origin string) *os.File {
	t.Helper()
	_, addr, _ := strings.Cut(origin, "://")
	_, port, _ := net.SplitHostPort(addr)
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // f holds the socket
	t.Cleanup(func() { f.Close() })
	return f
}

// TestDrainFinishesWhatIsSlow: the order to stop waits for a request whose tool takes its time, and for
// a download, and ends a stream at once.
func TestDrainFinishesWhatIsSlow(t *testing.T) {
	t.Parallel()
	slow := newSlowTool(t)
	s := newHarness(t, func(cfg string) string { return strings.Replace(cfg, "    to: ", "    to: "+slow.URL+" # ", 1) })
	c := newClient(t, s, home)
	ticket := s.ticket(alice.Email)
	c.signIn(ticket, alice.Sub)
	c.enrol(ticket)
	c.prove()
	got := make(chan string, 3)
	for _, path := range []string{"/think", "/download", "/events"} {
		go func() {
			r, err := http.NewRequest(http.MethodPost, s.treasury+path, strings.NewReader(""))
			if err != nil {
				got <- err.Error()
				return
			}
			a, err := c.do(r)
			got <- fmt.Sprint(path, " ", a.status, " ", a.body, " ", err)
		}()
	}
	for range 3 {
		<-slow.began
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	if end := <-got; !strings.HasPrefix(end, "/events 200 ") || !strings.Contains(end, `"reason":"shutdown"`) {
		t.Errorf("first ended: %s", end)
	}
	close(slow.finish)
	ends := []string{<-got, <-got}
	slices.Sort(ends)
	if want := []string{"/download 200 first, last <nil>", "/think 200 done <nil>"}; !slices.Equal(ends, want) {
		t.Errorf("%q, want %q", ends, want)
	}
	<-s.exited
}

// slowTool begins, and finishes when it is told to.
type slowTool struct {
	*httptest.Server
	began  chan struct{}
	finish chan struct{}
}

func newSlowTool(t *testing.T) *slowTool {
	s := &slowTool{began: make(chan struct{}, 8), finish: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/think":
			s.began <- struct{}{}
			<-s.finish
			fmt.Fprint(w, "done")
		case "/download":
			fmt.Fprint(w, "first, ")
			http.NewResponseController(w).Flush()
			s.began <- struct{}{}
			<-s.finish
			fmt.Fprint(w, "last")
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			http.NewResponseController(w).Flush()
			s.began <- struct{}{}
			<-r.Context().Done()
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// TestRestartLosesNoRequest: under continuous load, the product is told to stop and is started
// again on the sockets that the service manager holds (systemd socket activation). Requests that may not
// be repeated all get their answer, at worst a moment later.
func TestRestartLosesNoRequest(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	c := newClient(t, s, home)
	c.getIn(alice)
	s.stop(syscall.SIGTERM)
	s.sockets = []*os.File{socketFor(t, s.base), socketFor(t, s.ops)}
	s.start()

	var done, stop atomic.Int64
	failures := make(chan string, 64)
	fail := func(format string, args ...any) {
		select {
		case failures <- fmt.Sprintf(format, args...):
		default:
		}
	}
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for n := 0; stop.Load() == 0; n++ {
				body := fmt.Sprintf("payment %d of %d", n, i)
				r, err := http.NewRequest(http.MethodPost, s.treasury+"/pay", strings.NewReader(body))
				if err != nil {
					fail("%v", err)
					return
				}
				r.GetBody = nil // net/http must not send it again by itself
				if a, err := c.do(r); err != nil || a.status != http.StatusOK {
					fail("%s: %d %v", body, a.status, err)
				}
				done.Add(1)
			}
		})
	}
	// more waits until the clients have had as many answers again.
	more := func(n int64) {
		t.Helper()
		for want, deadline := done.Load()+n, time.Now().Add(time.Minute); done.Load() < want; {
			if time.Now().After(deadline) {
				t.Fatalf("%d answers, then no more", done.Load())
			}
			<-time.After(5 * time.Millisecond)
		}
	}
	for range 3 {
		more(100)
		s.stop(syscall.SIGTERM)
		s.start()
	}
	more(100)
	stop.Store(1)
	clients.Wait()
	close(failures)
	for f := range failures {
		t.Error(f)
	}
	if reached := int64(s.reached(home)); reached < done.Load() {
		t.Errorf("%d answers, %d requests at the tool", done.Load(), reached)
	}
}
