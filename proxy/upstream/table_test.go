package upstream_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

func routes(pairs ...string) []upstream.RouteConfig {
	var out []upstream.RouteConfig
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, upstream.RouteConfig{Name: pairs[i], From: pairs[i+1], To: []string{"http://127.0.0.1:3000"}})
	}
	return out
}

func table(t testing.TB, configs []upstream.RouteConfig) *upstream.Table {
	t.Helper()
	tb, err := proxytest.NewTable(configs)
	if err != nil {
		t.Fatal(err)
	}
	return tb
}

func TestMatch(t *testing.T) {
	tb := table(t, routes(
		"root", "https://app.corp",
		"api", "https://app.corp/api",
		"api-v2", "https://app.corp/api/v2/",
		"café", "https://app.corp/caf%c3%a9",
		"odd-port", "http://app.corp:8080/only",
		"plain", "http://plain.corp/",
		"v6", "http://[::1]:8080",
		"upper", "https://UPPER.Corp.:443/",
	))
	for _, c := range []struct{ scheme, host, path, want string }{
		{"https", "app.corp", "/", "root"},
		{"https", "app.corp", "/apix", "root"},
		{"https", "app.corp", "/API", "root"},
		{"https", "app.corp", "/api", "api"},
		{"https", "app.corp", "/api/", "api"},
		{"https", "app.corp", "/api/v1", "api"},
		{"https", "app.corp", "/api/v2", "api-v2"},
		{"https", "app.corp", "/api/v2/x", "api-v2"},
		{"https", "app.corp", "/api/v22", "api"},
		{"https", "app.corp", "/%61pi", "api"},
		{"https", "app.corp", "/api%3Fx", "root"},
		{"https", "app.corp", "/café/x", "café"},
		{"https", "APP.corp.:443", "/api", "api"},
		{"http", "app.corp:443", "/api", "api"}, // TLS ended in front, which kept the port
		{"http", "app.corp", "/api", "api"},     // ... and which did not say so
		{"http", "app.corp:80", "/", ""},
		{"https", "app.corp:8443", "/", ""},
		{"http", "app.corp:8080", "/only/x", "odd-port"},
		{"http", "app.corp:8080", "/", ""},
		{"https", "plain.corp", "/", ""},
		{"http", "plain.corp", "/x", "plain"},
		{"http", "[0:0::1]:8080", "/x", "v6"},
		{"https", "upper.corp", "/", "upper"},
		{"https", "other.corp", "/", ""},
		{"https", "x.app.corp", "/", ""},
	} {
		target, err := upstream.Canonicalise(asked("GET", c.host, c.path), c.scheme)
		if err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		got := ""
		if r, ok := tb.Match(target); ok {
			got = r.Name
		}
		if got != c.want {
			t.Errorf("%s://%s%s: got route %q, want %q", c.scheme, c.host, c.path, got, c.want)
		}
	}
	known, _ := upstream.Canonicalise(asked("GET", "app.corp:8080", "/"), "http")
	unknown, _ := upstream.Canonicalise(asked("GET", "app.corp:8081", "/"), "http")
	if !tb.HasHost(known) || tb.HasHost(unknown) {
		t.Error("HasHost does not tell a missing path from a missing host")
	}
}

