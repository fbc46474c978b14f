package demo_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/demo"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/lint"
	"sallyport/policy/load"
)

var addresses = demo.Addresses{Front: "127.0.0.1:1", Proxy: "127.0.0.1:2", Ops: "127.0.0.1:3", Provider: "127.0.0.1:4", Console: "127.0.0.1:5"}

// TestPlacesAreWhatTheBarSays: what the visitor is told to expect of a place is what the
// demo's policy and data make of it, for a person who proved themselves at home.
func TestPlacesAreWhatTheBarSays(t *testing.T) {
	dir := t.TempDir()
	file, err := demo.Write(dir, addresses, "http://localhost:1", "http://tool.localhost:1", "secret")
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(file) != dir {
		t.Error(file)
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	intel, failed := ipintel.Load(c.IPData)
	if failed != nil {
		t.Fatal(failed)
	}
	provides := intel.Provides()
	p, err := load.Proven(policy.Config{Name: c.PolicyFile, Source: c.PolicySource, Routes: c.RouteNames(), Grants: c.Grants(), Provides: &provides})
	if err != nil {
		t.Fatal(err)
	}
	what := policy.Config{Name: c.PolicyFile, Source: c.PolicySource, Routes: c.RouteNames(), Provides: &provides}
	if found, err := lint.Check(lint.Config{Policy: what}); err != nil || len(found) > 0 {
		t.Errorf("the demo's policy: %v, %v", found, err)
	}
	for i, place := range demo.Places {
		f := &policy.Facts{
			IP: intel.Lookup(place.Addr).Facts(time.Now()), User: policy.User{Email: demo.People[0].Email, Groups: []string{"treasury"}, Countries: []string{"US"}},
			Session: policy.Session{Level: "verified", VerifiedHere: i == 0}, Request: policy.Request{Purpose: policy.PurposeAccess, Route: "treasury"},
		}
		want := policy.Block
		switch {
		case strings.HasPrefix(place.Hint, "let in"):
			want = policy.Allow
		case strings.HasPrefix(place.Hint, "prove"):
			want = policy.StepUp
		}
		if d := p.Decide(f); d.Action != want {
			t.Errorf("%s: %s %v, the bar says %q", place.Name, d.Action, d.Rules, place.Hint)
		}
	}
}

// front is the demo's front before a made-up product that says what it was told.
func front(t *testing.T, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	product := httptest.NewServer(answer)
	t.Cleanup(product.Close)
	s := httptest.NewServer(demo.Front(strings.TrimPrefix(product.URL, "http://")))
	t.Cleanup(s.Close)
	return s
}

func ask(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func request(t *testing.T, method, url string, header map[string]string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	return r
}

// chosen presses a button of the control bar.
func chosen(t *testing.T, s *httptest.Server, place, back string) *http.Response {
	t.Helper()
	r := request(t, "POST", s.URL+"/demo/place", map[string]string{"Content-Type": "application/x-www-form-urlencoded"})
	r.Body = io.NopCloser(strings.NewReader(url.Values{"place": {place}, "back": {back}}.Encode()))
	res, _ := ask(t, r)
	return res
}

func TestFrontSaysWhereTheVisitorIs(t *testing.T) {
	s := front(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Join(r.Header["X-Forwarded-For"], ",")+" "+r.Header.Get("X-Forwarded-Proto")+" "+r.Header.Get("Forwarded")+" "+r.Host)
	})
	for _, c := range []struct{ place, want string }{{"", "198.51.100.23"}, {"kp", "175.45.176.10"}, {"nowhere", "175.45.176.10"}, {"home", "198.51.100.23"}} {
		chosen(t, s, c.place, "/")
		for _, host := range []string{"localhost:1", "tool.localhost:1"} { // one place for both hosts
			r := request(t, "GET", s.URL, map[string]string{"X-Forwarded-For": "8.8.8.8", "X-Forwarded-Proto": "https", "Forwarded": "for=8.8.8.8"})
			r.Host = host
			if _, body := ask(t, r); body != c.want+" http  "+host {
				t.Errorf("%q: %q", c.place, body)
			}
		}
	}
}

