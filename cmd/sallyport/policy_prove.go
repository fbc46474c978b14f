package main

import (
	"fmt"
	"strings"

	"sallyport/policy"
	"sallyport/policy/load"
	"sallyport/policy/prove"
)

type policyProveCmd struct {
	File string `arg:"" optional:"" placeholder:"FILE" help:"Policy file, such as a candidate (default: the configured one)."`
	JSON bool   `name:"json" help:"One JSON object a line, with the facts of a counter-example."`
}

// Run reports for each invariant whether it holds for every request; its answer is no
// unless all do. A policy whose tests fail is judged all the same.
func (p policyProveCmd) Run(g *globals, std stdio) error {
	c, intel, err := loadForPolicy(g, std, p.File)
	if err != nil {
		return err
	}
	loaded, err := load.Read(policyConfig(c, intel))
	if err != nil {
		return err
	}
	results := prove.Check(loaded.Policy)
	if len(results) == 0 {
		fmt.Fprint(std.err, noInvariants)
		return nil
	}
	if p.JSON {
		if err := list(std.out, true, results, "", nil); err != nil {
			return err
		}
	} else {
		printProofs(std, results)
		fmt.Fprintf(std.out, "%d of %s proven\n", len(results)-unproven(results), count(len(results), "invariant", "invariants"))
	}
	if unproven(results) > 0 {
		return errNo
	}
	return nil
}

// noInvariants says what an invariant is to an author who has none. Nothing is proven then,
// and nothing is refuted.
const noInvariants = `there are no invariants, so nothing is proven. One says what holds for every request, also after rules are added:

invariants:
  - name: tor-never-unasked
    always: step_up              # or always: block, or never: allow
    when: ip.tor
`

func unproven(results []prove.Result) (n int) {
	for _, r := range results {
		if r.Status != prove.Proven {
			n++
		}
	}
	return n
}

func printProofs(std stdio, results []prove.Result) {
	for _, r := range results {
		pinned := map[bool]string{true: "pinned, "}[r.Pinned]
		fmt.Fprintf(std.out, "%-9s %s (%sline %d: %s)\n", r.Status, plain(r.Name), pinned, r.Line, r.Claim)
		switch r.Status {
		case prove.Refuted:
			rules := ""
			if len(r.Decision.Rules) > 0 {
				rules = " (" + strings.Join(r.Decision.Rules, ", ") + ")"
			}
			fmt.Fprintf(std.out, "          this request gets %s%s; it should be\n", r.Decision.Action, rules)
			for line := range strings.Lines(r.Test) {
				fmt.Fprint(std.out, "          ", line)
			}
		case prove.Undecided, prove.Vacuous:
			fmt.Fprintf(std.out, "          %s\n", policy.Printable(r.Reason))
		case prove.Proven:
			if r.Vacuous {
				fmt.Fprintf(std.out, "          vacuous: %s\n", policy.Printable(r.Reason))
			}
		}
	}
}
