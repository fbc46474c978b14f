// Package observe tells operators what the proxy does: one event for each request, as a
// log line and in Prometheus metrics.
//
// It observes and nothing else: no decision rests on it, and nothing in it can fail a
// request or make it wait (Lines). Metrics carry no user or address, so that their number
// stays bounded by the configuration; the access log carries both, so restrict its
// readers. Events that must not be lost belong to the audit log (proxy/audit).
package observe

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Event is one request, filled in on its way.
type Event struct {
	Method   string
	Host     string
	Path     string // canonical, without the query, which may hold secrets
	Route    string // "" for Sallyport's own pages and for nothing
	Action   string // "allow", "step_up", "block", "page", "refused", "error"
	User     string
	Session  string // public handle
	IP       string
	Country  string
	Incident string
	Status   int
	Bytes    int64
	Verdict  time.Duration // how long the judgement took
	Added    time.Duration // from the first line of ours to the upstream's turn; 0 if it had none
	Total    time.Duration
}

// Config of an Observer.
type Config struct {
	Registry *prometheus.Registry
	Routes   []string     // names, for which counters exist from the start
	Access   *slog.Logger // one line a request; nil for none
}

// Observer takes events. It is safe for concurrent use.
type Observer struct {
	access   *slog.Logger
	requests *prometheus.CounterVec
	shadow   [3][3]prometheus.Counter      // by what was done and what the policy in shadow would have done
	known    map[series]prometheus.Counter // resolved once: no hashing of labels for each request
	verdict  prometheus.Histogram
	added    prometheus.Histogram
	total    *prometheus.HistogramVec
	totals   map[string]prometheus.Observer
	Closed   prometheus.Histogram          // from the order to cut a stream to its end
	Limited  *prometheus.CounterVec        // by endpoint
	Exceeded *prometheus.CounterVec        // by the key of the limit
	mu       sync.Mutex                    // guards said and ruled
	said     map[[2]string]*rate.Sometimes // by limit and route
	Stopped  *prometheus.CounterVec        // ceremonies that a browser did not go through with, by phase and error
	// Unanswered are the times, by route, that a person was told that proving again would
	// not help.
	Unanswered *prometheus.CounterVec
	Shared     prometheus.Counter // private addresses that several people came from
	rules      *prometheus.CounterVec
	ruled      map[string][]string // names that have series in rules, by label of the policy
}

type series struct {
	route, action string
	class         int
}

var actions = []string{"allow", "step_up", "block", "page", "refused", "error"}

// New registers the metrics.
func New(c Config) (*Observer, error) {
	o := &Observer{
		access:   c.Access,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_requests_total", Help: "Requests, by route (empty: none), action and class of status."}, []string{"route", "action", "status"}),
		verdict: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sallyport_verdict_seconds", Help: "Time to judge a request.",
			Buckets: []float64{1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 5e-4, 1e-3, 1e-2, 1e-1}}),
		added: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sallyport_added_seconds", Help: "Time between the arrival of a request and its forwarding.",
			Buckets: []float64{1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 1e-2, 1e-1}}),
		total: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sallyport_request_seconds", Help: "Time to answer a request, the upstream's included.", Buckets: prometheus.DefBuckets}, []string{"route"}),
		Closed: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sallyport_revoke_to_close_seconds", Help: "Time between the order to cut a stream and its end.",
			Buckets: []float64{1e-4, 1e-3, 5e-3, 1e-2, 5e-2, .1, .5, 1, 5}}),
		Exceeded:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_limit_exceeded_total", Help: "Requests, messages and connections that were more than a limit lets through, by its key."}, []string{"limit"}),
		Limited:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_rate_limited_total", Help: "Requests answered 429, by endpoint."}, []string{"endpoint"}),
		Stopped:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_ceremonies_stopped_total", Help: "Passkey ceremonies that a browser reports not to have gone through with, by phase and error."}, []string{"phase", "error"}),
		Unanswered: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_unanswered_proofs_total", Help: "Times that a rule went on asking after two proofs, so that the person was told why, by route."}, []string{"route"}),
		Shared:     prometheus.NewCounter(prometheus.CounterOpts{Name: "sallyport_shared_private_address_total", Help: "Times that several people came from one private address within a quarter of an hour."}),
		rules:      newRules(),
		ruled:      map[string][]string{},
		known:      map[series]prometheus.Counter{},
		totals:     map[string]prometheus.Observer{},
		said:       map[[2]string]*rate.Sometimes{},
	}
	for _, collector := range []prometheus.Collector{o.requests, o.verdict, o.added, o.total, o.Closed, o.Limited, o.Exceeded, o.Stopped, o.Shared, o.Unanswered, o.rules} {
		if err := c.Registry.Register(collector); err != nil {
			return nil, err
		}
	}
	shadow := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_policy_shadow_total", Help: "Requests, by what was done and what the policy in shadow would have done."}, []string{"enforced", "shadow"})
	if err := c.Registry.Register(shadow); err != nil {
		return nil, err
	}
	for i, enforced := range verdicts {
		for j, instead := range verdicts {
			o.shadow[i][j] = shadow.WithLabelValues(enforced, instead)
		}
	}
	for _, limit := range limits {
		o.Exceeded.WithLabelValues(limit)
	}
	for _, route := range append([]string{""}, c.Routes...) {
		o.totals[route] = o.total.WithLabelValues(route)
		for _, action := range actions {
			for class := 1; class <= 5; class++ {
				o.known[series{route, action, class}] = o.requests.WithLabelValues(route, action, classes[class])
			}
		}
	}
	return o, nil
}

