package e2e

import (
	"strings"
	"testing"
)

// TestFromTicketToBlock follows a person from the first ticket to a refusal, regardless of the
// way in which they reach the product.
func TestFromTicketToBlock(t *testing.T) {
	t.Parallel()
	for _, e := range entries {
		t.Run(e.name, func(t *testing.T) { t.Parallel(); fromTicketToBlock(t, newHarnessAt(t, e), newBrowser(t, home)) })
	}
	for _, e := range engines[1:] {
		t.Run("https, in "+e.name, func(t *testing.T) { t.Parallel(); fromTicketToBlock(t, newHarness(t), e.open(t, home)) })
	}
}

func fromTicketToBlock(t *testing.T, s *harness, b *browser) {
	ticket := s.ticket("alice@example.com")

	b.open(s.treasury + "/")
	b.shows("Sign in")
	b.enrol(ticket, alice.Sub)

	b.open(s.treasury + "/balances?year=2026")
	b.shows("Treasury of alice@example.com")
	if got := eval[string](b, "location.href"); got != s.treasury+"/balances?year=2026" {
		t.Errorf("ended at %s", got)
	}

	b.from(vpnExit)
	b.open(s.treasury + "/")
	b.shows("Verify it’s you")
	b.shows("different network")
	b.act("verify")
	b.shows("Treasury of alice@example.com")

	for _, from := range []string{pyongyang, dataRoom} {
		b.from(from)
		b.open(s.treasury + "/")
		b.shows("You cannot get in from here")
		if text := b.text(); strings.Contains(text, "embargoed") || strings.Contains(text, "data-centre") {
			t.Errorf("the page tells policy internals: %s", text)
		}
		if s.reached(from) > 0 {
			t.Errorf("a request from %s reached the upstream", from)
		}
	}
	for _, want := range [][2]string{{"sign_in", "allow"}, {"enroll", "allow"}, {"access", "allow"}, {"access", "step_up"}, {"access", "block"}} {
		if !s.recorded(want[0], want[1]) {
			t.Errorf("the audit log has no %s with %s", want[0], want[1])
		}
	}
}

// TestOneConnectionForTwoHosts: without anything in between, a browser finds that the sign-in
// host and the tool have one address and one certificate, and asks for the second on the
// connection that it has to the first (RFC 9113 section 9.1.1). We refuse that, and it has to
// find its way: to a person, nothing happened.
func TestOneConnectionForTwoHosts(t *testing.T) {
	t.Parallel()
	s := newHarness(t, func(cfg string) string {
		return strings.Replace(cfg, "trusted_proxies: [127.0.0.0/8]\nproxy_protocol: true\n", "", 1)
	})
	balanced.Delete(s.port)
	b := newBrowserOn(t, nil)
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of alice@example.com")
	if got := eval[string](b, "performance.getEntriesByType('navigation')[0].nextHopProtocol"); got != "h2" {
		t.Errorf("the page came by %s", got)
	}
	if n := len(s.requests()); n == 0 || s.reached("127.0.0.1") != n {
		t.Errorf("%d of %d requests came from this machine", s.reached("127.0.0.1"), n)
	}
}
