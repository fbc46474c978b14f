package proxy_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/proxy"
)

func expect(t *testing.T, v *proxy.Verdict, want policy.Action) {
	t.Helper()
	if v.Decision.Action != want {
		t.Fatalf("%v by %q, want %v", v.Decision.Action, v.Decision.Rules, want)
	}
}

// What the provider says about a person counts from the next request on.
func TestMemoSeesARefreshedPerson(t *testing.T) {
	g, who := newCrowdHarness(t)
	change := func(edit func(*authn.Person)) func() {
		return func() {
			s := somebody("alice", home, "treasury")
			edit(&s.Person)
			who.by["alice"] = s
		}
	}
	for name, edit := range map[string]func(*authn.Person){
		"a group more":       func(p *authn.Person) { p.Groups = []string{"treasury", "suspended"} },
		"the group replaced": func(p *authn.Person) { p.Groups = []string{"suspended"} },
		"no group any more":  func(p *authn.Person) { p.Groups = nil },
	} {
		change(func(*authn.Person) {})()
		expect(t, g.check("alice", home, "GET", treasury+"/"), policy.Allow)
		change(edit)()
		if v := g.check("alice", home, "GET", treasury+"/"); v.Decision.Action != policy.Block {
			t.Errorf("%s: %v", name, v.Decision.Action)
		}
	}
}

func TestMemoSeesEveryFactOfAPerson(t *testing.T) {
	g, who := newCrowdHarness(t, func(p *setup) {
		p.policy = "version: 1\nrules:\n" +
			"  - {name: a, when: user.name == \"X\", then: block}\n  - {name: b, when: user.time_zone == \"UTC\", then: block}\n" +
			"  - {name: c, when: '\"KP\" in user.countries', then: block}\n  - {name: d, when: user.email == \"x@example.test\", then: block}\n" +
			"  - {name: e, when: credential.class == \"unattested\", then: block}\n"
	})
	for name, edit := range map[string]func(*authn.Session){
		"name":      func(s *authn.Session) { s.Person.Name = "X" },
		"time zone": func(s *authn.Session) { s.Person.TimeZone = "UTC" },
		"countries": func(s *authn.Session) { s.Person.Countries = []string{"KP"} },
		"email":     func(s *authn.Session) { s.Person.Email = "x@example.test" },
		"credential": func(s *authn.Session) {
			s.Verification.Credential = authn.Credential{ID: []byte("other"), Class: authn.ClassUnattested}
		},
	} {
		s := somebody("alice", home, "treasury")
		who.by["alice"] = s
		expect(t, g.check("alice", home, "GET", treasury+"/"), policy.Allow)
		edit(&s)
		who.by["alice"] = s
		if v := g.check("alice", home, "GET", treasury+"/"); v.Decision.Action != policy.Block {
			t.Errorf("a change of %s is not seen", name)
		}
	}
}

func TestMemoSeesASwap(t *testing.T) {
	g, who := newCrowdHarness(t)
	who.by["alice"] = somebody("alice", home, "treasury")
	expect(t, g.check("alice", home, "GET", treasury+"/"), policy.Allow)
	g.use("version: 1\nrules:\n  - {name: closed, when: 'ip.country == \"ZZ\"', then: block}\n")
	expect(t, g.check("alice", home, "GET", treasury+"/"), policy.Block)
	g.use(testPolicy)
	expect(t, g.check("alice", home, "GET", treasury+"/"), policy.Allow)

	file := filepath.Join(t.TempDir(), "clouds.txt")
	g.must(os.WriteFile(file, []byte("203.0.113.0/24\n"), 0o600))
	intel, errs := ipintel.Load(ipintel.Config{Lists: []ipintel.List{{Name: "clouds", Signal: "hosting", File: file}}})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Intel = intel; return s })
	expect(t, g.check("alice", home, "GET", treasury+"/"), policy.Block)
}

// A rule over the clock is asked again after a second, without anything else changing.
func TestMemoOfTheClockLastsASecond(t *testing.T) {
	g, who := newCrowdHarness(t)
	s := somebody("alice", home, "treasury")
	s.CreatedAt = epoch
	who.by["alice"] = s
	g.clock.Add(9*time.Hour - 100*time.Millisecond)
	expect(t, g.check("alice", home, "GET", treasury+"/"), policy.Allow)
	g.clock.Add(1200 * time.Millisecond)
	expect(t, g.check("alice", home, "GET", treasury+"/"), policy.Block)
	g.clock.Add(-time.Hour) // set back: what was remembered lies in the future
	expect(t, g.check("alice", home, "GET", treasury+"/"), policy.Allow)
}

// Freshness is never remembered.
func TestMemoDoesNotHoldFreshness(t *testing.T) {
	g, who := newCrowdHarness(t, func(p *setup) {
		p.policy = "version: 1\nrules:\n  - {name: anonymised, when: ip.vpn, then: step_up, max_age: 5m}\n"
	})
	who.by["alice"] = somebody("alice", vpn, "treasury")
	g.clock.Add(4*time.Minute - time.Millisecond)
	expect(t, g.check("alice", vpn, "GET", treasury+"/"), policy.Allow)
	g.clock.Add(2 * time.Millisecond)
	expect(t, g.check("alice", vpn, "GET", treasury+"/"), policy.StepUp)
}

