package rehearse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/policy"
)

// Recorded is a decision as it was recorded.
type Recorded struct {
	Seq      int64
	Time     time.Time
	User     string // e-mail address; "" without a person
	Incident string
	Count    int64 // how many decisions the record stands for; 0 is 1
	Action   policy.Action
	Rules    []string
	Excepted []policy.Excepted // rules that exceptions suspended then
	Policy   string            // hash of the policy that decided

	Facts policy.Facts
	// Lacking names the facts that the record does not have: not those that are zero, but
	// those that its writer did not know, or cut short.
	Lacking []string
}

// times is how many decisions the record stands for.
func (r *Recorded) times() int64 { return max(1, r.Count) }

// cutMark ends a text that was too long for a record.
const cutMark = "…"

// MayLack reports whether a record has to be looked at by [Lacking].
func MayLack(raw []byte, version int) bool {
	return version < policy.FactsVersion || bytes.Contains(raw, []byte(cutMark)) || bytes.Contains(raw, []byte(`\u2026`))
}

// Lacking names the facts that a record does not have. facts is their JSON, written by a
// program that knew the given version of the list (0: from before there were versions);
// names are all facts there are.
//
// A fact that is zero is not in the JSON. In a record of an old version, an absent fact
// that was added later is therefore lacking; a fact that is there was known, regardless
// of the version.
func Lacking(facts []byte, version int, names []string) (lacking []string, err error) {
	var groups map[string]map[string]json.RawMessage
	if err := json.Unmarshal(facts, &groups); err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}
	for _, name := range names {
		group, field, _ := strings.Cut(name, ".")
		value, there := groups[group][field]
		if !there && name == "ip.region" { // policy.IP.DeriveRegion: it is lacking where the subdivisions are
			value, there = groups["ip"]["subdivisions"], true
		}
		if !there && policy.Since(name) > max(1, version) || there && wasCut(value) {
			lacking = append(lacking, name)
		}
	}
	return lacking, nil
}

// wasCut reports whether a text or a list was shortened when it was recorded.
func wasCut(value json.RawMessage) bool {
	var text string
	var list []string
	if json.Unmarshal(value, &text) == nil {
		return strings.HasSuffix(text, cutMark)
	}
	return json.Unmarshal(value, &list) == nil && slices.ContainsFunc(list, func(s string) bool { return strings.HasSuffix(s, cutMark) })
}
