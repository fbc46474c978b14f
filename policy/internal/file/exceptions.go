package file

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Limits on one file of exceptions.
const (
	MaxExceptions    = 1000
	maxExceptionPart = 50 // rules, routes, networks and countries of one exception, each
)

// Exception is an entry of `exceptions:`: rules that are suspended for one person.
type Exception struct {
	Node             *Node
	User, ApprovedBy *Node
	Subject          *Node  // nil: any account that has the address
	ID               string // "": it follows from the rest
	IDNode           *Node
	Rules            []*Node // at least one, if the file is right
	Routes           []*Node // empty: everywhere, as for the other two
	Networks         []*Node
	Countries        []*Node
	From             time.Time // zero: there is no beginning
	Until            time.Time // the first moment at which it no longer holds
	UntilNode        *Node
	Why              string
}

// Section is where the entries of a list stand in a file.
type Section struct {
	Key, Entries *Node
	End          int // the line of the next key at the top, or one past the last line
}

// ReadExceptions takes a file of exceptions apart, as [ReadPolicy] does a policy.
func ReadExceptions(name string, text []byte) (*Document, error) {
	s, root, err := open(name, text, Exceptions)
	if err != nil {
		return nil, err
	}
	d := newDocument(s)
	top := s.Fields(root, "the file of exceptions", exceptionsKeys.Names()...)
	if v := top["version"]; v != nil {
		s.version(v)
	}
	switch n := top["exceptions"]; {
	case n != nil:
		d.Excepting = &Section{Key(root, "exceptions"), n, len(s.Lines()) + 1}
		for i, line := range s.Lines() {
			if strings.TrimRight(line, " \t\r") == "..." {
				d.Excepting.End = i + 1
				break
			}
		}
		for i := 0; i < len(root.Content); i += 2 {
			if line := root.Content[i].Line; line > d.Excepting.Key.Line && line < d.Excepting.End {
				d.Excepting.End = line
			}
		}
		s.readExceptions(d, n)
	case top != nil:
		s.At(root, Diagnostic{Message: "the file does not say which exceptions there are", Expected: "exceptions: with entries, or exceptions: [] for none"})
	}
	return d, nil
}

// CutException returns what the last exception of a text may be the beginning of, in words,
// if an exception of the text before goes on where it ends; else "".
func CutException(before, after []byte) string {
	was, err := ReadExceptions("", before)
	is, wrong := ReadExceptions("", after)
	if err != nil || wrong != nil || len(is.Exceptions) == 0 {
		return ""
	}
	last := is.exceptionText(len(is.Exceptions) - 1)
	for i, x := range was.Exceptions {
		if text := was.exceptionText(i); len(last) < len(text) && strings.HasPrefix(text, last) {
			rest := strings.Join(strings.Fields(strings.TrimPrefix(text, last)), " ")
			return fmt.Sprintf("%q in the exception of %s that the file ends with", rest[:min(len(rest), 100)], x.User.Value)
		}
	}
	return ""
}

// exceptionText is the text of an entry, without comments behind it.
func (d *Document) exceptionText(i int) string {
	lines, end := d.Lines(), d.Excepting.End-1
	if i+1 < len(d.Exceptions) {
		end = d.Exceptions[i+1].Node.Line - 1
	}
	first := d.Exceptions[i].Node.Line - 1
	for end > first+1 && strings.HasPrefix(strings.TrimSpace(lines[end-1])+"#", "#") {
		end--
	}
	return strings.TrimSpace(strings.Join(lines[first:max(first, end)], "\n"))
}

func (s *Source) readExceptions(d *Document, n *Node) {
	for i, entry := range s.Items(n, "exceptions") {
		if i == MaxExceptions {
			s.At(entry, Diagnostic{Message: fmt.Sprintf("the file has more than %d exceptions", MaxExceptions), Expected: "a rule whose `unless` says it for a group; no exceptions that have expired"})
			return
		}
		if x := s.readException(entry); x != nil {
			d.Exceptions = append(d.Exceptions, x)
		}
	}
}

