package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/authn/session"
	"sallyport/proxy/streams"
)

// opsHandler serves /healthz, /readyz and /metrics, on a port of its own: none of it is
// reachable through the data port.
func (a *app) opsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("GET /routes", a.routeStates)
	if a.config.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), opsCollector{a})
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{registry, a.registry}, promhttp.HandlerOpts{}))
	return knownHosts(a.config.OpsHosts, mux)
}

// routeStates is what `sallyport routes` prints.
func (a *app) routeStates(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a.upstream.State(a.gate.Current().Routes))
}

// condition is one thing that has to work for people to get through.
type condition struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Note  string `json:"note,omitempty"` // what does not keep anybody out, and has to be seen to
}

func (a *app) conditions(r *http.Request) (list []condition, ready bool) {
	ready = true
	add := func(name string, err error) {
		c := condition{Name: name, OK: err == nil}
		if err != nil {
			c.Error, ready = err.Error(), false
		}
		list = append(list, c)
	}
	add("serving", a.serving())
	add("store", a.pingStore(r.Context()))
	add("audit", a.audit.Health())
	add("openid_provider", a.provider.Ready())
	add("history", a.historyUnknown())
	var missing []error
	var kept []string
	for _, s := range a.intel.Current().Sources() {
		if s.Missing {
			missing = append(missing, fmt.Errorf("%s is not loaded: %s", s.Name, s.Err))
		} else if s.Err != "" {
			kept = append(kept, s.Name+" keeps what it had: "+s.Err)
		}
	}
	add("ip_data", errors.Join(missing...))
	list[len(list)-1].Note = strings.Join(kept, "; ")
	// Requests go on without a log, so that it is no reason to send them elsewhere.
	list = append(list, condition{Name: "log", OK: true})
	if err := a.logHealth(); err != nil {
		list[len(list)-1].Note = err.Error()
	}
	return list, ready
}

// serving fails from the order to stop on, so that a load balancer sends no more
// requests while the last ones finish.
func (a *app) serving() error {
	if a.stopping.Load() {
		return errors.New("stopping")
	}
	return nil
}

// logHealth says what is wrong with the reader of the log.
func (a *app) logHealth() error {
	if a.lines == nil {
		return nil
	}
	return a.lines.Health()
}

// pingStore gives up before whoever asks does.
func (a *app) pingStore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return a.store.Ping(ctx)
}

// countSessions gives up as pingStore does.
func (a *app) countSessions(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	list, err := a.sessions.List(ctx, session.Filter{})
	return len(list), err
}

// readyz says whether people can get in, and if not, why not.
func (a *app) readyz(w http.ResponseWriter, r *http.Request) {
	list, ready := a.conditions(r)
	w.Header().Set("Content-Type", "application/json")
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"ready": ready, "conditions": list})
}

// opsCollector reads the product's state when it is asked for: nothing is counted twice.
type opsCollector struct{ app *app }

var (
	descSourceAge      = prometheus.NewDesc("sallyport_ip_source_age_seconds", "Time since the IP source was built.", []string{"source"}, nil)
	descSourceFailures = prometheus.NewDesc("sallyport_ip_source_failed_loads", "Loads of the IP source refused since the last one that was not.", []string{"source"}, nil)
	descSourceLoaded   = prometheus.NewDesc("sallyport_ip_source_loaded", "1 if the IP source is loaded.", []string{"source"}, nil)
	descSourceNetworks = prometheus.NewDesc("sallyport_ip_source_networks", "Networks in the IP source.", []string{"source"}, nil)
	descSwaps          = prometheus.NewDesc("sallyport_ip_data_swaps_total", "Times that new IP data came into use.", nil, nil)
	descLookupFaults   = prometheus.NewDesc("sallyport_ip_lookup_faults_total", "Answers lost to IP data that could not be read at an address.", nil, nil)
	descDataRefused    = prometheus.NewDesc("sallyport_ip_data_refused", "1 if the newest content of the IP source was refused, for the people it would lock out or as unlike what was there; the source keeps what it had.", []string{"source"}, nil)
	descDataChanges    = prometheus.NewDesc("sallyport_ip_data_changes_total", "Changes of IP data that the guard against lock-outs judged.", []string{"outcome"}, nil)
	descReloads        = prometheus.NewDesc("sallyport_config_reloads_total", "Reloads of the configuration since the start.", []string{"outcome"}, nil)
	descReloaded       = prometheus.NewDesc("sallyport_config_reloaded", "0 if the last reload was refused and what ran before goes on.", nil, nil)
	descSessions       = prometheus.NewDesc("sallyport_sessions", "Sessions that are alive; missing while the store does not answer.", nil, nil)
	descPolicyRefused  = prometheus.NewDesc("sallyport_policy_reload_refused", "Whether (1) the last policy that somebody wanted in force was refused, and what ran before goes on.", nil, nil)
	descPolicies       = prometheus.NewDesc("sallyport_policy_changes_total", "Policies that somebody wanted in force since the start.", []string{"outcome"}, nil)
	descRejudged       = prometheus.NewDesc("sallyport_sessions_rejudged", "Live sessions that the last change of policy or IP data judged again, by what it changed.", []string{"change"}, nil)
	descStreams        = prometheus.NewDesc("sallyport_open_streams", "Open streams, by kind.", []string{"kind"}, nil)
	descShedRequests   = prometheus.NewDesc("sallyport_requests_in_flight", "Requests that are being handled.", nil, nil)
	descShed           = prometheus.NewDesc("sallyport_shed_total", "Requests answered 503 because there were too many.", nil, nil)
	descInspected      = prometheus.NewDesc("sallyport_inspected_bytes", "Bytes that are held of messages to JSON-RPC routes.", nil, nil)
	descInspectedFull  = prometheus.NewDesc("sallyport_inspected_refused_total", "Messages that were refused because too much of others was held.", nil, nil)
	descMemoryShort    = prometheus.NewDesc("sallyport_memory_short", "1 while memory is so short that strangers get 503.", nil, nil)
	descUpstreamUp     = prometheus.NewDesc("sallyport_upstream_healthy", "1 if the upstream would be given requests now.", []string{"route", "upstream"}, nil)
	descAuditRecords   = prometheus.NewDesc("sallyport_audit_records_total", "Records in the audit log.", nil, nil)
	descLogLost        = prometheus.NewDesc("sallyport_log_lines_lost_total", "Lines of the log that were dropped because standard error was not read or could not be written.", nil, nil)
	descHealthy        = prometheus.NewDesc("sallyport_healthy", "1 if the part works.", []string{"part"}, nil)
)

