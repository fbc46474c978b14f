package expr

import (
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Scope holds the facts of one judgement while its expressions are evaluated. Each
// fact is converted at most once however many expressions read it.
//
// A Scope belongs to one goroutine, between [Env.Acquire] and [Scope.Release].
type Scope struct {
	env   *Env
	facts any
	root  reflect.Value
	boxed []ref.Val
	frame *interpreter.ExecutionFrame

	// limited is set while an expression runs under a cost limit. Otherwise a value
	// that is larger than the cost estimate assumed is not handed out: reading it fails and
	// sets oversize, and the expression is started again under the limit.
	limited, oversize bool
}

var errOversize = types.NewErr("a fact is larger than the cost estimate assumed")

func newScope(e *Env) *Scope {
	return &Scope{env: e, boxed: make([]ref.Val, len(e.schema.facts))}
}

// Acquire starts a judgement of facts, a pointer to the struct of the [Schema]. The facts
// must not change before Release.
func (e *Env) Acquire(facts any) *Scope {
	s := e.scopes.Get().(*Scope)
	s.facts, s.root = facts, valueOf(facts)
	// It cannot fail for an Activation without late-bound functions; Eval copes with a
	// nil frame.
	s.frame, _ = interpreter.NewExecutionFrame(s)
	return s
}

// Release ends the judgement.
func (s *Scope) Release() {
	if s.frame != nil {
		s.frame.Close()
	}
	clear(s.boxed)
	s.facts, s.root, s.frame, s.limited, s.oversize = nil, reflect.Value{}, nil, false, false
	s.env.scopes.Put(s)
}

// value returns a fact as CEL computes with it.
func (s *Scope) value(slot int) ref.Val {
	if v := s.boxed[slot]; v != nil {
		return v
	}
	f := &s.env.schema.facts[slot]
	v := s.root.Field(f.index[0]).Field(f.index[1])
	if f.Kind == Bool { // no allocation, nothing to remember
		return types.Bool(v.Bool())
	}
	if f.oversize(v) {
		if !s.limited {
			s.oversize = true
			return errOversize
		}
		return f.box(v) // not remembered: the next expression must notice its size too
	}
	s.boxed[slot] = f.box(v)
	return s.boxed[slot]
}

// text returns a fact of kind String without converting it.
func (s *Scope) text(slot int) (string, bool) {
	f := &s.env.schema.facts[slot]
	v := s.root.Field(f.index[0]).Field(f.index[1]).String()
	if len(v) > maxLength && !s.limited {
		s.oversize = true
		return "", false
	}
	return v, true
}

// self is a name that no expression can spell.
const self = "@scope"

// ResolveName implements interpreter.Activation, for the places where CEL resolves names
// itself: below an index, and inside comprehensions.
func (s *Scope) ResolveName(name string) (any, bool) {
	if name == self {
		return s, true
	}
	if i, ok := s.env.schema.byName[name]; ok {
		return s.value(i), true
	}
	if l, ok := s.env.lists[name]; ok {
		return l, true
	}
	return nil, false
}

// Parent implements interpreter.Activation.
func (s *Scope) Parent() interpreter.Activation { return nil }

// scopeOf finds the Scope of an evaluation, also from inside a comprehension.
func scopeOf(frame *interpreter.ExecutionFrame) *Scope {
	if s, ok := frame.Scope().(*Scope); ok {
		return s
	}
	v, _ := frame.ResolveName(self)
	s, _ := v.(*Scope)
	return s
}
