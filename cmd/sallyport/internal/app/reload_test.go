package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sallyport/authn"
	"sallyport/policy"
)

// TestFailingReloadKeepsEverything: when any file is wrong, not one part of the new
// configuration comes into force, though the others are right.
func TestFailingReloadKeepsEverything(t *testing.T) {
	for name, breaks := range map[string][3]string{
		"policy":        {"policy.yaml", "when: ip.vpn", "when: ip.vnp"},
		"policy test":   {"policy.yaml", "{action: allow}", "{action: block}"},
		"invariant":     {"policy.yaml", "rules:", "invariants: [{never: allow, when: ip.relay}]\nrules:"},
		"configuration": {"sallyport.yaml", "client_id:", "client_ID:"},
		"roster":        {"people.csv", "alice@example.com", "alice"},
		"route":         {"sallyport.yaml", "http://treasury.localhost:8080", "http://wiki.localhost:8080/docs"},
		"secret":        {"secret", "a-client-secret", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newHarness(t)
			defer d.closeApp()
			before, tools := *d.front.gate.Current(), d.front.tools.routes.Load()
			// Right changes everywhere, and one that is wrong.
			d.edit("policy.yaml", "max_age: 5m", "max_age: 6m")
			d.edit("sallyport.yaml", "localhost:8080/wiki", "localhost:8080/docs")
			d.edit("sallyport.yaml", "[127.0.0.1]", "[127.0.0.1, 10.0.0.1]")
			d.edit("people.csv", ",US,", ",DE,")
			d.edit(breaks[0], breaks[1], breaks[2])
			d.reloader.onSIGHUP(t.Context())
			after := *d.front.gate.Current()
			if after.Policy != before.Policy || after.Routes != before.Routes || after.Clients != before.Clients {
				t.Error("a part of a refused configuration is in force")
			}
			if p := d.identity.roster.complete(authn.Person{Email: "alice@example.com"}); len(p.Countries) != 1 || p.Countries[0] != "US" {
				t.Errorf("roster: %v", p.Countries)
			}
			if d.front.tools.routes.Load() != tools {
				t.Error("the account page lists the routes of a refused configuration")
			}
			if d.reloader.counts.refused.Load() != 1 || !d.reloader.counts.lastRefused.Load() || !strings.Contains(d.log.String(), "reload refused") {
				t.Error("nobody was told")
			}
		})
	}
}

func TestReloadAppliesEverythingTogether(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	before := *d.front.gate.Current()
	d.edit("policy.yaml", "max_age: 5m", "max_age: 6m")
	d.edit("sallyport.yaml", "localhost:8080/wiki", "localhost:8080/docs")
	d.edit("people.csv", ",US,", ",DE,")
	d.reloader.onSIGHUP(t.Context())
	after := *d.front.gate.Current()
	if after.Policy.Hash() == before.Policy.Hash() || after.Routes == before.Routes || after.Clients == before.Clients {
		t.Error("a part of the new configuration is not in force")
	}
	if p := d.identity.roster.complete(authn.Person{Email: "alice@example.com"}); len(p.Countries) != 1 || p.Countries[0] != "DE" {
		t.Errorf("roster: %v", p.Countries)
	}
	links := d.front.tools.of(authn.Person{Groups: []string{"treasury"}})
	if len(links) != 2 || links[1].URL != "http://wiki.localhost:8080/docs" {
		t.Errorf("account page: %v", links)
	}
	if d.reloader.counts.applied.Load() != 1 || d.reloader.counts.lastRefused.Load() {
		t.Error("not counted")
	}
	if strings.Contains(d.log.String(), "restart") {
		t.Error("claims that something waits for a restart")
	}
}

// A file that an editor cut off can be valid. What is gone with a reload is named.
func TestReloadNamesWhatIsGone(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	text := site["sallyport.yaml"]
	d.write("sallyport.yaml", text[:strings.LastIndex(text, "  - name: ")]+"...\n")
	d.write("people.csv", strings.Join(strings.SplitAfter(site["people.csv"], "\n")[:1], ""))
	d.reloader.onSIGHUP(t.Context())
	for _, want := range []string{`"msg":"routes are gone with this reload","routes":["wiki"]`,
		`"msg":"people are gone from the roster with this reload","people":1,"some":["alice@example.com"]`} {
		if !strings.Contains(d.log.String(), want) {
			t.Errorf("missing: %s", want)
		}
	}
}

