package portal

import (
	"net/url"
	"strings"
	"testing"

	"sallyport/proxy/hostname"
)

const testSignIn = "https://login.corp.com"

// testOurs knows testOrigins, as a route table does.
func testOurs(origin string) bool {
	scheme, host, _ := strings.Cut(origin, "://")
	for o := range testOrigins {
		if s, pattern, _ := strings.Cut(o, "://"); s == scheme && hostname.Covers(pattern, host) {
			return true
		}
	}
	return false
}

var testOrigins = map[string]bool{testSignIn: true, "https://app.corp.com": true, "http://dev.localhost:8080": true, "https://[2001:db8::1]:8443": true, "https://*.apps.corp.com": true, "https://*.dev.corp.com:8443": true}

// Where a return address may lead: the whole table.
func TestAttackParseReturnTo(t *testing.T) {
	for raw, want := range map[string]string{
		"/":                                        testSignIn + "/",
		"/x?y=1":                                   testSignIn + "/x?y=1",
		"/x?u=https://evil.test":                   testSignIn + "/x?u=https://evil.test",
		"/%2F/x":                                   testSignIn + "/%2F/x",
		"https://app.corp.com":                     "https://app.corp.com/",
		"https://a.apps.corp.com/x":                "https://a.apps.corp.com/x",
		"https://A-1_b.apps.corp.com:443/":         "https://a-1_b.apps.corp.com/",
		"https://x.dev.corp.com:8443/":             "https://x.dev.corp.com:8443/",
		"https://x.dev.corp.com/":                  "",
		"https://*.apps.corp.com/":                 "",
		"https://apps.corp.com/":                   "",
		"https://.apps.corp.com/":                  "",
		"https://a.b.apps.corp.com/":               "",
		"https://-.apps.corp.com/":                 "",
		"https://a,b.apps.corp.com/":               "",
		"https://a$.apps.corp.com/":                "",
		"https://%41.apps.corp.com/":               "",
		"https://evil.test%2f.apps.corp.com/":      "",
		"https://evil.test;.apps.corp.com/":        "",
		"https://a.apps.corp.com.evil.test/":       "",
		"https://a.apps.corp.com:8443/":            "",
		"http://a.apps.corp.com/":                  "",
		"https://app.corp.com/a%20b?c":             "https://app.corp.com/a%20b?c",
		"https://app.corp.com?x":                   "https://app.corp.com/?x",
		"HTTPS://APP.Corp.COM:443/":                "https://app.corp.com/",
		"http://dev.localhost:8080/x":              "http://dev.localhost:8080/x",
		"https://[2001:db8::1]:8443/":              "https://[2001:db8::1]:8443/",
		"":                                         "",
		"x":                                        "",
		"?x":                                       "",
		"#x":                                       "",
		"//evil.test":                              "",
		"///evil.test":                             "",
		"/\\evil.test":                             "",
		"\\\\evil.test":                            "",
		"\t//evil.test":                            "",
		"/\t/evil.test":                            "",
		"/\n/evil.test":                            "",
		" //evil.test":                             "",
		"/ /evil.test":                             "",
		"\x00//evil.test":                          "",
		"/\r\nLocation:https://evil":               "",
		"https:evil.test":                          "",
		"https:/app.corp.com/":                     "",
		"https:///app.corp.com/":                   "",
		"https:\\\\evil.test":                      "",
		"https://app.corp.com.evil.test/":          "",
		"https://app.corp.com@evil.test/":          "",
		"https://x:y@app.corp.com/":                "",
		"https://app.corp.com\\@evil.test/":        "",
		"https://app.corp.com%2eevil.test/":        "",
		"https://app.corp.com./":                   "",
		"https://app.corp.com:444/":                "",
		"https://app.corp.com:/":                   "",
		"https://app.corp.com:0443/":               "",
		"http://app.corp.com/":                     "",
		"http://login.corp.com/":                   "",
		"https://app.corp.com//evil.test":          "",
		"/shown/../asked":                          "", // a browser asks for /asked
		"/shown/%2E%2e/asked":                      "",
		"/./asked":                                 "",
		"https://app.corp.com/shown/.%2e":          "",
		"/.well/..x/y.?z=/../":                     testSignIn + "/.well/..x/y.?z=/../",
		"https://corp.com/":                        "",
		"https://evil.test/?https://app.corp.com/": "",
		"https://аpp.corp.com/":                    "",
		"https://evil.test#@app.corp.com/":         "",
		"javascript:alert(1)":                      "",
		"javascript://app.corp.com/%0aalert(1)":    "",
		"data:text/html,x":                         "",
		"ftp://app.corp.com/":                      "",
		"//app.corp.com/":                          "",
		"/" + strings.Repeat("x", maxReturnTo):     "",
	} {
		got, err := parseReturnTo(raw, testSignIn, testOurs)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%q gives %q, %v; want %q", raw, got.String(), err, want)
		}
		if err != nil && got != (returnTo{}) {
			t.Errorf("%q is refused and gives %v", raw, got)
		}
	}
}

