package format

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/internal/file"
)

// section lays out what stands under a top-level key.
func (f *formatter) section(e block) []string {
	keys := map[string]file.Object{"rules": file.RuleKeys, "tests": file.TestKeys}[e.key]
	isBlock := len(e.value.Content) > 0 && e.value.Style&yaml.FlowStyle == 0
	switch {
	case isBlock && e.value.Kind == yaml.SequenceNode && keys != nil:
		if body, ok := f.items(e, keys); ok {
			return body
		}
	case isBlock && e.value.Kind == yaml.MappingNode && e.value.Line > 0 && len(e.body) > 1:
		return append(e.body[:1:1], shift(e.body[1:], 2-(e.value.Column-1))...)
	}
	return e.body
}

// items lays out a sequence of rules or tests. It reports false for one that is written
// in a way that it does not know, such as a dash on a line of its own.
func (f *formatter) items(e block, keys file.Object) ([]string, bool) {
	var starts []int
	dash := -1
	for _, n := range e.value.Content {
		line := f.lines[n.Line-1]
		prefix := string([]rune(line)[:n.Column-1])
		at := strings.IndexByte(prefix, '-')
		if n.Kind != yaml.MappingNode || at < 0 || strings.TrimSpace(prefix) != "-" || dash >= 0 && at != dash {
			return nil, false
		}
		dash = at
		starts = append(starts, n.Line-1)
	}
	items, tail := f.blocks(e.start+1, e.end, starts, dash)
	out, long := []string{e.body[0]}, false
	for i, item := range items {
		lead, body := f.item(e.value.Content[i], item, keys)
		comments := aside(item.lead, 2, true)
		if len(lead) > 0 {
			comments = append(comments, lead...)
		}
		many := len(body) > 1 && e.key == "rules"
		if i > 0 && (many || long || len(item.lead) > 0 && item.lead[0] == "") {
			out = append(out, "")
		}
		long = many
		out = append(append(out, comments...), body...)
	}
	if comments := aside(tail, 2, true); len(comments) > 0 {
		if tail[0] == "" {
			out = append(out, "")
		}
		out = append(out, comments...)
	}
	for len(out) > 0 && out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out, true
}

// item lays out one rule or test: its keys in order, behind a dash in column 2. Comments
// above the key that comes first go above the item.
func (f *formatter) item(n *yaml.Node, b block, keys file.Object) (lead, body []string) {
	if n.Style&yaml.FlowStyle != 0 {
		text := string([]rune(b.body[0])[n.Column-1:])
		if len(b.body) == 1 {
			text = flowInOrder(text, n, keys)
		}
		by := 4 - (n.Column - 1)
		return nil, append([]string{"  - " + text}, shift(b.body[1:], by)...)
	}
	first, column := n.Line-1, n.Column-1
	whole := f.lines[first]
	f.lines[first] = strings.Repeat(" ", column) + string([]rune(whole)[column:])
	entries, tail := f.entries(n, first, first+len(b.body), column)
	f.lines[first] = whole
	slices.SortStableFunc(entries, func(a, b block) int { return keys.Rank(a.key) - keys.Rank(b.key) })
	for i, e := range entries {
		if comments := aside(e.lead, 4, false); i > 0 {
			body = append(body, comments...)
		} else {
			lead = aside(e.lead, 2, false)
		}
		body = append(body, shift(e.body, 4-column)...)
	}
	body = append(body, aside(tail, 4, false)...)
	body[0] = "  - " + strings.TrimLeft(body[0], " ")
	return lead, body
}

// flowInOrder puts the entries of a flow mapping on one line, {a: b, c: d}, in order. The
// text begins with its bracket.
func flowInOrder(text string, n *yaml.Node, keys file.Object) string {
	type piece struct{ key, text string }
	runes := []rune(text)
	end := closing(runes)
	if end < 0 || len(n.Content) == 0 {
		return text
	}
	var pieces []piece
	for i := 0; i < len(n.Content); i += 2 {
		start, next := n.Content[i].Column-n.Column, end
		if i+2 < len(n.Content) {
			next = n.Content[i+2].Column - n.Column
		}
		if start < 1 || next < start || next > end {
			return text
		}
		pieces = append(pieces, piece{n.Content[i].Value, strings.TrimRight(string(runes[start:next]), ", \t")})
	}
	if slices.IsSortedFunc(pieces, func(a, b piece) int { return keys.Rank(a.key) - keys.Rank(b.key) }) {
		return text
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return keys.Rank(a.key) - keys.Rank(b.key) })
	var all []string
	for _, p := range pieces {
		all = append(all, p.text)
	}
	return "{" + strings.Join(all, ", ") + "}" + string(runes[end+1:])
}

// closing returns where the bracket that a text begins with is closed, or -1.
func closing(text []rune) int {
	depth, quote := 0, rune(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote == '"' && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case (c == '"' || c == '\'') && i > 0 && strings.ContainsRune(" ,[{:", text[i-1]):
			quote = c
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}
