package proxy_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/enroll"
)

// credentials is how many passkeys a person has.
func (g *harness) credentials(sub string) int {
	g.Helper()
	list, err := g.mem.Credentials(g.Context(), authn.Subject{Issuer: g.idp.Issuer(), ID: sub})
	g.must(err)
	return len(list)
}

// level is what whoami says on the sign-in host.
func (b *browser) level() string {
	b.Helper()
	a := b.fetch("GET", login+"/.sallyport/whoami", nil)
	for _, l := range []string{"verified", "signed_in", "none"} {
		if strings.Contains(a.body, `"level":"`+l+`"`) {
			return l
		}
	}
	return a.body
}

// Without a passkey and without a ticket the road ends at a page that says what to do.
func TestNoPasskeyNoTicket(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	page := b.signIn(treasury+"/", "alice")
	if page.StatusCode != 403 || !strings.Contains(page.body, "Ask your security team for an enrolment ticket") {
		t.Fatalf("%d %s", page.StatusCode, page.body)
	}
	if got := g.audit.events(); !slices.Equal(got, []string{"sign_in", "no_passkey"}) {
		t.Errorf("events %q", got)
	}
	for _, page := range []string{"enroll", "step-up", "account"} {
		if a := b.follow(login + "/.sallyport/" + page); a.StatusCode != 403 || !strings.Contains(a.body, "no passkey is enrolled") {
			t.Errorf("%s: %d %s", page, a.StatusCode, a.body)
		}
	}
	for _, step := range []string{"enroll/begin", "enroll/finish", "enroll/confirm/begin", "enroll/confirm/finish", "step-up/begin", "step-up/finish"} {
		if a := b.fetch("POST", login+"/.sallyport/"+step, map[string]any{}); a.StatusCode != 403 {
			t.Errorf("%s: %d %s", step, a.StatusCode, a.body)
		}
	}
	if b.level() != "signed_in" || g.credentials("alice") != 0 {
		t.Errorf("level %s, %d passkeys", b.level(), g.credentials("alice"))
	}
}

// A ticket that is wrong in any way enrols no one, before the ceremony and after.
func TestAttackTicketsThatEnrolNobody(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(g *harness, id string)
		code  string
	}{
		"revoked": {func(g *harness, id string) { g.must(g.issuer.Revoke(g.Context(), id)) }, "ticket_revoked"},
		"expired": {func(g *harness, _ string) { g.clock.Add(2 * time.Minute) }, "ticket_expired"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newHarness(t)
			b := g.browser(home)
			ticket, secret, err := g.issuer.Mint(t.Context(), enroll.MintRequest{Email: "alice@example.test", By: "security", Expires: time.Minute})
			g.must(err)
			page := b.signIn(login+"/.sallyport/enroll?ticket="+secret, "alice")
			form := page.ceremony(b)
			o, _ := b.begin(form)
			credential, err := b.key.Create(o.Options)
			g.must(err)
			g.audit.reset()
			c.spoil(g, ticket.ID) // between begin and finish
			if a := b.finish(form, o, credential); a.StatusCode != 403 || a.code() != "ticket_refused" {
				t.Errorf("finish: %d %s", a.StatusCode, a.body)
			}
			if _, a := b.begin(form); a.StatusCode != 403 {
				t.Errorf("begin: %d %s", a.StatusCode, a.body)
			}
			if a := b.get(login + "/.sallyport/enroll?ticket=" + secret); a.StatusCode != 403 {
				t.Errorf("page: %d", a.StatusCode)
			}
			for _, r := range g.audit.take() {
				if r.Event != "ticket_refused" || r.Detail["code"] != c.code {
					t.Errorf("record %s", jsonText(r))
				}
			}
			if g.credentials("alice") != 0 || b.level() != "signed_in" {
				t.Error("enrolled all the same")
			}
		})
	}
}

