package policy

import (
	"fmt"
	"strings"
)

// Brief is the verdict with the rules that had a say in it, what their conditions came
// to and the facts that they read: Text without what did not matter.
func (e Explanation) Brief() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", e.verdict())
	if len(e.Decision.Rules) > 0 {
		fmt.Fprintf(&b, " by %s", strings.Join(e.Decision.Rules, ", "))
	}
	b.WriteByte('\n')
	if e.Refused != "" {
		fmt.Fprintf(&b, "  refused: %s\n", Printable(e.Refused))
	}
	for _, x := range e.Decision.Excepted {
		fmt.Fprintf(&b, "  but for an exception: %s\n", x.Text())
	}
	for _, r := range e.Baseline {
		if r.Outcome == OutcomeMatched {
			fmt.Fprintf(&b, "  %s: %s\n", r.Name, e.why(r))
		}
	}
	for _, r := range e.Rules {
		switch r.Outcome {
		case OutcomeMatched, OutcomeSatisfied, OutcomeReported, OutcomeExcepted:
			e.write(&b, r)
		}
	}
	return b.String()
}
