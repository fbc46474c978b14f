package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/policy"
	"sallyport/policy/changes"
	"sallyport/proxy/audit"
)

// ruled is a policy with one further rule.
func ruled(when, then string) string {
	return strings.Replace(first, "rules:\n", fmt.Sprintf("rules:\n  - {name: dated, when: '%s', then: %s}\n", when, then), 1)
}

func stamp(at time.Time) string { return `timestamp("` + at.UTC().Format(time.RFC3339) + `")` }

// What begins or ends by itself at a date is judged by the sessions and by the records, before
// it comes into force, and the refusal names the date.
func TestGuardSeesWhatBeginsLater(t *testing.T) {
	for name, c := range map[string]struct {
		was, is func(now time.Time) string
		guard   Guard
		refused string // "": it comes into force
		shows   string
	}{
		"blocks from a date on": {nil, func(now time.Time) string {
			return ruled(`"staff" in user.groups && time.now > `+stamp(now.Add(30*24*time.Hour)), "block")
		}, Guard{MaxNewlyBlocked: 0.2, MaxNewlyAllowed: 1}, "from 2000-01-31 00:00:00 UTC on, it would newly block 1 of 1", "From 2000-01-31 00:00:00 UTC on, by itself:\nNewly blocked, now or for something they did: 1\n  alice@example.com  dated"},
		"blocks the working hours of a date": {nil, func(now time.Time) string {
			return ruled(`time.hour("UTC") == 9 && time.now > `+stamp(now.Add(30*24*time.Hour)), "block")
		}, Guard{MaxNewlyBlocked: 0.2, MaxNewlyAllowed: 1}, "from 2000-01-31", "alice@example.com  dated"},
		"blocks an hour of one day": {nil, func(now time.Time) string {
			return ruled(`time.now > `+stamp(now.Add(30*24*time.Hour))+` && time.now < `+stamp(now.Add(30*24*time.Hour+time.Hour)), "block")
		}, Guard{MaxNewlyBlocked: 0.2, MaxNewlyAllowed: 1}, "from 2000-01-31", "alice@example.com  dated"},
		"has begun, after what was recorded": {nil, func(now time.Time) string {
			return ruled(`request.path == "/old" && time.now > `+stamp(now.Add(-time.Hour)), "block")
		}, Guard{MaxNewlyBlocked: 0.2, MaxNewlyAllowed: 1}, "from 2000-01-01 00:00:00 UTC on", "alice@example.com  dated"},
		"ends at a date": {func(time.Time) string { return ruled(`"staff" in user.groups`, "block") }, func(now time.Time) string {
			return ruled(`"staff" in user.groups && time.now < `+stamp(now.Add(30*24*time.Hour)), "block")
		}, Guard{MaxNewlyBlocked: 1, MaxNewlyAllowed: 0.2}, "from 2000-01-31 00:00:00 UTC on, it would newly allow, or ask less of, 1 of 1", "alice@example.com  dated  (allowed)"},
		"takes away what covers a rule that ends": {func(now time.Time) string {
			return strings.Replace(ruled(`"staff" in user.groups && time.now < `+stamp(now.Add(30*24*time.Hour)), "block"), "rules:\n", "rules:\n  - {name: too, when: '\"staff\" in user.groups', then: block}\n", 1)
		}, func(now time.Time) string {
			return ruled(`"staff" in user.groups && time.now < `+stamp(now.Add(30*24*time.Hour)), "block")
		}, Guard{MaxNewlyBlocked: 1, MaxNewlyAllowed: 0.2}, "from 2000-01-31", ""},
		"below the thresholds": {nil, func(now time.Time) string {
			return ruled(`"staff" in user.groups && time.now > `+stamp(now.Add(30*24*time.Hour)), "block")
		}, Guard{MaxNewlyBlocked: 1, MaxNewlyAllowed: 1}, "", "From 2000-01-31 00:00:00 UTC on, by itself:\n"},
		"reports only": {nil, func(now time.Time) string {
			return ruled(`"staff" in user.groups && time.now > `+stamp(now.Add(30*24*time.Hour)), "block, mode: report")
		}, Guard{MaxNewlyBlocked: 0.2, MaxNewlyAllowed: 1}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, now := newBench(t), time.Now()
				b.live = []*policy.Facts{alice()}
				if c.was != nil {
					if _, err := b.Apply(t.Context(), WithPolicy([]byte(c.was(now))), Origin{Kind: "command", Force: true}); err != nil {
						t.Fatal(err)
					}
				}
				b.now.Guard = c.guard
				b.now.Guard.Days = 7
				old := alice()
				old.Request.Path, old.Time.Now = "/old", now.Add(-15*time.Hour) // nine o'clock of the day before
				writeRecords(t, b.config.AuditFile, audit.Record{Time: old.Time.Now, Event: "access", User: "alice@example.com", Action: "allow", Facts: old, FactsVersion: policy.FactsVersion})
				report, err := b.Apply(t.Context(), WithPolicy([]byte(c.is(now))), Origin{Kind: "command"})
				if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
					t.Errorf("%v", err)
				}
				if text := report.Text(); !strings.Contains(text, c.shows) {
					t.Error(text)
				}
				if c.refused != "" && !strings.Contains(err.Error(), "alice@example.com") {
					t.Errorf("no one is named: %v", err)
				}
			})
		})
	}
}

