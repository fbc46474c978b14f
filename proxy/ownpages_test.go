package proxy_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport/authn/session"
)

// forged are requests that any web page, or any tool's script, can have an employee's browser make.
var forged = []struct {
	name, method, path, body string
	header                   map[string]string // Fetch metadata
	status                   int
}{
	{"callback as an image", "GET", "callback?code=x&state=y", "", fetched("cross-site", "no-cors", "image"), 403},
	{"callback in a frame", "GET", "callback?code=x&state=y", "", fetched("cross-site", "navigate", "iframe"), 403},
	{"callback in a window", "GET", "callback?code=x&state=y", "", fetched("cross-site", "navigate", "document"), 403},
	{"callback of a browser without fetch metadata", "GET", "callback?code=x&state=y", "", nil, 403},
	{"callback without state", "GET", "callback?code=x", "", nil, 403},
	{"sign-in as an image", "GET", "sign-in?go=1", "", fetched("cross-site", "no-cors", "image"), 403},
	{"sign-in by a script of another tool", "GET", "sign-in?go=1", "", fetched("same-site", "cors", "empty"), 403},
	{"sign-in in a frame", "GET", "sign-in?go=1", "", fetched("cross-site", "navigate", "iframe"), 403},
	{"sign-in in a frame of our own", "GET", "sign-in?go=1", "", fetched("same-origin", "navigate", "iframe"), 403},
	{"sign-in by a script of our own", "GET", "sign-in?go=1", "", fetched("same-origin", "cors", "empty"), 200},
	{"sign-in in a window of another site", "GET", "sign-in?go=1", "", fetched("cross-site", "navigate", "document"), 200},
	{"sign-in in a window of another tool", "GET", "sign-in?go=1", "", fetched("same-site", "navigate", "document"), 200},
	{"sign-in ahead of a click", "GET", "sign-in?go=1", "", map[string]string{"Sec-Purpose": "prefetch;prerender", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403},
	{"sign-in by HEAD", "HEAD", "sign-in?go=1", "", nil, 200},
	{"sign-in by OPTIONS", "OPTIONS", "sign-in?go=1", "", nil, 404},
	{"another page that is to go", "GET", "whoami?go=1", "", nil, 401},
	{"enrolling as an image", "GET", "enroll?ticket=x", "", fetched("cross-site", "no-cors", "image"), 403},
	{"a ceremony of nobody", "POST", "step-up/begin", "{}", nil, 401},
	{"an enrolment of nobody", "POST", "enroll/finish", "{}", nil, 401},
	{"a ceremony by another tool", "POST", "step-up/begin", "{}", fetched("same-site", "no-cors", "empty"), 403},
	{"an account form of another site", "POST", "account", "do=x", fetched("cross-site", "navigate", "document"), 403},
	{"sign-out of nobody", "POST", "sign-out", "", nil, 303},
	{"logout by another site", "POST", "backchannel-logout", "logout_token=x", fetched("cross-site", "no-cors", "empty"), 0},
}

func fetched(site, mode, dest string) map[string]string {
	return map[string]string{"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
}

func (b *browser) forge(i int) answer {
	c := forged[i]
	r := b.request(c.method, login+"/.sallyport/"+c.path, c.body)
	r.Header.Set("Accept", "*/*")
	r.Header.Set("Content-Type", "application/json")
	if strings.Contains(c.body, "=") {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	return b.do(r)
}

// TestAttackWebPageSpendsTheBudgetOfAnOffice: what a page has one person's browser do, a hundred times, begins nothing and
// costs no one's budget: the colleague at the same address signs in.
func TestAttackWebPageSpendsTheBudgetOfAnOffice(t *testing.T) {
	for i, c := range forged {
		t.Run(c.name, func(t *testing.T) {
			g := newLimited(t, 3)
			victim, colleague := g.browser(home), g.browser(home)
			for range 100 {
				a := victim.forge(i)
				if c.status != 0 && a.StatusCode != c.status {
					t.Fatalf("%d %s", a.StatusCode, a.body)
				}
				for _, k := range a.Cookies() {
					if strings.Contains(k.Name, "flow") && k.MaxAge >= 0 {
						t.Fatal("it began a sign-in")
					}
				}
			}
			if a := colleague.get(colleague.provider(colleague.toProvider(treasury+"/"), "alice")); a.StatusCode != 302 || colleague.session(login) == "" {
				t.Errorf("a colleague cannot sign in: %d %s", a.StatusCode, a.body)
			}
		})
	}
}

// TestAttackForeignRequestsSpendThePersonsBudget: the same with the cookies of a person who is signed in, as a tool of the same site
// can have them sent.
func TestAttackForeignRequestsSpendThePersonsBudget(t *testing.T) {
	g := newLimited(t, 20)
	alice := g.enrolled("alice", home)
	for i, c := range forged {
		if c.header == nil {
			continue // only what a browser marks as another origin's can be told from the person's own
		}
		for range 25 {
			alice.forge(i)
		}
	}
	if a := alice.fetch("POST", login+"/.sallyport/step-up/begin", map[string]any{}); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// TestLogoutsHaveABudgetOfTheirOwn: forged ones keep neither people at that address from signing in, nor the provider from being heard.
func TestLogoutsHaveABudgetOfTheirOwn(t *testing.T) {
	g := newLimited(t, 3)
	post := func(from string) int {
		return g.browser(from).submit(login+"/.sallyport/backchannel-logout", url.Values{"logout_token": {"x"}}).StatusCode
	}
	for i := range 20 {
		if got, want := post(home), map[bool]int{true: 400, false: 429}[i < 3]; got != want {
			t.Fatalf("message %d: %d", i+1, got)
		}
	}
	if got := post(cafe); got != 400 {
		t.Errorf("the provider's address: %d", got)
	}
	g.browser(home).toProvider(treasury + "/")
}

// TestSignInsUnderWayAreFew: their cookies do not grow beyond what a request header may have, and the newest of them ends well.
func TestSignInsUnderWayAreFew(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	var last answer
	for range 40 {
		last = b.toProvider(treasury + "/")
	}
	flows := 0
	for name := range b.cookies[strings.TrimPrefix(login, "https://")] {
		if strings.Contains(name, "flow") {
			flows++
		}
	}
	if flows == 0 || flows > 16 {
		t.Errorf("%d cookies of sign-ins: %v", flows, b.cookies)
	}
	if a := b.get(b.provider(last, "alice")); a.StatusCode != 302 || b.session(login) == "" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// TestAttackOnePersonWithManySessions: the oldest ends, the others are told nothing, and it is recorded.
func TestAttackOnePersonWithManySessions(t *testing.T) {
	g := newHarness(t, func(p *setup) { p.perPerson = 3 })
	alice := g.enrolled("alice", home) // verified
	var others []*browser
	for range 4 {
		b := g.browser(cafe)
		g.clock.Add(time.Second)
		b.get(b.provider(b.toProvider(treasury+"/"), "alice"))
		others = append(others, b)
	}
	list, err := g.sessions.List(t.Context(), session.Filter{})
	g.must(err)
	if len(list) != 3 {
		t.Errorf("%d sessions", len(list))
	}
	if a := alice.get(treasury + "/"); a.StatusCode != 200 {
		t.Errorf("somebody with the password alone ended a verified session: %d", a.StatusCode)
	}
	who := func(b *browser) int { return b.fetch("GET", login+"/.sallyport/whoami", nil).StatusCode }
	if got := fmt.Sprint(who(others[0]), who(others[1]), who(others[2]), who(others[3])); got != "401 401 200 200" {
		t.Errorf("others: %s", got)
	}
	n := 0
	for _, r := range g.audit.take() {
		if r.Event == "session_ended" && r.Detail["reason"] == "too_many_sessions" && r.Detail["session"] != "" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d ends are recorded", n)
	}
}

// TestCallbackOfAnotherBrowserSpendsNothing: neither the provider nor the store hears of a callback that this browser did not begin, and
// the one whose it is can go on.
func TestCallbackOfAnotherBrowserSpendsNothing(t *testing.T) {
	g := newHarness(t)
	owner, other := g.browser(home), g.browser(cafe)
	callback := owner.provider(owner.toProvider(treasury+"/"), "alice")
	if a := other.get(callback); a.StatusCode != http.StatusForbidden || other.session(login) != "" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	recs := g.audit.take()
	if len(recs) != 1 || recs[0].Event != "sign_in_failed" || recs[0].Detail["code"] != "state_other_browser" {
		t.Errorf("records %s", jsonText(recs))
	}
	if a := owner.get(callback); a.StatusCode != 302 || owner.session(login) == "" {
		t.Errorf("the owner: %d %s", a.StatusCode, a.body)
	}
}
