package format

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/internal/file"
	"sallyport/policy/whole"
)

// errFormat is the answer for a layout that is legal YAML and too unusual to be moved
// about.
var errFormat = errors.New("it cannot be formatted without changing what it says; write it in the layout of the reference")

// File returns a policy file, or a file of tests, in canonical layout: keys in the order
// of the reference, two spaces of indentation, a line between rules. Comments stay with
// what they stand above or beside, and everything else is as its author wrote it: quotes,
// flow or block style, and where an expression breaks.
//
// A policy, and a file of pinned invariants, ends with the mark of a file that was
// written to its end ([whole.Mark]).
//
// It moves whole lines rather than writing the parsed tree: YAML's emitter forgets where
// a folded expression broke, and where comments stood. What comes out is read again, and
// has to be what went in. Its error is policy.Diagnostics for what is not YAML.
func File(name string, text []byte) ([]byte, error) {
	s := file.NewSource(name, text)
	before := s.Parse(text, file.Policy)
	if err := s.Err(); err != nil {
		return nil, err
	}
	was, aside, ended := whole.Cut(text)
	now := string(was) + string(aside)
	for range 4 { // what moved can let more move; then it stands still
		next := layOut(now)
		if next == now {
			break
		}
		now = next
	}
	if ended || file.Key(before, "rules") != before || file.Key(before, "invariants") != before {
		now += whole.Mark + "\n"
	}
	after := file.NewSource(name, []byte(now))
	root := after.Parse([]byte(now), file.Policy)
	is, _, _ := whole.Cut([]byte(now))
	if root == nil || after.Err() != nil || !same(before, root) || !sameText(string(was)+string(aside), string(is)) || layOut(string(is)) != string(is) {
		return nil, fmt.Errorf("%s: %w", name, errFormat)
	}
	return []byte(now), nil
}

// same compares the content of two trees, in any order of keys.
func same(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Tag != b.Tag || a.Value != b.Value || len(a.Content) != len(b.Content) {
		return false
	}
	if a.Kind != yaml.MappingNode {
		for i := range a.Content {
			if !same(a.Content[i], b.Content[i]) {
				return false
			}
		}
		return true
	}
	values := map[string]*yaml.Node{}
	for i := 0; i < len(b.Content); i += 2 {
		values[b.Content[i].Value] = b.Content[i+1]
	}
	for i := 0; i < len(a.Content); i += 2 {
		if v := values[a.Content[i].Value]; v == nil || !same(a.Content[i+1], v) {
			return false
		}
	}
	return len(values)*2 == len(a.Content)
}

// sameText reports whether two texts are made of the same characters, white space aside:
// no comment is lost.
func sameText(a, b string) bool {
	count := func(text string) map[rune]int {
		m := map[rune]int{}
		for _, r := range text {
			if !unicode.IsSpace(r) && r != ',' && r != '\ufeff' {
				m[r]++
			}
		}
		return m
	}
	return maps.Equal(count(a), count(b))
}

// formatter lays out one file. Its lines are 0-based, and so are columns.
type formatter struct {
	lines  []string
	scalar map[int]bool // lines inside of block scalars, which are not touched but for their indentation
}

