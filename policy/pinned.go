package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/internal/expr"
)

// Pinned is a file of invariants that every policy has to fulfil, whatever the policy's own
// file says: `version`, `lists` and `invariants` as in a policy. The insider it is about may
// change the policy, its tests and its invariants together; this file belongs to another person.
type Pinned struct {
	Name   string // for messages
	Source []byte
}

// pinned is a file of invariants that was read.
type pinned struct {
	*source
	document *document
}

// readPinned takes the file apart. Nil: there is none, or it is not usable, which the error says.
func readPinned(f *Pinned) (*pinned, error) {
	if f == nil {
		return nil, nil
	}
	s := newSource(f.Name, nil)
	if len(f.Source) > maxSource {
		s.add(1, 1, Diagnostic{Message: fmt.Sprintf("the file of invariants has %d bytes", len(f.Source)), Expected: fmt.Sprintf("at most %d", maxSource)})
		return nil, s.diagnostics()
	}
	s = newSource(f.Name, f.Source)
	if len(bytes.TrimSpace(f.Source)) == 0 {
		s.add(1, 1, Diagnostic{Message: "the file of invariants is empty", Expected: "version: 1, and invariants"})
		return nil, s.diagnostics()
	}
	root := s.parse(f.Source)
	if root == nil {
		return nil, s.diagnostics()
	}
	d := &document{lists: map[string]*listSource{}}
	top := s.fields(root, "the file of invariants", pinnedKeys.names()...)
	if v := top["version"]; v != nil {
		s.number(v, "version", 1, 1)
	} else if top != nil {
		s.at(root, Diagnostic{Message: "the file does not say which version of the format it is", Expected: "version: 1"})
	}
	if n := top["lists"]; n != nil {
		s.readLists(d, n)
	}
	switch n := top["invariants"]; {
	case n != nil:
		s.readInvariants(d, n)
		if n.Kind == yaml.SequenceNode && len(n.Content) == 0 { // an accident or an attack, not a wish
			s.at(n, Diagnostic{Message: "the file has no invariants", Expected: "at least one"})
		}
	case top != nil:
		s.at(root, Diagnostic{Message: "the file has no invariants", Expected: "invariants: with at least one"})
	}
	if err := s.diagnostics(); err != nil {
		return nil, err
	}
	return &pinned{s, d}, nil
}

// lists returns all constant lists: the policy's, and those of the pinned file, which win.
// A list has one meaning, or the same words would mean two things in a proof: that the
// policy declares another list of the name is a mistake in the policy.
func (b *builder) lists(p *pinned) map[string]expr.List {
	all := map[string]expr.List{}
	for name, l := range b.document.lists {
		all[name] = l.values
	}
	if p == nil {
		return all
	}
	for name, l := range p.document.lists {
		if own := b.document.lists[name]; own != nil && !sameList(own.values, l.values) {
			b.at(own.node, Diagnostic{Message: fmt.Sprintf("the list %s is declared in %s with other entries", name, p.file),
				Expected: "no list " + name + " here: rules may use the one there; or the same entries"})
		}
		all[name] = l.values
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
func (b *builder) pin(p *Policy, f *pinned) {
	in := &builder{source: f.source, config: b.config, document: f.document, words: b.words}
	for _, v := range f.document.invariants {
		pinned := in.invariant(p, v)
		pinned.Pinned = true
		if pinned.When != nil {
			for _, l := range pinned.When.Lists() {
				if f.document.lists[l] == nil {
					in.at(v.when, Diagnostic{Message: fmt.Sprintf("the list %s belongs to the policy, which could change it", l), Expected: "a list under `lists:` of this file"})
				}
			}
		}
		p.invariants = append(p.invariants, pinned)
	}
	b.cost += in.cost
	for _, v := range b.document.invariants {
		if slices.ContainsFunc(f.document.invariants, func(o *invariantSource) bool { return o.name == v.name }) {
			b.at(v.node, Diagnostic{Message: fmt.Sprintf("there is another invariant %q, in %s", v.name, f.file), Expected: "a name of its own"})
		}
	}
}
