package proxy_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/behavior"
	"sallyport/policy/ipintel"
	"sallyport/proxy"
	"sallyport/proxy/proxytest"
)

const (
	zurich    = "203.0.113.150"
	amsterdam = "203.0.113.200"
)

// placesIntel adds to the harness's lists where the addresses of these tests are.
func placesIntel(t testing.TB) ipintel.Config {
	t.Helper()
	c := testIntel(t)
	file := filepath.Join(t.TempDir(), "places.csv")
	rows := "network,country,asn\n203.0.113.0/25,US,64500\n203.0.113.128/26,CH,64501\n203.0.113.192/26,NL,64502\n198.51.100.0/24,NL,64503\n"
	if err := os.WriteFile(file, []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Lists = append(c.Lists, ipintel.List{Name: "places", File: file, Format: "csv"})
	return c
}

// record is what behaviour was told.
type record struct {
	behavior.Visit
	action policy.Action
}

// observed is behaviour that remembers what it was asked and told. It fails by saying so.
type observed struct {
	*behavior.Tracker
	mu      sync.Mutex
	asked   []behavior.Visit
	told    []record
	active  []time.Time
	unknown bool
}

func (w *observed) Assess(v behavior.Visit) behavior.Assessment {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, v)
	return w.Tracker.Assess(v)
}

func (w *observed) Record(v behavior.Visit, action policy.Action) {
	w.mu.Lock()
	w.told = append(w.told, record{v, action})
	w.mu.Unlock()
	w.Tracker.Record(v, action)
}

func (w *observed) Active(s authn.Subject, at time.Time) {
	w.mu.Lock()
	w.active = append(w.active, at)
	w.mu.Unlock()
	w.Tracker.Active(s, at)
}

func (w *observed) HistoryKnown() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.unknown
}

func (w *observed) lose(history bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unknown = history
}

// take is what it was asked and told since the last call.
func (w *observed) take() (asked []behavior.Visit, told []record, active []time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked, told, active = w.asked, w.told, w.active
	w.asked, w.told, w.active = nil, nil, nil
	return asked, told, active
}

// behaving is a harness with a history, and a policy of the given rules.
func behaving(t testing.TB, rules string, changes ...func(*setup)) (*harness, *observed) {
	t.Helper()
	w := &observed{}
	g := newHarness(t, append(changes, func(p *setup) {
		p.policy = "version: 1\nrules:\n" + rules
		p.intel = placesIntel(t)
		before := p.change
		p.change = func(c *proxy.Config) {
			tracker, err := behavior.New(behavior.Config{Retention: proxytest.BehaviorRetention, Household: proxytest.BehaviorHousehold, Now: c.Now, Key: make([]byte, 32)})
			if err != nil {
				t.Fatal(err)
			}
			w.Tracker, c.Behavior = tracker, w
			if before != nil {
				before(c)
			}
		}
	})...)
	return g, w
}

// newPlace spares enrolling: to somebody who was never let through, every place is new.
const newPlace = "  - {name: new-place, when: 'seen.new_country && request.purpose != \"enroll\"', then: step_up, max_age: 5m}\n"

// A person who shows up in a country for the first time is asked at once, proves
// themselves there, and is at home there from then on: not before, and not never.
func TestNewPlaceIsAskedOnce(t *testing.T) {
	g, w := behaving(t, newPlace)
	b := g.enrolled("alice", home)
	// The first country was new as well, and its proof had just been given.
	if v := g.last("access"); v.Seen.NewCountry {
		t.Error("the first country stays new")
	}
	b.addr = zurich
	page := b.follow(treasury + "/")
	if page.StatusCode != 200 || !strings.Contains(page.body, "somewhere we have not seen you lately") {
		t.Fatalf("%d %s", page.StatusCode, page.body)
	}
	// Looking at the passkey page, leaving it, and coming back with a minute in between makes nothing known.
	for range 3 {
		g.clock.Add(61 * time.Second)
		if page = b.follow(treasury + "/"); !strings.Contains(page.body, `data-action="verify"`) {
			t.Fatalf("let in without a proof: %d %s", page.StatusCode, page.body)
		}
	}
	if a := b.pressAndGo(page); a.body != "the tool" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	// From now on the country is known, however old the proof, on this host and on the other, which only
	// wants the hand-off of a proof from here.
	g.clock.Add(6 * time.Minute)
	if a := b.get(treasury + "/"); a.StatusCode != 200 {
		t.Errorf("six minutes later: %d %s", a.StatusCode, a.location())
	}
	b.addr = amsterdam
	if a := b.get(treasury + "/"); a.StatusCode != 302 {
		t.Errorf("in a third country: %d", a.StatusCode)
	}
	if _, told, _ := w.take(); len(told) == 0 {
		t.Error("nothing was remembered")
	}
}

