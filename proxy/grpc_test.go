package proxy_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/authn/authntest"
	"sallyport/proxy"
	"sallyport/proxy/observe"
)

// call makes a gRPC call.
func (b *browser) call(to string) answer {
	b.Helper()
	r := b.request("POST", to, "\x00\x00\x00\x00\x00")
	r.Header.Set("Content-Type", "application/grpc+proto")
	r.Header.Set("Te", "trailers")
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	return b.do(r)
}

// A gRPC call that is refused gets gRPC's status beside HTTP's, with the same reference
// and challenge as others, and nothing that is not 200 by HTTP looks like 200.
func TestCallsAreRefusedInTheirOwnTerms(t *testing.T) {
	const method = "/pkg.Service/Method"
	registry := prometheus.NewRegistry()
	observer, err := observe.New(observe.Config{Registry: registry, Routes: []string{"treasury"}})
	if err != nil {
		t.Fatal(err)
	}
	g := newHarness(t, func(p *setup) { p.change = func(c *proxy.Config) { c.Observe = observer } })
	b := g.enrolled("alice", home)
	g.audit.take()
	for _, c := range []struct {
		name      string
		by        *browser
		from, to  string
		before    func()
		status    int
		code      string
		challenge string
		recorded  bool // and the reference is in the message
	}{
		{"a stranger", g.browser(home), home, treasury + method, nil, 401, "16", "Bearer", false},
		{"step up", b, vpn, treasury + method, nil, 401, "16", `Bearer error="insufficient_user_authentication", error_description="A fresh passkey verification is required", max_age=300`, true},
		{"blocked", b, hosting, treasury + method, nil, 403, "7", "", true},
		{"a stranger who is blocked", g.browser(hosting), hosting, treasury + method, nil, 403, "7", "", true},
		{"no such path", b, home, wiki + method, nil, 404, "12", "", false},
		{"an own page", b, home, treasury + "/.sallyport/auth", nil, 404, "12", "", false},
		{"the tool is down", b, home, treasury + method, func() {
			g.tool.answer = func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }
		}, 200, "14", "", false},
		{"the store is down", b, home, treasury + method, func() { g.clock.Add(1e10); g.mem.Fail(authntest.NotStored) }, 503, "14", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.tool.requests()
			g.audit.take()
			if c.before != nil {
				c.before()
			}
			c.by.addr = c.from
			a := c.by.call(c.to)
			h := a.Header
			if a.StatusCode != c.status || h.Get("Content-Type") != "application/grpc" || h.Get("Grpc-Status") != c.code || h.Get("WWW-Authenticate") != c.challenge || a.body != "" {
				t.Errorf("%d %v %q", a.StatusCode, h, a.body)
			}
			if h.Get("Grpc-Message") == "" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%v", h)
			}
			if n := len(g.tool.requests()); n != 0 && c.status != 200 {
				t.Errorf("%d calls reached the tool", n)
			}
			if c.recorded {
				if rec := g.audit.take(); len(rec) != 1 || rec[0].Incident == "" || !strings.Contains(h.Get("Grpc-Message"), "(reference "+rec[0].Incident+")") {
					t.Errorf("%q does not name the record %s", h.Get("Grpc-Message"), jsonText(rec))
				}
			}
		})
	}
	// For every answer, the metric says what it means.
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, series := range []string{`{action="allow",route="treasury",status="5xx"} 1`, `{action="error",route="treasury",status="5xx"} 1`} {
		if !strings.Contains(w.Body.String(), "sallyport_requests_total"+series) {
			t.Errorf("no %s", series)
		}
	}
}

// A forward-auth sub-request of nginx has the headers of the call that it is about. Its answer
// must not let anyone in.
func TestSubRequestOfACallIsNot200(t *testing.T) {
	g := newHarness(t)
	for _, proto := range []int{1, 2} {
		for _, method := range []string{"GET", "POST"} {
			r := g.browser(home).request(method, treasury+"/", "")
			r.Header.Set("Content-Type", "application/grpc")
			r.ProtoMajor = proto
			w := httptest.NewRecorder()
			g.gate.ServeHTTP(w, r)
			if w.Code != 401 {
				t.Errorf("%s HTTP/%d: %d", method, proto, w.Code)
			}
		}
	}
}
