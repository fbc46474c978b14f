package proxy_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/observe"
)

const countedPolicy = `
version: 1
rules:
  - {name: vpn-asks, when: ip.vpn, then: step_up, max_age: 10s}
  - {name: vpn-secret, when: 'ip.vpn && request.path.startsWith("/secret")', then: block}
  - {name: answered, when: 'ip.country == "ZZ"', then: step_up, max_age: 1h}
  - {name: hosting-tried, when: ip.hosting, then: block, mode: report}
  - {name: wiki-alone, when: 'ip.country == "ZZ"', routes: [wiki], then: block}
`

func withObserver(t *testing.T) (*prometheus.Registry, func(*setup)) {
	t.Helper()
	registry := prometheus.NewRegistry()
	o, err := observe.New(observe.Config{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	return registry, func(p *setup) { p.change = func(c *proxy.Config) { c.Observe = o } }
}

// ruleSeries are the counters of rules of one policy: matched, decided, reported.
func ruleSeries(t *testing.T, r *prometheus.Registry, label string) map[string][3]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	outcomes, series := map[string]int{"matched": 0, "decided": 1, "reported": 2}, map[string][3]float64{}
	for _, f := range families {
		if f.GetName() != "sallyport_policy_rule_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			l := m.GetLabel() // outcome, policy, rule
			if l[1].GetValue() == label {
				counts := series[l[2].GetValue()]
				counts[outcomes[l[0].GetValue()]] = m.GetCounter().GetValue()
				series[l[2].GetValue()] = counts
			}
		}
	}
	return series
}

func expectRules(t *testing.T, r *prometheus.Registry, label string, want map[string][3]float64) {
	t.Helper()
	got := ruleSeries(t, r, label)
	if len(got) != len(want) {
		t.Errorf("%s: %d rules have series, want %d: %v", label, len(got), len(want), got)
	}
	for name, counts := range want {
		if got[name] != counts {
			t.Errorf("%s %s: matched, decided, reported %v, want %v", label, name, got[name], counts)
		}
	}
}

func TestRulesAreCounted(t *testing.T) {
	type counts = map[string][3]float64
	for _, c := range []struct {
		name, from, path string
		times            int
		action           policy.Action
		want             counts
	}{
		{"none was judged", home, "/", 0, policy.Allow, counts{}},
		{"a question that is answered matches alone", home, "/", 1, policy.Allow, counts{"answered": {1, 0, 0}}},
		{"a kept judgement counts for every request", home, "/", 5, policy.Allow, counts{"answered": {5, 0, 0}}},
		{"the strictest decides", vpn, "/", 2, policy.StepUp, counts{"answered": {2, 0, 0}, "vpn-asks": {2, 2, 0}}},
		{"a stricter one decides", vpn, "/secret", 3, policy.Block, counts{"answered": {3, 0, 0}, "vpn-asks": {3, 0, 0}, "vpn-secret": {3, 3, 0}}},
		{"report mode", hosting, "/", 2, policy.Allow, counts{"answered": {2, 0, 0}, "hosting-tried": {2, 0, 2}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			registry, observing := withObserver(t)
			g, who := newCrowdHarness(t, observing, func(p *setup) { p.policy = countedPolicy })
			// Proved at that address, a minute ago.
			who.by["alice"] = somebody("alice", c.from, "treasury")
			for range c.times {
				expect(t, g.check("alice", c.from, "GET", treasury+c.path), c.action)
			}
			want := counts{"vpn-asks": {}, "vpn-secret": {}, "answered": {}, "hosting-tried": {}, "wiki-alone": {}}
			for name, n := range c.want {
				want[name] = n
			}
			expectRules(t, registry, observe.Enforced, want)
			expectRules(t, registry, observe.Shadow, nil)
		})
	}
}

// A rule that a reload removes loses its series, a new one has some at once, and one that
// stays goes on. The policy in shadow has its own.
func TestRuleCountersFollowThePolicies(t *testing.T) {
	registry, observing := withObserver(t)
	g, who := newCrowdHarness(t, observing, func(p *setup) { p.policy = vpnAsks })
	who.by["alice"] = somebody("alice", vpn, "treasury")
	ask := func() { g.check("alice", vpn, "GET", treasury+"/") }
	ask()
	stays := "version: 1\nrules:\n  - {name: tor, when: ip.tor, then: block}\n  - {name: vpn-asks, when: ip.vpn, then: block}\n"
	g.use(stays)
	ask()
	expectRules(t, registry, observe.Enforced, map[string][3]float64{"tor": {}, "vpn-asks": {2, 1, 0}}) // the answered question decided nothing
	g.withShadow("version: 1\nrules:\n  - {name: vpn-asks, when: ip.vpn, then: block}\n  - {name: clouds, when: ip.hosting, then: block}\n")
	ask()
	expectRules(t, registry, observe.Enforced, map[string][3]float64{"tor": {}, "vpn-asks": {3, 2, 0}})
	expectRules(t, registry, observe.Shadow, map[string][3]float64{"clouds": {}, "vpn-asks": {1, 1, 0}})
	g.use("version: 1\nrules:\n  - {name: tor, when: ip.tor, then: block}\n")
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Shadow = nil; return s })
	ask()
	expectRules(t, registry, observe.Enforced, map[string][3]float64{"tor": {}})
	expectRules(t, registry, observe.Shadow, nil)
}

// Messages inside a WebSocket are judged each, and counted each. To look at an open stream
// again is no request.
func TestRulesAreCountedInsideAWebSocket(t *testing.T) {
	registry, observing := withObserver(t)
	l, alice := newNode(t, observing)
	l.withShadow("version: 1\nrules:\n  - {name: no-calls, when: 'size(request.rpc_methods) > 0', then: block}\n")
	s := l.open(alice, "ws")
	before := ruleSeries(t, registry, observe.Enforced)
	for range 2 {
		s.message(money)
		s.arrives(money)
	}
	s.message(isAdmin)
	s.refused()
	l.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { return s })
	after := ruleSeries(t, registry, observe.Enforced)
	if before["money"] != [3]float64{} || after["money"] != [3]float64{2, 0, 0} || after["no-admin"] != [3]float64{1, 1, 0} {
		t.Errorf("%v, then %v", before, after)
	}
	expectRules(t, registry, observe.Shadow, map[string][3]float64{"no-calls": {3, 3, 0}})
}

// Counting costs no allocation, where the policy itself costs none.
func TestCountingDoesNotAllocate(t *testing.T) {
	registry, observing := withObserver(t)
	g := newHarness(t, observing, func(p *setup) {
		p.policy = "version: 1\nrules:\n  - {name: answered, when: 'ip.country == \"ZZ\"', routes: [treasury], then: step_up, max_age: 1h}\n"
	})
	r := g.enrolled("alice", home).request("GET", treasury+"/", "")
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
	if ruleSeries(t, registry, observe.Enforced)["answered"][0] < 100 {
		t.Error("the rule is not counted")
	}
}
