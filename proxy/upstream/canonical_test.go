package upstream_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"testing"

	"sallyport/proxy/upstream"
)

// asked is a request as net/http hands it over, for a raw target and Host.
func asked(method, host, target string) *http.Request {
	return &http.Request{Method: method, Host: host, RequestURI: target, Header: http.Header{}}
}

func status(err error) int {
	var bad *upstream.BadRequest
	if errors.As(err, &bad) {
		return bad.Status
	}
	return 0
}

// What a backend could read in a second way is refused, not repaired.
func TestAttackAmbiguousPaths(t *testing.T) {
	for _, target := range []string{
		"//admin", "/a//b", "/a//", "//", "///",
		"/./", "/.", "/a/./b", "/a/.", "/..", "/a/..", "/a/../b", "/../etc",
		"/%2e%2e/", "/%2e/", "/a/%2E%2e/b", "/.%2e/", "/%2e", "/a/%2e",
		"/a/..;/b", "/a/..%3b/b", "/..;x=1/b", "/a;x", "/a;x=1/b", "/;/admin", "/a%3Bx",
		"/a%2fb", "/a%2Fb", "/%2f", "/a%5cb", "/a%5Cb", `/a\b`, `/\`, `\admin`,
		"/a%00", "/%00/b", "/a%0d%0aX: y", "/a%0a", "/a%7f", "/a%1b", "/a%c2%85", "/a\x00", "/a\tb", "/a b", "/a\x7f",
		"/a%23b", "/a#b", "/a#", "/%23", "/a?b#c",
		"/%", "/%2", "/%zz", "/a%u002e", "/a%-1", "/%%32%65",
		"/%ff", "/%c0%af", "/%c0%ae%c0%ae/", "/%e0%80%af", "/%ed%a0%80", "/\xff",
		"/%252e%252e/", "/%252f", "/a%252Fb", "/%255c", "/%2500", "/%25252f", "/%252525252f", "/a%253Fb", "/a%253Bb", "/a%2523",
		"/%2525252525252525252541", "/a/%252e/b", "/%25%32%66",
		"", "*", "admin", "?x", "http://app.example/", "HTTP://app.example/", "//app.example/", "https:admin",
		"/?a b", "/?a\x00", "/?a\r", "/?a\x7f", "/?#",
	} {
		if got, err := upstream.Canonicalise(asked("GET", "app.example", target), "http"); status(err) != 400 {
			t.Errorf("%q: got %+v, %v; want 400", target, got, err)
		}
	}
}

// What is unusual but has one meaning keeps it.
func TestCanonicalPaths(t *testing.T) {
	for target, want := range map[string][3]string{ // decoded, forwarded, query
		"/":                         {"/", "/", ""},
		"/a/b/":                     {"/a/b/", "/a/b/", ""},
		"/a%20b":                    {"/a b", "/a%20b", ""},
		"/a%2Bb+c":                  {"/a+b+c", "/a%2Bb+c", ""},
		"/a%2bb":                    {"/a+b", "/a%2Bb", ""},
		"/100%25":                   {"/100%", "/100%25", ""},
		"/a%2520b":                  {"/a%20b", "/a%2520b", ""},
		"/what%3F":                  {"/what?", "/what%3F", ""},
		"/caf%c3%a9":                {"/café", "/caf%C3%A9", ""},
		"/café":                     {"/café", "/caf%C3%A9", ""},
		"/%E2%82%BF/%F0%9F%94%91":   {"/₿/🔑", "/%E2%82%BF/%F0%9F%94%91", ""},
		"/%41%2Db%7E":               {"/A-b~", "/A-b~", ""},
		"/file%2etxt":               {"/file.txt", "/file.txt", ""},
		"/.well-known/x":            {"/.well-known/x", "/.well-known/x", ""},
		"/...":                      {"/...", "/...", ""},
		"/a..b/..c/d..":             {"/a..b/..c/d..", "/a..b/..c/d..", ""},
		"/a:b@c,d=e&f$g!h'i(j)k*l":  {"/a:b@c,d=e&f$g!h'i(j)k*l", "/a:b@c,d=e&f$g!h'i(j)k*l", ""},
		"/a[1]":                     {"/a[1]", "/a[1]", ""},
		"/a%5B1%5d":                 {"/a[1]", "/a%5B1%5D", ""},
		"/a|b{c}^\"<>`":             {"/a|b{c}^\"<>`", "/a%7Cb%7Bc%7D%5E%22%3C%3E%60", ""},
		"/x?":                       {"/x", "/x", ""},
		"/x?a=1;b=2&c=%zz&/../..//": {"/x", "/x", "a=1;b=2&c=%zz&/../..//"},
		"/x?q=é":                    {"/x", "/x", "q=%C3%A9"},
		"/x?y=a?b":                  {"/x", "/x", "y=a?b"},
	} {
		got, err := upstream.Canonicalise(asked("GET", "app.example", target), "http")
		if err != nil || got.Path != want[0] || got.RawPath != want[1] || got.RawQuery != want[2] {
			t.Errorf("%q: got %q %q %q, %v; want %q", target, got.Path, got.RawPath, got.RawQuery, err, want)
		}
	}
}

