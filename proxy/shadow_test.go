package proxy_test

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/observe"
)

// withShadow puts a policy beside the one in force.
func (g *harness) withShadow(source string) {
	g.Helper()
	p := g.compile(source, grants())
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Shadow = p; return s })
}

// What a policy in shadow would have done stands beside what was done, where it is
// something else; and what was done is what the policy in force says.
func TestShadowStandsInTheRecord(t *testing.T) {
	registry := prometheus.NewRegistry()
	o, err := observe.New(observe.Config{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	g, who := newCrowdHarness(t, func(p *setup) {
		p.policy = vpnAsks
		p.change = func(c *proxy.Config) { c.Observe = o }
	})
	who.by["alice"] = somebody("alice", home, "treasury")
	get := func(path string) {
		g.gate.ServeHTTP(httptest.NewRecorder(), g.ask("alice", home, "GET", treasury+path))
	}
	g.withShadow("version: 1\nrules:\n  - {name: not-treasury, when: 'request.route == \"treasury\"', then: block}\n  - {name: writes, when: 'request.path.startsWith(\"/w\")', then: block}\n")
	get("/a")
	get("/a")
	get("/w")
	records := g.audit.take()
	if len(records) != 2 { // the second is a repeat of the first; the third has another reason
		t.Fatalf("%d records", len(records))
	}
	for i, want := range [][]string{{"not-treasury"}, {"not-treasury", "writes"}} {
		r := records[i]
		if r.Action != "allow" || r.Shadow == nil || r.Shadow.Action != "block" || !slices.Equal(r.Shadow.Rules, want) || r.Shadow.Policy != g.gate.Current().Shadow.Hash() {
			t.Errorf("%+v %+v", r, r.Shadow)
		}
	}
	if n := counted(t, registry, "sallyport_policy_shadow_total", "allow", "block"); n != 3 {
		t.Errorf("counted %v", n)
	}
	// One that agrees leaves no trace but in the metric.
	g.withShadow(vpnAsks)
	get("/b")
	if r := g.audit.take(); len(r) != 1 || r[0].Shadow != nil {
		t.Errorf("%+v", r)
	}
	if n := counted(t, registry, "sallyport_policy_shadow_total", "allow", "allow"); n != 1 {
		t.Errorf("counted %v", n)
	}
}

func counted(t *testing.T, r *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(values, labels) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// What happens on our own pages, and to strangers, is compared as well.
func TestShadowOnPagesAndForStrangers(t *testing.T) {
	g := newHarness(t)
	g.withShadow("version: 1\nrules:\n  - {name: no-sign-in, when: 'request.purpose == \"sign_in\"', then: block}\n")
	g.browser(home).enroll("alice")
	g.gate.ServeHTTP(httptest.NewRecorder(), g.ask("", hosting, "GET", treasury+"/"))
	seen := map[string]string{}
	for _, r := range g.audit.take() {
		if r.Shadow != nil {
			seen[r.Event+" "+r.Action] = r.Shadow.Action
		}
	}
	if seen["sign_in allow"] != "block" || seen["access block"] != "step_up" {
		t.Errorf("%v", seen)
	}
}

// A policy in shadow that reads a clock is asked again as often as one in force.
func TestShadowFollowsTheClock(t *testing.T) {
	g, who := newCrowdHarness(t, func(p *setup) { p.policy = vpnAsks })
	who.by["alice"] = somebody("alice", home, "treasury")
	g.withShadow("version: 1\nrules: [{name: late, when: 'time.hour(\"UTC\") >= 0 && session.age > duration(\"70s\")', then: block}]\n")
	g.gate.ServeHTTP(httptest.NewRecorder(), g.ask("alice", home, "GET", treasury+"/"))
	g.clock.Add(30e9)
	g.gate.ServeHTTP(httptest.NewRecorder(), g.ask("alice", home, "GET", treasury+"/"))
	if r := g.audit.take(); len(r) != 2 || r[0].Shadow != nil || r[1].Shadow == nil {
		t.Errorf("%+v", r)
	}
}

// A shadow costs no allocation.
func TestShadowDoesNotAllocate(t *testing.T) {
	g := newHarness(t, func(p *setup) { p.policy = vpnAsks })
	g.withShadow(strings.Replace(vpnAsks, "ip.vpn", "ip.tor", 1))
	b := g.enrolled("alice", home)
	r := b.request("GET", treasury+"/", "")
	var v proxy.Verdict
	check := func() {
		if err := g.gate.Check(r, &v); err != nil || v.Decision.Action != policy.Allow {
			t.Fatal(err, v.Decision)
		}
	}
	check()
	if n := testing.AllocsPerRun(100, check); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
