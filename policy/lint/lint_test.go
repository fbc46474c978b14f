package lint

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/policy"
)

func lintOf(t testing.TB, source string, with ...func(*Config)) []Finding {
	t.Helper()
	c := Config{Policy: policy.Config{Name: "p.yaml", Source: []byte("version: 1\n" + source), Routes: []string{"treasury", "wiki"}}}
	for _, f := range with {
		f(&c)
	}
	found, err := Check(c)
	if err != nil {
		t.Fatal(err)
	}
	checkAdvice(t, c, found)
	return found
}

func TestLintFindings(t *testing.T) {
	block := "rules: [{name: a, when: ip.vpn, then: block}, {name: old, when: ip.data_age_hours > 300, then: block}]\n"
	tests := []struct{ name, source, code, in string }{
		{"no test", block, "untested-rule", "2 of 2 rules match in no test (a, old)"},
		{"ZZ by accident", "rules: [{name: a, when: '!(ip.country in [\"US\"])', then: block}]", "country-without-zz", "this also holds"},
		{"ZZ by accident, against a fact", "rules: [{name: a, when: '!(ip.country in user.countries)', then: block}]", "country-without-zz", "this also holds"},
		{"ZZ excepted by accident", "rules: [{name: a, when: ip.vpn, unless: 'ip.country != \"KP\"', then: block}]", "country-without-zz", "makes an exception"},
		{"ZZ passes", "rules: [{name: a, when: 'ip.country == \"KP\"', then: block}]", "unknown-country-passes", "they pass"},
		{"age", "rules: [{name: a, when: ip.vpn, then: block}]", "data-age-unconsidered", "how old"},
		{"private addresses exempt", "rules: [{name: a, when: 'ip.country == \"ZZ\" && !ip.private', then: block}]", "private-exempt", "every person has one"},
		{"private addresses exempt, by comparison", "rules: [{name: a, when: 'ip.vpn && ip.private == false', then: block}]", "private-exempt", "every person has one"},
		{"private addresses excepted", "rules: [{name: a, when: ip.vpn, unless: ip.private, then: block}]", "private-exempt", "every person has one"},
		{"a path that is not folded", "rules: [{name: a, when: 'request.path == \"/Admin\"', then: block}]", "unfolded-path", "asked twice"},
		{"history", "rules: [{name: a, when: seen.countries_1h > 1, then: block}]", "history-unconsidered", "cannot be read"},
		{"zero holds", "rules: [{name: a, when: 'activity.longest_break_48h < duration(\"6h\")', then: block}]", "unknown-holds", "activity.longest_break_48h is not known (it is zero then)"},
		{"zero holds, said the other way round", "rules: [{name: a, when: 'duration(\"6h\") >= activity.longest_break_48h', then: block}]", "unknown-holds", "activity.longest_break_48h is not known (it is zero then)"},
		{"zero holds, not not", "rules: [{name: a, when: '!(ip.vpn || activity.active_hours_24h >= 2 * 3)', then: block}]", "unknown-holds", "activity.active_hours_24h is not known (it is zero then)"},
		{"zero holds, of a list", "rules: [{name: a, when: 'address.people_30d in [0, 1]', then: block}]", "unknown-holds", "address.people_30d is not known (it is zero then)"},
		{"zero holds, of a double", "rules: [{name: a, when: 'travel.speed_kmh < 5.5', then: block}]", "unknown-holds", "travel.speed_kmh is not known (it is zero then)"},
		{"zero excepts", "rules: [{name: a, when: ip.vpn, unless: '!seen.new_device', then: block}]", "unknown-holds", "makes an exception"},
		{"empty list", "lists: {none: []}\nrules: [{name: a, when: ip.country in lists.none, then: block}]", "empty-list", "lists.none is empty"},
		{"unused list", "lists: {embargoed: [KP]}\n" + block, "unused-list", "no rule uses lists.embargoed"},
		{"entry twice", "lists: {c: [KP, IR, KP]}\nrules: [{name: a, when: ip.country in lists.c, then: block}]", "repeated-entry", "KP is in lists.c already"},
		{"network in another", "lists: {c: [10.0.0.0/8, 10.1.0.0/16]}\nrules: [{name: a, when: ip.within(lists.c), then: block}]", "repeated-entry", "10.1.0.0/16 is inside 10.0.0.0/8"},
		{"lists overlap", "lists: {c: [KP, IR], d: [CU, KP]}\nrules: [{name: a, when: ip.country in lists.c, then: block}, {name: b, when: ip.country in lists.d, then: step_up}]", "overlapping-lists", "lists.d and lists.c overlap"},
		{"networks overlap", "lists: {c: [10.0.0.0/8], d: [10.1.0.0/16]}\nrules: [{name: a, when: ip.within(lists.c) && ip.within(lists.d), then: block}]", "overlapping-lists", "overlap"},
		{"threshold", "thresholds: {step_up: 30, block: 100}\nrules: [{name: a, when: ip.vpn, score: 60}, {name: b, when: ip.tor, score: 60, mode: report}]", "unreachable-threshold", "no score reaches 100"},
		{"threshold, of two routes", "thresholds: {step_up: 100}\nrules: [{name: a, when: ip.vpn, score: 60, routes: [wiki]}, {name: b, when: ip.tor, score: 60, routes: [treasury]}]", "unreachable-threshold", "add up to 60"},
		{"threshold, of what excludes one another", "thresholds: {block: 100}\nrules: [{name: a, when: ip.vpn, score: 60}, {name: b, when: '!ip.vpn', score: 40}]", "unreachable-threshold", "match no request together"},
		{"no source", "rules: [{name: a, when: user.started_days < 90, then: block}]", "fact-without-source", "nothing provides user.started_days"},
		{"hours nowhere", "rules: [{name: a, when: ip.vpn, then: step_up, every: 4h, hours: '09:00-18:00'}]", "fact-without-source", "a has hours"},
		{"no rule", block, "unused-signal", "provide ip.tor"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := lintOf(t, tt.source, func(c *Config) {
				c.NoSource = map[string]string{"user.started_days": "roster", "user.time_zone": "roster"}
				c.Policy.Provides = &policy.Provides{Signals: map[string]bool{"vpn": true, "tor": true, "country": true, "location": true}}
			})
			i := slices.IndexFunc(found, func(f Finding) bool { return f.Code == tt.code && strings.Contains(f.Message, tt.in) })
			if i < 0 {
				t.Fatalf("not found in %v", found)
			}
			if f := found[i]; f.Fix == "" || f.Line < 1 || f.Column < 1 || f.Excerpt == "" || f.File != "p.yaml" {
				t.Errorf("incomplete: %#v", f)
			}
		})
	}
}

