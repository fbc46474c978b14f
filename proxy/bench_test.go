package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/authn/session"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/proxy"
	"sallyport/proxy/audit"
	"sallyport/proxy/clientip"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// benchPolicy has n rules of the usual kinds, of which none matches; with perRequest
// one in ten reads the request itself.
func benchPolicy(n int, perRequest bool) string {
	conditions := []string{
		`ip.country in lists.embargoed`, `ip.tor || ip.residential_proxy`, `ip.country != "ZZ" && size(user.countries) > 0 && !(ip.country in user.countries)`,
		`ip.within(lists.offices)`, `"contractors" in user.groups && ip.hosting`, `ip.asn in lists.asns`, `credential.class == "attested"`, `user.email.endsWith("@partner.example")`,
	}
	var s strings.Builder
	s.WriteString("version: 1\nmissing_data: allow\nlists: {embargoed: [KP, IR, CU], offices: [192.0.2.0/24, '2001:db8::/32'], asns: [64500, 64501]}\nrules:\n")
	for i := range n {
		when := conditions[i%len(conditions)]
		if perRequest && i%10 == 0 {
			when = fmt.Sprintf(`request.method == "POST" && request.path.startsWith("/admin/%d")`, i)
		}
		fmt.Fprintf(&s, "  - {name: r%d, when: '%s', then: block}\n", i, when)
	}
	return s.String()
}

// benchIntel is the real data where it is, and a list or two otherwise.
func benchIntel(b *testing.B) ipintel.Config {
	dir, err := filepath.Abs("../../shared/ipdata")
	databases, _ := filepath.Glob(filepath.Join(dir, "databases", "*.mmdb"))
	if err != nil || len(databases) == 0 {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "all" {
			b.Fatal("no real IP data in ../shared/ipdata")
		}
		b.Log("no real IP data in ../shared/ipdata: measured with two short lists")
		return testIntel(b)
	}
	c := ipintel.Config{Databases: databases, Now: time.Now}
	for _, l := range []ipintel.List{
		{Name: "aws", Signal: "hosting", File: "aws-ip-ranges.json", Format: "aws"}, {Name: "datacenter", Signal: "hosting", File: "datacenter-ipv4.txt"},
		{Name: "vpn4", Signal: "vpn", File: "vpn-ipv4.txt"}, {Name: "vpn6", Signal: "vpn", File: "vpn-ipv6.txt"}, {Name: "tor", Signal: "tor", File: "tor-exits.txt"},
	} {
		l.File = filepath.Join(dir, "lists", l.File)
		c.Lists = append(c.Lists, l)
	}
	return c
}

// benchRig has a clock without a lock, and an audit log that costs nothing: that has
// benchmarks of its own.
func benchRig(b *testing.B, source string) *harness {
	return newHarness(b, func(p *setup) {
		p.policy, p.intel = source, benchIntel(b)
		p.now = func() time.Time { return epoch }
		p.clients = clientip.Config{Trusted: prefixes("10.0.0.0/8")}
	})
}

// browserRequest is what a browser sends, through a proxy that ends TLS.
func browserRequest(b *browser) *http.Request {
	r := b.request("GET", treasury+"/api/v1/accounts/17?limit=10", "")
	r.TLS = nil
	r.RemoteAddr = "10.0.0.1:4711"
	for name, value := range map[string]string{
		"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
		"Accept":     "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Accept-Language": "en-US,en;q=0.9", "Accept-Encoding": "gzip, deflate, br",
		"Cache-Control": "max-age=0", "Referer": treasury + "/", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
		"X-Forwarded-For": b.addr, "X-Forwarded-Proto": "https",
	} {
		r.Header.Set(name, value)
	}
	return r
}

// A judgement that is known already must cost next to nothing: it is on the way of
// every request.
func TestCheckDoesNotAllocate(t *testing.T) {
	g := newHarness(t, func(p *setup) {
		p.now = func() time.Time { return epoch }
		p.policy = "version: 1\nrules:\n  - {name: tor, when: ip.tor, then: block}\n"
	})
	b := g.enrolled("alice", home)
	r := b.request("GET", treasury+"/api/v1/accounts/17?limit=10", "")
	var v proxy.Verdict
	check := func() {
		if err := g.gate.Check(r, &v); err != nil || v.Decision.Action != policy.Allow {
			t.Fatal(err, v.Decision)
		}
	}
	check()
	if n := testing.AllocsPerRun(1000, check); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkCheck is a judgement of a session and address that the gate knows, with
// real sessions and IP data:
//
//	go test ./proxy -run '^$' -bench Check -benchmem
func BenchmarkCheck(b *testing.B) {
	for _, perRequest := range []bool{false, true} {
		for _, n := range []int{10, 100, 1000} {
			name := fmt.Sprintf("rules=%d", n)
			if perRequest {
				name += "/a-tenth-per-request"
			}
			b.Run(name, func(b *testing.B) {
				g := benchRig(b, benchPolicy(n, perRequest))
				r := browserRequest(g.benchBrowser())
				var v proxy.Verdict
				defer cpuOf(b)()
				for b.Loop() {
					if err := g.gate.Check(r, &v); err != nil || v.Decision.Action != policy.Allow {
						b.Fatal(err, v.Decision)
					}
				}
			})
		}
	}
}

// cpuOf reports what the loop of b takes of the processors, as the operating system accounts
// it: on a machine that is busy otherwise, the time that the testing package prints is mostly
// waiting. Call it before the loop, and what it returns after.
func cpuOf(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

// benchBrowser is alice, known at the treasury.
func (g *harness) benchBrowser() *browser {
	g.Helper()
	b := g.browser("203.0.113.7").viaProxy().enroll("alice")
	if a := b.follow(treasury + "/"); a.StatusCode != 200 {
		g.Fatalf("%d %s", a.StatusCode, a.body)
	}
	return b
}

// BenchmarkCheckParallel is many browsers at once.
func BenchmarkCheckParallel(b *testing.B) {
	g := benchRig(b, benchPolicy(100, false))
	r := browserRequest(g.benchBrowser())
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var v proxy.Verdict
		for pb.Next() {
			if err := g.gate.Check(r, &v); err != nil || v.Decision.Action != policy.Allow {
				b.Error(err, v.Decision)
				return
			}
		}
	})
}

