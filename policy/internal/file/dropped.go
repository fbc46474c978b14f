package file

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Dropped names what a policy has and the text that is to follow it has not: rules, tests,
// invariants and lists by their names, and top-level keys. Of the entry that the text ends
// with, which is where a file that is cut off is cut, it also names keys, entries of lists
// and ends of texts. What became another is not dropped. It is false if a text is no YAML
// mapping, and so no policy.
func Dropped(before, after []byte) (names []string, ok bool) {
	was, is := NewSource("", before).Parse(before, Policy), NewSource("", after).Parse(after, Policy)
	if was == nil || is == nil || was.Kind != yaml.MappingNode || is.Kind != yaml.MappingNode {
		return nil, false
	}
	var d dropped
	d.keys(was, is, "")
	old := named(was)
	for i := 0; i+1 < len(is.Content); i += 2 {
		key, value := is.Content[i].Value, is.Content[i+1]
		before, last := old[key], i+2 == len(is.Content)
		one := singular[key]
		switch {
		case before == nil || before.Kind != value.Kind:
		case one != "" && value.Kind == yaml.SequenceNode:
			d.entries(before, value, one)
			if n := len(value.Content); last && n > 0 {
				d.end(named(before)[nameOf(value.Content[n-1])], value.Content[n-1], "the "+one+" that the file ends with")
			}
		case last:
			d.end(before, value, key)
		case key == "lists":
			d.keys(before, value, "in lists, ")
		}
	}
	return d, true
}

// singular is what one entry of a key is called.
var singular = map[string]string{"rules": "rule", "tests": "test", "invariants": "invariant"}

type dropped []string

func (d *dropped) add(what string) { *d = append(*d, what) }

// keys names the keys of a mapping that are gone.
func (d *dropped) keys(was, is *Node, where string) {
	left := named(is)
	for i := 0; i+1 < len(was.Content); i += 2 {
		if name := was.Content[i].Value; left[name] == nil {
			d.add(where + name)
		}
	}
}

// entries names the entries of a sequence that are gone.
func (d *dropped) entries(was, is *Node, kind string) {
	left := named(is)
	for _, entry := range was.Content {
		if name := nameOf(entry); left[name] == nil {
			d.add("the " + kind + " " + name)
		}
	}
}

// end names what is gone at the end of a text, along its last values.
func (d *dropped) end(was, is *Node, where string) {
	switch {
	case was == nil || was.Kind != is.Kind:
	case is.Kind == yaml.MappingNode:
		d.keys(was, is, "in "+where+", ")
		if n := len(is.Content); n > 1 {
			d.end(named(was)[is.Content[n-2].Value], is.Content[n-1], where)
		}
	case is.Kind == yaml.SequenceNode:
		left := named(is)
		for _, entry := range was.Content {
			if entry.Kind == yaml.ScalarNode && left[entry.Value] == nil {
				d.add(fmt.Sprintf("%q in %s", entry.Value, where))
			}
		}
	case is.Kind == yaml.ScalarNode && is.Value != was.Value && strings.HasPrefix(was.Value, is.Value):
		d.add(fmt.Sprintf("%q in %s", strings.TrimPrefix(was.Value, is.Value), where))
	}
}

// named are the values of a mapping by key, or the entries of a sequence by what they are
// known by.
func named(n *Node) map[string]*Node {
	m := make(map[string]*Node, len(n.Content))
	if n.Kind == yaml.SequenceNode {
		for _, entry := range n.Content {
			m[nameOf(entry)] = entry
		}
		return m
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		m[n.Content[i].Value] = n.Content[i+1]
	}
	return m
}

// nameOf is what an entry is known by: its name, or else its condition, or its value.
func nameOf(entry *Node) string {
	if entry.Kind == yaml.MappingNode {
		for _, known := range []string{"name", "when"} {
			if v := named(entry)[known]; v != nil {
				return v.Value
			}
		}
	}
	return entry.Value
}
