package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/cmd/sallyport/internal/ops"
	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/audit"
	"sallyport/proxy/rollout"
)

// A policy that is empty, misspelt, fails its own tests, or locks people out does not
// come into force, whichever way it comes; what ran goes on, and everyone is told.
func TestAttackPolicyThatMustNotComeIntoForce(t *testing.T) {
	lockout := strings.Replace(site["policy.yaml"], "when: ip.vpn", "when: ip.country == \"US\"", 1)
	lockout = strings.Replace(strings.Replace(lockout, "then: step_up", "then: block", 1), "    max_age: 5m\n", "", 1)
	lockout = lockout[:strings.Index(lockout, "tests:")] + "...\n"
	for name, source := range map[string]string{
		"empty":         "",
		"gone":          "-",
		"typing error":  strings.Replace(site["policy.yaml"], "when: ip.vpn", "wen: ip.vpn", 1),
		"its own tests": strings.Replace(site["policy.yaml"], "{action: allow}", "{action: block}", 1),
		"lock-out":      lockout,
	} {
		for way, come := range map[string]func(*harness){
			"file":   func(d *harness) { _ = d.reloader.policies.ReloadFiles(context.Background()) },
			"signal": func(d *harness) { d.reloader.onSIGHUP(context.Background()) },
			"command": func(d *harness) {
				if _, err := d.store.AddPolicyRequest(context.Background(), rollout.Request{At: time.Now(), By: "root", Source: source}); err != nil {
					d.t.Fatal(err)
				}
				if err := d.reloader.policies.AnswerRequest(context.Background()); err != nil {
					d.t.Fatal(err)
				}
			},
		} {
			t.Run(name+", "+way, func(t *testing.T) {
				if source == "-" && way != "file" {
					t.Skip("the configuration as a whole is refused, or there is nothing to send")
				}
				d := newHarness(t)
				defer d.closeApp()
				d.alive("alice@example.com", "198.51.100.7", "treasury")
				before := d.front.gate.Current().Policy
				switch {
				case source == "-":
					if err := os.Remove(filepath.Join(d.dir, "policy.yaml")); err != nil {
						t.Fatal(err)
					}
				case way != "command":
					d.write("policy.yaml", source)
				}
				come(d)
				if d.front.gate.Current().Policy != before {
					t.Fatal("it is in force")
				}
				pending := 1
				if way == "command" { // the file is as it was
					pending = 0
				}
				if got := d.metrics(); !strings.Contains(got, fmt.Sprintf("\nsallyport_policy_reload_refused %d\n", pending)) || !strings.Contains(got, `sallyport_policy_changes_total{outcome="refused"} 1`) {
					t.Error("no metric says so")
				}
				if v := d.versions(); len(v) != 2 || v[0].Outcome != "refused" || v[0].Detail == "" {
					t.Errorf("versions: %+v", v)
				}
				if e := d.events(); !slices.Contains(e, "policy_refused") {
					t.Errorf("audit: %v", e)
				}
				// Back to what is in force: nothing is refused any more.
				d.write("policy.yaml", site["policy.yaml"])
				if err := d.reloader.policies.ReloadFiles(t.Context()); way != "command" && err != nil {
					t.Error(err)
				}
				if got := d.metrics(); way != "command" && !strings.Contains(got, "\nsallyport_policy_reload_refused 0\n") {
					t.Error("still refused")
				}
			})
		}
	}
}

// alive has a person use a route, in a session that the gate then knows.
func (d *harness) alive(email, from string, groups ...string) {
	d.t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr, r.Host = "127.0.0.1:1234", treasuryHost
	r.Header.Set("X-Forwarded-For", from)
	r.AddCookie(d.verified(treasuryHost, email, from, groups...))
	var v proxy.Verdict
	if err := d.front.gate.Check(r, &v); err != nil || v.Decision.Action == policy.Block {
		d.t.Fatal(err, v.Decision)
	}
}

const treasuryHost = "treasury.localhost:8080"