// last are the facts of the last record of an event.
func (g *harness) last(event string) policy.Facts {
	g.Helper()
	var v proxy.Verdict
	r := g.audit.all()
	for i := len(r) - 1; i >= 0; i-- {
		if r[i].Event == event {
			return *r[i].Facts
		}
	}
	return v.Facts
}

// What was new is not new any more with the next request, however short the policy's
// patience: the answer that was given counts.
func TestAnAllowedVisitIsNotNewAnyMore(t *testing.T) {
	g, w := behaving(t, strings.Replace(newPlace, "5m", "10s", 1))
	b := g.enrolled("alice", home)
	b.addr = zurich
	if a := b.pressAndGo(b.follow(treasury + "/")); a.body != "the tool" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	g.clock.Add(11 * time.Second)
	w.take()
	if a := b.get(treasury + "/"); a.StatusCode != 200 {
		t.Errorf("eleven seconds later: %d", a.StatusCode)
	}
	// An upstream's refusal or our own failure lets no one through.
	b.addr = amsterdam
	g.audit.fail("access")
	if a := b.get(treasury + "/"); a.StatusCode != 503 {
		t.Fatalf("%d", a.StatusCode)
	}
	if _, told, _ := w.take(); len(told) != 0 {
		t.Errorf("a visit that could not be recorded is remembered: %+v", told)
	}
}

// Every purpose is assessed and remembered: of those of the sign-in pages, nothing as let through.
func TestPagesAreRememberedAsAsked(t *testing.T) {
	g, w := behaving(t, "  - {name: hosting, when: ip.hosting, then: block}\n")
	b := g.browser(home).enroll("alice")
	asked, told, _ := w.take()
	if len(asked) == 0 || len(told) == 0 {
		t.Fatalf("asked %d times, told %d", len(asked), len(told))
	}
	for _, r := range told {
		if r.action != policy.StepUp || r.Subject.ID != "alice" || r.Place.Country != "US" || r.Place.ASN != 64500 || r.Place.Flagged {
			t.Errorf("told %v of %+v", r.action, r.Visit)
		}
	}
	if d := asked[len(asked)-1].Device; d == "" || d != g.sessions.Device(b.request("GET", login+"/", "")) {
		t.Errorf("asked about device %q", d)
	}
	// A blocked one is remembered as blocked, from a page as from a route, and flagged.
	for _, to := range []string{login + "/.sallyport/step-up", treasury + "/"} {
		g.clock.Add(2 * time.Minute)
		b.addr = hosting
		if a := b.get(to); a.StatusCode != 403 {
			t.Fatalf("%s: %d", to, a.StatusCode)
		}
		_, told, _ = w.take()
		if strings.HasPrefix(to, login) && (len(told) != 1 || told[0].action != policy.Block || !told[0].Place.Flagged) {
			t.Errorf("%s: told %+v", to, told)
		}
	}
}

