package audit

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/authn/clocktest"
	"sallyport/policy"
	"sallyport/policy/ipv4in6"
)

// budgetLog is a log whose counts are written when the test says so.
func budgetLog(t testing.TB) (*Log, Config, *clocktest.Clock) {
	t.Helper()
	c := clocktest.At(testTime)
	cfg := testConfig(t)
	cfg.Now = c.Now
	return mustOpen(t, cfg), cfg, c
}

func mustRecord(t testing.TB, l *Log, rec Record) string {
	t.Helper()
	incident, err := l.Record(context.Background(), rec)
	if err != nil {
		t.Fatal(err)
	}
	return incident
}

// hour lets time go by as it would, and returns by how much the file grew.
func hour(t testing.TB, l *Log, cfg Config, c *clocktest.Clock, each func(minute int)) int64 {
	t.Helper()
	before := sizeOf(t, cfg)
	for minute := range 60 {
		each(minute)
		c.Add(time.Minute)
		l.repeats.sweep(c.Now(), false)
	}
	return sizeOf(t, cfg) - before
}

func sizeOf(t testing.TB, cfg Config) int64 {
	t.Helper()
	info, err := os.Stat(cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// refusal is as long as a stranger can make one: with every text as long as the
// server reads, and a rich configuration behind it.
func refusal(event, ip string, i int) Record {
	long := strings.Repeat("\u2028é\"", 400)
	f := policy.Facts{
		IP:      policy.IP{Address: ip, Version: 4, Country: "KP", ASN: 64500, Org: "Example Hosting Services Incorporated"},
		Request: policy.Request{Method: "GET", Host: "treasury.example.com", Path: fmt.Sprint("/", i, long), Route: "treasury", UserAgent: long},
	}
	rec := Record{
		Event: event, IP: ip, Country: "KP", ASN: 64500, Route: "treasury", Action: "block", Rules: []string{"embargoed-country", "hosting", "baseline.sign-in"},
		Reasons: []string{"no business with that country", "nobody works in a data centre", "sign in first"}, Policy: strings.Repeat("a", 64),
		Incident: fmt.Sprintf("%05d-%05d", i%100000, i/100000), Method: "GET", Host: f.Request.Host, Path: f.Request.Path, Facts: &f,
		Detail: map[string]string{"reason": "malformed", "target": f.Request.Path, "host": long},
	}
	for s := range 8 {
		rec.Data = append(rec.Data, DataSource{Name: fmt.Sprint("source-", s), SHA256: strings.Repeat("b", 64), AgeHours: 12})
	}
	return rec
}

// strangersEvents are what is refused to a person who has no passkey in hand, and one that no one has
// thought of yet.
var strangersEvents = []string{
	"access", "message", "bad_request", "sign_in_refused", "step_up_refused", "enroll_refused", "ticket_refused", "sign_in_failed", "step_up_failed",
	"enroll_failed", "ceremony_stopped", "no_passkey", "handoff_refused", "cross_site_refused", "backchannel_logout_refused", "handoff_confirmed", "added_next_year",
}

// No event that strangers cause is a line for each request, through whichever door.
func TestAttackEveryRefusalIsInTheBudget(t *testing.T) {
	for _, event := range strangersEvents {
		for who, change := range map[string]func(*Record, int){
			"one address":                  func(r *Record, _ int) { r.IP = "198.51.100.7" },
			"changing /64s":                func(r *Record, i int) { r.IP = fmt.Sprintf("2001:db8:1:%x::1", i) },
			"changing /48s":                func(r *Record, i int) { r.IP = fmt.Sprintf("2001:db8:%x::1", i) },
			"an address that is not told":  func(r *Record, _ int) { r.IP, r.Peer = "", netip.MustParseAddr("10.0.0.1") },
			"no address and no peer":       func(r *Record, _ int) { r.IP = "" },
			"a session without a passkey":  func(r *Record, _ int) { r.Session, r.User = "s", "mallory@example.com" },
			"sessions without a passkey":   func(r *Record, i int) { r.Session, r.User = fmt.Sprint("s", i), "mallory@example.com" },
			"a session and many addresses": func(r *Record, i int) { r.Session, r.IP = "s", fmt.Sprintf("2001:db8:%x::1", i) },
			"somebody verified":            func(r *Record, _ int) { r.Session, r.User, r.Verified = "s", "alice@example.com", true },
			"sessions of one person":       func(r *Record, i int) { r.Session, r.User, r.Verified = fmt.Sprint("s", i), "alice@example.com", true },
			"what is called high risk":     func(r *Record, _ int) { r.Detail = map[string]string{"risk": "high"} },
			"high risk, one person": func(r *Record, i int) {
				r.Detail, r.User, r.Session = map[string]string{"risk": "high"}, "eve@example.com", fmt.Sprint(i)
			},
		} {
			t.Run(event+" by "+who, func(t *testing.T) {
				l, _, _ := budgetLog(t)
				const n = 2100
				incidents := map[string]bool{}
				for i := range n {
					rec := Record{Event: event, IP: "198.51.100.7", Action: "block", Path: fmt.Sprint("/", i), Incident: fmt.Sprint("I-", i), Detail: map[string]string{"code": fmt.Sprint(i)}}
					change(&rec, i)
					incidents[mustRecord(t, l, rec)] = true
				}
				if size := l.Size(); size > 2001 || int(size) != len(incidents) {
					t.Errorf("%d requests are %d lines under %d incidents", n, size, len(incidents))
				}
			})
		}
	}
}

// What is over the budget is counted, under an incident that is in the log, and the log
// says of what it is a count.
func TestNothingIsLostOverTheBudget(t *testing.T) {
	l, cfg, c := budgetLog(t)
	const n = 5000
	told := map[string]bool{}
	for i := range n {
		rec := Record{Event: "sign_in_refused", IP: fmt.Sprintf("2001:db8:1:%x::1", i), Action: "block", Path: "/.sallyport/sign-in", Incident: fmt.Sprint("I-", i)}
		told[mustRecord(t, l, rec)] = true
	}
	c.Add(10 * time.Minute)
	l.repeats.sweep(c.Now(), false)
	var sum int64
	counted := false
	for line := range Read(cfg.File) {
		r := line.Record
		sum += max(1, r.Count)
		delete(told, r.Incident)
		if r.Count > 0 {
			counted = true
			if r.Facts != nil || r.Path != "" || r.Detail["counted_by"] != "network" || r.Detail["counted_for"] != "2001:db8:1::/48" || r.Incident == "" {
				t.Errorf("a count says %+v", r)
			}
		}
	}
	if sum != n || len(told) > 0 || !counted {
		t.Errorf("%d of %d are in the log; %d incidents are not", sum, n, len(told))
	}
	mustClose(t, l)
	mustVerify(t, cfg)
}

// Who spends a budget does not spend that of others, nor that of what matters more.
func TestOneBudgetDoesNotDrownAnother(t *testing.T) {
	l, _, _ := budgetLog(t)
	for i := range 3000 { // all that strangers have
		mustRecord(t, l, Record{Event: "access", IP: fmt.Sprintf("2001:db8:%x::1", i), Action: "block", Path: fmt.Sprint("/", i)})
	}
	for i := range 3000 { // and all of their high risk
		mustRecord(t, l, Record{Event: "handoff_refused", IP: fmt.Sprintf("2001:db8:%x::1", i), Action: "block", Detail: map[string]string{"risk": "high"}})
	}
	for name, rec := range map[string]Record{
		"high risk about one person": {Event: "step_up_failed", IP: "2001:db8:1::1", Session: "s1", User: "alice@example.com", Detail: map[string]string{"risk": "high"}},
		"somebody signed in":         {Event: "step_up_refused", IP: "2001:db8:1::1", Session: "s2", User: "bob@example.com", Action: "block"},
		"somebody verified":          {Event: "access", IP: "2001:db8:1::1", Session: "s3", User: "carol@example.com", Action: "block", Verified: true},
		"a credential":               {Event: "enroll", IP: "2001:db8:1::1", Session: "s4", User: "dave@example.com", Action: "allow"},
		"an operator":                {Event: "operator.ticket_create", User: "root"},
	} {
		before := l.Size()
		rec.Incident = name
		if got := mustRecord(t, l, rec); got != name || l.Size() != before+1 {
			t.Errorf("%s is no line of its own", name)
		}
	}
}

// An alarm is a line, regardless of what an attacker has caused before it.
func TestAttackSpentReserveHidesNoOtherAlarm(t *testing.T) {
	risk := func(event, key, value, owner, code string) Record {
		r := Record{Event: event, IP: "198.51.100.7", Country: "CH", Action: "allow", Path: "/", Detail: map[string]string{"risk": "high", key: value}}
		if owner != "" {
			r.Detail["owner"], r.Detail["handoff"] = owner, code
		}
		return r
	}
	of := func(r Record, session string, verified bool) Record {
		r.User, r.Session, r.Verified = "alice@example.com", session, verified
		return r
	}
	const alice = "alice@example.com"
	stolen := risk("handoff_refused", "reason", "other_browser", alice, "c1")
	abroad := stolen
	abroad.Country = "KP"
	copied := of(risk("step_up_failed", "code", "counter_regressed", "", ""), "s9", false)
	for name, c := range map[string]struct {
		spend func(i int) Record
		alarm Record
	}{
		"a password, then a stolen code": {func(i int) Record {
			return of(risk("handoff_refused", "reason", "not_me", "", ""), fmt.Sprint("t", i), false)
		}, stolen},
		"a password, then a stolen code of the same kind": {func(i int) Record {
			return of(risk("handoff_refused", "reason", "other_browser", "", ""), fmt.Sprint("t", i), false)
		}, stolen},
		"a password, then a copied passkey": {func(i int) Record {
			return of(risk("step_up_failed", "code", "signature_invalid", "", ""), fmt.Sprint("t", i), false)
		}, copied},
		"one session without a passkey, then a copied passkey": {func(int) Record {
			return of(risk("step_up_failed", "code", "signature_invalid", "", ""), "s9", false)
		}, copied},
		"a verified session, then a stolen code": {func(int) Record {
			return of(risk("handoff_refused", "reason", "not_me", "", ""), "v", true)
		}, stolen},
		"an old code from everywhere, then another code": {func(int) Record {
			return risk("handoff_refused", "reason", "other_browser", alice, "old")
		}, stolen},
		"own codes, then another person's": {func(i int) Record {
			return risk("handoff_refused", "reason", "other_browser", "mallory@example.com", fmt.Sprint("m", i))
		}, stolen},
		"codes of one place, then one of another": {func(i int) Record {
			return risk("handoff_refused", "reason", "other_browser", alice, fmt.Sprint("c", i))
		}, abroad},
	} {
		t.Run(name, func(t *testing.T) {
			l, _, _ := budgetLog(t)
			for i := range 3000 {
				rec := c.spend(i)
				rec.IP = fmt.Sprintf("2001:db8:%x::1", i)
				mustRecord(t, l, rec)
			}
			if l.Size() > 700 {
				t.Errorf("%d lines for 3000 of one kind", l.Size())
			}
			before := l.Size()
			c.alarm.Incident = "alarm"
			if got := mustRecord(t, l, c.alarm); got != "alarm" || l.Size() != before+1 {
				t.Errorf("the alarm is a count under %q", got)
			}
			c.alarm.Incident = "again"
			if got := mustRecord(t, l, c.alarm); got != "alarm" || l.Size() != before+1 {
				t.Errorf("the same again is no count: %q", got)
			}
		})
	}
}

// A count of alarms says what they were.
func TestCountOfAlarmsHasItsReason(t *testing.T) {
	l, cfg, c := budgetLog(t)
	for i := range 100 {
		mustRecord(t, l, Record{Event: "handoff_refused", IP: fmt.Sprintf("2001:db8:%x::1", i), Action: "block",
			Detail: map[string]string{"risk": "high", "reason": "other_host", "owner": "alice@example.com", "handoff": fmt.Sprint(i), "host": "x"}})
	}
	c.Add(10 * time.Minute)
	l.repeats.sweep(c.Now(), false)
	n := 0
	for line := range Read(cfg.File) {
		if r := line.Record; r.Count > 0 {
			n++
			if d := r.Detail; d["reason"] != "other_host" || d["risk"] != "high" || d["owner"] != "alice@example.com" || d["host"] != "" || d["counted_by"] != "person" {
				t.Errorf("a count says %v", d)
			}
		}
	}
	if n != 1 {
		t.Errorf("%d counts", n)
	}
}

// What gives or takes a credential is never counted, for any person, however often.
func TestWhatGivesOrTakesIsAlwaysALine(t *testing.T) {
	l, _, _ := budgetLog(t)
	n := int64(0)
	for event := range always {
		for range 100 {
			mustRecord(t, l, Record{Event: event, IP: "198.51.100.7", Session: "s", User: "alice@example.com", Incident: "X"})
			n++
		}
	}
	if l.Size() != n {
		t.Errorf("%d records are %d lines", n, l.Size())
	}
}

// The memory of the budget does not grow with the number of strangers.
func TestAttackBudgetMemoryIsBounded(t *testing.T) {
	l, _, c := budgetLog(t)
	for i := range 3 * maxBuckets {
		rec := Record{Session: fmt.Sprint(i), IP: netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 1}).String()}
		l.budget.pay(nobody, rates[nobody][:2], &rec, c.Now())
		l.budget.pay(signedIn, rates[signedIn][:2], &rec, c.Now())
	}
	for scope, m := range l.budget.buckets {
		if len(m) > maxBuckets {
			t.Errorf("%d buckets by %s", len(m), scope)
		}
	}
}

