package app

import (
	"net/http/httptest"
	"slices"
	"testing"

	"sallyport/authn"
	"sallyport/authn/session"
)

// TestRosterReloadReachesLiveSessions: without a refresh token, and without signing in again, people are who
// the roster says they are as soon as it is reloaded; and who the provider says, when their row is gone.
func TestRosterReloadReachesLiveSessions(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	r := httptest.NewRequest("GET", "http://localhost:8080/", nil)
	w := httptest.NewRecorder()
	claimed := authn.Person{Subject: authn.Subject{Issuer: "https://idp", ID: "alice"}, Email: "alice@example.com", Countries: []string{"FR"}}
	if _, err := d.identity.sessions.SignIn(w, r, "localhost:8080", session.NewSession{Person: claimed}); err != nil {
		t.Fatal(err)
	}
	for _, c := range w.Result().Cookies() {
		r.AddCookie(c)
	}
	var told []string
	d.identity.sessions.OnEnd(func(id string) { told = append(told, id) })
	want := func(when, zone string, countries ...string) {
		t.Helper()
		s, err := d.identity.sessions.Load(r, "localhost:8080")
		if err != nil {
			t.Fatal(when, err)
		}
		if !slices.Equal(s.Person.Countries, countries) || s.Person.TimeZone != zone {
			t.Errorf("%s: %v %q, want %v %q", when, s.Person.Countries, s.Person.TimeZone, countries, zone)
		}
	}
	want("at first", "America/New_York", "US")
	d.edit("people.csv", "alice@example.com,US,America/New_York", "alice@example.com,DE,Europe/Berlin")
	d.reloader.onSIGHUP(t.Context())
	want("with another row", "Europe/Berlin", "DE")
	if len(told) != 1 {
		t.Errorf("open streams of %d sessions were looked at again", len(told))
	}
	d.edit("people.csv", "alice@example.com,DE,Europe/Berlin", "bob@example.com,DE,")
	d.reloader.onSIGHUP(t.Context())
	want("without a row", "", "FR")
	d.reloader.onSIGHUP(t.Context())
	if len(told) != 2 {
		t.Errorf("told %d times: a roster that says the same is no news", len(told))
	}
	// A process that is killed loses nothing: what the roster says was never in the store.
	stored, err := d.store.ListSessions(t.Context(), session.Filter{})
	if err != nil || len(stored) != 1 || !slices.Equal(stored[0].Person.Countries, claimed.Countries) || stored[0].Person.TimeZone != "" {
		t.Errorf("stored: %+v, %v", stored, err)
	}
}
