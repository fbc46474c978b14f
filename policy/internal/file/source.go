package file

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/strictyaml"
)

// Source is a policy file being read: the strict YAML source, and how a policy says its
// text, numbers and durations.
type Source struct{ *strictyaml.Source }

// The parts of strict YAML that readers of a [Document] need.
type (
	Node        = strictyaml.Node
	Diagnostic  = strictyaml.Diagnostic
	Diagnostics = strictyaml.Diagnostics
)

func NewSource(file string, text []byte) *Source {
	s := strictyaml.NewSource(file, text)
	s.OnePerPlace = true
	return &Source{s}
}

// Kind is one kind of file, as messages name it, with what it needs to have.
type Kind struct{ what, least string }

var (
	Policy     = Kind{"the policy", "version: 1, and rules"}
	Tests      = Kind{"the file of tests", "tests: with at least one"}
	Invariants = Kind{"the file of invariants", "version: 1, and invariants"}
	Exceptions = Kind{"the file of exceptions", "exceptions: []"}
)

// Parse returns the top-level node, or nil after saying why there is none.
func (s *Source) Parse(text []byte, k Kind) *Node {
	root := s.Load(text, strictyaml.Format{What: k.what, Empty: k.least,
		Key: `quotes around the whole of a value that begins with a quote or a bracket, as in '"ops" in user.groups'; ` +
			"keys indented alike; no comment inside a value of several lines"})
	if root != nil {
		s.refuseIndirection(root)
	}
	return root
}

// refuseIndirection refuses anchors, aliases, merge keys and tags: a policy says what it
// says where it says it, and a reviewer reads it top to bottom.
func (s *Source) refuseIndirection(n *Node) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		s.At(n, Diagnostic{Message: "anchors and aliases (& and *) are not used in a policy",
			Expected: "a list under `lists:`, or quotes if this is an expression that begins with & or *"})
	case strictyaml.Tagged(n):
		s.At(n, Diagnostic{Message: fmt.Sprintf("YAML takes %s for a tag, and a policy has none", n.Tag),
			Expected: "quotes around an expression that begins with !", Suggestion: strictyaml.SingleQuoted(strings.TrimSpace(n.Tag + " " + n.Value))})
	}
	for _, c := range n.Content {
		s.refuseIndirection(c)
	}
}

// Fields returns the values of a mapping by key. what names the thing in messages.
func (s *Source) Fields(n *Node, what string, known ...string) map[string]*Node {
	if n.Kind != yaml.MappingNode {
		s.At(n, Diagnostic{Message: what + " has to be a mapping", Expected: "keys and values: " + strings.Join(known, ", ")})
		return nil
	}
	out := map[string]*Node{}
	for key, value := range s.Pairs(n, what, "one of "+strings.Join(known, ", ")) {
		if s.Hopeless() {
			break // hostile or hopeless: more of it would only cost time
		}
		if name := key.Value; known == nil || slices.Contains(known, name) {
			out[name] = value
			continue
		}
		d := Diagnostic{Message: fmt.Sprintf("%s has no key %q", what, key.Value), Suggestion: strictyaml.Nearest(key.Value, known)}
		if d.Suggestion == "" {
			d.Expected = "one of " + strings.Join(known, ", ")
		}
		s.At(key, d)
	}
	return out
}

// Key returns the node of a key that is there.
func Key(n *Node, name string) *Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i]
		}
	}
	return n
}

// Items returns the entries of a sequence.
func (s *Source) Items(n *Node, what string) []*Node {
	if n.Kind != yaml.SequenceNode {
		s.At(n, Diagnostic{Message: what + " has to be a list", Expected: "[a, b], or one entry a line after -"})
		return nil
	}
	return n.Content
}

// Text returns a scalar that is text.
func (s *Source) Text(n *Node, what string) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		s.At(n, Diagnostic{Message: what + " has to be text"})
	case n.Tag == "!!null" || n.Value == "":
		s.At(n, Diagnostic{Message: what + " is empty"})
	case n.Tag != "!!str" && n.Tag != "!!timestamp":
		s.At(n, Diagnostic{Message: fmt.Sprintf("%s has to be text; YAML reads %s as something else", what, n.Value),
			Expected: fmt.Sprintf("quotes: %q", n.Value)})
	default:
		return n.Value, true
	}
	return "", false
}

// Number returns a scalar that is a whole number of at least least.
func (s *Source) Number(n *Node, what string, least, most int) (int, bool) {
	var v int
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || !strictyaml.PlainNumber(n.Value) || n.Decode(&v) != nil || v < least || v > most {
		d := Diagnostic{Message: what + " has to be a whole number", Expected: fmt.Sprintf("%d to %d", least, most)}
		if least == most {
			d.Expected = strconv.Itoa(least)
		}
		switch {
		case n.Kind == yaml.ScalarNode && n.Tag == "!!int" && !strictyaml.PlainNumber(n.Value):
			d.Message = fmt.Sprintf("%s cannot be %s", what, n.Value)
			d.Expected = "digits without a leading 0: " + d.Expected
		case n.Kind == yaml.ScalarNode && n.Tag == "!!int" && v < least:
			d.Message = fmt.Sprintf("%s cannot be %s: it is too small", what, n.Value)
		case n.Kind == yaml.ScalarNode && n.Tag == "!!int":
			d.Message = fmt.Sprintf("%s cannot be %s: it is too large", what, n.Value)
		case n.Kind == yaml.ScalarNode && n.Tag == "!!str" && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
			d.Message = fmt.Sprintf("%s is in quotes, which makes it text", what)
		}
		// "10%", "1" in quotes, and 1e+01, which is how Helm renders large numbers
		x, err := strconv.ParseFloat(strings.TrimSuffix(n.Value, "%"), 64)
		if err == nil && x == math.Trunc(x) && x >= float64(least) && x <= float64(most) {
			d.Suggestion = strconv.Itoa(int(x))
		}
		s.At(n, d)
		return 0, false
	}
	return v, true
}

// Duration returns a scalar that is a positive duration.
func (s *Source) Duration(n *Node, what string) (time.Duration, bool) {
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		diag := Diagnostic{Message: what + " has to be a duration", Expected: "such as 30s, 5m, 1h30m or 24h", Suggestion: strictyaml.DurationMeant(n.Value)}
		if n.Kind == yaml.ScalarNode && n.Tag == "!!int" && n.Value != "0" {
			diag.Suggestion = n.Value + "s, or " + n.Value + "m"
		}
		s.At(n, diag)
		return 0, false
	}
	return d, true
}

// IsText reports whether a node is a scalar with something in it.
func IsText(n *Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag != "!!null" && strings.TrimSpace(n.Value) != ""
}
