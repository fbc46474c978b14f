package strictyaml

import (
	"errors"
	"fmt"
	"strings"

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
		message = load.Message
		if load.ContextMsg != "" {
			message = load.ContextMsg + ": " + message
		}
		if load.Mark.Line > 0 {
			line, column = load.Mark.Line, load.Mark.Column
		}
	}
	d := Diagnostic{Message: "this is not YAML: " + message}
	switch {
	case strings.Contains(message, "no documents"):
		s.empty(f)
		return
	case strings.Contains(message, "expected single document"):
		line, column = s.separator(), 1
		d = Diagnostic{Message: "the file holds more than one YAML document", Expected: "one; remove the line with ---"}
	case strings.Contains(message, "cannot start any token"):
		d.Expected = "spaces rather than tabs in front; quotes around text that begins with a special character such as ! @ ` % &"
	case strings.Contains(message, "mapping values are not allowed"):
		d.Expected = `keys indented alike, and quotes around a text with ": " in it`
	case strings.Contains(message, "did not find expected"):
		d.Expected = f.Key
	}
	s.Add(line, column, d)
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
