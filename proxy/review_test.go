package proxy_test

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/clocktest"
	"sallyport/authn/session"
	"sallyport/policy/ipintel"
	"sallyport/policy/rehearse"
	"sallyport/proxy"
)

const vpnBlocks = "version: 1\nrules:\n  - {name: vpn-ban, when: ip.vpn, then: block}\n  - {name: writes, when: request.method != \"GET\", then: block}\n"
const vpnAsks = "version: 1\nrules:\n  - {name: vpn-asks, when: ip.vpn, then: step_up}\n"

// A new policy says at once, and in the log, what it changes for the sessions that are
// alive, by what happens to them and by the rules that bring it about.
func TestNewPolicyJudgesLiveSessions(t *testing.T) {
	g, who := newCrowdHarness(t, func(p *setup) { p.policy = vpnAsks })
	who.by["alice"], who.by["bob"] = somebody("alice", home, "treasury"), somebody("bob", vpn, "treasury")
	g.check("alice", home, "GET", treasury+"/")
	g.check("bob", vpn, "GET", treasury+"/")
	g.check("", vpn, "GET", treasury+"/") // without a session
	g.use(vpnBlocks)
	r := g.gate.Reviewed()
	if r.Judged != 2 || r.Counts != (rehearse.Counts{Blocked: 1}) || r.Rules["vpn-ban"] == nil || len(r.Rules) != 1 {
		t.Errorf("%+v", r)
	}
	if p := r.People()[0]; p.User != "bob@example.test" || p.Blocked != 1 || !slices.Equal(p.Rules, []string{"vpn-ban"}) {
		t.Errorf("%+v", p)
	}
	for _, want := range []string{`"sessions":2,"changed":1,"newly_blocked":1,"newly_stepped_up":0,"newly_allowed":0`, `"rules":{"vpn-ban":{"newly_blocked":1`, `"policy_changed":true,"ip_data_changed":false`} {
		if !strings.Contains(g.log.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
	}
	g.use(vpnAsks)
	if r := g.gate.Reviewed(); r.Counts != (rehearse.Counts{Allowed: 1}) || r.Rules["vpn-ban"].Allowed != 1 {
		t.Errorf("back: %+v", r)
	}
}

// New IP data is news about people who were let in before.
func TestNewIPDataJudgesLiveSessions(t *testing.T) {
	g, who := newCrowdHarness(t, func(p *setup) { p.policy = vpnBlocks })
	who.by["alice"] = somebody("alice", home, "treasury")
	g.check("alice", home, "GET", treasury+"/")
	c := testIntel(t)
	if err := os.WriteFile(c.Lists[0].File, []byte(home+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	intel, errs := ipintel.Load(c)
	if errs != nil {
		t.Fatal(errs)
	}
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Intel = intel; return s })
	if r := g.gate.Reviewed(); r.Counts != (rehearse.Counts{Blocked: 1}) {
		t.Errorf("%+v", r)
	}
}

// Rehearsing changes nothing: not the policy, nor what is remembered.
func TestRehearsingChangesNothing(t *testing.T) {
	g, who := newCrowdHarness(t, func(p *setup) { p.policy = vpnAsks })
	who.by["bob"] = somebody("bob", vpn, "treasury")
	g.check("bob", vpn, "GET", treasury+"/")
	before := g.gate.Current()
	next := *before
	next.Policy = g.compile(vpnBlocks, grants())
	if r := g.gate.Rehearse(&next); r.Blocked != 1 {
		t.Errorf("%+v", r)
	}
	if g.gate.Current() != before || g.gate.Reviewed() != nil {
		t.Error("something happened")
	}
	if r := g.gate.Rehearse(before); r.Judged != 1 || r.Changed() != 0 {
		t.Errorf("against itself: %+v", r)
	}
}

// Sessions that are over are not judged, and not kept in memory either.
func TestSessionsThatAreOverAreNotJudged(t *testing.T) {
	g, who := newCrowdHarness(t)
	idle, short := somebody("idle", home, "treasury"), somebody("short", home, "treasury")
	short.ExpiresAt = epoch.Add(30 * time.Minute)
	who.by["idle"], who.by["short"] = idle, short
	g.check("idle", home, "GET", treasury+"/")
	g.check("short", home, "GET", treasury+"/")
	judged := func() int64 { return g.gate.Rehearse(g.gate.Current()).Judged }
	if n := judged(); n != 2 {
		t.Fatal(n)
	}
	g.clock.Add(31 * time.Minute)
	if n := judged(); n != 1 {
		t.Errorf("%d after one expired", n)
	}
	g.clock.Add(31 * time.Minute)
	if n := judged(); n != 0 || g.gate.Live() != 0 {
		t.Errorf("%d judged, %d kept after the other one was idle", n, g.gate.Live())
	}
}

// A session that ended is forgotten; a person that the provider speaks of differently is
// judged as they are now.
func TestLiveSessionsFollowTheirPeople(t *testing.T) {
	l := newLive(t)
	b := l.enrolled("alice", home)
	rehearsed := func(source string) *rehearse.Tally {
		next := *l.gate.Current()
		next.Policy = l.compile(source, grants())
		return l.gate.Rehearse(&next)
	}
	const press = "version: 1\nrules: [{name: press, when: '\"press\" in user.groups', then: block}]\n"
	if r := rehearsed(press); r.Judged == 0 || r.Changed() != 0 {
		t.Fatalf("%+v", r)
	}
	records, err := l.sessions.List(t.Context(), session.Filter{})
	if err != nil || len(records) == 0 {
		t.Fatal(records, err)
	}
	for _, rec := range records {
		p := rec.Person
		p.Groups = []string{"treasury", "press"}
		l.must(l.sessions.Refreshed(t.Context(), rec.ID, p, ""))
	}
	clocktest.Eventually(t, "the rehearsal blocks", func() bool { return rehearsed(press).Blocked > 0 })
	b.get(login + "/.sallyport/sign-out")
	for _, rec := range records {
		if _, err := l.sessions.Revoke(t.Context(), session.Filter{ID: rec.ID}); err != nil {
			t.Fatal(err)
		}
	}
	clocktest.Eventually(t, "the rehearsal has no session", func() bool { return rehearsed(press).Judged == 0 })
}

// BenchmarkReview is a new policy of 20 rules over 100,000 live sessions of as many
// people at as many addresses, with real IP data where there is some. "ip" swaps the IP
// data as well, so that every address is looked up again.
//
//	go test ./proxy -run '^$' -bench Review -benchmem
func BenchmarkReview(b *testing.B) {
	const n = 100_000
	g, who := newCrowdHarness(b, func(p *setup) { p.policy, p.intel = benchPolicy(20, false), benchIntel(b) })
	data := *g.gate.Current()
	again, _ := ipintel.Load(benchIntel(b))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := g.ask("x", home, "GET", treasury+"/")
	for i := range n {
		from := netip.AddrFrom4([4]byte{byte(1 + i%200), byte(i >> 8), byte(i >> 16), byte(i)}).String()
		s := somebody(fmt.Sprint("person", i), home, "treasury")
		who.by = map[string]authn.Session{"x": s}
		r.RemoteAddr = from + ":1234"
		var v proxy.Verdict
		if err := g.gate.Check(r, &v); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Logf("%d sessions, %d bytes each", g.gate.Live(), int(after.HeapAlloc-before.HeapAlloc)/n)
	for name, intel := range map[string]*ipintel.Snapshot{"policy": data.Intel, "ip": again} {
		b.Run(name, func(b *testing.B) {
			next := data
			next.Intel, next.Policy = intel, g.compile(benchPolicy(20, false)+"  - {name: more, when: ip.vpn, then: block}\n", grants())
			for b.Loop() {
				if t := g.gate.Rehearse(&next); t.Judged < n {
					b.Fatal(t.Judged)
				}
			}
		})
	}
}

// A rule that begins at a date blocks no one now, and is judged by the sessions of now as if
// they were there then.
func TestLiveSessionsAreJudgedAtADate(t *testing.T) {
	g, who := newCrowdHarness(t, func(p *setup) { p.policy = vpnAsks })
	who.by["alice"] = somebody("alice", home, "treasury")
	g.check("alice", home, "GET", treasury+"/")
	before := g.gate.Current()
	next := *before
	next.Policy = g.compile("version: 1\nrules:\n  - {name: later, when: 'time.now > timestamp(\"2126-12-01T00:00:00Z\")', then: block}\n", grants())
	if r := g.gate.Compare(before, &next); r.Blocked != 0 {
		t.Errorf("now: %+v", r)
	}
	at := time.Date(2126, 12, 1, 0, 0, 1, 0, time.UTC)
	if r := g.gate.CompareAt(before, &next, func(time.Time) time.Time { return at }); r.Judged != 1 || r.Blocked != 1 || r.Changed() != 1 {
		t.Errorf("then: %+v", r)
	}
}
