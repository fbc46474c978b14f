package observe_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/proxy/observe"
)

func scrape(t *testing.T, r *prometheus.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func TestRequestIsCountedAndLogged(t *testing.T) {
	registry, log := prometheus.NewRegistry(), new(bytes.Buffer)
	o, err := observe.New(observe.Config{Registry: registry, Routes: []string{"treasury"}, Access: slog.New(slog.NewJSONHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []observe.Event{
		{Route: "treasury", Action: "allow", Status: 200, User: "alice@example.com", Path: "/a\nb", Added: time.Millisecond},
		{Route: "treasury", Action: "allow", Status: 204, Added: time.Millisecond},
		{Route: "", Action: "block", Status: 403, Incident: "ABCDE-12345"},
		{Route: "later", Action: "allow", Status: 999},
	} {
		o.Request(&e)
	}
	text := scrape(t, registry)
	for _, want := range []string{
		`sallyport_requests_total{action="allow",route="treasury",status="2xx"} 2`,
		`sallyport_requests_total{action="block",route="",status="4xx"} 1`,
		`sallyport_requests_total{action="allow",route="later",status="5xx"} 1`,
		`sallyport_verdict_seconds_count 4`,
		`sallyport_added_seconds_count 2`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(text, "alice") {
		t.Error("a metric names a person")
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines for 4 requests", len(lines))
	}
	var first map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	if first["user"] != "alice@example.com" || first["path"] != "/a\nb" || first["status"] != 200.0 {
		t.Errorf("access event %v", first)
	}
}

func TestWriterRemembersTheAnswer(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer func(http.ResponseWriter)
		status int
		bytes  int64
	}{
		{"nothing", func(http.ResponseWriter) {}, 200, 0},
		{"a body alone", func(w http.ResponseWriter) { _, _ = w.Write([]byte("hello")) }, 200, 5},
		{"early hints first", func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(404) }, 404, 0},
		{"twice", func(w http.ResponseWriter) { w.WriteHeader(201); w.WriteHeader(500) }, 201, 0},
		{"switching", func(w http.ResponseWriter) { w.WriteHeader(101) }, 101, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var w observe.Writer
			w.Reset(httptest.NewRecorder())
			tc.answer(&w)
			if w.Answered() != tc.status || w.Bytes != tc.bytes {
				t.Errorf("%d with %d bytes, want %d with %d", w.Answered(), w.Bytes, tc.status, tc.bytes)
			}
		})
	}
}

func BenchmarkRequest(b *testing.B) {
	o, err := observe.New(observe.Config{Registry: prometheus.NewRegistry(), Routes: []string{"treasury"}})
	if err != nil {
		b.Fatal(err)
	}
	e := observe.Event{Route: "treasury", Action: "allow", Status: 200, Verdict: time.Microsecond, Added: 20 * time.Microsecond, Total: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		o.Request(&e)
	}
}
