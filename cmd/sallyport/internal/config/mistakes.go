package config

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/policy"
)

// mistakes collects the mistakes of one file, each with its place.
type mistakes struct {
	file    string
	lines   []string
	found   policy.Diagnostics
	dropped int
}

// maxFound bounds the answer to a hostile or hopeless file.
const maxFound = 50

func newMistakes(file string, source []byte) *mistakes {
	return &mistakes{file: file, lines: strings.Split(string(source), "\n")}
}

// add notes one mistake; line and column count from 1, columns in characters.
func (m *mistakes) add(line, column int, message, expected, suggestion string) {
	if m.full() {
		m.dropped++
		return
	}
	line, column = max(line, 1), max(column, 1)
	m.found = append(m.found, policy.Diagnostic{
		File: m.file, Line: line, Column: column, Message: policy.Printable(message), Expected: policy.Printable(expected),
		Suggestion: policy.Printable(suggestion), Excerpt: m.excerpt(line, column),
	})
}

// full reports whether a further mistake is only counted.
func (m *mistakes) full() bool { return len(m.found) == maxFound }

// hide takes the excerpt out of the last mistake: messages end up in logs, and the
// line may hold a password.
func (m *mistakes) hide() {
	if m.dropped == 0 {
		m.found[len(m.found)-1].Excerpt = ""
	}
}

// err returns the mistakes in file order, or nil.
func (m *mistakes) err() error {
	if len(m.found) == 0 {
		return nil
	}
	slices.SortStableFunc(m.found, func(a, b policy.Diagnostic) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if m.dropped > 0 {
		last := m.found[len(m.found)-1]
		m.found = append(m.found, policy.Diagnostic{File: m.file, Line: last.Line, Column: last.Column,
			Message: fmt.Sprintf("and %d more mistakes", m.dropped)})
		m.dropped = 0
	}
	return m.found
}

// widest is how much of a line an excerpt shows.
const widest = 120

// excerpt shows the line with a caret under the column.
func (m *mistakes) excerpt(line, column int) string {
	if line > len(m.lines) {
		return ""
	}
	text := m.lines[line-1]
	if len(text) > 64<<10 {
		return "" // no line that a person wrote
	}
	shown := []rune(policy.Printable(strings.TrimRight(text, "\r")))
	if strings.TrimSpace(string(shown)) == "" {
		return ""
	}
	column = min(column, len(shown)+1)
	if from := column - widest/2; from > 0 && len(shown) > widest {
		shown, column = shown[from:], column-from
	}
	shown = shown[:min(len(shown), widest)]
	margin := fmt.Sprintf("%5d | ", line)
	return margin + string(shown) + "\n" + strings.Repeat(" ", len(margin)-2) + "| " + strings.Repeat(" ", column-1) + "^"
}

// closest returns the name that was most likely meant, or "": at most two edits
// away (one in a short word), or the one that word is the beginning of.
func closest(word string, names []string) string {
	if len(word) > 64 {
		return ""
	}
	best, distance := "", 3
	if len(word) < 5 {
		distance = 2
	}
	for _, name := range names {
		if d := edits(strings.ToLower(word), name); d < distance {
			best, distance = name, d
		}
	}
	for _, name := range names {
		if best == "" && len(word) > 3 && strings.HasPrefix(name, word) {
			best = name
		}
	}
	return best
}

// edits is the optimal string alignment distance: insert, delete, replace, swap.
func edits(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
