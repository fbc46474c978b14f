package audit

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"sallyport/policy"
	"sallyport/policy/ipv4in6"
)

// RunKey identifies a run: requests with the same value are one line with a count.
type RunKey struct {
	Session string
	IP      string
	Route   string
	Policy  string
	// Decision distinguishes verdicts: "allow", and the rules that are named with it.
	Decision string
	// Method and Path are set for a request that may change something, or becomes a
	// connection on which that can be done, and for every refusal, so that each of these
	// is in the log by itself. They are empty for a read: a person who looks at a hundred
	// pages is one line.
	Method, Path string
}

// Safe reports whether a method asks for nothing but an answer (RFC 9110, 9.2.1). Methods
// that it does not know, WebDAV's among them, are taken for changes.
func Safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// maxKey is how much of a path a run remembers as it is.
const maxKey = 256

// KeyPath is a path as it stands in RunKey: a long one is told apart by its digest,
// so that padding makes no two of them one, and runs stay small.
func KeyPath(path string) string {
	if len(path) <= maxKey {
		return path
	}
	sum := sha256.Sum256([]byte(path))
	return path[:maxKey/2] + hex.EncodeToString(sum[:])
}

// RunKeyOf is the run that an allow belongs to, as AppendRun sees it.
func RunKeyOf(rec *Record) RunKey {
	k := RunKey{Session: rec.Session, IP: rec.IP, Route: rec.Route, Policy: rec.Policy, Decision: decisionOf(rec)}
	if rec.Method != "" && !Safe(rec.Method) || rec.Detail["upgrade"] != "" || rec.Detail["rpc_methods"] != "" {
		k.Method, k.Path = rec.Method, KeyPath(rec.Path)
		if to := rec.Detail["destination"]; to != "" {
			k.Path = KeyPath(rec.Path + " " + to)
		}
	}
	return k
}

// refusalOf is the run of a refusal, with all that it says. Strangers have as many
// of these as the budget pays for.
func refusalOf(rec *Record, t ipv4in6.Translators) RunKey {
	return RunKey{
		Session: rec.Session, IP: networkOf(rec, t, 32, 64), Route: rec.Route, Policy: rec.Policy,
		Decision: decisionOf(rec), Method: cmp.Or(rec.Method, "-"), Path: KeyPath(rec.Path),
	}
}

// overOf is the run of records that a bucket does not pay for: all records of one event
// together.
//
// High risk is split further: an alarm must not be counted under the line of another
// alarm. The first of each person, kind, code, reason and country is a line, even when
// every bucket is empty. That is bounded: kinds, codes and reasons are ours, and a known
// person has lost a password or a code. A finer place than the country (an address, a
// network) is not in the key, because an attacker can rent any number of those.
func overOf(rec *Record, key bucketKey) RunKey {
	if key.class == highRisk || key.class == unverifiedRisk {
		k := RunKey{
			Decision: fmt.Sprintf("over %s %q %q %q %q %q", key.class, rec.Event, rec.Action, rec.Detail["code"], rec.Detail["reason"], rec.Country),
			IP:       personOf(rec),
		}
		if key.scope == byCode || k.IP == "" { // else the narrowest bucket that is empty would multiply the lines
			k.Route = key.text
		}
		return k
	}
	return RunKey{Decision: fmt.Sprintf("over %s %s %q %q", key.class, key.scope, rec.Event, rec.Action), IP: key.text}
}

func decisionOf(rec *Record) string {
	if len(rec.Rules) == 0 && len(rec.Reported) == 0 && len(rec.Excepted) == 0 && rec.Shadow == nil && rec.Event == "access" && rec.Action == policy.Allow.String() && len(rec.Detail) == 0 {
		return rec.Action
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %q", rec.Event, rec.Action, rec.Rules)
	for _, name := range slices.Sorted(maps.Keys(rec.Detail)) {
		if name != "peer" { // its port is another one for each connection
			fmt.Fprintf(&b, " %q %q", name, KeyPath(rec.Detail[name]))
		}
	}
	for _, r := range rec.Reported {
		fmt.Fprintf(&b, " %q %s %d", r.Rule, r.Action, r.Score)
	}
	for _, x := range rec.Excepted {
		fmt.Fprintf(&b, " excepted %q %q %d", x.Rule, x.Exception, x.Until.Unix())
	}
	if s := rec.Shadow; s != nil {
		fmt.Fprintf(&b, " shadow %q %q %q", s.Policy, s.Action, s.Rules)
	}
	return KeyPath(b.String())
}
