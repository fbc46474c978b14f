package policy

import "strings"

// FactsVersion is the version of the list in facts.go. It stands beside the facts in
// each audit record: what is zero is left out there, so that a fact which is missing
// from an old record is either zero or was not known at all, and only the version tells.
const FactsVersion = 5

// factsSince names the facts, or whole groups of them, that came after version 1. A
// new fact needs a row here and a new version.
var factsSince = map[string]int{
	"seen": 2, "travel": 2, "address": 2, "device": 2, "activity": 2, "browser": 2,
	"handoff":           3,
	"user.started_days": 2, "tls.ja4": 2,
	"session.concurrent": 2, "session.country_changed": 2, "session.asn_changed": 2, "session.ua_changed": 2, "session.tls_changed": 2,
	"ip.internal": 3, "ip.provider": 4, "ip.region": 4, "user.region": 4,
	"user.devices_30d": 4, "seen.abandoned_step_ups_24h": 4, "address.enrolments_30d": 4, "device.enrolments_30d": 4, "activity.usual_hours": 4,
	"user.home_km": 5,
}

// Since is the version of the list that a fact such as "seen.known" came with.
func Since(fact string) int {
	group, _, _ := strings.Cut(fact, ".")
	return max(1, factsSince[group], factsSince[fact])
}

// FactNames are all facts that rules can read, in the order of facts.go.
func (p *Policy) FactNames() (names []string) {
	for _, f := range p.schema.Facts() {
		names = append(names, f.Name)
	}
	return names
}
