package strictyaml

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Position returns the line and column in the file of a character of a scalar's value.
//
// YAML gives only where a scalar begins. Between there and the value lie quotes, escapes,
// indentation and folded lines; so the value is laid over the text of the file again,
// character by character, with white space matching any white space. Where the two do not
// fit (they always should), the answer is the beginning of the scalar.
func (s *Source) Position(n *Node, offset int) (line, column int) {
	c := &cursor{lines: s.lines, line: n.Line - 1, column: n.Column - 1}
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		c.line, c.column = c.line+1, 0 // the text begins under the | or >
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		c.column++
	}
	c.quote = n.Style & (yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle)
	line, column = n.Line, n.Column
	for i, want := range []rune(n.Value) {
		if unicode.IsSpace(want) {
			if i == offset {
				return c.line + 1, c.column + 1
			}
			continue
		}
		c.skipSpace()
		line, column = c.line+1, c.column+1
		if i == offset {
			return line, column
		}
		if c.next() != want {
			return n.Line, n.Column
		}
	}
	return c.line + 1, c.column + 1 // the end
}

// cursor walks through the characters of a scalar as they stand in the file.
type cursor struct {
	lines        []string
	line, column int
	quote        yaml.Style
	runes        []rune // of the line at cached
	cached       int
}

// peek returns the character i places ahead in this line; 0 at its end.
func (c *cursor) peek(i int) rune {
	if c.line >= len(c.lines) {
		return 0
	}
	if c.runes == nil || c.cached != c.line {
		c.runes, c.cached = []rune(c.lines[c.line]), c.line
	}
	if c.column+i >= len(c.runes) {
		return 0
	}
	return c.runes[c.column+i]
}

func (c *cursor) skipSpace() {
	for c.line < len(c.lines) {
		r := c.peek(0)
		switch {
		case r == 0:
			c.line, c.column = c.line+1, 0
		case unicode.IsSpace(r):
			c.column++
		case r == '\\' && c.quote == yaml.DoubleQuotedStyle && c.peek(1) == 0: // a line that is continued
			c.line, c.column = c.line+1, 0
		case r == '\\' && c.quote == yaml.DoubleQuotedStyle && unicode.IsSpace(escapes[c.peek(1)]):
			c.column += 2
		default:
			return
		}
	}
}

// escapes of a double-quoted scalar that stand for one character.
var escapes = map[rune]rune{
	'n': '\n', 't': '\t', 'r': '\r', ' ': ' ', '\t': '\t', 'v': '\v', 'f': '\f', 'N': '\u0085', '_': '\u00a0',
	'L': '\u2028', 'P': '\u2029', '"': '"', '\\': '\\', '/': '/', '0': 0, 'a': '\a', 'b': '\b', 'e': '\x1b',
}

// next returns the character here, as the value has it, and goes past it.
func (c *cursor) next() rune {
	r := c.peek(0)
	switch {
	case r == '\'' && c.quote == yaml.SingleQuotedStyle:
		c.column += 2 // '' stands for '
		return r
	case r == '\\' && c.quote == yaml.DoubleQuotedStyle:
		kind := c.peek(1)
		digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[kind]
		if digits == 0 {
			c.column += 2
			return escapes[kind]
		}
		var hex []rune
		for i := range digits {
			hex = append(hex, c.peek(2+i))
		}
		c.column += 2 + digits
		v, err := strconv.ParseUint(string(hex), 16, 32)
		if err != nil {
			return -1
		}
		return rune(v)
	}
	c.column++
	return r
}

// RuneIndex is strings.Index in characters.
func RuneIndex(s, sub string) int {
	i := strings.Index(s, sub)
	if i < 0 {
		return i
	}
	return utf8.RuneCountInString(s[:i])
}
