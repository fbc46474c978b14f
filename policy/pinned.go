package policy

import (
	"cmp"
	"fmt"
	"slices"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
)

// Pinned is a file of invariants that every policy has to fulfil, in addition to those of
// the policy's own file: `version`, `lists` and `invariants` as in a policy. An insider
// may change the policy, its tests and its invariants together; this file belongs to
// another person.
type Pinned struct {
	Name   string // for messages
	Source []byte
}

// lists returns all constant lists: the policy's, and those of the pinned file, which
// win. A list has one meaning, or the same words would mean two things in a proof: that
// the policy declares another list of the name is a mistake in the policy.
func (b *builder) lists(p *file.Document) map[string]expr.List {
	all := map[string]expr.List{}
	for name, l := range b.Lists {
		all[name] = l.Values
	}
	if p == nil {
		return all
	}
	for name, l := range p.Lists {
		if own := b.Lists[name]; own != nil && !sameList(own.Values, l.Values) {
			b.At(own.Node, Diagnostic{Message: fmt.Sprintf("the list %s is declared in %s with other entries", name, p.Name),
				Expected: "no list " + name + " here: rules may use the one there; or the same entries"})
		}
		all[name] = l.Values
	}
	return all
}

func sameList(a, b expr.List) bool {
	return sameEntries(a.Strings, b.Strings) && sameEntries(a.Ints, b.Ints)
}

func sameEntries[T cmp.Ordered](a, b []T) bool {
	sorted := func(l []T) []T { return slices.Compact(slices.Sorted(slices.Values(l))) }
	return slices.Equal(sorted(a), sorted(b))
}

// pin compiles the pinned invariants into p. They read the lists of their own file only:
// the policy could empty its own.
func (b *builder) pin(p *Policy, f *file.Document) {
	in := &builder{Document: f, config: b.config, words: b.words}
	for _, v := range f.Invariants {
		pinned := in.invariant(p, v)
		pinned.Pinned = true
		if pinned.When != nil {
			for _, l := range pinned.When.Lists() {
				if f.Lists[l] == nil {
					in.At(v.When, Diagnostic{Message: fmt.Sprintf("the list %s belongs to the policy, which could change it", l), Expected: "a list under `lists:` of this file"})
				}
			}
		}
		p.invariants = append(p.invariants, pinned)
	}
	b.cost += in.cost
	for _, v := range b.Invariants {
		if slices.ContainsFunc(f.Invariants, func(o *file.Invariant) bool { return o.Name == v.Name }) {
			b.At(v.Node, Diagnostic{Message: fmt.Sprintf("there is another invariant %q, in %s", v.Name, f.Name), Expected: "a name of its own"})
		}
	}
}
