package upstream_test

import (
	"testing"

	"sallyport/proxy/upstream"
)

// A wildcard is one label, and no host that a route names.
func TestMatchWildcard(t *testing.T) {
	tb := table(t, routes(
		"previews", "https://*.apps.example.com",
		"api", "https://*.apps.example.com/api",
		"docs", "https://docs.apps.example.com/docs",
		"deep", "https://*.x.apps.example.com",
		"odd", "https://*.apps.example.com:8443",
		"above", "https://*.example.com/above",
	))
	for host, want := range map[string]string{
		"a.apps.example.com": "previews", "A.Apps.Example.com.": "previews", "a.apps.example.com:443": "previews", "1.apps.example.com": "previews", "xn--mnchen-3ya.apps.example.com": "previews", "a_b.apps.example.com": "previews",
		"a.apps.example.com/api": "api", "a.apps.example.com/apis": "previews",
		"docs.apps.example.com/docs": "docs", "docs.apps.example.com/": "", "docs.apps.example.com/api": "", "DOCS.apps.example.com./x": "", "docs.apps.example.com:8443/": "odd",
		"apps.example.com": "", "apps.example.com/above": "above", "x.apps.example.com": "previews", "a.x.apps.example.com": "deep", "a.b.apps.example.com": "",
		"a.apps.example.com:8443": "odd", "a.apps.example.com:444": "", "a.apps.example.com.evil.test": "", "aapps.example.com": "", "example.com/above": "",
	} {
		name, path, _ := cut(host)
		target, err := upstream.Canonicalise(asked("GET", name, path), "https")
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		got := ""
		if r, ok := tb.Match(target); ok {
			got = r.Name
			if !r.Covers(target.Hostname) || !r.HasOrigin(target.Scheme+"://"+target.Host) {
				t.Errorf("%s: %v does not know its host", host, r)
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	for _, host := range []string{"*.apps.example.com", ".apps.example.com", "-.apps.example.com", "a..apps.example.com", "é.apps.example.com", "a@b.apps.example.com"} {
		if target, err := upstream.Canonicalise(asked("GET", host, "/"), "https"); err == nil {
			t.Errorf("%s: %+v", host, target)
		}
	}
	// A client that wrote no port, behind a proxy that says nothing of TLS.
	target, err := upstream.Canonicalise(asked("GET", "docs.apps.example.com", "/docs"), "http")
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := tb.Match(target); !ok || r.Name != "docs" {
		t.Errorf("%v, %v", r, ok)
	}
}

func cut(s string) (host, path string, ok bool) {
	for i := range len(s) {
		if s[i] == '/' {
			return s[:i], s[i:], true
		}
	}
	return s, "/", false
}

func BenchmarkMatchWildcard(b *testing.B) {
	tb := table(b, routes("previews", "https://*.apps.example.com", "docs", "https://docs.apps.example.com"))
	target, _ := upstream.Canonicalise(asked("GET", "a.apps.example.com", "/x"), "https")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := tb.Match(target); !ok {
			b.Fatal("no route")
		}
	}
}
