package upstream_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// bothWays returns a harness that takes the short way and one that goes through
// httputil.ReverseProxy, before the same kind of upstream.
func bothWays(t testing.TB, h http.Handler) [2]*harness {
	transport := &http.Transport{DisableCompression: true} // one: each keeps connections of its own
	t.Cleanup(transport.CloseIdleConnections)
	long := upstream.Config{Transport: func(*upstream.Route) http.RoundTripper { return transport }}
	return [2]*harness{newHarness(t, options{upstream: h}), newHarness(t, options{upstream: h, config: long})}
}

func asHeader(h http.Header) string {
	var lines []string
	for name, values := range h {
		if name != "Cookie" {
			slices.Sort(values)
		}
		lines = append(lines, fmt.Sprintf("%s=%q", name, values))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// The two ways agree on every header that goes upstream. What the attack tests
// show of one is so of the other.
func FuzzBothWaysSendTheSame(f *testing.F) {
	for _, s := range []string{
		"Accept: x", "Connection: close, X-Sallyport-User\r\nX-Sallyport-User: evil", "Connection: X-Forwarded-For\r\nX-Forwarded-For: 1.2.3.4",
		"X_Sallyport_User: evil\r\nx-sallyport.user: evil", "connection: keep-alive, x-a\r\nconnection: X-B , x-c\r\nX-A: 1\r\nx-b: 2\r\nX-C: 3\r\nX-D: 4",
		"TE: trailers, deflate;q=0.5", "TE: gzip", "Te: trailers\r\nConnection: te", "Keep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nProxy-Authenticate: y",
		"Cookie: a=1; __Host-sallyport=secret; b=2\r\nCookie: __host-SALLYPORT-handoff=x", "Cookie: __Host-sallyport=only", "Cookie: ;; a=1;  ;sallyport=x ;",
		"Forwarded: for=x\r\nX-Real-Ip: y\r\nX-Original-Url: /z\r\nX-Http-Method-Override: DELETE", "User-Agent: a\r\nUser-Agent: b", "X-Many: 1\r\nX-Many: 2\r\nx-many: 3",
		"Authorization: Bearer x\r\nConnection: Authorization", "Content-Type: text/plain\r\nTrailer: X-Evil", "Connection: Cookie, Host\r\nCookie: a=1", "X-Empty:", "X-High: \xe9\xff",
		"Idempotency-Key: k", "Sec-Fetch-Mode: navigate\r\nRemote-User: evil\r\nHTTP_HOST: evil",
	} {
		f.Add("GET", s, "")
		f.Add("POST", s, "body")
	}
	rigs := bothWays(f, nil)
	f.Fuzz(func(t *testing.T, method, header, body string) {
		rigs[0].t, rigs[1].t = t, t
		if method != "GET" && method != "POST" && method != "DELETE" && method != "PUT" && method != "HEAD" || len(header)+len(body) > 4000 {
			t.Skip("not what is compared here")
		}
		for _, line := range strings.Split(strings.ToLower(header), "\n") {
			name, _, _ := strings.Cut(line, ":")
			switch strings.TrimSpace(name) {
			case "content-length", "transfer-encoding", "upgrade", "expect", "host": // framing, and what always goes the long way
				t.Skip()
			}
		}
		var got [2]string
		for i, g := range rigs {
			text := method + " /x?y=%20 HTTP/1.1\r\nHost: app.example\r\nX-Test: 1\r\n"
			if body != "" {
				text += fmt.Sprintf("Content-Length: %d\r\n", len(body))
			}
			before := len(g.requests())
			conn, br := g.raw(text + header + "\r\n\r\n" + body)
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				got[i] = "no answer"
				continue
			}
			io.Copy(io.Discard, res.Body)
			got[i] = res.Status
			for _, s := range g.requests()[before:] {
				h := maps.Clone(s.Header)
				got[i] += fmt.Sprintf("\n%s %s %s %q\n%s", s.Method, s.URI, s.Host, s.Body, asHeader(h))
			}
			conn.Close()
		}
		if got[0] != got[1] {
			t.Errorf("the short way:\n%s\n\nthe long way:\n%s", got[0], got[1])
		}
	})
}

// The two ways give the client the same answer.
func TestBothWaysAnswerTheSame(t *testing.T) {
	raw := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			io.WriteString(conn, s)
			conn.Close()
		})
	}
	for name, c := range map[string]struct {
		method string
		h      http.Handler
	}{
		"length":              {"GET", raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\nhi")},
		"chunks":              {"GET", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")},
		"chunks and trailers": {"GET", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n")},
		"surprise trailers":   {"GET", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n")},
		"until it closes":     {"GET", raw("HTTP/1.1 200 OK\r\n\r\nhi there")},
		"HTTP/1.0":            {"GET", raw("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi")},
		"HEAD":                {"HEAD", raw("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n")},
		"204":                 {"DELETE", raw("HTTP/1.1 204 No Content\r\n\r\n")},
		"304":                 {"GET", raw("HTTP/1.1 304 Not Modified\r\nEtag: x\r\n\r\n")},
		"empty":               {"GET", raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")},
		"hop-by-hop":          {"GET", raw("HTTP/1.1 200 OK\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: x\r\nX-Keep: 1\r\nContent-Length: 0\r\n\r\n")},
		"own cookies":         {"GET", raw("HTTP/1.1 200 OK\r\nSet-Cookie: __Host-sallyport=x\r\nSet-Cookie: a=1\r\nAlt-Svc: h3\r\nContent-Length: 0\r\n\r\n")},
		"events":              {"GET", raw("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n")},
		"error":               {"GET", raw("HTTP/1.1 500 Broken\r\nContent-Length: 2\r\n\r\nno")},
		"a status of its own": {"GET", raw("HTTP/1.1 499 Odd\r\nContent-Length: 0\r\n\r\n")},
		"cut short":           {"GET", raw("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi")},
		"a broken chunk":      {"GET", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n")},
		"length and chunks":   {"GET", raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")},
		"chunks twice":        {"GET", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")},
		"negative length":     {"GET", raw("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi")},
		"split header":        {"GET", raw("HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n")},
		"folded header":       {"GET", raw("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n")},
		"header without name": {"GET", raw("HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n")},
		"space in the name":   {"GET", raw("HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 0\r\n\r\n")},
		"HTTP/2 in clear":     {"GET", raw("HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n")},
		"unasked 101":         {"GET", raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")},
	} {
		t.Run(name, func(t *testing.T) {
			var got [2]string
			for i, g := range bothWays(t, c.h) {
				_, br := g.raw(c.method + " / HTTP/1.1\r\nHost: app.example\r\n\r\n")
				res, err := http.ReadResponse(br, &http.Request{Method: c.method})
				if err != nil {
					got[i] = "no answer"
					continue
				}
				body, err := io.ReadAll(res.Body)
				res.Header.Del("Date")
				if err == nil && c.method == "GET" { // whether in chunks or not is not part of the answer
					res.Header.Del("Content-Length")
				}
				got[i] = fmt.Sprintf("%s %q %v\n%s\n%v", res.Status, body, err != nil, asHeader(res.Header), res.Trailer)
			}
			if name == "HTTP/2 in clear" { // here we are stricter than net/http
				if !strings.HasPrefix(got[0], "502") {
					t.Error(got[0])
				}
				return
			}
			if got[0] != got[1] {
				t.Errorf("the short way:\n%s\n\nthe long way:\n%s", got[0], got[1])
			}
		})
	}
}

// A body that was promised and does not come is the client's failure, and costs
// the upstream nothing.
func TestShortBodyIsTheClientsFailure(t *testing.T) {
	g := newHarness(t, options{})
	conn, br := g.raw("POST / HTTP/1.1\r\nHost: app.example\r\nContent-Length: 10\r\n\r\nhalf")
	conn.(*net.TCPConn).CloseWrite()
	if res, err := http.ReadResponse(br, nil); err == nil && res.StatusCode != 400 {
		t.Error(res.Status)
	}
	g.front.Close()
	if n := len(g.requests()); n != 0 {
		t.Errorf("%d requests went upstream", n)
	}
}

// A client that leaves takes its exchange with it.
func TestClientThatLeavesEndsTheExchange(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	g := newHarness(t, options{upstream: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(left)
	})})
	conn, _ := g.raw("GET / HTTP/1.1\r\nHost: app.example\r\n\r\n")
	<-entered
	conn.Close()
	<-left
	g.front.Close()
	if len(g.failures()) != 0 {
		t.Error("somebody was told:", g.failures())
	}
}

// Headers that could not have come from a client are not written either.
func TestAttackHeadersThatCannotBeWritten(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached the upstream") }))
	defer up.Close()
	tb := table(t, []upstream.RouteConfig{{Name: "a", From: "http://app.example", To: []string{up.URL}}})
	f := proxytest.NewForwarder(upstream.Config{})
	good, _ := upstream.Canonicalise(asked("GET", "app.example", "/"), "http")
	for name, change := range map[string]func(*http.Request, *upstream.ForwardRequest){
		"value": func(r *http.Request, _ *upstream.ForwardRequest) {
			r.Header["X"] = []string{"a\r\nX-Sallyport-User: evil"}
		},
		"name":      func(r *http.Request, _ *upstream.ForwardRequest) { r.Header["X: y\r\nEvil"] = []string{"a"} },
		"method":    func(r *http.Request, _ *upstream.ForwardRequest) { r.Method = "GET /evil HTTP/1.1\r\nX: y\r\n\r\nGET" },
		"assertion": func(_ *http.Request, fr *upstream.ForwardRequest) { fr.Identity.Assertion = "a\r\nEvil: 1" },
		"path": func(_ *http.Request, fr *upstream.ForwardRequest) {
			fr.Target.RawPath = "/ HTTP/1.1\r\nEvil: 1\r\n\r\n"
		},
		"no path": func(_ *http.Request, fr *upstream.ForwardRequest) { fr.Target.RawPath = "http://evil/" },
		"query":   func(_ *http.Request, fr *upstream.ForwardRequest) { fr.Target.RawQuery = "a b" },
		"host":    func(_ *http.Request, fr *upstream.ForwardRequest) { fr.Target.Host = "a\r\nEvil: 1" },
	} {
		r := asked("GET", "app.example", "/")
		fr := &upstream.ForwardRequest{Route: tb.Routes()[0], Target: good, Identity: alice}
		change(r, fr)
		w := newRecorder()
		f.Forward(w, r, fr)
		if w.Code != 502 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if s := f.State(tb)[0].Upstreams[0]; s.Outstanding != 0 {
		t.Errorf("%+v", s)
	}
}

// An exchange that is cut before its answer ends without one. (An empty 200
// is what net/http sends for a handler that just returns.)
func TestAttackCutExchangeIsNotAnAnswer(t *testing.T) {
	entered := make(chan struct{}, 1)
	for _, g := range bothWays(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	})) {
		inner := g.front.Config.Handler
		g.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			go func() {
				<-entered
				cancel()
			}()
			inner.ServeHTTP(w, r.WithContext(ctx))
		})
		if status := g.rawStatus("GET / HTTP/1.1\r\nHost: app.example\r\n\r\n"); status != 0 {
			t.Errorf("answered with %d", status)
		}
	}
}

// What the upstream did not say about the type is not guessed: a browser that
// is told text/html runs it.
func TestContentTypeIsNotGuessed(t *testing.T) {
	for _, g := range bothWays(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		io.WriteString(w, "<html><script>alert(1)</script>")
	})) {
		if res := g.do("GET", "/", nil, nil); res.Header["Content-Type"] != nil {
			t.Error(res.Header)
		}
	}
}
