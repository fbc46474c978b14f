package edge_test

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/authn/clocktest"
	"sallyport/proxy/edge"
	"sallyport/proxy/proxytest"
)

// busy is a handler that waits, and says when it has begun.
type busy struct {
	begun   chan struct{}
	release chan struct{}
}

func newBusy() *busy { return &busy{make(chan struct{}, 100), make(chan struct{})} }

func (b *busy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/events" {
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
	}
	b.begun <- struct{}{}
	<-b.release
}

func (g *harness) statusOf(path string) (int, string) {
	res, err := g.client("http/1.1").Get("http://" + g.addr + path)
	if err != nil {
		g.t.Error(err)
		return 0, ""
	}
	defer res.Body.Close()
	return res.StatusCode, res.Header.Get("Retry-After")
}

func TestShedding(t *testing.T) {
	shed := must(proxytest.NewShedder(edge.ShedConfig{Requests: 2, Streams: 1, RetryAfter: 7 * time.Second}))
	b := newBusy()
	g := newHarness(t, edge.Config{Handler: b, Shed: shed})
	ops := newHarness(t, edge.Config{}) // its own server, without a shedder
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { g.statusOf("/") })
		<-b.begun
	}
	if code, after := g.statusOf("/"); code != 503 || after != "7" {
		t.Errorf("beyond the limit: %d, Retry-After %q", code, after)
	}
	if code, _ := ops.statusOf("/healthz"); code != 200 {
		t.Errorf("the ops listener: %d", code)
	}
	b.release <- struct{}{}
	clocktest.Eventually(t, "a place is free", func() bool { return shed.Stats().Requests == 1 })

	// A stream has a place of its own as soon as it is one.
	wg.Go(func() { g.statusOf("/events") })
	<-b.begun
	wg.Go(func() { g.statusOf("/") })
	<-b.begun
	if s := shed.Stats(); s.Streams != 1 || s.Requests != 2 || s.ShedFull != 1 {
		t.Errorf("%+v", s)
	}
	// Where there is none, it keeps a request's.
	b.release <- struct{}{}
	b.release <- struct{}{}
	close(b.release)
	wg.Wait()
	clocktest.Eventually(t, "all places are free", func() bool { return shed.Stats().Streams == 0 && shed.Stats().Requests == 0 })
}

func TestStreamsBeyondTheirLimitCountAsRequests(t *testing.T) {
	shed := must(proxytest.NewShedder(edge.ShedConfig{Requests: 2, Streams: 1}))
	b := newBusy()
	g := newHarness(t, edge.Config{Handler: b, Shed: shed})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { g.statusOf("/events") })
		<-b.begun
	}
	if code, _ := g.statusOf("/"); code != 503 {
		t.Errorf("got %d", code)
	}
	close(b.release)
	wg.Wait()
	clocktest.Eventually(t, "all places are free", func() bool { return shed.Stats().Streams == 0 && shed.Stats().Requests == 0 })
}

func TestQueue(t *testing.T) {
	shed := must(proxytest.NewShedder(edge.ShedConfig{Requests: 1, Queued: 1, QueueFor: time.Minute}))
	b := newBusy()
	g := newHarness(t, edge.Config{Handler: b, Shed: shed})
	var wg sync.WaitGroup
	wg.Go(func() { g.statusOf("/") })
	<-b.begun
	wg.Go(func() {
		if code, _ := g.statusOf("/"); code != 200 {
			t.Errorf("the one in the queue got %d", code)
		}
	})
	clocktest.Eventually(t, "one waits", func() bool { return shed.Stats().Queued == 1 })
	if code, _ := g.statusOf("/"); code != 503 {
		t.Errorf("beyond the queue: %d", code)
	}
	b.release <- struct{}{}
	<-b.begun
	b.release <- struct{}{}
	wg.Wait()
}

func TestQueueEnds(t *testing.T) {
	shed := must(proxytest.NewShedder(edge.ShedConfig{Requests: 1, Queued: 10, QueueFor: 20 * time.Millisecond}))
	b := newBusy()
	g := newHarness(t, edge.Config{Handler: b, Shed: shed})
	var wg sync.WaitGroup
	wg.Go(func() { g.statusOf("/") })
	<-b.begun
	if code, _ := g.statusOf("/"); code != 503 {
		t.Errorf("got %d", code)
	}
	close(b.release)
	wg.Wait()
}

