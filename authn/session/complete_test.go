package session_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/session"
)

// TestCompletedPeopleAreNeverStored: what is known of people besides the provider's word is added when a session is
// read, for every reader, and a change holds for cached sessions too.
func TestCompletedPeopleAreNeverStored(t *testing.T) {
	e := newHarness(t)
	var zone atomic.Pointer[string]
	set := func(z string) { zone.Store(&z) }
	set("Europe/Berlin")
	m := e.process(func(c *session.Config) {
		c.Complete = func(p authn.Person) authn.Person { p.TimeZone = *zone.Load(); return p }
	})
	e.m = m
	b := e.browser()
	s := b.signIn(signInHost, alice())
	got := func() []string {
		list, err := m.List(t.Context(), session.Filter{ID: s.ID})
		e.ok(err)
		return []string{b.must(signInHost).Person.TimeZone, list[0].Person.TimeZone}
	}
	want := []string{"Europe/Berlin", "Europe/Berlin"}
	if s.Person.TimeZone != want[0] || !slices.Equal(got(), want) {
		t.Errorf("%q, %v", s.Person.TimeZone, got())
	}
	var told []string
	m.OnEnd(func(id string) { told = append(told, id) })
	set("Asia/Tokyo")
	if n, err := m.Recompleted(t.Context(), func(p authn.Person) bool { return p.TimeZone == "" && p.Email == alice().Email }); err != nil || n != 1 || !slices.Equal(told, []string{s.ID}) {
		t.Errorf("%d sessions, told %v, %v", n, told, err)
	}
	if want := []string{"Asia/Tokyo", "Asia/Tokyo"}; !slices.Equal(got(), want) {
		t.Errorf("%v", got())
	}
	// The store is down: no cached session may go on as it was.
	b.must(signInHost)
	set("UTC")
	e.mem.FailNext("ListSessions", authntest.NotStored)
	if _, err := m.Recompleted(t.Context(), func(authn.Person) bool { return true }); err == nil {
		t.Error("nobody was told that streams were not looked at")
	}
	if p := b.must(signInHost).Person; p.TimeZone != "UTC" {
		t.Errorf("still %q", p.TimeZone)
	}
	stored, err := e.mem.ListSessions(t.Context(), session.Filter{})
	e.ok(err)
	for _, r := range stored {
		if r.Person.TimeZone != "" {
			t.Errorf("stored: %+v", r.Person)
		}
	}
}
