package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/strictyaml"
)

// reader turns a YAML tree into structs, strictly, and collects every mistake with its
// place. Struct fields carry a `yaml:"name"` tag, with ",env" where ${VARIABLE} is
// expanded; anywhere else a ${ is a mistake, so that no author relies on an expansion
// that does not happen.
//
// It loads and reports as the reader of policy files does, with package strictyaml.
type reader struct {
	*strictyaml.Source
	places map[string]*yaml.Node // "routes[0].from" -> where its value stands
	env    func(string) (string, bool)
}

// maxNodes bounds the keys, values and lists of a file; a thousand routes need half of it.
const maxNodes = 100_000

func newReader(file string, source []byte) *reader {
	r := &reader{Source: strictyaml.NewSource(file, source), places: map[string]*yaml.Node{}, env: os.LookupEnv}
	hideSecrets(r.Source)
	return r
}

// node notes a mistake at a node.
func (r *reader) node(n *yaml.Node, message, expected, suggestion string) {
	r.At(n, withoutPasswords(strictyaml.Diagnostic{Message: message, Expected: expected, Suggestion: suggestion}))
}

// at notes a mistake in the value at a path, or in the nearest thing above it that
// is in the file.
func (r *reader) at(path, message, expected string) {
	r.suggest(path, message, expected, "")
}

func (r *reader) suggest(path, message, expected, suggestion string) {
	n := r.place(path)
	r.node(n, named(path, message), expected, suggestion)
}

// named puts the key in front of a message that does not name it: a value in a list is on
// a line of its own, and a line that may hold a secret is not shown.
func named(path, message string) string {
	if path == "" || strings.HasPrefix(message, path+" ") {
		return message
	}
	return path + ": " + message
}