// No wake-up is lost and no limit is passed, however they race.
func TestQueueUnderLoad(t *testing.T) {
	shed := must(proxytest.NewShedder(edge.ShedConfig{Requests: 3, Queued: 1000, QueueFor: time.Minute}))
	var now, most atomic.Int64
	s := must(proxytest.NewServer(edge.Config{Shed: shed, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		now.Add(-1)
	})}))
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 200 {
				w := &discard{}
				r, _ := http.NewRequest("GET", "/", nil)
				s.ServeHTTP(w, r)
				if w.status != 0 {
					t.Errorf("got %d", w.status)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 || shed.Stats().Requests != 0 || shed.Stats().Queued != 0 {
		t.Errorf("%d at once, %+v", most.Load(), shed.Stats())
	}
}

type discard struct {
	h      http.Header
	status int
}

func (d *discard) Header() http.Header {
	if d.h == nil {
		d.h = http.Header{}
	}
	return d.h
}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// Memory. New requests are refused while those that run may end.
func TestAttackMemoryPressure(t *testing.T) {
	var use atomic.Int64
	shed := must(proxytest.NewShedder(edge.ShedConfig{Memory: func() float64 { return float64(use.Load()) / 100 }}))
	go shed.Run(t.Context())
	g := newHarness(t, edge.Config{Shed: shed})
	use.Store(90)
	clocktest.Eventually(t, "noticed", func() bool { return shed.Stats().MemoryFull })
	if code, after := g.statusOf("/"); code != 503 || after == "" {
		t.Errorf("got %d, %q", code, after)
	}
	use.Store(50)
	clocktest.Eventually(t, "over", func() bool { return !shed.Stats().MemoryFull })
	if code, _ := g.statusOf("/"); code != 200 {
		t.Errorf("got %d", code)
	}
}

func TestLiveMemory(t *testing.T) {
	if got := edge.LiveMemory(0)(); got != 0 {
		t.Errorf("without a limit: %v", got)
	}
	if got := edge.LiveMemory(1 << 20)(); got <= 0 {
		t.Errorf("of one megabyte: %v", got)
	}
	if got := edge.LiveMemory(1 << 50)(); got <= 0 || got > 0.001 {
		t.Errorf("of a petabyte: %v", got)
	}
}

func TestShedConfigIsChecked(t *testing.T) {
	for _, c := range []edge.ShedConfig{{Requests: -1}, {Queued: -1}, {MemoryHigh: 2}, {RetryAfter: -1}} {
		if _, err := proxytest.NewShedder(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	for _, zero := range []func(*edge.ShedConfig){
		func(c *edge.ShedConfig) { c.Requests = 0 }, func(c *edge.ShedConfig) { c.Streams = 0 },
		func(c *edge.ShedConfig) { c.QueueFor = 0 }, func(c *edge.ShedConfig) { c.RetryAfter = 0 },
	} {
		c := proxytest.Shed(edge.ShedConfig{})
		zero(&c)
		if _, err := edge.NewShedder(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

// A panic gives the place back.
func TestPanicGivesThePlaceBack(t *testing.T) {
	shed := must(proxytest.NewShedder(edge.ShedConfig{Requests: 1}))
	g := newHarness(t, edge.Config{Shed: shed, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })})
	for range 3 {
		_, br := g.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, err := br.ReadByte(); err != io.EOF {
			t.Errorf("got %v", err)
		}
	}
	if s := shed.Stats(); s.Requests != 0 || s.ShedFull != 0 {
		t.Errorf("%+v", s)
	}
}

func BenchmarkServer(b *testing.B) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	shed := must(proxytest.NewShedder(edge.ShedConfig{}))
	s := must(proxytest.NewServer(edge.Config{Handler: h, Shed: shed}))
	r, _ := http.NewRequest("GET", "/", nil)
	w := &discard{}
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(w, r)
	}
}
