package expr

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Step is one condition inside an expression, and how it came out.
type Step struct {
	Expr  string
	Value string // "true", "false", an error, or "" if it did not matter and was not evaluated
}

// Trace evaluates the expression once more with every step recorded. It is for
// explanations: what counts is [Program.Eval], and both run the same compiled syntax tree
// with the same nodes.
func (p *Program) Trace(s *Scope) ([]Step, error) {
	program, err := p.env.cel.Program(p.ast, cel.CustomDecoratorV2(p.env.decorator(p.calls, true)),
		cel.EvalOptions(cel.OptOptimize, cel.OptTrackState), cel.CostTracking(actualCost{}), cel.CostLimit(maxCost))
	if err != nil {
		return nil, err
	}
	s.limited = true // no fact is too large here: the cost limit is on
	defer func() { s.limited = false }()
	_, details, err := program.Eval(s)
	if err != nil {
		err = evalError(err)
	}
	var out []Step
	rep := p.ast.NativeRep()
	p.steps(rep.Expr(), func(e ast.Expr) {
		text, formatErr := cel.ExprToString(e, rep.SourceInfo())
		if formatErr != nil {
			return
		}
		step := Step{Expr: strings.ReplaceAll(text, "\n", " ")}
		if details != nil {
			if v, ok := details.State().Value(e.ID()); ok {
				step.Value = format(v)
			}
		}
		out = append(out, step)
	})
	return out, err
}

// steps calls f for the conditions that and, or, not and ?: are made of.
func (p *Program) steps(e ast.Expr, f func(ast.Expr)) {
	if e.Kind() == ast.CallKind {
		switch e.AsCall().FunctionName() {
		case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional:
			for _, a := range e.AsCall().Args() {
				p.steps(a, f)
			}
			return
		}
	}
	f(e)
}

// Format returns the value of a fact as an expression would spell it.
func (s *Schema) Format(facts any, f Fact) string { return format(f.box(s.Field(facts, f))) }

func format(v ref.Val) string {
	switch v := v.(type) {
	case types.String:
		return strconv.Quote(string(v))
	case types.Duration:
		return fmt.Sprintf("duration(%q)", v.Duration)
	case types.Timestamp:
		return fmt.Sprintf("timestamp(%q)", v.Time.Format(time.RFC3339))
	case *types.Err:
		return "error: " + v.Error()
	case traits.Lister:
		var parts []string
		for it := v.Iterator(); it.HasNext() == types.True; {
			if len(parts) == 20 {
				parts = append(parts, "...")
				break
			}
			parts = append(parts, format(it.Next()))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(v.Value())
}
