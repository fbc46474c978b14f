package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/proxy/audit"
	"sallyport/proxy/rollout"
)

// vpnBlocks is a policy under which a list alone can lock people out.
var vpnBlocks = [3]string{"policy.yaml", "when: ip.vpn\n    then: step_up\n    max_age: 5m", "when: ip.vpn\n    then: block"}

func guardKeys(keys string) [3]string {
	return [3]string{"sallyport.yaml", "policy: policy.yaml", "policy: policy.yaml\npolicy_guard: {" + keys + "}"}
}

// recordAt has a decision of a person at an address in the audit log.
func (d *harness) recordAt(user, addr string, groups ...string) {
	d.t.Helper()
	f := &policy.Facts{IP: policy.IP{Address: addr, Country: "US"}, User: policy.User{Email: user, Groups: groups}, Session: policy.Session{ID: user, Level: "verified", VerifiedHere: true},
		Request: policy.Request{Purpose: "access", Route: "wiki"}, Time: policy.Time{Now: time.Now().Add(-time.Hour)}}
	if err := d.audit.Append(d.t.Context(), audit.Record{Time: f.Time.Now, Event: "access", User: user, Action: "allow", Facts: f}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *harness) isVPN(addr string) bool {
	return d.front.gate.Current().Intel.Lookup(netip.MustParseAddr(addr)).Facts(time.Now()).VPN
}

// A list that names the company's own networks locks everyone out as a policy would, without anyone
// having touched the policy: it is judged by the same people, live and recorded, and the old list stays.
func TestGuardJudgesIPData(t *testing.T) {
	const own = "# exits\n203.0.113.64/27\n198.51.100.66\n198.51.100.0/25\n" // and half of the place that people work from
	for _, c := range []struct {
		name    string
		edit    [3]string
		setup   func(*harness)
		refused string // part of why; "": it comes into use
		blocked []string
	}{
		{"nobody is there yet", guardKeys("days: 7"), func(*harness) {}, "", nil},
		{"a live session", guardKeys("days: 0"), func(d *harness) { d.alive("alice@example.com", "198.51.100.7", "treasury") }, "1 of 1 people", []string{"alice@example.com"}},
		{"what was recorded", guardKeys("days: 7"), func(d *harness) {
			d.recordAt("bob@example.com", "198.51.100.8")
			d.recordAt("carol@example.com", "198.51.100.9")
			d.recordAt("dave@example.com", "198.51.100.200")
		}, "2 of 3 people", []string{"bob@example.com", "carol@example.com"}},
		{"the break-glass group", guardKeys("max_newly_blocked: 100%, break_glass_group: security"), func(d *harness) { d.recordAt("sam@example.com", "198.51.100.8", "security") },
			"sam@example.com of the break-glass group security", []string{"sam@example.com"}},
		{"one of three is what lists are for", guardKeys("days: 7"), func(d *harness) {
			d.recordAt("mallory@example.com", "198.51.100.8")
			d.recordAt("bob@example.com", "198.51.100.200")
			d.recordAt("carol@example.com", "198.51.100.201")
		}, "", []string{"mallory@example.com"}},
		{"not if nobody may be", guardKeys("max_newly_blocked: 0%"), func(d *harness) {
			d.recordAt("mallory@example.com", "198.51.100.8")
			d.recordAt("bob@example.com", "198.51.100.200")
		}, "1 of 2 people", []string{"mallory@example.com"}},
		{"blocked already is no news", guardKeys("days: 7"), func(d *harness) {
			d.recordAt("kim@example.com", "198.51.100.66")
			d.recordAt("bob@example.com", "198.51.100.200")
		}, "", nil},
		{"never refuses", guardKeys("max_newly_blocked: 100%"), func(d *harness) { d.recordAt("bob@example.com", "198.51.100.8") }, "", []string{"bob@example.com"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newHarness(t, c.edit, vpnBlocks)
			defer d.closeApp()
			c.setup(d)
			d.write("vpn.txt", own)
			err := d.intel.Reload(t.Context())
			events, log := d.events(), d.log.String()
			if got := d.lastDetail(events[len(events)-1])["newly_blocked"]; got != strings.Join(c.blocked, ", ") {
				t.Errorf("newly blocked: %s", got)
			}
			if (err != nil) != (c.refused != "") || d.isVPN("198.51.100.7") == (c.refused != "") {
				t.Fatalf("%v; in use: %v", err, d.isVPN("198.51.100.7"))
			}
			if c.refused == "" {
				if events[len(events)-1] != "data_applied" {
					t.Errorf("audit: %v", events)
				}
				for _, user := range c.blocked {
					if !strings.Contains(log, `"level":"WARN","msg":"IP data in use"`) || !strings.Contains(log, user) {
						t.Errorf("%s is not announced", user)
					}
				}
				return
			}
			if !strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), "data apply --force") || events[len(events)-1] != "data_refused" ||
				!strings.Contains(log, `"level":"ERROR","msg":"IP data refused"`) {
				t.Errorf("%v; audit: %v", err, events)
			}
			if m := d.metrics(); !strings.Contains(m, `sallyport_ip_data_refused{source="vpn-exits"} 1`) || !strings.Contains(m, `sallyport_ip_data_changes_total{outcome="refused"} 1`) {
				t.Error("no metric says so")
			}
			if !d.isVPN("203.0.113.70") || !d.isVPN("198.51.100.66") {
				t.Error("the old data is gone")
			}
			d.forced(t)
		})
	}
}