func (opsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSourceAge, descSourceFailures, descSourceLoaded, descSourceNetworks, descSwaps, descLookupFaults, descDataRefused, descDataChanges, descSessions, descStreams, descShedRequests, descShed, descInspected, descInspectedFull, descMemoryShort, descUpstreamUp, descReloads, descReloaded, descPolicyRefused, descPolicies, descRejudged, descAuditRecords, descLogLost, descHealthy,
		descHistoryKept, descHistoryWaiting, descHistoryDropped, descHistoryErrors} {
		out <- d
	}
}

func (c opsCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	up := func(ok bool) float64 {
		if ok {
			return 1
		}
		return 0
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	now := time.Now()
	for _, s := range c.app.intel.Current().Sources() {
		gauge(descSourceLoaded, up(!s.Missing), s.Name)
		if !s.Missing {
			gauge(descSourceAge, now.Sub(s.Built).Seconds(), s.Name)
		}
		gauge(descSourceNetworks, float64(s.Networks), s.Name)
		gauge(descSourceFailures, float64(s.Failures), s.Name)
		gauge(descDataRefused, up(s.Refused), s.Name)
	}
	dataApplied, dataRefused := c.app.data.Stats()
	counter(descDataChanges, float64(dataApplied), "applied")
	counter(descDataChanges, float64(dataRefused), "refused")
	stats := c.app.intel.Stats()
	counter(descSwaps, float64(stats.Swaps))
	counter(descLookupFaults, float64(stats.LookupFaults))
	counter(descReloads, float64(c.app.reloads.applied.Load()), "applied")
	counter(descReloads, float64(c.app.reloads.refused.Load()), "refused")
	gauge(descReloaded, up(!c.app.reloads.lastRefused.Load()))
	if n, err := c.app.countSessions(context.Background()); err == nil {
		gauge(descSessions, float64(n))
	}
	changes := c.app.policies.Stats()
	gauge(descPolicyRefused, up(changes.Pending))
	counter(descPolicies, float64(changes.Applied), "applied")
	counter(descPolicies, float64(changes.Refused), "refused")
	if t := c.app.gate.Reviewed(); t != nil {
		for change, n := range map[string]int64{"none": t.Judged - t.Changed(), "newly_blocked": t.Blocked, "newly_stepped_up": t.SteppedUp, "newly_allowed": t.Allowed} {
			gauge(descRejudged, float64(n), change)
		}
	}
	for _, k := range []streams.Kind{streams.Download, streams.WebSocket, streams.EventStream, streams.GRPC, streams.Upgrade} {
		gauge(descStreams, float64(c.app.streams.Count(k)), k.String())
	}
	shed := c.app.shed.Stats()
	gauge(descShedRequests, float64(shed.Requests))
	counter(descShed, float64(shed.ShedFull+shed.ShedMemory))
	gauge(descMemoryShort, up(shed.MemoryFull))
	gauge(descInspected, float64(c.app.streams.Inspected.Used()))
	counter(descInspectedFull, float64(c.app.streams.Inspected.Refused()))
	for _, r := range c.app.upstream.State(c.app.gate.Current().Routes) {
		for _, u := range r.Upstreams {
			gauge(descUpstreamUp, up(u.Healthy), r.Route, u.URL)
		}
	}
	counter(descAuditRecords, float64(c.app.audit.Size()))
	if c.app.lines != nil {
		counter(descLogLost, float64(c.app.lines.Lost()))
	}
	collectHistory(c.app.behavior, gauge, counter)
	gauge(descHealthy, up(c.app.behavior.Known()), "history")
	gauge(descHealthy, up(c.app.pingStore(context.Background()) == nil), "store")
	gauge(descHealthy, up(c.app.audit.Health() == nil), "audit")
	gauge(descHealthy, up(c.app.logHealth() == nil), "log")
	gauge(descHealthy, up(c.app.provider.Ready() == nil), "openid_provider")
}