func TestMemoIsOfOneAddress(t *testing.T) {
	g, who := newCrowdHarness(t)
	who.by["alice"] = somebody("alice", home, "treasury")
	for range 2 {
		expect(t, g.check("alice", home, "GET", treasury+"/"), policy.Allow)
		expect(t, g.check("alice", hosting, "GET", treasury+"/"), policy.Block)
		expect(t, g.check("alice", vpn, "GET", treasury+"/"), policy.StepUp)
	}
}

func TestMemoIsOfOneRoute(t *testing.T) {
	g, who := newCrowdHarness(t)
	who.by["carol"] = somebody("carol", home, "press")
	for range 2 {
		expect(t, g.check("carol", home, "GET", wiki+"/wiki"), policy.Allow)
		expect(t, g.check("carol", home, "GET", treasury+"/"), policy.Block)
	}
}

// Strangers would push out the people who work here.
func TestMemoForgetsStrangers(t *testing.T) {
	g, who := newCrowdHarness(t)
	for i := range 300 {
		expect(t, g.check("", fmt.Sprintf("203.0.113.%d", i%250+1), "GET", treasury+"/"), policy.StepUp)
	}
	if n := g.gate.Remembered(); n != 0 {
		t.Fatalf("%d judgements of strangers are kept", n)
	}
	who.by["alice"] = somebody("alice", home, "treasury")
	g.check("alice", home, "GET", treasury+"/")
	g.check("alice", home, "GET", treasury+"/other")
	if n := g.gate.Remembered(); n != 1 {
		t.Fatalf("%d judgements are kept, want 1", n)
	}
}

// Two people whose parts of the key run together, or are even the same, are never
// taken for one another.
func TestAttackIdentityIsNotShared(t *testing.T) {
	g, who := newCrowdHarness(t)
	session := func(id, host, name string, groups ...string) authn.Session {
		s := somebody(name, home, groups...)
		s.ID, s.Host = id, host
		return s
	}
	namesake := session("same", "treasury.example.test", "alice", "treasury") // the address was given to somebody else
	namesake.Person.Subject.ID = "alice2"
	for _, pair := range [][2]authn.Session{
		{session("a", "bctreasury.example.test", "alice", "treasury"), session("abc", "treasury.example.test", "mallory", "press")},
		{session("ab", "c", "alice", "treasury"), session("a", "bc", "mallory", "press")},
		{session("same", "treasury.example.test", "alice", "treasury"), session("same", "treasury.example.test", "mallory", "treasury")},
		{session("same", "treasury.example.test", "alice", "treasury"), namesake},
	} {
		who.by["alice"], who.by["mallory"] = pair[0], pair[1]
		for range 3 {
			for _, name := range []string{"alice", "mallory"} {
				want := who.by[name]
				v := g.check(name, home, "GET", treasury+"/")
				if v.Facts.User.Email != string(want.Person.Email) || v.Facts.User.Subject != want.Person.Subject.ID || v.Session.Person.Subject != want.Person.Subject || v.Facts.Session.ID != want.ID {
					t.Fatalf("%s was judged as %s", want.Person.Email, v.Facts.User.Email)
				}
				if allowed := v.Decision.Action == policy.Allow; allowed != (want.Person.Groups[0] == "treasury") {
					t.Fatalf("%s got %v", name, v.Decision.Action)
				}
			}
		}
	}
}

// Many people at once, through one gate, under reloads: everyone is judged as
// themselves.
func TestAttackIdentityMixedUpUnderLoad(t *testing.T) {
	g, who := newCrowdHarness(t)
	const n = 20
	for i := range n {
		group := "treasury"
		if i%2 == 1 {
			group = "press"
		}
		who.by[fmt.Sprint("p", i)] = somebody(fmt.Sprint("p", i), home, group)
	}
	requests := map[string]*http.Request{}
	for name := range who.by {
		requests[name] = g.ask(name, home, "GET", treasury+"/")
	}
	var all sync.WaitGroup
	for name, s := range who.by {
		all.Go(func() {
			var v proxy.Verdict
			for range 200 {
				err := g.gate.Check(requests[name], &v)
				if err != nil || v.Facts.User.Subject != s.Person.Subject.ID || v.Session.ID != s.ID ||
					(v.Decision.Action == policy.Allow) != (s.Person.Groups[0] == "treasury") {
					t.Errorf("%s: %v as %s: %v", name, err, v.Facts.User.Subject, v.Decision.Action)
					return
				}
			}
		})
	}
	for range 20 {
		g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { return s })
	}
	all.Wait()
}

// Two reloads at once do not lose each other's part.
func TestUpdatesDoNotLoseEachOther(t *testing.T) {
	g, _ := newCrowdHarness(t)
	other, _ := newCrowdHarness(t)
	want := other.gate.Current()
	var all sync.WaitGroup
	all.Go(func() {
		g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Intel = want.Intel; return s })
	})
	all.Go(func() {
		g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Policy = want.Policy; return s })
	})
	all.Wait()
	if now := g.gate.Current(); now.Intel != want.Intel || now.Policy != want.Policy {
		t.Fatal("an update was lost")
	}
}
