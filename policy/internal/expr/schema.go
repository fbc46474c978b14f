package expr

import (
	"fmt"
	"reflect"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Kind is the type of a fact, a list or an argument.
type Kind int

const (
	Invalid Kind = iota
	Bool
	Int
	Double
	String
	Duration
	Time
	Strings
	Ints
)

var kinds = map[Kind]struct {
	name string
	cel  *cel.Type
}{
	Invalid:  {"nothing", cel.NullType},
	Bool:     {"bool", cel.BoolType},
	Int:      {"int", cel.IntType},
	Double:   {"double", cel.DoubleType},
	String:   {"string", cel.StringType},
	Duration: {"duration", cel.DurationType},
	Time:     {"timestamp", cel.TimestampType},
	Strings:  {"list(string)", cel.ListType(cel.StringType)},
	Ints:     {"list(int)", cel.ListType(cel.IntType)},
}

// String returns the name that CEL gives the type.
func (k Kind) String() string     { return kinds[k].name }
func (k Kind) celType() *cel.Type { return kinds[k].cel }

// Fact is one field that expressions can read.
type Fact struct {
	Name  string // "ip.country"
	Group string // "ip"
	Field string // "country"
	Kind  Kind
	index [2]int
}

// Schema is the list of facts in a struct: its fields are groups (structs), the groups'
// fields are facts. Names come from the tag `cel`; a field without one, or with "-",
// cannot be seen.
type Schema struct {
	facts  []Fact
	byName map[string]int
	groups []string
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	timeType     = reflect.TypeFor[time.Time]()
)

// NewSchema reads a struct type. It fails for a fact of a type that expressions do not
// have.
func NewSchema(root reflect.Type) (*Schema, error) {
	s := &Schema{byName: map[string]int{}}
	for i := range root.NumField() {
		group := root.Field(i)
		name := group.Tag.Get("cel")
		if name == "" || name == "-" {
			continue
		}
		if group.Type.Kind() != reflect.Struct {
			return nil, fmt.Errorf("%s.%s: a group of facts has to be a struct", root, group.Name)
		}
		s.groups = append(s.groups, name)
		for j := range group.Type.NumField() {
			field := group.Type.Field(j)
			tag := field.Tag.Get("cel")
			if tag == "" || tag == "-" {
				continue
			}
			f := Fact{Name: name + "." + tag, Group: name, Field: tag, Kind: kindOf(field.Type), index: [2]int{i, j}}
			if f.Kind == Invalid {
				return nil, fmt.Errorf("%s.%s: expressions have no type for %s", group.Type, field.Name, field.Type)
			}
			if _, twice := s.byName[f.Name]; twice {
				return nil, fmt.Errorf("%s is declared twice", f.Name)
			}
			s.byName[f.Name] = len(s.facts)
			s.facts = append(s.facts, f)
		}
	}
	return s, nil
}

func kindOf(t reflect.Type) Kind {
	switch {
	case t == durationType:
		return Duration
	case t == timeType:
		return Time
	case t.Kind() == reflect.Bool:
		return Bool
	case t.Kind() == reflect.Int64, t.Kind() == reflect.Int:
		return Int
	case t.Kind() == reflect.Float64:
		return Double
	case t.Kind() == reflect.String:
		return String
	case t == reflect.TypeFor[[]string]():
		return Strings
	case t == reflect.TypeFor[[]int64]():
		return Ints
	}
	return Invalid
}

// Facts returns every fact, in the order of the struct.
func (s *Schema) Facts() []Fact { return s.facts }

// Groups returns the names of the groups, in the order of the struct.
func (s *Schema) Groups() []string { return s.groups }

// Lookup finds a fact by its qualified name.
func (s *Schema) Lookup(name string) (Fact, bool) {
	i, ok := s.byName[name]
	if !ok {
		return Fact{}, false
	}
	return s.facts[i], true
}

// Field returns the struct field of a fact, settable if facts is a pointer.
func (s *Schema) Field(facts any, f Fact) reflect.Value {
	return valueOf(facts).Field(f.index[0]).Field(f.index[1])
}

// oversize reports whether a value is larger than the cost estimate assumes.
func (f Fact) oversize(v reflect.Value) bool {
	switch f.Kind {
	case String:
		return v.Len() > maxLength
	case Ints:
		return v.Len() > maxEntries
	case Strings:
		if v.Len() > maxEntries {
			return true
		}
		for i := range v.Len() {
			if v.Index(i).Len() > maxEntry {
				return true
			}
		}
	}
	return false
}

// box converts a field to the value that CEL computes with.
func (f Fact) box(v reflect.Value) ref.Val {
	switch f.Kind {
	case Bool:
		return types.Bool(v.Bool())
	case Int:
		return types.Int(v.Int())
	case Double:
		return types.Double(v.Float())
	case String:
		return types.String(v.String())
	case Duration:
		return types.Duration{Duration: time.Duration(v.Int())}
	case Time:
		return types.Timestamp{Time: *v.Addr().Interface().(*time.Time)}
	case Strings:
		return newStrings(*v.Addr().Interface().(*[]string))
	case Ints:
		return types.NewDynamicList(types.DefaultTypeAdapter, *v.Addr().Interface().(*[]int64))
	}
	return types.NewErr("%s has no value", f.Name)
}