// Every mistake is reported, and a conflict names both routes.
func TestTableMistakes(t *testing.T) {
	to := []string{"http://127.0.0.1:3000"}
	for name, c := range map[string]struct {
		configs []upstream.RouteConfig
		want    []string
	}{
		"same place":            {routes("a", "https://app.corp/x", "b", "https://APP.corp.:443/x/"), []string{`"a"`, `"b"`, "https://app.corp/x"}},
		"same place, escaped":   {routes("a", "https://app.corp/x", "b", "https://app.corp/%78"), []string{`"a"`, `"b"`}},
		"same name":             {routes("a", "https://app.corp/x", "a", "https://app.corp/y"), []string{`"a"`, "name"}},
		"two schemes on a port": {routes("a", "https://app.corp:8443/x", "b", "http://app.corp:8443/y"), []string{`"a"`, `"b"`, "http or https"}},
		"reserved prefix":       {routes("a", "https://app.corp/.sallyport"), []string{`"a"`, "/.sallyport/"}},
		"under reserved":        {routes("a", "https://app.corp/.sallyport/x"), []string{`"a"`, "/.sallyport/"}},
		"two mistakes":          {routes("a", "ftp://app.corp", "b", "https://"), []string{`"a"`, "http://", `"b"`, "host"}},
		"no name":               {routes("", "https://app.corp"), []string{"name", "https://app.corp"}},
		"credentials":           {routes("a", "https://u:p@app.corp"), []string{"user name"}},
		"query":                 {routes("a", "https://app.corp/?"), []string{"query"}},
		"dots":                  {routes("a", "https://app.corp/a/../b"), []string{"dot segment"}},
		"encoded slash":         {routes("a", "https://app.corp/a%2fb"), []string{"encoded slash"}},
		"same wildcard":         {routes("a", "https://*.apps.corp/x", "b", "https://*.APPS.corp.:443/x/"), []string{`"a"`, `"b"`, "https://*.apps.corp/x"}},
		"same wildcard, folded": {routes("a", "https://*.apps.corp/x", "b", "https://*.apps.corp/X"), []string{`"a"`, `"b"`, "exact_paths"}},
		"wildcard, two schemes": {routes("a", "https://*.apps.corp:8443/x", "b", "http://*.apps.corp:8443/y"), []string{"http or https"}},
		"wildcard in a label":   {routes("a", "https://a*.corp/"), []string{"whole label"}},
		"wildcard in between":   {routes("a", "https://a.*.corp/"), []string{"whole label"}},
		"wildcard alone":        {routes("a", "https://*/"), []string{"whole label"}},
		"wildcard of nothing":   {routes("a", "https://*./"), []string{"no host"}},
		"two wildcards":         {routes("a", "https://*.*.corp/"), []string{"exactly one label"}},
		"double wildcard":       {routes("a", "https://**.corp/"), []string{"whole label"}},
		"wildcard address":      {routes("a", "https://*.10.0.0.1/"), []string{"an address"}},
		"wildcard number":       {routes("a", "https://*.1/"), []string{"malformed host"}},
		"wildcard suffix":       {routes("a", "https://*.co.uk/"), []string{"public suffix"}},
		"wildcard, whole list":  {routes("a", "https://*.ck/"), []string{"public suffix"}},
		"wildcard, its parent":  {routes("a", "https://*.kawasaki.jp/"), []string{"public suffix"}},
		"wildcard Unicode":      {routes("a", "https://*.münchen.example/"), []string{"malformed host"}},
		"wildcard too long":     {routes("a", "https://*."+strings.Repeat("a23456789.", 25)+"ab/"), []string{"no room"}},
		"wildcard's cookies":    {[]upstream.RouteConfig{{Name: "a", From: "https://*.apps.corp", To: to, CookieDomain: "apps.corp"}}, []string{"share no cookies"}},
		"no scheme":             {routes("a", "app.corp"), []string{"http://"}},
		"no upstream":           {[]upstream.RouteConfig{{Name: "a", From: "https://app.corp"}}, []string{"at least one"}},
		"upstream with path":    {[]upstream.RouteConfig{{Name: "a", From: "https://app.corp", To: []string{"http://x/base"}}}, []string{"no path"}},
		"upstream twice":        {[]upstream.RouteConfig{{Name: "a", From: "https://app.corp", To: []string{"http://x", "http://X:80/"}}}, []string{"twice"}},
		"upstream malformed":    {[]upstream.RouteConfig{{Name: "a", From: "https://app.corp", To: []string{"127.0.0.1:80"}}}, []string{"127.0.0.1:80"}},
		"host malformed":        {[]upstream.RouteConfig{{Name: "a", From: "https://app.corp", To: to, Host: "a b"}}, []string{"malformed host"}},
		"h2c tunnel":            {[]upstream.RouteConfig{{Name: "a", From: "https://app.corp", To: to, Upgrades: []string{"H2C"}}}, []string{"H2C"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := proxytest.NewTable(c.configs)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
	if _, err := proxytest.NewTable(nil); err != nil {
		t.Error(err)
	}
}

func TestRouteOrigin(t *testing.T) {
	tb := table(t, routes("a", "https://APP.corp:443/x", "b", "http://app.corp:8080", "c", "http://[::1]/"))
	want := []string{"https://app.corp", "http://app.corp:8080", "http://[::1]"}
	for i, r := range tb.Routes() {
		if r.Origin() != want[i] {
			t.Errorf("got %s, want %s", r.Origin(), want[i])
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	tb := table(b, routes("root", "https://app.corp", "api", "https://app.corp/api", "v2", "https://app.corp/api/v2"))
	target, _ := upstream.Canonicalise(asked("GET", "app.corp", "/api/v1/x"), "https")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := tb.Match(target); !ok {
			b.Fatal("no route")
		}
	}
}

// A path that a tool may take for one of another route is found, in every spelling.
func TestAttackPathOfAnotherRouteSpelledOtherwise(t *testing.T) {
	table, err := proxytest.NewTable([]upstream.RouteConfig{
		{Name: "all", From: "https://tool.example", To: []string{"http://127.0.0.1:1"}},
		{Name: "admin", From: "https://tool.example/admin", To: []string{"http://127.0.0.1:1"}},
		{Name: "deep", From: "https://tool.example/admin/Keys", To: []string{"http://127.0.0.1:1"}},
		{Name: "exact", From: "https://tool.example/exact", To: []string{"http://127.0.0.1:1"}, Exact: true},
		{Name: "other host", From: "https://other.example/", To: []string{"http://127.0.0.1:1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/": "", "/x": "", "/admin": "", "/admin/x": "", "/administrator": "", "/Administrator": "", "/app.js": "", "/admin/Keys": "", "/EXACT": "", "/exact.json": "", "/X/y": "",
		"/Admin": "admin 2", "/ADMIN/": "admin 2", "/admin.": "admin 2", "/admin%20": "admin 2", "/adm%C4%B1n": "admin 2", "/adm%C4%B0n/x": "admin 2", "/%41dmin": "admin 2", "/adm%2569n": "admin 2",
		"/%EF%BC%A1dmin": "admin 2", "/admin.json": "admin 1", "/admin.a.b": "admin 1", "/Admin.json": "admin 1",
		"/admin/keys": "deep 2", "/admin/KEYS/7": "deep 2", "/ADMIN/Keys": "deep 2", "/admin/Keys.xml": "deep 1",
	} {
		r := httptest.NewRequest("GET", "https://tool.example"+path, nil)
		r.RequestURI = path
		target, err := upstream.CanonicaliseBehindProxy(r, "https")
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		matched, ok := table.Match(target)
		if !ok {
			t.Errorf("%s matches nothing", path)
			continue
		}
		got := ""
		if other, how := table.Folded(target, matched); other != nil {
			got = fmt.Sprintf("%s %d", other.Name, how)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// Two routes that many tools take for one are told apart by the operator or not at all.
func TestRoutesThatOnlyDifferInSpelling(t *testing.T) {
	for exact, fails := range map[bool]bool{false: true, true: false} {
		_, err := proxytest.NewTable([]upstream.RouteConfig{
			{Name: "a", From: "https://tool.example/Admin", To: []string{"http://127.0.0.1:1"}, Exact: exact},
			{Name: "b", From: "https://tool.example/admin", To: []string{"http://127.0.0.1:2"}, Exact: exact},
		})
		if (err != nil) != fails || fails && !strings.Contains(err.Error(), "exact_paths") {
			t.Errorf("exact %v: %v", exact, err)
		}
	}
}
