package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sallyport/policy"
)

// reader turns a YAML tree into structs, strictly, and collects every mistake
// with its place. Struct fields carry a `yaml:"name"` tag, with ",env" where
// ${VARIABLE} is expanded; anywhere else a ${ is a mistake, so that nobody
// believes in an expansion that does not happen.
type reader struct {
	file   string
	lines  []string
	places map[string]*yaml.Node // "routes[0].from" -> where its value stands
	env    func(string) (string, bool)
	found  policy.Diagnostics
}

// maxSource bounds the file before it is parsed.
const maxSource = 1 << 20

func newReader(file string, source []byte) *reader {
	return &reader{file: file, lines: strings.Split(string(source), "\n"), places: map[string]*yaml.Node{}, env: os.LookupEnv}
}

// add notes one mistake at a node.
func (r *reader) add(n *yaml.Node, message, expected, suggestion string) {
	d := policy.Diagnostic{File: r.file, Line: 1, Column: 1, Message: message, Expected: expected, Suggestion: suggestion}
	if n != nil && n.Line > 0 {
		d.Line, d.Column = n.Line, n.Column
	}
	if d.Line <= len(r.lines) {
		if text := strings.TrimRight(r.lines[d.Line-1], "\r"); strings.TrimSpace(text) != "" {
			d.Excerpt = "  " + text + "\n  " + strings.Repeat(" ", max(0, d.Column-1)) + "^"
		}
	}
	r.found = append(r.found, d)
}

// at notes a mistake in the value at a path, or in the nearest thing above it that
// is in the file.
func (r *reader) at(path, message, expected string) {
	for p := path; ; {
		if n, ok := r.places[p]; ok {
			r.add(n, message, expected, "")
			return
		}
		i := strings.LastIndexAny(p, ".[")
		if i < 0 {
			r.add(r.places[""], message, expected, "")
			return
		}
		p = p[:i]
	}
}

// err returns the mistakes in file order, or nil.
func (r *reader) err() error {
	if len(r.found) == 0 {
		return nil
	}
	slices.SortStableFunc(r.found, func(a, b policy.Diagnostic) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return r.found
}

func (r *reader) parse(source []byte, into any) {
	var doc yaml.Node
	if len(source) > maxSource {
		r.add(nil, fmt.Sprintf("the file is larger than %d bytes", maxSource), "a configuration", "")
		return
	}
	if err := yaml.Load(source, &doc); err != nil {
		n := &yaml.Node{}
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			n.Line, _ = strconv.Atoi(m[1])
			n.Column = 1
		}
		r.add(n, "not valid YAML: "+strings.TrimPrefix(err.Error(), "yaml: "), "", "")
		return
	}
	if len(doc.Content) != 1 {
		r.add(&doc, "the file is empty", "a configuration; `sallyport init` writes one to start from", "")
		return
	}
	r.value("", doc.Content[0], reflect.ValueOf(into).Elem(), false)
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

var durationType = reflect.TypeFor[time.Duration]()

// value reads one node into one Go value.
func (r *reader) value(path string, n *yaml.Node, v reflect.Value, env bool) {
	r.places[path] = n
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.add(n, "anchors and aliases are not used in this file", "the value itself", "")
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		r.value(path, n, v.Elem(), env)
	case v.Kind() == reflect.Struct:
		r.mapping(path, n, v)
	case v.Kind() == reflect.Slice:
		r.list(path, n, v, env)
	default:
		r.scalar(path, n, v, env)
	}
}