// One host, however it is spelled.
func TestAttackHostSpellings(t *testing.T) {
	for _, c := range []struct{ scheme, in, host, hostname, hostPort string }{
		{"https", "APP.Corp", "app.corp", "app.corp", "app.corp:443"},
		{"https", "app.corp.", "app.corp", "app.corp", "app.corp:443"},
		{"https", "app.corp:443", "app.corp", "app.corp", "app.corp:443"},
		{"https", "app.corp.:0443", "app.corp", "app.corp", "app.corp:443"},
		{"http", "app.corp:443", "app.corp:443", "app.corp", "app.corp:443"},
		{"http", "app.corp:80", "app.corp", "app.corp", "app.corp:80"},
		{"http", "treasury.localhost:8080", "treasury.localhost:8080", "treasury.localhost", "treasury.localhost:8080"},
		{"http", "xn--mnchen-3ya.example", "xn--mnchen-3ya.example", "xn--mnchen-3ya.example", "xn--mnchen-3ya.example:80"},
		{"http", "my_tool.internal", "my_tool.internal", "my_tool.internal", "my_tool.internal:80"},
		{"http", "10.0.0.1:8080", "10.0.0.1:8080", "10.0.0.1", "10.0.0.1:8080"},
		{"http", "[0:0:0::1]:8080", "[::1]:8080", "::1", "[::1]:8080"},
		{"http", "[2001:DB8::1]", "[2001:db8::1]", "2001:db8::1", "[2001:db8::1]:80"},
	} {
		got, err := upstream.Canonicalise(asked("GET", c.in, "/"), c.scheme)
		if err != nil || got.Host != c.host || got.Hostname != c.hostname || got.HostPort() != c.hostPort || got.Scheme != c.scheme {
			t.Errorf("%s %s: got %+v, %v", c.scheme, c.in, got, err)
		}
	}
	for _, host := range []string{
		"", ".", "..", ":80", "app.corp..", "APP.CORP..", "app..corp", ".app.corp", "user@app.corp", "user:pw@app.corp", "app.corp@evil",
		"app.corp:", "app.corp:0", "app.corp:65536", "app.corp:8a", "app.corp:-1", "app.corp:+1", "app.corp:80:80", "app.corp: 80",
		"app corp", "app.corp/", "app.corp\\", "app.corp?x", "app.corp#x", "app.corp%2e", "app.corp,evil", "app.corp;x", "app\tcorp", "app\x00",
		"аpp.corp", "münchen.example", "app。corp", "-app.corp", "app-.corp", "*.corp", "$host",
		"127.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "1.2.3.4.5", "app.corp.1", "10.0.0.01", "256.1.1.1", "app.0x",
		"[::1", "::1", "[::1]x", "[::1]:", "[::1%eth0]", "[::1%25eth0]", "[1.2.3.4]", "[]", "[app]", "[::1]80",
	} {
		if got, err := upstream.Canonicalise(asked("GET", host, "/"), "http"); status(err) != 400 {
			t.Errorf("%q: got %+v, %v; want 400", host, got, err)
		}
	}
}

// The TLS handshake and the request must be about the same host.
func TestAttackServerNameMismatch(t *testing.T) {
	for sni, want := range map[string]int{"app.corp": 0, "APP.corp.": 0, "": 0, "other.corp": 421, "app.corp.evil": 421} {
		r := asked("GET", "app.corp:443", "/")
		r.TLS = &tls.ConnectionState{ServerName: sni}
		if _, err := upstream.Canonicalise(r, "https"); status(err) != want || (want == 0) != (err == nil) {
			t.Errorf("server name %q: %v", sni, err)
		}
		if _, err := upstream.CanonicaliseBehindProxy(r, "https"); err != nil {
			t.Errorf("server name %q from a trusted proxy: %v", sni, err)
		}
	}
}

// HTTP/2 can say :authority and Host.
func TestAttackTwoHosts(t *testing.T) {
	r := asked("GET", "app.corp", "/")
	r.Header["Host"] = []string{"admin.corp"}
	if _, err := upstream.Canonicalise(r, "https"); status(err) != 400 {
		t.Error(err)
	}
	r.Header["Host"] = []string{"App.corp"}
	if _, err := upstream.Canonicalise(r, "https"); err != nil {
		t.Error(err)
	}
}

// The method is the one in the request line, spelled as it is judged.
func TestAttackMethodSpellings(t *testing.T) {
	for method, want := range map[string]int{
		"GET": 0, "HEAD": 0, "POST": 0, "PUT": 0, "DELETE": 0, "OPTIONS": 0, "PATCH": 0, "PROPFIND": 0, "M-SEARCH": 0, "QUERY": 0, "FOO": 0,
		"CONNECT": 405, "TRACE": 405, "TRACK": 405,
		"get": 501, "Get": 501, "pOST": 501, "": 501, "G ET": 501, "GET\r\n": 501, "GET/": 501, "GÉT": 501, "-GET": 501, "G_ET": 501,
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA": 501,
	} {
		_, err := upstream.Canonicalise(asked(method, "app.corp", "/"), "http")
		if status(err) != want || (want == 0) != (err == nil) {
			t.Errorf("%q: %v, want %d", method, err, want)
		}
	}
}

func TestReasonsDoNotRepeatInput(t *testing.T) {
	_, err := upstream.Canonicalise(asked("GET", "app.corp", "/<script>%00"), "http")
	if err == nil || err.Error() != "a control character in the path" {
		t.Error(err)
	}
}

func BenchmarkCanonicalise(b *testing.B) {
	for name, target := range map[string]string{"plain": "/api/v1/accounts/17?limit=10", "escaped": "/files/caf%C3%A9%20menu.txt"} {
		b.Run(name, func(b *testing.B) {
			r := asked("GET", "treasury.localhost:8080", target)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := upstream.Canonicalise(r, "http"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