// verified signs a person in on a host, with a passkey that was used just now, and
// returns the cookie of the session.
func (d *harness) verified(host, email, from string, groups ...string) *http.Cookie {
	d.t.Helper()
	sessions, r, w := d.identity.sessions, httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
	s, err := sessions.SignIn(w, r, host, session.NewSession{AuthTime: time.Now(),
		Person: authn.Person{Subject: authn.Subject{Issuer: "https://idp", ID: email}, Email: authn.Email(email), Groups: groups}})
	if err != nil {
		d.t.Fatal(err)
	}
	r.AddCookie(w.Result().Cookies()[0])
	w = httptest.NewRecorder()
	credential := authn.Credential{ID: []byte("key"), Class: cmp.Or(d.class, authn.ClassUnattested), BackupEligible: d.class == authn.ClassSynced}
	if _, err := sessions.Verify(w, r, s, authn.Verification{At: time.Now(), Addr: netip.MustParseAddr(from), Credential: credential}); err != nil {
		d.t.Fatal(err)
	}
	return w.Result().Cookies()[0]
}

func (d *harness) metrics() string {
	w := httptest.NewRecorder()
	ops.New(d.opsConfig()).ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/metrics", nil))
	return w.Body.String()
}

func (d *harness) versions() []rollout.Version {
	d.t.Helper()
	v, err := d.store.PolicyVersions(d.t.Context(), 100)
	if err != nil {
		d.t.Fatal(err)
	}
	return v
}

// events are those of the audit log, in order.
func (d *harness) events() (list []string) {
	d.t.Helper()
	for line, err := range audit.Read(d.config.AuditFile) {
		if err != nil {
			d.t.Fatal(err)
		}
		list = append(list, line.Record.Event)
	}
	return list
}

const usBlocked = "version: 1\nrules:\n  - {name: no-us, when: 'ip.country in [\"US\", \"KP\"]', then: block}\n"

// The guard counts people, by sessions that are alive and by what is recorded, and
// spares no one of the break-glass group; with force it only names them.
func TestLockOutGuard(t *testing.T) {
	guard := func(keys string) [3]string {
		return [3]string{"sallyport.yaml", "policy: policy.yaml", "policy: policy.yaml\npolicy_guard: {" + keys + "}"}
	}
	record := func(d *harness, user string, country string, age time.Duration, groups ...string) {
		d.t.Helper()
		f := &policy.Facts{IP: policy.IP{Address: "192.0.2.1", Country: country}, User: policy.User{Email: user, Groups: groups}, Session: policy.Session{ID: user, Level: "verified", VerifiedHere: true},
			Request: policy.Request{Purpose: "access", Route: "wiki"}, Time: policy.Time{Now: time.Now().Add(-age)}}
		if err := d.audit.Append(d.t.Context(), audit.Record{Time: f.Time.Now, Event: "access", User: user, Action: "allow", Facts: f}); err != nil {
			d.t.Fatal(err)
		}
	}
	day := 24 * time.Hour
	for _, c := range []struct {
		name    string
		edit    [3]string
		setup   func(*harness)
		refused string // part of why
		blocked []string
		people  int
	}{
		{"nobody is there", guard("days: 7"), func(*harness) {}, "", nil, 0},
		{"somebody's session", guard("days: 0"), func(d *harness) { d.alive("alice@example.com", "198.51.100.7", "treasury") }, "1 of 1 people (100%", []string{"alice@example.com"}, 1},
		{"few enough", guard("max_newly_blocked: 50%"), func(d *harness) {
			d.alive("alice@example.com", "198.51.100.7", "treasury")
			record(d, "bob@example.com", "DE", time.Hour)
		}, "", []string{"alice@example.com"}, 2},
		{"one too many", guard("max_newly_blocked: 49%"), func(d *harness) {
			d.alive("alice@example.com", "198.51.100.7", "treasury")
			record(d, "bob@example.com", "DE", time.Hour)
		}, "50%", []string{"alice@example.com"}, 2},
		{"what was recorded counts", guard("days: 2"), func(d *harness) { record(d, "carol@example.com", "US", 47*time.Hour) }, "1 of 1", []string{"carol@example.com"}, 1},
		{"not for ever", guard("days: 2"), func(d *harness) { record(d, "carol@example.com", "US", 3*day) }, "", nil, 0},
		{"what is blocked now is no news", guard("days: 2"), func(d *harness) {
			record(d, "kim@example.com", "KP", time.Hour)
			record(d, "bob@example.com", "DE", time.Hour)
		}, "", nil, 2},
		{"the break-glass group", guard("max_newly_blocked: 100%, break_glass_group: security"), func(d *harness) { record(d, "sam@example.com", "US", time.Hour, "security") }, "sam@example.com of the break-glass group security", []string{"sam@example.com"}, 1},
		{"never refuses", guard("max_newly_blocked: 100%"), func(d *harness) { record(d, "sam@example.com", "US", time.Hour, "security") }, "", []string{"sam@example.com"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newHarness(t, c.edit)
			defer d.closeApp()
			c.setup(d)
			source := []byte(usBlocked)
			report, err := d.reloader.policies.Apply(t.Context(), rollout.WithPolicy(source), rollout.Origin{Kind: "command"})
			var users []string
			for _, p := range report.Blocked {
				users = append(users, p.User)
			}
			if report.People != c.people || !slices.Equal(users, c.blocked) {
				t.Errorf("%+v", report)
			}
			if _, locks := errors.AsType[*rollout.LockOut](err); locks != (c.refused != "") || !strings.Contains(fmt.Sprint(err), c.refused) && locks {
				t.Fatalf("%v, want %q", err, c.refused)
			}
			if c.refused == "" {
				return
			}
			if _, err := d.reloader.policies.Apply(t.Context(), rollout.WithPolicy(source), rollout.Origin{Kind: "command", By: "root", Force: true}); err != nil {
				t.Fatal(err)
			}
			v := d.versions()[0]
			if d.front.gate.Current().Policy.Hash() != v.Hash || v.Outcome != "forced" || v.By != "root" || !strings.Contains(v.Detail, c.refused) {
				t.Errorf("%+v", v)
			}
			if e := d.events(); e[len(e)-1] != "policy_forced" {
				t.Errorf("audit: %v", e)
			}
		})
	}
}

