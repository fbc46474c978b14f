package proxy_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"sallyport/proxy"
	"sallyport/proxy/edge"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// neighbours is a harness in which alice has treasury and wiki open. Pages of partner may use
// treasury, and wiki may be embedded.
func neighbours(t testing.TB, changes ...func(*setup)) *harness {
	g, who := newCrowdHarness(t, changes...)
	who.by["alice"] = somebody("alice", home, "treasury")
	routes, err := proxytest.NewTable([]upstream.RouteConfig{
		{Name: "treasury", From: treasury, To: []string{"http://10.0.0.1:3000"}, AllowedOrigins: []string{partner, "chrome-extension://abcdef"}},
		{Name: "wiki", From: wiki, To: []string{"http://10.0.0.2:3000"}, Embeddable: true},
	})
	g.must(err)
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Routes = routes; return s })
	return g
}

const partner = "https://partner.example.test"

// sent is a request as a browser sends it: fetch metadata as site/mode/dest, and Origin.
type sent struct {
	method, to, metadata, origin string
	more                         map[string]string
}

func (s sent) by(g *harness, who string) *http.Request {
	r := g.ask(who, home, s.method, s.to)
	if s.metadata != "" {
		for i, v := range strings.Split(s.metadata, "/") {
			if v != "" {
				r.Header.Set([]string{"Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"}[i], v)
			}
		}
	}
	if s.origin != "" {
		r.Header.Set("Origin", s.origin)
	}
	for name, v := range s.more {
		r.Header.Set(name, v)
	}
	return r
}

var webSocket = map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version": "13"}

