package policy

import (
	"fmt"
	"slices"
	"time"
)

// Action is what happens to a request. The zero value blocks.
type Action int

const (
	Block Action = iota
	StepUp
	Allow
)

func (a Action) String() string {
	switch a {
	case Allow:
		return "allow"
	case StepUp:
		return "step_up"
	default:
		return "block"
	}
}

// MarshalText and UnmarshalText give Action its names in JSON and YAML.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

func (a *Action) UnmarshalText(b []byte) error {
	for _, c := range []Action{Block, StepUp, Allow} {
		if c.String() == string(b) {
			*a = c
			return nil
		}
	}
	return fmt.Errorf("%q is not an action (block, step_up, allow)", b)
}

// Cause is the kind of fact that a decision rests on, derived from the facts that the
// matched rules read. A refused person learns nothing else of the policy.
type Cause string

const (
	CauseSignIn     Cause = "sign_in"    // no one is signed in
	CauseUnverified Cause = "unverified" // signed in, no passkey assertion yet in this session
	CauseGrant      Cause = "grant"      // the route's allow does not name this person
	CauseNetwork    Cause = "network"    // reads ip.* or address.*
	CauseHistory    Cause = "history"    // reads seen.*, travel.*, or that the session moved
	CauseDevice     Cause = "device"     // reads device.*, browser.*, or that the browser changed
	CausePerson     Cause = "person"     // reads user.*
	CauseSession    Cause = "session"    // reads session.*
	CauseCredential Cause = "credential" // reads credential.*, or asks for another kind of passkey
	CauseRequest    Cause = "request"    // reads request.*
	CauseTime       Cause = "time"       // reads time.*
)

// Decision is a verdict and why. The zero value blocks.
type Decision struct {
	Action Action `json:"action"`
	// Rules names the enforced rules that matched and were not satisfied, in file order;
	// "baseline.*" for the fixed rules.
	Rules []string `json:"rules,omitempty"`
	// Reasons are those rules' `reason` texts (for the audit log and the security team).
	Reasons []string `json:"reasons,omitempty"`
	// Causes say it in kinds, for the person; deduplicated, most telling first.
	Causes []Cause `json:"causes,omitempty"`
	// MaxAge, for StepUp: how old an assertion may be to satisfy every rule that asked.
	MaxAge time.Duration `json:"max_age,omitempty"`
	// Require, for StepUp: credential requirements (such as "device_bound") that the
	// assertion must meet.
	Require []string `json:"require,omitempty"`
	// Score is the sum of the scores of the enforced rules that matched.
	Score int `json:"score,omitempty"`
	// Reported are the matches of rules in `mode: report`, which change nothing.
	Reported []Reported `json:"reported,omitempty"`
	// Excepted are the rules that would be in Rules if no exception suspended them.
	Excepted []Excepted `json:"excepted,omitempty"`
}

// LeastMaxAge is the shortest age of an assertion, asked for by a step-up, that people can
// keep up with: the page behind a question loads more than one thing, and below it each
// request would ask again.
const LeastMaxAge = 10 * time.Second

// AsksInVain reports that the decision is a step-up for another kind of passkey than c,
// which is the one that the person used: unless they have a further one, it is as good as
// a block. If the person used none yet, it is false.
func (d *Decision) AsksInVain(c Credential) bool {
	return d.Action == StepUp && c.Class != "" && c.Class != "none" && slices.ContainsFunc(d.Require, func(r string) bool { return !meets(c, r) })
}

// Looser reports that d lets more through than o: it is less strict, or its question is
// answered by an older assertion or by more kinds of passkey.
func (d *Decision) Looser(o *Decision) bool {
	if d.Action != o.Action || d.Action != StepUp {
		return d.Action > o.Action
	}
	// Without an age any assertion answers, as for the baseline.
	older := o.MaxAge > 0 && (d.MaxAge == 0 || d.MaxAge > o.MaxAge)
	return older || slices.ContainsFunc(o.Require, func(r string) bool { return !slices.Contains(d.Require, r) })
}

// Reported is what a report-only rule would have done.
type Reported struct {
	Rule   string `json:"rule"`
	Action Action `json:"action"`
	Score  int    `json:"score,omitempty"`
}
