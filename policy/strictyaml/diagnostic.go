package strictyaml

import (
	"fmt"
	"strings"
	"unicode"
)

// Diagnostic is one mistake in a file, said so that its author can
// mend it without reading this program.
type Diagnostic struct {
	File       string `json:"file,omitempty"`
	Line       int    `json:"line"`   // 1-based
	Column     int    `json:"column"` // 1-based, in characters
	Message    string `json:"message"`
	Expected   string `json:"expected,omitempty"`
	Suggestion string `json:"suggestion,omitempty"`
	Excerpt    string `json:"excerpt,omitempty"` // the line, and under it a caret
}

// Error returns the diagnostic as text of several lines: file:line:column and the
// message, the excerpt, what was expected and what may have been meant.
func (d Diagnostic) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", d.File, d.Line, d.Column, d.Message)
	if d.Excerpt != "" {
		b.WriteString("\n" + d.Excerpt)
	}
	if d.Expected != "" {
		b.WriteString("\n    expected: " + d.Expected)
	}
	if d.Suggestion != "" {
		b.WriteString("\n    did you mean: " + d.Suggestion)
	}
	return b.String()
}

// Diagnostics is every mistake found in one file, in file order.
// Readers return it as their error: errors.As finds it.
type Diagnostics []Diagnostic

func (d Diagnostics) Error() string {
	parts := make([]string, len(d))
	for i, one := range d {
		parts[i] = one.Error()
	}
	return strings.Join(parts, "\n\n")
}

// Printable makes text from a file safe to show on a terminal, one character for one. The
// code that makes a Diagnostic passes its texts through it.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsGraphic(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
