package expr

import (
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
)

// Program is a compiled expression. It is immutable and safe for concurrent use.
type Program struct {
	env     *Env
	text    string
	ast     *cel.Ast
	program cel.Program
	calls   map[int64]Bound
	reads   []string
	lists   []string
	compare []Comparison
	texts   []Value
	cost    uint64

	// limited is the same expression under a cost limit, made when the first oversize
	// fact appears: it costs ten times as much to run.
	limited func() (cel.Program, error)
}

// Text returns the source of the expression.
func (p *Program) Text() string { return p.text }

// Reads returns the names of the facts that the expression reads, those its functions
// read included, in the order of the schema. None: it is constant.
func (p *Program) Reads() []string { return p.reads }

// Comparisons returns what the facts are compared with, where that is constant.
func (p *Program) Comparisons() []Comparison { return p.compare }

// Texts returns the texts that are written out in the expression, in its order.
func (p *Program) Texts() []Value { return p.texts }

// Lists returns the names of the constant lists that the expression uses.
func (p *Program) Lists() []string { return p.lists }

// Cost returns the estimated worst case, in CEL cost units.
func (p *Program) Cost() uint64 { return p.cost }

// Compile compiles a condition.
func (e *Env) Compile(text string) (*Program, []Problem) {
	p, problems := e.compile(text, nil)
	if p == nil {
		e.suggest(text, problems)
	}
	return p, problems
}

// compile is Compile with a change of what was parsed. nil: none.
func (e *Env) compile(text string, change func(*ast.AST)) (*Program, []Problem) {
	if n := utf8.RuneCountInString(text); n > MaxText {
		return nil, []Problem{{Message: fmt.Sprintf("the expression has %d characters", n),
			Expected: fmt.Sprintf("at most %d; a long list belongs under `lists:`", MaxText)}}
	}
	runes := []rune(text)
	parsed, issues := e.cel.Parse(text)
	if issues.Err() != nil {
		return nil, e.explainSyntax(runes, issues)
	}
	info := parsed.NativeRep().SourceInfo()
	n := &names{env: e, text: runes, parsed: parsed.NativeRep(), info: info}
	n.visit(parsed.NativeRep().Expr())
	if change != nil && len(n.problems) == 0 {
		change(parsed.NativeRep())
	}
	checked, issues := e.cel.Check(parsed)
	problems := n.problems
	if issues.Err() != nil {
		problems = append(problems, e.explainTypes(runes, parsed.NativeRep(), issues)...)
		if len(problems) == 0 { // an undeclared name that names did not see: never let it pass
			problems = append(problems, Problem{Message: issues.Errors()[0].Message})
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	if checked.OutputType() != cel.BoolType {
		return nil, []Problem{{Message: fmt.Sprintf("the expression gives %s", article(checked.OutputType().String())),
			Expected: "a condition: something that is true or false"}}
	}
	c := &checks{env: e, text: runes, info: info, calls: map[int64]Bound{}, read: map[string]bool{}}
	c.visit(checked.NativeRep().Expr())
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	worst, tooMuch := e.worstCase(checked)
	if tooMuch != nil {
		return nil, []Problem{*tooMuch}
	}
	p, problems := e.plan(text, checked, c)
	if p != nil {
		p.cost = worst
	}
	return p, problems
}

func (e *Env) plan(text string, checked *cel.Ast, c *checks) (*Program, []Problem) {
	p := &Program{env: e, text: text, ast: checked, calls: c.calls, lists: c.lists, compare: c.compare, texts: c.texts}
	for _, f := range e.schema.facts {
		if c.read[f.Name] {
			p.reads = append(p.reads, f.Name)
		}
	}
	var err error
	p.program, err = e.cel.Program(checked, cel.CustomDecoratorV2(e.decorator(c.calls, false)), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, []Problem{{Message: "this cannot be computed: " + err.Error()}}
	}
	p.limited = sync.OnceValues(func() (cel.Program, error) {
		return e.cel.Program(checked, cel.CustomDecoratorV2(e.decorator(c.calls, true)),
			cel.EvalOptions(cel.OptOptimize), cel.CostTracking(actualCost{}), cel.CostLimit(maxCost))
	})
	return p, nil
}

// Eval evaluates the condition on the facts of s.
func (p *Program) Eval(s *Scope) (bool, error) {
	s.oversize = false
	v, _, err := p.program.Eval(s.frame)
	if s.oversize {
		return p.evalLimited(s)
	}
	if err != nil {
		return false, evalError(err)
	}
	return v == types.True, nil
}

func (p *Program) evalLimited(s *Scope) (bool, error) {
	program, err := p.limited()
	if err != nil {
		return false, evalError(err)
	}
	s.limited = true
	defer func() { s.limited = false }()
	v, _, err := program.Eval(s)
	if err != nil {
		return false, evalError(err)
	}
	return v == types.True, nil
}

// evalError puts an evaluation error in words that fit into a reason.
func evalError(err error) error {
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded {
		return errors.New("it costs too much on facts as large as these")
	}
	return err
}
