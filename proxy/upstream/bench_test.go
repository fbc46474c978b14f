package upstream_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// browserHeader is what a browser sends.
func browserHeader() http.Header {
	return http.Header{
		"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"},
		"Accept":     {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, "Accept-Language": {"en-US,en;q=0.9"},
		"Accept-Encoding": {"gzip, deflate, br, zstd"}, "Cache-Control": {"max-age=0"}, "Referer": {"http://app.example/"},
		"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"},
		"Cookie": {"theme=dark; __Host-sallyport=" + strings.Repeat("x", 120) + "; lang=en"},
	}
}

// BenchmarkForward compares one request through the Forwarder, canonicalising
// and matching included, with one through a bare httputil.ReverseProxy:
//
//	go test ./proxy/upstream -run '^$' -bench Forward
//
// "in-process" has no network and shows what our code costs; "loopback" is a
// whole exchange with real servers, from one keep-alive client. "net-http" is the
// Forwarder without package h1: all requests go the long way. cpu-ns/op counts the
// client and the tool too, and says more than the time on a machine that is busy.
func BenchmarkForward(b *testing.B) {
	body := strings.Repeat("x", 1024)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }))
	defer up.Close()
	upURL, err := url.Parse(up.URL)
	if err != nil {
		b.Fatal(err)
	}
	answer := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, ContentLength: int64(len(body)), Header: http.Header{"Content-Type": {"text/plain"}},
			Body: io.NopCloser(strings.NewReader(body))}, nil
	})
	tb := table(b, []upstream.RouteConfig{{Name: "tool", From: "http://app.example", To: []string{up.URL}}})
	ours := func(c upstream.Config) http.Handler {
		c.Cookies = []string{"__Host-sallyport", "__Host-sallyport-handoff"}
		f := proxytest.NewForwarder(c)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			target, err := upstream.Canonicalise(r, "http")
			route, ok := tb.Match(target)
			if err != nil || !ok {
				b.Error(err, ok)
				return
			}
			f.Forward(w, r, &upstream.ForwardRequest{Route: route, Target: target, Identity: alice, ClientAddr: netip.MustParseAddr("203.0.113.7")})
		})
	}
	bare := func(transport http.RoundTripper) http.Handler {
		return &httputil.ReverseProxy{Transport: transport, Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(upURL)
			pr.SetXForwarded()
			pr.Out.Host = pr.In.Host
		}}
	}
	long := http.DefaultTransport.(*http.Transport).Clone()
	long.MaxIdleConnsPerHost, long.DisableCompression = 256, true // the default of 2 would measure dialling
	defer long.CloseIdleConnections()
	inProcess := func(h http.Handler) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("GET", "/api/v1/accounts/17?limit=10", nil)
				r.Host, r.Header = "app.example", browserHeader()
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		}
	}
	loopback := func(h http.Handler) func(b *testing.B) {
		return func(b *testing.B) {
			front := httptest.NewServer(h)
			defer front.Close()
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				r, _ := http.NewRequest("GET", front.URL+"/api/v1/accounts/17?limit=10", nil)
				r.Host, r.Header = "app.example", browserHeader()
				res, err := front.Client().Do(r)
				if err != nil || res.StatusCode != 200 {
					b.Fatal(res, err)
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
		}
	}
	b.Run("in-process/bare", inProcess(bare(answer)))
	b.Run("in-process/sallyport", inProcess(ours(upstream.Config{Transport: func(*upstream.Route) http.RoundTripper { return answer }})))
	b.Run("loopback/bare", loopback(bare(long)))
	b.Run("loopback/sallyport", loopback(ours(upstream.Config{})))
	b.Run("loopback/sallyport/net-http", loopback(ours(upstream.Config{Transport: func(*upstream.Route) http.RoundTripper { return long }})))
}

// cpuTime is what this process has taken of the processors.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
