package proxy_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/proxy"
)

// exceptAlice swaps in the policy with an exception of Alice's that ends at a time.
func (g *harness) exceptAlice(source, rule string, until time.Time) {
	g.Helper()
	p, err := policy.Compile(policy.Config{Name: "policy.yaml", Source: []byte(source), Routes: []string{"treasury", "wiki", "desk"}, Grants: grants(),
		Exceptions: &policy.Exceptions{Name: "exceptions.yaml", Source: []byte("exceptions:\n  - {id: x-trip, user: alice@example.test, rules: [" + rule + "], until: \"" +
			until.UTC().Format(time.RFC3339) + "\", approved_by: ciso@example.test, why: trip}\n")}})
	g.must(err)
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Policy = p; return s })
}

const awayBlocks = "version: 1\nrules:\n  - {name: away, when: 'request.route == \"treasury\"', then: block}\n"

// A stream that an exception let through is cut within a second of its end, without a
// request and without another policy. Where it would be let through anyway, it stays.
func TestStreamEndsWithItsException(t *testing.T) {
	for name, c := range map[string]struct{ source, why string }{
		"blocked":        {awayBlocks, "blocked"},
		"asked again":    {strings.Replace(freshPolicy, "fresh,", "away,", 1), "stale"},
		"nothing but it": {"version: 1\nrules:\n  - {name: away, when: 'request.path.startsWith(\"/x\")', then: block}\n", ""},
	} {
		for _, kind := range []string{"sse", "ws"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				l := newLive(t)
				alice := l.enrolled("alice", home)
				l.clock.Add(31 * time.Minute) // the proof is too old for the rule, and for the exception alone it is not
				l.exceptAlice(c.source, "away", l.clock.Now().Add(10*time.Second))
				s := l.open(alice, kind)
				// One round looks at all streams, and the next will in a minute: what is cut before
				// is cut for its exception.
				ctx, cancel := context.WithCancel(t.Context())
				var run sync.WaitGroup
				run.Go(func() { l.gate.Run(ctx) })
				defer run.Wait()
				defer cancel()
				s.alive()
				time.Sleep(1100 * time.Millisecond)
				s.alive()
				l.clock.Add(10 * time.Second)
				if c.why == "" {
					time.Sleep(1100 * time.Millisecond)
					s.alive()
					return
				}
				l.must(s.conn.SetDeadline(time.Now().Add(5 * time.Second)))
				s.ended(c.why)
			})
		}
	}
}

// Each request that an exception let through has it in its audit record, and the rule
// counts it.
func TestExceptionStandsInTheRecord(t *testing.T) {
	registry, observed := withObserver(t)
	g, who := newCrowdHarness(t, observed)
	who.by["alice"] = somebody("alice", home, "treasury")
	end := g.clock.Now().Add(time.Hour)
	g.exceptAlice(awayBlocks, "away", end)
	get := func() int {
		w := httptest.NewRecorder()
		g.gate.ServeHTTP(w, g.ask("alice", home, "GET", treasury+"/a"))
		return w.Code
	}
	get()
	records := g.audit.take()
	if len(records) != 1 || records[0].Action != "allow" || len(records[0].Excepted) != 1 {
		t.Fatalf("%+v", records)
	}
	if x := records[0].Excepted[0]; x.Rule != "away" || x.Exception != "x-trip" || !x.Until.Equal(end) || x.ApprovedBy != "ciso@example.test" || x.Why != "trip" {
		t.Errorf("%+v", x)
	}
	get()
	for outcome, want := range map[string]float64{"excepted": 2, "matched": 0, "decided": 0} {
		if n := counted(t, registry, "sallyport_policy_rule_total", outcome, "enforced", "away"); n != want {
			t.Errorf("%s: counted %v, want %v", outcome, n, want)
		}
	}
	// Its end needs no reload: the next request is judged without it, though the one before
	// was remembered.
	g.clock.Add(time.Hour)
	get()
	if records = g.audit.take(); len(records) != 1 || records[0].Action != "block" || records[0].Excepted != nil {
		t.Errorf("%+v", records)
	}
	if n := counted(t, registry, "sallyport_policy_rule_total", "decided", "enforced", "away"); n != 1 {
		t.Errorf("decided: counted %v", n)
	}

	// Nor does the record of a request that is not excepted stand for one that is.
	g.exceptAlice(strings.Replace(awayBlocks, `request.route == "treasury"`, `request.path.startsWith("/a")`, 1), "away", g.clock.Now().Add(time.Hour))
	who.by["alice"] = somebody("alice", home, "treasury")
	w := httptest.NewRecorder()
	g.gate.ServeHTTP(w, g.ask("alice", home, "GET", treasury+"/b"))
	get()
	if records = g.audit.take(); len(records) != 2 || records[0].Excepted != nil || len(records[1].Excepted) != 1 {
		t.Errorf("%+v", records)
	}
}
