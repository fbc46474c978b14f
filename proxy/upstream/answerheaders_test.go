package upstream_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// orders are headers by which a tool would command the browser, or the proxy in front.
var orders = map[string]string{
	"Clear-Site-Data":                     `"cookies"`,
	"X-Accel-Redirect":                    "/internal/secret",
	"X_Accel_Redirect":                    "/internal/secret",
	"x-accel.redirect":                    "/internal/secret",
	"X-Accel-Buffering":                   "no",
	"X-Sendfile":                          "/etc/shadow",
	"X-Sendfile2":                         "/etc/shadow 0-",
	"X-LIGHTTPD-send-file":                "/etc/shadow",
	"X-Reproxy-URL":                       "http://169.254.169.254/",
	"X-Litespeed-Location":                "/internal",
	"X-Archive-Files":                     "1",
	"X-Envoy-Immediate-Health-Check-Fail": "true",
	"Service-Worker-Allowed":              "/",
	"Service_Worker_Allowed":              "/",
	"NEL":                                 `{"report_to":"x","max_age":31536000,"include_subdomains":true}`,
	"Report-To":                           `{"group":"x","max_age":31536000,"endpoints":[{"url":"https://evil.example"}]}`,
	"Alt-Svc":                             `h3="evil.example:443"; ma=31536000`,
	"Strict-Transport-Security":           "max-age=0",
	"Public-Key-Pins":                     "max-age=31536000",
	"Set-Cookie2":                         "__Host-sallyport=x",
	"Set_Cookie":                          "__Host-sallyport=x",
	"Clear_Site_Data":                     `"*"`,
	"Surrogate-Control":                   `content="ESI/1.0"`,
	"Surrogate-Key":                       "all",
	"Edge-Control":                        "cache-maxage=1d",
	"Cloudflare-CDN-Cache-Control":        "max-age=60",
	"Vercel-CDN-Cache-Control":            "max-age=60",
	"Sec-Session-Registration":            `(ES256);path="/x"`,
	"Secure-Session-Registration":         `(ES256);path="/x"`,
	"X-Sallyport-User":                    "root",
}

// A tool's answer commands neither the browser beyond its own pages nor the proxy in front: not in its
// header, not in Early Hints, not in trailers.
func TestAnswerCannotCommandBrowserOrFrontProxy(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for name, value := range orders {
			h[name] = []string{value}
		}
		h.Set("Link", "</style.css>; rel=preload; as=style")
		w.WriteHeader(http.StatusEarlyHints)
		h.Set("X-Own", "kept")
		io.WriteString(w, "ok")
		http.NewResponseController(w).Flush() // chunks, for the trailers
		for name, value := range orders {
			h[http.TrailerPrefix+name] = []string{value}
		}
		h.Set(http.TrailerPrefix+"X-Own-Trailer", "kept")
	})
	for i, g := range bothWays(t, answer) {
		t.Run([]string{"short way", "long way"}[i], func(t *testing.T) {
			hints := http.Header{}
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
				hints = http.Header(h)
				return nil
			}})
			req, _ := http.NewRequestWithContext(ctx, "GET", g.front.URL+"/", nil)
			req.Host = "app.example"
			res, err := g.front.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); string(body) != "ok" || err != nil {
				t.Fatal(string(body), err)
			}
			if res.Header.Get("X-Own") != "kept" || hints.Get("Link") == "" || res.Trailer.Get("X-Own-Trailer") != "kept" {
				t.Errorf("the tool's own words are gone: %v, %v, %v", res.Header, hints, res.Trailer)
			}
			for where, h := range map[string]http.Header{"header": res.Header, "hints": hints, "trailer": res.Trailer} {
				for name := range h {
					for order := range orders {
						if strings.EqualFold(name, order) {
							t.Errorf("%s: %s reached the client", where, name)
						}
					}
				}
			}
		})
	}
}

func (g *harness) answerOf(h http.Header) http.Header {
	g.t.Helper()
	return g.do("GET", "/", nil, h).Header
}

func saying(h http.Header) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range h {
			w.Header()[name] = slices.Clone(values)
		}
	})
}

