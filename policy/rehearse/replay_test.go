package rehearse

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

func compile(t testing.TB, rules string) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(policy.Config{Name: "policy.yaml", Source: []byte("version: 1\nthresholds: {step_up: 50}\nrules:\n" + rules),
		Grants: map[string]policy.Grant{"wiki": {Everyone: true}, "treasury": {Groups: []string{"treasury"}}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// recorded is an allowed request of a person at home.
func recorded(seq int64, user string, change ...func(*Recorded)) *Recorded {
	r := &Recorded{Seq: seq, Time: noon, User: user, Action: policy.Allow}
	r.Facts = policy.Facts{
		IP: policy.IP{Address: "198.51.100.7", Addr: netip.MustParseAddr("198.51.100.7"), Version: 4, Country: "US"}, User: policy.User{Email: user},
		Session: policy.Session{ID: "s", Level: "verified", VerifiedAge: time.Hour, VerifiedHere: true}, Request: policy.Request{Purpose: "access", Route: "wiki", Method: "GET", Path: "/"},
		Time: policy.Time{Now: noon},
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func overVPN(r *Recorded)           { r.Facts.IP.VPN = true }
func times(n int64) func(*Recorded) { return func(r *Recorded) { r.Count = n } }
func was(a policy.Action, rules ...string) func(*Recorded) {
	return func(r *Recorded) { r.Action, r.Rules = a, rules }
}

// A step-up that asks for a passkey that is not the one in use is no way in. That is told of each person,
// unless they were asked for it before, are blocked anyway, or have not used any yet.
func TestAskedInVain(t *testing.T) {
	const rule = "  - {name: bound, when: ip.vpn, then: step_up, require: [device_bound]}\n"
	class := func(c string) func(*Recorded) {
		return func(r *Recorded) { r.Facts.Credential = policy.Credential{Class: c, BackupEligible: c == "synced"} }
	}
	blocked := func(r *Recorded) { r.Facts.IP.Country = "KP" }
	r := New(compile(t, rule+"  - {name: kp, when: 'ip.country == \"KP\"', then: block}\n"), compile(t, "  - {name: kp, when: 'ip.country == \"KP\"', then: block}\n"))
	for _, rec := range []*Recorded{
		recorded(1, "synced@x.test", overVPN, class("synced"), times(3)), recorded(2, "synced@x.test", class("synced")), recorded(3, "bound@x.test", overVPN, class("unattested")),
		recorded(4, "none@x.test", overVPN, class("none")), recorded(5, "blocked@x.test", overVPN, blocked, class("synced")),
	} {
		r.Add(rec)
	}
	for _, p := range r.People() {
		want := map[string]int64{"synced@x.test": 3}[p.User]
		if p.InVain != want || want > 0 && !slices.Equal(p.Rules, []string{"bound"}) {
			t.Errorf("%+v, want %d", p, want)
		}
	}
	asked := New(compile(t, strings.Replace(rule, "ip.vpn", "true", 1)), compile(t, rule+"  - {name: kp, when: 'ip.country == \"KP\"', then: block}\n"))
	asked.Add(recorded(3, "blocked@x.test", blocked, class("synced")))
	asked.Add(recorded(1, "synced@x.test", overVPN, class("synced")))
	asked.Add(recorded(2, "other@x.test", class("synced"), func(r *Recorded) { r.Action = policy.StepUp }))
	for _, p := range asked.People() {
		if want := map[string]int64{"other@x.test": 1}[p.User]; p.InVain != want {
			t.Errorf("%+v, want %d", p, want)
		}
	}
}

// What changes is counted by what becomes of it, by person and by rule; a record that
// stands for many counts for many.
func TestReplayCounts(t *testing.T) {
	r := New(compile(t, "  - {name: vpn, when: ip.vpn, then: block}\n  - {name: kp, when: 'ip.country == \"KP\"', then: step_up}\n"), nil)
	kp := func(r *Recorded) { r.Facts.IP.Country = "KP" }
	for _, rec := range []*Recorded{
		recorded(1, "a@x.test"), recorded(2, "a@x.test", overVPN, times(7)), recorded(3, "b@x.test", kp),
		recorded(4, "b@x.test", was(policy.Block, "old-rule")), recorded(5, "c@x.test", overVPN, was(policy.Block, "old-rule")),
	} {
		r.Add(rec)
	}
	if want := (Counts{Blocked: 7, SteppedUp: 1, Allowed: 1}); r.Counts != want || r.Judged != 11 || r.Records != 5 {
		t.Errorf("%+v judged %d of %d", r.Counts, r.Judged, r.Records)
	}
	if want := (ByAction{8, 1, 2}); r.After != want {
		t.Errorf("after: %v", r.After)
	}
	if want := []RuleCounts{{"vpn", 1, 0, Counts{Blocked: 7}, 0}, {"kp", 1, 1, Counts{SteppedUp: 1}, 0}, {"old-rule", 1, 0, Counts{Allowed: 1}, 0}}; !reflect.DeepEqual(r.ByRule(), want) {
		t.Errorf("%+v", r.ByRule())
	}
	people := r.People()
	if len(people) != 3 || people[0].User != "a@x.test" || people[0].Judged != 8 || people[0].Blocked != 7 || !slices.Equal(people[0].Rules, []string{"vpn"}) || people[2].Changed() != 0 {
		t.Errorf("%+v", people)
	}
	if d := r.Days["2026-03-02"]; d == nil || d.Before != (ByAction{2, 0, 9}) || d.After != r.After {
		t.Errorf("%+v", d)
	}
	if e := r.Examples(); len(e) != 3 || e[2].Rule != "vpn" || e[2].Seq != 2 || e[2].Why.Decision.Action != policy.Block || e[1].Was != policy.Block {
		t.Errorf("%+v", e)
	}
	js, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(js), `"before":{"allow":9,"step_up":0,"block":2}`) {
		t.Error(string(js), err)
	}
}

// People come first: a rule is credited with the requests that it alone changes, with all people who would notice
// it, and with each week of theirs in which they would be asked. Shares of the work add up to the same.
func TestRulesAreCreditedForWhatTheyAloneDo(t *testing.T) {
	candidate := compile(t, "  - {name: vpn, when: ip.vpn, then: step_up, max_age: 1m}\n  - {name: kp, when: 'ip.country == \"KP\"', then: step_up, max_age: 1m}\n")
	kp := func(r *Recorded) { r.Facts.IP.Country = "KP" }
	in := func(days int) func(*Recorded) {
		return func(r *Recorded) { r.Facts.Time.Now = noon.AddDate(0, 0, days) }
	}
	records := []*Recorded{
		recorded(1, "a@x.test", overVPN), recorded(2, "a@x.test", overVPN, times(1500), in(6)), recorded(3, "a@x.test", overVPN, in(7)), // Monday to Sunday is a week
		recorded(4, "a@x.test", overVPN, kp, times(5)), recorded(5, "b@x.test", overVPN, kp), recorded(6, "", overVPN), recorded(7, "c@x.test"),
	}
	whole, parts := New(candidate, nil), []*Replay{New(candidate, nil), New(candidate, nil)}
	for i, rec := range records {
		whole.Add(rec)
		parts[i%2].Add(rec)
	}
	parts[0].Merge(parts[1])
	for _, r := range []*Replay{whole, parts[0]} {
		want := []RuleCounts{{"vpn", 2, 3, Counts{SteppedUp: 1503}, 6}, {"kp", 2, 2, Counts{}, 6}}
		if got := r.ByRule(); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		if got := r.PeopleCounts(); got != (Counts{SteppedUp: 2}) {
			t.Errorf("%+v", got)
		}
		if got := r.Prompts(); got != (Prompts{PersonWeeks: 3, Most: 1506}) {
			t.Errorf("%+v", got)
		}
		if names, more := r.PeopleOf("vpn", 1); !slices.Equal(names, []string{"a@x.test"}) || more != 1 {
			t.Error(names, more)
		}
		for _, want := range []string{"1,503", "newly asked in 3 person-weeks (one person in one week each), for at most 1,506 requests in one\n"} {
			if !strings.Contains(r.Text(), want) {
				t.Errorf("no %q in\n%s", want, r.Text())
			}
		}
	}
	table := Compare([]string{"one.yaml", "two.yaml"}, []*Replay{whole, New(candidate, nil)})
	if lines := strings.Split(table, "\n"); len(lines) != 4 || !strings.Contains(lines[1], "1,509") || !strings.HasPrefix(lines[2], "two.yaml") {
		t.Error(table)
	}
}

// With a present policy, what it blocks already is no news, regardless of what was recorded.
func TestReplayComparesWithThePresentPolicy(t *testing.T) {
	vpn := "  - {name: vpn, when: ip.vpn, then: block}\n"
	r := New(compile(t, vpn+"  - {name: us, when: 'ip.country == \"US\"', then: block}\n"), compile(t, vpn))
	r.Add(recorded(1, "a@x.test", overVPN))
	r.Add(recorded(2, "b@x.test"))
	if r.Counts != (Counts{Blocked: 1}) || r.People()[0].User != "b@x.test" {
		t.Errorf("%+v", r.People())
	}
}

// A fact that a record lacks is not guessed: where it decides the record is open, where
// it does not the record counts, and the rule and the fact are named either way.
func TestLackingFactsAreNotGuessed(t *testing.T) {
	r := New(compile(t, "  - {name: many, when: seen.countries_24h > 3, then: block}\n  - {name: few, when: seen.countries_24h < 3, then: block}\n  - {name: vpn, when: ip.vpn, then: block}\n"), nil)
	old := func(r *Recorded) { r.Lacking = []string{"seen.countries_24h"} }
	r.Add(recorded(1, "a@x.test", old))
	r.Add(recorded(2, "a@x.test", old, overVPN, times(3)))
	r.Add(recorded(3, "a@x.test", func(r *Recorded) { r.Facts.Seen.Countries24h = 3 }))
	if r.Open != 1 || r.Judged != 4 || r.Counts != (Counts{Blocked: 3}) {
		t.Errorf("open %d judged %d %+v", r.Open, r.Judged, r.Counts)
	}
	if r.Unjudged["many"] != 4 || r.Unjudged["few"] != 4 || r.Unjudged["vpn"] != 0 || r.Lacking["seen.countries_24h"] != 4 {
		t.Errorf("%v %v", r.Unjudged, r.Lacking)
	}
}

// A log that names ever more rules is judged before it is known to be forged: they are told apart up to a bound.
func TestRulesOfALogAreBounded(t *testing.T) {
	r := New(compile(t, "  - {name: vpn, when: ip.vpn, then: block}\n"), nil)
	const each = 500
	for i := range maxRules/each + 2 {
		var rules []string
		for n := range each {
			rules = append(rules, fmt.Sprint("r", i, "-", n))
		}
		r.Add(recorded(int64(i), "a@x.test", was(policy.Block, rules...)))
	}
	if n := len(r.Rules); n != maxRules+1 || r.Rules[otherRules].Also != 2*each {
		t.Errorf("%d rules, %+v", n, r.Rules[otherRules])
	}
}

// Shared work counts like work done in one place.
func TestMergedReplaysAreOneReplay(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	p := compile(t, "  - {name: vpn, when: ip.vpn, then: block}\n  - {name: late, when: session.verified_age > duration(\"2h\"), then: step_up}\n  - {name: many, when: seen.countries_24h > 3, then: block}\n")
	whole, parts := New(p, nil), []*Replay{New(p, nil), New(p, nil), New(p, nil)}
	for i := range 500 {
		rec := recorded(int64(i), fmt.Sprintf("p%d@x.test", rnd.IntN(5)), times(int64(rnd.IntN(4))), func(r *Recorded) {
			r.Time = noon.AddDate(0, 0, -rnd.IntN(5))
			r.Facts.IP.VPN, r.Facts.Session.VerifiedAge = rnd.IntN(3) == 0, time.Duration(rnd.IntN(4))*time.Hour
			if rnd.IntN(4) == 0 {
				r.Lacking = []string{"seen.countries_24h"}
			}
		})
		whole.Add(rec)
		parts[rnd.IntN(3)].Add(rec)
	}
	parts[0].Merge(parts[1])
	parts[0].Merge(parts[2])
	text := func(r *Replay) string {
		js, err := json.Marshal(map[string]any{"r": r, "people": r.People(), "rules": r.ByRule(), "examples": r.Examples()})
		if err != nil {
			t.Fatal(err)
		}
		return string(js)
	}
	if a, b := text(whole), text(parts[0]); a != b {
		t.Errorf("whole %s\nparts %s", a, b)
	}
}

// What an old record does not have is lacking if it came later, and zero if not.
func TestLacking(t *testing.T) {
	names := compile(t, "  - {name: a, when: ip.vpn, then: block}\n").FactNames()
	long := strings.Repeat("x", 10) + "…"
	for _, c := range []struct {
		name, raw string
		version   int
		lacks     []string // some of what it lacks
		has       []string
	}{
		{"now", `{"ip":{"address":"192.0.2.1"}}`, policy.FactsVersion, nil, []string{"ip.vpn", "seen.known", "tls.ja4"}},
		{"from before versions", `{"ip":{"address":"192.0.2.1"}}`, 0, []string{"seen.known", "user.started_days", "tls.ja4", "session.ua_changed"}, []string{"ip.vpn", "session.age", "tls.client_cert"}},
		{"old, and there all the same", `{"ip":{},"seen":{"known":true}}`, 1, []string{"seen.new_asn"}, []string{"seen.known"}},
		{"a region follows from its subdivisions", `{"ip":{"subdivisions":["US-CA"]}}`, 3, []string{"ip.provider", "user.region"}, []string{"ip.region"}},
		{"and so does that there is none", `{"ip":{}}`, 3, []string{"user.region"}, []string{"ip.region"}},
		{"but not from such as were cut short", `{"ip":{"subdivisions":["…"]}}`, 3, []string{"ip.region", "ip.subdivisions"}, nil},
		{"cut short", `{"request":{"path":"` + long + `","method":"GET"},"user":{"groups":["a","…"]}}`, policy.FactsVersion, []string{"request.path", "user.groups"}, []string{"request.method", "seen.known"}},
	} {
		lacking, err := Lacking([]byte(c.raw), c.version, names)
		if err != nil {
			t.Fatal(c.name, err)
		}
		if len(lacking) > 0 != MayLack([]byte(c.raw), c.version) {
			t.Errorf("%s: may lack %v", c.name, MayLack([]byte(c.raw), c.version))
		}
		for _, fact := range c.lacks {
			if !slices.Contains(lacking, fact) {
				t.Errorf("%s: %s is not lacking", c.name, fact)
			}
		}
		for _, fact := range c.has {
			if slices.Contains(lacking, fact) {
				t.Errorf("%s: %s is lacking", c.name, fact)
			}
		}
	}
	if _, err := Lacking([]byte(`{"ip":5}`), 2, names); err == nil {
		t.Error("facts of another shape were read")
	}
}

// BenchmarkReplay judges decisions as they occur: 2,000 people in three places each,
// with ages and paths that differ each time, under 20 rules of the usual kinds. What it
// takes to read them from a log is measured in cmd/sallyport.
//
//	go test ./policy/rehearse -run '^$' -bench . -benchmem
func BenchmarkReplay(b *testing.B) {
	conditions := []string{
		`ip.country == "KP"`, `ip.vpn || ip.proxy || ip.tor`, `ip.country != "ZZ" && size(user.countries) > 0 && !(ip.country in user.countries)`,
		`ip.within("203.0.113.0/24")`, `"contractors" in user.groups && ip.hosting`, `ip.asn in [64500, 64501]`, `credential.class == "synced"`,
		`user.email.endsWith("@partner.example")`, `request.method == "POST" && request.path.startsWith("/admin")`, `seen.countries_24h > 3`,
	}
	var rules strings.Builder
	for i := range 20 {
		fmt.Fprintf(&rules, "  - {name: r%d, when: '%s', then: %s}\n", i, conditions[i%len(conditions)], []string{"block", "step_up"}[i/10])
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	list := make([]*Recorded, 20_000)
	for i := range list {
		person, place := rnd.IntN(2000), rnd.IntN(3)
		list[i] = recorded(int64(i), fmt.Sprintf("p%d@x.test", person), func(r *Recorded) {
			r.Facts.IP.Addr = netip.AddrFrom4([4]byte{byte(20 + place), byte(person >> 8), byte(person), 7})
			r.Facts.IP.Address, r.Facts.IP.ASN, r.Facts.User.Groups, r.Facts.User.Countries = r.Facts.IP.Addr.String(), int64(person%50), []string{"staff", "ops"}, []string{"US", "SE"}
			r.Facts.Session.VerifiedAge, r.Facts.Request.Path, r.Facts.Time.Now = time.Duration(rnd.IntN(3600))*time.Second, fmt.Sprint("/page/", i), noon.Add(time.Duration(i)*time.Second)
			r.Time = r.Facts.Time.Now
		})
	}
	r, i := New(compile(b, rules.String()), nil), 0
	b.ReportAllocs()
	for b.Loop() {
		r.Add(list[i%len(list)])
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
}