// verdicts are in the order of policy.Action.
var verdicts = [...]string{"block", "step_up", "allow"}

// limits are the labels of Exceeded: the keys below `limits:`, those of a route, and what
// has no key: "memory", and the limits that are fixed.
var limits = []string{"url_bytes", "header_lines", "header_bytes", "body_bytes", "message_bytes", "message_time", "inspected_bytes",
	"requests", "streams", "streams_per_session", "connections", "connections_per_client", "ceremonies_per_minute", "changes_per_minute", "memory",
	"batch_calls", "message_form", "form_bytes", "http2_streams", "connect_timeout", "response_timeout", "idle_timeout", "total_timeout",
	"max_connections", "waiting", "response_header_bytes", "upgrade_bytes"}

// Exceed counts that a limit was exceeded and logs it, at most once a minute for each limit
// and route: clients can exceed limits as often as they like, and a route that does it all
// the time hides no other. route is that of the request or message, "" where there is none.
// A nil Observer only logs.
func (o *Observer) Exceed(log *slog.Logger, limit, route string, attrs func() []slog.Attr) {
	say := func() {
		log.LogAttrs(context.Background(), slog.LevelWarn, "limit exceeded", attrs()...)
	}
	if o == nil {
		say()
		return
	}
	o.Exceeded.WithLabelValues(limit).Inc()
	o.mu.Lock()
	key := [2]string{limit, route}
	s := o.said[key]
	if s == nil {
		s = &rate.Sometimes{Interval: time.Minute}
		o.said[key] = s
	}
	o.mu.Unlock()
	s.Do(say)
}

// Shadow counts a request that a policy in shadow judged too. Both are a policy.Action.
func (o *Observer) Shadow(enforced, instead int) { o.shadow[enforced][instead].Inc() }

var classes = [...]string{"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"}

// Request takes the event of a request that is over.
func (o *Observer) Request(e *Event) {
	class := e.Status / 100
	if class < 1 || class > 5 {
		class = 5
	}
	// What is not known from the start (a route added by a reload) takes the slow way.
	if c, ok := o.known[series{e.Route, e.Action, class}]; ok {
		c.Inc()
	} else {
		o.requests.WithLabelValues(e.Route, e.Action, classes[class]).Inc()
	}
	o.verdict.Observe(e.Verdict.Seconds())
	if e.Added > 0 {
		o.added.Observe(e.Added.Seconds())
	}
	if h, ok := o.totals[e.Route]; ok {
		h.Observe(e.Total.Seconds())
	}
	if o.access != nil && o.access.Enabled(context.Background(), slog.LevelInfo) {
		o.log(e)
	}
}

func (o *Observer) log(e *Event) {
	o.access.LogAttrs(context.Background(), slog.LevelInfo, "access",
		slog.String("method", e.Method), slog.String("host", e.Host), slog.String("path", e.Path), slog.Int("status", e.Status),
		slog.String("route", e.Route), slog.String("action", e.Action), slog.String("user", e.User), slog.String("session", e.Session),
		slog.String("ip", e.IP), slog.String("country", e.Country), slog.Int64("bytes", e.Bytes),
		slog.Float64("ms", float64(e.Total.Microseconds())/1000), slog.String("incident", e.Incident))
}

// Writer is an http.ResponseWriter that remembers the answer. Everything else (flushing,
// hijacking, deadlines) reaches the server's own writer through Unwrap.
type Writer struct {
	http.ResponseWriter
	Status int
	Bytes  int64
}

// Reset makes w ready for another request.
func (w *Writer) Reset(to http.ResponseWriter) { *w = Writer{ResponseWriter: to} }

// Unwrap is for http.ResponseController.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *Writer) WriteHeader(status int) {
	// 1xx answers come before the one that counts, but for 101, which is the last.
	if w.Status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.Status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *Writer) Write(p []byte) (int, error) {
	if w.Status == 0 {
		w.Status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.Bytes += int64(n)
	return n, err
}

// Means tells the Writer around w, if there is one, the HTTP status that the answer
// stands for when it differs from the one sent: a gRPC call that failed is answered with
// 200.
func Means(w http.ResponseWriter, status int) {
	for {
		switch v := w.(type) {
		case *Writer:
			v.Status = status
			return
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return
		}
	}
}

// Answered is the status that was sent, or that the answer stands for: 200 if none was
// set.
func (w *Writer) Answered() int {
	if w.Status == 0 {
		return http.StatusOK
	}
	return w.Status
}
