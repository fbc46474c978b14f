package trace_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"sallyport/proxy/observe"
	"sallyport/proxy/trace"
)

// receiver is a collector that speaks OTLP over HTTP.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	spans  []*spans.Span
	header http.Header
}

func newReceiver(t *testing.T) *receiver {
	c := &receiver{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		zr, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(zr)
		var req collector.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(body, &req) != nil || r.URL.Path != "/v1/traces" {
			t.Error(r.URL, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.header = r.Header
		for _, rs := range req.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				c.spans = append(c.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *receiver) tracer(t *testing.T, sample float64) *trace.Tracer {
	t.Helper()
	tr, err := trace.New(t.Context(), trace.Config{Endpoint: c.URL + "/v1/traces", Headers: map[string]string{"Api-Key": "secret"}, Sample: sample, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// one traces a request, and returns the header that the tool gets.
func one(tr *trace.Tracer, trusted bool, header http.Header, e observe.Event) http.Header {
	r := httptest.NewRequest("GET", "/secret?q=secret", nil)
	for name, v := range header {
		r.Header[name] = v
	}
	now := time.Now()
	q := tr.Begin(r, trusted, now)
	q.Judged(now, now.Add(time.Millisecond), "allow")
	q.Forwarding(r.Header)
	q.End(&e)
	return r.Header
}

// The spans of a request arrive, in one trace that goes on in the tool, and say nothing
// of people.
func TestSpansArrive(t *testing.T) {
	c := newReceiver(t)
	tr := c.tracer(t, 1)
	e := observe.Event{Method: "GET", Route: "treasury", Action: "allow", Status: 502, Incident: "AAAAA-BBBBB", User: "alice@example.com", Session: "s-1", IP: "203.0.113.7", Host: "secret.example", Path: "/secret", Country: "DE"}
	sent := one(tr, false, nil, e)
	if err := tr.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	byName := map[string]*spans.Span{}
	for _, s := range c.spans {
		byName[s.Name] = s
	}
	root, judge, up := byName["GET treasury"], byName["judge"], byName["upstream"]
	if len(c.spans) != 3 || root == nil || judge == nil || up == nil {
		t.Fatalf("%v", c.spans)
	}
	if string(judge.ParentSpanId) != string(root.SpanId) || string(up.ParentSpanId) != string(root.SpanId) || len(root.ParentSpanId) != 0 {
		t.Errorf("%v", c.spans)
	}
	if want := fmt.Sprintf("00-%x-%x-01", root.TraceId, up.SpanId); sent.Get("Traceparent") != want {
		t.Errorf("the tool got %q, want %q", sent.Get("Traceparent"), want)
	}
	if d := judge.EndTimeUnixNano - judge.StartTimeUnixNano; d != 1e6 {
		t.Errorf("judged in %d ns", d)
	}
	if root.Status.GetCode() != spans.Status_STATUS_CODE_ERROR {
		t.Errorf("%v", root.Status)
	}
	all := fmt.Sprint(c.spans)
	for _, want := range []string{"treasury", "allow", "502", "AAAAA-BBBBB"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in %s", want, all)
		}
	}
	for _, secret := range []string{"alice", "s-1", "203.0.113.7", "secret", "DE\""} {
		if strings.Contains(all, secret) {
			t.Errorf("%s is told: %s", secret, all)
		}
	}
	if c.header.Get("Api-Key") != "secret" {
		t.Error("the collector's header is not sent")
	}
}

// Only what a trusted proxy says is continued, and its wish to sample with it.
func TestWhoseTraceIsContinued(t *testing.T) {
	const theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
	for _, c := range []struct {
		trusted   bool
		flags     string
		sample    float64
		continued bool
		delivered bool
	}{
		{true, "01", 0, true, true},
		{true, "00", 1, true, false},
		{false, "01", 0, false, false},
		{false, "00", 1, false, true},
	} {
		rc := newReceiver(t)
		tr := rc.tracer(t, c.sample)
		sent := one(tr, c.trusted, http.Header{"Traceparent": {theirs + c.flags}, "Tracestate": {"a=b"}}, observe.Event{Method: "BREW", Status: 200})
		if err := tr.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		got := sent.Get("Traceparent")
		if len(got) != 55 || got[3:35] == theirs[3:35] != c.continued || strings.HasPrefix(got, theirs) || (sent.Get("Tracestate") == "a=b") != c.continued {
			t.Errorf("%+v: %q %q", c, got, sent.Get("Tracestate"))
		}
		if (len(rc.spans) > 0) != c.delivered || strings.HasSuffix(got, "01") != c.delivered {
			t.Errorf("%+v: %d spans, %q", c, len(rc.spans), got)
		}
		if c.delivered && !slices.ContainsFunc(rc.spans, func(s *spans.Span) bool { return s.Name == "HTTP" }) {
			t.Errorf("%v", rc.spans)
		}
	}
}

// A collector that is down is a line in the log, and nothing else.
func TestCollectorIsDown(t *testing.T) {
	c := newReceiver(t)
	c.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) })
	log := new(strings.Builder)
	tr, err := trace.New(t.Context(), trace.Config{Endpoint: c.URL + "/v1/traces", Sample: 1, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	one(tr, false, nil, observe.Event{Status: 200})
	if err := tr.Close(context.Background()); err != nil || !strings.Contains(log.String(), "could not be delivered") {
		t.Errorf("%v %s", err, log)
	}
}

// off is how the gate uses a tracer that there is not.
func off(r *http.Request, e *observe.Event, now time.Time) {
	var tr *trace.Tracer
	q := tr.Begin(r, true, now)
	q.Judged(now, now, "allow")
	q.Forwarding(r.Header)
	q.End(e)
}

func TestOffCostsNothing(t *testing.T) {
	r, e, now := httptest.NewRequest("GET", "/", nil), &observe.Event{}, time.Now()
	r.Header.Set("Traceparent", "theirs")
	if n := testing.AllocsPerRun(100, func() { off(r, e, now) }); n != 0 || r.Header.Get("Traceparent") != "theirs" {
		t.Errorf("%v allocations, %v", n, r.Header)
	}
}

func BenchmarkOff(b *testing.B) {
	r, e, now := httptest.NewRequest("GET", "/", nil), &observe.Event{}, time.Now()
	b.ReportAllocs()
	for b.Loop() {
		off(r, e, now)
	}
}

func BenchmarkOn(b *testing.B) {
	for _, sample := range []float64{0, 1} {
		b.Run(fmt.Sprint(sample), func(b *testing.B) {
			sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
			defer sink.Close()
			tr, err := trace.New(b.Context(), trace.Config{Endpoint: sink.URL, Sample: sample, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer tr.Close(context.Background())
			b.ReportAllocs()
			for b.Loop() {
				one(tr, false, nil, observe.Event{Method: "GET", Route: "treasury", Status: 200})
			}
		})
	}
}
