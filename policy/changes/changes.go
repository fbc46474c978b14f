// Package changes compares two policy files by what they say: rules, tests and invariants
// by name, lists by entry, and settings by key. Where two texts say the same in another
// layout, there is no change.
//
// It looks at texts and not at verdicts: who is affected is up to packages rehearse and
// rollout. It does not ask whether a file is right, only that it can be taken apart as
// YAML, so that a candidate with mistakes can be compared as well.
package changes

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/internal/file"
	"sallyport/policy/strictyaml"
)

// Kinds of things in a policy.
const (
	Rule      = "rule"
	Test      = "test"
	Invariant = "invariant"
	List      = "list"
	Setting   = "setting" // a key at the top, such as missing_data
)

// What happened to a thing.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// Change is one difference.
type Change struct {
	Kind   string  `json:"kind"`
	Name   string  `json:"name"`
	What   string  `json:"what"`
	Fields []Field `json:"fields,omitempty"` // what it says, or what of that differs
	// Gone and New are entries of a list.
	Gone []string `json:"gone,omitempty"`
	New  []string `json:"new,omitempty"`
}

// Field is a key of a thing, in the spelling of the file. "": it is not there.
type Field struct {
	Key string `json:"key"`
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
}

// Between says what `is` adds to `was`, takes away from it, or says otherwise: rules first, in
// the order of the file where they stand. The error is about a text that is no YAML
// mapping.
func Between(was, is []byte) ([]Change, error) {
	before, err := read("the one before", was)
	if err != nil {
		return nil, err
	}
	after, err := read("the candidate", is)
	if err != nil {
		return nil, err
	}
	var out []Change
	for _, kind := range []string{Rule, Test, Invariant, List, Setting} {
		out = append(out, between(kind, before[kind], after[kind])...)
	}
	return out, nil
}

// thing is a rule, a test, an invariant, a list or a setting.
type thing struct {
	name    string
	fields  map[string]string
	order   []string // of the keys
	entries []string // of a list
}

// things are those of one kind, by name, in the order of the file.
type things struct {
	order []string
	named map[string]thing
	same  map[string]int // how many more had a name
}

func between(kind string, was, is things) (out []Change) {
	for _, name := range is.order {
		a, b := was.named[name], is.named[name]
		c := Change{Kind: kind, Name: name, What: Changed, Fields: fields(a, b)}
		c.Gone, c.New = missing(a.entries, b.entries), missing(b.entries, a.entries)
		if _, there := was.named[name]; !there {
			c.What = Added
		}
		if c.What == Added || c.Fields != nil || c.Gone != nil || c.New != nil {
			out = append(out, c)
		}
	}
	for _, name := range was.order {
		if _, there := is.named[name]; !there {
			a := was.named[name]
			out = append(out, Change{Kind: kind, Name: name, What: Removed, Fields: fields(a, thing{}), Gone: a.entries})
		}
	}
	return out
}

func fields(a, b thing) (out []Field) {
	for _, key := range append(slices.Clone(b.order), missing(a.order, b.order)...) {
		was, had := a.fields[key]
		is, has := b.fields[key]
		if was != is || had != has {
			out = append(out, Field{key, was, is})
		}
	}
	return out
}

// missing are the entries of a that b does not have.
func missing(a, b []string) (out []string) {
	there := make(map[string]bool, len(b))
	for _, e := range b {
		there[e] = true
	}
	for _, e := range a {
		if !there[e] {
			out = append(out, e)
		}
	}
	return out
}

// read takes a policy apart.
func read(name string, text []byte) (map[string]things, error) {
	s := file.NewSource(name, text)
	root := s.Parse(text, file.Policy)
	if root == nil {
		return nil, s.Err()
	}
	out := map[string]things{}
	for _, kind := range []string{Rule, Test, Invariant, List, Setting} {
		out[kind] = things{named: map[string]thing{}, same: map[string]int{}}
	}
	named := map[string]string{"rules": Rule, "tests": Test, "invariants": Invariant}
	for key, value := range pairs(root) {
		switch kind, ok := named[key]; {
		case ok:
			for i, entry := range value.Content {
				add(out, kind, entryOf(entry, i))
			}
		case key == "lists":
			for name, entries := range pairs(value) {
				l := thing{name: name}
				for _, e := range entries.Content {
					l.entries = append(l.entries, part(e))
				}
				add(out, List, l)
			}
		default:
			add(out, Setting, settingOf(key, value))
		}
	}
	for _, kind := range []string{List, Setting} { // which have no order
		slices.Sort(out[kind].order)
	}
	return out, nil
}

// add keeps things of the same name apart.
func add(to map[string]things, kind string, t thing) {
	all := to[kind]
	name := t.name
	for _, there := all.named[t.name]; there; _, there = all.named[t.name] {
		all.same[name]++
		t.name = fmt.Sprintf("%s (%d)", name, all.same[name]+1)
	}
	all.named[t.name] = t
	all.order = append(all.order, t.name)
	to[kind] = all
}

// entryOf is a rule, a test or an invariant.
func entryOf(n *file.Node, i int) thing {
	t := thing{name: "number " + strconv.Itoa(i+1), fields: map[string]string{}}
	for key, value := range pairs(n) {
		if key == "name" {
			t.name = value.Value
			continue
		}
		t.order = append(t.order, key)
		t.fields[key] = say(value)
	}
	if len(n.Content) == 0 {
		t.fields[""], t.order = say(n), []string{""}
	}
	return t
}

func settingOf(key string, n *file.Node) thing {
	t := thing{name: key, fields: map[string]string{}}
	if parts := maps.Collect(pairs(n)); len(parts) > 0 {
		for _, k := range slices.Sorted(maps.Keys(parts)) {
			t.order = append(t.order, k)
			t.fields[k] = say(parts[k])
		}
		return t
	}
	t.fields[""], t.order = say(n), []string{""}
	return t
}

// say writes a value in one line, so that two values are the same if they are written the
// same.
func say(n *file.Node) string {
	var parts []string
	switch {
	case n.Kind == yaml.MappingNode:
		values := maps.Collect(pairs(n))
		for _, key := range slices.Sorted(maps.Keys(values)) {
			parts = append(parts, key+": "+part(values[key]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case n.Kind == yaml.SequenceNode:
		for _, e := range n.Content {
			parts = append(parts, part(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case n.Tag == "!!str" && readsOtherwise(n.Value):
		return strconv.Quote(n.Value)
	}
	return strings.TrimSpace(n.Value)
}

// part writes a value that stands beside others. A text that could pass for several, or for
// another one, has quotes: ["a, b"] is not [a, b], and "ops " no group ops.
func part(n *file.Node) string {
	text := n.Value
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && (strings.ContainsAny(text, "\",[]{}") || strings.Contains(text, ": ") || text != strings.TrimSpace(text)) {
		return strconv.Quote(text)
	}
	return say(n)
}

// readsOtherwise reports whether a text needs its quotes.
func readsOtherwise(text string) bool {
	return text == "" || strictyaml.PlainNumber(text) || slices.Contains([]string{"true", "false", "null", "~"}, text)
}

// pairs are the keys of a mapping and their values.
func pairs(n *file.Node) iter.Seq2[string, *file.Node] {
	return func(yield func(string, *file.Node) bool) {
		if n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i].Value, n.Content[i+1]) {
				return
			}
		}
	}
}
