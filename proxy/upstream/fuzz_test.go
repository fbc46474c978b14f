package upstream_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// FuzzForwardedIsMatched is the property the package stands for: for each
// target and host that a client sends, if it is let through, a real server that
// reads the forwarded request sees exactly what was matched, and the canonical
// form of that is itself. On a route that allows every form of a path, all readings of what is forwarded have
// one folded form, by which rules are asked.
func FuzzForwardedIsMatched(f *testing.F) {
	for _, target := range []string{"/", "/a%20b?x=1", "/%2e%2e/", "/a%2fb", "/caf%c3%a9", "/%25%32%65", "/a|b[c]%5b", "/a;b", "//x", "/x?%zz&;", "/a%3Fb%2Bc+d", "/\xe2\x82\xac", "/%41", "*", "http://x/",
		"/a%2fb", "/a%252Fb", "/%25%32%66", "/a%5Cb;c", "/a//b%23", "/x%2F..%2Fy", "/x;%2Fy", "/%25252F", "/x%2F%2e", "/..;", "/a/%2F/b", "/;a", "/%2%2F", "/%25%2F"} {
		f.Add("app.example", target)
	}
	for _, host := range []string{"APP.example.:80", "[::1]:8080", "0x7f.1", "user@x", "x:0080", "xn--x", "_a.b"} {
		f.Add(host, "/x")
	}
	received := make(chan *http.Request, 1)
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r }))
	f.Cleanup(up.Close)
	fw := proxytest.NewForwarder(upstream.Config{})
	f.Cleanup(fw.Close)
	tb := table(f, []upstream.RouteConfig{{Name: "a", From: "http://any.example", To: []string{up.URL}, Forms: everyForm()}})

	f.Fuzz(func(t *testing.T, host, target string) {
		r := asked("GET", host, target)
		matched, err := upstream.Canonicalise(r, "http")
		var bad *upstream.BadRequest
		formed := errors.As(err, &bad) && bad.Forms != 0
		if formed {
			at := matched
			at.Hostname, at.Port = "any.example", "80"
			err = tb.Admit(at)
		}
		if err != nil {
			if code := status(err); code != 400 {
				t.Fatalf("%q %q: %v has status %d", host, target, err, code)
			}
			return
		}
		for _, bad := range []string{"//", "/./", "/../", `\`, ";", "#", "\x00", "\r", "\n"} {
			if !formed && strings.Contains(matched.Path+"/", bad) && !(bad == "//" && strings.HasSuffix(matched.Path, "/")) {
				t.Fatalf("%q: path %q holds %q", target, matched.Path, bad)
			}
		}
		if strings.HasPrefix(matched.Path+"/", upstream.ReservedPrefix) || len(target)+len(host) > 32<<10 {
			return
		}
		r.URL = nil // nothing may depend on net/http's reading of the target
		w := httptest.NewRecorder()
		inbound := httptest.NewRequest("GET", "/", nil)
		fw.Forward(w, inbound, &upstream.ForwardRequest{Route: tb.Routes()[0], Target: matched, ClientAddr: netip.MustParseAddr("::1")})
		if w.Code != 200 {
			t.Fatalf("%q %q: accepted, but the upstream answered %d %s", host, target, w.Code, w.Body)
		}
		got := <-received
		again, err := upstream.Canonicalise(got, "http")
		if formed && errors.As(err, &bad) && bad.Forms != 0 {
			err = nil
		}
		if err != nil {
			t.Fatalf("%q %q: forwarded as %q %q, which is refused: %v", host, target, got.Host, got.RequestURI, err)
		}
		for _, reading := range readings(matched.RawPath) {
			if a, b := policy.FoldPath(reading), policy.FoldPath(matched.Path); a != b {
				t.Fatalf("%q: judged %q, folded %q; a tool may read %q, folded %q", target, matched.Path, b, reading, a)
			}
		}
		if !formed && got.URL.Path != matched.Path {
			t.Fatalf("%q: matched %q, the server reads %q", target, matched.Path, got.URL.Path)
		}
		if got.URL.RawQuery != matched.RawQuery || again.RawPath != matched.RawPath || again.Path != matched.Path || again.RawQuery != matched.RawQuery ||
			again.Host != matched.Host || again.Hostname != matched.Hostname || again.Port != matched.Port {
			t.Fatalf("%q %q: matched %+v, forwarded %+v", host, target, matched, again)
		}
	})
}

func everyForm() (all upstream.PathForms) {
	for _, name := range upstream.PathFormNames() {
		form, err := upstream.ParsePathForm(name)
		if err != nil {
			panic(err)
		}
		all |= form
	}
	return all
}

// readings are what tools make of a path: they decode it once or twice, or not; then cut parameters of each segment or
// the rest of the path, or not; then resolve dots and join slashes. Others cut before they decode.
func readings(raw string) (all []string) {
	cutSegments := func(p string) string {
		segments := strings.Split(p, "/")
		for i, s := range segments {
			if at := strings.IndexAny(s, ";#"); at >= 0 {
				segments[i] = s[:at]
			}
		}
		return strings.Join(segments, "/")
	}
	cutRest := func(p string) string {
		if at := strings.IndexAny(p, ";#"); at >= 0 {
			return p[:at]
		}
		return p
	}
	same := func(p string) string { return p }
	decode := func(p string) string {
		if d, err := url.PathUnescape(p); err == nil {
			return d
		}
		return p
	}
	for _, before := range []func(string) string{same, cutSegments, cutRest} {
		for _, decoded := range []func(string) string{same, decode, func(p string) string { return decode(decode(p)) }} {
			for _, after := range []func(string) string{same, cutSegments, cutRest} {
				p := strings.ReplaceAll(after(decoded(before(raw))), `\`, "/")
				all = append(all, p, path.Clean(p))
			}
		}
	}
	return all
}

// FuzzCookies: for every Cookie header, net/http finds none of ours in
// what goes upstream, and finds every other one unchanged.
func FuzzCookies(f *testing.F) {
	for _, s := range []string{"a=1; sallyport=x; b=2", "__Host-sallyport=x", ";;sallyport;", `a="x; sallyport=y"`, " sallyport\t=x;A==;b", "a=1,sallyport=x"} {
		f.Add(s)
	}
	var out http.Header
	fw := proxytest.NewForwarder(upstream.Config{Cookies: []string{"__Host-sallyport"}, Transport: func(*upstream.Route) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			out = r.Header.Clone()
			return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}}, nil
		})
	}})
	tb := table(f, routes("a", "http://app.example"))
	target, err := upstream.Canonicalise(asked("GET", "app.example", "/"), "http")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line string) {
		in := httptest.NewRequest("GET", "/", nil)
		in.Header["Cookie"] = []string{line, "last=1"}
		before := others(in.Header)
		fw.Forward(httptest.NewRecorder(), in, &upstream.ForwardRequest{Route: tb.Routes()[0], Target: target})
		if after := (&http.Request{Header: out}).Cookies(); len(after) != len(before) {
			t.Fatalf("%q: had %v, forwarded %v (%q)", line, before, after, out["Cookie"])
		}
		for i, c := range others(out) {
			if c.Name != before[i].Name || c.Value != before[i].Value || c.Quoted != before[i].Quoted {
				t.Fatalf("%q: %v became %v", line, before[i], c)
			}
		}
		if !strings.Contains(strings.ToLower(line), "sallyport") && (len(out["Cookie"]) == 0 || out["Cookie"][0] != line) && line != "" {
			t.Fatalf("%q became %q", line, out["Cookie"])
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// others returns the cookies in h that are not ours.
func others(h http.Header) []*http.Cookie {
	var out []*http.Cookie
	for _, c := range (&http.Request{Header: h}).Cookies() {
		switch strings.ToLower(c.Name) {
		case "sallyport", "__host-sallyport", "__secure-sallyport":
		default:
			out = append(out, c)
		}
	}
	return out
}
