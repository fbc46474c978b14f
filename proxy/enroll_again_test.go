package proxy_test

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
)

// A person who has a passkey is never sent for another ticket: each costs an identity check.
// Back button, second tab, bookmark and lost answer lead to "verify, then add another".
func TestEnrolPageOfAPersonWithAPasskey(t *testing.T) {
	g := newHarness(t)
	key := g.enrolledKey("alice")
	used := func(g *harness) string { // the link that she enrols with in this test
		secret := g.ticket("alice@example.test")
		b := g.browser(home)
		b.pressAndGo(b.signIn(login+"/.sallyport/enroll?ticket="+secret, "alice"))
		return secret
	}
	gone := func(spoil func(enroll.Ticket)) func(g *harness) string {
		return func(g *harness) string {
			ticket, secret, err := g.issuer.Mint(t.Context(), enroll.MintRequest{Email: "alice@example.test", By: "security", Expires: time.Minute})
			g.must(err)
			spoil(ticket)
			return secret
		}
	}
	for name, c := range map[string]struct {
		secret func(g *harness) string
		text   string
		events []string
	}{
		"no link":             {func(*harness) string { return "" }, "You need no new link", nil},
		"the link she used":   {used, "the link has done its work", nil},
		"a link that expired": {gone(func(enroll.Ticket) { g.clock.Add(2 * time.Minute) }), "you do not need it", []string{"ticket_refused"}},
		"a link taken back":   {gone(func(t enroll.Ticket) { g.must(g.issuer.Revoke(g.Context(), t.ID)) }), "you do not need it", []string{"ticket_refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			to := login + "/.sallyport/enroll"
			if secret := c.secret(g); secret != "" {
				to += "?ticket=" + secret
			}
			b := g.browser(home)
			b.key = key
			b.signIn(login+"/.sallyport/account", "alice")
			g.audit.reset()
			page := b.follow(to)
			if page.StatusCode != 200 || !strings.Contains(page.body, "You have a passkey already") || !strings.Contains(page.body, c.text) ||
				strings.Count(page.body, `class="button"`) != 1 || strings.Contains(page.body, "security team") || strings.Contains(page.body, "data-begin") {
				t.Fatalf("%d %s", page.StatusCode, page.body)
			}
			if got := g.audit.events(); !slices.Equal(got, c.events) {
				t.Errorf("events %q", got)
			}
			if b.ticketCookieOf() != "" {
				t.Error("the ticket is kept")
			}
			// Its one action leads to the page for a further passkey.
			next := b.follow(absolute(page.at, page.action(b)))
			if !strings.Contains(next.body, `data-action="verify"`) {
				t.Fatalf("the action leads to %s: %s", next.at, next.body)
			}
			if a := b.pressAndGo(next); !strings.Contains(a.body, "Add a passkey") {
				t.Errorf("and then to %s: %s", a.at, a.body)
			}
			// From there she goes on without another link, too.
			b.follow(to)
		})
	}
}

// action is where the button of a page that is no ceremony leads.
func (a answer) action(b *browser) string {
	b.Helper()
	_, rest, ok := strings.Cut(a.body, `<a class="button" href="`)
	if !ok {
		b.Fatalf("no action: %s", a.body)
	}
	to, _, _ := strings.Cut(rest, `"`)
	return strings.ReplaceAll(to, "&amp;", "&")
}

// Another person who spent the link is another matter, and so is a passkey that was blocked.
func TestEnrolPageOfAPersonWithoutAUsablePasskey(t *testing.T) {
	g := newHarness(t)
	key := g.enrolledKey("alice")
	g.must(g.mem.BlockCredential(t.Context(), authn.Subject{Issuer: g.idp.Issuer(), ID: "alice"}, key.Credentials()[0], "reported stolen"))
	b := g.browser(home)
	b.signIn(login+"/.sallyport/account", "alice")
	if a := b.get(login + "/.sallyport/enroll"); a.StatusCode != 403 || !strings.Contains(a.body, "Your passkey was blocked") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := b.get(login + "/.sallyport/enroll?ticket=" + g.ticket("alice@example.test")); a.StatusCode != 200 || !strings.Contains(a.body, "Enrol your passkey") {
		t.Errorf("with a new ticket: %d %s", a.StatusCode, a.body)
	}
}