func (r *reader) mapping(path string, n *yaml.Node, v reflect.Value) {
	fields := map[string]int{}
	var names []string
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); name != "" {
			fields[name] = i
			names = append(names, name)
		}
	}
	sort.Strings(names)
	if n.Kind != yaml.MappingNode {
		r.add(n, fmt.Sprintf("%s is %s", label(path), kindOf(n)), "a mapping with the keys "+strings.Join(names, ", "), "")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		f, ok := fields[key.Value]
		if !ok || key.Kind != yaml.ScalarNode {
			r.add(key, fmt.Sprintf("there is no key %q in %s", key.Value, label(path)), "one of "+strings.Join(names, ", "), closest(key.Value, names))
			continue
		}
		if seen[key.Value] {
			r.add(key, fmt.Sprintf("%q is given twice in %s", key.Value, label(path)), "each key once", "")
			continue
		}
		seen[key.Value] = true
		if val.Kind == yaml.ScalarNode && val.Tag == "!!null" {
			r.add(val, fmt.Sprintf("%q has no value", key.Value), "a value, or leave the key out", "")
			continue
		}
		_, option, _ := strings.Cut(v.Type().Field(f).Tag.Get("yaml"), ",")
		r.value(strings.TrimPrefix(path+"."+key.Value, "."), val, v.Field(f), option == "env")
	}
}

func (r *reader) list(path string, n *yaml.Node, v reflect.Value, env bool) {
	items := n.Content
	switch {
	case n.Kind == yaml.SequenceNode:
	case n.Kind == yaml.ScalarNode && v.Type().Elem().Kind() == reflect.String:
		items = []*yaml.Node{n} // one where several are possible
	default:
		r.add(n, fmt.Sprintf("%s is %s", label(path), kindOf(n)), "a list", "")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		r.value(fmt.Sprintf("%s[%d]", path, i), item, v.Index(i), env)
	}
	r.places[path] = n
}

func (r *reader) scalar(path string, n *yaml.Node, v reflect.Value, env bool) {
	wrong := func(expected string) { r.add(n, fmt.Sprintf("%s is %s", label(path), kindOf(n)), expected, "") }
	if n.Kind != yaml.ScalarNode {
		wrong("a single value")
		return
	}
	text := n.Value
	if strings.Contains(text, "${") {
		if !env {
			r.add(n, "environment variables are not expanded in "+label(path), "the value itself", "")
			return
		}
		var ok bool
		if text, ok = r.expand(n, text); !ok {
			return
		}
	}
	switch {
	case v.Type() == durationType:
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			r.add(n, fmt.Sprintf("%q is not a duration", text), "a number with a unit, such as 30s, 10m or 12h", "")
			return
		}
		v.SetInt(int64(d))
	case v.Kind() == reflect.String:
		if n.Tag != "!!str" && n.Style == 0 && n.Tag != "!!int" && n.Tag != "!!float" {
			wrong("a text")
			return
		}
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			wrong("true or false")
			return
		}
		v.SetBool(text == "true")
	case v.CanInt():
		i, err := strconv.ParseInt(text, 10, 64)
		if err != nil || i < 0 {
			wrong("a whole number, zero or more")
			return
		}
		v.SetInt(i)
	}
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

func (r *reader) expand(n *yaml.Node, text string) (string, bool) {
	ok := true
	out := variable.ReplaceAllStringFunc(text, func(m string) string {
		name := m[2 : len(m)-1]
		value, set := r.env(name)
		if !set || value == "" {
			r.add(n, fmt.Sprintf("the environment variable %s is not set", name), "", "")
			ok = false
		}
		return value
	})
	if ok && strings.Contains(variable.ReplaceAllString(text, ""), "${") {
		r.add(n, fmt.Sprintf("%q holds a malformed variable", text), "${NAME}", "")
		return "", false
	}
	return out, ok
}

func label(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		return strconv.Quote(n.Value)
	}
}

// closest returns the name that was most likely meant, or "": at most two edits
// away, or one edit in a short word.
func closest(word string, names []string) string {
	best, distance := "", 3
	if len(word) < 5 {
		distance = 2
	}
	for _, name := range names {
		if d := edits(strings.ToLower(word), name); d < distance {
			best, distance = name, d
		}
	}
	return best
}

// edits is the optimal string alignment distance: insert, delete, replace, swap.
func edits(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
