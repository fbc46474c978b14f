package lint

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

// codes lints flow rules, and returns "code severity" of the findings with one of the codes.
func codes(t testing.TB, rules string, of ...string) string {
	t.Helper()
	thresholds := ""
	if strings.Contains(rules, "score: ") {
		thresholds = "thresholds: {block: 50}\n"
	}
	var out []string
	for _, f := range lintOf(t, thresholds+"lists: {offices: [203.0.113.0/24], eu: [DE, FR], none: []}\nrules: ["+rules+"]\n") {
		if slices.Contains(of, f.Code) {
			out = append(out, fmt.Sprintf("%s %s", f.Code, f.Severity))
		}
		if f.Fix == "" || f.Excerpt == "" || f.danger() < 0 {
			t.Errorf("incomplete: %#v", f)
		}
	}
	return strings.Join(out, ", ")
}

func when(condition, more string) string {
	return "{name: a, when: '" + strings.ReplaceAll(condition, "'", "''") + "', " + more + "}"
}

func TestLintAlwaysMatches(t *testing.T) {
	for _, tt := range []struct{ name, rule, want string }{
		{"one or the other country", when(`ip.country != "US" || ip.country != "GB"`, "then: block"), "always-matches error"},
		{"the same, for a question", when(`ip.country != "US" || ip.country != "GB"`, "then: step_up"), "always-matches warning"},
		{"the same, for points", when(`ip.country != "US" || ip.country != "GB"`, "score: 50"), "always-matches warning"},
		{"the same, reported", when(`ip.country != "US" || ip.country != "GB"`, "then: block, mode: report"), "always-matches note"},
		{"the same, for some", when(`ip.country != "US" || ip.country != "GB"`, "then: block, enforce: {percent: 10}"), "always-matches error"},
		{"on one route", when(`ip.country != "US" || ip.country != "GB"`, "then: block, routes: [wiki]"), "always-matches error"},
		{"three countries", when(`ip.country != "US" || ip.country != "GB" || ip.country != "DE"`, "then: block"), "always-matches error"},
		{"negated", when(`!(ip.country == "US" && ip.country == "GB")`, "then: block"), "always-matches error"},
		{"negated apart", when(`!(ip.country == "US") || !(ip.country == "GB")`, "then: block"), "always-matches error"},
		{"outside of either list", when(`!(ip.country in ["US"]) || !(ip.country in lists.eu)`, "then: block"), "always-matches error"},
		{"an empty list", when(`!(ip.country in lists.none)`, "then: block"), "always-matches error"},
		{"no age is negative", when(`session.age >= duration("0s")`, "then: block"), "always-matches error"},
		{"no person started earlier", when(`user.started_days >= -1`, "then: block"), "always-matches error"},
		{"a number on either side", when(`ip.asn < 5 || ip.asn > 4`, "then: block"), "always-matches error"},
		{"either version", when(`ip.version == 4 || ip.version == 6`, "then: block"), "always-matches error"},
		{"everywhere", when(`ip.within(["0.0.0.0/0", "::/0"])`, "then: block"), "always-matches error"},
		{"a or not a", when(`ip.vpn || !ip.vpn`, "then: block"), "always-matches error"},
		{"any text", when(`request.path.startsWith("")`, "then: block"), "always-matches error"},
		{"every person has an address", when(`user.email != ""`, "then: block"), "always-matches error"},
		{"no text is shorter", when(`size(user.name) >= 0`, "then: block"), "always-matches error"},
		{"no list is", when(`size(user.groups) >= 0`, "then: block"), "always-matches error"},
		{"a day", when(`time.weekday("UTC") != "Sat" || time.weekday("UTC") != "Sun"`, "then: block"), "always-matches error"},
		{"an hour", when(`time.hour("UTC") >= 0`, "then: block"), "always-matches error"},
		{"two groups", when(`user.email != "a@example.com" || user.email != "b@example.com"`, "then: block"), "always-matches error"},
		{"a constant beside a fact", when(`1 < 2 || ip.vpn`, "then: block"), "always-matches error"},
		{"what cannot be evaluated matches", when(`user.groups[0] == "x" || !(user.groups[0] == "x")`, "then: block"), "always-matches error"},

		{"true, as it is written", when(`true`, "then: step_up"), ""},
		{"true, on one route", when(`true`, "then: block, routes: [wiki]"), ""},
		{"and, of two", when(`ip.country != "US" && ip.country != "GB"`, "then: block"), ""},
		{"of two facts", when(`ip.country != "US" || ip.asn != 5`, "then: block"), ""},
		{"two groups that a person can have", when(`!("a" in user.groups) || !("b" in user.groups)`, "then: block"), ""},
		{"a text in a list", when(`ip.country in lists.eu`, "then: block"), ""},
		{"an exception is left", when(`ip.country != "US" || ip.country != "GB"`, "unless: ip.internal, then: block"), ""},
		{"one hour", when(`time.hour("UTC") >= 1`, "then: block"), ""},
		{"two zones", when(`time.hour("UTC") >= 12 || time.hour("Asia/Tokyo") < 12`, "then: block"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := codes(t, tt.rule, "always-matches"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLintBlockedTogether(t *testing.T) {
	for _, tt := range []struct{ name, rules, want string }{
		{"two halves", `{name: a, when: ip.asn < 5, then: block}, {name: b, when: ip.asn >= 5, then: block}`, "blocked-together error"},
		{"on one route", `{name: a, when: ip.asn < 5, then: block, routes: [wiki]}, {name: b, when: ip.asn >= 5, then: block}`, "blocked-together error"},
		{"by points", `{name: a, when: ip.asn < 5, score: 50}, {name: b, when: ip.asn >= 5, score: 60}`, "blocked-together error"},
		{"and an exception", `{name: a, when: ip.asn < 5, then: block}, {name: b, when: ip.asn >= 5, unless: ip.internal, then: block}`, ""},
		{"one asks", `{name: a, when: ip.asn < 5, then: block}, {name: b, when: ip.asn >= 5, then: step_up}`, ""},
		{"one reports", `{name: a, when: ip.asn < 5, then: block}, {name: b, when: ip.asn >= 5, then: block, mode: report}`, ""},
		{"one is for some", `{name: a, when: ip.asn < 5, then: block}, {name: b, when: ip.asn >= 5, then: block, enforce: {percent: 99}}`, ""},
		{"a route that is closed", `{name: a, when: 'true', then: block, routes: [wiki]}, {name: b, when: ip.vpn, then: block}`, ""},
		{"other routes", `{name: a, when: ip.asn < 5, then: block, routes: [wiki]}, {name: b, when: ip.asn >= 5, then: block, routes: [treasury]}`, ""},
		{"too few points", `{name: a, when: ip.asn < 5, score: 50}, {name: b, when: ip.asn >= 6, score: 60}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := codes(t, tt.rules, "blocked-together"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLintDeadConditions(t *testing.T) {
	for _, tt := range []struct{ name, rule, want string }{
		{"always, beside a fact", when(`ip.vpn && (ip.country != "US" || ip.country != "GB")`, "then: block"), "dead-condition warning"},
		{"never, beside a fact", when(`ip.vpn || ip.country == "US" && ip.country == "GB"`, "then: block"), "dead-condition warning"},
		{"always, in an exception", when(`ip.vpn`, "unless: 'ip.tor && ip.asn >= 0', then: block"), "dead-condition warning"},
		{"never, in an exception", when(`ip.vpn`, "unless: 'ip.tor || ip.asn < 0', then: block"), "dead-condition warning"},
		{"an exception that never holds", when(`ip.vpn`, "unless: 'ip.asn > 5 && ip.asn < 5', then: block"), "idle-exception warning"},
		{"an exception from something else", when(`ip.country == "US"`, "unless: 'ip.country == \"DE\"', then: block"), "idle-exception warning"},
		{"an office that is IPv4 alone", when(`ip.vpn && ip.version == 6`, "unless: ip.within(lists.offices), then: block"), "idle-exception warning"},

		{"an exception", when(`ip.vpn`, "unless: ip.within(lists.offices), then: block"), ""},
		{"an office that has NAT64 too", when(`ip.vpn && ip.version == 6`, "unless: 'ip.within([\"203.0.113.0/24\", \"64:ff9b::cb00:7100/120\"])', then: block"), ""},
		{"a private address in an IPv6 one", when(`ip.private && ip.version == 6`, "unless: 'ip.within(\"64:ff9b::/96\")', then: block"), ""},
		{"false, as it is written", when(`ip.vpn || false`, "then: block"), ""},
		{"what the level makes sure of", when(`session.level == "verified" && credential.class == "synced"`, "then: block"), ""},
		{"what is not known of", when(`user.name.matches("^a.*$") || user.name.matches("^b.*$")`, "then: block"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := codes(t, tt.rule, "dead-condition", "idle-exception"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLintConditionsThatFail(t *testing.T) {
	for _, tt := range []struct{ name, rule, want string }{
		{"an index", when(`user.groups[0] == "ops"`, "then: block"), "can-fail warning"},
		{"an index, in a question", when(`user.groups[0] == "ops"`, "then: step_up"), "can-fail note"},
		{"an index too far", when(`size(user.groups) > 0 && user.groups[1] == "ops"`, "then: block"), "can-fail warning"},
		{"a zone that is not known", when(`time.hour(user.time_zone) < 6`, "then: block"), "can-fail warning"},
		{"a day of one", when(`time.weekday(user.time_zone) in ["Sat", "Sun"]`, "then: block"), "can-fail warning"},
		{"a conversion", when(`int(user.subject) > 5`, "then: block"), "can-fail warning"},
		{"a division", when(`10 / session.concurrent > 2`, "then: block"), "can-fail warning"},
		{"a conversion of each", when(`user.groups.exists(g, int(g) > 5)`, "then: block"), "can-fail warning"},
		{"an exception", when(`ip.vpn`, "unless: 'user.groups[0] == \"ops\"', then: block"), "can-fail warning"},

		{"an index that is there", when(`size(user.groups) > 0 && user.groups[0] == "ops"`, "then: block"), ""},
		{"a zone that is known", when(`user.time_zone != "" && time.hour(user.time_zone) < 6`, "then: block"), ""},
		{"a zone that is written", when(`time.hour("UTC") < 6`, "then: block"), ""},
		{"a division by what is not zero", when(`session.concurrent % 2 == 1`, "then: block"), ""},
		{"a conversion that can be done", when(`user.subject.matches("^[0-9]{1,9}$") && int(user.subject) > 5`, "then: block"), ""},
		{"arithmetic", when(`ip.data_age_hours > 24 * 14`, "then: block"), ""},
		{"a loop", when(`user.groups.exists(g, g == "ops")`, "then: block"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := codes(t, tt.rule, "can-fail"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLintHoldsUnknown(t *testing.T) {
	const unknown, country = "unknown-holds warning", "country-without-zz warning"
	for _, tt := range []struct{ name, rule, want string }{
		{"few people", when(`device.people_30d < 3`, "then: block"), unknown},
		{"in an alternative", when(`ip.vpn || seen.first_days < 7`, "then: block"), unknown},
		{"not the same network", when(`!handoff.same_network`, "then: block"), unknown},
		{"an exception", when(`ip.vpn`, "unless: seen.first_days < 7, then: block"), unknown},
		{"not our network", when(`ip.asn != 64500`, "then: block"), unknown},
		{"not a region of ours", when(`!("US-CA" in ip.subdivisions)`, "then: block"), unknown},
		{"no region of ours", when(`!ip.subdivisions.exists(s, s == "US-CA")`, "then: block"), unknown},
		{"outside of no countries", when(`ip.country != "ZZ" && !(ip.country in user.countries)`, "then: block"), unknown},
		{"not an organisation", when(`!ip.org.contains("Acme")`, "then: block"), unknown},
		{"not a fingerprint", when(`tls.ja4 != "t13d1516h2_8daaf6152771_02713d6af862"`, "then: block"), unknown},
		{"two parts, with one answer", when(`!(seen.new_device || seen.new_country)`, "then: block"), unknown},
		{"a newcomer", when(`user.started_days < 90`, "then: block"), unknown},
		{"anywhere but", when(`ip.country != "US"`, "then: block"), country},
		{"anywhere but, beside a fact", when(`ip.vpn && ip.country != "US"`, "then: block"), country},

		{"an exception of a question for newcomers", when(`ip.vpn`, "unless: user.started_days < 30, then: step_up"), unknown},
		{"an exception of a question by network", when(`ip.vpn`, "unless: ip.asn < 1000, then: step_up"), unknown},
		{"an exception of a question outside of a region", when(`ip.vpn`, "unless: user.region != 'US-CA', then: step_up"), unknown},
		{"an exception of a question by hour", when(`ip.vpn`, "unless: activity.usual_hours < 5, then: step_up"), unknown},
		{"an exception of a rule that only reports", when(`ip.vpn`, "unless: user.started_days < 30, then: step_up, mode: report"), ""},
		{"an exception that asks whether it is known", when(`ip.vpn`, "unless: user.started_days >= 0 && user.started_days < 30, then: step_up"), ""},
		{"an hour that is not usual", when(`activity.usual_hours < 5`, "then: block"), unknown},
		{"two bounds", when(`device.people_30d >= 1 && device.people_30d < 3`, "then: block"), ""},
		{"with what is only known", when(`seen.new_country && seen.countries_1h < 3`, "then: block"), ""},
		{"in a list, and not one of it", when(`ip.country in lists.eu && ip.country != "DE"`, "then: block"), ""},
		{"excepted", when(`device.people_30d < 3`, "unless: '!device.known', then: block"), ""},
		{"another rule blocks", `{name: unknown, when: '!seen.known', then: block}, ` + when(`seen.first_days < 7`, "then: block"), ""},
		{"another rule asks as much", `{name: unknown, when: '!seen.known', then: step_up}, ` + when(`seen.first_days < 7`, "then: step_up"), ""},
		{"another rule asks less", `{name: unknown, when: '!seen.known', then: step_up}, ` + when(`seen.first_days < 7`, "then: block"), unknown},
		{"another rule blocks where the country is not known", `{name: unknown, when: 'ip.country == "ZZ"', then: block}, ` + when(`ip.country != "US"`, "then: block"), ""},
		{"twice the same mistake", when(`device.people_30d < 3`, "then: block") + `, {name: b, when: device.people_30d < 4, then: block}`, unknown + ", " + unknown},
		{"the group is known", when(`seen.known && seen.first_days < 7`, "then: block"), ""},
		{"a question about newcomers", when(`user.started_days < 90`, "then: step_up"), ""},
		{"newcomers that are known", when(`user.started_days >= 0 && user.started_days < 90`, "then: block"), ""},
		{"countries that are declared", when(`ip.country != "ZZ" && size(user.countries) > 0 && !(ip.country in user.countries)`, "then: block"), ""},
		{"a network that is known", when(`ip.asn != 0 && ip.asn != 64500`, "then: block"), ""},
		{"many", when(`seen.countries_1h > 2`, "then: block"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := codes(t, tt.rule, "unknown-holds", "country-without-zz"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// The findings are in the order of their danger, and what no test covers is one of them.
func TestLintSortsByDanger(t *testing.T) {
	found := lintOf(t, `
rules:
  - {name: untested, when: ip.vpn, then: block}
  - {name: never, when: ip.vpn && !ip.vpn, then: block}
  - {name: always, when: ip.asn >= 0, then: block}
  - {name: also-untested, when: ip.tor, then: block}
`)
	var got []string
	for _, f := range found {
		got = append(got, f.Code)
	}
	if got, want := strings.Join(got, " "), "always-matches unreachable-rule subsumed-rule subsumed-rule untested-rule data-age-unconsidered"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A policy larger than most is looked at in a few seconds.
func TestLintIsQuick(t *testing.T) {
	var b strings.Builder
	b.WriteString("lists: {eu: [DE, FR], offices: [203.0.113.0/24]}\nrules:\n")
	for i := range 25 {
		fmt.Fprintf(&b, "  - {name: a%d, when: 'ip.asn == %[1]d && !(ip.country in lists.eu) || ip.vpn && user.started_days < %[1]d', unless: ip.within(lists.offices), then: step_up, max_age: %dm}\n", i, i+1)
		fmt.Fprintf(&b, "  - {name: b%d, when: 'seen.countries_1h > %[1]d && seen.new_device || seen.first_days < %[1]d', then: step_up, max_age: %dm}\n", i, i+1)
		fmt.Fprintf(&b, "  - {name: c%d, when: 'request.path.startsWith(\"/x%[1]d\") && request.method == \"POST\"', then: block}\n", i)
		fmt.Fprintf(&b, "  - {name: d%d, when: 'time.hour(\"UTC\") > 20 && \"g%[1]d\" in user.groups && user.groups[0] == \"x\"', then: block}\n", i)
	}
	began := time.Now()
	found := check(t, Config{Policy: policy.Config{Name: "p.yaml", Source: []byte("version: 1\n" + b.String())}})
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if slices.ContainsFunc(found, func(f Finding) bool { return f.Code == "rules-undecided" }) {
		t.Error("not everything was looked at")
	}
}

// A score that can block is as a rule that blocks; one that can only ask is as one that asks.
func TestLintOfScoresThatHoldForWhatIsNotKnown(t *testing.T) {
	const devices = "{name: a, when: user.devices_30d < 3, score: 60}"
	for _, tt := range []struct{ name, policy, want string }{
		{"alone", "thresholds: {step_up: 20, block: 60}\nrules: [" + devices + "]", "unknown-holds"},
		{"with another", "thresholds: {step_up: 20, block: 100}\nrules: [" + devices + ", {name: b, when: ip.vpn, score: 40}]", "unknown-holds"},
		{"with one that only reports", "thresholds: {step_up: 20, block: 100}\nrules: [" + devices + ", {name: b, when: ip.vpn, score: 40, mode: report}]", ""},
		{"not enough", "thresholds: {step_up: 20, block: 100}\nrules: [" + devices + "]", ""},
		{"only a question", "thresholds: {step_up: 20}\nrules: [" + devices + "]", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, f := range lintOf(t, tt.policy) {
				if f.Code == "unknown-holds" {
					got = append(got, f.Code)
				}
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
