package strictyaml

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const (
	// MaxBytes of a file, before anything is parsed.
	MaxBytes = 1 << 20

	maxDepth = 16 // of the YAML tree; both formats need six
)

// Format is what messages say about one kind of file.
type Format struct {
	What  string // "the policy"
	Empty string // what is expected of an empty file
	Key   string // what is expected where YAML found no key
}

// Load returns the top-level node, or nil after saying why there is none.
func (s *Source) Load(text []byte, f Format) *Node {
	if len(text) > MaxBytes {
		s.Add(1, 1, Diagnostic{Message: fmt.Sprintf("%s has %d bytes", f.What, len(text)), Expected: fmt.Sprintf("at most %d", MaxBytes)})
		return nil
	}
	if !s.Legible() || !s.undirected() {
		return nil
	}
	var doc yaml.Node
	err := yaml.Load(text, &doc, yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	switch {
	case err != nil:
		s.notYAML(err, f)
	case doc.Kind != yaml.DocumentNode || len(doc.Content) != 1:
		s.empty(f)
	default:
		return doc.Content[0]
	}
	return nil
}

// empty refuses an empty file. It is what a failed copy or a full disk leaves behind, and
// never "no rules".
func (s *Source) empty(f Format) {
	s.Add(1, 1, Diagnostic{Message: f.What + " is empty", Expected: f.Empty})
}

// notYAML says in the author's words what the parser stumbled over.
func (s *Source) notYAML(err error, f Format) {
	line, column, message := 1, 1, err.Error()
	if load, ok := errors.AsType[*yaml.LoadError](err); ok {
		mark := load.Mark
		message = load.Message
		if load.ContextMsg != "" {
			message = load.ContextMsg + ": " + message
		}
		if load.ContextMark.Line > 0 && s.behind(mark) {
			mark = load.ContextMark // the end of the file says nothing; what is open there begins here
		}
		if mark.Line > 0 {
			line, column = mark.Line, mark.Column
		}
	}
	if s.unclosed(line, column, message) {
		return
	}
	d := Diagnostic{Message: "this is not YAML: " + message}
	if at, col, better := s.unquoted(line, message); better != nil {
		if _, hidden := s.hidden[at]; hidden {
			better.Suggestion = "" // it has the text
		}
		s.Add(at, col, *better)
		return
	}
	switch {
	case strings.Contains(message, "no documents"):
		s.empty(f)
		return
	case strings.Contains(message, "expected single document"):
		line, column = s.separator(), 1
		d = Diagnostic{Message: "the file holds more than one YAML document", Expected: "one; remove the line with ---"}
		if strings.HasPrefix(s.Line(line), "...") {
			d = Diagnostic{Message: "there is more behind the line that ends the file", Expected: "the line ... as the last one: move what follows above it"}
		}
	case strings.Contains(message, "incompatible YAML document"):
		d.Message, d.Expected = "the line with %YAML names a version that is not read here", "the file without this line, or %YAML 1.1"
	case strings.Contains(message, "cannot start any token"):
		d.Expected = "spaces rather than tabs in front; quotes around text that begins with a special character such as ! @ ` % &"
	case strings.Contains(message, "mapping values are not allowed"):
		d.Expected = `keys indented alike, and quotes around a text with ": " in it`
	case strings.Contains(message, "did not find expected"):
		d.Expected = f.Key
	}
	s.Add(line, column, d)
}

// behind reports whether nothing but empty lines follows a place, or a second document.
func (s *Source) behind(at yaml.Mark) bool {
	if at.Line < 1 || at.Line > len(s.lines) {
		return true
	}
	rest := []rune(s.lines[at.Line-1])
	text := string(rest[min(max(0, at.Column-1), len(rest)):])
	return strings.HasPrefix(text, "---") || strings.HasPrefix(text, "...") ||
		strings.TrimSpace(text+strings.Join(s.lines[at.Line:], "")) == ""
}

// A value that begins with a quote which its line does not close.
var opened = regexp.MustCompile(`^(\s*(?:- )?\s*(?:[a-z_]+:\s+)?)("[^"]*|'[^']*)$`)

// unclosed says where a quote begins that is closed nowhere, or only by the next quote of
// the file, which was meant to open another text.
func (s *Source) unclosed(line, column int, problem string) bool {
	const expected = "the same quote at the end of the text"
	if strings.Contains(problem, "quoted scalar: found unexpected") {
		s.Add(line, column, Diagnostic{Message: "the quote that begins here is not closed", Expected: expected})
		return true
	}
	here := []rune(s.Line(line))
	if column < 2 || column > len(here) || here[column-2] != '"' && here[column-2] != '\'' {
		return false
	}
	for at := line - 1; at > 0 && line-at < 100; at-- {
		m := opened.FindStringSubmatch(s.Line(at))
		if m != nil && rune(m[2][0]) == here[column-2] {
			s.Add(at, utf8.RuneCountInString(m[1])+1, Diagnostic{
				Message: fmt.Sprintf("the text that begins with this quote ends in line %d, in the middle of it", line), Expected: expected})
			return true
		}
		if strings.Contains(s.Line(at), string(here[column-2])) {
			return false // that quote closes or opens something else
		}
	}
	return false
}

// A line with a key and a value; one whose key has no space behind its colon.
var (
	keyed   = regexp.MustCompile(`^(\s*(?:- )?\s*([a-z_]+):\s+)(\S.*?)\s*$`)
	noSpace = regexp.MustCompile(`^(\s*(?:- )?\s*)([a-z_]+):([^\s/].*?)\s*$`)
)

// unquoted finds, in the line where the parser stopped or in the one before it, what it most
// often stumbles over: a value that needs quotes around all of it, or no space behind a
// colon.
func (s *Source) unquoted(line int, problem string) (at, column int, d *Diagnostic) {
	for _, at := range []int{line, line - 1} {
		text := s.Line(at)
		if len(text) > 1000 || strings.HasPrefix(strings.TrimSpace(text), "#") {
			continue
		}
		if m := keyed.FindStringSubmatch(text); m != nil {
			why := ""
			switch {
			case strings.IndexByte("!\"'%@`&*", m[3][0]) >= 0 && needsQuotes(m[3]):
				why = "that begins with " + m[3][:1]
			case at == line && strings.Contains(m[3], ": ") && strings.Contains(problem, "mapping values"):
				why = "with a colon and a space in it"
			}
			if why != "" {
				return at, utf8.RuneCountInString(m[1]) + 1, &Diagnostic{Message: "a value " + why + " needs quotes around all of it",
					Expected: m[2] + ": and the value in single quotes; a quote inside is written twice", Suggestion: SingleQuoted(m[3])}
			}
		}
		if m := noSpace.FindStringSubmatch(text); m != nil {
			return at, utf8.RuneCountInString(m[1]) + 1, &Diagnostic{
				Message: fmt.Sprintf("there is no space behind `%s:`", m[2]), Expected: "a space between a key and its value", Suggestion: m[2] + ": " + m[3]}
		}
	}
	return 0, 0, nil
}

// needsQuotes reports whether a value that begins with a special character is none of what
// YAML has that character for.
func needsQuotes(value string) bool {
	var v yaml.Node
	return strings.IndexByte("!&*", value[0]) >= 0 || yaml.Load([]byte(value), &v) != nil
}

// separator is the line where a second document begins.
func (s *Source) separator() int {
	begun := false
	for i, text := range s.lines {
		if begun && (strings.HasPrefix(text, "---") || strings.HasPrefix(text, "...")) {
			return i + 1
		}
		text = strings.TrimSpace(text)
		begun = begun || text != "" && text[0] != '#'
	}
	return 1
}