// One ticket, one passkey; also for a person who has two windows open.
func TestAttackOneTicketOnePasskey(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	secret := g.ticket("alice@example.test")
	page := b.signIn(login+"/.sallyport/enroll?ticket="+secret, "alice")
	form := page.ceremony(b)
	var finishes []*http.Request
	for range 2 {
		o, _ := b.begin(form)
		credential, err := authntest.NewAuthenticator(login).Create(o.Options)
		g.must(err)
		r := b.request("POST", form.finish, `{"ticket":"`+secret+`","ceremony":"`+o.Ceremony+`","credential":`+string(credential)+`}`)
		r.Header.Set("Content-Type", "application/json")
		finishes = append(finishes, r)
	}
	if won := race(b, finishes, status(200)); won != 1 || g.credentials("alice") != 1 {
		t.Errorf("%d of two won, %d passkeys", won, g.credentials("alice"))
	}
	if a := b.get(login + "/.sallyport/enroll?ticket=" + secret); strings.Contains(a.body, "data-begin") {
		t.Errorf("a spent ticket: %d %s", a.StatusCode, a.body)
	}
}

// A ticket in the wrong hands looks the same, valid or not.
func TestAttackStrangersLearnNothing(t *testing.T) {
	g := newHarness(t)
	open := g.ticket("alice@example.test")
	spent := g.ticket("bob@example.test")
	bob := g.browser(home)
	bob.pressAndGo(bob.signIn(login+"/.sallyport/enroll?ticket="+spent, "bob"))
	revokedTicket, revoked, err := g.issuer.Mint(t.Context(), enroll.MintRequest{Email: "alice@example.test", By: "security"})
	g.must(err)
	g.must(g.issuer.Revoke(t.Context(), revokedTicket.ID))

	carol := g.browser(cafe)
	carol.signIn(login+"/.sallyport/account", "carol")
	stranger := g.browser(cafe)
	var pages, doors, posts []string
	for _, secret := range []string{open, spent, revoked, strings.Repeat("0", len(open)), "no-ticket"} {
		a := carol.get(login + "/.sallyport/enroll?ticket=" + secret)
		pages = append(pages, neutral(a, secret))
		_, a = carol.begin(ceremony{begin: login + "/.sallyport/enroll/begin", ticket: secret})
		posts = append(posts, neutral(a, secret))
		a = stranger.get(login + "/.sallyport/enroll?ticket=" + secret)
		doors = append(doors, neutral(a, secret)+strings.ReplaceAll(a.location(), secret, "TICKET"))
	}
	for _, list := range [][]string{pages, posts, doors} {
		for _, p := range list {
			if p != list[0] {
				t.Errorf("these differ:\n%s\n%s", list[0], p)
			}
		}
	}
}

// neutral is an answer without what differs from one time to the next.
func neutral(a answer, secret string) string {
	body := strings.ReplaceAll(a.body, secret, "TICKET")
	for _, around := range [][2]string{{"<code>", "</code>"}, {`"incident":"`, `"`}} {
		if before, rest, ok := strings.Cut(body, around[0]); ok {
			_, after, _ := strings.Cut(rest, around[1])
			body = before + after
		}
	}
	return a.Status + body
}

// No one enrols from a VPN, ticket or not; nor from a data centre.
func TestEnrollingFromAVPN(t *testing.T) {
	g := newHarness(t)
	secret := g.ticket("alice@example.test")
	b := g.browser(home)
	page := b.signIn(login+"/.sallyport/enroll?ticket="+secret, "alice")
	form := page.ceremony(b)
	o, _ := b.begin(form)
	credential, err := b.key.Create(o.Options)
	g.must(err)
	g.audit.reset()
	for _, from := range []string{vpn, hosting} {
		b.addr = from
		if a := b.get(page.at); a.StatusCode != 403 || !strings.Contains(a.body, "You cannot enrol a passkey from here") {
			t.Errorf("page from %s: %d", from, a.StatusCode)
		}
		if _, a := b.begin(form); a.StatusCode != 403 {
			t.Errorf("begin from %s: %d", from, a.StatusCode)
		}
		if a := b.finish(form, o, credential); a.StatusCode != 403 {
			t.Errorf("finish from %s: %d", from, a.StatusCode)
		}
		for _, r := range g.audit.take() {
			if r.Event != "enroll_refused" || r.IP != from || len(r.Rules) == 0 {
				t.Errorf("record %s", jsonText(r))
			}
		}
	}
	if g.credentials("alice") != 0 {
		t.Fatal("enrolled from a VPN")
	}
	b.addr = home // nothing was spent
	if a := b.finish(form, o, credential); a.StatusCode != 200 {
		t.Errorf("at home: %d %s", a.StatusCode, a.body)
	}
}

