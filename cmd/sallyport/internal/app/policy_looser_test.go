package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/proxy/audit"
	"sallyport/proxy/rollout"
)

// An insider who takes a rule away, or makes it ask less, is seen with the names of the people it
// is for, even where the verdict about none of them changes at the moment.
func TestGuardNamesWhoIsAskedLess(t *testing.T) {
	const strict = `version: 1
rules:
  - {name: embargo, when: 'ip.country == "KP"', then: block}
  - {name: vpn, when: ip.vpn, then: step_up, max_age: 5m}
  - {name: bound, when: 'request.route == "wiki" && ip.country == "DE"', then: step_up, require: [device_bound]}
`
	replace := func(old, new string) string { return strings.Replace(strict, old, new, 1) }
	for _, c := range []struct {
		name, guard, candidate string
		allowed                []string // name, rules and how, of the report
		refused                string
	}{
		{"nothing changes but a comment", "", strict + "# reviewed\n", nil, ""},
		{"a rule is gone", "", replace("  - {name: embargo, when: 'ip.country == \"KP\"', then: block}\n", ""), []string{"kim@example.com  embargo  (allowed)"}, ""},
		{"a rule only reports", "", replace("then: block}", "then: block, mode: report}"), []string{"kim@example.com  embargo  (allowed)"}, ""},
		{"a block is a question", "", replace("then: block}", "then: step_up}"), []string{"kim@example.com  embargo  (allowed)"}, ""},
		{"an exception", "", replace("when: ip.vpn,", `when: ip.vpn, unless: 'user.email == "bob@example.com"',`), []string{"bob@example.com  vpn  (asked less)"}, ""},
		{"older assertions do", "", replace("max_age: 5m", "max_age: 8h"), []string{"bob@example.com  vpn  (asked less)"}, ""},
		{"fresher assertions are wanted", "", replace("max_age: 5m", "max_age: 2m"), nil, ""},
		{"any passkey does", "", replace(", require: [device_bound]", ""), []string{"eve@example.com  bound  (allowed)"}, ""},
		{"as many as may be", "policy_guard: {max_newly_allowed: 33%}\n", replace("max_age: 5m", "max_age: 8h"), []string{"bob@example.com  vpn  (asked less)"}, "1 of 3 people (33%; policy_guard.max_newly_allowed is 33%"},
		{"fewer than may be", "policy_guard: {max_newly_allowed: 34%}\n", replace("max_age: 5m", "max_age: 8h"), []string{"bob@example.com  vpn  (asked less)"}, ""},
		{"none may be", "policy_guard: {max_newly_allowed: 0%}\n", replace("max_age: 5m", "max_age: 8h"), []string{"bob@example.com  vpn  (asked less)"}, "1 of 3 people"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newHarness(t, [3]string{"sallyport.yaml", "policy: policy.yaml", c.guard + "policy: policy.yaml"}, [3]string{"policy.yaml", site["policy.yaml"], strict})
			defer d.closeApp()
			for user, ip := range map[string]policy.IP{
				"kim@example.com": {Address: "175.45.176.1", Country: "KP"},
				"bob@example.com": {Address: "203.0.113.66", Country: "US", VPN: true},
				"eve@example.com": {Address: "192.0.2.80", Country: "DE"},
			} {
				now := time.Now()
				f := &policy.Facts{IP: ip, User: policy.User{Email: user}, Session: policy.Session{ID: user, Level: "verified", VerifiedHere: true, VerifiedAge: time.Minute},
					Credential: policy.Credential{Class: "synced", BackupEligible: true}, Request: policy.Request{Purpose: "access", Route: "wiki"}, Time: policy.Time{Now: now}}
				if err := d.audit.Append(t.Context(), audit.Record{Time: now, Event: "access", User: user, Action: "allow", Facts: f}); err != nil {
					t.Fatal(err)
				}
			}
			source := []byte(c.candidate)
			report, err := d.reloader.policies.Apply(t.Context(), rollout.WithPolicy(source), rollout.Origin{Kind: "command"})
			var said []string
			_, after, _ := strings.Cut(report.Text(), "Newly allowed, or asked less than now: ")
			for line := range strings.Lines(after) {
				if line, ok := strings.CutPrefix(line, "  "); ok {
					said = append(said, strings.TrimSuffix(line, "\n"))
				}
			}
			if !slices.Equal(said, c.allowed) {
				t.Errorf("the report says %q, want %q:\n%s", said, c.allowed, report.Text())
			}
			if _, refused := errors.AsType[*rollout.LockOut](err); refused != (c.refused != "") || !strings.Contains(fmt.Sprint(err), c.refused) && refused {
				t.Fatalf("%v, want %q", err, c.refused)
			}
			if c.refused != "" && !strings.Contains(err.Error(), "bob@example.com") {
				t.Errorf("the refusal does not name anybody: %v", err)
			}
			if c.refused == "" && c.allowed != nil {
				user, _, _ := strings.Cut(c.allowed[0], " ")
				if got := d.lastDetail("policy_applied")["newly_allowed"]; got != user {
					t.Errorf("the record names %q, want %q", got, user)
				}
			}
		})
	}
}

