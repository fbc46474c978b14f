package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRefusesWithoutUserVerification(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	ticket := s.ticket("alice@example.com")

	// The browser itself refuses to create or use a passkey without verifying the user.
	b.verifiesUser(false)
	b.open(ticket)
	b.signIn(alice.Sub)
	b.act("enroll")
	b.until("!document.getElementById('problem').hidden")
	if list := s.run("ticket", "list"); !strings.Contains(list, "open") {
		t.Errorf("the ticket was spent: %s", list)
	}

	// A page that asks for less than the server wants: the server sees that the flag is missing.
	b.verifiesUser(true)
	b.act("enroll")
	b.until("location.pathname.endsWith('/step-up')")
	b.verifiesUser(false)
	answer := eval[string](b, `(async () => {
		const post = (url, body) => fetch(url, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
		const begun = await (await post("/.sallyport/step-up/begin", {})).json();
		const options = begun.options.publicKey || begun.options;
		options.userVerification = "discouraged";
		const credential = await navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options)});
		const res = await post("/.sallyport/step-up/finish", {ceremony: begun.ceremony, credential: credential.toJSON()});
		return res.status + " " + (await res.json()).error;
	})()`)
	if answer != "403 user_verification_missing" {
		t.Errorf("without user verification: %s", answer)
	}
	b.open(s.treasury + "/")
	b.shows("Verify it’s you")
	if s.reached(home) > 0 {
		t.Error("somebody unverified got through")
	}
}

func TestTicketWorksOnceAndForOnePerson(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	ticket := s.ticket("alice@example.com")

	b := newBrowser(t, home)
	b.open(ticket)
	b.signIn(bob.Sub)
	b.shows("This enrolment link does not work for you")

	a := newBrowser(t, home)
	a.enrol(ticket, alice.Sub)
	a.open(ticket)
	a.shows("You have a passkey already")
	if n := strings.Count(s.run("people", "show", "alice@example.com"), "last used"); n != 1 {
		t.Errorf("alice has %d passkeys", n)
	}

	// From an address that the policy does not like, not even a good ticket helps.
	b.from(vpnExit)
	b.open(s.ticket("bob@example.com"))
	b.shows("You cannot enrol a passkey from here")
}

func TestWithoutTicketThereIsNoWayIn(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.open(s.treasury + "/")
	b.signIn(alice.Sub)
	b.shows("You need a passkey to go on")
	b.shows("Ask your security team")
	b.open(s.treasury + "/")
	b.shows("You need a passkey to go on")
	b.open(s.base + "/.sallyport/enroll")
	b.shows("You need a passkey to go on")
	if s.reached(home) > 0 {
		t.Error("somebody without a passkey got through")
	}
}

func TestSomebodyWhomTheRouteDoesNotName(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.enrol(s.ticket("bob@example.com"), bob.Sub)
	b.open(s.treasury + "/")
	b.shows("You do not have access to this tool")
	if s.reached(home) > 0 {
		t.Error("bob got through")
	}
}

func TestSignOutEndsEverySession(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.enrol(s.ticket("alice@example.com"), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of alice@example.com")
	b.open(s.treasury + "/.sallyport/sign-out")
	b.act("sign-out")
	b.shows("You are signed out")
	b.open(s.treasury + "/")
	b.shows("Sign in with your company account")
	b.open(s.base + "/.sallyport/account")
	b.shows("Sign in with your company account")
}

func TestSessionEndsByItself(t *testing.T) {
	t.Parallel()
	const life = 12 * time.Second
	s := newHarness(t, func(cfg string) string {
		return strings.Replace(cfg, "session: {max_age: 10h, idle_timeout: 1h}", "session: {max_age: 12s, idle_timeout: 12s}", 1)
	})
	b := newBrowser(t, home)
	b.enrol(s.ticket("alice@example.com"), alice.Sub)
	signedIn := time.Now()
	b.open(s.treasury + "/")
	b.shows("Treasury of alice@example.com")
	// However busy a person is, the absolute lifetime ends the session.
	for time.Since(signedIn) < life+5*time.Second {
		b.open(s.treasury + "/")
		if strings.Contains(b.text(), "Sign in with your company account") {
			return
		}
		<-time.After(200 * time.Millisecond)
	}
	t.Error("the session outlived its absolute lifetime")
}

func TestRestartKeepsSessionsAndPasskeys(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.enrol(s.ticket("alice@example.com"), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of alice@example.com")
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		s.stop(sig)
		s.start()
		b.open(s.treasury + "/?after=" + sig.String())
		b.shows("Treasury of alice@example.com")
	}
	s.run("audit", "verify")
	// A sign-in from nothing works with the passkey that was enrolled before.
	b.open(s.base + "/.sallyport/sign-out")
	b.act("sign-out")
	b.shows("You are signed out")
	b.open(s.treasury + "/")
	b.signIn(alice.Sub)
	b.act("verify")
	b.shows("Treasury of alice@example.com")
}

func TestRevokedSessionStopsAtOnce(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.enrol(s.ticket("alice@example.com"), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of alice@example.com")
	s.run("session", "revoke", "--user", "alice@example.com")
	b.until("true") // the running process learns of it within a second
	deadline := time.Now().Add(2 * time.Second)
	for {
		b.open(s.treasury + "/")
		if strings.Contains(b.text(), "Sign in with your company account") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a revoked session still works after two seconds")
		}
		<-time.After(50 * time.Millisecond)
	}
}
