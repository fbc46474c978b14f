package proxy_test

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"
)

var reference = regexp.MustCompile(`[0-9A-HJKMNP-TV-Z]{5}-[0-9A-HJKMNP-TV-Z]{5}`)

// From a blocked network every page of ours is a refusal. None of them fills the disk, and each
// reference that a page shows is in the log.
func TestAttackPagesFillTheLog(t *testing.T) {
	change, written := withLog(t)
	g := newHarness(t, change)
	told, lines := map[string]bool{}, 0
	for _, page := range []string{"sign-in?", "step-up?", "enroll?", "account?", "callback?state=made-up", "callback?code=x&state="} {
		for i := range 300 {
			b := g.browser(fmt.Sprintf("192.0.2.%d", i%250))
			a := b.do(b.request("GET", fmt.Sprint(login, "/.sallyport/", page, "&n=", i), ""))
			if a.StatusCode != 403 {
				t.Fatalf("%s: %d %s", page, a.StatusCode, a.body)
			}
			told[reference.FindString(a.body)] = true
		}
	}
	for _, r := range written() {
		delete(told, r.Incident)
		lines++
	}
	if len(told) > 0 || lines > 250 {
		t.Errorf("1800 pages are %d lines, and people were told references that are nowhere: %v", lines, told)
	}
}

// What a person let in does is in the log by method and path, before it is forwarded: a harmless
// request beforehand hides nothing, and neither does a method that we do not know.
func TestChangesAreInTheLog(t *testing.T) {
	change, written := withLog(t)
	g := newHarness(t, change)
	alice := g.enrolled("alice", home)
	alice.do(alice.request("GET", treasury+"/harmless", ""))
	written()
	for _, c := range [][2]string{
		{"GET", "/harmless"}, {"POST", "/withdraw/1000000"}, {"PUT", "/users/7"}, {"GET", "/harmless/too"}, {"HEAD", "/x"}, {"MOVE", "/dav/file"}, {"POST", "/withdraw/1000000"},
	} {
		if a := alice.do(alice.request(c[0], treasury+c[1], "")); a.StatusCode != 200 {
			t.Fatalf("%s: %d %s", c, a.StatusCode, a.body)
		}
	}
	var got []string
	for _, r := range written() {
		got = append(got, r.Method+" "+r.Path)
	}
	if want := "[POST /withdraw/1000000 PUT /users/7 MOVE /dav/file]"; fmt.Sprint(got) != want {
		t.Errorf("the log has %v, want %v", got, want)
	}
}

// A tool that posts the same thing all day (a dashboard's queries) is one line and a count.
func TestADashboardIsOneLine(t *testing.T) {
	change, written := withLog(t)
	g := newHarness(t, change)
	alice := g.enrolled("alice", home)
	written()
	for range 3000 {
		if a := alice.do(alice.request(http.MethodPost, treasury+"/api/ds/query", "")); a.StatusCode != 200 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	if recs := written(); len(recs) != 1 {
		t.Errorf("%d records", len(recs))
	}
}

// A whole office begins to sign in from one address while strangers begin as much as they can from
// everywhere: no one in the office has to begin again.
func TestAttackUnfinishedSignInsPushNobodyOut(t *testing.T) {
	g := newHarness(t)
	office := make([]*browser, 100)
	at := make([]answer, len(office))
	for i := range office {
		office[i] = g.browser(home)
		at[i] = office[i].get(login + "/.sallyport/sign-in?go=1")
		if at[i].StatusCode != 302 {
			t.Fatalf("%d %s", at[i].StatusCode, at[i].body)
		}
	}
	for i := range 1500 { // more than three times what one network may have
		g.browser(fmt.Sprintf("198.18.%d.%d", i%3, i%250)).get(login + "/.sallyport/sign-in?go=1")
	}
	for i := range office {
		if a := office[i].get(office[i].provider(at[i], "alice")); a.StatusCode != 302 {
			t.Fatalf("person %d has to begin again: %d %s", i, a.StatusCode, a.body)
		}
	}
}
