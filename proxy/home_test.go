package proxy_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/policy"
	"sallyport/policy/behavior"
	"sallyport/policy/ipintel"
	"sallyport/policy/rehearse"
	"sallyport/proxy"
	"sallyport/proxy/assertion"
	"sallyport/proxy/portal"
	"sallyport/proxy/proxytest"
)

// livingSomewhere is a harness with a history, and with coordinates of three networks.
func livingSomewhere(t testing.TB, source string) (*harness, *people) {
	return newCrowdHarness(t, livingSetup(t, source))
}

func livingSetup(t testing.TB, source string) func(*setup) {
	return func(p *setup) {
		p.policy = source
		p.intel = testIntel(t)
		file := filepath.Join(t.TempDir(), "points.csv")
		rows := "network,country,latitude,longitude,radius_km\n203.0.113.0/25,US,40.71,-74.01,20\n203.0.113.128/26,CH,47.38,8.54,20\n"
		if err := os.WriteFile(file, []byte(rows), 0o600); err != nil {
			t.Fatal(err)
		}
		p.intel.Lists = append(p.intel.Lists, ipintel.List{Name: "points", File: file, Format: "csv"})
		p.change = func(c *proxy.Config) {
			tracker, err := behavior.New(behavior.Config{Retention: proxytest.BehaviorRetention, Household: proxytest.BehaviorHousehold, Now: c.Now, Key: make([]byte, 32)})
			if err != nil {
				t.Fatal(err)
			}
			c.Behavior = tracker
		}
	}
}

var (
	newYork     = authn.Home{Lat: 40.7, Lon: -74.0, Known: true}
	nearZurich  = authn.Home{Lat: 47.4, Lon: 8.5, Known: true}
	farFromHome = "version: 1\nrules: [{name: far, when: user.home_km > 1000, then: block}, {name: devices, when: user.devices_30d < 0, then: block}]\n"
)

// A roster that moves a person is in force at their next request, and the guard and
// the review of live sessions see what the gate sees.
func TestHomeKM(t *testing.T) {
	g, who := livingSomewhere(t, farFromHome)
	s := somebody("alice", zurich, "treasury")
	for _, c := range []struct {
		lives authn.Home
		from  string
		want  int64
		then  policy.Action
	}{
		{nearZurich, zurich, 0, policy.Allow},
		{newYork, zurich, 6293, policy.Block},
		{newYork, home, 0, policy.Allow},
		{authn.Home{}, zurich, -1, policy.Allow},
		{newYork, "192.0.2.77", -1, policy.Allow}, // where that is, no source says
	} {
		s.Person.Home = c.lives
		who.by["alice"] = s
		v := g.check("alice", c.from, "GET", treasury+"/")
		if v.Facts.User.HomeKM != c.want || v.Facts.User.Devices30d < 0 {
			t.Errorf("%v from %s: %d km, %d devices", c.lives, c.from, v.Facts.User.HomeKM, v.Facts.User.Devices30d)
		}
		expect(t, v, c.then)
		if r := g.gate.Rehearse(g.gate.Current()); r.Judged != 1 || r.Changed() != 0 {
			t.Errorf("%v from %s: against itself: %+v", c.lives, c.from, r)
		}
		// Rules of the guard's candidate see the same facts as those in force.
		next := *g.gate.Current()
		next.Policy = g.compile(strings.ReplaceAll(farFromHome, "> 1000", ">= 0"), grants())
		want := rehearse.Counts{}
		if c.want == 0 {
			want.Blocked = 1
		}
		if r := g.gate.Rehearse(&next); r.Counts != want {
			t.Errorf("%v from %s: %+v, want %+v", c.lives, c.from, r.Counts, want)
		}
	}
}

// TestAttackHomeOfAColleague: an insider who reads the audit log, or runs a tool, wants to know where
// a colleague lives. They get a distance from an address that is on record anyway.
func TestAttackHomeOfAColleague(t *testing.T) {
	g := newHarness(t, livingSetup(t, farFromHome))
	signer, err := assertion.New(t.Context(), assertion.Config{Keys: g.mem, Issuer: login, Now: g.clock.Now, Logger: g.config.Logger})
	g.must(err)
	g.restart(func(c *proxy.Config, _ *portal.Config) { c.Assertions = signer })
	lives := func(p authn.Person) authn.Person {
		p.Home = newYork
		return p
	}
	g.roster.Store(&lives)
	b := g.enrolled("alice", home)
	if a := b.get(treasury + "/"); a.StatusCode != 200 {
		t.Fatal(a.StatusCode, a.body)
	}
	whoami := b.fetch("GET", treasury+"/.sallyport/whoami", nil)
	b.addr = zurich
	page := b.get(treasury + "/")
	if page.StatusCode != 403 {
		t.Fatal(page.StatusCode, page.body)
	}
	said := []string{whoami.body, page.body, fmt.Sprint(whoami.Header, page.Header), g.log.String()}
	far := 0
	for _, r := range g.audit.all() {
		text, err := json.Marshal(r)
		g.must(err)
		said = append(said, string(text))
		if r.Facts != nil && r.Facts.User.HomeKM == 6293 && strings.Contains(string(text), `"home_km":6293`) {
			far++
		}
	}
	if far == 0 {
		t.Error("the distance is on no record")
	}
	signed := 0
	for _, r := range g.tool.requests() {
		said = append(said, fmt.Sprint(r.Header))
		for _, part := range strings.Split(r.Header.Get("X-Sallyport-Assertion"), ".") {
			claims, err := base64.RawURLEncoding.DecodeString(part)
			g.must(err)
			said = append(said, string(claims))
			signed++
		}
	}
	if signed < 3 {
		t.Errorf("%d parts of assertions", signed)
	}
	stored, err := g.mem.ListSessions(t.Context(), session.Filter{})
	g.must(err)
	for _, s := range stored {
		said = append(said, fmt.Sprintf("%+v", s.Person))
	}
	for _, text := range said {
		for _, part := range []string{"40.7", "-74", "Lat:40", "home_lat"} {
			if strings.Contains(text, part) {
				t.Errorf("%q is in %s", part, text)
			}
		}
	}
}