// The same refusal is one line, other paths are lines as long as the budget by path lasts.
func TestNewRefusedPathsAreLines(t *testing.T) {
	l, cfg, _ := budgetLog(t)
	rec := Record{Event: "access", Session: "s", User: "alice@example.com", IP: "198.51.100.7", Verified: true, Action: "block", Rules: []string{"x"}, Method: "GET"}
	for i := range 1000 {
		rec.Path, rec.Incident = "/polled", fmt.Sprint("I-", i)
		if got := mustRecord(t, l, rec); got != "I-0" {
			t.Fatalf("repeat %d has the incident %s", i, got)
		}
	}
	for _, path := range []string{"/backup.sql", "/.git/config"} {
		rec.Path, rec.Incident = path, path
		mustRecord(t, l, rec)
	}
	var paths []string
	for line := range Read(cfg.File) {
		paths = append(paths, line.Record.Path)
	}
	if fmt.Sprint(paths) != "[/polled /backup.sql /.git/config]" {
		t.Errorf("%v", paths)
	}
}

// Each change that a person makes is a line by its method and path; the same one again is
// counted; padding makes no two paths one.
func TestChangesAreLinesOfTheirOwn(t *testing.T) {
	l, cfg, _ := budgetLog(t)
	rec := allowed("s1")
	pad := "/" + strings.Repeat("x", 1000) + "/"
	do := func(method, path string) {
		rec.Method, rec.Path = method, path
		mustAllow(t, l, rec)
	}
	do("GET", "/harmless")
	do("POST", "/withdraw/1000000")
	do("DELETE", "/users/7")
	do("GET", "/other")
	do("HEAD", "/other")
	do("POST", "/withdraw/1000000")
	do("PROPPATCH", "/dav")
	do("FROBNICATE", "/dav")
	do("POST", pad+"1")
	do("POST", pad+"2")
	var got []string
	for line := range Read(cfg.File) {
		got = append(got, line.Record.Method+" "+line.Record.Path[:min(len(line.Record.Path), 20)])
	}
	want := []string{"GET /harmless", "POST /withdraw/1000000", "DELETE /users/7", "PROPPATCH /dav", "FROBNICATE /dav", "POST " + pad[:20], "POST " + pad[:20]}
	if len(want[1]) > 25 {
		want[1] = want[1][:25]
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	mustClose(t, l)
	var sum int64
	for _, n := range counts(t, cfg) {
		sum += max(1, n)
	}
	if sum != 10 {
		t.Errorf("%d of 10 requests are in the log", sum)
	}
}

// Changes are bounded by session, and not for others.
func TestAttackChangesFillTheLog(t *testing.T) {
	l, _, c := budgetLog(t)
	change := func(session string, i int) error {
		rec := allowed(session)
		rec.User, rec.Method, rec.Path = session, "POST", fmt.Sprint("/", i)
		return l.AppendRun(t.Context(), rec)
	}
	refused := 0
	for i := range 2000 {
		if err := change("s1", i); err == ErrManyCalls {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused != 500 {
		t.Errorf("%d of 2000 different changes were refused", refused)
	}
	if err := change("s1", 7); err != nil {
		t.Errorf("a change that was made before: %v", err)
	}
	if err := change("s2", 1); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	read := allowed("s1")
	read.User = "s1"
	if err := l.AppendRun(t.Context(), read); err != nil {
		t.Errorf("what is only read: %v", err)
	}
	c.Add(time.Second)
	if err := change("s1", 9999); err != nil {
		t.Errorf("a second later: %v", err)
	}
}

// A cookie that comes from ever new addresses cannot fill the log with what it is let through to.
func TestAttackAllowsFromChangingAddressesFillTheLog(t *testing.T) {
	l, _, _ := budgetLog(t)
	for i := range 2000 {
		rec := allowed("s1")
		rec.IP, rec.Method = fmt.Sprintf("2001:db8::%x", i), "GET"
		if err := l.AppendRun(t.Context(), rec); err != nil && err != ErrManyCalls {
			t.Fatal(err)
		}
	}
	if l.Size() != 600 {
		t.Errorf("%d lines", l.Size())
	}
}

// The clients of a translator have budgets of their own: one must not spend those of all others.
func TestBudgetsBehindTranslator(t *testing.T) {
	translators := ipv4in6.Translators{netip.MustParsePrefix("2001:db8:64::/96")}
	for a, want := range map[string][2]string{
		"2001:db8:64::203.0.113.9": {"203.0.113.9", "203.0.113.0/24"},
		"2001:db8:64::10.0.0.1":    {"2001:db8:64::a00:1", "2001:db8:64::/48"},
		"2001:db8:65::1":           {"2001:db8:65::/64", "2001:db8:65::/48"},
	} {
		r := &Record{IP: a, Action: "block"}
		client, _ := bucketKeyOf(nobody, byClient, r, translators)
		network, _ := bucketKeyOf(nobody, byNetwork, r, translators)
		if client.text != want[0] || network.text != want[1] || refusalOf(r, translators).IP != want[0] {
			t.Errorf("%s: %q, %q", a, client.text, network.text)
		}
	}
	l := newBudget(300, translators)
	take := func(a string) bool {
		_, over := l.pay(nobody, rates[nobody], &Record{IP: a}, time.Unix(0, 0))
		return over == nil
	}
	for range 100 {
		take("2001:db8:64::203.0.113.9")
	}
	if take("2001:db8:64::203.0.113.9") || !take("2001:db8:64::198.51.100.7") {
		t.Error("one client of the translator spends what is the other's")
	}
}

// A hostile tool has the browser of its visitor post to itself, as often as it likes: the visitor
// may still change things on other tools.
func TestOneToolSpendsNoOtherToolsChanges(t *testing.T) {
	l, _, _ := budgetLog(t)
	change := func(route string, i int) error {
		rec := allowed("s1")
		rec.User, rec.Method, rec.Route, rec.Path = "alice@example.com", "POST", route, fmt.Sprint("/", i)
		return l.AppendRun(t.Context(), rec)
	}
	refused := 0
	for i := range 2000 {
		if change("hostile", i) == ErrManyCalls {
			refused++
		}
	}
	if refused == 0 {
		t.Error("one tool has no bound")
	}
	for i := range 100 {
		if err := change("treasury", i); err != nil {
			t.Fatalf("change %d on the other tool: %v", i, err)
		}
	}
	// In all there is a bound by person.
	for route := range 40 {
		for i := range 1500 {
			if change(fmt.Sprint("tool-", route), i) == ErrManyCalls {
				return
			}
		}
	}
	t.Error("a person with many tools has no bound")
}
