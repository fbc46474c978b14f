package proxy

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/proxy/observe"
	"sallyport/proxy/upstream"
)

// A route over its limit hides no other route that is over the same one, nor requests
// without a route.
func TestExceededNamesEachRoute(t *testing.T) {
	observer, err := observe.New(observe.Config{Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	g := &Gate{cfg: Config{Observe: observer, Logger: slog.New(slog.NewTextHandler(&log, nil))}}
	for range 2 {
		for _, name := range []string{"treasury", "wiki"} {
			g.exceeded("message_bytes", "body_bytes of route "+name, &Verdict{Route: &upstream.Route{Name: name}})
		}
		g.exceeded("message_bytes", "limits.message_bytes", &Verdict{})
	}
	for _, want := range []string{"route=treasury", "route=wiki", "limits.message_bytes"} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("%s is there %d times:\n%s", want, n, log.String())
		}
	}
}
