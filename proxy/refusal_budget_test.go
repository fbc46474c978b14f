package proxy_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/proxy"
	"sallyport/proxy/edge"
)

// limits is what the product uses for ceremonies.
type limits struct {
	clients, logouts *edge.AddressLimiter
	accounts         *edge.AccountLimiter
}

func (l limits) Allow(client netip.Addr, who *authn.Session) (bool, time.Duration) {
	if who.Level() == authn.None {
		return l.clients.Allow(client)
	}
	return l.accounts.Allow(who.Person.Subject)
}

func (l limits) AllowLogout(client netip.Addr) (bool, time.Duration) { return l.logouts.Allow(client) }

func newLimited(t *testing.T, burst int) *harness {
	t.Helper()
	return newHarness(t, func(p *setup) {
		p.change = func(c *proxy.Config) {
			each := edge.LimiterConfig{Every: 10 * time.Second, Burst: burst, Now: c.Now}
			clients, err := edge.NewAddressLimiter(each)
			if err != nil {
				t.Fatal(err)
			}
			accounts, err := edge.NewAccountLimiter(each)
			if err != nil {
				t.Fatal(err)
			}
			logouts, err := edge.NewAddressLimiter(each)
			if err != nil {
				t.Fatal(err)
			}
			c.Limit = limits{clients, logouts, accounts}
		}
	})
}

func TestCeremoniesAreLimited(t *testing.T) {
	const burst = 5
	g := newLimited(t, burst)
	begin := func(from string) answer { return g.browser(from).get(login + "/.sallyport/sign-in?go=1") }
	for i := range burst {
		if a := begin(home); a.StatusCode != 302 {
			t.Fatalf("sign-in %d: %d %s", i+1, a.StatusCode, a.body)
		}
	}
	a := begin(home)
	wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if a.StatusCode != 429 || err != nil || wait < 1 || wait > 20 {
		t.Fatalf("%d %q %s", a.StatusCode, a.Header.Get("Retry-After"), a.body)
	}
	b := g.browser(cafe)
	callback := b.provider(b.get(login+"/.sallyport/sign-in?go=1"), "alice")
	b.addr = home
	if a := b.get(callback); a.StatusCode != 429 {
		t.Errorf("coming from the provider is not limited: %d", a.StatusCode)
	}
	if a := g.browser(home).get(login + "/.sallyport/sign-in"); a.StatusCode != 200 {
		t.Errorf("looking at a page: %d", a.StatusCode)
	}
	g.clock.Add(time.Duration(wait) * time.Second)
	if a := begin(home); a.StatusCode != 302 {
		t.Errorf("after waiting as told: %d %s", a.StatusCode, a.body)
	}
}

// A person with many addresses is limited by their account.
func TestCeremoniesOfOneAccountAreLimited(t *testing.T) {
	g := newLimited(t, 20)
	alice := g.enrolled("alice", home)
	g.clock.Add(5 * time.Minute)
	for i := range 21 {
		alice.addr = fmt.Sprintf("203.0.113.%d", 100+i)
		a := alice.fetch("POST", login+"/.sallyport/step-up/begin", map[string]any{})
		if want := i == 20; (a.StatusCode == 429) != want {
			t.Fatalf("post %d: %d %s", i+1, a.StatusCode, a.body)
		}
	}
}

// A stranger who knocks all night must not fill the disk, however many paths they try. The
// incident that the answer names is in the log.
func TestStrangersWhoKnock(t *testing.T) {
	change, written := withLog(t)
	g := newHarness(t, change)
	written()
	incidents := map[string]bool{}
	for i := range 500 {
		b := g.browser(hosting)
		r := b.request("GET", fmt.Sprintf("%s/%d?x=%d", treasury, i, i), "")
		r.Header.Set("Accept", "application/json")
		r.Header.Set("User-Agent", fmt.Sprint("scanner ", i))
		a := b.do(r)
		if a.StatusCode != 403 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		incidents[incidentOf(a)] = true
	}
	recs := written()
	if len(recs) < 10 || len(recs) > 30 {
		t.Errorf("%d records", len(recs))
	}
	for _, r := range recs {
		delete(incidents, r.Incident)
	}
	if len(incidents) > 0 {
		t.Errorf("people were told incidents that are nowhere: %v", incidents)
	}
	if other := g.browser("192.0.2.31").get(treasury + "/"); other.StatusCode != 403 || len(written()) != 1 {
		t.Error("another address is no line of its own")
	}
}

// Neither a tab that asks all day with a proof that is too old, nor an insider with a cookie and
// a loop, fills the disk. Each path is a line, until there are more than people try.
func TestAttackSessionFillsTheLog(t *testing.T) {
	change, written := withLog(t)
	g := newHarness(t, change)
	alice := g.enrolled("alice", home)
	alice.addr = hosting
	written()
	knock := func(path string) string {
		r := alice.request("GET", treasury+path, "")
		r.Header.Set("Accept", "application/json")
		a := alice.do(r)
		if a.StatusCode != 403 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		return incidentOf(a)
	}
	first := knock("/")
	for range 500 {
		if again := knock("/"); again != first {
			t.Fatalf("the same refusal has the reference %q and then %q", first, again)
		}
	}
	if recs := written(); len(recs) != 1 || recs[0].Incident != first || recs[0].User == "" {
		t.Errorf("500 times the same refusal are %d records", len(recs))
	}
	// Having been refused a lot hides no path that is tried later.
	if probe := knock("/backup.sql"); probe == first {
		t.Error("another path has the same reference")
	}
	if recs := written(); len(recs) != 1 || recs[0].Path != "/backup.sql" {
		t.Errorf("another path: %+v", recs)
	}
	incidents := map[string]bool{}
	for i := range 500 {
		incidents[knock(fmt.Sprint("/", i))] = true
	}
	recs := written()
	if len(recs) < 50 || len(recs) > 62 || len(incidents) != len(recs) {
		t.Errorf("500 refusals of one session are %d records under %d references", len(recs), len(incidents))
	}
	for _, r := range recs {
		if !incidents[r.Incident] || r.Action != "block" || r.User == "" {
			t.Fatalf("%+v", r)
		}
	}
	g.clock.Add(2 * time.Minute)
	if knock("/after-a-pause"); len(written()) != 1 {
		t.Error("a refusal after a pause is no line of its own")
	}
}

// The same with requests that are wrong in themselves.
func TestStrangersWhoSendNonsense(t *testing.T) {
	change, written := withLog(t)
	g := newHarness(t, change)
	for i := range 200 {
		b := g.browser(cafe)
		r := b.request("GET", fmt.Sprintf("%s/a/../%d", treasury, i), "")
		r.URL.Path, r.RequestURI = "/x", fmt.Sprintf("/%%zz%d", i)
		if a := b.do(r); a.StatusCode/100 != 4 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	if n := len(written()); n > 25 {
		t.Errorf("%d records", n)
	}
}

// incidentOf is the reference in a JSON refusal.
func incidentOf(a answer) string {
	var p struct{ Incident string }
	_ = json.Unmarshal([]byte(a.body), &p)
	return p.Incident
}
