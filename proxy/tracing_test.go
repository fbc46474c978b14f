package proxy_test

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/proxy"
	"sallyport/proxy/clientip"
	"sallyport/proxy/observe"
	"sallyport/proxy/trace"
)

// Every request is a trace, refused ones too, and tools get the context of theirs. Only a
// trusted proxy's is continued.
func TestRequestsAreTraced(t *testing.T) {
	var mu sync.Mutex
	var sent strings.Builder
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if zr, err := gzip.NewReader(r.Body); err == nil {
			_, _ = io.Copy(&sent, zr)
		}
	}))
	defer collector.Close()
	tracer, err := trace.New(t.Context(), trace.Config{Endpoint: collector.URL + "/v1/traces", Sample: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	observer, err := observe.New(observe.Config{Registry: prometheus.NewRegistry(), Routes: []string{"treasury"}})
	if err != nil {
		t.Fatal(err)
	}
	g := newHarness(t, func(p *setup) {
		p.clients = clientip.Config{Trusted: prefixes("10.0.0.0/8"), Header: clientip.XForwardedFor}
		p.change = func(c *proxy.Config) { c.Trace, c.Observe = tracer, observer }
	})
	b := g.enrolled("alice", home)
	const theirs, span = "00-0af7651916cd43dd8448eb211c80319c-", "b7ad6b7169203331-01"
	for _, proxied := range []bool{false, true} {
		b.proxied = proxied
		r := b.request("GET", treasury+"/pay?secret=1", "")
		r.Header.Set("Traceparent", theirs+span)
		g.tool.requests()
		if a := b.do(r); a.StatusCode != 200 {
			t.Fatal(a.StatusCode, a.body)
		}
		got := g.tool.requests()[0].Header.Get("Traceparent")
		if len(got) != 55 || strings.HasSuffix(got, span) || strings.HasPrefix(got, theirs) != proxied {
			t.Errorf("proxied %v: the tool got %q", proxied, got)
		}
	}
	b.proxied, b.addr = false, hosting
	if a := b.get(treasury + "/"); a.StatusCode != 403 {
		t.Fatal(a.StatusCode)
	}
	if err := tracer.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"GET treasury", "judge", "upstream", "allow", "block"} {
		if !strings.Contains(sent.String(), want) {
			t.Errorf("no %q was sent", want)
		}
	}
	for _, secret := range []string{"alice", home, hosting, "secret", "/pay"} {
		if strings.Contains(sent.String(), secret) {
			t.Errorf("%q was sent", secret)
		}
	}
}

// Without a tracer, what a client says of its trace reaches the tool as it is.
func TestUntracedContextPasses(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	r := b.request("GET", treasury+"/", "")
	r.Header.Set("Traceparent", "theirs")
	b.do(r)
	if got := g.tool.requests()[0].Header.Get("Traceparent"); got != "theirs" {
		t.Error(got)
	}
}
