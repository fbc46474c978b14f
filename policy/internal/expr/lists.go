package expr

import (
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// List is a constant list: of text, or of whole numbers if Ints is not empty.
type List struct {
	Strings []string
	Ints    []int64
}

// set is a constant list whose membership test takes constant time. Otherwise it is an
// ordinary CEL list.
type set struct {
	traits.Lister
	kind    Kind
	list    List
	strings map[string]struct{}
	ints    map[int64]struct{}
}

func newSet(l List) *set {
	if len(l.Ints) > 0 {
		s := &set{kind: Ints, list: l, ints: make(map[int64]struct{}, len(l.Ints)),
			Lister: types.NewDynamicList(types.DefaultTypeAdapter, l.Ints).(traits.Lister)}
		for _, v := range l.Ints {
			s.ints[v] = struct{}{}
		}
		return s
	}
	s := &set{kind: Strings, list: l, strings: make(map[string]struct{}, len(l.Strings)),
		Lister: types.NewStringList(types.DefaultTypeAdapter, l.Strings)}
	for _, v := range l.Strings {
		s.strings[v] = struct{}{}
	}
	return s
}

// Contains reports membership.
func (s *set) Contains(v ref.Val) ref.Val {
	switch v := v.(type) {
	case types.String:
		_, ok := s.strings[string(v)]
		return types.Bool(ok)
	case types.Int:
		_, ok := s.ints[int64(v)]
		return types.Bool(ok)
	}
	return s.Lister.Contains(v)
}

// longest returns the length of the longest text entry.
func (s *set) longest() int {
	n := 0
	for _, v := range s.list.Strings {
		n = max(n, len(v))
	}
	return n
}

// asSet makes a set of a list literal of constants, or returns nil.
func asSet(v ref.Val) *set {
	if s, ok := v.(*set); ok {
		return s
	}
	l, ok := v.(traits.Lister)
	if !ok {
		return nil
	}
	var out List
	for it := l.Iterator(); it.HasNext() == types.True; {
		switch v := it.Next().(type) {
		case types.String:
			out.Strings = append(out.Strings, string(v))
		case types.Int:
			out.Ints = append(out.Ints, int64(v))
		default:
			return nil
		}
	}
	if len(out.Strings) > 0 && len(out.Ints) > 0 {
		return nil
	}
	return newSet(out)
}

// strings is a list fact. Its membership test compares in place, where CEL's own would
// allocate for every entry.
type stringsFact struct {
	traits.Lister
	list []string
}

func newStrings(list []string) ref.Val {
	return &stringsFact{Lister: types.NewStringList(types.DefaultTypeAdapter, list), list: list}
}

// Contains reports membership.
func (s *stringsFact) Contains(v ref.Val) ref.Val {
	if v, ok := v.(types.String); ok {
		return types.Bool(slices.Contains(s.list, string(v)))
	}
	return s.Lister.Contains(v)
}
