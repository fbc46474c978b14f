package file

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"sallyport/policy/internal/expr"
)

// Source is a policy file being read. It knows YAML and positions, and collects what
// is wrong.
type Source struct {
	// Name of the file, for messages.
	Name    string
	lines   []string
	found   Diagnostics
	dropped int
}

// Node is a node of the YAML tree, with its position.
type Node = yaml.Node

// MaxDiagnostics bounds the answer to a hostile or hopeless file.
const MaxDiagnostics = 50

// maxDepth of the YAML tree; a policy needs six.
const maxDepth = 16

func NewSource(file string, text []byte) *Source {
	return &Source{Name: file, lines: strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")}
}

// Parse returns the top-level node, or nil after saying why there is none.
func (s *Source) Parse(text []byte) *Node {
	var doc yaml.Node
	err := yaml.Load(text, &doc, yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		s.addLoadError(err)
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		s.Add(1, 1, Diagnostic{Message: "the policy is empty", Expected: "version: 1, and rules"})
		return nil
	}
	s.refuseIndirection(&doc)
	return doc.Content[0]
}

func (s *Source) addLoadError(err error) {
	line, column, message := 1, 1, err.Error()
	var load *yaml.LoadError
	if errors.As(err, &load) {
		message = load.Message
		if load.ContextMsg != "" {
			message = load.ContextMsg + ": " + message
		}
		if load.Mark.Line > 0 {
			line, column = load.Mark.Line, max(1, load.Mark.Column)
		}
	}
	d := Diagnostic{Message: "this is not YAML: " + message}
	switch {
	case strings.Contains(message, "no documents"):
		// An empty file is what a failed copy or a full disk leaves behind. It is never
		// "no rules".
		d = Diagnostic{Message: "the policy is empty", Expected: "version: 1, and rules"}
	case strings.Contains(message, "expected single document"):
		line, d = s.secondDocument(), Diagnostic{Message: "the file holds more than one YAML document", Expected: "one; remove the line with ---"}
	case strings.Contains(message, "cannot start any token"):
		d.Expected = "spaces rather than tabs in front; quotes around text that begins with a special character such as ! @ ` % &"
	case strings.Contains(message, "did not find expected key"):
		d.Expected = `quotes around the whole of a value that begins with a quote or a bracket, as in '"ops" in user.groups'; ` +
			"keys indented alike; no comment inside a value of several lines"
	case strings.Contains(message, "mapping values are not allowed"):
		d.Expected = `quotes around a text with ": " in it`
	}
	s.Add(line, column, d)
}

// secondDocument is the line where one begins.
func (s *Source) secondDocument() int {
	begun := false
	for i, text := range s.lines {
		if begun && (strings.HasPrefix(text, "---") || strings.HasPrefix(text, "...")) {
			return i + 1
		}
		text = strings.TrimSpace(text)
		begun = begun || text != "" && text[0] != '#'
	}
	return 1
}

// refuseIndirection refuses anchors, aliases, merge keys and tags: a policy says what it
// says where it says it, and a reviewer reads it top to bottom.
func (s *Source) refuseIndirection(n *Node) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		s.At(n, Diagnostic{Message: "anchors and aliases (& and *) are not used in a policy",
			Expected: "a list under `lists:`, or quotes if this is an expression that begins with & or *"})
	case n.Style&yaml.TaggedStyle != 0:
		s.At(n, Diagnostic{Message: fmt.Sprintf("YAML takes %s for a tag, and a policy has none", n.Tag),
			Expected: "quotes around an expression that begins with !", Suggestion: strconv.Quote(strings.TrimSpace(n.Tag + " " + n.Value))})
	}
	for _, c := range n.Content {
		s.refuseIndirection(c)
	}
}

// Add records a mistake at a line and column (both 1-based).
func (s *Source) Add(line, column int, d Diagnostic) {
	if len(s.found) >= MaxDiagnostics {
		s.dropped++
		return
	}
	d.File, d.Line, d.Column = s.Name, line, column
	d.Message, d.Expected, d.Suggestion = Printable(d.Message), Printable(d.Expected), Printable(d.Suggestion)
	d.Excerpt = s.Excerpt(line, column)
	for _, have := range s.found {
		// Of two mistakes at one place the first said more: an alias is refused before it
		// is missed as a list.
		if have.Line == line && have.Column == column {
			return
		}
	}
	s.found = append(s.found, d)
}

func (s *Source) At(n *Node, d Diagnostic) { s.Add(n.Line, n.Column, d) }

// In records a mistake at an offset (in characters) within a scalar's value.
func (s *Source) In(n *Node, offset int, d Diagnostic) {
	line, column := s.Position(n, offset)
	s.Add(line, column, d)
}

// Err returns what was found, in file order, or nil.
func (s *Source) Err() error {
	if len(s.found) == 0 {
		return nil
	}
	found := slices.Clone(s.found) // more may be added, and then it is asked again
	slices.SortStableFunc(found, func(a, b Diagnostic) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if s.dropped > 0 {
		last := found[len(found)-1]
		found = append(found, Diagnostic{File: s.Name, Line: last.Line, Column: last.Column,
			Message: fmt.Sprintf("and %d more mistakes", s.dropped)})
	}
	return found
}

// Excerpt shows the line with a caret under the column.
func (s *Source) Excerpt(line, column int) string {
	if line < 1 || line > len(s.lines) {
		return ""
	}
	text := []rune(Printable(s.lines[line-1]))
	column = max(1, min(column, len(text)+1))
	const before, width = 100, 140
	if from := column - before; from > 0 && len(text) > width {
		text, column = append([]rune("..."), text[from:]...), before+3
	}
	if len(text) > width {
		text = append(text[:width:width], []rune("...")...)
	}
	margin := fmt.Sprintf("%5d | ", line)
	return margin + string(text) + "\n" + strings.Repeat(" ", len(margin)-2) + "| " + strings.Repeat(" ", column-1) + "^"
}

// Fields returns the values of a mapping by key. what names the thing in messages.
func (s *Source) Fields(n *Node, what string, known ...string) map[string]*Node {
	if n.Kind != yaml.MappingNode {
		s.At(n, Diagnostic{Message: what + " has to be a mapping", Expected: "keys and values: " + strings.Join(known, ", ")})
		return nil
	}
	out := map[string]*Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if s.dropped > 0 {
			break // hostile or hopeless: more of it would only cost time
		}
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		switch {
		case key.Kind != yaml.ScalarNode:
			s.At(key, Diagnostic{Message: "a key has to be a plain word", Expected: "one of " + strings.Join(known, ", ")})
		case out[name] != nil:
			s.At(key, Diagnostic{Message: fmt.Sprintf("%s is given twice", name)})
		case known != nil && !slices.Contains(known, name):
			d := Diagnostic{Message: fmt.Sprintf("%s has no key %q", what, name), Suggestion: expr.Nearest(name, known)}
			if d.Suggestion == "" {
				d.Expected = "one of " + strings.Join(known, ", ")
			}
			s.At(key, d)
		default:
			out[name] = value
		}
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
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Decode(&v) != nil || v < least || v > most {
		d := Diagnostic{Message: what + " has to be a whole number", Expected: fmt.Sprintf("%d to %d", least, most)}
		if least == most {
			d.Expected = strconv.Itoa(least)
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
		diag := Diagnostic{Message: what + " has to be a duration", Expected: "such as 30s, 5m, 1h30m or 24h"}
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
