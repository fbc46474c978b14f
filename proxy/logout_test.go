package proxy_test

import (
	"strings"
	"testing"

	"sallyport/authn/authntest"
	"sallyport/authn/session"
)

// A logout token may name a session that we know nothing of (providers need not
// put the sid into ID tokens). The person that it names is out all the same.
func TestAttackLogoutOfAnUnknownSession(t *testing.T) {
	g := newHarness(t)
	alice, bob := g.enrolled("alice", home), g.enrolled("bob", home)
	g.audit.reset()
	if a := g.logout(g.logoutToken("", "a-session-we-never-saw")); a.StatusCode != 200 || alice.level() != "verified" || bob.level() != "verified" {
		t.Fatalf("a sid alone that is nobody's: %d, %s, %s", a.StatusCode, alice.level(), bob.level())
	}
	if a := g.logout(g.logoutToken("alice", "a-session-we-never-saw")); a.StatusCode != 200 || alice.level() != "none" {
		t.Errorf("%d, alice is %s", a.StatusCode, alice.level())
	}
	if bob.level() != "verified" {
		t.Error("bob was signed out")
	}
	recs := g.audit.take()
	if last := recs[len(recs)-1]; last.Detail["sessions"] != "1" {
		t.Errorf("recorded %v", last.Detail)
	}
}

// A token with a sid that is known ends that session and no other of the person.
func TestLogoutOfOneSession(t *testing.T) {
	g := newHarness(t)
	one := g.enrolled("alice", home)
	two := g.browser(home)
	two.key = one.key
	two.pressAndGo(two.signIn(login+"/.sallyport/account", "alice"))
	list, err := g.mem.ListSessions(t.Context(), session.Filter{Email: "alice@example.test"})
	g.must(err)
	if len(list) != 2 || list[0].ProviderSession == "" || list[0].ProviderSession == list[1].ProviderSession {
		t.Fatalf("sessions %+v", list)
	}
	if a := g.logout(g.logoutToken("alice", list[0].ProviderSession)); a.StatusCode != 200 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if left, err := g.mem.ListSessions(t.Context(), session.Filter{Email: "alice@example.test"}); err != nil || len(left) != 1 || left[0].ID != list[1].ID {
		t.Errorf("left: %+v, %v", left, err)
	}
}

// Without a refresh token no one is asked again about the person. That is said once.
func TestProviderWithoutRefreshTokens(t *testing.T) {
	g := newHarness(t)
	signIn := func(want int) {
		t.Helper()
		g.browser(home).signIn(login+"/.sallyport/account", "alice")
		if n := strings.Count(g.log.String(), "offline_access"); n != want {
			t.Fatalf("%d warnings, want %d", n, want)
		}
	}
	signIn(0)
	g.idp.SetFaults(authntest.FaultNoRefreshToken)
	signIn(1)
	signIn(1)
}
