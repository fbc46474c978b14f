package expr

import (
	"fmt"
	"strings"
	"unicode"

	"cel.dev/cel-go/cel"
)

// words that other languages have for CEL's operators.
var words = map[string]string{
	"and": "&&", "or": "||", "not": "!", "is": "==", "eq": "==", "ne": "!=",
	"AND": "&&", "OR": "||", "NOT": "!", "IN": "in",
}

// explainSyntax says what is wrong with a text that does not parse. The parser's own
// messages list token names; the usual mistakes have a better explanation.
func explainSyntax(text []rune, issues *cel.Issues) []Problem {
	if p := commonMistakes(text); len(p) > 0 {
		return p
	}
	first := issues.Errors()[0]
	message := strings.TrimPrefix(first.Message, "Syntax error: ")
	if i := strings.Index(message, " expecting "); i > 0 {
		message = message[:i]
	}
	message = strings.ReplaceAll(message, "'<EOF>'", "end of the expression")
	if strings.Contains(first.Message, "recursion") || strings.Contains(first.Message, "size exceeds") ||
		strings.Contains(first.Message, "node limit") || strings.Contains(first.Message, "nodes") {
		return []Problem{{Message: "the expression is too large or too deeply nested: " + message,
			Expected: "several smaller rules, or a list under `lists:`"}}
	}
	return []Problem{{Offset: offsetAt(text, first.Location.Line(), first.Location.Column()),
		Message: "this does not read as an expression: " + message}}
}

// commonMistakes finds what people write who know other languages better.
func commonMistakes(text []rune) []Problem {
	var out []Problem
	var open []int // offsets of brackets
	add := func(at int, message, suggestion string) {
		out = append(out, Problem{Offset: at, Message: message, Suggestion: suggestion})
	}
	at := func(i int) rune {
		if i < 0 || i >= len(text) {
			return 0
		}
		return text[i]
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' || c == '\'':
			end := endOfText(text, i)
			if end < 0 {
				add(i, "this quote is never closed", "")
				return out
			}
			i = end
		case strings.ContainsRune("“”„‘’", c):
			add(i, "typographic quotes do not quote text", "\" or '")
		case c > unicode.MaxASCII && unicode.In(c, unicode.Z, unicode.Cf):
			add(i, fmt.Sprintf("%U looks like a space or like nothing, and does not belong here", c), "a space")
		case unicode.IsLetter(c) || c == '_':
			j := i
			for j < len(text) && (unicode.IsLetter(text[j]) || unicode.IsDigit(text[j]) || text[j] == '_') {
				j++
			}
			word := string(text[i:j])
			if s, ok := words[word]; ok && at(i-1) != '.' && at(j) != '(' && at(j) != '.' {
				add(i, "`"+word+"` is not an operator here", s)
			}
			i = j - 1
		case c == '/' && at(i+1) == '/':
			i = skipped(text, i) - 1
		case c == '#':
			out = append(out, Problem{Offset: i, Message: "`#` does not begin a comment inside a condition", Expected: "comments outside of it, on lines of their own"})
			return out
		case c == '=' && at(i+1) == '=' && at(i+2) == '=':
			add(i, "`===` is not an operator here", "==")
			i += 2
		case (c == '=' || c == '!' || c == '<' || c == '>') && at(i+1) == '=':
			i++
		case c == '<' && at(i+1) == '>':
			add(i, "`<>` is not an operator here", "!=")
			i++
		case c == '=' && at(i+1) == '~':
			add(i, "`=~` is not an operator here", `fact.matches("^...$")`)
			i++
		case c == '=':
			add(i, "`=` does not compare", "==")
		case (c == '&' || c == '|') && at(i+1) == c:
			i++
		case c == '&' || c == '|':
			add(i, "`"+string(c)+"` is not an operator here", string([]rune{c, c}))
		case c == '(' || c == '[' || c == '{':
			open = append(open, i)
		case c == ')' || c == ']' || c == '}':
			if len(open) == 0 || !pairs(text[open[len(open)-1]], c) {
				add(i, "`"+string(c)+"` closes a bracket that was not opened", "")
				return out
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 && len(out) == 0 {
		i := open[len(open)-1]
		add(i, "`"+string(text[i])+"` is never closed", "")
	}
	return out
}

func pairs(open, closing rune) bool {
	return open == '(' && closing == ')' || open == '[' && closing == ']' || open == '{' && closing == '}'
}

// endOfText returns the offset of the quote that closes the one at i, or -1.
func endOfText(text []rune, i int) int {
	quote := text[i]
	for j := i + 1; j < len(text); j++ {
		switch text[j] {
		case '\\':
			j++
		case quote:
			return j
		}
	}
	return -1
}

// startOfName goes back from the dot at which CEL places a qualified name to its
// beginning.
func startOfName(text []rune, offset int) int {
	if offset >= len(text) || text[offset] != '.' {
		return offset
	}
	for offset > 0 && (text[offset-1] == '.' || text[offset-1] == '_' || unicode.IsLetter(text[offset-1]) || unicode.IsDigit(text[offset-1])) {
		offset--
	}
	return offset
}

// offsetAt converts a line (1-based) and column (0-based) within the text.
func offsetAt(text []rune, line, column int) int {
	i := 0
	for ; line > 1 && i < len(text); i++ {
		if text[i] == '\n' {
			line--
		}
	}
	return max(0, min(i+column, len(text)))
}
