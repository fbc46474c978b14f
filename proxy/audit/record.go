package audit

import (
	"net/netip"
	"strings"
	"time"

	"sallyport/policy"
)

// Record is one line of the log. The first block of keys is always present; the rest only
// if they have a value.
type Record struct {
	// Seq is the record's place in the log, from 0, across rotations. Set by the log.
	Seq int64 `json:"seq"`
	// Time is when it happened, UTC; the log fills it in when it is zero.
	Time time.Time `json:"time"`

	Event   string   `json:"event"` // what happened, such as "access" or "sign_in"
	User    string   `json:"user"`  // e-mail address; "" without a session
	IP      string   `json:"ip"`
	Country string   `json:"country"`
	ASN     int64    `json:"asn"`
	Route   string   `json:"route"`
	Action  string   `json:"action"`  // allow, step_up, block; "refused" if the policy allowed it and it still failed; for other events their outcome
	Rules   []string `json:"rules"`   // as in policy.Decision
	Reasons []string `json:"reasons"` // as in policy.Decision
	Policy  string   `json:"policy"`  // hash of the policy that decided
	// Incident is the id that a refused person is shown.
	Incident string `json:"incident"`

	// Count, above 1 or on a line of its own, is how many requests this line stands
	// for, beside an earlier line with the same incident or, of allows, the same session,
	// address, route, verdict and policy. What else it says is that line's. Absent means 1.
	Count int64 `json:"count,omitempty"`

	Device   string            `json:"device,omitempty"`  // the handle of the browser, by its device cookie; never the cookie
	Session  string            `json:"session,omitempty"` // the session's public handle, never its cookie
	Method   string            `json:"method,omitempty"`
	Host     string            `json:"host,omitempty"`
	Path     string            `json:"path,omitempty"` // without the query, which may hold secrets
	Score    int               `json:"score,omitempty"`
	Reported []policy.Reported `json:"reported,omitempty"` // what report-only rules would have done
	Excepted []policy.Excepted `json:"excepted,omitempty"` // rules that exceptions suspended for this request
	Detail   map[string]string `json:"detail,omitempty"`   // what else the event needs; never a secret
	// Data is the IP data that was looked at, in records of [EventData] and of programs
	// from before there were such; else DataHash names the list. [Read] fills it in.
	Data     []DataSource  `json:"data,omitempty"`
	DataHash string        `json:"data_hash,omitempty"`
	Facts    *policy.Facts `json:"facts,omitempty"` // what was judged, for replay
	// FactsVersion is the policy.FactsVersion of the program that wrote the facts; absent
	// in records from before there were versions. Set by the log.
	FactsVersion int `json:"facts_version,omitempty"`
	// Shadow is what the policy in shadow would have done, if it is not the same.
	Shadow *Shadow `json:"shadow,omitempty"`

	// What the budget has to know, and the line does not say.
	Verified bool       `json:"-"` // a passkey has vouched for the session; false is the safe answer
	Peer     netip.Addr `json:"-"` // who is connected, where the client's address cannot be told

	// Sources is the list that DataHash is to name.
	Sources *DataList `json:"-"`
}

// Shadow is the verdict of a policy that runs beside the one that decides.
type Shadow struct {
	Policy string   `json:"policy"` // its hash
	Action string   `json:"action"`
	Rules  []string `json:"rules"`
}

// Outcome is the action of a record: the verdict, except for an event that failed or was
// refused although the policy allowed it. A search for allowed requests must not find
// such an event.
func Outcome(event, verdict string) string {
	if verdict == policy.Allow.String() && (strings.HasSuffix(event, "_failed") || strings.HasSuffix(event, "_refused")) {
		return "refused"
	}
	return verdict
}

// Events that the log writes about itself.
const (
	// EventRepaired: bytes at the end of the file that belonged to no acknowledged
	// record, left by a crash or another program, were cut off. Detail says how many.
	EventRepaired = "audit_repaired"
	// EventRecovered: the log could not be written for a while (requests got 503).
	EventRecovered = "audit_recovered"
)