// A policy that blocks no one, and asks everyone for a passkey that they do not have, locks
// them out as well.
func TestLockOutGuardKnowsPasskeys(t *testing.T) {
	for _, c := range []struct {
		class  authn.Class
		locked bool
	}{{authn.ClassSynced, true}, {authn.ClassUnattested, false}} {
		d := newHarness(t)
		defer d.closeApp()
		d.class = c.class
		d.alive("alice@example.com", "198.51.100.7", "treasury")
		source := []byte("version: 1\nrules:\n  - {name: bound, when: 'user.email != \"\"', then: step_up, require: [device_bound]}\n")
		report, err := d.reloader.policies.Apply(t.Context(), rollout.WithPolicy(source), rollout.Origin{Kind: "command"})
		if _, locks := errors.AsType[*rollout.LockOut](err); locks != c.locked || err != nil && !locks {
			t.Fatalf("%v: %v", c.class, err)
		}
		if text := report.Text(); strings.Contains(text, "  alice@example.com  bound  (asked for another kind of passkey than theirs)\n") != c.locked {
			t.Errorf("%v: %s", c.class, text)
		}
	}
}

// What is asked for while the file is still the old one is not undone by a look at the
// file, and the file that then follows is no news.
func TestFileFollowsTheCommand(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	wanted := strings.Replace(site["policy.yaml"], "max_age: 5m", "max_age: 6m", 1)
	if _, err := d.store.AddPolicyRequest(t.Context(), rollout.Request{At: time.Now(), By: "root", Source: wanted}); err != nil {
		t.Fatal(err)
	}
	if err := d.reloader.policies.AnswerRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := d.front.gate.Current().Policy
	if err := d.reloader.policies.ReloadFiles(t.Context()); err != nil || d.front.gate.Current().Policy != now {
		t.Fatal("the old file came back", err)
	}
	d.write("policy.yaml", wanted)
	if err := d.reloader.policies.ReloadFiles(t.Context()); err != nil || len(d.versions()) != 2 {
		t.Error(err, d.versions())
	}
	if err := d.reloader.policies.ReloadFiles(t.Context()); err != nil || d.front.gate.Current().Policy.Hash() != now.Hash() {
		t.Error(err)
	}
}