// Of more dates than are judged it says which one is the first that was not.
func TestGuardSaysWhatItDidNotJudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.live = []*policy.Facts{alice()}
		var parts []string
		for i := range laterDates + 3 {
			parts = append(parts, "time.now > "+stamp(time.Now().Add(time.Duration(i+1)*24*time.Hour)))
		}
		report, err := b.Apply(t.Context(), WithPolicy([]byte(ruled("ip.private && ("+strings.Join(parts, " || ")+")", "block"))), Origin{Kind: "command"})
		if err != nil || !strings.Contains(report.Text(), "Not judged: after 2000-01-10 00:00:00 UTC") {
			t.Errorf("%v\n%s", err, report.Text())
		}
	})
}

// A rule that opens by itself must not pass because the guard cannot read when, because other
// dates are before it, or because it opens at hours at which nothing is judged.
func TestAttackRuleThatOpensLater(t *testing.T) {
	const staff = `"staff" in user.groups`
	at := func(d time.Duration) string { return stamp(time.Now().Add(d)) } // from 2000-01-01 on
	day := 24 * time.Hour
	decoys := func() (rules string) {
		for i := range laterDates {
			rules += fmt.Sprintf("  - {name: d%d, when: 'ip.private && time.now > %s', then: block}\n", i, at(time.Duration(i+1)*time.Hour))
		}
		return rules
	}
	for name, c := range map[string]struct {
		unless  string
		shared  string // rules that the policy in force has
		own     func() string
		refused string
		from    string // not_judged_from of the record
	}{
		"a day made of its parts":     {`timestamp("2000-" + "02-01T00:00:00Z") < time.now`, "", nil, "it is not known when the rule dated changes by itself", ""},
		"days since 1970":             {`int(time.now) / 86400 > 10990`, "", nil, "it is not known when", ""},
		"the beginning of a text":     {`string(time.now).startsWith("2000-02")`, "", nil, "it is not known when", ""},
		"durations that are added up": {`time.now > ` + "AT(1)" + ` + duration("200h") + duration("200h")`, "", nil, "from 2000-01-18", ""},
		"hours of a part of a day":    {`time.now > AT(9) && time.now < AT(9) + duration("20h") && time.hour("UTC") >= 9`, "", nil, "from 2000-01-10", ""},
		"behind dates of others":      {staff, "  - {name: cover, when: '" + staff + " && time.now < AT(20)', then: block}\n", decoys, "", "2000-01-21T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, now := newBench(t), time.Now()
				b.live = []*policy.Facts{alice()}
				dates := strings.NewReplacer("AT(1)", at(day), "AT(9)", at(9*day), "AT(20)", at(20*day))
				head, rest, _ := strings.Cut(first, "rules:\n")
				rule := func(unless string) string {
					return "  - {name: dated, when: '" + staff + "', " + unless + "then: block}\n"
				}
				was := head + "rules:\n" + dates.Replace(c.shared) + rule("") + rest
				b.now.Guard = Guard{MaxNewlyBlocked: 1, MaxNewlyAllowed: 0.2, Days: 7}
				old := alice()
				old.Time.Now = now.Add(-15 * time.Hour) // nine o'clock of the day before
				writeRecords(t, b.config.AuditFile, audit.Record{Time: old.Time.Now, Event: "access", User: "alice@example.com", Action: "block", Facts: old, FactsVersion: policy.FactsVersion})
				if _, err := b.Apply(t.Context(), WithPolicy([]byte(was)), Origin{Kind: "command", Force: true}); err != nil {
					t.Fatal(err)
				}
				own := ""
				if c.own != nil {
					own = c.own()
				}
				is := head + "rules:\n" + dates.Replace(c.shared) + own + rule(dates.Replace("unless: '"+c.unless+"', ")) + rest
				report, err := b.Apply(t.Context(), WithPolicy([]byte(is)), Origin{Kind: "command"})
				if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("%v\n%s", err, report.Text())
				}
				if _, err := b.Apply(t.Context(), WithPolicy([]byte(is)), Origin{Kind: "command", Force: true}); err != nil {
					t.Fatal(err)
				}
				last := b.records[len(b.records)-1]
				if last.Detail["not_judged_from"] != c.from || c.refused != "" && !strings.Contains(last.Detail["against"], c.refused) {
					t.Errorf("%+v", last)
				}
			})
		})
	}
}

