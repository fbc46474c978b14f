package policy

import (
	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
)

// Claim is what an invariant says of every request for which its `when` holds.
type Claim string

const (
	// NeverAllow: however fresh and well made the person's passkey assertion is, the verdict
	// is not allow. A step-up that an assertion can answer does not fulfil it.
	NeverAllow Claim = "never: allow"
	// NeverBlock: no rule blocks, alone or by its score, but for those in Except, and nor does
	// missing data. A question may be asked, one that the person cannot answer too.
	NeverBlock Claim = "never: block"
	// AlwaysStepUp: the verdict is a block, or the person is at least asked to step up.
	// It is judged for a person without a useful assertion ([Policy.Unanswered]).
	AlwaysStepUp Claim = "always: step_up"
	// AlwaysBlock: the verdict is a block.
	AlwaysBlock Claim = "always: block"
)

// Invariant is one compiled entry of `invariants:`. Compile only reads them; package
// policy/prove says whether they hold.
type Invariant struct {
	Name  string
	Claim Claim
	When  *expr.Program
	// Except names the rules that may break NeverBlock.
	Except []string
	// Pinned says that it is not the policy's own: see [Pinned].
	Pinned bool
	// At is a diagnostic at the entry, without a message.
	At Diagnostic
}

func (b *builder) invariant(p *Policy, v *file.Invariant) Invariant {
	at := Diagnostic{File: b.Name, Line: v.Node.Line, Column: v.Node.Column, Excerpt: b.Excerpt(v.Node.Line, v.Node.Column)}
	out := Invariant{Name: v.Name, Claim: claimOf(v), When: b.expression(p, v.When), At: at}
	for _, n := range v.Except {
		out.Except = append(out.Except, n.Value)
	}
	return out
}

func claimOf(v *file.Invariant) Claim {
	switch {
	case v.Always == file.StepUp:
		return AlwaysStepUp
	case v.Always == file.Block:
		return AlwaysBlock
	case v.Never == file.Block:
		return NeverBlock
	}
	return NeverAllow
}
