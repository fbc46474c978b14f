package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"sallyport/cmd/sallyport/internal/config"
)

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
		server, err := (&app{config: &config.Config{ExternalURL: u}}).redirectServer()
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/a?b=c", nil)
		r.Host = u.Hostname()
		server.Handler.ServeHTTP(w, r)
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("%s: %d to %q, want %q", external, w.Code, got, want)
		}
	}
}

func TestNothingToReloadWithoutCertificates(t *testing.T) {
	if err := new(app).reloadCertificates(); err != nil {
		t.Error(err)
	}
}