// BenchmarkCheckColdAddress is a known session from an address that no one asked
// about before: the databases and every rule are asked.
func BenchmarkCheckColdAddress(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			g := benchRig(b, benchPolicy(n, false))
			r := browserRequest(g.benchBrowser())
			var v proxy.Verdict
			next := netip.MustParseAddr("20.0.0.0")
			defer cpuOf(b)()
			for b.Loop() {
				next = next.Next()
				r.Header["X-Forwarded-For"][0] = next.String()
				if err := g.gate.Check(r, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCheckStranger is a person without a session: nothing is remembered.
func BenchmarkCheckStranger(b *testing.B) {
	g := benchRig(b, benchPolicy(100, false))
	r := browserRequest(g.browser(home))
	var v proxy.Verdict
	b.ReportAllocs()
	for b.Loop() {
		if err := g.gate.Check(r, &v); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRequest is a whole exchange with real servers, beside a bare
// httputil.ReverseProxy in the same run: same tool, same clients, connections kept.
// The audit log is a real one.
//
//	go test ./proxy -run '^$' -bench Request -benchmem
func BenchmarkRequest(b *testing.B) {
	body := strings.Repeat("x", 1024)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
	defer up.Close()
	upURL, err := url.Parse(up.URL)
	if err != nil {
		b.Fatal(err)
	}
	log, err := audit.Open(audit.Config{CallsPerMinute: proxytest.ChangesPerMinute, File: filepath.Join(b.TempDir(), "audit.jsonl"), Key: make([]byte, 32)})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	g := newHarness(b, func(p *setup) {
		p.policy, p.intel = benchPolicy(100, true), benchIntel(b)
		p.now = func() time.Time { return epoch }
		p.clients = clientip.Config{Trusted: prefixes("10.0.0.0/8", "127.0.0.1/32")}
		p.change = func(c *proxy.Config) {
			c.Audit = log
			routes, err := proxytest.NewTable([]upstream.RouteConfig{
				{Name: "treasury", From: treasury, To: []string{up.URL}}, {Name: "wiki", From: wiki + "/wiki", To: []string{up.URL}}, {Name: "desk", From: desk + "/app", To: []string{up.URL}},
			})
			if err != nil {
				b.Fatal(err)
			}
			s := *c.Snapshot
			s.Routes = routes
			c.Snapshot = &s
			sessions := c.Sessions.(*session.Manager)
			c.Forwarder = proxytest.NewForwarder(upstream.Config{Cookies: []string{sessions.CookieName(), sessions.HandoffCookiePrefix() + "*"}})
		}
	})
	pattern := browserRequest(g.benchBrowser())
	bare := &httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) {
		pr.SetURL(upURL)
		pr.SetXForwarded()
		pr.Out.Host = pr.In.Host
	}}
	for _, c := range []struct {
		name string
		h    http.Handler
	}{{"bare", bare}, {"sallyport", g.gate}} {
		for _, parallel := range []bool{false, true} {
			name := c.name
			if parallel {
				name += "/parallel"
			}
			b.Run(name, func(b *testing.B) { benchServer(b, c.h, pattern, parallel) })
		}
	}
}

func benchServer(b *testing.B, h http.Handler, pattern *http.Request, parallel bool) {
	front := httptest.NewServer(h)
	defer front.Close()
	client := front.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	do := func() error {
		r, err := http.NewRequest("GET", front.URL+pattern.RequestURI, nil)
		if err != nil {
			return err
		}
		r.Host, r.Header = pattern.Host, pattern.Header
		res, err := client.Do(r)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if n, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 || n != 1024 {
			return fmt.Errorf("%d, %d bytes, %v", res.StatusCode, n, err)
		}
		return nil
	}
	b.ReportAllocs()
	if !parallel {
		for b.Loop() {
			if err := do(); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := do(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
