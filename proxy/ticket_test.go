package proxy_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"sallyport/authn/enroll"
)

const ticketCookie = "__Host-Http-sallyport-ticket"

// ticketCookieOf is the ticket that the browser keeps for the sign-in host.
func (b *browser) ticketCookieOf() string {
	return b.cookies[strings.TrimPrefix(login, "https://")][ticketCookie]
}

// The secret of a ticket waits for the end of the sign-in in the browser, and is in
// no address on the way.
func TestTicketWaitsInACookie(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	secret := g.ticket("alice@example.test")
	to := login + "/.sallyport/enroll?ticket=" + secret
	a := b.get(to)
	if a.StatusCode != 302 || strings.Contains(a.location(), secret) {
		t.Fatalf("got %d %q", a.StatusCode, a.location())
	}
	i := slices.IndexFunc(a.Cookies(), func(c *http.Cookie) bool { return c.Name == ticketCookie })
	if i < 0 {
		t.Fatalf("cookies %v", a.Cookies())
	}
	if c := a.Cookies()[i]; c.Value != secret || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 900 || c.Path != "/" || c.Domain != "" {
		t.Errorf("cookie %+v", c)
	}
	page := b.signIn(to, "alice")
	if page.at != login+"/.sallyport/enroll" || page.ceremony(b).ticket != secret {
		t.Fatalf("signing in ended at %s", page.at)
	}
	b.pressAndGo(page)
	if b.ticketCookieOf() != "" {
		t.Error("a spent ticket is kept")
	}
	for _, r := range g.audit.take() {
		if strings.Contains(jsonText(r), secret) {
			t.Errorf("the audit log holds the secret: %+v", r)
		}
	}
	if strings.Contains(g.log.String(), secret) {
		t.Error("the log holds the secret")
	}
}

func TestRefusedTicketIsDropped(t *testing.T) {
	for name, ticket := range map[string]func(*harness) string{
		"somebody else's": func(g *harness) string { return g.ticket("bob@example.test") },
		"no ticket":       func(*harness) string { return "guess" },
		"malformed":       func(*harness) string { return "%22%3B%20Domain%3Dexample.test" },
		"endless":         func(*harness) string { return strings.Repeat("a", 4000) },
	} {
		g := newHarness(t)
		b := g.browser(home)
		a := b.signIn(login+"/.sallyport/enroll?ticket="+ticket(g), "alice")
		if a.StatusCode != 403 || !strings.Contains(a.body, "does not work for you") {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
		if b.ticketCookieOf() != "" {
			t.Errorf("%s: the ticket is kept", name)
		}
	}
}

// Who made the ticket, and which one it was, stands with the enrolment.
func TestEnrolmentNamesItsTicket(t *testing.T) {
	g := newHarness(t)
	ticket, secret, err := g.issuer.Mint(t.Context(), enroll.MintRequest{Email: "alice@example.test", By: "mallory-of-it"})
	g.must(err)
	b := g.browser(home)
	b.pressAndGo(b.signIn(login+"/.sallyport/enroll?ticket="+secret, "alice"))
	seen := 0
	for _, r := range g.audit.take() {
		if r.Event != "enroll" && r.Event != "enroll_verified" {
			continue
		}
		seen++
		if r.Detail["ticket"] != ticket.ID || r.Detail["ticket_by"] != "mallory-of-it" || r.Detail["with"] != "ticket" {
			t.Errorf("%s: %v", r.Event, r.Detail)
		}
	}
	if seen != 2 {
		t.Errorf("%d records", seen)
	}
}