// A page of one tool, or of any other site, that makes the browser act on another tool as the person gets
// nothing done there: the tool never sees it, the audit log does.
func TestOtherOriginsCannotActAsThePerson(t *testing.T) {
	for name, s := range map[string]sent{
		"form of another tool":                 {"POST", treasury + "/withdraw/1000000", "same-site/navigate/document", wiki, nil},
		"form of another site":                 {"POST", treasury + "/withdraw", "cross-site/navigate/document", "https://evil.example", nil},
		"fetch no-cors":                        {"POST", treasury + "/withdraw", "same-site/no-cors/empty", wiki, nil},
		"beacon":                               {"POST", treasury + "/withdraw", "same-site/no-cors/empty", wiki, map[string]string{"Content-Type": "text/plain"}},
		"fetch with a preflight":               {"PUT", treasury + "/users/7", "same-site/cors/empty", wiki, nil},
		"a method of its own":                  {"PURGE", treasury + "/x", "same-site/cors/empty", wiki, nil},
		"gRPC-Web":                             {"POST", treasury + "/a.B/C", "same-site/cors/empty", wiki, map[string]string{"Content-Type": "application/grpc-web+proto"}},
		"Safari's POST, without metadata":      {"POST", treasury + "/withdraw", "", wiki, nil},
		"sandboxed frame":                      {"POST", treasury + "/withdraw", "cross-site/navigate/document", "null", nil},
		"sandboxed frame, without metadata":    {"POST", treasury + "/withdraw", "", "null", nil},
		"no Origin, but metadata":              {"POST", treasury + "/withdraw", "same-site/navigate/document", "", nil},
		"Origin of another scheme":             {"POST", treasury + "/withdraw", "", strings.Replace(treasury, "https", "http", 1), nil},
		"Origin of another port":               {"POST", treasury + "/withdraw", "", treasury + ":8443", nil},
		"Origin with the host as its prefix":   {"POST", treasury + "/withdraw", "", treasury + ".evil.example", nil},
		"Origin with the host as its end":      {"POST", treasury + "/withdraw", "", "https://eviltreasury.example.test", nil},
		"Origin that is none":                  {"POST", treasury + "/withdraw", "same-origin/cors/empty", "treasury.example.test", nil},
		"an allowed origin with a path":        {"POST", treasury + "/withdraw", "same-site/cors/empty", partner + "/", nil},
		"two origins in one":                   {"POST", treasury + "/withdraw", "", treasury + " " + wiki, nil},
		"metadata that is none":                {"POST", treasury + "/withdraw", "Same-Origin/cors/empty", "", nil},
		"allowed elsewhere":                    {"POST", wiki + "/edit", "same-site/cors/empty", partner, nil},
		"embeddable is not writable":           {"POST", wiki + "/edit", "same-site/navigate/iframe", treasury, nil},
		"WebSocket of another tool":            {"GET", treasury + "/ws", "same-site/websocket/websocket", wiki, webSocket},
		"WebSocket of Safari":                  {"GET", treasury + "/ws", "", wiki, webSocket},
		"WebSocket of an embedding page":       {"GET", wiki + "/ws", "same-site/no-cors/empty", "", webSocket},
		"another upgrade":                      {"GET", treasury + "/x", "same-site/no-cors/empty", "", map[string]string{"Connection": "Upgrade", "Upgrade": "spdy/3.1"}},
		"script":                               {"GET", treasury + "/data.js", "same-site/no-cors/script", "", nil},
		"image":                                {"GET", treasury + "/chart.png", "same-site/no-cors/image", "", nil},
		"style":                                {"GET", treasury + "/x.css", "same-site/no-cors/style", "", nil},
		"video":                                {"GET", treasury + "/x.mp4", "cross-site/no-cors/video", "", nil},
		"prefetch link":                        {"GET", treasury + "/run", "same-site/no-cors/empty", "", map[string]string{"Sec-Purpose": "prefetch"}},
		"speculation rules":                    {"GET", treasury + "/run", "same-site/navigate/document", "", map[string]string{"Sec-Purpose": "prefetch;prerender"}},
		"HEAD":                                 {"HEAD", treasury + "/run", "same-site/no-cors/empty", "", nil},
		"frame":                                {"GET", treasury + "/", "same-site/navigate/iframe", "", nil},
		"frame of an old Chrome":               {"GET", treasury + "/", "same-site/nested-navigate", "", nil},
		"frameset, object, embed":              {"GET", treasury + "/", "same-site/navigate/object", "", nil},
		"fenced frame":                         {"GET", treasury + "/", "same-site/navigate/fencedframe", "", nil},
		"frame, back from another site":        {"GET", treasury + "/", "cross-site/navigate/iframe", "", nil},
		"embeddable, image of another site":    {"GET", wiki + "/logo.png", "cross-site/no-cors/image", "", nil},
		"embeddable, script of another site":   {"GET", wiki + "/data.js", "cross-site/no-cors/script", "", nil},
		"embeddable, object of another site":   {"GET", wiki + "/", "cross-site/navigate/object", "", nil},
		"embeddable, fenced frame":             {"GET", wiki + "/", "cross-site/navigate/fencedframe", "", nil},
		"embeddable, frame fetched ahead":      {"GET", wiki + "/", "cross-site/navigate/iframe", "", map[string]string{"Sec-Purpose": "prefetch"}},
		"embeddable, form into a frame":        {"POST", wiki + "/edit", "cross-site/navigate/iframe", "https://evil.example", nil},
		"embeddable, form without Origin":      {"POST", wiki + "/edit", "cross-site/navigate/iframe", "", nil},
		"fetch with cookies":                   {"GET", treasury + "/run", "same-site/cors/empty", wiki, nil},
		"fetch with cookies, without metadata": {"GET", treasury + "/run", "", wiki, nil},
		"event source":                         {"GET", treasury + "/events", "same-site/cors/empty", wiki, map[string]string{"Accept": "text/event-stream"}},
		"fetch of what may be embedded":        {"GET", wiki + "/run", "same-site/cors/empty", treasury, nil},
		"OPTIONS with cookies":                 {"OPTIONS", treasury + "/", "same-site/cors/empty", wiki, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := neighbours(t)
			a := g.browser(home).do(s.by(g, "alice"))
			if got := g.tool.requests(); a.StatusCode != 403 || len(got) != 0 {
				t.Errorf("%d, and the tool got %d requests", a.StatusCode, len(got))
			}
			recs := g.audit.take()
			if len(recs) != 1 || recs[0].Event != "cross_site_refused" || recs[0].Action != "block" || recs[0].User != "alice@example.test" ||
				recs[0].Route == "" || recs[0].Method != s.method || recs[0].Path == "" || recs[0].Detail["origin"] != s.origin || recs[0].Incident == "" {
				t.Errorf("recorded %s", jsonText(recs))
			}
			// The settings that may help are for the operations team, not for the page.
			if reason := recs[0].Detail["reason"]; (recs[0].Detail["setting"] == "") != strings.HasPrefix(reason, "malformed") ||
				strings.HasPrefix(reason, "a frame") != strings.Contains(recs[0].Detail["setting"], "embeddable") || strings.Contains(a.body, "allowed_origins") {
				t.Errorf("%q: %q; %s", reason, recs[0].Detail["setting"], a.body)
			}
		})
	}
}

