package expr

import (
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// The nodes below replace cel-go's own in the compiled program. They give the same
// answers (the tests compare both), and they read facts straight from the struct: a rule
// costs about a hundred nanoseconds rather than a microsecond, which is what lets a
// policy have hundreds of rules.

var errNoScope = types.NewErr("evaluated without facts")

// base gives a node its place in the syntax tree, and the older of CEL's two ways to be
// run.
type base struct {
	id   int64
	exec func(*interpreter.ExecutionFrame) ref.Val
}

func (b *base) ID() int64 { return b.id }

func (b *base) Eval(a interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(a, b.exec)
}

// factNode reads one fact.
type factNode struct {
	base
	slot int
	kind Kind
}

func newFactNode(id int64, slot int, kind Kind) *factNode {
	n := &factNode{slot: slot, kind: kind}
	n.base = base{id, n.Exec}
	return n
}

func (n *factNode) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	s := scopeOf(frame)
	if s == nil {
		return errNoScope
	}
	v := s.value(n.slot)
	if t := frame.CostTracker(); t != nil {
		t.EvalAttribute(n.id, false, v)
	}
	return v
}

// memberNode is `fact in list` for a constant list.
type memberNode struct {
	base
	operand interpreter.InterpretableV2
	set     *set
	fact    *factNode // the operand, when it is a text fact
}

func (n *memberNode) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	if n.fact != nil {
		s := scopeOf(frame)
		if s == nil {
			return errNoScope
		}
		text, ok := s.text(n.fact.slot)
		if !ok {
			return errOversize
		}
		_, in := n.set.strings[text]
		if t := frame.CostTracker(); t != nil {
			t.EvalAttribute(n.fact.id, false, types.Bool(in))
		}
		return types.Bool(in)
	}
	v := n.operand.Exec(frame)
	if types.IsUnknownOrError(v) {
		return v
	}
	return n.set.Contains(v)
}

// equalNode is `fact == "text"` and `fact != "text"`.
type equalNode struct {
	base
	fact *factNode
	text string
	want bool
}

func (n *equalNode) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	s := scopeOf(frame)
	if s == nil {
		return errNoScope
	}
	text, ok := s.text(n.fact.slot)
	if !ok {
		return errOversize
	}
	return types.Bool((text == n.text) == n.want)
}

// callNode is one of the environment's own functions.
type callNode struct {
	base
	bound   Bound // for a constant argument
	dynamic func(facts, arg any) (any, error)
	arg     interpreter.InterpretableV2
}

func (n *callNode) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	s := scopeOf(frame)
	if s == nil {
		return errNoScope
	}
	if n.bound != nil {
		return result(n.bound(s.facts))
	}
	arg := n.arg.Exec(frame)
	if types.IsUnknownOrError(arg) {
		return arg
	}
	return result(n.dynamic(s.facts, arg.Value()))
}

func result(v any, err error) ref.Val {
	if err != nil {
		return types.WrapErr(err)
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

// decorator returns the replacement of nodes for one program.
//
// Under a cost limit, comparisons stay cel-go's own, which report what they cost. calls
// holds the bound functions by the id of their call.
func (e *Env) decorator(calls map[int64]Bound, limited bool) interpreter.InterpretableDecoratorV2 {
	return func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		switch n := i.(type) {
		case interpreter.InterpretableAttribute:
			return e.decorateName(n), nil
		case interpreter.InterpretableCall:
			if f, ok := e.functions[n.Function()]; ok {
				c := &callNode{bound: calls[n.ID()], dynamic: f.Dynamic, arg: n.Args()[0]}
				c.base = base{n.ID(), c.Exec}
				return c, nil
			}
			if n.OverloadID() == overloads.InList {
				return decorateIn(n), nil
			}
			if !limited {
				return decorateEqual(n), nil
			}
		}
		return i, nil
	}
}

func (e *Env) decorateName(n interpreter.InterpretableAttribute) interpreter.InterpretableV2 {
	attr, ok := n.Attr().(interpreter.NamespacedAttribute)
	if !ok || len(attr.Qualifiers()) > 0 || len(attr.CandidateVariableNames()) != 1 {
		return n
	}
	name := attr.CandidateVariableNames()[0]
	if slot, ok := e.schema.byName[name]; ok {
		return newFactNode(n.ID(), slot, e.schema.facts[slot].Kind)
	}
	if l, ok := e.lists[name]; ok {
		return interpreter.NewConstValue(n.ID(), l).(interpreter.InterpretableV2)
	}
	return n
}

func decorateIn(n interpreter.InterpretableCall) interpreter.InterpretableV2 {
	args := n.Args()
	list, ok := args[1].(interpreter.InterpretableConst)
	if !ok {
		return n
	}
	set := asSet(list.Value())
	if set == nil {
		return n
	}
	m := &memberNode{operand: args[0], set: set}
	if f, ok := args[0].(*factNode); ok && f.kind == String && set.kind == Strings {
		m.fact = f
	}
	m.base = base{n.ID(), m.Exec}
	return m
}

func decorateEqual(n interpreter.InterpretableCall) interpreter.InterpretableV2 {
	if n.Function() != operators.Equals && n.Function() != operators.NotEquals {
		return n
	}
	fact, text := n.Args()[0], n.Args()[1]
	if _, ok := text.(*factNode); ok {
		fact, text = text, fact
	}
	f, isFact := fact.(*factNode)
	c, isConst := text.(interpreter.InterpretableConst)
	if !isFact || !isConst || f.kind != String {
		return n
	}
	s, ok := c.Value().(types.String)
	if !ok {
		return n
	}
	eq := &equalNode{fact: f, text: string(s), want: n.Function() == operators.Equals}
	eq.base = base{n.ID(), eq.Exec}
	return eq
}
