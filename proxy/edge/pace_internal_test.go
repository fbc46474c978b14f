package edge

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stallRig runs a stall in a bubble of fake time.
func stallRig(t *testing.T, run func(s *stall, cut *atomic.Int32)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cut := new(atomic.Int32)
		s := &stall{pace: Pace{Patience: 30 * time.Second, MinRate: 100}, left: 30 * time.Second}
		s.cut = func() { cut.Add(1) }
		run(s, cut)
	})
}

func TestPatience(t *testing.T) {
	t.Run("silence is cut", func(t *testing.T) {
		stallRig(t, func(s *stall, cut *atomic.Int32) {
			s.begin(0)
			time.Sleep(31 * time.Second)
			synctest.Wait()
			if !s.end(0) || cut.Load() != 1 {
				t.Error("not cut")
			}
		})
	})
	t.Run("a trickle is cut after the patience in all", func(t *testing.T) {
		stallRig(t, func(s *stall, cut *atomic.Int32) {
			start := time.Now()
			for cut.Load() == 0 && time.Since(start) < time.Hour {
				s.begin(0)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				s.end(1)
			}
			if d := time.Since(start); d > 40*time.Second {
				t.Errorf("one byte every ten seconds went on for %s", d)
			}
		})
	})
	t.Run("a slow line that moves is not", func(t *testing.T) {
		stallRig(t, func(s *stall, cut *atomic.Int32) {
			for range 1000 {
				s.begin(0)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				s.end(1200)
			}
			if cut.Load() != 0 {
				t.Error("120 bytes/s were cut at a minimum of 100")
			}
		})
	})
	t.Run("our own slowness costs nothing", func(t *testing.T) {
		stallRig(t, func(s *stall, cut *atomic.Int32) {
			for range 10 {
				s.begin(0)
				time.Sleep(time.Second)
				s.end(200)
				time.Sleep(time.Hour)
				synctest.Wait()
			}
			if cut.Load() != 0 {
				t.Error("cut while nobody waited for the client")
			}
		})
	})
	t.Run("credit does not pile up", func(t *testing.T) {
		stallRig(t, func(s *stall, cut *atomic.Int32) {
			s.begin(0)
			s.end(1 << 30)
			s.begin(0)
			time.Sleep(31 * time.Second)
			synctest.Wait()
			if cut.Load() != 1 {
				t.Error("a fast start paid for silence")
			}
			s.end(0)
		})
	})
	t.Run("a timer that comes too late cuts nothing", func(t *testing.T) {
		stallRig(t, func(s *stall, cut *atomic.Int32) {
			s.begin(0)
			s.end(0)
			s.fire() // it was on its way when end stopped it
			if cut.Load() != 0 {
				t.Error("what came after was cut")
			}
		})
	})
	t.Run("a large write has time, but not for ever", func(t *testing.T) {
		stallRig(t, func(s *stall, cut *atomic.Int32) {
			s.begin(1 << 30)
			time.Sleep(59 * time.Second)
			synctest.Wait()
			if cut.Load() != 0 {
				t.Error("cut early")
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if cut.Load() != 1 {
				t.Error("not cut")
			}
			s.end(0)
		})
	})
}

// hijackable is net/http's ResponseWriter, as far as an exchange needs it.
type hijackable struct{ *httptest.ResponseRecorder }

func (hijackable) SetReadDeadline(time.Time) error  { return nil }
func (hijackable) SetWriteDeadline(time.Time) error { return nil }
func (hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, _ := net.Pipe()
	return conn, nil, nil
}

// A goroutine may still wait for the client when its connection is detached. That it does not keep the
// pace has no consequence any more: there is nothing of net/http's to act on.
func TestPaceOfADetachedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{Handler: http.NotFoundHandler(), Limits: Limits{HeaderBytes: 1 << 15, Headers: 100, URLBytes: 1 << 12, Connections: 10, ConnectionsPerClient: 10}})
		if err != nil {
			t.Fatal(err)
		}
		s.handlers.Add(1)
		waiting, write := io.Pipe()
		x := newExchange(s, hijackable{httptest.NewRecorder()}, httptest.NewRequest("POST", "/", waiting))
		read := make(chan struct{})
		go func(body io.Reader) {
			defer close(read)
			body.Read(make([]byte, 1))
		}(x.body)
		synctest.Wait()
		x.writing.begin(0)
		if _, _, err := x.Hijack(); err != nil {
			t.Fatal(err)
		}
		over := Detach(x)
		x.finish()
		time.Sleep(2 * s.config.Pace.Patience)
		synctest.Wait()
		if n, m := s.counts.slowBodies.Load(), s.counts.slowReaders.Load(); n != 1 || m != 1 {
			t.Errorf("%d and %d timers have fired", n, m)
		}
		write.Close()
		<-read
		over()
	})
}
