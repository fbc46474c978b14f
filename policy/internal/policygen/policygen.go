// Package policygen makes random policies for tests.
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