// TestSwappedRouteNamesNeverOpenATool: two routes swap their names and keep their hosts
// and grants. At no moment may the grants of one file be held against the routes of the
// other, which would let everyone into the treasury.
func TestSwappedRouteNamesNeverOpenATool(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	swap := strings.NewReplacer("name: treasury", "name: wiki", "name: wiki", "name: treasury")
	stop, checked := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				checked <- n
				return
			default:
				checkGrants(t, d)
			}
		}
	}()
	for i := range 20 {
		text := site["sallyport.yaml"]
		if i%2 == 0 {
			text = swap.Replace(text)
		}
		d.write("sallyport.yaml", text)
		d.reloader.onSIGHUP(t.Context())
	}
	close(stop)
	if n := <-checked; n == 0 || d.reloader.counts.applied.Load() != 20 {
		t.Errorf("%d looks at %d reloads", n, d.reloader.counts.applied.Load())
	}
}

// checkGrants wants a person without groups on the wiki's host, and on no other.
func checkGrants(t *testing.T, d *harness) {
	s := d.front.gate.Current()
	for _, r := range s.Routes.Routes() {
		f := &policy.Facts{
			IP: policy.IP{Country: "US"}, User: policy.User{Email: "eve@example.com"}, Session: policy.Session{Level: authn.Verified.String()},
			Request: policy.Request{Purpose: policy.PurposeAccess, Route: r.Name},
		}
		allowed := s.Policy.Decide(f).Action == policy.Allow
		if allowed != (r.Hostname != "treasury.localhost") {
			t.Errorf("route %s on %s: allowed %v", r.Name, r.Hostname, allowed)
		}
	}
}

// TestReloadDoesNotBringBackOldIPData: IP data changes while the configuration is read
// again. When both are done, the newest data is in force.
func TestReloadDoesNotBringBackOldIPData(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	for i := range 30 {
		var both sync.WaitGroup
		both.Go(func() { d.reloader.onSIGHUP(t.Context()) })
		both.Go(func() {
			d.write("vpn.txt", fmt.Sprintf("203.0.113.%d\n", i))
			if err := d.intel.Reload(t.Context()); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		if d.front.gate.Current().Intel != d.intel.Current() {
			t.Fatal("old IP data is in force")
		}
	}
}

// TestSwapAfterReadingIsKept is the same, with the order given: the reload has read the
// IP data before it changes, and puts its own things in force after.
func TestSwapAfterReadingIsKept(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	old := d.intel.Current()
	d.write("vpn.txt", "203.0.113.1\n")
	if err := d.intel.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.front.gate.Update(d.withIntel)
	if now := d.front.gate.Current().Intel; now == old || now != d.intel.Current() {
		t.Error("old IP data is in force")
	}
}

// TestIPDataGoesOnWithoutTheConfiguration: a refused reload is no reason to do without
// fresh IP data, nor is a broken source a reason to refuse the policy.
func TestIPDataGoesOnWithoutTheConfiguration(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	before := d.front.gate.Current().Intel
	d.edit("policy.yaml", "when: ip.vpn", "when: ip.vnp")
	d.write("vpn.txt", "203.0.113.1\n")
	d.reloader.onSIGHUP(t.Context())
	if d.front.gate.Current().Intel == before || d.reloader.counts.refused.Load() != 1 {
		t.Error("IP data waits for the policy")
	}
	d.edit("policy.yaml", "when: ip.vnp", "when: ip.tor || ip.vpn")
	d.edit("policy.yaml", "ip.tor || ip.vpn", "ip.vpn && !ip.private")
	d.write("vpn.txt", "not a network\n")
	policyBefore := d.front.gate.Current().Policy
	d.reloader.onSIGHUP(t.Context())
	if d.front.gate.Current().Policy == policyBefore || !strings.Contains(d.log.String(), "IP data keeps what it had") {
		t.Error("the policy waits for IP data")
	}
}

// TestHangupReopensTheAuditLog: what logrotate relies on.
func TestHangupReopensTheAuditLog(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	file := filepath.Join(d.dir, "state", "audit.jsonl")
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	d.edit("policy.yaml", "when: ip.vpn", "when: ip.vnp") // even if the rest is refused
	d.reloader.onSIGHUP(t.Context())
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// A reload that waits for a file which may be half written ends with the order to stop, and
// what it would have brought does not come into force.
func TestStopDoesNotWaitForASlowFile(t *testing.T) {
	d := newHarness(t)
	d.edit("sallyport.yaml", "policy_settle: 0s", "policy_settle: 10m")
	d.reloader.onSIGHUP(t.Context())
	r := d.run()
	before := r.PolicyHash()
	r.edit("policy.yaml", "max_age: 5m", "max_age: 6m")
	r.hup <- syscall.SIGHUP
	r.end()
	if log := r.log.String(); !strings.Contains(log, "reload given up for the order to stop") || r.PolicyHash() != before {
		t.Error(log)
	}
}
