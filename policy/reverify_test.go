package policy

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

const reverifyPolicy = `
rules:
  - {name: again, when: 'request.route == "vault"', then: step_up, every: 4h, jitter: 2h}
  - {name: at-work, when: 'request.route == "desk"', then: step_up, every: 4h, hours: "09:00-18:00"}
  - {name: at-night, when: 'request.route == "mine"', then: step_up, every: 1h, hours: "22:00-06:00"}
  - {name: bound, when: 'request.route == "signer"', then: step_up, every: 4h, jitter: 1h, require: [device_bound]}
`

// since returns a person whose last assertion was made then, and is as old as that now.
func since(at time.Time, age time.Duration, more ...func(*Facts)) *Facts {
	f := facts(more...)
	f.Time.Now, f.Session.VerifiedAge = at.Add(age), age
	return f
}

// Due times lie between the bounds, spread evenly, and differ between sessions, rules, assertions and policies.
func TestPropertyAgainIsDrawnEvenly(t *testing.T) {
	p := mustCompile(t, reverifyPolicy)
	r := &p.rules[0]
	const n = 20_000
	sum, buckets := 0.0, [8]int{}
	for i := range n {
		f := since(OrdinaryTime.Add(time.Duration(i/4)*time.Second), time.Minute, func(f *Facts) { f.Session.ID = fmt.Sprint("s", i%4) })
		due := p.drawn(r, f)
		if due < 2*time.Hour || due > 6*time.Hour {
			t.Fatalf("due after %s", due)
		}
		sum += due.Hours()
		buckets[min(7, int((due-2*time.Hour)/(30*time.Minute)))]++
	}
	// The standard deviation of a mean of n is 4h/sqrt(12 n), half a minute; the draws are fixed, so this cannot flicker.
	if mean := sum / n; math.Abs(mean-4) > 0.035 {
		t.Errorf("the mean is %.3f h", mean)
	}
	for i, got := range buckets {
		if math.Abs(float64(got)-n/8) > 0.08*n/8 {
			t.Errorf("%d of %d in the half hour %d: %v", got, n, i, buckets)
		}
	}
	same := since(OrdinaryTime, time.Minute)
	other, q := *same, mustCompile(t, reverifyPolicy+"# another\n")
	other.Session.ID = "other"
	later := since(OrdinaryTime.Add(time.Second), time.Minute)
	for name, got := range map[string]time.Duration{"session": p.drawn(r, &other), "assertion": p.drawn(r, later), "policy": q.drawn(&q.rules[0], same), "rule": p.drawn(&p.rules[3], same)} {
		if got == p.drawn(r, same) {
			t.Errorf("another %s draws the same", name)
		}
	}
}

// Once due, always due until there is a new assertion; and never before the earliest, always after the latest.
func TestPropertyAgainIsMonotone(t *testing.T) {
	p := mustCompile(t, reverifyPolicy)
	for i := range 200 {
		at := OrdinaryTime.Add(time.Duration(i) * 17 * time.Minute)
		due := time.Duration(0)
		for age := time.Duration(0); age < 8*time.Hour; age += 7 * time.Minute {
			asked := p.Decide(since(at, age, route("vault"))).Action == StepUp
			switch {
			case asked && age < 2*time.Hour, !asked && age > 6*time.Hour:
				t.Fatalf("asked: %v at the age of %s", asked, age)
			case asked && due == 0:
				due = age
			case !asked && due > 0:
				t.Fatalf("due at %s, and no more at %s", due, age)
			}
		}
		if d := p.Decide(since(at.Add(8*time.Hour), 0, route("vault"))); d.Action != Allow {
			t.Fatalf("a new assertion is no answer: %+v", d)
		}
	}
}