// Behaviour is asked once a minute for what is known, and told once a minute, regardless of which
// rules read the clock and how many routes there are.
func TestBehaviourOnceAMinute(t *testing.T) {
	g, w := behaving(t, newPlace+"  - {name: long-day, when: 'session.age > duration(\"9h\")', then: block}\n")
	b := g.enrolled("alice", home)
	g.clock.Add(2 * time.Minute)
	w.take()
	for range 59 {
		b.get(treasury + "/")
		b.get(treasury + "/other")
		b.get(wiki + "/wiki")
		g.clock.Add(time.Second)
	}
	asked, told, active := w.take()
	if len(asked) != 2 { // one for each route and cookie
		t.Errorf("asked %d times in a minute", len(asked))
	}
	if len(told) != 1 || told[0].action != policy.Allow || told[0].Device == "" || told[0].Session == "" {
		t.Errorf("told %+v", told)
	}
	if len(active) != 0 { // no browser says that its person did it
		t.Errorf("active %v", active)
	}
	g.clock.Add(2 * time.Second)
	b.get(treasury + "/")
	if asked, told, _ := w.take(); len(asked) != 1 || len(told) != 1 || !told[0].At.Equal(g.clock.Now()) {
		t.Errorf("a minute later: asked %d, told %+v", len(asked), told)
	}
	// Another address is another place, asked and told at once; so is another verdict.
	b.addr = cafe
	b.get(treasury + "/")
	b.addr = zurich
	b.get(treasury + "/")
	if asked, told, _ := w.take(); len(asked) != 2 || len(told) != 2 || told[0].action != policy.Allow || told[1].action != policy.StepUp {
		t.Errorf("elsewhere: asked %d, told %+v", len(asked), told)
	}
	// A clock that was set back stops nothing.
	g.clock.Add(-90 * time.Second)
	b.addr = home
	b.get(treasury + "/")
	if asked, told, _ := w.take(); len(asked) == 0 || len(told) == 0 {
		t.Errorf("with the clock set back: asked %d, told %+v", len(asked), told)
	}
}

// Requests at once remember one visit.
func TestVisitsAtOnceAreOne(t *testing.T) {
	g, w := behaving(t, newPlace)
	b := g.enrolled("alice", home)
	g.clock.Add(2 * time.Minute)
	w.take()
	var all sync.WaitGroup
	for range 16 {
		c := b.clone(home)
		all.Go(func() {
			for range 10 {
				c.get(treasury + "/")
			}
		})
	}
	all.Wait()
	if _, told, _ := w.take(); len(told) != 1 {
		t.Errorf("told %d times", len(told))
	}
}

