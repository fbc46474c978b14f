package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/proxy"
	"sallyport/proxy/audit"
	"sallyport/proxy/proxytest"
)

// raw sends a request line and headers as an attacker would write them.
func (b *browser) raw(text string) answer {
	b.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		return answer{Response: &http.Response{StatusCode: 400, Header: http.Header{}}, body: err.Error()}
	}
	r.RemoteAddr, r.TLS = b.addr+":4711", &tls.ConnectionState{ServerName: "treasury.example.test"}
	for name, value := range b.cookies["treasury.example.test"] {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	b.gate.ServeHTTP(w, r.WithContext(b.Context()))
	return answer{Response: w.Result(), body: w.Body.String(), at: r.RequestURI}
}

// What could be read in two ways is refused, and recorded; everything else is
// forwarded exactly as it was judged.
func TestAttackAmbiguousPaths(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	for _, target := range []string{
		"//admin", "/x//admin", "/./admin", "/x/../admin", "/%2e%2e/admin", "/x/%2E%2e/admin", "/a/..;/admin", "/a;x/admin", "/%2fadmin", "/x%2Fadmin", "/%5cadmin", "/\\admin",
		"/%00", "/admin%00", "/a%0d%0ab", "/%23", "/%252e%252e/admin", "/%252fadmin", "/%zz", "/%c0%ae/admin", "/%ff",
	} {
		a := b.raw("GET " + target + " HTTP/1.1\r\nHost: treasury.example.test\r\n\r\n")
		if a.StatusCode != 400 {
			t.Errorf("%q got %d", target, a.StatusCode)
		}
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Fatalf("%d of them reached the tool", n)
	}
	for _, r := range g.audit.take() {
		if r.Event != "bad_request" || r.Incident == "" || r.Detail["reason"] == "" || r.IP != home {
			t.Errorf("record %s", jsonText(r))
		}
	}
	for target, path := range map[string]string{
		"/": "/", "/x?y=/../admin": "/x?y=/../admin", "/%61": "/a", "/a%20b": "/a%20b", "/%C3%A9?": "/%C3%A9", "/a%3Fb?c": "/a%3Fb?c", "/admi%6E": "blocked", "/admin/..": "refused", "/%61dmin": "blocked",
	} {
		a := b.raw("GET " + target + " HTTP/1.1\r\nHost: treasury.example.test\r\n\r\n")
		got := g.tool.requests()
		recs := g.audit.take()
		switch {
		case path == "refused" && a.StatusCode == 400 && len(got) == 0, path == "blocked" && a.StatusCode == 403 && len(got) == 0:
		case a.StatusCode == 200 && len(got) == 1 && got[0].URL.RequestURI() == path:
			// What was judged, as the audit log has it, is what the tool reads.
			if len(recs) == 1 && recs[0].Facts.Request.Path != got[0].URL.Path {
				t.Errorf("%q: judged %q, forwarded %q", target, recs[0].Facts.Request.Path, got[0].URL.Path)
			}
		default:
			t.Errorf("%q got %d, %d forwarded, want %q", target, a.StatusCode, len(got), path)
		}
	}
}

// One name for one host, and no other.
func TestAttackHostSpellings(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	for host, status := range map[string]int{
		"treasury.example.test": 200, "TREASURY.example.TEST": 200, "treasury.example.test.": 200, "treasury.example.test:443": 200,
		"treasury.example.test:8443": 421, "treasury.example.test:0": 400, "x@treasury.example.test": 400, "treasury.example.test@evil.test": 400,
		"wiki.example.test": 421, "evil.test": 421, "treasury.example.test.evil.test": 421, "trеasury.example.test": 400, "treasury.example.test:443:443": 400, "": 400, "127.0.0.1": 421,
	} {
		a := b.raw("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
		got := g.tool.requests()
		if a.StatusCode != status || (len(got) == 1) != (status == 200) {
			t.Errorf("host %q got %d, want %d; %d forwarded", host, a.StatusCode, status, len(got))
		}
		for _, r := range got {
			if r.Host != "treasury.example.test" || r.Header.Get("X-Forwarded-Host") != "treasury.example.test" {
				t.Errorf("host %q was forwarded as %q", host, r.Host)
			}
		}
	}
	for _, line := range []string{"GET https://treasury.example.test/ HTTP/1.1", "GET http://wiki.example.test/wiki HTTP/1.1", "OPTIONS * HTTP/1.1", "CONNECT treasury.example.test:443 HTTP/1.1"} {
		if a := b.raw(line + "\r\nHost: treasury.example.test\r\n\r\n"); a.StatusCode < 400 || a.StatusCode >= 500 {
			t.Errorf("%s got %d", line, a.StatusCode)
		}
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("%d of those reached the tool", n)
	}
}

// A host that is served over https is not served over http, on any port:
// no tool, no page, no session. The answer says where it is, and does not redirect.
func TestPlainHTTPIsNotServed(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	for _, to := range []string{"treasury.example.test/", "treasury.example.test/.sallyport/whoami", "treasury.example.test/.sallyport/sign-in", "login.example.test/.sallyport/sign-in", "wiki.example.test/wiki", "login.example.test/app"} {
		a := b.get("http://" + to)
		if a.StatusCode != 421 || !strings.Contains(a.body, `href="https://`+to) || len(a.Cookies()) != 0 {
			t.Errorf("%s got %d %q with %d cookies", to, a.StatusCode, a.location(), len(a.Cookies()))
		}
	}
	if a := b.get("http://elsewhere.example.test/"); a.StatusCode != 421 || strings.Contains(a.body, "https") {
		t.Errorf("a host that is not ours got %d: %s", a.StatusCode, a.body)
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("%d requests reached the tool", n)
	}
}

// Nothing of ours but the pages is on the data port, and no route reaches the
// reserved folder.
func TestAttackReservedPaths(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	for _, path := range []string{"/metrics", "/debug/pprof/", "/healthz", "/readyz", "/.sallyport/metrics", "/.sallyport/debug/pprof/", "/.sallyport/admin", "/.sallyport/", "/.sallyport", "/.sallyport/assets/", "/.sallyport/callback/x", "/%2esallyport/x"} {
		for _, host := range []string{login, treasury} {
			if host == treasury && !strings.Contains(path, "sallyport") {
				continue // the tool's own
			}
			for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
				r := b.request(method, host+path, "")
				if a := b.do(r); a.StatusCode != 404 {
					t.Errorf("%s %s%s got %d", method, host, path, a.StatusCode)
				}
			}
		}
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("%d requests reached a tool", n)
	}
	// A name that somebody pointed at us (DNS rebinding) serves nothing, with a session or without.
	if a := b.get("https://rebind.evil.test/.sallyport/whoami"); a.StatusCode != 421 {
		t.Errorf("a foreign name got %d", a.StatusCode)
	}
}

