// Package policygen makes random policies for tests.
//
// It is no part of the product. The same source of randomness gives the same rules, so
// that a failing test can be repeated.
package policygen

import (
	"fmt"
	"math/rand/v2"
)

// Rules returns rules of every shape, over every group of facts.
func Rules(r *rand.Rand, n int) []string {
	conditions := []string{
		`ip.vpn`, `ip.tor || ip.proxy`, `ip.country in ["KP", "IR"]`, `ip.asn > 5`, `"ops" in user.groups`, `user.groups[0] == "ops"`,
		`size(user.countries) > 0 && !(ip.country in user.countries)`, `session.age > duration("8h")`, `session.verified_here`,
		`credential.class == "synced"`, `request.path.startsWith("/admin")`, `request.method == "POST"`, `request.route == "wiki"`,
		`request.purpose == "enroll"`, `time.hour("UTC") > 20`, `ip.within("192.0.2.0/24")`, `ip.data_age_hours > 48`,
	}
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var out []string
	for i := range n {
		rule := fmt.Sprintf("{name: r%d, when: '%s'", i, pick(conditions...))
		if r.IntN(3) == 0 {
			rule += fmt.Sprintf(", unless: '%s'", pick(conditions...))
		}
		if r.IntN(4) == 0 {
			rule += ", routes: [" + pick("wiki", "vault") + "]"
		}
		if r.IntN(6) == 0 {
			rule += ", mode: report"
		} else if r.IntN(6) == 0 {
			rule += ", enforce: {percent: " + pick("20", "80") + ", groups: [ops]}"
		}
		switch r.IntN(4) {
		case 0:
			rule += ", then: block"
		case 1:
			rule += ", then: step_up, require: [" + pick("", "device_bound", "attested") + "]"
		case 2:
			// No jitter: it is drawn by the hash of the policy, which reordering changes.
			rule += ", then: step_up, " + pick("max_age: 1m", "max_age: 1h", "max_age: 30h", "every: 1h", "every: 30m, hours: '09:00-18:00'")
		default:
			rule += ", score: " + pick("10", "30", "60")
		}
		out = append(out, rule+"}")
	}
	return out
}

// Many is a policy, without its first line, with a rule of each kind: every verdict,
// scores, reports, routes, requirements, and conditions that cannot be evaluated. Its
// routes are treasury, wiki and broken.
const Many = `
lists: {embargoed: [KP, IR, CU], offices: [192.0.2.0/24]}
thresholds: {step_up: 50, block: 100, max_age: 10m}
rules:
  - {name: embargoed, when: ip.country in lists.embargoed, then: block, reason: embargoed country}
  - {name: anonymised, when: ip.vpn || ip.proxy, then: step_up, max_age: 5m, reason: anonymised network}
  - {name: third-country, when: 'ip.country != "ZZ" && size(user.countries) > 0 && !(ip.country in user.countries)', then: block}
  - {name: bound, when: 'request.path.startsWith("/sign")', then: step_up, require: [device_bound]}
  - {name: proven, when: 'request.path.startsWith("/root")', then: step_up, require: [attested], max_age: 1m}
  - {name: synced-key, when: 'credential.class == "synced"', then: step_up}
  - {name: treasury-only, when: 'ip.hosting', routes: [treasury], then: block}
  - {name: tor-score, when: ip.tor, score: 60}
  - {name: relay-score, when: ip.relay, score: 50}
  - {name: watch, when: ip.asn == 64500, then: block, mode: report}
  - {name: watch-step, when: ip.asn == 64500, then: step_up, mode: report}
  - {name: watch-score, when: ip.asn == 64500, score: 40, mode: report}
  - {name: nobodys-group, when: '!("staff" in user.groups)', unless: '"ops" in user.groups || user.email == "someone@example.com"', then: block}
  - {name: index, when: 'user.groups[0] == "x"', unless: size(user.groups) == 0, routes: [broken], then: block}
  - {name: unless-error, when: ip.private, unless: 'user.groups[7] == "x"', then: block}
`