// The answer to an enrolment is lost on its way. Sent again, it is answered as it was; it
// gives no session, and stores nothing a second time.
func TestLostAnswerToAnEnrolment(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	form := b.signIn(login+"/.sallyport/enroll?ticket="+g.ticket("alice@example.test"), "alice").ceremony(b)
	o, _ := b.begin(form)
	credential, err := b.key.Create(o.Options)
	g.must(err)
	first := b.finish(form, o, credential)
	g.audit.reset()
	for range 2 {
		again := b.finish(form, o, credential)
		if again.StatusCode != 200 || again.body != first.body || g.credentials("alice") != 1 || b.level() != "signed_in" {
			t.Fatalf("%d %s, %d passkeys, level %s", again.StatusCode, again.body, g.credentials("alice"), b.level())
		}
	}
	if got := g.audit.events(); len(got) != 0 {
		t.Errorf("events %q", got)
	}
	var done struct{ Next string }
	g.must(json.Unmarshal([]byte(first.body), &done))
	page := b.follow(absolute(login, done.Next))
	if !strings.Contains(page.body, "One more touch, to sign in") {
		t.Errorf("%s", page.body)
	}
	if a := b.pressAndGo(page); !strings.Contains(a.body, "Your passkeys") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}

	// Not so for a passkey that was not stored, or that is another person's.
	other, err := authntest.NewAuthenticator(login).Create(o.Options)
	g.must(err)
	if a := b.finish(form, o, other); a.StatusCode != 403 || a.code() != "already_enrolled" || !strings.Contains(a.body, `"next":"/.sallyport/enroll"`) {
		t.Errorf("another passkey: %d %s", a.StatusCode, a.body)
	}
	if g.credentials("alice") != 1 {
		t.Errorf("%d passkeys", g.credentials("alice"))
	}
	bob := g.browser(home)
	bob.signIn(login+"/.sallyport/account", "bob")
	if a := bob.finish(form, o, credential); a.StatusCode != 403 || a.code() != "ticket_refused" {
		t.Errorf("another person: %d %s", a.StatusCode, a.body)
	}
}

// The same for the confirmation of a further passkey.
func TestLostAnswerToAConfirmation(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	added, a := b.proposed()
	proposal := a.proposalOf(b)
	made := base64.RawURLEncoding.EncodeToString(added.Credentials()[0])
	begin := func(made string) answer {
		return b.fetch("POST", confirm+"/begin", map[string]any{"proposal": proposal, "made": made})
	}
	if a := begin(made); a.StatusCode != 200 || !strings.Contains(a.body, `"options"`) {
		t.Fatalf("before: %d %s", a.StatusCode, a.body)
	}
	b.confirms(proposal, b.key)
	if a := begin(made); a.StatusCode != 200 || !strings.Contains(a.body, "added=1") {
		t.Errorf("after: %d %s", a.StatusCode, a.body)
	}
	bobs := g.enrolledKey("bob").Credentials()[0]
	for _, id := range []string{"", "AAAA", "?", base64.RawURLEncoding.EncodeToString(bobs)} {
		if a := begin(id); a.StatusCode != 403 || a.code() != passkey.CodeChallengeUnknown {
			t.Errorf("%q: %d %s", id, a.StatusCode, a.body)
		}
	}
}

// A page for a further passkey that was left open leads on to verifying oneself.
func TestAddPageLeftOpen(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	form := b.get(login + "/.sallyport/enroll").ceremony(b)
	g.clock.Add(6 * time.Minute)
	if _, a := b.begin(form); a.StatusCode != 403 || a.code() != passkey.CodeNotFresh || !strings.Contains(a.body, `"next":"/.sallyport/step-up?`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}