// forced approves what the files hold, as `data apply --force` asks for.
func (d *harness) forced(t *testing.T) {
	t.Helper()
	c, err := config.Load(d.config.File)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, failed := ipintel.Load(c.IPData)
	if snapshot == nil {
		t.Fatal(failed)
	}
	ask := func(forced bool) rollout.DataAnswer {
		r := rollout.DataRequest{At: time.Now(), By: "root", Forced: forced, Sources: map[string]string{}}
		for _, s := range snapshot.Sources() {
			r.Sources[s.Name] = s.SHA256
		}
		seq, err := d.store.AddDataRequest(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.reloader.data.AnswerRequests(t.Context()); err != nil {
			t.Fatal(err)
		}
		text, err := d.store.DataAnswer(t.Context(), seq)
		var a rollout.DataAnswer
		if err != nil || json.Unmarshal([]byte(text), &a) != nil {
			t.Fatal(text, err)
		}
		return a
	}
	if a := ask(false); a.Kept["vpn-exits"] == "" || a.Report == nil || len(a.Report.Blocked) == 0 || d.isVPN("198.51.100.7") {
		t.Errorf("without force: %+v", a)
	}
	if a := ask(true); len(a.Kept) != 0 || !d.isVPN("198.51.100.7") {
		t.Errorf("with force: %+v", a)
	}
	if e := d.events(); e[len(e)-1] != "data_forced" || strings.Contains(d.metrics(), `sallyport_ip_data_refused{source="vpn-exits"} 1`) {
		t.Errorf("audit: %v", e)
	}
}

// What was approved is content, not a file name: other content in its place is judged.
func TestApprovalIsForOneContent(t *testing.T) {
	d := newHarness(t, guardKeys("days: 0"), vpnBlocks)
	defer d.closeApp()
	d.alive("alice@example.com", "198.51.100.7", "treasury")
	d.write("vpn.txt", "203.0.113.64/27\n198.51.100.66\n198.51.100.7\n")
	if err := d.intel.Reload(t.Context()); err == nil {
		t.Fatal("not refused")
	}
	later := time.Now().Add(time.Hour)
	for _, s := range d.intel.Current().Sources() {
		d.reloader.data.Approve(s.Name, s.SHA256, "root", later) // of the old content
	}
	d.reloader.data.Approve("vpn-exits", strings.Repeat("0", 64), "root", later)
	d.write("vpn.txt", "203.0.113.64/27\n198.51.100.66\n198.51.100.0/24\n")
	if err := d.intel.Retry(t.Context()); err == nil || d.isVPN("198.51.100.7") {
		t.Fatal("other content came into use", err)
	}
}

// Of two files that change at once one locks people out: the other comes into use all the same. Two that do it
// only together are both judged against what was there before either.
func TestOneBadListDoesNotKeepTheOthersOut(t *testing.T) {
	edit := [3]string{"sallyport.yaml", "    - {name: vpn-exits, signal: vpn, file: vpn.txt}", "    - {name: vpn-exits, signal: vpn, file: vpn.txt}\n    - {name: more, signal: vpn, file: more.txt}"}
	site["more.txt"] = "203.0.113.9\n"
	defer delete(site, "more.txt")
	d := newHarness(t, guardKeys("days: 0, max_newly_blocked: 50%"), vpnBlocks, edit)
	defer d.closeApp()
	for i := range 4 {
		d.alive(fmt.Sprintf("p%d@example.com", i), fmt.Sprintf("198.51.100.%d", 10+i), "treasury")
	}
	d.write("vpn.txt", "203.0.113.64/27\n198.51.100.66\n198.51.100.10/31\n198.51.100.12\n")
	d.write("more.txt", "203.0.113.9\n203.0.113.10\n")
	if err := d.intel.Reload(t.Context()); err == nil || d.isVPN("198.51.100.10") || !d.isVPN("203.0.113.10") {
		t.Errorf("%v; bad in use: %v, good in use: %v", err, d.isVPN("198.51.100.10"), d.isVPN("203.0.113.10"))
	}
	d.write("vpn.txt", "203.0.113.64/27\n198.51.100.66\n198.51.100.10/31\n")
	d.write("more.txt", "203.0.113.9\n203.0.113.10\n198.51.100.12/31\n")
	if err := d.intel.Reload(t.Context()); err == nil || d.isVPN("198.51.100.10") && d.isVPN("198.51.100.12") {
		t.Error("two lists together locked everybody out", err)
	}
}

// A refused file is not judged again every minute; a restart takes it, and says so.
func TestStartSaysThatItsDataWasRefused(t *testing.T) {
	d := newHarness(t, guardKeys("days: 0"), vpnBlocks)
	d.alive("alice@example.com", "198.51.100.7", "treasury")
	d.write("vpn.txt", "203.0.113.64/27\n198.51.100.66\n198.51.100.7\n")
	if err := d.intel.Reload(t.Context()); err == nil {
		t.Fatal("not refused")
	}
	if again := d.intel.Current().Sources()[1]; !again.Refused || again.Failures != 1 {
		t.Fatalf("%+v", again)
	}
	d.closeApp()
	a, err := New(t.Context(), d.config, Options{Logger: d.options.Logger})
	if err != nil {
		t.Fatal(err)
	}
	d.App = a
	defer d.closeApp()
	if !d.isVPN("198.51.100.7") || !strings.Contains(d.log.String(), "this start takes IP data that was refused while the proxy ran") {
		t.Error("the restart says nothing")
	}
	if e := d.events(); e[len(e)-1] != "data_applied" {
		t.Errorf("audit: %v", e)
	}
}

// What cannot be recorded does not happen, and a judgement that was cut short is none.
func TestDataIsRecordedBeforeItIsUsed(t *testing.T) {
	d := newHarness(t)
	d.write("vpn.txt", "203.0.113.64/27\n198.51.100.66\n203.0.113.7\n")
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := d.intel.Retry(stopped); err == nil || d.isVPN("203.0.113.7") {
		t.Error("taken without a judgement", err)
	}
	if s := d.intel.Current().Sources()[1]; s.Refused {
		t.Error("no judgement was made, and the file would never be asked about again")
	}
	if err := d.audit.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.intel.Retry(t.Context()); err == nil || d.isVPN("203.0.113.7") {
		t.Error("not recorded, and in use", err)
	}
	_ = d.App.Close(t.Context())
}