// lastDetail is the detail of the last record of an event.
func (d *harness) lastDetail(event string) (detail map[string]string) {
	d.t.Helper()
	for line, err := range audit.Read(d.config.AuditFile) {
		if err != nil {
			d.t.Fatal(err)
		}
		if line.Record.Event == event {
			detail = line.Record.Detail
		}
	}
	return detail
}

// The policy's file cannot drop what another file pins, together with the rule, whichever way it comes.
func TestPinnedInvariantsOutliveThePolicy(t *testing.T) {
	const pinned = `version: 1
lists: {embargoed: [KP, IR]}
invariants:
  - {name: embargo-is-final, never: allow, when: ip.country in lists.embargoed}
`
	const kept = `version: 1
rules:
  - {name: embargo, when: ip.country in lists.embargoed, then: block}
`
	for name, candidate := range map[string]string{
		"the rule is gone":          "version: 1\nrules:\n  - {name: vpn, when: ip.vpn, then: block}\n",
		"the rule is softer":        strings.Replace(kept, "then: block", "then: step_up", 1),
		"the rule has an exception": strings.Replace(kept, "then: block", `unless: 'user.email == "kim@example.com"', then: block`, 1),
		"the list is shorter":       "lists: {embargoed: [IR]}\n" + kept,
		"the list is empty":         "lists: {embargoed: []}\n" + kept,
		"the same name is claimed":  kept + "invariants:\n  - {name: embargo-is-final, always: block, when: ip.vpn}\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pinned.yaml")
			if err := os.WriteFile(file, []byte(pinned), 0o644); err != nil {
				t.Fatal(err)
			}
			d := newHarness(t, [3]string{"sallyport.yaml", "policy: policy.yaml", "policy_invariants: " + file + "\npolicy: policy.yaml"},
				[3]string{"policy.yaml", site["policy.yaml"], kept})
			defer d.closeApp()
			source := []byte(candidate)
			before := d.front.gate.Current().Policy
			if _, err := d.reloader.policies.Apply(t.Context(), rollout.WithPolicy(source), rollout.Origin{Kind: "command", By: "root", Force: true}); err == nil || d.front.gate.Current().Policy != before {
				t.Fatal("it came into force")
			}
			d.write("policy.yaml", candidate)
			if err := d.reloader.policies.ReloadFiles(t.Context()); err == nil {
				t.Error("the file came into force")
			}
			if d.reloader.onSIGHUP(t.Context()); d.front.gate.Current().Policy.Hash() != before.Hash() {
				t.Error("SIGHUP brought it into force")
			}
		})
	}
}
