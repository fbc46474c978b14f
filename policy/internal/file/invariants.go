package file

import "fmt"

func (s *Source) readInvariants(d *Document, n *Node) {
	seen := map[string]bool{}
	for i, entry := range s.Items(n, "invariants") {
		if i == maxInvariants {
			s.At(entry, Diagnostic{Message: fmt.Sprintf("the policy has more than %d invariants", maxInvariants)})
			return
		}
		f := s.Fields(entry, "an invariant", invariantKeys.Names()...)
		if f == nil {
			continue
		}
		v := &Invariant{Node: entry, When: f["when"], Name: fmt.Sprintf("invariant-%d", i+1)}
		if f["name"] != nil {
			if name, ok := s.Text(f["name"], "the name of an invariant"); ok {
				v.Name = name
			}
			v.Node = f["name"]
		}
		if seen[v.Name] {
			s.At(v.Node, Diagnostic{Message: fmt.Sprintf("there is another invariant %q", v.Name), Expected: "a name of its own"})
		}
		seen[v.Name] = true
		if v.When == nil {
			s.At(entry, Diagnostic{Message: fmt.Sprintf("the invariant %s has no condition", v.Name), Expected: "when: an expression"})
		}
		v.Never, v.Always = s.claim(entry, v.Name, f["never"], f["always"])
		if n := f["except"]; n != nil {
			v.Except = s.Items(n, "except")
			if v.Never != Block {
				s.At(n, Diagnostic{Message: "except goes with never: block alone: it names the rules that may block", Expected: "no except here"})
			}
			for _, rule := range v.Except {
				s.Text(rule, "the name of a rule")
			}
		}
		d.Invariants = append(d.Invariants, v)
	}
}

// claim reads exactly one of never and always.
func (s *Source) claim(entry *Node, name string, never, always *Node) (neverIs, alwaysIs string) {
	switch {
	case never != nil && always != nil:
		s.At(always, Diagnostic{Message: "an invariant has either never or always", Expected: "one of them"})
	case never != nil && never.Value == StepUp:
		s.At(never, Diagnostic{Message: fmt.Sprintf("an invariant cannot rule out %s: rules may always tighten", never.Value),
			Expected: "never: allow, for at least a question; always: " + never.Value + ", if that is what has to happen"})
	case never != nil:
		return s.action(never, "never", Allow, Block), ""
	case always != nil && always.Value == Allow:
		s.At(always, Diagnostic{Message: "a policy cannot promise to let a person in: rules only narrow what a route's `allow` grants", Expected: "always: step_up or always: block"})
	case always != nil:
		return "", s.action(always, "always", StepUp, Block)
	default:
		s.At(entry, Diagnostic{Message: fmt.Sprintf("the invariant %s claims nothing", name), Expected: "never: allow, never: block, always: step_up, or always: block"})
	}
	return Allow, ""
}
