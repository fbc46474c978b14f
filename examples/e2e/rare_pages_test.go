package e2e

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestRarePages looks at the pages that few people ever meet.
func TestRarePages(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.enrol(s.ticket(alice.Email), alice.Sub)

	b.open(s.treasury + "/")
	b.shows("Treasury of")
	eval[bool](b, `{
		const form = document.createElement("form");
		form.method = "post";
		form.action = `+quote(s.base+"/.sallyport/sign-out")+`;
		document.body.append(form);
		setTimeout(() => form.submit());
		true
	}`)
	b.shows("came from another site")
	b.review("cross-origin")

	b.open(s.base + "/.sallyport/account")
	eval[bool](b, `(async () => {
		for (let i = 0; i < 40; i++) await fetch("/.sallyport/step-up/begin", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"});
		return true;
	})()`)
	b.open(s.base + "/.sallyport/sign-in?go=1")
	b.shows("That was too often")
	b.review("too-often")

	// The session is revoked while the tool is thinking.
	b.open(s.treasury + "/")
	eval[bool](b, `setTimeout(() => location.href = "/think"), true`)
	eventually(t, "the tool was asked", func() bool {
		return slices.ContainsFunc(s.requests(), func(r *http.Request) bool { return r.URL.Path == "/think" })
	})
	s.run("session", "revoke", "--user", alice.Email)
	b.shows("Your session has ended")
	b.review("session-ended")

	// She is blocked: the provider still signs her in, and this ends here.
	s.run("people", "block", alice.Email, "--why", "case 7")
	b.open(s.treasury + "/")
	b.signIn(alice.Sub)
	b.shows("Your access is blocked")
	b.review("person-blocked")
	eventually(t, "the record of her try", func() bool {
		return strings.Contains(s.run("audit", "tail", "--user", alice.Email, "--event", "sign_in_failed", "--json"), `"code":"person_blocked"`)
	})
	s.run("people", "unblock", alice.Email)

	// Her only passkey is blocked, and the minute in which she tried too often is over.
	key := regexp.MustCompile(`passkeys: +1\n +(\S+)`).FindStringSubmatch(s.run("people", "show", alice.Email))
	if key == nil {
		t.Fatal("no passkey is shown")
	}
	s.run("people", "revoke-passkey", alice.Email, key[1])
	s.stop(syscall.SIGTERM)
	s.start()
	b.open(s.treasury + "/")
	b.signIn(alice.Sub)
	b.shows("Your passkey was blocked")
	b.review("passkey-blocked")
}

// TestPageOfPlainHTTP looks at what is said over http where https is served.
func TestPageOfPlainHTTP(t *testing.T) {
	t.Parallel()
	s := newHarnessAt(t, behindTLS)
	plain := freePort(t)
	startFront(t, overHTTP, plain, s.listen, "access."+company+":"+s.port)
	b := newBrowser(t, home)
	b.open("http://localhost:" + plain + "/")
	b.shows("This address needs https")
	b.review("https-required")
}
