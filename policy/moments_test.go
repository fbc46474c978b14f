package policy_test

import (
	"slices"
	"testing"
	"time"

	"sallyport/policy"
)

// Whichever way a condition names a point in time, it is found, or said to be unknown (year 1).
func TestMoments(t *testing.T) {
	for when, want := range map[string][]string{
		`time.now > timestamp("2026-12-01T00:00:00Z")`:                                                                     {"2026-12-01T00:00:00Z"},
		`!(time.now < timestamp("2026-12-01T00:00:00Z")) && (ip.vpn || time.now < timestamp("2027-01-01T01:00:00+01:00"))`: {"2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		`time.now > timestamp("2026-12-01T00:00:00Z") + duration("24h") + duration("24h")`:                                 {"2026-12-03T00:00:00Z"},
		`timestamp("2026-12-01T00:00:00Z") + duration("24h") < time.now - duration("24h")`:                                 {"2026-12-03T00:00:00Z"},
		`time.now - timestamp("2026-12-01T00:00:00Z") > duration("24h")`:                                                   {"2026-12-02T00:00:00Z"},
		`time.now > timestamp("9999-12-31T00:00:00Z")`:                                                                     {"9999-12-31T00:00:00Z"},
		`int(time.now) > 1796083200 + 86400`:                                                                               {"2026-12-02T00:00:00Z"},
		`timestamp(1796083200) < time.now`:                                                                                 {"2026-12-01T00:00:00Z"},
		`string(time.now) > "2026-12-01"`:                                                                                  {"2026-12-01T00:00:00Z"},
		`(time.now > timestamp("2026-12-01T00:00:00Z") ? 1 : 2) == ip.version`:                                             {"2026-12-01T00:00:00Z"},
		`(time.now > timestamp("2026-12-01T00:00:00Z")) != ip.vpn`:                                                         {"2026-12-01T00:00:00Z"},
		`time.now - session.age > timestamp("2026-12-01T00:00:00Z")`:                                                       {"2026-12-01T00:00:00Z"},
		`time.now - time.now < session.age`:                                                                                {"0001-01-01T00:00:00Z"},
		`timestamp("2026" + "-12-05T00:00:00Z") < time.now`:                                                                {"0001-01-01T00:00:00Z"},
		`string(time.now).startsWith("2026-12-0")`:                                                                         {"0001-01-01T00:00:00Z"},
		`string(time.now) > "2026-1"`:                                                                                      {"0001-01-01T00:00:00Z"},
		`string(time.now) > "2026-12-01T01:00:00+01:00"`:                                                                   {"0001-01-01T00:00:00Z"},
		`int(time.now) / 86400 > 20790`:                                                                                    {"0001-01-01T00:00:00Z"},
		`int(time.now) % 1000000000 > 796083200`:                                                                           {"0001-01-01T00:00:00Z"},
		`int(time.now) + int(time.now) > 1796083200`:                                                                       {"0001-01-01T00:00:00Z"},
		`lists.days.exists(d, time.now > timestamp(d))`:                                                                    {"0001-01-01T00:00:00Z"},
		`ip.vpn && time.now > timestamp("2026-12-01T00:00:00Z") && time.now > timestamp(lists.days[0])`:                    {"0001-01-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		`[time.now].exists(t, t > timestamp("2026-12-01T00:00:00Z"))`:                                                      {"0001-01-01T00:00:00Z"},
		`[1].map(x, time.now)[0] > timestamp("2026-12-01T00:00:00Z")`:                                                      {"0001-01-01T00:00:00Z"},
		`time.now in [timestamp("2026-12-01T00:00:00Z")]`:                                                                  {"0001-01-01T00:00:00Z"},
		`time.hour("UTC") >= 9 && time.weekday("UTC") == "Mon"`:                                                            nil,
		`ip.asn == 1796083200`:                                                                                             nil,
	} {
		p, err := policy.Compile(policy.Config{Name: "p.yaml", Source: []byte("version: 1\nlists: {days: ['2026-12-05T00:00:00Z']}\nrules:\n  - {name: a, when: '" + when + "', then: block}\n")})
		if err != nil {
			t.Errorf("%s: %v", when, err)
			continue
		}
		var got []string
		for _, m := range p.Moments() {
			got = append(got, m.At.Format(time.RFC3339))
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%s: %v", when, got)
		}
	}
}

// A rule whose list has other dates is not the rule that it was.
func TestMomentsOfLists(t *testing.T) {
	of := func(day string) string {
		p, err := policy.Compile(policy.Config{Name: "p.yaml", Source: []byte("version: 1\nlists: {days: ['" + day + "']}\nrules:\n  - {name: a, when: 'lists.days.exists(d, time.now > timestamp(d))', then: block}\n")})
		if err != nil {
			t.Fatal(err)
		}
		list := p.Moments()
		if len(list) != 1 || list[0].Rule != "a" {
			t.Fatalf("%+v", list)
		}
		return list[0].Of
	}
	if of("2026-12-05T00:00:00Z") == of("2026-12-06T00:00:00Z") {
		t.Error("other entries, and the same")
	}
}