// Only what a person did counts as activity: not polling, not what a page loads or
// reloads by itself, and not a programme.
func TestActivityIsWhatPeopleDo(t *testing.T) {
	g, w := behaving(t, newPlace)
	b := g.enrolled("alice", home)
	const (
		chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
		safari = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15"
	)
	for name, c := range map[string]struct {
		method string
		header map[string]string
		want   int
	}{
		"a click":                        {"GET", map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1", "User-Agent": chrome}, 1},
		"a form":                         {"POST", map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1", "User-Agent": chrome}, 1},
		"a page that reloads itself":     {"GET", map[string]string{"Sec-Fetch-Mode": "navigate", "User-Agent": chrome}, 0},
		"polling":                        {"GET", map[string]string{"Sec-Fetch-Mode": "cors", "User-Agent": chrome}, 0},
		"polling with a navigation's":    {"GET", map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-User": "?1", "User-Agent": chrome}, 0},
		"an image":                       {"GET", map[string]string{"Sec-Fetch-Mode": "no-cors", "User-Agent": chrome}, 0},
		"WebKit, which never says":       {"GET", map[string]string{"Sec-Fetch-Mode": "navigate", "User-Agent": safari}, 1},
		"WebKit, polling":                {"GET", map[string]string{"Sec-Fetch-Mode": "cors", "User-Agent": safari}, 0},
		"a browser without the metadata": {"GET", map[string]string{"Accept": "text/html,*/*", "User-Agent": safari}, 1},
		"a programme":                    {"GET", map[string]string{"Accept": "*/*", "User-Agent": "curl/8.5.0"}, 0},
	} {
		b.handedTo(c.header["User-Agent"], treasury+"/")
		g.clock.Add(2 * time.Minute)
		w.take()
		for range 2 {
			r := b.request(c.method, treasury+"/", "")
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			if a := b.do(r); a.StatusCode != 200 {
				t.Fatalf("%s: %d", name, a.StatusCode)
			}
		}
		if _, _, active := w.take(); len(active) != c.want {
			t.Errorf("%s: active %d times, want %d", name, len(active), c.want)
		}
	}
}

// History that is lost is a fact from the next request on, and so is its return.
func TestLostHistoryIsAFact(t *testing.T) {
	g, w := behaving(t, "  - {name: blind, when: '!seen.known', then: block}\n")
	b := g.enrolled("alice", home)
	for range 2 {
		if a := b.get(treasury + "/"); a.StatusCode != 200 {
			t.Fatalf("with history: %d", a.StatusCode)
		}
		w.lose(true)
		if a := b.get(treasury + "/"); a.StatusCode != 403 {
			t.Errorf("without history: %d", a.StatusCode)
		}
		f := g.last("access")
		if f.Seen != (policy.Seen{}) || f.Address.Known || f.Device.Known || f.Travel.Known || f.Activity.Known || f.Session.Concurrent != 1 {
			t.Errorf("without history, and yet %+v", f)
		}
		w.lose(false)
	}
}

// Without behaviour nothing is known, and everything else goes on.
func TestWithoutBehaviour(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	if a := b.get(treasury + "/"); a.StatusCode != 200 {
		t.Fatalf("%d", a.StatusCode)
	}
	if f := g.last("access"); f.Seen != (policy.Seen{}) || f.Session.Concurrent != 0 || f.Browser.TimezoneKnown {
		t.Errorf("%+v", f)
	}
}

// A session is compared with the place of its proof in the data of now; what is not known
// never differs.
func TestSessionThatMoved(t *testing.T) {
	g, who := newCrowdHarness(t, func(p *setup) { p.intel = placesIntel(t) })
	for _, c := range []struct {
		proven, now  string
		country, asn bool
	}{
		{home, home, false, false},
		{home, cafe, false, false},
		{home, zurich, true, true},
		{vpn, amsterdam, false, true}, // one country, two networks
		{home, "8.8.8.8", false, false},
		{"8.8.8.8", home, false, false},
		{home, "10.0.0.1", false, false},
	} {
		who.by["alice"] = somebody("alice", c.proven, "treasury")
		f := g.check("alice", c.now, "GET", treasury+"/").Facts.Session
		if f.CountryChanged != c.country || f.ASNChanged != c.asn {
			t.Errorf("proven at %s, now at %s: %+v", c.proven, c.now, f)
		}
	}
	s := somebody("bob", home, "treasury")
	s.Verification = authn.Verification{}
	who.by["bob"] = s
	if f := g.check("bob", zurich, "GET", treasury+"/").Facts.Session; f.CountryChanged || f.ASNChanged {
		t.Errorf("without a proof: %+v", f)
	}
}

// Another browser than the proof's is a fact of every single request, regardless of what is
// remembered; and a question about it is answered with the browser of now.
func TestAnotherBrowserIsAFactOfTheRequest(t *testing.T) {
	const (
		chrome  = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
		updated = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/157.0.0.0 Safari/537.36"
		firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	)
	g, who := newCrowdHarness(t, func(p *setup) {
		p.policy = "version: 1\nrules:\n  - {name: other-browser, when: session.ua_changed, then: step_up, max_age: 1h}\n"
	})
	s := somebody("alice", home, "treasury")
	s.Verification.Browser.Family = "Chrome on Linux"
	who.by["alice"] = s
	for range 2 {
		for ua, want := range map[string]policy.Action{
			chrome: policy.Allow, updated: policy.Allow, firefox: policy.StepUp, "curl/8.5.0": policy.StepUp, "": policy.StepUp,
			strings.Replace(chrome, "X11; Linux x86_64", "Windows NT 10.0; Win64; x64", 1): policy.StepUp,
		} {
			r := g.ask("alice", home, "GET", treasury+"/")
			r.Header.Set("User-Agent", ua)
			var v proxy.Verdict
			g.must(g.gate.Check(r, &v))
			if v.Decision.Action != want || v.Facts.Session.UAChanged != (want == policy.StepUp) {
				t.Errorf("%q: %v, %+v", ua, v.Decision.Action, v.Facts.Session)
			}
		}
	}
	s.Verification.Browser = authn.Browser{} // proven before browsers were noted
	who.by["alice"] = s
	expect(t, g.check("alice", home, "GET", treasury+"/"), policy.Allow)
	s.Verification.Browser.Family = "unknown" // proven by something that does not say what it is
	who.by["alice"] = s
	expect(t, g.check("alice", home, "GET", treasury+"/"), policy.Allow)
}

// The browser of an assertion is part of what the memo is for.
func TestMemoSeesTheBrowserOfAnAssertion(t *testing.T) {
	w := &observed{}
	g, who := newCrowdHarness(t, func(p *setup) {
		p.intel = placesIntel(t)
		p.policy = "version: 1\nrules:\n  - {name: clock, when: 'browser.timezone_offset_diff >= duration(\"3h\")', then: block}\n  - {name: junior, when: user.started_days < 90, then: block}\n"
		p.change = func(c *proxy.Config) {
			var err error
			if w.Tracker, err = behavior.New(behavior.Config{Retention: proxytest.BehaviorRetention, Household: proxytest.BehaviorHousehold, Now: c.Now, Key: make([]byte, 32)}); err != nil {
				t.Fatal(err)
			}
			c.Behavior = w
		}
	})
	s := somebody("alice", zurich, "treasury")
	s.Person.StartedAt = epoch.AddDate(-1, 0, 0)
	for zone, want := range map[string]policy.Action{"Europe/Zurich": policy.Allow, "Asia/Pyongyang": policy.Block, "": policy.Allow, "Europe/London": policy.Allow} {
		s.Verification.Browser.TimeZone = zone
		who.by["alice"] = s
		expect(t, g.check("alice", zurich, "GET", treasury+"/"), want)
	}
	for started, want := range map[time.Time]int64{
		{}: -1, epoch: 0, epoch.AddDate(0, 0, 30): 0, epoch.Add(-25 * time.Hour): 1, epoch.AddDate(0, 0, -89): 89, epoch.AddDate(0, 0, -90): 90,
	} {
		s.Person.StartedAt, s.Verification.Browser.TimeZone = started, ""
		who.by["alice"] = s
		v := g.check("alice", zurich, "GET", treasury+"/")
		if v.Facts.User.StartedDays != want || (v.Decision.Action == policy.Block) != (want < 90) {
			t.Errorf("started %v: %d days, %v", started, v.Facts.User.StartedDays, v.Decision.Action)
		}
	}
}

// Check has no side effects: nothing is remembered of a judgement that no one acted on.
func TestCheckRemembersNobody(t *testing.T) {
	g, w := behaving(t, newPlace)
	b := g.enrolled("alice", home)
	g.clock.Add(2 * time.Minute)
	w.take()
	b.addr = zurich
	r := b.request("GET", treasury+"/", "")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-User", "?1")
	var v proxy.Verdict
	for range 3 {
		g.must(g.gate.Check(r, &v))
		g.clock.Add(2 * time.Minute)
	}
	if asked, told, active := w.take(); len(asked) != 3 || len(told)+len(active) != 0 || !v.Facts.Seen.NewCountry {
		t.Errorf("asked %d, told %+v, active %v", len(asked), told, active)
	}
}

// A thief with the person's password opens our pages day and night. The person must not look like several people who
// share an account, and be blocked for that.
func TestAttackPasswordAloneMakesNobodyBusy(t *testing.T) {
	g, w := behaving(t, newPlace)
	b := g.enrolled("alice", home)
	w.take()
	thief := g.browser(vpn)
	if a := thief.signIn(login+"/.sallyport/sign-in", "alice"); a.StatusCode != 200 {
		t.Fatal(a.StatusCode, a.body)
	}
	for range 12 {
		g.clock.Add(2 * time.Minute)
		thief.click(login + "/.sallyport/step-up")
	}
	if _, told, active := w.take(); len(active) != 0 || len(told) == 0 {
		t.Errorf("active %v, told %d", active, len(told))
	}
	if a := b.click(treasury + "/"); a.StatusCode != 200 {
		t.Errorf("%d %q", a.StatusCode, a.location())
	}
	if _, _, active := w.take(); len(active) != 1 {
		t.Errorf("the person themselves: %v", active)
	}
}

// click opens a page as a person does who presses a link.
func (b *browser) click(to string) answer {
	b.Helper()
	r := b.request("GET", to, "")
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Sec-Fetch-Site", "none")
	r.Header.Set("Sec-Fetch-User", "?1")
	r.Header.Set("User-Agent", b.agent)
	return b.do(r)
}
