package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"sallyport/policy/internal/expr"
)

// source is a policy file being read. It knows YAML and positions, and collects what
// is wrong.
type source struct {
	file    string
	lines   []string
	found   Diagnostics
	dropped int
}

// maxDiagnostics bounds the answer to a hostile or hopeless file.
const maxDiagnostics = 50

// maxDepth of the YAML tree; a policy needs six.
const maxDepth = 16

func newSource(file string, text []byte) *source {
	return &source{file: file, lines: strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")}
}

// parse returns the top-level node, or nil after saying why there is none.
func (s *source) parse(text []byte) *yaml.Node {
	var doc yaml.Node
	err := yaml.Load(text, &doc, yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		s.addLoadError(err)
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		s.add(1, 1, Diagnostic{Message: "the policy is empty", Expected: "version: 1, and rules"})
		return nil
	}
	s.refuseIndirection(&doc)
	return doc.Content[0]
}

func (s *source) addLoadError(err error) {
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
		// An empty file is what a failed copy or a full disk leaves behind. It is never "no rules".
		d = Diagnostic{Message: "the policy is empty", Expected: "version: 1, and rules"}
	case strings.Contains(message, "expected single document"):
		d = Diagnostic{Message: "the file holds more than one YAML document", Expected: "one; remove the line with ---"}
	case strings.Contains(message, "cannot start any token"):
		d.Expected = "spaces rather than tabs in front; quotes around text that begins with a special character such as ! @ ` % &"
	case strings.Contains(message, "did not find expected key"):
		d.Expected = `quotes around the whole of a value that begins with a quote or a bracket, as in '"ops" in user.groups'; ` +
			"keys indented alike; no comment inside a value of several lines"
	case strings.Contains(message, "mapping values are not allowed"):
		d.Expected = `quotes around a text with ": " in it`
	}
	s.add(line, column, d)
}

// refuseIndirection refuses anchors, aliases, merge keys and tags: a policy says what it
// says where it says it, and a reviewer reads it top to bottom.
func (s *source) refuseIndirection(n *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		s.at(n, Diagnostic{Message: "anchors and aliases (& and *) are not used in a policy",
			Expected: "a list under `lists:`, or quotes if this is an expression that begins with & or *"})
	case n.Style&yaml.TaggedStyle != 0:
		s.at(n, Diagnostic{Message: fmt.Sprintf("YAML takes %s for a tag, and a policy has none", n.Tag),
			Expected: "quotes around an expression that begins with !", Suggestion: strconv.Quote(strings.TrimSpace(n.Tag + " " + n.Value))})
	}
	for _, c := range n.Content {
		s.refuseIndirection(c)
	}
}

// add records a mistake at a line and column (both 1-based).
func (s *source) add(line, column int, d Diagnostic) {
	if len(s.found) >= maxDiagnostics {
		s.dropped++
		return
	}
	d.File, d.Line, d.Column = s.file, line, column
	d.Message, d.Expected, d.Suggestion = Printable(d.Message), Printable(d.Expected), Printable(d.Suggestion)
	d.Excerpt = s.excerpt(line, column)
	for _, have := range s.found {
		// Of two mistakes at one place the first said more: an alias is refused before it is missed as a list.
		if have.Line == line && have.Column == column {
			return
		}
	}
	s.found = append(s.found, d)
}

func (s *source) at(n *yaml.Node, d Diagnostic) { s.add(n.Line, n.Column, d) }

// in records a mistake at an offset (in characters) within a scalar's value.
func (s *source) in(n *yaml.Node, offset int, d Diagnostic) {
	line, column := s.position(n, offset)
	s.add(line, column, d)
}

// diagnostics returns what was found, in file order, or nil.
func (s *source) diagnostics() error {
	if len(s.found) == 0 {
		return nil
	}
	slices.SortStableFunc(s.found, func(a, b Diagnostic) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if s.dropped > 0 {
		last := s.found[len(s.found)-1]
		s.found = append(s.found, Diagnostic{File: s.file, Line: last.Line, Column: last.Column,
			Message: fmt.Sprintf("and %d more mistakes", s.dropped)})
	}
	return s.found
}

// excerpt shows the line with a caret under the column.
func (s *source) excerpt(line, column int) string {
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

// fields returns the values of a mapping by key. what names the thing in messages.
func (s *source) fields(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		s.at(n, Diagnostic{Message: what + " has to be a mapping", Expected: "keys and values: " + strings.Join(known, ", ")})
		return nil
	}
	out := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if s.dropped > 0 {
			break // hostile or hopeless: more of it would only cost time
		}
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		switch {
		case key.Kind != yaml.ScalarNode:
			s.at(key, Diagnostic{Message: "a key has to be a plain word", Expected: "one of " + strings.Join(known, ", ")})
		case out[name] != nil:
			s.at(key, Diagnostic{Message: fmt.Sprintf("%s is given twice", name)})
		case known != nil && !slices.Contains(known, name):
			d := Diagnostic{Message: fmt.Sprintf("%s has no key %q", what, name), Suggestion: expr.Nearest(name, known)}
			if d.Suggestion == "" {
				d.Expected = "one of " + strings.Join(known, ", ")
			}
			s.at(key, d)
		default:
			out[name] = value
		}
	}
	return out
}

// keyNode returns the node of a key that is there.
func keyNode(n *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i]
		}
	}
	return n
}

// items returns the entries of a sequence.
func (s *source) items(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		s.at(n, Diagnostic{Message: what + " has to be a list", Expected: "[a, b], or one entry a line after -"})
		return nil
	}
	return n.Content
}

// text returns a scalar that is text.
func (s *source) text(n *yaml.Node, what string) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		s.at(n, Diagnostic{Message: what + " has to be text"})
	case n.Tag == "!!null" || n.Value == "":
		s.at(n, Diagnostic{Message: what + " is empty"})
	case n.Tag != "!!str" && n.Tag != "!!timestamp":
		s.at(n, Diagnostic{Message: fmt.Sprintf("%s has to be text; YAML reads %s as something else", what, n.Value),
			Expected: fmt.Sprintf("quotes: %q", n.Value)})
	default:
		return n.Value, true
	}
	return "", false
}

// number returns a scalar that is a whole number of at least least.
func (s *source) number(n *yaml.Node, what string, least, most int) (int, bool) {
	var v int
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Decode(&v) != nil || v < least || v > most {
		s.at(n, Diagnostic{Message: what + " has to be a whole number", Expected: fmt.Sprintf("%d to %d", least, most)})
		return 0, false
	}
	return v, true
}

// duration returns a scalar that is a positive duration.
func (s *source) duration(n *yaml.Node, what string) (time.Duration, bool) {
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		diag := Diagnostic{Message: what + " has to be a duration", Expected: "such as 30s, 5m, 1h30m or 24h"}
		if n.Kind == yaml.ScalarNode && n.Tag == "!!int" && n.Value != "0" {
			diag.Suggestion = n.Value + "s, or " + n.Value + "m"
		}
		s.at(n, diag)
		return 0, false
	}
	return d, true
}
