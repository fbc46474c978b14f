package upstream_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// stripping asks a tool on http://app.example/tools/a%2Cb that does not see that path, on both ways of forwarding.
func stripping(t *testing.T, forms upstream.PathForms, do func(t *testing.T, ask func(method, target string, answer http.Header) (saw *http.Request, got *http.Response, refused error))) {
	for _, way := range []string{"direct", "proxied"} {
		t.Run(way, func(t *testing.T) {
			var saw *http.Request
			var says http.Header
			tool := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				saw = r
				for name, lines := range says {
					w.Header()[name] = lines
				}
			})
			up := httptest.NewServer(tool)
			t.Cleanup(up.Close)
			c := upstream.Config{}
			if way == "proxied" {
				c.Transport = func(*upstream.Route) http.RoundTripper { return http.DefaultTransport }
			}
			f := proxytest.NewForwarder(c)
			t.Cleanup(f.Close)
			tb := table(t, []upstream.RouteConfig{
				{Name: "tool", From: "http://app.example/tools/a,b", To: []string{up.URL}, StripPrefix: true, Forms: forms},
				{Name: "rest", From: "http://app.example", To: []string{up.URL}},
			})
			do(t, func(method, target string, answer http.Header) (*http.Request, *http.Response, error) {
				saw, says = nil, answer
				at, err := upstream.Canonicalise(asked(method, "app.example", target), "http")
				if bad, ok := err.(*upstream.BadRequest); ok && bad.Forms != 0 {
					err = tb.Admit(at)
				}
				if err != nil {
					return nil, nil, err
				}
				route, _ := tb.Match(at)
				if route.Name != "tool" {
					return nil, nil, nil
				}
				in := httptest.NewRequest(method, "/", nil)
				in.Header.Set("X-Forwarded-Prefix", "/forged")
				in.Header.Set("X_forwarded-prefix", "/forged")
				w := httptest.NewRecorder()
				f.Forward(w, in, &upstream.ForwardRequest{Route: route, Target: at, ClientAddr: netip.MustParseAddr("::1"), RootWorker: true})
				return saw, w.Result(), nil
			})
		})
	}
}

func TestStrippedPrefix(t *testing.T) {
	stripping(t, upstream.EncodedSlash|upstream.DoubleSlash, func(t *testing.T, ask func(string, string, http.Header) (*http.Request, *http.Response, error)) {
		for target, want := range map[string]string{
			"/tools/a,b/": "/", "/tools/a%2cb/": "/", "/t%6Fols/a%2Cb/x%20y/?q=/tools/a,b": "/x%20y/?q=/tools/a,b", "/tools/a,b/tools/a,b/x": "/tools/a,b/x",
			"/tools/a,b/group%2fproject": "/group%2Fproject", "/tools/a,b/bucket//key": "/bucket//key", "/tools/a,b/?x": "/?x",
		} {
			saw, got, err := ask("GET", target, nil)
			if err != nil || saw == nil || saw.RequestURI != want || got.StatusCode != 200 || !slices.Equal(saw.Header["X-Forwarded-Prefix"], []string{"/tools/a,b"}) || len(saw.Header["X_forwarded-Prefix"]) != 0 {
				t.Errorf("%s: %v, %+v", target, err, saw)
			}
		}
		for _, target := range []string{"/tools/a,bc", "/tools/a", "/tools/a,b%2Fx", "/tools"} {
			if saw, _, _ := ask("GET", target, nil); saw != nil {
				t.Errorf("%s reached the tool as %s", target, saw.RequestURI)
			}
		}
		// Without the slash, links of the first page would lead out of the folder.
		for method, status := range map[string]int{"GET": 307, "HEAD": 307, "POST": 200} {
			saw, got, err := ask(method, "/tools/a%2Cb?x=1", nil)
			if err != nil || got.StatusCode != status || (saw == nil) != (status == 307) || status == 307 && got.Header.Get("Location") != "/tools/a%2Cb/?x=1" || saw != nil && saw.RequestURI != "/?x=1" {
				t.Errorf("%s: %d %q, %v", method, got.StatusCode, got.Header.Get("Location"), err)
			}
		}
	})
}