// What the person does, and what a client does that is not a browser, gets through.
func TestPeopleAndTheirToolsGetThrough(t *testing.T) {
	for name, s := range map[string]sent{
		"typed address":                    {"GET", treasury + "/", "none/navigate/document", "", nil},
		"own page":                         {"POST", treasury + "/pay", "same-origin/cors/empty", treasury, nil},
		"own form":                         {"POST", treasury + "/pay", "same-origin/navigate/document", treasury, nil},
		"own form, Referrer-Policy":        {"POST", treasury + "/pay", "same-origin/navigate/document", "null", nil},
		"own page of Safari":               {"POST", treasury + "/pay", "", treasury, nil},
		"own WebSocket":                    {"GET", treasury + "/ws", "same-origin/websocket/websocket", treasury, webSocket},
		"own WebSocket of Safari":          {"GET", treasury + "/ws", "", treasury, webSocket},
		"WebSocket of a command line":      {"GET", treasury + "/ws", "", "", webSocket},
		"Origin with the port spelled out": {"GET", treasury + "/ws", "", treasury + ":443", webSocket},
		"curl":                             {"POST", treasury + "/pay", "", "", nil},
		"curl DELETE":                      {"PUT", treasury + "/users/7", "", "", nil},
		"link of another tool":             {"GET", treasury + "/", "same-site/navigate/document", "", nil},
		"link of another site":             {"GET", treasury + "/", "cross-site/navigate/document", "", nil},
		"form of another site, GET":        {"GET", treasury + "/search?q=1", "cross-site/navigate/document", "", nil},
		"link, an old Chrome":              {"GET", treasury + "/", "cross-site/navigate", "", nil},
		"prefetch of the address bar":      {"GET", treasury + "/", "none/navigate/document", "", map[string]string{"Sec-Purpose": "prefetch"}},
		"own service worker":               {"GET", treasury + "/sw.js", "same-origin/same-origin/serviceworker", "", nil},
		"allowed origin":                   {"POST", treasury + "/saml/acs", "cross-site/navigate/document", partner, nil},
		"allowed origin, read":             {"GET", treasury + "/x", "same-site/cors/empty", partner, nil},
		"allowed origin, WebSocket":        {"GET", treasury + "/ws", "same-site/websocket/websocket", partner, webSocket},
		"allowed extension":                {"POST", treasury + "/rpc", "none/cors/empty", "chrome-extension://abcdef", nil},
		"embeddable, frame":                {"GET", wiki + "/", "same-site/navigate/iframe", "", nil},
		"embeddable, back from a provider": {"GET", wiki + "/oauth/callback?code=1", "cross-site/navigate/iframe", "", nil},
		"embeddable, back, an old Chrome":  {"GET", wiki + "/oauth/callback", "cross-site/nested-navigate", "", nil},
		"embeddable, image":                {"GET", wiki + "/logo.png", "same-site/no-cors/image", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := neighbours(t)
			a := g.browser(home).do(s.by(g, "alice"))
			if got := g.tool.requests(); len(got) != 1 {
				t.Errorf("%d, and the tool got %d requests: %s", a.StatusCode, len(got), a.body)
			}
		})
	}
}

// Two values of one header would be read in two ways.
func TestRepeatedOriginOrFetchMetadataIsRefused(t *testing.T) {
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"} {
		g := neighbours(t)
		r := sent{"POST", treasury + "/pay", "same-site/cors/empty", partner, nil}.by(g, "alice")
		r.Header.Add(name, r.Header.Get(name))
		if a := g.browser(home).do(r); a.StatusCode != 403 {
			t.Errorf("%s twice: %d", name, a.StatusCode)
		}
	}
	g := neighbours(t)
	r := sent{"POST", treasury + "/pay", "same-origin/cors/empty", "", nil}.by(g, "alice")
	r.Header["Sec-Fetch-Site"] = []string{"same-origin", "same-site"}
	if a := g.browser(home).do(r); a.StatusCode != 403 {
		t.Errorf("same-origin and same-site: %d", a.StatusCode)
	}
}

// What another tool's script asks for in a loop does not fill the disk, and the person is told what to do.
func TestOtherOriginsRequestsAreBoundedInTheRecord(t *testing.T) {
	change, written := withLog(t)
	g := neighbours(t, change)
	var last answer
	for i := range 200 {
		last = g.browser(home).do(sent{"POST", fmt.Sprintf("%s/pay/%d", treasury, i), "same-site/navigate/document", wiki, nil}.by(g, "alice"))
	}
	if n := len(written()); n > 70 {
		t.Errorf("200 requests are %d lines", n)
	}
	if !strings.Contains(last.body, "your operations team: they can allow it") || last.Header.Get("X-Frame-Options") != "DENY" {
	}
}

