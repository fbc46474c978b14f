// Package prove decides whether the invariants of a policy hold: for all requests, and
// not only for those of its tests.
//
// It splits every condition of the rules into its atoms (`ip.vpn`, `ip.asn in lists.x`,
// `session.age > duration("8h")`). The relations between atoms over the same fact are
// stated exactly if they are known ([theory]: numbers with intervals, texts with sets,
// addresses with networks, lists with their entries); the verdict is written as a circuit
// over the atoms, and a SAT solver looks for a request that breaks the claim. An atom
// that is not understood is left free: it may be true or false, independent of the
// others. That can only add requests, so:
//
//   - nothing found: there is no such request, and the invariant is [Proven];
//   - something found: values are put in for every fact and the production evaluator
//     judges them. Only if it agrees is the invariant [Refuted], with those facts;
//   - otherwise it is [Undecided], and the reason names what could not be followed. That
//     is no pass.
//
// An invariant whose condition no request fulfils is [Vacuous], which is no pass either.
// One that would hold without any rule is proven, and called vacuous beside it.
//
// Rules over paths are also asked about the path as it is folded (see Paths in
// policy/reference.md), and the circuit leaves that out. It only makes verdicts stricter,
// and all claims are that verdicts are strict enough: what is proven holds. What only a
// path in another spelling would break is undecided, not refuted.
//
// What is taken as given: facts have values that facts.go says they can have; the `allow`
// of routes names every person; and what a condition cannot be evaluated for counts as
// matching, as in production. Facts so large that evaluating a rule on them is given up
// make it match, which is only stricter.
//
// With the same means [Idle] finds the rules that can do nothing, and [Conditions] the
// parts of conditions that say nothing or other than they seem to, for `policy lint`.
package prove

import (
	"fmt"
	"strings"
	"time"

	"sallyport/policy"
)

// Bounds on one call, so that a hostile policy cannot hold up a load. Past them an
// invariant is undecided.
const (
	maxTime   = 3 * time.Second
	maxNodes  = 4_000_000 // gates of the circuit
	maxSums   = 200_000   // gates for the sum of the scores
	maxPoints = 20_000    // values that one number is compared with
	maxRounds = 24        // candidates that turn out not to be requests, before giving up
	maxPeople = 256       // people who are tried where a percentage of them is drawn
)

// Status is what is known of an invariant. The zero value is no pass.
type Status int

const (
	Undecided Status = iota
	Refuted
	Vacuous // its condition never holds: it claims nothing, and that is no pass either
	Proven
)

func (s Status) String() string {
	switch s {
	case Proven:
		return "proven"
	case Refuted:
		return "refuted"
	case Vacuous:
		return "vacuous"
	default:
		return "undecided"
	}
}

// MarshalText gives Status its names in JSON.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Result is what is known of one invariant.
type Result struct {
	Name   string       `json:"name"`
	Pinned bool         `json:"pinned,omitempty"` // of policy_invariants, not of the policy's own file
	Line   int          `json:"line"`
	Claim  policy.Claim `json:"claim"`
	When   string       `json:"when"`
	Status Status       `json:"status"`
	// Vacuous: its condition never holds (Status says so too); or it is Proven, and would be
	// without any rule.
	Vacuous bool `json:"vacuous,omitempty"`
	// Reason says why it is undecided or vacuous.
	Reason string `json:"reason,omitempty"`
	// Facts is a request that breaks it, and Decision the verdict about that, if it is
	// refuted. The verdict takes the grants of routes as given.
	Facts    *policy.Facts    `json:"facts,omitempty"`
	Decision *policy.Decision `json:"decision,omitempty"`
	// Test is that request as an entry for `tests:`, which fails until the invariant is
	// fulfilled.
	Test string `json:"test,omitempty"`

	at policy.Diagnostic
}

// Check judges every invariant of the policy, in file order.
func Check(p *policy.Policy) []Result { return check(p, nil) }

// check is Check without some theories, which only makes it know less.
func check(p *policy.Policy, without map[theory]bool) []Result {
	m := p.Model()
	if len(m.Invariants) == 0 {
		return nil
	}
	out := make([]Result, len(m.Invariants))
	for i, v := range m.Invariants {
		out[i] = Result{Name: v.Name, Pinned: v.Pinned, Line: v.At.Line, Claim: v.Claim, When: v.When.Text(), at: v.At}
	}
	s, err := newSolver(&m, without, nil)
	if err != nil {
		for i := range out {
			out[i].Reason = err.Error()
		}
		return out
	}
	for i := range out {
		s.decide(&out[i], i)
	}
	return out
}

// At is where the invariant stands, without a message.
func (r *Result) At() policy.Diagnostic { return r.at }

// Verify is Check for a policy that is to be enforced: an error, [policy.Diagnostics],
// unless every invariant is proven.
func Verify(p *policy.Policy) error {
	var found policy.Diagnostics
	for _, r := range Check(p) {
		if r.Status != Proven {
			found = append(found, r.diagnostic())
		}
	}
	if found == nil {
		return nil
	}
	return found
}

func (r Result) diagnostic() policy.Diagnostic {
	d := r.at
	switch r.Status {
	case Refuted:
		d.Message = policy.Printable(fmt.Sprintf("the invariant %s (%s) does not hold: this request gets %s", r.Name, r.Claim, r.Decision.Action))
		if len(r.Decision.Rules) > 0 {
			d.Message += " (" + strings.Join(r.Decision.Rules, ", ") + ")"
		}
		d.Expected = "rules under which this test passes:\n" + r.Test
		if len(r.Decision.Excepted) > 0 {
			x := r.Decision.Excepted[0]
			d.Message += fmt.Sprintf(", because an exception suspends %s", policy.Printable(x.Text()))
			d.Expected = "an exception for less, or none (tests are judged without exceptions):\n" + r.Test
		}
	case Vacuous:
		d.Message = policy.Printable(fmt.Sprintf("the invariant %s (%s) is vacuous: %s", r.Name, r.Claim, r.Reason))
		d.Expected = "a condition that can hold, or no such invariant"
	default:
		d.Message = policy.Printable(fmt.Sprintf("whether the invariant %s (%s) holds cannot be decided: %s", r.Name, r.Claim, r.Reason))
		d.Expected = "conditions that compare facts with constants; see Invariants in policy/reference.md"
	}
	return d
}
