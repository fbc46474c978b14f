package proxy_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/proxy"
	"sallyport/proxy/observe"
)

// lines is a log that tells of each line.
type lines chan []byte

func (l lines) Write(p []byte) (int, error) {
	l <- append([]byte(nil), p...)
	return len(p), nil
}

// A WebSocket outlives its handler, and with it net/http's goroutine and buffers. It is one access
// event, when it has ended.
func TestWebSocketIsReportedWhenItEnds(t *testing.T) {
	log, returned := make(lines, 100), make(chan struct{}, 100)
	observer, err := observe.New(observe.Config{Registry: prometheus.NewRegistry(), Routes: []string{"treasury"}, Access: slog.New(slog.NewJSONHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	l := newLive(t, func(p *setup) { p.change = func(c *proxy.Config) { c.Observe = observer } })
	alice := l.enrolled("alice", home)
	for len(log) > 0 {
		<-log
	}
	gate := l.gate
	l.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate.ServeHTTP(w, r)
		returned <- struct{}{}
	})
	s := l.open(alice, "ws")
	<-returned
	s.alive()
	if len(log) > 0 {
		t.Errorf("reported while it is open: %s", <-log)
	}
	s.conn.Close()
	s.peer.conn.Close()
	var e struct {
		Route, Action, User string
		Status              int
	}
	select {
	case line := <-log:
		if err := json.Unmarshal(line, &e); err != nil || e.Route != "treasury" || e.Action != "allow" || e.Status != 101 || e.User != "alice@example.test" {
			t.Errorf("%v: %s", err, line)
		}
	case <-time.After(patience):
		t.Fatal("its end was not reported")
	}
}