// layOut is one pass; a text that it does not understand comes back as it was.
func layOut(text string) string {
	var doc yaml.Node
	text = strings.TrimPrefix(strings.ReplaceAll(text, "\r\n", "\n"), "\ufeff")
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 {
		return text
	}
	f := &formatter{lines: strings.Split(strings.TrimRight(text, "\n"), "\n"), scalar: map[int]bool{}}
	root := doc.Content[0]
	f.findScalars(root)
	for i, line := range f.lines {
		if trimmed := strings.TrimRight(line, " \t"); !f.scalar[i] && !strings.HasSuffix(trimmed, `\`) {
			f.lines[i] = trimmed
		}
	}
	if root.Kind != yaml.MappingNode || root.Style&yaml.FlowStyle != 0 || strings.HasPrefix(f.lines[0], "---") || strings.HasPrefix(f.lines[0], "%") {
		return strings.Join(f.lines, "\n") + "\n"
	}
	return strings.Join(f.file(root), "\n") + "\n"
}

// findScalars marks the lines of block scalars. YAML does not say where they end: with
// the first line that is indented less than their first.
func (f *formatter) findScalars(n *yaml.Node) {
	for _, c := range n.Content {
		f.findScalars(c)
	}
	if n.Kind != yaml.ScalarNode || n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		return
	}
	indent := -1
	for i := n.Line; i < len(f.lines); i++ {
		line := f.lines[i]
		if strings.TrimSpace(line) == "" {
			continue
		}
		if indent < 0 {
			indent = indentOf(line)
		}
		if indentOf(line) < max(indent, 1) {
			return
		}
		for j := i; j >= n.Line && !f.scalar[j]; j-- { // and the empty lines before
			f.scalar[j] = true
		}
	}
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// block is an entry of a mapping or a sequence: the comments above it and its own lines.
type block struct {
	key   string
	value *yaml.Node
	lead  []string // comments and empty lines
	body  []string
	// Where the body stands in the file: from its first line to before its last.
	start, end int
}

// blocks takes lines from..to apart into what begins at the starts (in order), each in
// the given column. What comes behind the last one and belongs to none is the tail.
func (f *formatter) blocks(from, to int, starts []int, column int) (out []block, tail []string) {
	lead := f.lines[from:starts[0]]
	for i, start := range starts {
		end := to
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		last := end
		for last > start+1 && !f.scalar[last-1] && isAside(f.lines[last-1]) {
			last--
		}
		// Comments that are indented further still belong to what is above them.
		for k := last; k < end; k++ {
			if line := f.lines[k]; strings.TrimSpace(line) != "" {
				if indentOf(line) <= column {
					break
				}
				last = k + 1
			}
		}
		out = append(out, block{lead: lead, body: f.lines[start:last], start: start, end: last})
		lead = f.lines[last:end]
	}
	return out, lead
}

// isAside reports whether a line is empty or a comment.
func isAside(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || line[0] == '#'
}

// fileKeys are the keys of policy files and of files of tests, in order.
var fileKeys = append(file.TestFileKeys[:1:1], file.PolicyKeys...)

func (f *formatter) file(root *yaml.Node) []string {
	entries, tail := f.entries(root, 0, len(f.lines), 0)
	var head []string
	if lead := entries[0].lead; len(lead) > 0 && fileKeys.Rank(entries[0].key) > 0 {
		// The comment above everything stays there, whichever key comes first.
		if i := lastEmpty(lead); i >= 0 {
			head, entries[0].lead = lead[:i], lead[i+1:]
		}
	}
	slices.SortStableFunc(entries, func(a, b block) int { return fileKeys.Rank(a.key) - fileKeys.Rank(b.key) })
	out := aside(head, 0, true)
	if len(out) > 0 {
		out = append(out, "")
	}
	long := false
	for i, e := range entries {
		e.body = f.section(e)
		comments := aside(e.lead, 0, true)
		empty := len(e.lead) > 0 && e.lead[0] == ""
		if i > 0 && (long || len(e.body) > 1 || empty) {
			out = append(out, "")
		}
		long = len(e.body) > 1
		out = append(append(out, comments...), e.body...)
	}
	if comments := aside(tail, 0, true); len(comments) > 0 {
		out = append(append(out, ""), comments...)
	}
	return out
}

func lastEmpty(lead []string) int {
	for i := len(lead) - 1; i >= 0; i-- {
		if lead[i] == "" {
			return i
		}
	}
	return -1
}

// aside lays out comments: at one indentation, no two empty lines together. The empty
// line between the last comment and what follows stays, if keep.
func aside(lead []string, indent int, keep bool) (out []string) {
	for _, line := range lead {
		line = strings.TrimSpace(line)
		if line == "" {
			if len(out) > 0 && out[len(out)-1] != "" && keep {
				out = append(out, "")
			}
			continue
		}
		out = append(out, strings.Repeat(" ", indent)+line)
	}
	return out
}

// entries takes a block mapping apart whose keys stand in the given column.
func (f *formatter) entries(n *yaml.Node, from, to, column int) ([]block, []string) {
	var starts []int
	for i := 0; i < len(n.Content); i += 2 {
		starts = append(starts, n.Content[i].Line-1)
	}
	out, tail := f.blocks(from, to, starts, column)
	for i := range out {
		key, value := n.Content[2*i], n.Content[2*i+1]
		out[i].key, out[i].value = key.Value, value
		out[i].body = slices.Clone(out[i].body)
		out[i].body[0] = oneSpace(out[i].body[0], key, value)
	}
	return out, tail
}

// oneSpace puts one space between a key and a value on the same line, and none before the
// colon.
func oneSpace(line string, key, value *yaml.Node) string {
	runes := []rune(line)
	at := value.Column - 1
	if value.Line != key.Line || value.Tag == "!!null" || at <= 0 || at > len(runes) {
		return line
	}
	before, ok := strings.CutSuffix(strings.TrimRight(string(runes[:at]), " \t"), ":")
	if !ok {
		return line
	}
	return strings.TrimRight(before, " \t") + ": " + string(runes[at:])
}

// shift moves lines to the right, or to the left as far as there are spaces.
func shift(lines []string, by int) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		switch {
		case line == "":
		case by >= 0:
			out[i] = strings.Repeat(" ", by) + line
		default:
			out[i] = line[min(-by, indentOf(line)):]
		}
	}
	return out
}
