package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/audit"
	"sallyport/proxy/edge"
	"sallyport/proxy/portal"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/streams"
	"sallyport/proxy/upstream"
)

// crowded is an audit log in which a session has had more lines than anyone needs.
type crowdedLedger struct{ proxy.Auditor }

func (crowdedLedger) Count(audit.RunKey) (bool, error)              { return false, nil }
func (crowdedLedger) AppendRun(context.Context, audit.Record) error { return audit.ErrManyCalls }

// buggy sessions are a bug of ours.
type buggy struct{ proxy.Sessions }

func (buggy) Load(*http.Request, string) (authn.Session, error) { panic("a bug") }

// scripted is what a script of a page asks for, and what stands in its way.
type scripted struct {
	status int
	method string // GET
	to     string // treasury + "/x"
	who    string // alice
	change func(*proxy.Config)
	before func(*harness, *http.Request)
	tool   func(*harness, *http.Request) (*http.Response, error)
	front  *edge.Config // the server in front refuses it
}

// Every answer that is ours and not the tool's, on a route: a script of an allowed origin reads what happened and when
// to come back, and a script of any other origin reads nothing, though its request may meet the same answer.
func TestScriptsOfAllowedOriginsReadEveryAnswerOfOurs(t *testing.T) {
	rpc := func(g *harness, r *http.Request, body io.Reader) {
		g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot {
			s.Options = map[string]proxy.RouteOptions{"treasury": takesCalls(proxy.RouteOptions{})}
			return s
		})
		if body != nil {
			r.Body, r.ContentLength = io.NopCloser(body), -1
		}
	}
	saying := func(err error) func(*harness, *http.Request) (*http.Response, error) {
		return func(*harness, *http.Request) (*http.Response, error) { return nil, err }
	}
	withStreams := func(s *streams.Config, each int) func(*proxy.Config) {
		return func(c *proxy.Config) { s.Now = c.Now; c.Streams, c.SessionStreams = newStreams(*s), each }
	}
	cutting := func(why streams.Reason) func(*harness, *http.Request) (*http.Response, error) {
		return func(g *harness, r *http.Request) (*http.Response, error) {
			g.config.Streams.CutAll(why)
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
	}
	full, err := proxytest.NewShedder(edge.ShedConfig{Memory: func() float64 { return 1 }})
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	full.Run(over) // looks once

	for name, c := range map[string]scripted{
		"nobody is signed in":     {status: 401, who: "nobody"},
		"step up":                 {status: 401, before: func(g *harness, r *http.Request) { g.clock.Add(20 * time.Minute); r.RemoteAddr = vpn + ":1" }},
		"blocked":                 {status: 403, to: treasury + "/admin"},
		"no grant":                {status: 403, who: "carol"},
		"malformed metadata":      {status: 403, before: func(_ *harness, r *http.Request) { r.Header.Set("Sec-Fetch-Site", "nearby") }},
		"a path of another route": {status: 400, method: "POST", to: treasury + "/App"},
		"a service worker": {status: 403, to: treasury + "/sw.js", before: func(g *harness, r *http.Request) {
			g.restart(func(_ *proxy.Config, c *portal.Config) { c.HandoffByPost = true })
			r.Header.Set("Service-Worker", "script")
		}},
		"no record of a refusal": {status: 503, to: treasury + "/admin", before: func(g *harness, _ *http.Request) { g.audit.fail("*") }},
		"no record of an allow":  {status: 503, before: func(g *harness, _ *http.Request) { g.audit.fail("*") }},
		"too many changes":       {status: 429, method: "POST", change: func(c *proxy.Config) { c.Audit = crowdedLedger{c.Audit} }},
		"no session store":       {status: 503, change: func(c *proxy.Config) { c.Sessions.(*people).err = errors.New("locked") }},
		"no assertion":           {status: 503, change: func(c *proxy.Config) { c.Assertions = unsigned{c.Assertions} }},
		"a bug":                  {status: 500, change: func(c *proxy.Config) { c.Sessions = buggy{c.Sessions} }},
		"too much is open": {status: 429, change: withStreams(&streams.Config{}, 1), before: func(g *harness, r *http.Request) {
			g.config.Streams.Open(r.Context(), g.config.Streams.Epoch(), streams.Info{Session: "session-of-alice"})
		}},
		"the session ended meanwhile": {status: 401, change: withStreams(&streams.Config{}, proxytest.StreamsPerSession), tool: cutting(streams.Ended)},
		"blocked meanwhile":           {status: 403, change: withStreams(&streams.Config{}, proxytest.StreamsPerSession), tool: cutting(streams.Blocked)},
		"restart":                     {status: 503, change: withStreams(&streams.Config{}, proxytest.StreamsPerSession), tool: cutting(streams.Shutdown)},
		"a node that does not read":   {status: 504, change: withStreams(&streams.Config{}, proxytest.StreamsPerSession), tool: cutting(streams.NotTaken)},

		"a malformed call": {status: 400, method: "POST", before: func(g *harness, r *http.Request) { rpc(g, r, strings.NewReader("[]")) }},
		"no call":          {status: 405, before: func(g *harness, r *http.Request) { rpc(g, r, nil) }},
		"a call too large": {status: 413, method: "POST", before: func(g *harness, r *http.Request) { rpc(g, r, strings.NewReader(strings.Repeat(" ", 2<<20))) }},
		"a slow call": {status: 408, method: "POST", before: func(g *harness, r *http.Request) {
			rpc(g, r, iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(number))))
		}},
		"no room for a call": {status: 429, method: "POST", change: withStreams(&streams.Config{Inspected: streams.NewBudget(1, 1)}, proxytest.StreamsPerSession), before: func(g *harness, r *http.Request) { rpc(g, r, strings.NewReader(number)) }},
		"a WebSocket over HTTP/2": {status: 501, before: func(g *harness, r *http.Request) {
			rpc(g, r, nil)
			for name, v := range webSocket {
				r.Header.Set(name, v)
			}
			r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
		}},

		"a body too large":  {status: 413, method: "POST", before: func(_ *harness, r *http.Request) { r.ContentLength = 2 << 30 }},
		"headers too large": {status: 431, before: func(_ *harness, r *http.Request) { r.Header.Set("X-Long", strings.Repeat("x", 70<<10)) }},
		"a body that breaks": {status: 400, method: "POST", before: func(_ *harness, r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)), 10
		}, tool: func(_ *harness, r *http.Request) (*http.Response, error) {
			_, err := io.ReadAll(r.Body)
			return nil, err
		}},
		"the tool is down":   {status: 502, tool: saying(errors.New("connection refused"))},
		"no tool":            {status: 503, tool: saying(upstream.ErrNoUpstream)},
		"the tool is silent": {status: 504, tool: saying(context.DeadlineExceeded)},
		"a gRPC-Web call":    {status: 401, who: "nobody", method: "POST", before: func(_ *harness, r *http.Request) { r.Header.Set("Content-Type", "application/grpc-web+proto") }},
		"a message is no 101": {status: 502, tool: func(_ *harness, r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 101, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		}},

		"the address is too long": {status: 414, to: treasury + "/" + strings.Repeat("x", 100), front: &edge.Config{Limits: edge.Limits{URLBytes: 50}}},
		"too many header lines":   {status: 431, front: &edge.Config{Limits: edge.Limits{Headers: 1}}},
		"no memory":               {status: 503, front: &edge.Config{Shed: full}},
	} {
		for origin, want := range map[string]string{partner: partner, "chrome-extension://abcdef": "chrome-extension://abcdef", wiki: "", "null": "", partner + "/": "", "": ""} {
			t.Run(fmt.Sprint(name, " of ", origin), func(t *testing.T) {
				a := c.ask(t, origin)
				if want != "" && a.StatusCode != c.status {
					t.Errorf("%d %s, want %d", a.StatusCode, a.body, c.status)
				}
				if a.StatusCode < 400 {
					return // not an answer of ours
				}
				if got := a.Header["Access-Control-Allow-Origin"]; want == "" && got != nil || want != "" && !slices.Equal(got, []string{want}) {
					t.Errorf("%d, and %q may read it", a.StatusCode, got)
				}
				credentials, exposed, varies := a.Header.Get("Access-Control-Allow-Credentials"), a.Header.Get("Access-Control-Expose-Headers"), strings.Join(a.Header["Vary"], ", ")
				if want != "" && (credentials != "true" || !strings.Contains(exposed, "Retry-After") || strings.Count(varies, "Origin") != 1) || want == "" && credentials+exposed != "" {
					t.Errorf("credentials %q, exposed %q, vary %q", credentials, exposed, varies)
				}
			})
		}
	}
}