// Nothing is let through that could not be recorded, and nothing refused is recorded as let through.
func TestOtherOriginsRequestThatCannotBeRecordedIs503(t *testing.T) {
	g := neighbours(t)
	g.audit.fail("cross_site_refused")
	if a := g.browser(home).do(sent{"POST", treasury + "/pay", "same-site/cors/empty", wiki, nil}.by(g, "alice")); a.StatusCode != 503 || len(g.tool.requests()) != 0 {
		t.Error(a.StatusCode)
	}
}

// A preflight has no session. For an allowed origin the gate answers it, and the tool never sees it.
func TestPreflightOfAnAllowedOriginNeedsNoSession(t *testing.T) {
	g := neighbours(t)
	ask := map[string]string{"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "content-type,x-csrf-token"}
	a := g.browser(home).do(sent{"OPTIONS", treasury + "/users/7", "same-site/cors/empty", partner, ask}.by(g, ""))
	want := map[string]string{"Access-Control-Allow-Origin": partner, "Access-Control-Allow-Credentials": "true", "Access-Control-Allow-Methods": "DELETE",
		"Access-Control-Allow-Headers": "content-type,x-csrf-token", "Access-Control-Max-Age": "600"}
	for name, v := range want {
		if a.Header.Get(name) != v {
			t.Errorf("%s: %q", name, a.Header.Get(name))
		}
	}
	if vary := strings.Join(a.Header["Vary"], ", "); a.StatusCode != 204 || vary != "Origin, Access-Control-Request-Method, Access-Control-Request-Headers" {
		t.Errorf("%d, Vary %q", a.StatusCode, vary)
	}
	for name, c := range map[string]struct {
		origin string
		change map[string]string
	}{
		"another origin":         {wiki, nil},
		"no origin":              {"", nil},
		"null":                   {"null", nil},
		"no method":              {partner, map[string]string{"Access-Control-Request-Method": ""}},
		"a method that is none":  {partner, map[string]string{"Access-Control-Request-Method": "A\tB"}},
		"headers that are none":  {partner, map[string]string{"Access-Control-Request-Headers": "a:b"}},
		"headers without an end": {partner, map[string]string{"Access-Control-Request-Headers": strings.Repeat("a", 5000)}},
	} {
		with := maps.Clone(ask)
		maps.Copy(with, c.change)
		a := g.browser(home).do(sent{"OPTIONS", treasury + "/users/7", "same-site/cors/empty", c.origin, with}.by(g, ""))
		if a.StatusCode != 401 || a.Header.Get("Access-Control-Allow-Methods") != "" {
			t.Errorf("%s: %d %v", name, a.StatusCode, a.Header)
		}
	}
	if a := g.browser(hosting).do(func() *http.Request {
		r := sent{"OPTIONS", treasury + "/", "same-site/cors/empty", partner, ask}.by(g, "")
		r.RemoteAddr = hosting + ":1"
		return r
	}()); a.StatusCode != 403 {
		t.Errorf("from a blocked network: %d", a.StatusCode)
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("the tool got %d requests", n)
	}
}

// A page that may use the tool can read what it is refused, so that it can send the person to sign in.
func TestAllowedOriginCanReadARefusal(t *testing.T) {
	g := neighbours(t)
	for origin, want := range map[string]string{partner: partner, wiki: ""} {
		a := g.browser(home).do(sent{"GET", treasury + "/x", "same-site/cors/empty", origin, nil}.by(g, ""))
		if a.StatusCode != 401 || a.Header.Get("Access-Control-Allow-Origin") != want {
			t.Errorf("%s: %d %v", origin, a.StatusCode, a.Header)
		}
	}
	a := g.browser(home).do(sent{"GET", treasury + "/x", "same-site/cors/empty", partner, nil}.by(g, "alice"))
	if got := a.Header["Access-Control-Allow-Origin"]; a.StatusCode != 200 || !slices.Equal(got, []string{partner}) || a.Header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
}

// The server in front seals every answer but a tool's: what a tool may be framed by is said by the tool.
func TestOnlyToolsAnswersMayBeFramed(t *testing.T) {
	g := neighbours(t)
	server, err := proxytest.NewServer(edge.Config{Handler: g.gate})
	g.must(err)
	for to, want := range map[string]string{treasury + "/": "SAMEORIGIN ", wiki + "/": " ", treasury + "/admin": "DENY frame", "https://elsewhere.example.test/": "DENY frame"} {
		w := httptest.NewRecorder()
		server.ServeHTTP(w, sent{"GET", to, "none/navigate/document", "", nil}.by(g, "alice"))
		policy := ""
		if strings.Contains(w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			policy = "frame"
		}
		if got := w.Header().Get("X-Frame-Options") + " " + policy; got != want {
			t.Errorf("%s: %d %q", to, w.Code, got)
		}
	}
}