func TestControlBar(t *testing.T) {
	s := front(t, func(w http.ResponseWriter, r *http.Request) {
		kind := "text/html; charset=utf-8"
		if r.URL.Path == "/data" {
			kind = "application/json"
		}
		w.Header().Set("Content-Type", kind)
		io.WriteString(w, "<html><head></head><body><p>page</p></body></html>")
	})
	chosen(t, s, "vpn", "/")
	_, page := ask(t, request(t, "GET", s.URL+"/payments?x=%22%3E", nil))
	for _, want := range []string{`<body><aside class="demo-bar"`, `href="/demo/bar.css"></head>`, `value="vpn" title="prove it’s you, from there" aria-pressed="true"`, `name="back" value="/payments?x=%22%3E"`, "<p>page</p>"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
	if _, page := ask(t, request(t, "GET", s.URL+"/.sallyport/enroll?ticket=secret", nil)); !strings.Contains(page, `name="back" value="/"`) {
		t.Error("the bar would send people back into a ceremony:", page)
	}
	if _, data := ask(t, request(t, "GET", s.URL+"/data", nil)); strings.Contains(data, "demo-bar") {
		t.Error("the bar is in data")
	}
	if res, css := ask(t, request(t, "GET", s.URL+"/demo/bar.css", nil)); res.StatusCode != 200 || !strings.Contains(css, ".demo-bar") {
		t.Error(res.Status)
	}
}

func TestChoosingAPlaceStaysHere(t *testing.T) {
	s := front(t, func(http.ResponseWriter, *http.Request) {})
	for back, want := range map[string]string{"/payments": "/payments", "//evil.example": "/", "https://evil.example": "/", `/\evil.example`: "/", "": "/"} {
		if res := chosen(t, s, "vpn", back); res.StatusCode != http.StatusOK || res.Header.Get("Refresh") != "0; url="+want {
			t.Errorf("%q: %s to %q", back, res.Status, res.Header.Get("Refresh"))
		}
	}
}

func TestVisitorsAreSentToTheName(t *testing.T) {
	h := demo.ByName("http://localhost:1", "http://tool.localhost:1", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "served") }))
	for _, q := range []struct{ method, host, target, location string }{
		{"GET", "127.0.0.1:1", "/payments?x=%22", "http://tool.localhost:1/payments?x=%22"},
		{"GET", "127.0.0.1:1", "/.sallyport/enroll?ticket=x", "http://localhost:1/.sallyport/enroll?ticket=x"},
		{"GET", "[::1]:1", "//evil.example", "http://tool.localhost:1//evil.example"},
		{"GET", "localhost:1", "/", ""},
		{"GET", "tool.localhost:1", "/", ""},
		{"GET", "evil.example:1", "/", ""},
		{"POST", "127.0.0.1:1", "/demo/place", ""},
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(q.method, "/", nil)
		r.Host, r.RequestURI = q.host, q.target
		h.ServeHTTP(w, r)
		if w.Header().Get("Location") != q.location || (w.Body.String() == "served") == (q.location != "") {
			t.Errorf("%s %s%s: %d to %q %s", q.method, q.host, q.target, w.Code, w.Header().Get("Location"), w.Body)
		}
	}
}

func TestConsole(t *testing.T) {
	c := demo.Console()
	for _, q := range []struct{ method, path, want string }{{"GET", "/", "Balances"}, {"GET", "/payments", "New payment"}, {"POST", "/payments", "on their way"}, {"GET", "/console.css", "color-scheme"}} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(q.method, q.path, nil)
		r.Header.Set("X-Sallyport-User", "<alice>")
		c.ServeHTTP(w, r)
		if w.Code != 200 || !strings.Contains(w.Body.String(), q.want) || strings.Contains(w.Body.String(), "<alice>") {
			t.Errorf("%s %s: %d %s", q.method, q.path, w.Code, w.Body)
		}
	}
}

func TestProviderKnowsThePeople(t *testing.T) {
	idp, err := demo.IdP(addresses, "http://localhost:1", "secret", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	idp.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1:4/.well-known/openid-configuration", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"issuer":"http://127.0.0.1:4"`) {
		t.Error(w.Code, w.Body)
	}
}