// A policy that thinks of everything has no findings.
func TestLintFindsNothing(t *testing.T) {
	found := lintOf(t, `
lists: {embargoed: [KP, IR], offices: [203.0.113.0/24]}
thresholds: {step_up: 50, block: 90}
rules:
  - {name: embargoed, when: ip.country in lists.embargoed, then: block}
  - {name: unknown, when: 'ip.country == "ZZ" && !ip.internal', then: step_up}
  - {name: abroad, when: 'ip.country != "ZZ" && !(ip.country in user.countries)', unless: ip.within(lists.offices), then: step_up, max_age: 1h}
  - {name: stale, when: ip.data_age_hours > 300, score: 50}
  - {name: hasty, when: seen.countries_1h >= 2, score: 50}
  - {name: no-history, when: '!seen.known', then: step_up}
  - {name: no-break, when: 'activity.known && activity.longest_break_48h < duration("6h")', then: step_up}
tests:
  - {name: a, given: {ip: {country: KP}}, expect: {action: block}}
  - {name: b, given: {ip: {data_age_hours: 400, country: SE}, user: {countries: [US]}, seen: {countries_1h: 2}}, expect: {action: block}}
  - {name: c, given: {seen: {known: false}, activity: {longest_break_48h: 1h}}, expect: {action: step_up}}
`)
	for _, f := range found {
		t.Error(f.Text())
	}
}

// What cannot hold by accident is no finding.
func TestLintKnowsWhatHolds(t *testing.T) {
	for _, when := range []string{
		`activity.active_hours_24h > 0`, `activity.active_hours_24h >= 2 * 3`, `!(activity.active_hours_24h < 7)`, `0 < activity.active_hours_24h`, `device.people_30d in [1, 2]`,
		`activity.longest_break_48h > duration("1h")`, `travel.speed_kmh >= 5.5`, `seen.new_device`, `ip.country == "KP"`, `!(ip.country != "KP")`, `ip.country in ["KP"]`, `ip.country in user.countries`,
	} {
		for _, f := range lintOf(t, "rules: [{name: a, when: '"+when+"', then: block}]") {
			if f.Code == "unknown-holds" || f.Code == "country-without-zz" {
				t.Errorf("%s: %s", when, f.Message)
			}
		}
	}
}

