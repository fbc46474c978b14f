package expr

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Span is a part of a text, in characters: from Start up to End.
type Span struct{ Start, End int }

// Comments returns the comments (// up to the end of the line) of an expression.
func Comments(text string) (out []Span) {
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		switch end := skipped(runes, i); {
		case end == i:
		case runes[i] == '/':
			out = append(out, Span{i, end})
			fallthrough
		default:
			i = end - 1
		}
	}
	return out
}

// skipped returns where a quoted text or a comment that begins at i ends; i: none does.
func skipped(text []rune, i int) int {
	switch {
	case text[i] == '"' || text[i] == '\'':
		if end := endOfText(text, i); end > 0 {
			return end + 1
		}
		return len(text)
	case text[i] == '/' && i+1 < len(text) && text[i+1] == '/':
		if n := slices.Index(text[i:], '\n'); n > 0 {
			return i + n
		}
		return len(text)
	}
	return i
}

// level is a part of an expression within one pair of brackets, between commas and the
// like: what && and || stand beside one another in.
type level struct {
	operands []Span // of ||
	ands     []int  // where && stands
	and      []bool // by operand: it has &&
}

// Unbracketed returns where an expression has && beside || without brackets, and the
// expression with them: a || b && c means a || (b && c), and is often read otherwise.
func (p *Program) Unbracketed() (at []int, bracketed string) {
	text := []rune(p.text)
	var opened, closed []int
	end := func(l *level, i int) {
		if l.operands[len(l.operands)-1].End = i; len(l.operands) > 1 && len(l.ands) > 0 {
			at = append(at, l.ands[0])
			for j, o := range l.operands {
				if l.and[j] {
					from, to := trimmed(text, o)
					opened, closed = append(opened, from), append(closed, to)
				}
			}
		}
	}
	begin := func(i int) *level { return &level{operands: []Span{{Start: i}}, and: []bool{false}} }
	stack := []*level{begin(0)}
	for i := 0; i < len(text); i++ {
		if next := skipped(text, i); next > i {
			i = next - 1
			continue
		}
		top := stack[len(stack)-1]
		double := i+1 < len(text) && text[i+1] == text[i]
		switch c := text[i]; {
		case c == '(' || c == '[' || c == '{':
			stack = append(stack, begin(i+1))
		case (c == ')' || c == ']' || c == '}') && len(stack) > 1:
			end(top, i)
			stack = stack[:len(stack)-1]
		case c == ',' || c == '?' || c == ':':
			end(top, i)
			stack[len(stack)-1] = begin(i + 1)
		case c == '|' && double:
			top.operands[len(top.operands)-1].End = i
			top.operands, top.and = append(top.operands, Span{Start: i + 2}), append(top.and, false)
			i++
		case c == '&' && double:
			top.ands, top.and[len(top.and)-1] = append(top.ands, i), true
			i++
		}
	}
	end(stack[len(stack)-1], len(text))
	var out []rune
	for i := range len(text) + 1 {
		for range count(closed, i) {
			out = append(out, ')')
		}
		for range count(opened, i) {
			out = append(out, '(')
		}
		if i < len(text) {
			out = append(out, text[i])
		}
	}
	slices.Sort(at)
	return at, string(out)
}

func count(of []int, v int) (n int) {
	for _, x := range of {
		if x == v {
			n++
		}
	}
	return n
}

// trimmed is a span without the white space around it.
func trimmed(text []rune, s Span) (from, to int) {
	from, to = s.Start, s.End
	for from < to && unicode.IsSpace(text[from]) {
		from++
	}
	for to > from && unicode.IsSpace(text[to-1]) {
		to--
	}
	return from, to
}

// Replace returns the expression with another text in the place of one that is written
// out ([Program.Texts]). White space is as on one line.
func (p *Program) Replace(v Value, by string) string {
	text := []rune(p.text)
	from := v.Offset
	for from < len(text) && text[from] != '"' && text[from] != '\'' {
		from++ // r"..."
	}
	to := skipped(text, min(from, len(text)-1))
	return OneLine(string(text[:v.Offset]) + strconv.Quote(by) + string(text[to:]))
}

// OneLine is a condition without line breaks; "": it has comments, which end with theirs.
func OneLine(text string) string {
	if len(Comments(text)) > 0 {
		return ""
	}
	return strings.TrimSpace(strings.ReplaceAll(text, "\n", " "))
}