// What strangers write stays inside its field, in the audit log and in ours.
func TestAttackLogInjection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	log, err := audit.Open(audit.Config{CallsPerMinute: proxytest.ChangesPerMinute, File: file, Key: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	g := newHarness(t, func(p *setup) { p.change = func(c *proxy.Config) { c.Audit = log } })
	const evil = "x\r\n{\"event\":\"access\",\"action\":\"allow\"}\u2028\x1b[2J\x00\",\"user\":\"admin"
	b := g.browser(hosting)
	for _, edit := range []func(*http.Request){
		func(r *http.Request) { r.Header["User-Agent"] = []string{evil} },
		func(r *http.Request) { r.RequestURI = "/" + url.PathEscape("\u2028\u202e") + "?secret=hunter2" },
		func(r *http.Request) { r.RequestURI = "/" + evil + "?secret=hunter2" },
		func(r *http.Request) { r.Host = evil },
		func(r *http.Request) { r.Method = "GET\r\n" + evil },
		func(r *http.Request) { r.RemoteAddr = evil },
		func(r *http.Request) { r.Header["Referer"], r.Header["Cookie"] = []string{evil}, []string{evil} },
	} {
		r := b.request("GET", treasury+"/", "")
		edit(r)
		if a := b.do(r); a.StatusCode < 400 || strings.ContainsAny(a.Header.Get("Location")+a.Status, "\r\n") {
			t.Errorf("got %d", a.StatusCode)
		}
	}
	b.get(login + "/.sallyport/callback?" + url.Values{"state": {evil}, "error": {evil}}.Encode())
	g.must(log.Close())
	text, err := os.ReadFile(file)
	g.must(err)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	// The list of IP data, and eight. Two of those are the same block of the same address:
	// one line, and its count.
	if len(lines) != 9 || !strings.Contains(lines[0], `"event":"ip_data"`) {
		t.Errorf("%d records, want 9: %s", len(lines), lines[0])
	}
	for _, line := range append(lines, strings.Split(strings.TrimSpace(g.log.String()), "\n")...) {
		var rec struct{ Event, Action, User string }
		switch err := json.Unmarshal([]byte(line), &rec); {
		case err != nil:
			t.Errorf("not one JSON object: %q", line)
		case rec.Action == "allow" || rec.User != "":
			t.Errorf("a forged record: %s", line)
		case strings.ContainsAny(line, "\x00\x1b\r\u2028"), strings.Contains(line, "hunter2"):
			t.Errorf("unescaped, or a secret: %q", line)
		}
	}
	if r, err := audit.Verify([]string{file}, log.Key(), audit.VerifyOptions{}); err != nil || !r.OK() {
		t.Errorf("the log does not verify: %v %s", err, r.Text())
	}
}

// What the IP data cannot say is a fact for the policy, and not a way past it.
func TestAttackMissingAndStaleData(t *testing.T) {
	missing := ipintel.Config{Databases: []string{"/nowhere/country.mmdb"}}
	for _, c := range []struct {
		name   string
		policy string
		intel  *ipintel.Config
		from   string
		want   policy.Action
	}{
		{"missing, by default, verified elsewhere", testPolicy, &missing, cafe, policy.StepUp},
		{"missing, by default, verified here", testPolicy, &missing, home, policy.Allow},
		{"missing, block", "missing_data: block\n" + testPolicy, &missing, home, policy.Block},
		{"missing, allow", "missing_data: allow\n" + testPolicy, &missing, cafe, policy.Allow},
		{"missing, by a rule", "version: 1\nmissing_data: allow\nrules:\n  - {name: blind, when: size(ip.data_missing) > 0, then: block}\n", &missing, home, policy.Block},
		{"stale, by a rule", "version: 1\nrules:\n  - {name: stale, when: ip.data_age_hours > 48, then: step_up}\n", nil, cafe, policy.StepUp},
		{"stale, and no rule about it", testPolicy, nil, cafe, policy.Allow},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, who := newCrowdHarness(t, func(p *setup) {
				p.policy = c.policy
				if c.intel != nil {
					p.intel = *c.intel
				}
			})
			g.clock.Add(100 * 24 * 60 * 60 * 1e9)
			s := somebody("alice", home, "treasury")
			s.CreatedAt, s.Verification.At = g.clock.Now(), g.clock.Now()
			who.by["alice"] = s
			v := g.check("alice", c.from, "GET", treasury+"/")
			expect(t, v, c.want)
			if c.intel != nil && len(v.Facts.IP.DataMissing) == 0 || c.intel == nil && v.Facts.IP.DataAgeHours < 2000 {
				t.Errorf("facts %+v", v.Facts.IP)
			}
		})
	}
}