// What cannot be recorded does not come into force.
func TestPolicyIsRecordedBeforeItIsInForce(t *testing.T) {
	d := newHarness(t)
	before := d.front.gate.Current().Policy
	if err := d.audit.Close(); err != nil {
		t.Fatal(err)
	}
	d.edit("policy.yaml", "max_age: 5m", "max_age: 6m")
	if err := d.reloader.policies.ReloadFiles(t.Context()); err == nil || d.front.gate.Current().Policy != before {
		t.Error("in force without a record:", err)
	}
	_ = d.App.Close(t.Context())
}

// The policy in shadow is read again like the other, by file and by signal; one that is
// wrong leaves it as it was, and keeps nothing else out.
func TestShadowIsReloaded(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	d.write("shadow.yaml", usBlocked)
	d.edit("sallyport.yaml", "policy: policy.yaml", "policy: policy.yaml\npolicy_shadow: shadow.yaml")
	if d.front.gate.Current().Shadow != nil {
		t.Fatal("a shadow of nothing")
	}
	d.reloader.onSIGHUP(t.Context())
	first := d.front.gate.Current()
	if first.Shadow == nil || first.Shadow.Name() != filepath.Join(d.dir, "shadow.yaml") {
		t.Fatalf("%+v", first.Shadow)
	}
	d.edit("shadow.yaml", "US", "DE")
	if err := d.reloader.policies.ReloadFiles(t.Context()); err != nil || d.front.gate.Current().Shadow.Hash() == first.Shadow.Hash() || d.front.gate.Current().Policy.Hash() != first.Policy.Hash() {
		t.Error("not reloaded", err)
	}
	second := d.front.gate.Current()
	d.edit("shadow.yaml", "ip.country", "ip.contry")
	d.edit("policy.yaml", "max_age: 5m", "max_age: 6m")
	err := d.reloader.policies.ReloadFiles(t.Context())
	third := d.front.gate.Current()
	if err != nil || third.Policy.Hash() == second.Policy.Hash() || third.Shadow != second.Shadow {
		t.Error("by file:", err)
	}
	d.edit("policy.yaml", "max_age: 6m", "max_age: 7m")
	d.reloader.onSIGHUP(t.Context())
	if now := d.front.gate.Current(); now.Policy.Hash() == third.Policy.Hash() || now.Shadow != second.Shadow {
		t.Error("not by signal")
	}
	d.write("other.yaml", "version: 2\n")
	d.edit("sallyport.yaml", "policy_shadow: shadow.yaml", "policy_shadow: other.yaml")
	d.reloader.onSIGHUP(t.Context())
	if d.front.gate.Current().Shadow != nil || d.reloader.counts.refused.Load() != 0 {
		t.Error("the policy of another file stays in shadow")
	}
}

// A command that was killed has left its request behind. It is not for the process that starts next.
func TestNobodyWaitsForAnOldRequest(t *testing.T) {
	next := strings.Replace(site["policy.yaml"], "max_age: 5m", "max_age: 2m", 1)
	for name, c := range map[string]struct {
		age   time.Duration
		state string
	}{
		"just now": {0, rollout.RequestApplied},
		"old":      {rollout.MaxWait + time.Second, rollout.RequestRefused},
	} {
		t.Run(name, func(t *testing.T) {
			d := newHarness(t)
			defer d.closeApp()
			before := d.front.gate.Current().Policy.Hash()
			seq, err := d.store.AddPolicyRequest(t.Context(), rollout.Request{At: time.Now().Add(-c.age), By: "root", Source: next, Forced: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.reloader.policies.AnswerRequest(t.Context()); err != nil {
				t.Fatal(err)
			}
			state, _, err := d.store.PolicyAnswer(t.Context(), seq)
			if err != nil || state != c.state {
				t.Errorf("%s, %v, want %s", state, err, c.state)
			}
			if changed := d.front.gate.Current().Policy.Hash() != before; changed != (c.state == rollout.RequestApplied) {
				t.Errorf("in force: %v", changed)
			}
		})
	}
}