// ask has a script of an origin ask.
func (c scripted) ask(t *testing.T, origin string) answer {
	g := neighbours(t, func(p *setup) { p.change = c.change })
	routes, err := proxytest.NewTable([]upstream.RouteConfig{
		{Name: "treasury", From: treasury, To: []string{"http://10.0.0.1:3000"}, AllowedOrigins: []string{partner, "chrome-extension://abcdef"}},
		{Name: "wiki", From: treasury + "/app", To: []string{"http://10.0.0.1:3000"}, AllowedOrigins: []string{partner, "chrome-extension://abcdef"}},
	})
	g.must(err)
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Routes = routes; return s })
	if p, ok := g.config.Sessions.(*people); ok {
		p.by["carol"] = somebody("carol", home, "press")
	}
	if c.tool != nil {
		g.tool.through = func(r *http.Request) (*http.Response, error) { return c.tool(g, r) }
	}
	ask := sent{c.method, c.to, "cross-site/cors/empty", origin, map[string]string{"Accept": "*/*"}}
	if ask.method == "" {
		ask.method = "GET"
	}
	if ask.to == "" {
		ask.to = treasury + "/x"
	}
	who := c.who
	if who == "" {
		who = "alice"
	}
	r := ask.by(g, who)
	if c.before != nil {
		c.before(g, r)
	}
	if c.front == nil {
		return g.browser(home).do(r)
	}
	front := *c.front
	front.Handler = g.gate
	front.Refuse = func(w http.ResponseWriter, r *http.Request, status int, message string) {
		g.gate.Refuse(w, r, portal.Refusal{Status: status, Code: "refused", Title: message})
	}
	server, err := proxytest.NewServer(front)
	g.must(err)
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	return answer{Response: w.Result(), body: w.Body.String()}
}

// A tool's answer has its own headers alone: what is said of answers of ours is not in it.
func TestToolsAnswersExposeNothingOfOurs(t *testing.T) {
	g := neighbours(t)
	a := g.browser(home).do(sent{"GET", treasury + "/x", "same-site/cors/empty", partner, nil}.by(g, "alice"))
	if a.StatusCode != 200 || a.Header.Get("Access-Control-Expose-Headers") != "" || len(a.Header["Access-Control-Allow-Origin"]) != 1 {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
}

// unsigned has no key.
type unsigned struct{ proxy.Asserter }

func (unsigned) For(*authn.Session, string, *policy.Decision) (string, error) {
	return "", errors.New("no key")
}