// readException reads one entry; nil if it is no mapping.
func (s *Source) readException(entry *Node) *Exception {
	f := s.Fields(entry, "an exception", exceptionKeys.Names()...)
	if f == nil {
		return nil
	}
	for _, k := range exceptionKeys {
		if k.required && f[k.name] == nil {
			s.At(entry, Diagnostic{Message: "the exception has no " + k.name, Expected: k.name + ": " + exceptionLacks[k.name]})
			return nil // one mistake at a place
		}
	}
	x := &Exception{Node: entry, User: f["user"], ApprovedBy: f["approved_by"], IDNode: f["id"], UntilNode: f["until"], Subject: f["subject"]}
	if n := f["id"]; n != nil {
		if x.ID, _ = s.Text(n, "id"); !wordPattern.MatchString(x.ID) || len(x.ID) > 64 {
			s.At(n, Diagnostic{Message: fmt.Sprintf("an exception cannot be called %q", n.Value), Expected: "lower-case letters, digits and -, 64 at most", Suggestion: slug(n.Value)})
		}
	}
	x.Rules = s.several(f["rules"], "rules", "the name of a rule")
	x.Routes = s.several(f["routes"], "routes", "the name of a route")
	x.Networks = s.several(f["networks"], "networks", "a network")
	x.Countries = s.several(f["countries"], "countries", "a country")
	if n := f["from"]; n != nil {
		x.From, _ = s.moment(n, "from", false)
	}
	var ok bool
	if x.Until, ok = s.moment(f["until"], "until", true); ok && !x.From.Before(x.Until) {
		s.At(f["until"], Diagnostic{Message: "the exception ends before it begins", Expected: "until later than from"})
	}
	s.Text(f["user"], "user")
	if x.Subject != nil {
		s.Text(x.Subject, "subject")
	}
	s.Text(f["approved_by"], "approved_by")
	x.Why, _ = s.Text(f["why"], "why")
	return x
}

// exceptionLacks says what to write for a key that has to be there.
var exceptionLacks = map[string]string{
	"user": "the person's e-mail address, ana@corp.example", "rules": "the rules that are suspended, [country-mismatch]",
	"until": "the last day, 2026-12-31, or a time, 2026-12-31T18:00:00Z", "approved_by": "the e-mail address of the one who answers for it",
	"why": `"Conference, ticket 4711"`,
}

// several reads a list of texts that has entries if it is there.
func (s *Source) several(n *Node, key, one string) (out []*Node) {
	if n == nil {
		return nil
	}
	items := s.Items(n, key)
	switch {
	case n.Kind == yaml.SequenceNode && len(items) == 0:
		s.At(n, Diagnostic{Message: key + " is empty, so the exception would hold for none", Expected: "at least one; or no " + key})
	case len(items) > maxExceptionPart:
		s.At(n, Diagnostic{Message: fmt.Sprintf("%s has more than %d entries", key, maxExceptionPart), Expected: "several exceptions, or none for so much"})
		return nil
	}
	for _, item := range items {
		if _, ok := s.Text(item, one); ok {
			out = append(out, item)
		}
	}
	return out
}

const momentExpected = "2026-12-31 (in UTC), or with the zone, 2026-12-31T18:00:00+01:00"

// moment reads a day or a time. A day is one of UTC: with end the moment at which it is
// over, else the one at which it begins.
func (s *Source) moment(n *Node, key string, end bool) (time.Time, bool) {
	t, err := ParseMoment(n.Value, end)
	if n.Kind != yaml.ScalarNode || err != nil {
		d := Diagnostic{Message: fmt.Sprintf("%s is neither a day nor a time", key), Expected: momentExpected}
		if n.Kind == yaml.ScalarNode {
			d.Suggestion = momentMeant(n.Value)
		}
		s.At(n, d)
		return time.Time{}, false
	}
	return t, true
}

// ParseMoment reads a day of UTC or a time (RFC 3339). With end, a day stands for the
// moment at which it is over; else for the one at which it begins.
func ParseMoment(text string, end bool) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		if end {
			return day.AddDate(0, 0, 1), nil
		}
		return day, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		expected := momentExpected
		if meant := momentMeant(text); meant != "" {
			expected = "write " + meant
		}
		return time.Time{}, fmt.Errorf("%q is neither a day nor a time: %s", text, expected)
	}
	return t.UTC(), nil
}

// momentMeant is a day or a time as ParseMoment takes it, or "".
func momentMeant(text string) string {
	for _, layout := range []string{"2006-1-2", "2006/01/02", "2006/1/2", "02.01.2006", "2.1.2006", "2 Jan 2006", "Jan 2, 2006", "2 January 2006", "January 2, 2006"} {
		if day, err := time.Parse(layout, text); err == nil {
			return day.Format(time.DateOnly)
		}
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02 15:04:05Z07:00"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.Format(time.RFC3339)
		}
	}
	return ""
}
