// Package expr compiles the expressions of policy rules. It is the only
// importer of cel-go.
//
// The environment is closed: an expression sees the facts of one Go struct ([Schema]),
// the constant lists and the functions it is given ([Config]), a chosen part of CEL's
// standard functions, and nothing else. It is typed: a misspelt fact, a comparison that
// mixes types or a result that is not a bool is an error when it is compiled, never when
// a request waits. It is bounded: [Env.Compile] refuses text, nesting and worst-case cost
// beyond fixed limits, and a fact larger than that worst case assumed makes the
// evaluation run under a cost limit of the same size.
//
// The package knows nothing of policies. What the facts mean, and which
// comparisons make sense, is for its caller to say.
//
// How it fails: Compile returns every mistake it can find as a [Problem] with a position;
// [Program.Eval] returns an error (too expensive, index out of range, overflow), and it
// is the caller who decides that an expression that cannot be evaluated counts against
// the request. It does not panic on hostile text; this is fuzzed through the policy
// compiler.
package expr

import (
	"fmt"
	"reflect"
	"slices"
	"sync"

	"cel.dev/cel-go/cel"
	celenv "cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Limits on one expression. The worst case of an accepted expression is about a
// millisecond.
const (
	MaxText    = 4096    // characters
	maxDepth   = 48      // nesting, in the parser
	maxNodes   = 2000    // syntax tree, after macros
	maxCost    = 100_000 // CEL cost units, both estimated and while running
	maxEntries = 256     // length that the estimate assumes for a list fact
	maxLength  = 1024    // bytes that the estimate assumes for a text fact
	maxEntry   = 256     // and for an entry of a list fact
	maxRegex   = 500     // instructions
)

// Config is the closed world of an environment.
type Config struct {
	Facts     *Schema
	Lists     map[string]List // visible as lists.NAME
	Functions []Function
}

// Env compiles expressions. It is immutable and safe for concurrent use.
type Env struct {
	schema    *Schema
	cel       *cel.Env
	lists     map[string]*set
	functions map[string]Function
	names     []string // every callable name, for suggestions
	scopes    sync.Pool
}

// Function is a function of facts and of one argument, called as NAME(argument).
// Its name is qualified by a group of facts, as in "ip.within".
type Function struct {
	Name   string
	Params []Kind // the kinds that the argument may have
	Result Kind   // Bool, Int or String
	Reads  []string
	// Total: with a constant argument it never fails, for any facts.
	Total bool
	// Bind is called at compile time for an argument that is constant; an error
	// refuses the expression. The returned function gets the pointer given to [Env.Acquire].
	Bind func(arg Constant) (Bound, error)
	// Dynamic evaluates an argument that is only known at evaluation. Nil: the
	// argument has to be constant.
	Dynamic func(facts, arg any) (any, error)
}

// Bound is a function with its argument, ready to be asked about facts.
type Bound func(facts any) (any, error)

// Constant is an argument known at compile time.
type Constant struct {
	List    string // the name of the list, if it is lists.NAME
	Strings []string
	Ints    []int64
}

// ArgumentError is what a function has against its argument, with what was expected and
// what may have been meant where that is known.
type ArgumentError struct{ Message, Expected, Suggestion string }

func (e *ArgumentError) Error() string {
	text := e.Message
	if e.Expected != "" {
		text += " (" + e.Expected + ")"
	}
	if e.Suggestion != "" {
		text += "; did you mean " + e.Suggestion + "?"
	}
	return text
}

// EntryError says which entry of a constant list is at fault.
type EntryError struct {
	Entry int
	Err   error
}

func (e *EntryError) Error() string { return e.Err.Error() }
func (e *EntryError) Unwrap() error { return e.Err }

// operations is the part of CEL's standard library that rules may use. Left out are the
// escapes from typing (dyn, type), what would be evaluated in the machine's own time zone
// or in none (the getters of timestamps), and has(): a fact is never absent.
var operations = []string{
	"_&&_", "_||_", "!_", "_?_:_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "_[_]",
	"_+_", "_-_", "-_", "_*_", "_/_", "_%_", "@not_strictly_false",
	"size", "contains", "startsWith", "endsWith", "matches", "duration", "timestamp", "int", "string",
}

var macros = []string{"exists", "exists_one", "all", "map", "filter"}

// NewEnv makes an environment.
func NewEnv(c Config) (*Env, error) {
	e := &Env{schema: c.Facts, lists: map[string]*set{}, functions: map[string]Function{}}
	subset := &celenv.LibrarySubset{IncludeMacros: macros}
	for _, name := range operations {
		subset.IncludeFunctions = append(subset.IncludeFunctions, celenv.NewFunction(name))
		if name[0] != '_' && name[0] != '@' && name[0] != '!' && name[0] != '-' {
			e.names = append(e.names, name)
		}
	}
	e.names = append(e.names, macros...)
	opts := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(subset)),
		cel.EnableMacroCallTracking(), // so that explanations print exists(), not what it expands to
		cel.ParserExpressionSizeLimit(MaxText),
		cel.ParserRecursionLimit(maxDepth),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ParserErrorRecoveryLimit(4),
		cel.RegexProgramSizeLimit(maxRegex),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateComprehensionNestingLimit(2)),
		cel.Function("lowerAscii", cel.MemberOverload("string_lower_ascii",
			[]*cel.Type{cel.StringType}, cel.StringType, cel.UnaryBinding(lowerASCII))),
	}
	e.names = append(e.names, "lowerAscii")
	for _, f := range c.Facts.facts {
		opts = append(opts, cel.Variable(f.Name, f.Kind.celType()))
	}
	for name, l := range c.Lists {
		s := newSet(l)
		e.lists["lists."+name] = s
		opts = append(opts, cel.Variable("lists."+name, s.kind.celType()))
	}
	for _, f := range c.Functions {
		e.functions[f.Name] = f
		e.names = append(e.names, f.Name)
		var overloads []cel.FunctionOpt
		for _, p := range f.Params {
			overloads = append(overloads, cel.Overload(fmt.Sprintf("%s(%s)", f.Name, p),
				[]*cel.Type{p.celType()}, f.Result.celType()))
		}
		opts = append(opts, cel.Function(f.Name, overloads...))
	}
	slices.Sort(e.names)
	env, err := cel.NewCustomEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("expression environment: %w", err)
	}
	e.cel = env
	e.scopes.New = func() any { return newScope(e) }
	return e, nil
}

// lowerASCII is text.lowerAscii(), as in CEL's string extension: letters outside ASCII
// stay as they are.
func lowerASCII(v ref.Val) ref.Val {
	s, ok := v.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return types.String(b)
}

// valueOf returns facts as the reflect.Value that a [Schema] reads.
func valueOf(facts any) reflect.Value { return reflect.ValueOf(facts).Elem() }