// What had no say in anything that was judged is in the record, too.
func TestRecordNamesWhatWasNotJudged(t *testing.T) {
	b := newBench(t)
	if _, err := b.Apply(t.Context(), WithPolicy([]byte(second)), Origin{Kind: "file"}); err != nil || b.records[0].Detail["not_judged"] != "pay" {
		t.Errorf("%v %+v", err, b.records)
	}
}

// A clock moves records behind a date, and not past the next one.
func TestClockBehindADate(t *testing.T) {
	at := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for _, room := range []time.Duration{time.Minute, 20 * time.Hour, 36 * time.Hour, 3 * 24 * time.Hour, 300 * 24 * time.Hour} {
		clock, days := clockBehind(at, at.Add(room)), map[int]bool{}
		for i := range 400 {
			was := at.Add(time.Duration(i-200) * 5 * time.Hour)
			is := clock(was)
			days[is.YearDay()] = true
			if !is.After(at) || !is.Before(at.Add(room)) {
				t.Errorf("%s: %s became %s", room, was, is)
			}
			if room > 24*time.Hour && is.Sub(was)%(24*time.Hour) != 0 || room > 7*24*time.Hour && is.Weekday() != was.Weekday() {
				t.Errorf("%s: %s became %s", room, was, is)
			}
			if room == 20*time.Hour && was.Hour() > 0 && was.Hour() < 19 && is.Hour() != was.Hour() {
				t.Errorf("%s: %s became %s", room, was, is)
			}
		}
		if want := int(min((room+24*time.Hour-1)/(24*time.Hour), 7)); len(days) < want {
			t.Errorf("%s: of %d days, %d are judged", room, want, len(days))
		}
	}
}

