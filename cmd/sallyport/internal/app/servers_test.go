package app

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/proxy/upstream"
)

func noRoutes() *upstream.Table { return &upstream.Table{} }

// Plain http leads to the hosts of the routes as they are now.
func TestRedirectKnowsReloadedRoutes(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	server, err := redirectServer(d.config, &certificates{}, func() *upstream.Table { return d.front.gate.Current().Routes })
	if err != nil {
		t.Fatal(err)
	}
	wants := func(host string, status int) {
		t.Helper()
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		if server.ServeHTTP(w, r); w.Code != status {
			t.Errorf("%s: %d, want %d", host, w.Code, status)
		}
	}
	wants("wiki.localhost", 308)
	wants("docs.localhost", 421)
	d.edit("sallyport.yaml", "http://wiki.localhost:8080", "http://docs.localhost:8080")
	d.reloader.onSIGHUP(t.Context())
	wants("wiki.localhost", 421)
	wants("docs.localhost", 308)
}

// People come back to the port that they are served at, whichever that is.
func TestRedirectLeadsToThePortOfTheSignInHost(t *testing.T) {
	for external, want := range map[string]string{
		"https://access.example.com":      "https://access.example.com/a?b=c",
		"https://access.example.com:8443": "https://access.example.com:8443/a?b=c",
	} {
		u, err := url.Parse(external)
		if err != nil {
			t.Fatal(err)
		}
		server, err := redirectServer(&config.Config{ExternalURL: u, Limits: config.DefaultLimits()}, &certificates{}, noRoutes)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/a?b=c", nil)
		r.Host = u.Hostname()
		server.ServeHTTP(w, r)
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("%s: %d to %q, want %q", external, w.Code, got, want)
		}
	}
}

// The listener that only redirects is framed like any other, and net/http answers on it by itself too.
func TestRedirectListenerMayNotBeFramed(t *testing.T) {
	server, err := redirectServer(&config.Config{ExternalURL: &url.URL{Scheme: "https", Host: "access.example.com"}, Limits: config.DefaultLimits()}, &certificates{}, noRoutes)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	for request, status := range map[string]int{
		"GET /a HTTP/1.1\r\nHost: access.example.com\r\n\r\n":                                                308,
		"GET /a HTTP/1.1\r\nHost: evil.example.com\r\n\r\n":                                                  421,
		"GET /a HTTP/1.1\r\n\r\n":                                                                            400,
		"GET /a HTTP/1.1\r\nHost: access.example.com\r\nCookie: " + strings.Repeat("a", 40_000) + "\r\n\r\n": 431,
	} {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go io.WriteString(conn, request)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != status || res.Header.Get("X-Frame-Options") != "DENY" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
	}
}

func TestNothingToReloadWithoutCertificates(t *testing.T) {
	if err := new(certificates).reload(); err != nil {
		t.Error(err)
	}
}
