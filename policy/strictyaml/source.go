package strictyaml

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Source is a file being read. It knows positions, and collects what is wrong.
type Source struct {
	// Name of the file, for messages.
	Name string
	// OnePerPlace drops a mistake where another one was found before. Of two, the first
	// said more: an alias is refused before it is missed as a list.
	OnePerPlace bool

	lines   []string
	hidden  map[int]int // line -> how many characters of it are shown
	found   Diagnostics
	dropped int
}

// Node is a node of the YAML tree, with its position.
type Node = yaml.Node

// Tagged reports whether a node was given a YAML tag. `! x` has one too, which says
// nothing, and would otherwise be x without its negation.
func Tagged(n *Node) bool { return n.Style&yaml.TaggedStyle != 0 || n.Tag == "!" }

// MaxDiagnostics bounds the answer to a hostile or hopeless file.
const MaxDiagnostics = 50

// NewSource is a file of that text, which need not be YAML.
func NewSource(name string, text []byte) *Source {
	return &Source{Name: name, lines: strings.Split(strings.ReplaceAll(strings.TrimPrefix(string(text), byteOrderMark), "\r\n", "\n"), "\n")}
}

// Another is the same file, with nothing found yet.
func (s *Source) Another() *Source {
	return &Source{Name: s.Name, OnePerPlace: s.OnePerPlace, lines: s.lines, hidden: s.hidden}
}

// Lines returns the lines of the file. The caller must not change them.
func (s *Source) Lines() []string { return s.lines }

// Line returns a line of the file (1-based), or "".
func (s *Source) Line(line int) string {
	if line < 1 || line > len(s.lines) {
		return ""
	}
	return s.lines[line-1]
}

// Add records a mistake at a line and column (both 1-based, columns in characters).
func (s *Source) Add(line, column int, d Diagnostic) {
	if s.Full() {
		s.dropped++
		return
	}
	line, column = max(line, 1), max(column, 1)
	if s.OnePerPlace && slices.ContainsFunc(s.found, func(have Diagnostic) bool { return have.Line == line && have.Column == column }) {
		return
	}
	d.File, d.Line, d.Column = s.Name, line, column
	d.Message, d.Expected, d.Suggestion = Printable(d.Message), Printable(d.Expected), Printable(d.Suggestion)
	d.Excerpt = s.Excerpt(line, column)
	s.found = append(s.found, d)
}

// At records a mistake at the beginning of a node.
func (s *Source) At(n *Node, d Diagnostic) { s.Add(n.Line, n.Column, d) }

// In records a mistake at an offset (in characters) within a scalar's value.
func (s *Source) In(n *Node, offset int, d Diagnostic) {
	line, column := s.Position(n, offset)
	s.Add(line, column, d)
}

// Drop counts a mistake that would take too long to describe.
func (s *Source) Drop() { s.dropped++ }

// Full reports whether a further mistake is only counted.
func (s *Source) Full() bool { return len(s.found) >= MaxDiagnostics }

// Hopeless reports whether mistakes were dropped: reading on only costs time.
func (s *Source) Hopeless() bool { return s.dropped > 0 }

// OK reports whether no mistake was found.
func (s *Source) OK() bool { return len(s.found) == 0 }

// HideFrom keeps the text of a line (1-based) behind its first characters out of excerpts
// and of what is suggested for text that is not YAML: messages end up in logs, and the
// line may hold a password.
func (s *Source) HideFrom(line, characters int) {
	if s.hidden == nil {
		s.hidden = map[int]int{}
	}
	if shown, ok := s.hidden[line]; !ok || characters < shown {
		s.hidden[line] = characters
	}
}

// hide takes out of the excerpt what is hidden.
func (s *Source) hide(d Diagnostic) Diagnostic {
	if shown, hidden := s.hidden[d.Line]; hidden && shown == 0 {
		d.Excerpt = ""
	} else if hidden {
		d.Excerpt = excerpt(string([]rune(s.Line(d.Line))[:shown])+"...", d.Line, min(d.Column, shown+1))
	}
	return d
}

// Found returns what was found, in file order, or nil.
func (s *Source) Found() Diagnostics {
	found := slices.Clone(s.found) // more may be added, and then it is asked again
	for i, d := range found {
		found[i] = s.hide(d)
	}
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

// Err returns what was found, in file order, as Diagnostics, or nil.
func (s *Source) Err() error {
	if s.OK() {
		return nil
	}
	return s.Found()
}

// Excerpt shows the line with a caret under the column.
func (s *Source) Excerpt(line, column int) string { return excerpt(s.Line(line), line, column) }

func excerpt(written string, line, column int) string {
	if len(written) > 64<<10 || strings.TrimSpace(written) == "" {
		return "" // no line that a person wrote, or nothing to see
	}
	text := []rune(Printable(strings.TrimRight(written, "\r")))
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

// Pairs returns the keys of a mapping and their values. A key that is not a plain word, or
// that is given twice, is a mistake and left out. what names the mapping, and expected
// says which keys it may have.
func (s *Source) Pairs(n *Node, what, expected string) iter.Seq2[*Node, *Node] {
	return func(yield func(key, value *Node) bool) {
		seen := map[string]int{} // by line
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			switch {
			case key.Kind != yaml.ScalarNode || key.Anchor != "" || Tagged(key):
				s.At(key, Diagnostic{Message: "a key has to be a plain word", Expected: expected})
			case seen[key.Value] > 0:
				s.At(key, Diagnostic{Message: fmt.Sprintf("%q is given twice in %s", key.Value, what), Expected: fmt.Sprintf("each key once; the first is in line %d", seen[key.Value])})
			default:
				seen[key.Value] = key.Line
				if !yield(key, n.Content[i+1]) {
					return
				}
			}
		}
	}
}
