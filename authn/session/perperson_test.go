package session_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/session"
)

// TestSessionsOfOnePersonAreBounded: one more ends another at once, on this process; other people's stay.
func TestSessionsOfOnePersonAreBounded(t *testing.T) {
	e := newHarness(t)
	e.m = e.process(func(c *session.Config) { c.MaxPerPerson = 2 })
	other := e.browser()
	other.signIn(signInHost, bob())
	first, second, third := e.browser(), e.browser(), e.browser()
	first.verify(first.signIn(signInHost, alice()))
	e.clock.Add(time.Second)
	second.signIn(signInHost, alice())
	e.clock.Add(time.Second)
	var displaced []string
	s := third.signInWith(signInHost, session.NewSession{Person: alice(), Displaced: func(ids []string) { displaced = ids }})
	second.refused(signInHost)
	first.must(signInHost)
	other.must(signInHost)
	if got := third.must(signInHost); got.ID != s.ID || got.Level() != authn.SignedIn {
		t.Error("the new one ended")
	}
	if len(displaced) != 1 {
		t.Errorf("told of %v", displaced)
	}
	// What cannot be bounded is not begun.
	e.mem.FailNext("TrimSessions", authntest.NotStored)
	r := e.browser().request(signInHost)
	if _, err := e.m.SignIn(httptest.NewRecorder(), r, signInHost, session.NewSession{Person: alice()}); err == nil {
		t.Error("signed in")
	}
}
