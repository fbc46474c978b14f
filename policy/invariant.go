package policy

import (
	"fmt"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/internal/expr"
)

// maxInvariants in one policy file.
const maxInvariants = 200

// Claim is what an invariant says of every request for which its `when` holds.
type Claim string

const (
	// NeverAllow: however fresh and well made the person's passkey assertion is, the verdict
	// is not allow. A step-up that an assertion can answer does not fulfil it.
	NeverAllow Claim = "never: allow"
	// AlwaysStepUp: the verdict is a block, or the person is at least asked to step up. Judged as for
	// somebody whose assertion answers nothing ([Policy.Asked]).
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
	// Pinned says that it is not the policy's own: see [Pinned].
	Pinned bool
	// At is a diagnostic at the entry, without a message.
	At Diagnostic
}

type invariantSource struct {
	node  *yaml.Node
	name  string
	claim Claim
	when  *yaml.Node
}

func (s *source) readInvariants(d *document, n *yaml.Node) {
	seen := map[string]bool{}
	for i, entry := range s.items(n, "invariants") {
		if i == maxInvariants {
			s.at(entry, Diagnostic{Message: fmt.Sprintf("the policy has more than %d invariants", maxInvariants)})
			return
		}
		f := s.fields(entry, "an invariant", invariantKeys.names()...)
		if f == nil {
			continue
		}
		v := &invariantSource{node: entry, when: f["when"], name: fmt.Sprintf("invariant-%d", i+1)}
		if f["name"] != nil {
			if name, ok := s.text(f["name"], "the name of an invariant"); ok {
				v.name = name
			}
			v.node = f["name"]
		}
		if seen[v.name] {
			s.at(v.node, Diagnostic{Message: fmt.Sprintf("there is another invariant %q", v.name), Expected: "a name of its own"})
		}
		seen[v.name] = true
		if v.when == nil {
			s.at(entry, Diagnostic{Message: fmt.Sprintf("the invariant %s has no condition", v.name), Expected: "when: an expression"})
		}
		v.claim = s.claim(entry, v.name, f["never"], f["always"])
		d.invariants = append(d.invariants, v)
	}
}

// claim reads exactly one of never and always.
func (s *source) claim(entry *yaml.Node, name string, never, always *yaml.Node) Claim {
	switch {
	case never != nil && always != nil:
		s.at(always, Diagnostic{Message: "an invariant has either never or always", Expected: "one of them"})
	case never != nil:
		if s.action(never, "never", Allow) == Allow {
			return NeverAllow
		}
	case always != nil && always.Value == Allow.String():
		s.at(always, Diagnostic{Message: "a policy cannot promise to let somebody in: rules only narrow what a route's `allow` grants", Expected: "always: step_up or always: block"})
	case always != nil:
		if s.action(always, "always", StepUp, Block) == StepUp {
			return AlwaysStepUp
		}
		return AlwaysBlock
	default:
		s.at(entry, Diagnostic{Message: fmt.Sprintf("the invariant %s claims nothing", name), Expected: "never: allow, always: step_up, or always: block"})
	}
	return NeverAllow
}

func (b *builder) invariant(p *Policy, v *invariantSource) Invariant {
	at := Diagnostic{File: b.file, Line: v.node.Line, Column: v.node.Column, Excerpt: b.excerpt(v.node.Line, v.node.Column)}
	return Invariant{Name: v.name, Claim: v.claim, When: b.expression(p, v.when), At: at}
}