// An enrolment that cannot be audited does not happen; one whose end cannot be is
// known from its beginning.
func TestAuditDownWhileEnrolling(t *testing.T) {
	for event, stored := range map[string]int{"enroll_verified": 0, "enroll": 1} {
		g := newHarness(t)
		b := g.browser(home)
		page := b.signIn(login+"/.sallyport/enroll?ticket="+g.ticket("alice@example.test"), "alice")
		g.audit.reset()
		g.audit.fail(event)
		if a := b.press(page); a.StatusCode != 503 || strings.Contains(a.body, "next") {
			t.Errorf("without %s: %d %s", event, a.StatusCode, a.body)
		}
		if n := g.credentials("alice"); n != stored {
			t.Errorf("without %s: %d passkeys", event, n)
		}
		if got := g.audit.events(); stored == 1 && !slices.Equal(got, []string{"enroll_verified"}) {
			t.Errorf("a passkey that the log does not know: %q", got)
		}
	}
}

// The store's outages leave a ticket and its passkey together.
func TestStoreDownWhileEnrolling(t *testing.T) {
	for _, fault := range []authntest.Fault{authntest.NotStored, authntest.Stored} {
		g := newHarness(t)
		b := g.browser(home)
		secret := g.ticket("alice@example.test")
		page := b.signIn(login+"/.sallyport/enroll?ticket="+secret, "alice")
		g.mem.FailNext("RedeemTicket", fault)
		if a := b.press(page); a.StatusCode != 503 {
			t.Errorf("%v: %d %s", fault, a.StatusCode, a.body)
		}
		_, err := g.issuer.Check(t.Context(), secret, authn.Person{Email: "alice@example.test", Subject: authn.Subject{Issuer: g.idp.Issuer(), ID: "alice"}})
		if open := err == nil; open != (g.credentials("alice") == 0) {
			t.Errorf("%v: ticket open %v, %d passkeys", fault, open, g.credentials("alice"))
		}
	}
}

// Where to go afterwards is looked at before a ticket is spent.
func TestEnrollingChecksWhereToGoFirst(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	page := b.signIn(login+"/.sallyport/enroll?ticket="+g.ticket("alice@example.test"), "alice")
	c := page.ceremony(b)
	o, _ := b.begin(c)
	credential, err := b.key.Create(o.Options)
	g.must(err)
	c.returnTo = "https://evil.test/"
	if a := b.finish(c, o, credential); a.StatusCode != 400 || g.credentials("alice") != 0 {
		t.Errorf("%d, %d passkeys", a.StatusCode, g.credentials("alice"))
	}
	c.returnTo = ""
	if a := b.finish(c, o, credential); a.StatusCode != 200 {
		t.Errorf("and then: %d %s", a.StatusCode, a.body)
	}
}

// The tool behind an address that needs nothing of ours but a passkey.
func TestEnrollReturnsToTheAccount(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	page := b.signIn(login+"/.sallyport/enroll?"+url.Values{"ticket": {g.ticket("alice@example.test")}}.Encode(), "alice")
	next := b.pressAndGo(page)
	if !strings.Contains(next.at, "/.sallyport/step-up?") || next.ceremony(b).returnTo != login+"/.sallyport/account" {
		t.Errorf("at %s", next.at)
	}
}