// Of a rule that became stricter it is known that no one is let in by that.
func TestStricterRulesNeedNoCase(t *testing.T) {
	const rule = "version: 1\nrules:\n  - {name: a, %s}\n..."
	for change, want := range map[[2]string]bool{
		{"when: ip.vpn, then: step_up", "when: ip.vpn, then: block"}:                                            true,
		{"when: ip.vpn, then: block", "when: ip.vpn, then: step_up"}:                                            false,
		{"when: ip.vpn, then: block", "when: ip.vpn || ip.tor, then: block"}:                                    true,
		{"when: ip.vpn, then: block", `when: "ip.vpn || ip.tor ? ip.relay : ip.proxy", then: block`}:            false,
		{"when: ip.vpn, then: block", "when: ip.vpn && ip.tor, then: block"}:                                    false,
		{"when: ip.vpn, unless: ip.relay, then: block", "when: ip.vpn, then: block"}:                            true,
		{"when: ip.vpn, then: block", "when: ip.vpn, unless: ip.relay, then: block"}:                            false,
		{"when: ip.vpn, then: step_up, max_age: 5m", "when: ip.vpn, then: step_up, max_age: 1m"}:                true,
		{"when: ip.vpn, then: step_up, max_age: 5m", "when: ip.vpn, then: step_up, max_age: 1h"}:                false,
		{"when: ip.vpn, then: step_up, max_age: 5m", "when: ip.tor, then: step_up, max_age: 1m"}:                false,
		{"when: ip.vpn, then: block", "when: ip.vpn, then: block, mode: report"}:                                false,
		{"when: ip.vpn, score: 10", "when: ip.vpn, score: 20"}:                                                  true,
		{"when: ip.vpn, then: step_up", "when: ip.vpn, then: step_up, require: [attested], reason: a new kind"}: true,
	} {
		list, err := changes.Between(fmt.Appendf(nil, rule, change[0]), fmt.Appendf(nil, rule, change[1]))
		if err != nil || len(list) != 1 || tightens(list[0]) != want {
			t.Errorf("%q: %v, %+v", change, err, list)
		}
	}
	gone, err := changes.Between(fmt.Appendf(nil, rule, "when: ip.vpn, then: block"), []byte("version: 1\nrules: []\n..."))
	if err != nil || slices.ContainsFunc(gone, tightens) {
		t.Errorf("%v, %+v", err, gone)
	}
}

// What makes a rule hold for fewer, and could not be judged, is named, whichever way it is done.
func TestAttackRuleThatLoosensUnseen(t *testing.T) {
	const was = "version: 1\nlists: {gone: [a.example, b.example], office: [192.0.2.0/24], home: [home.example]}\nthresholds: {step_up: 50}\nrules:\n" +
		"  - {name: abroad, when: request.host in lists.gone, then: block}\n" +
		"  - {name: socket, when: request.websocket, unless: ip.within(lists.office), then: block}\n" +
		"  - {name: away, when: '!(request.host in lists.home) && request.host == \"d.example\"', then: block}\n" +
		"  - {name: scored, when: 'request.method == \"PUT\"', score: 50}\n" + mark
	for change, want := range map[[2]string][]string{
		{"[a.example, b.example]", "[a.example]"}:                       {"abroad"},
		{"[a.example, b.example]", "[a.example, b.example, c.example]"}: nil,
		{"[192.0.2.0/24]", "[192.0.2.0/24, 10.0.0.0/8]"}:                {"socket"},
		{"[home.example]", "[home.example, d.example]"}:                 {"away"},
		{"step_up: 50", "step_up: 60"}:                                  {"scored"},
		// A rule over the passkey is not asked before one was used: a first passkey could be
		// enrolled from there.
		{"when: request.host in lists.gone", `when: 'request.host in lists.gone || credential.class == "synced"'`}: {"abroad"},
		{"when: request.host in lists.gone", `when: 'request.host in lists.gone || request.host == "c.example"'`}:  nil,
	} {
		b := newBench(t)
		b.live = []*policy.Facts{alice()}
		if _, err := b.Apply(t.Context(), WithPolicy([]byte(was)), Origin{Kind: "command", Force: true}); err != nil {
			t.Fatal(err)
		}
		report, err := b.Apply(t.Context(), WithPolicy([]byte(strings.Replace(was, change[0], change[1], 1))), Origin{Kind: "command"})
		if err != nil || !slices.Equal(report.Unjudged, want) {
			t.Errorf("%q: %v, %q", change, err, report.Unjudged)
		}
	}
}