// browserOrigin is where a browser goes that follows ref from a page of base: the
// parts of the URL standard (https://url.spec.whatwg.org) that matter here, written
// down without net/url.
func browserOrigin(base, ref string) string {
	ref = strings.TrimFunc(ref, func(r rune) bool { return r <= ' ' })
	ref = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(ref)
	slash := func(c byte) bool { return c == '/' || c == '\\' }
	scheme, rest := "", ref
	for i := 0; i < len(ref); i++ {
		c := ref[i] | 0x20
		if ref[i] == ':' && i > 0 {
			scheme, rest = strings.ToLower(ref[:i]), ref[i+1:]
			break
		}
		if (c < 'a' || c > 'z') && (i == 0 || (ref[i] < '0' || ref[i] > '9') && ref[i] != '+' && ref[i] != '-' && ref[i] != '.') {
			break
		}
	}
	baseScheme, _, _ := strings.Cut(base, ":")
	switch {
	case scheme == "" && len(rest) > 1 && slash(rest[0]) && slash(rest[1]):
		scheme = baseScheme
	case scheme == "":
		return base
	case scheme != "http" && scheme != "https":
		return scheme + ":"
	case scheme == baseScheme && !(len(rest) > 1 && slash(rest[0]) && slash(rest[1])):
		return base // "https:x" is relative to a page of https
	}
	for len(rest) > 0 && slash(rest[0]) {
		rest = rest[1:]
	}
	if i := strings.IndexAny(rest, "/\\?#"); i >= 0 {
		rest = rest[:i]
	}
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	if u, err := url.PathUnescape(rest); err == nil && !strings.HasPrefix(rest, "[") {
		rest = u
	}
	host := strings.ToLower(rest)
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		port := strings.TrimLeft(host[i+1:], "0")
		host = host[:i]
		if port != "" && !(scheme == "https" && port == "443") && !(scheme == "http" && port == "80") {
			host += ":" + port
		}
	}
	return scheme + "://" + host
}

func TestBrowserOrigin(t *testing.T) {
	for ref, want := range map[string]string{
		"/x": "https://base", "//evil": "https://evil", "/\\evil": "https://evil", "\t//evil": "https://evil", "/\t/evil": "https://evil", "https:evil": "https://base", "http:evil": "http://evil",
		"https://a@evil:443/x": "https://evil", "javascript:x": "javascript:", "///evil": "https://evil", "https://EVIL\\@a": "https://evil", "x": "https://base",
	} {
		if got := browserOrigin("https://base", ref); got != want {
			t.Errorf("%q: %q, want %q", ref, got, want)
		}
	}
}

// For every accepted value, a browser stays on an origin of ours: with the value as it
// was given, with what we make of it, and with the path alone.
func FuzzReturnTo(f *testing.F) {
	for _, seed := range []string{"/", "/x?y#z", "https://app.corp.com/a?b", "//evil", "/\\evil", "\t//evil", "https:evil", "https://app.corp.com@evil/", "/%2f/evil", "/..//evil", "https://app.corp.com//evil", "http://dev.localhost:8080", "https://[2001:db8::1]:8443/", "/.sallyport/enroll?ticket=x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		to, err := parseReturnTo(raw, testSignIn, testOurs)
		if err != nil {
			return
		}
		if !testOrigins[to.origin] || !strings.HasPrefix(to.path, "/") || strings.HasPrefix(to.path, "//") || strings.ContainsAny(to.String(), "\r\n\t \\\x00") {
			t.Fatalf("%q gives %q + %q", raw, to.origin, to.path)
		}
		for what, ref := range map[string]string{"the value": raw, "our URL": to.String()} {
			if got := browserOrigin(testSignIn, ref); got != to.origin {
				t.Errorf("%q: with %s a browser goes to %q, we think %q", raw, what, got, to.origin)
			}
		}
		if got := browserOrigin(to.origin, to.path); got != to.origin {
			t.Errorf("%q: from the path %q a browser goes to %q", raw, to.path, got)
		}
		if again, err := parseReturnTo(to.String(), testSignIn, testOurs); err != nil || again != to {
			t.Errorf("%q: %v is not accepted again: %v, %v", raw, to, again, err)
		}
		if path, err := returnPathLike(to.path); err != nil || path != to.path {
			t.Errorf("%q: the path %q would be refused at the hand-off", raw, to.path)
		}
	})
}

// returnPathLike is what a hand-off asks of a path.
func returnPathLike(path string) (string, error) {
	u, err := url.Parse(path)
	if err != nil || u.Host != "" || u.Scheme != "" {
		return "", errReturnTo
	}
	return path, nil
}