// What a tool says of itself gets the prefix back, where browsers act on it, and once.
func TestStrippedPrefixIsRestored(t *testing.T) {
	stripping(t, 0, func(t *testing.T, ask func(string, string, http.Header) (*http.Request, *http.Response, error)) {
		for said, want := range map[[2]string]string{
			{"Location", "/login"}: "/tools/a,b/login", {"Location", "/"}: "/tools/a,b/", {"Location", "/x?next=/y"}: "/tools/a,b/x?next=/y", {"Location", "/?a=/tools/a,b"}: "/tools/a,b/?a=/tools/a,b",
			{"Location", "/tools/a,b/login"}: "/tools/a,b/login", {"Location", "/tools/a,b"}: "/tools/a,b", {"Location", "/tools/a,bc"}: "/tools/a,b/tools/a,bc",
			{"Location", "login"}: "login", {"Location", "?x"}: "?x", {"Location", "../x"}: "../x", {"Location", ""}: "",
			{"Location", "http://app.example/login"}: "http://app.example/tools/a,b/login", {"Location", "http://app.example.evil.test/"}: "http://app.example.evil.test/",
			{"Location", "https://idp.example/"}: "https://idp.example/", {"Location", "//evil.test/x"}: "//evil.test/x", {"Location", `/\evil.test`}: `/\evil.test`,
			{"Set-Cookie", "a=1"}: "a=1", {"Set-Cookie", "a=1; Path=/"}: "a=1; Path=/tools/a,b", {"Set-Cookie", "a=1; HttpOnly; PATH = /x/; Secure"}: "a=1; HttpOnly; Path=/tools/a,b/x; Secure",
			{"Set-Cookie", "a=1; Path=/tools/a,b/x"}: "a=1; Path=/tools/a,b/x", {"Set-Cookie", "a=Path=/; Path=x"}: "a=Path=/; Path=x", {"Set-Cookie", "__Host-a=1; Path=/; Secure"}: "__Host-a=1; Path=/; Secure",
			{"Set-Cookie", "a=1; path=/tools/a,b; path=/"}:  "a=1; path=/tools/a,b; Path=/tools/a,b",
			{"Content-Location", "/x"}:                      "/x",
			{"Link", "</app.js>; rel=preload; as=script"}:   "</app.js>; rel=preload; as=script",
			{"X-Forwarded-Prefix", "/forged-by-the-answer"}: "/forged-by-the-answer",
		} {
			_, got, err := ask("GET", "/tools/a,b/page", http.Header{said[0]: {said[1]}})
			if err != nil || got.Header.Get(said[0]) != want {
				t.Errorf("%s: %s: became %q, want %q", said[0], said[1], got.Header.Get(said[0]), want)
			}
		}
	})
}

// Without its prefix a path must not begin with what a URL parser takes for a host.
func TestAttackHostBehindAStrippedPrefix(t *testing.T) {
	stripping(t, everyForm(), func(t *testing.T, ask func(string, string, http.Header) (*http.Request, *http.Response, error)) {
		for _, target := range []string{
			"/tools/a,b//evil.test/x", "/tools/a,b//public/admin", "/tools/a,b/%2Fpublic/admin", "/tools/a,b/%5Cpublic/admin", "/tools/a,b/%252Fpublic/admin", "/tools/a,b/%252fpublic/admin",
			"/tools/a,b//", "/tools/a,b/;/admin", "/tools/a,b;/x", "/tools/a,b;x", "/tools//a,b/x", "/tools/a,b/..%2F..%2Fx", "/tools%2Fa,b/x", "/tools/a,b/../x",
		} {
			if saw, _, err := ask("GET", target, nil); err == nil || saw != nil {
				t.Errorf("%s: %v, %v", target, err, saw)
			}
		}
	})
}

func TestStrippedPrefixOfAWorkersScope(t *testing.T) {
	tb := table(t, []upstream.RouteConfig{{Name: "tool", From: "http://app.example/tool", To: []string{"http://127.0.0.1:3000"}, StripPrefix: true}})
	for said, want := range map[string]string{"/": "/tool/", "/app/": "/tool/app/", "/../": "", "//x/": "", "": ""} {
		f := proxytest.NewForwarder(upstream.Config{Transport: func(*upstream.Route) http.RoundTripper {
			return roundTrip(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{"Service-Worker-Allowed": {said}}}, nil
			})
		}})
		target, err := upstream.Canonicalise(asked("GET", "app.example", "/tool/sw.js"), "http")
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		f.Forward(w, httptest.NewRequest("GET", "/", nil), &upstream.ForwardRequest{Route: tb.Routes()[0], Target: target, RootWorker: true})
		if got := w.Header().Get("Service-Worker-Allowed"); got != want {
			t.Errorf("%q became %q, want %q", said, got, want)
		}
		f.Close()
	}
}

// What a COPY or MOVE writes to is told like the path of the request: without the prefix, and once, regardless of what the client sent.
func TestStrippedPrefixOfADestination(t *testing.T) {
	for _, way := range []string{"direct", "proxied"} {
		var saw []string
		up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { saw = r.Header["Destination"] }))
		t.Cleanup(up.Close)
		c := upstream.Config{}
		if way == "proxied" {
			c.Transport = func(*upstream.Route) http.RoundTripper { return http.DefaultTransport }
		}
		f := proxytest.NewForwarder(c)
		t.Cleanup(f.Close)
		tb := table(t, []upstream.RouteConfig{{Name: "tool", From: "http://app.example/dav", To: []string{up.URL}, StripPrefix: true}})
		for to, want := range map[string]string{"http://app.example/dav/x%20y": "/x%20y", "/dav": "/", "/dav/dav": "/dav"} {
			r := asked("MOVE", "app.example", "/dav/a")
			r.Header = http.Header{"Destination": {to}}
			at, err := upstream.Canonicalise(r, "http")
			if err != nil {
				t.Fatal(err)
			}
			route, _ := tb.Match(at)
			second, ok, err := tb.Destination(r, at, route)
			if !ok || err != nil {
				t.Fatal(to, ok, err)
			}
			in := httptest.NewRequest("MOVE", "/", nil)
			in.Header = r.Header
			f.Forward(httptest.NewRecorder(), in, &upstream.ForwardRequest{Route: route, Target: at, Destination: second.RawPath, ClientAddr: netip.MustParseAddr("::1")})
			if !slices.Equal(saw, []string{want}) {
				t.Errorf("%s: %s: the tool was told %q, want %q", way, to, saw, want)
			}
		}
	}
}
