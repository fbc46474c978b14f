package expr

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
)

// words that other languages have for CEL's operators.
var words = map[string]string{
	"and": "&&", "or": "||", "not": "!", "is": "==", "eq": "==", "ne": "!=",
	"AND": "&&", "OR": "||", "NOT": "!", "IN": "in",
}

// lookalikes are characters that are written for one of ASCII.
var lookalikes = map[rune]string{'＝': "=", '！': "!", '＜': "<", '＞': ">", '＆': "&", '｜': "|", '（': "(", '）': ")", '［': "[", '］': "]",
	'，': ",", '．': ".", '＂': "\"", '＇': "'", '≠': "!=", '≤': "<=", '≥': ">=", '∧': "&&", '∨': "||", '¬': "!"}

// explainSyntax says what is wrong with a text that does not parse. The parser's own
// messages list token names; the usual mistakes have a better explanation.
func (e *Env) explainSyntax(text []rune, issues *cel.Issues) []Problem {
	if p := e.foreignForm(string(text)); p != nil {
		return []Problem{*p}
	}
	if p := e.foreignOperator(string(text)); p != nil {
		return []Problem{*p}
	}
	if p := commonMistakes(text); len(p) > 0 {
		return p
	}
	if p := loneOperator(string(text)); p != nil {
		return []Problem{*p}
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
	at := offsetAt(text, first.Location.Line(), first.Location.Column())
	p := Problem{Offset: at, Message: "this does not read as an expression: " + message}
	switch word := wordAt(text, at); {
	case strings.Contains(message, "token recognition error") && at < len(text):
		p.Message = fmt.Sprintf("`%c` does not belong in a condition", text[at])
		if p.Expected = "one condition, without anything around it"; text[at] == ';' {
			p.Expected = "&& between two conditions of which both have to hold, || where one has to"
		}
	case strings.HasPrefix(message, "reserved identifier"):
		p.Message = "`" + word + "` is a word of another language"
		p.Expected = "the condition alone; what happens when it holds is said by then:"
		if head, field, ok := strings.Cut(word, "."); ok && head == "var" {
			p.Expected = fmt.Sprintf("lists.%s, and the list itself under `lists:`", field)
		}
	case at < len(text) && text[at] == ',':
		p.Message, p.Expected = "a comma does not join conditions", "&& or || between two conditions; [a, b] for a list"
	case word != "" && at > 0 && (strings.HasPrefix(message, "mismatched input") || strings.HasPrefix(message, "extraneous input")):
		p.Message, p.Expected = "there is no operator in front of `"+word+"`", "&& or || between two conditions, or == between two values"
	case at < len(text) && text[at] == '`':
		p.Message, p.Expected = "backquotes do not quote text", "\" or '"
	}
	return []Problem{p}
}

// wordAt is the word that begins at an offset, or "".
func wordAt(text []rune, at int) string {
	end := at
	for end < len(text) && (unicode.IsLetter(text[end]) || unicode.IsDigit(text[end]) || text[end] == '_' || text[end] == '.') {
		end++
	}
	return string(text[at:end])
}

// An operand beside an operator of another language: a fact, a call, a text, a number or a
// list.
const (
	operandPattern = `((?:[\w.]+(?:\([^()]*\))?)|"[^"]*"|'[^']*')`
	valuePattern   = `("[^"]*"|'[^']*'|\[[^\]]*\]|[\w.]+(?:\([^()]*\))?)`
)

// foreignOperators are comparisons of other languages, with what does the same here: the
// first that compiles. ${1} and so on are the operands.
var foreignOperators = []struct {
	pattern *regexp.Regexp
	meant   []string
	message string // "": the operator is none here
}{
	{pattern: operator(`(not\s+in)`, `[({]([^(){}]*)[)}]`), meant: []string{`!(${1} in [${3}])`}},
	{pattern: operator(`(not\s+in)`, valuePattern), meant: []string{`!(${1} in ${3})`}},
	{pattern: operator(`(in)`, `[({]([^(){}]*)[)}]`), meant: []string{`${1} in [${3}]`}, message: "the list of `in` stands in square brackets"},
	{pattern: operator(`(between)`, valuePattern+`\s+and\s+`+valuePattern), meant: []string{`${1} >= ${3} && ${1} <= ${4}`}},
	{pattern: operator(`(not\s+like)`, `["']%([^%"']+)%["']`), meant: []string{`!${1}.contains("${3}")`}},
	{pattern: operator(`(i?like)`, `["']%([^%"']+)%["']`), meant: []string{`${1}.contains("${3}")`}},
	{pattern: operator(`(i?like)`, `["']([^%"']+)%["']`), meant: []string{`${1}.startsWith("${3}")`}},
	{pattern: operator(`(i?like)`, `["']%([^%"']+)["']`), meant: []string{`${1}.endsWith("${3}")`}},
	{pattern: operator(`(i?like)`, valuePattern), meant: []string{`${1} == ${3}`}},
	{pattern: operator(`(contains|includes|has)`, valuePattern), meant: []string{`${3} in ${1}`, `${1}.contains(${3})`}},
	{pattern: operator(`(starts_?with|begins_?with)`, valuePattern), meant: []string{`${1}.startsWith(${3})`}},
	{pattern: operator(`(ends_?with)`, valuePattern), meant: []string{`${1}.endsWith(${3})`}},
	{pattern: operator(`(matches|regex|rlike|match)`, valuePattern), meant: []string{`${1}.matches(${3})`}},
	{pattern: operator(`(is\s+not|not\s+equals?|ne)`, `(null|none|nil)`), meant: []string{`${1} != null`}},
	{pattern: operator(`(is|equals?|eq)`, `(null|none|nil)`), meant: []string{`${1} == null`}},
	{pattern: operator(`(is\s+not|not\s+equals?|ne|neq)`, valuePattern), meant: []string{`${1} != ${3}`}},
	{pattern: operator(`(is|equals?|eq)`, valuePattern), meant: []string{`${1} == ${3}`}},
	{pattern: operator(`(gt|lt|gte|lte|ge|le)`, valuePattern)},
}

// operator is the pattern of an operator between an operand and something else.
func operator(name, right string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)` + operandPattern + `\s+` + name + `\s*` + right)
}

// foreignOperator says what does the same as a comparison of another language. nil: there
// is none outside of texts.
func (e *Env) foreignOperator(text string) *Problem {
	for _, f := range foreignOperators {
		m := f.pattern.FindStringSubmatchIndex(text)
		if m == nil {
			continue
		}
		p := &Problem{Offset: utf8.RuneCountInString(text[:m[4]]), Message: f.message}
		if inside([]rune(text), p.Offset) {
			continue
		}
		if p.Message == "" {
			p.Message = "`" + strings.ToLower(text[m[4]:m[5]]) + "` is not an operator here"
		}
		if len(f.meant) > 0 {
			p.Expected = operatorsHere
		}
		for _, template := range f.meant {
			meant := string(f.pattern.ExpandString(nil, template, text, m))
			if strings.HasSuffix(template, " null") { // what is said of that is right here, too
				if _, q := e.compile(meant, nil); len(q) == 1 {
					p.Expected, p.Suggestion = q[0].Expected, q[0].Suggestion
					if p.Suggestion != "" {
						p.patch = span(utf8.RuneCountInString(text[:m[0]]), utf8.RuneCountInString(text[:m[1]]), p.Suggestion)
					}
				}
				return p
			}
			if checked, issues := e.cel.Compile(meant); issues.Err() == nil && checked.OutputType() == cel.BoolType {
				p.Expected, p.Suggestion = "", meant
				p.patch = span(utf8.RuneCountInString(text[:m[0]]), utf8.RuneCountInString(text[:m[1]]), meant)
				return p
			}
		}
		return p
	}
	return nil
}

// inside reports whether a character belongs to a quoted text or a comment.
func inside(text []rune, at int) bool {
	for i := 0; i < at; i++ {
		if end := skipped(text, i); end > at {
			return true
		} else if end > i {
			i = end - 1
		}
	}
	return false
}

// loneOperator finds an operator with nothing on one of its sides, or nil.
func loneOperator(text string) *Problem {
	at := func(m []int, message string) *Problem {
		return &Problem{Offset: utf8.RuneCountInString(text[:m[2]]), Message: fmt.Sprintf(message, text[m[2]:m[3]]), Expected: "a condition or a value on each side"}
	}
	if m := loneAtEnd.FindStringSubmatchIndex(text); m != nil {
		return at(m, "there is nothing on the right of %s")
	}
	if m := loneAtStart.FindStringSubmatchIndex(text); m != nil {
		return at(m, "there is nothing on the left of %s")
	}
	if m := loneInside.FindStringSubmatchIndex(text); m != nil && !inside([]rune(text), utf8.RuneCountInString(text[:m[2]])) {
		return at(m, "there is nothing on the left of %s")
	}
	return nil
}

var (
	loneAtEnd   = regexp.MustCompile(`(&&|\|\||[=!<>]=|[<>+*/%!-]|\bin)\s*$`)
	loneAtStart = regexp.MustCompile(`^\s*(&&|\|\||[=!<>]=|[<>*/%]|in\b)`)
	loneInside  = regexp.MustCompile(`(?:&&|\|\||[=!<>]=|\()\s*(&&|\|\||==|!=|<=|>=)`)
)

// commonMistakes finds what people write who know other languages better.
func commonMistakes(text []rune) []Problem {
	var out []Problem
	var open []int // offsets of brackets
	add := func(at int, message, suggestion string) {
		out = append(out, Problem{Offset: at, Message: message, Suggestion: suggestion})
	}
	instead := func(at, length int, message, by string) {
		out = append(out, Problem{Offset: at, Message: message, Suggestion: by, patch: span(at, at+length, by)})
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
			if escape := badEscape(text[i:end]); escape != "" && at(i-1) != 'r' && at(i-1) != 'R' {
				raw := "r" + string(text[i:end+1])
				out = append(out, Problem{Offset: i, Message: "`" + escape + "` stands for no character in a text", Expected: "two backslashes for one, or r in front of the text", Suggestion: raw, patch: span(i, end+1, raw)})
			}
			i = end
		case strings.ContainsRune("“”„‘’", c):
			out = append(out, Problem{Offset: i, Message: "typographic quotes do not quote text", Suggestion: "\" or '", patch: span(i, i+1, `"`)})
		case strings.ContainsRune("–—−‐‑", c):
			instead(i, 1, fmt.Sprintf("`%c` is a dash and not a minus sign", c), "-")
		case c > unicode.MaxASCII && lookalikes[c] != "":
			instead(i, 1, fmt.Sprintf("`%c` is not an operator here", c), lookalikes[c])
		case c > unicode.MaxASCII && unicode.In(c, unicode.Z, unicode.Cf):
			add(i, fmt.Sprintf("%U looks like a space or like nothing, and does not belong here", c), "a space")
		case unicode.IsLetter(c) || c == '_':
			j := i
			for j < len(text) && (unicode.IsLetter(text[j]) || unicode.IsDigit(text[j]) || text[j] == '_') {
				j++
			}
			word := string(text[i:j])
			if s, ok := words[word]; ok && at(i-1) != '.' && at(j) != '(' && at(j) != '.' {
				instead(i, j-i, "`"+word+"` is not an operator here", s)
			}
			i = j - 1
		case c == '/' && at(i+1) == '/':
			i = skipped(text, i) - 1
		case c == '#':
			out = append(out, Problem{Offset: i, Message: "`#` does not begin a comment inside a condition", Expected: "comments outside of it, on lines of their own"})
			return out
		case c == '=' && at(i+1) == '=' && at(i+2) == '=':
			instead(i, 3, "`===` is not an operator here", "==")
			i += 2
		case c == '!' && at(i+1) == '=' && at(i+2) == '=':
			instead(i, 3, "`!==` is not an operator here", "!=")
			i += 2
		case c == ':' && at(i+1) == '=':
			instead(i, 2, "`:=` is not an operator here", "==")
			i++
		case (c == '=' || c == '!' || c == '<' || c == '>') && at(i+1) == '=':
			i++
		case c == '<' && at(i+1) == '>':
			instead(i, 2, "`<>` is not an operator here", "!=")
			i++
		case c == '=' && at(i+1) == '~':
			add(i, "`=~` is not an operator here", `fact.matches("^...$")`)
			i++
		case (c == '=' || c == '-') && at(i+1) == '>':
			out = append(out, Problem{Offset: i, Message: "`" + string(c) + ">` is not an operator here",
				Suggestion: "exists(x, ...), which has a comma between the entry and its condition", patch: span(i, i+2, ",")})
			i++
		case c == '=':
			instead(i, 1, "`=` does not compare", "==")
		case (c == '&' || c == '|') && at(i+1) == c:
			i++
		case c == '&' || c == '|':
			instead(i, 1, "`"+string(c)+"` is not an operator here", string([]rune{c, c}))
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
