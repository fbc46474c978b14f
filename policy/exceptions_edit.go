package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/internal/file"
)

// Editing a file of exceptions leaves all other lines as they are, comments too. The
// result is read again, and must say what was meant; otherwise there is an error.

// AddException returns the file with one more entry, as its first: what stands above an
// entry stays with it.
func AddException(x Exceptions, e Exception) ([]byte, error) {
	was, d, err := readToEdit(&x)
	if err != nil {
		return nil, err
	}
	lines, at, indent := d.Lines(), d.Excepting.Key.Line, ""
	list := d.Excepting.Entries
	switch {
	case len(list.Content) == 0:
		key := &lines[at-1]
		empty := emptyList.FindStringIndex(*key)
		if list.Line != at || empty == nil {
			return nil, errLayout
		}
		*key, indent = (*key)[:empty[0]]+"exceptions:"+(*key)[empty[1]:], "  "
	default:
		indent = lines[list.Content[0].Line-1]
		indent = indent[:len(indent)-len(strings.TrimLeft(indent, " "))]
	}
	lines = slices.Insert(lines, at, indent+"- "+e.entryText())
	return x.edited(lines, append([]*Exception{&e}, was...))
}

// EndException returns the file without the entry with this id; with rules, only these are
// no longer suspended by it.
func EndException(x Exceptions, id string, rules []string) ([]byte, error) {
	was, d, err := readToEdit(&x)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(was, func(e *Exception) bool { return e.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("there is no exception %s", id)
	}
	lines, entry := d.Lines(), d.Exceptions[i].Node
	first, end := entry.Line-1, d.Excepting.End-1
	if i+1 < len(d.Exceptions) {
		end = d.Exceptions[i+1].Node.Line - 1
	}
	if !strings.HasPrefix(strings.TrimLeft(lines[first], " "), "- ") || first >= end {
		return nil, errLayout
	}
	dash := len(lines[first]) - len(strings.TrimLeft(lines[first], " "))
	for end > first+1 && isComment(lines[end-1]) && indentOf(lines[end-1]) <= dash { // of the next entry
		end--
	}
	left := *was[i]
	left.Rules = slices.DeleteFunc(slices.Clone(left.Rules), func(r string) bool { return len(rules) == 0 || slices.Contains(rules, r) })
	if len(left.Rules) == 0 {
		lines, was = slices.Delete(lines, first, end), slices.Delete(was, i, i+1)
		if len(was) == 0 {
			key := &lines[d.Excepting.Key.Line-1]
			*key = strings.Replace(*key, "exceptions:", "exceptions: []", 1)
		}
		return x.edited(lines, was)
	}
	// The id stays: records have it. So does a comment behind the entry.
	text := lines[first][:dash] + "- " + left.entryText()
	if behind := behindEntry.FindStringSubmatch(lines[end-1]); behind != nil {
		text += behind[1]
	}
	lines, was[i] = slices.Replace(lines, first, end, text), &left
	return x.edited(lines, was)
}

var emptyList = regexp.MustCompile(`exceptions:\s*\[\s*\]`)

var errLayout = errors.New("the file has its exceptions in another layout than one entry after each -, or comments between brackets: edit it by hand")

// behindEntry is a comment behind an entry between braces.
var behindEntry = regexp.MustCompile(`\}(\s+#[^}"]*)$`)

// indentOf is by how many spaces a line is indented; 0 for one without text.
func indentOf(line string) int {
	text := strings.TrimSpace(line)
	return max(0, strings.Index(line, text))
}

func isComment(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || strings.HasPrefix(line, "#")
}

// readToEdit reads the file, whose entries have a line each afterwards if they were between
// brackets.
func readToEdit(x *Exceptions) ([]*Exception, *file.Document, error) {
	list, err := ReadExceptions(*x)
	if err != nil {
		return nil, nil, err
	}
	d, err := file.ReadExceptions(x.Name, x.Source)
	if err != nil || len(list) == 0 || d.Excepting.Entries.Style&yaml.FlowStyle == 0 {
		return list, d, err
	}
	first, end := d.Excepting.Key, d.Excepting.End-1
	lines := d.Lines()
	for end > first.Line && isComment(lines[end-1]) {
		end--
	}
	// A comment, or what stands beside the list in its lines, would be gone.
	if first.Column != 1 || hasComment(d.Excepting.Entries) || first.LineComment != "" || !strings.HasSuffix(strings.TrimSpace(lines[end-1]), "]") {
		return nil, nil, errLayout
	}
	block := []string{"exceptions:"}
	for _, e := range list {
		block = append(block, "  - "+e.entryText())
	}
	if x.Source, err = x.edited(slices.Replace(lines, first.Line-1, end, block...), list); err != nil {
		return nil, nil, err
	}
	d, err = file.ReadExceptions(x.Name, x.Source)
	return list, d, err
}

func hasComment(n *file.Node) bool {
	return n.HeadComment+n.LineComment+n.FootComment != "" || slices.ContainsFunc(n.Content, hasComment)
}

// edited reads the result again.
func (x Exceptions) edited(lines []string, want []*Exception) ([]byte, error) {
	text := []byte(strings.TrimRight(strings.Join(lines, "\n"), "\r\n") + "\n")
	if bytes.Contains(x.Source, []byte("\r\n")) { // as the file has them
		text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	}
	got, err := ReadExceptions(Exceptions{Name: x.Name, Source: text})
	if err != nil {
		return nil, err
	}
	if !slices.EqualFunc(got, want, func(a, b *Exception) bool { return a.ID == b.ID && a.entryText() == b.entryText() }) {
		return nil, errLayout
	}
	return text, nil
}

// Entry is the exception as an entry of a file, in one line: all that it says.
func (e *Exception) Entry() string { return e.entryText() }

// entryText is the entry in one line, without its id if that follows from the rest.
func (e *Exception) entryText() string {
	var b strings.Builder
	add := func(key string, texts ...string) {
		if len(texts) > 0 && texts[0] != "" {
			fmt.Fprintf(&b, "%s: %s, ", key, strings.Join(texts, ", "))
		}
	}
	several := func(key string, texts []string) {
		if len(texts) > 0 {
			add(key, "["+strings.Join(plainTexts(texts), ", ")+"]")
		}
	}
	if e.ID != e.DerivedID() {
		add("id", plainTexts([]string{e.ID})...)
	}
	add("user", plainTexts([]string{e.User})...)
	if e.Subject != "" {
		add("subject", jsonText(e.Subject))
	}
	several("rules", e.Rules)
	several("routes", e.Routes)
	var networks []string
	for _, n := range e.Networks {
		networks = append(networks, n.String())
	}
	several("networks", networks)
	several("countries", e.Countries)
	if !e.From.IsZero() {
		add("from", momentText(e.From, false))
	}
	add("until", momentText(e.Until, true))
	add("approved_by", plainTexts([]string{e.ApprovedBy})...)
	add("why", jsonText(e.Why))
	return "{" + strings.TrimSuffix(b.String(), ", ") + "}"
}

// momentText writes a moment as a day, if it is the beginning or the end of one.
func momentText(t time.Time, end bool) string {
	t = t.UTC()
	if t.Equal(t.Truncate(24 * time.Hour)) {
		if end {
			t = t.AddDate(0, 0, -1)
		}
		return t.Format(time.DateOnly)
	}
	return jsonText(t.Format(time.RFC3339Nano))
}

// UntilText says when the exception ends, for people: a day as the file has it.
func (e *Exception) UntilText() string {
	if t := e.Until.UTC(); t.Equal(t.Truncate(24 * time.Hour)) {
		return "to the end of " + momentText(t, true) + " (UTC)"
	}
	return "until " + e.Until.UTC().Format(time.RFC3339)
}

// plainText is text that YAML takes for text without quotes.
var plainText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._+-]*[A-Za-z0-9](@[a-z0-9.-]+)?$|^\d+\.\d+\.\d+\.\d+/\d+$`)

func plainTexts(texts []string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		if out[i] = t; !plainText.MatchString(t) || slices.Contains([]string{"no", "on", "yes", "off", "true", "null", "false"}, strings.ToLower(t)) {
			out[i] = jsonText(t)
		}
	}
	return out
}

// jsonText is text in quotes as JSON has them, which YAML reads likewise.
func jsonText(text string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}