// Outside of its hours a rule asks nothing of any age, so that an assertion that answers nothing is not
// asked about either. What the rule asks for at once still is.
func TestUnansweredPauses(t *testing.T) {
	p := mustCompile(t, `
rules:
  - {name: at-work, when: 'request.route == "desk"', then: step_up, every: 4h, hours: "09:00-18:00"}
  - {name: network, when: ip.vpn, then: step_up, every: 4h, hours: "09:00-18:00"}
  - {name: bound, when: 'request.route == "signer"', then: step_up, every: 4h, hours: "09:00-18:00", require: [device_bound]}
`).Unanswered()
	noon, night := OrdinaryTime, OrdinaryTime.Add(9*time.Hour)
	in := func(zone string, more ...func(*Facts)) func(*Facts) {
		return func(f *Facts) {
			f.User.TimeZone, f.Session.VerifiedHere = zone, true
			for _, m := range more {
				m(f)
			}
		}
	}
	elsewhere := func(f *Facts) { f.Session.VerifiedHere = false }
	synced := func(f *Facts) { f.Credential.Class, f.Credential.BackupEligible = "synced", true }
	for name, c := range map[string]struct {
		now  time.Time
		with func(*Facts)
		want Action
	}{
		"in the hours":                     {noon, in("UTC", route("desk")), StepUp},
		"outside":                          {night, in("UTC", route("desk")), Allow},
		"no zone":                          {night, in("", route("desk")), StepUp},
		"no such zone":                     {night, in("Nowhere", route("desk")), StepUp},
		"outside, proven here":             {night, in("UTC", vpn), Allow},
		"outside, proven elsewhere":        {night, in("UTC", vpn, elsewhere), StepUp},
		"outside, the passkey it requires": {night, in("UTC", route("signer")), Allow},
		"outside, another passkey":         {night, in("UTC", route("signer"), synced), StepUp},
	} {
		f := since(c.now.Add(-time.Hour), time.Hour, c.with)
		if d := p.Decide(f); d.Action != c.want {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// The clock is read once a computation, and what it says below a second does not draw anew.
func TestAgainDoesNotWobble(t *testing.T) {
	p := mustCompile(t, reverifyPolicy)
	r := &p.rules[0]
	want := p.drawn(r, since(OrdinaryTime, time.Hour))
	for _, age := range []time.Duration{time.Hour + 1, 3 * time.Hour, 5*time.Hour + 999*time.Millisecond} {
		for _, off := range []time.Duration{-400 * time.Millisecond, 0, time.Nanosecond, 499 * time.Millisecond} {
			f := since(OrdinaryTime, age)
			f.Time.Now = f.Time.Now.Add(off)
			if got := p.drawn(r, f); got != want {
				t.Errorf("%s later, off by %s: due after %s, not %s", age, off, got, want)
			}
		}
	}
}

func TestAgainHours(t *testing.T) {
	p := mustCompile(t, reverifyPolicy)
	zone := func(z string) func(*Facts) { return func(f *Facts) { f.User.TimeZone = z } }
	noon := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, zone, route string
		now               time.Time
		age               time.Duration
		want              Action
	}{
		{"at work", "UTC", "desk", noon, 5 * time.Hour, StepUp},
		{"at work, not yet", "UTC", "desk", noon, 3 * time.Hour, Allow},
		{"in the evening", "UTC", "desk", noon.Add(6 * time.Hour), 9 * time.Hour, Allow},
		{"a minute before", "UTC", "desk", noon.Add(6*time.Hour - time.Minute), 9 * time.Hour, StepUp},
		{"the next morning it is still due", "UTC", "desk", noon.Add(21 * time.Hour), 24 * time.Hour, StepUp},
		{"where it is night", "America/Los_Angeles", "desk", noon, 5 * time.Hour, Allow},
		{"nobody knows where", "", "desk", noon.Add(9 * time.Hour), 5 * time.Hour, StepUp},
		{"a zone that is none", "Mars/Olympus", "desk", noon.Add(9 * time.Hour), 5 * time.Hour, StepUp},
		{"past midnight", "UTC", "mine", noon.Add(17 * time.Hour), 2 * time.Hour, StepUp},
		{"before midnight", "UTC", "mine", noon.Add(10 * time.Hour), 2 * time.Hour, StepUp},
		{"by day", "UTC", "mine", noon, 2 * time.Hour, Allow},
		{"another key is asked for at any age", "UTC", "signer", noon, time.Minute, Allow},
	} {
		if d := p.Decide(since(tt.now.Add(-tt.age), tt.age, route(tt.route), zone(tt.zone))); d.Action != tt.want {
			t.Errorf("%s: %+v", tt.name, d)
		}
	}
	if d := p.Decide(since(noon, time.Minute, route("signer"), synced)); d.Action != StepUp {
		t.Errorf("a synced key: %+v", d)
	}
	// What is asked for is what everyone who is asked exceeds: it says nothing of the draw.
	if d := p.Decide(since(noon, 9*time.Hour, route("vault"))); d.MaxAge != 2*time.Hour {
		t.Errorf("max age %s", d.MaxAge)
	}
}

// A first passkey can be enrolled, a judgement that reads the clock says so, and an explanation says when.
func TestAgainAround(t *testing.T) {
	p := mustCompile(t, "rules: [{name: a, when: 'true', then: step_up, every: 4h, jitter: 2h, hours: \"09:00-18:00\"}]")
	if d := p.Decide(facts(signedIn, purposed(PurposeEnroll))); d.Action != Allow {
		t.Errorf("enrolling: %+v", d)
	}
	if !p.Partial(facts()).ClockBound() {
		t.Error("it is not bound to the clock")
	}
	if got := strings.Join(p.Rules()[0].Reads.Facts, " "); got != "user.time_zone session.id session.verified_age time.now" {
		t.Errorf("reads %s", got)
	}
	e := p.Explain(since(OrdinaryTime, time.Hour, func(f *Facts) { f.User.TimeZone = "Asia/Tokyo" }))
	text := e.Text()
	if due := e.Rules[0].Due; due.Before(OrdinaryTime.Add(2*time.Hour)) || due.After(OrdinaryTime.Add(6*time.Hour)) ||
		!strings.Contains(text, "step_up every 4h0m0s +-2h0m0s, 09:00-18:00") || !strings.Contains(text, "; the next is due "+due.UTC().Format(time.RFC3339)+", in ") ||
		!strings.Contains(text, "not asked for outside of 09:00-18:00 in Asia/Tokyo") {
		t.Error(text)
	}
}

func TestAgainMistakes(t *testing.T) {
	for rule, message := range map[string]string{
		"then: block, every: 4h":                                 "every belongs to then: step_up",
		"then: step_up, jitter: 2h":                              "jitter belongs to every",
		"then: step_up, hours: '09:00-18:00'":                    "hours belongs to every",
		"then: step_up, every: 4h, max_age: 1h":                  "either max_age or every",
		"then: step_up, every: 4h, jitter: 4h":                   "jitter has to be less",
		"then: step_up, every: 4h, jitter: -1h":                  "jitter has to be less",
		"then: step_up, every: 0s":                               "no assertion can be as fresh",
		"then: step_up, every: 2000000h":                         "longer than any session",
		"then: step_up, every: 4h, hours: '9-18'":                `hours cannot be "9-18"`,
		"then: step_up, every: 4h, hours: '09:00-24:00'":         "hours cannot be",
		"then: step_up, every: 4h, hours: '09:00-09:00'":         "hours cannot be",
		"then: step_up, enforce: {percent: 101}":                 "percent cannot be 101",
		"then: step_up, enforce: {}":                             "does not name people",
		"then: step_up, enforce: 10%":                            "has to be a mapping",
		"then: step_up, enforce: {groups: []}":                   "there is no group",
		"then: step_up, enforce: {percent: 10}, mode: report":    "either mode or enforce",
		"then: step_up, enforce: {percent: 10, group: [a]}":      `no key "group"`,
		"then: step_up, every: 4h, jitter: 2h, hours: [1]":       "hours has to be one span",
		"then: step_up, every: 4h, jitter: soon":                 "jitter has to be a duration",
		"then: step_up, enforce: {percent: 5, groups: [[a, b]]}": "has to be text",
	} {
		if d := diagnose(t, "version: 1\nrules:\n  - {name: a, when: ip.vpn, "+rule+"}\n"); !strings.Contains(d.Error(), message) || d[0].Line != 3 {
			t.Errorf("%s: %v", rule, d)
		}
	}
}