func (r *reader) place(path string) *yaml.Node {
	for {
		if n, ok := r.places[path]; ok {
			return n
		}
		if path == "" {
			return &yaml.Node{Line: 1, Column: 1}
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

func (r *reader) parse(source []byte, into any) {
	root := r.Load(source, strictyaml.Format{What: "the configuration", Empty: "a configuration; `sallyport init` writes one to start from",
		Key: `keys indented alike, and quotes around "${NAME}" inside [ ] or { }`})
	if root == nil {
		return
	}
	if n := beyond(root, maxNodes); n != nil {
		r.node(n, fmt.Sprintf("the file has more than %d keys and values", maxNodes), "a configuration; long address lists in files of their own, under ip_data.lists", "")
		return
	}
	r.value("", root, reflect.ValueOf(into).Elem(), false)
}

// beyond returns the first node behind the first most, in file order, or nil.
func beyond(n *yaml.Node, most int) *yaml.Node {
	var found *yaml.Node
	var count func(*yaml.Node)
	count = func(n *yaml.Node) {
		if most--; most < 0 {
			found = n
		}
		for i := 0; i < len(n.Content) && found == nil; i++ {
			count(n.Content[i])
		}
	}
	count(n)
	return found
}

// maxDuration is what can be added to a time without an overflow.
const maxDuration = 100 * 366 * 24 * time.Hour

var durationType = reflect.TypeFor[time.Duration]()

// value reads one node into one Go value.
func (r *reader) value(path string, n *yaml.Node, v reflect.Value, env bool) {
	r.places[path] = n
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.node(n, "anchors and aliases are not used in this file", "the value itself", "")
	case strictyaml.Tagged(n):
		r.node(n, fmt.Sprintf("YAML takes %s for a tag, and this file has none", n.Tag), "quotes around a text that begins with !", "")
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		r.value(path, n, v.Elem(), env)
	case v.Kind() == reflect.Struct:
		r.mapping(path, n, v)
	case v.Kind() == reflect.Slice:
		r.list(path, n, v, env)
	case v.Kind() == reflect.Map:
		r.pairs(path, n, v)
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
	slices.Sort(names)
	if n.Kind != yaml.MappingNode {
		r.node(n, fmt.Sprintf("%s is %s", label(path), kindOf(n)), "a mapping with the keys "+strings.Join(names, ", "), "")
		return
	}
	for key, val := range r.Pairs(n, label(path), "one of "+strings.Join(names, ", ")) {
		f, ok := fields[key.Value]
		if !ok && r.Full() { // searching for suggestions thousands of times is slow
			r.Drop()
			continue
		}
		if !ok {
			r.node(key, fmt.Sprintf("there is no key %q in %s", keyName(key.Value), label(path)), "one of "+strings.Join(names, ", "), strictyaml.Nearest(key.Value, names))
			continue
		}
		// An empty text would unset what the key is there for, policy_invariants for example.
		if val.Kind == yaml.ScalarNode && (val.Tag == "!!null" || val.Value == "" && v.Field(f).Kind() == reflect.String) {
			r.node(val, fmt.Sprintf("%q has no value", key.Value), "a value, or leave the key out", "")
			continue
		}
		_, option, _ := strings.Cut(v.Type().Field(f).Tag.Get("yaml"), ",")
		r.value(strings.TrimPrefix(path+"."+key.Value, "."), val, v.Field(f), option == "env")
	}
}

// pairs reads a mapping whose keys are the operator's own words.
func (r *reader) pairs(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		r.node(n, fmt.Sprintf("%s is %s", label(path), kindOf(n)), "a mapping such as {name: value}", "")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for key, val := range r.Pairs(n, label(path), "a name") {
		if key.Value == "" {
			r.node(key, "a key has to be a plain word", "a name", "")
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		r.value(path+"."+key.Value, val, item, false)
		v.SetMapIndex(reflect.ValueOf(key.Value), item)
	}
}

func (r *reader) list(path string, n *yaml.Node, v reflect.Value, env bool) {
	items := n.Content
	switch {
	case n.Kind == yaml.SequenceNode:
	case n.Kind == yaml.ScalarNode && v.Type().Elem().Kind() == reflect.String:
		items = []*yaml.Node{n} // one where several are possible
	default:
		r.node(n, fmt.Sprintf("%s is %s", label(path), kindOf(n)), "a list", "")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		r.value(fmt.Sprintf("%s[%d]", path, i), item, v.Index(i), env)
	}
	r.places[path] = n
}

func (r *reader) scalar(path string, n *yaml.Node, v reflect.Value, env bool) {
	wrong := func(expected string) { r.node(n, fmt.Sprintf("%s is %s", label(path), kindOf(n)), expected, "") }
	if n.Kind != yaml.ScalarNode {
		wrong("a single value")
		return
	}
	text := n.Value
	if strings.Contains(text, "${") {
		if !env {
			r.node(n, "environment variables are not expanded in "+label(path), "the value itself", "")
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
			r.suggest(path, fmt.Sprintf("%q is not a duration", text), "a number with a unit, such as 30s, 10m or 12h", strictyaml.DurationMeant(text))
			return
		}
		if d > maxDuration {
			r.at(path, fmt.Sprintf("%s is longer than 100 years", text), "a duration of use, such as 24h")
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
	case v.Kind() == reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || x != x || !plainFloat.MatchString(text) {
			wrong("a number such as 0.25")
			return
		}
		v.SetFloat(x)
	case v.CanInt():
		i, err := strconv.ParseInt(text, 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange) && i > 0:
			wrong("a smaller number")
			return
		case err != nil || i < 0 || !strictyaml.PlainNumber(text):
			unit := ""
			if strings.Contains(path, "_bytes") {
				unit = " of bytes"
			}
			r.suggest(path, fmt.Sprintf("%s is %s", label(path), kindOf(n)), "a whole number"+unit+", zero or more, without a leading 0", numberMeant(unit, text))
			return
		}
		v.SetInt(i)
	}
}

var plainFloat = regexp.MustCompile(`^-?(?:0|[1-9][0-9]*)?(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$`)

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

func (r *reader) expand(n *yaml.Node, text string) (string, bool) {
	ok := true
	out := variable.ReplaceAllStringFunc(text, func(m string) string {
		name := m[2 : len(m)-1]
		value, set := r.env(name)
		if !set || value == "" {
			r.node(n, fmt.Sprintf("the environment variable %s is not set", name), "", "")
			ok = false
		}
		return value
	})
	if ok && strings.Contains(variable.ReplaceAllString(text, ""), "${") {
		r.node(n, fmt.Sprintf("%q holds a malformed variable", text), "${NAME}", "")
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
		if mayHoldSecret(n.Value) {
			return "a text"
		}
		return strconv.Quote(n.Value)
	}
}