// Of Clear-Site-Data stays what concerns the tool alone.
func TestClearSiteDataOfOneToolEndsNoSession(t *testing.T) {
	for in, want := range map[string]string{
		`"cache", "cookies", "storage"`: `"cache", "storage"`,
		`"*"`:                           "",
		`"Cookies"`:                     "",
		`"executionContexts"`:           `"executionContexts"`,
		`"clientHints","cache"`:         `"cache"`,
		`cookies`:                       "",
	} {
		if got := newHarness(t, options{upstream: saying(http.Header{"Clear-Site-Data": {in}})}).answerOf(nil).Get("Clear-Site-Data"); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// A cookie that reaches the other hosts would shadow theirs and evict ours.
func TestToolsCookiesStayOnTheirHost(t *testing.T) {
	for in, want := range map[string]string{
		"a=1; Domain=example; Path=/":           "a=1; Path=/",
		"a=1; Path=/; domain = .app.example":    "a=1; Path=/",
		"a=1;DOMAIN=example;Domain=app.example": "a=1",
		"a=1; Domain=":                          "a=1",
		"a=1; Domain":                           "a=1",
		"a=Domain=x; Secure":                    "a=Domain=x; Secure",
		`a="x; Domain=example"`:                 `a="x`,
		"a=1; Domains=x":                        "a=1; Domains=x",
	} {
		for i, g := range bothWays(t, saying(http.Header{"Set-Cookie": {in}})) {
			if got := g.answerOf(nil).Get("Set-Cookie"); got != want {
				t.Errorf("way %d: %s: %q, want %q", i, in, got, want)
			}
		}
	}
	g := newHarness(t, options{route: upstream.RouteConfig{CookieDomain: ".App.Example"},
		upstream: saying(http.Header{"Set-Cookie": {"a=1; Domain=app.example", "b=1; Domain=example", "__Secure-sallyport=x; Domain=app.example"}})})
	if got := g.answerOf(nil).Values("Set-Cookie"); !slices.Equal(got, []string{"a=1; Domain=app.example", "b=1"}) {
		t.Errorf("with cookie_domain: %q", got)
	}
}

// A cache in front must not hand one person's answer to the next.
func TestAnswersArePrivate(t *testing.T) {
	for name, c := range map[string]struct{ control, vary, want, wantVary []string }{
		"nothing said":       {nil, nil, []string{"private"}, []string{"Cookie"}},
		"public":             {[]string{"public, max-age=600"}, nil, []string{"max-age=600, private"}, []string{"Cookie"}},
		"for shared caches":  {[]string{"s-maxage=600"}, []string{"Accept-Encoding"}, []string{"private"}, []string{"Accept-Encoding", "Cookie"}},
		"two lines":          {[]string{"Public", "S-MaxAge=1, immutable"}, []string{"cookie, accept"}, []string{"immutable, private"}, []string{"cookie, accept"}},
		"private":            {[]string{"private"}, nil, []string{"private"}, []string{"Cookie"}},
		"no-store":           {[]string{"no-store"}, []string{"*"}, []string{"no-store"}, []string{"*"}},
		"both":               {[]string{"private, s-maxage=60"}, nil, []string{"private"}, []string{"Cookie"}},
		"one field":          {[]string{`private="Set-Cookie", max-age=60`}, nil, []string{"max-age=60, private"}, []string{"Cookie"}},
		"a comma in quotes":  {[]string{`no-cache="a, private", max-age=60`}, nil, []string{`no-cache="a, private", max-age=60, private`}, []string{"Cookie"}},
		"a quote left open":  {[]string{`x=", no-store`}, nil, []string{"private"}, []string{"Cookie"}},
		"must-understand":    {[]string{"no-store, must-understand"}, nil, []string{"no-store, must-understand, private"}, []string{"Cookie"}},
		"no-store of a kind": {[]string{"no-store=0"}, nil, []string{"no-store=0, private"}, []string{"Cookie"}},
	} {
		h := http.Header{"Cdn-Cache-Control": {"max-age=600"}}
		if c.control != nil {
			h["Cache-Control"] = c.control
		}
		if c.vary != nil {
			h["Vary"] = c.vary
		}
		for i, g := range bothWays(t, saying(h)) {
			got := g.answerOf(nil)
			if !slices.Equal(got["Cache-Control"], c.want) || !slices.Equal(got["Vary"], c.wantVary) || !slices.Equal(got["Cdn-Cache-Control"], []string{"no-store"}) {
				t.Errorf("%s, way %d: %q %q %q", name, i, got["Cache-Control"], got["Vary"], got["Cdn-Cache-Control"])
			}
		}
	}
}

// It is so for every status and method, and not for what no cache stores.
func TestAnswersArePrivateWhateverTheStatus(t *testing.T) {
	for _, status := range []int{200, 204, 206, 301, 302, 304, 307, 401, 403, 404, 410, 500} {
		for _, method := range []string{"GET", "HEAD"} {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
			for i, g := range bothWays(t, h) {
				conn, br := g.raw(method + " / HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n")
				res, err := http.ReadResponse(br, &http.Request{Method: method})
				if err != nil {
					t.Fatal(err)
				}
				if res.Header.Get("Cache-Control") != "private" || res.Header.Get("Vary") != "Cookie" || res.Header.Get("X-Frame-Options") != "SAMEORIGIN" {
					t.Errorf("%s %d, way %d: %v", method, status, i, res.Header)
				}
				conn.Close()
			}
		}
	}
	call := newHarness(t, options{upstream: saying(http.Header{"Content-Type": {"application/grpc"}, "Grpc-Status": {"0"}})}).answerOf(nil)
	if call.Get("Cache-Control") != "" || call.Get("Grpc-Status") != "0" {
		t.Errorf("a call: %v", call)
	}
}

// Browsers without Fetch metadata do not say that they show a tool in a frame: the answer says where it may be.
func TestAnswersMayNotBeFramedByOthers(t *testing.T) {
	for name, c := range map[string]struct {
		h          http.Header
		embeddable bool
		want       string
	}{
		"nothing said":      {nil, false, "SAMEORIGIN"},
		"embeddable":        {nil, true, ""},
		"the tool's own":    {http.Header{"X-Frame-Options": {"DENY"}}, false, "DENY"},
		"a policy":          {http.Header{"Content-Security-Policy": {"default-src 'self'; Frame-Ancestors https://a.example"}}, false, ""},
		"another policy":    {http.Header{"Content-Security-Policy": {"default-src 'self'"}}, false, "SAMEORIGIN"},
		"a policy, 2 lines": {http.Header{"Content-Security-Policy": {"default-src 'self'", "frame-ancestors 'none'"}}, false, ""},
	} {
		g := newHarness(t, options{route: upstream.RouteConfig{Embeddable: c.embeddable}, upstream: saying(c.h)})
		if got := g.answerOf(nil).Get("X-Frame-Options"); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestOriginsOfARoute(t *testing.T) {
	for raw, want := range map[string]string{
		"https://A.Example": "https://a.example", "https://a.example:443/": "https://a.example", "https://a.example:8443": "https://a.example:8443",
		"chrome-extension://ABC": "chrome-extension://abc", "https://[::1]:8443": "https://[::1]:8443",
		"null": "", "*": "", "https://*.example": "", "a.example": "", "https://a.example/x": "", "https://u@a.example": "", "https://a.example?x": "",
		"file:///x": "", "https://": "", "https://a.example#": "", "https://bücher.example": "", "javascript:alert(1)": "", "": "",
	} {
		got, err := upstream.CanonicalOrigin(raw)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", raw, got, err)
		}
	}
	for name, c := range map[string]upstream.RouteConfig{
		"null":            {AllowedOrigins: []string{"null"}},
		"http for https":  {AllowedOrigins: []string{"http://b.example.com"}},
		"twice":           {AllowedOrigins: []string{"https://b.example.com", "https://B.example.com:443"}},
		"a public suffix": {CookieDomain: "com"},
		"somewhere else":  {CookieDomain: "example.org"},
		"half a label":    {CookieDomain: "ample.com"},
		"no name":         {CookieDomain: "a b"},
	} {
		c.Name, c.From, c.To = "a", "https://a.example.com", []string{"http://127.0.0.1:1"}
		if _, err := proxytest.NewTable([]upstream.RouteConfig{c}); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// A service worker sees no more than its tool's route, and that only where the configuration says so.
func TestScopeOfServiceWorkersStaysInTheRoute(t *testing.T) {
	for _, c := range []struct{ prefix, says, want string }{
		{"", "/", "/"}, {"", "/js/", "/js/"}, {"", "/app", "/app"},
		{"/app", "/", "/app/"}, {"/app", "/app", "/app/"}, {"/app", "/app/", "/app/"}, {"/app", "/app/x", "/app/x"}, {"/app/x", "/app/", "/app/x/"},
		{"/b%C3%BCro", "/", "/b%C3%BCro/"},
		{"/app", "/apple", ""}, {"/app", "/ap", ""}, {"/app", "/wiki/", ""}, {"/app", "/.sallyport/", ""},
		{"/app", "/app/../", ""}, {"/app", "/app/%2e%2e/", ""}, {"/app", `/app/..\\`, ""}, {"/app", "/app/\t../", ""}, {"/app", "/app//x", ""}, {"/app", "//evil.example/app/", ""},
		{"/app", "https://app.example/", ""}, {"/app", "./", ""}, {"/app", "", ""},
	} {
		up := httptest.NewServer(saying(http.Header{"Service-Worker-Allowed": {c.says}}))
		t.Cleanup(up.Close)
		tb := table(t, []upstream.RouteConfig{{Name: "a", From: "https://app.example" + c.prefix, To: []string{up.URL}}})
		f := proxytest.NewForwarder(upstream.Config{})
		t.Cleanup(f.Close)
		for allowed, want := range map[bool]string{true: c.want, false: ""} {
			w := newRecorder()
			f.Forward(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), &upstream.ForwardRequest{Route: tb.Routes()[0], RootWorker: allowed,
				Target: upstream.Target{Scheme: "https", Host: "app.example", Path: "/app/sw.js", RawPath: "/app/sw.js"}})
			if got := w.Header().Get("Service-Worker-Allowed"); got != want || w.Code != 200 {
				t.Errorf("%s says %q, allowed %v: %d %q, want %q", c.prefix, c.says, allowed, w.Code, got, want)
			}
		}
	}
}

// An allowed origin's page may read the answer; what the tool itself says of it stays.
func TestAllowedOriginMayReadTheAnswer(t *testing.T) {
	const other = "https://b.example"
	for name, c := range map[string]struct {
		own    http.Header
		origin string
		want   string
	}{
		"nothing said":  {nil, other, fmt.Sprint(other, " true Cookie, Origin")},
		"everybody":     {http.Header{"Access-Control-Allow-Origin": {"*"}}, other, fmt.Sprint(other, " true Cookie, Origin")},
		"the tool says": {http.Header{"Access-Control-Allow-Origin": {"https://c.example"}}, other, "https://c.example  Cookie, Origin"},
		"own page":      {nil, "", "  Cookie, Origin"},
		"gRPC-Web":      {http.Header{"Content-Type": {"application/grpc-web+proto"}}, other, fmt.Sprint(other, " true Origin")},
	} {
		up := httptest.NewServer(saying(c.own))
		t.Cleanup(up.Close)
		tb := table(t, []upstream.RouteConfig{{Name: "a", From: "https://app.example", To: []string{up.URL}, AllowedOrigins: []string{other}}})
		f := proxytest.NewForwarder(upstream.Config{})
		t.Cleanup(f.Close)
		w := newRecorder()
		f.Forward(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), &upstream.ForwardRequest{Route: tb.Routes()[0], AllowedOrigin: c.origin,
			Target: upstream.Target{Scheme: "https", Host: "app.example", Path: "/", RawPath: "/"}})
		h := w.Header()
		if got := fmt.Sprint(h.Get("Access-Control-Allow-Origin"), " ", h.Get("Access-Control-Allow-Credentials"), " ", strings.Join(h["Vary"], ", ")); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