// A rule against private addresses, and one that says which of them are ours, exempt no one by accident.
func TestLintKnowsWhoIsExempt(t *testing.T) {
	for _, rule := range []string{`when: ip.private`, `when: ip.private && !ip.internal`, `when: ip.vpn && !ip.internal`, `when: ip.vpn, unless: ip.internal`, `when: ip.vpn, unless: '!ip.private'`} {
		for _, f := range lintOf(t, "rules: [{name: a, "+rule+", then: block}]") {
			if f.Code == "private-exempt" {
				t.Errorf("%s: %s", rule, f.Message)
			}
		}
	}
}

// A new person is asked nothing that they cannot answer.
func TestLintNewcomers(t *testing.T) {
	const guard = ` && request.purpose != "enroll"`
	for name, c := range map[string]struct{ rules, want string }{
		"a new device asks":              {`{name: a, when: seen.new_device, then: step_up}`, "a 2:16 cannot answer"},
		"a new country blocks":           {`{name: a, when: seen.new_country, then: block}`, "a 2:16 are blocked"},
		"only enrolling":                 {`{name: a, when: 'seen.new_asn && request.purpose == "enroll"', then: step_up}`, "a 2:16 cannot answer"},
		"the first days":                 {`{name: a, when: user.started_days < 90, then: step_up}`, "a 2:16 cannot answer"},
		"points together":                {`{name: a, when: seen.new_asn, score: 5}, {name: b, when: seen.new_device, score: 5}`, "a 3:16 cannot answer, b 3:57 cannot answer"},
		"points that are too few":        {`{name: a, when: seen.new_asn, score: 5}`, ""},
		"not while enrolling":            {`{name: a, when: 'seen.new_device` + guard + `', then: step_up}`, ""},
		"only who was there before":      {`{name: a, when: seen.new_device && seen.first_days > 0, then: step_up}`, ""},
		"on a route":                     {`{name: a, when: seen.new_device, routes: [wiki], then: step_up}`, ""},
		"from a VPN":                     {`{name: a, when: seen.new_device && ip.vpn, then: step_up}`, ""},
		"reported":                       {`{name: a, when: seen.new_device, then: step_up, mode: report}`, ""},
		"nobody enrols, new or not":      {`{name: a, when: 'request.purpose == "enroll"', then: step_up}, {name: b, when: seen.new_device, then: step_up}`, ""},
		"nobody without a certificate":   {`{name: a, when: '!tls.client_cert', then: step_up}`, ""},
		"only from declared countries":   {`{name: a, when: '!(ip.country in user.countries)', then: block}, {name: b, when: seen.new_device, then: step_up}`, "b 2:81 cannot answer"},
		"only from a few countries":      {`{name: a, when: '!(ip.country in ["CH", "LI"])', then: block}, {name: b, when: seen.new_device, then: block}`, "b 2:79 are blocked"},
		"only at home":                   {`{name: a, when: 'user.home_km < 0', then: step_up}, {name: b, when: seen.new_device, then: step_up}`, "b 2:68 cannot answer"},
		"only from there, and on a VPN":  {`{name: a, when: 'ip.country != "CH"', then: block}, {name: b, when: seen.new_device && ip.vpn, then: step_up}`, ""},
		"new, and blocked; others asked": {`{name: a, when: ip.country == "US", then: step_up}, {name: b, when: seen.new_device, then: block}`, "b 2:68 are blocked"},
	} {
		t.Run(name, func(t *testing.T) {
			thresholds := ""
			if strings.Contains(c.rules, "score") {
				thresholds = "thresholds: {step_up: 10}\n"
			}
			var got []string
			for _, f := range lintOf(t, thresholds+"rules: ["+c.rules+"]") {
				if f.Code == "newcomer-refused" {
					_, what, _ := strings.Cut(f.Message, "enrol: ")
					if strings.Contains(what, "blocked") {
						what = "are blocked"
					} else {
						what = "cannot answer"
					}
					got = append(got, fmt.Sprintf("%s %d:%d %s", f.Rule, f.Line, f.Column, what))
				}
			}
			if got := strings.Join(got, ", "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Every group that says of itself whether it is known is a group of facts, and is not known
// in facts that say nothing.
func TestKnownsAreFacts(t *testing.T) {
	for group, fact := range knowns {
		f, ok := policy.FactSchema().Lookup(fact)
		if !ok || f.Group != group {
			t.Errorf("%s: there is no fact %s", group, fact)
		} else if policy.FactSchema().Field(&policy.Facts{}, f).Bool() {
			t.Errorf("%s is known in facts that say nothing", group)
		}
	}
}
