// Package ops is the operators' port: health, readiness, metrics, the state of routes. It
// reads the product's state through small interfaces when it is asked; nothing is counted
// here. It is served on a port of its own, never through the data port.
//
// It fails by saying so: a part that does not answer makes the readiness check 503 and
// names the part. It changes nothing, and no request of a person depends on it.
package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/authn/session"
	"sallyport/policy/behavior"
	"sallyport/policy/ipintel"
	"sallyport/policy/rehearse"
	"sallyport/proxy"
	"sallyport/proxy/edge"
	"sallyport/proxy/observe"
	"sallyport/proxy/rollout"
	"sallyport/proxy/streams"
	"sallyport/proxy/upstream"
)

// Config is what the port tells about.
type Config struct {
	Hosts    []string // names that it answers for, besides its addresses
	Pprof    bool
	Traffic  prometheus.Gatherer // the metrics of requests
	Stopping func() bool
	Lines    *observe.Lines // nil: the log has no reader that may stop

	Store interface {
		Ping(ctx context.Context) error
	}
	Sessions interface {
		List(ctx context.Context, f session.Filter) ([]session.Record, error)
	}
	Provider interface{ Ready() error }
	Audit    interface {
		Health() error
		Size() int64
	}
	History interface {
		HistoryKnown() bool
		Stats() behavior.Stats
	}
	Intel interface {
		Current() *ipintel.Snapshot
		Stats() ipintel.Stats
	}
	Gate interface {
		Current() *proxy.Snapshot
		Reviewed() *rehearse.Tally
	}
	Upstreams interface {
		State(t *upstream.Table) []upstream.RouteState
	}
	Streams  *streams.Registry
	Shed     interface{ Stats() edge.ShedStats }
	Policies interface {
		Stats() rollout.Stats
		Problem() *rollout.Problem
		ExceptionsProblem() string
	}
	Data interface {
		Stats() (applied, refused int64)
	}
	Reloads interface {
		Stats() (applied, refused int64, lastRefused bool)
	}
}

type ops struct{ Config }

// New returns the handler of the port: /healthz, /readyz, /metrics, /routes and, if
// configured, /debug/pprof/.
func New(c Config) http.Handler {
	o := &ops{c}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", o.readyz)
	mux.HandleFunc("GET /routes", o.routeStates)
	if c.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), o)
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{registry, c.Traffic}, promhttp.HandlerOpts{}))
	return knownHosts(c.Hosts, mux)
}

// routeStates is what `sallyport routes` prints.
func (o *ops) routeStates(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(o.Upstreams.State(o.Gate.Current().Routes))
}
