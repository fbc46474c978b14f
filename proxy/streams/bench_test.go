package streams

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

func BenchmarkOpenClose(b *testing.B) {
	r := newRegistry(Config{})
	for i := range 10_000 {
		defer r.Open(context.Background(), 0, Info{Session: fmt.Sprint(i)}).Close()
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		now := time.Now()
		for pb.Next() {
			r.Open(context.Background(), r.Epoch(), Info{Session: "77", Opened: now}).Close()
		}
	})
}

// The order alone: 10,000 streams of one session, and of as many.
func BenchmarkCut10000(b *testing.B) {
	for _, sessions := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			r := newRegistry(Config{})
			for b.Loop() {
				b.StopTimer()
				all := make([]*Stream, 10_000)
				for i := range all {
					all[i] = r.Open(context.Background(), r.Epoch(), Info{Session: fmt.Sprint(i % sessions)})
				}
				b.StartTimer()
				if n := r.CutAll(Revoked); n != len(all) {
					b.Fatal(n)
				}
				b.StopTimer()
				for _, s := range all {
					s.Close()
				}
				b.StartTimer()
			}
		})
	}
}

func BenchmarkFrames(b *testing.B) {
	for _, size := range []int{32, 4096} {
		b.Run(fmt.Sprintf("payload=%d", size), func(b *testing.B) {
			var buf []byte
			for len(buf) < 32<<10 {
				buf = append(buf, frame(0x81, make([]byte, size), nil)...)
			}
			f := frames{head: headDone}
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				f.all(buf)
			}
		})
	}
}

// BenchmarkRevokeToClose is the whole way: WebSockets over TCP through a ReverseProxy, one session,
// from the order to the last client holding its close frame. Clients, proxy and upstream
// share this process and its processors.
func BenchmarkRevokeToClose(b *testing.B) {
	const streams = 2_000
	var mu sync.Mutex
	var took, closed []time.Duration
	var perStream uint64
	for b.Loop() {
		b.StopTimer()
		conns := make(chan net.Conn, streams)
		g := newGate(b, Config{}, wsUpstream("", conns), false)
		g.opened = make(chan *Stream, streams)
		g.seen = make(chan observed, streams)
		clients := make([]*wsClient, streams)
		for i := range clients {
			clients[i] = dialWS(b, g, "s", "")
		}
		ups := make([]net.Conn, streams)
		for i := range ups {
			ups[i] = <-conns
		}
		runtime.GC()
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		perStream = (mem.HeapInuse + mem.StackInuse) / streams
		want := Revoked.closeFrame()
		var wg sync.WaitGroup
		b.StartTimer()
		start := time.Now()
		for _, c := range clients {
			wg.Go(func() {
				got := make([]byte, len(want))
				if _, err := io.ReadFull(c, got); err != nil || !slices.Equal(got, want) {
					b.Errorf("% x, %v", got, err)
				}
				d := time.Since(start)
				c.Close()
				mu.Lock()
				took = append(took, d)
				mu.Unlock()
			})
		}
		if n := g.reg.Cut("s", Revoked); n != streams {
			b.Fatal(n)
		}
		wg.Wait()
		b.StopTimer()
		for _, c := range ups {
			c.Close()
		}
		g.done.Wait()
		for range streams {
			closed = append(closed, (<-g.seen).took)
		}
		b.StartTimer()
	}
	slices.Sort(took)
	slices.Sort(closed)
	b.ReportMetric(float64(closed[len(closed)/2])/1e6, "ms-closed-p50")
	b.ReportMetric(float64(closed[len(closed)-1])/1e6, "ms-closed-max")
	b.ReportMetric(float64(took[len(took)-1])/1e6, "ms-received-max")
	b.ReportMetric(float64(perStream), "B/stream") // of client, proxy and upstream together
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRequest is what a stream adds to a request that is nothing special.
func BenchmarkRequest(b *testing.B) {
	r := newRegistry(Config{})
	req := httptest.NewRequest("GET", "/", nil)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		s := r.Open(req.Context(), r.Epoch(), Info{Session: "s", Route: "r", Opened: time.Time{}})
		out := req.WithContext(s.Context())
		s.Writer(w)
		Attach(&http.Response{StatusCode: 200, Body: http.NoBody, Request: out})
		s.Refused()
		s.Close()
	}
}
