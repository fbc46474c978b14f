package expr

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types/ref"
)

// worstCase estimates what a checked expression costs at most, and refuses what is too
// much.
func (e *Env) worstCase(checked *cel.Ast) (uint64, *Problem) {
	estimate, err := e.cel.EstimateCost(checked, estimator{e})
	if err != nil {
		return 0, &Problem{Message: "the cost of the expression cannot be estimated: " + err.Error()}
	}
	if estimate.Max <= maxCost {
		return estimate.Max, nil
	}
	return 0, &Problem{
		Message:  fmt.Sprintf("in the worst case this costs %s units, and the limit is %d", units(estimate.Max), maxCost),
		Expected: "no loop inside a loop over long lists, and `in` rather than exists() on a list under `lists:`",
	}
}

func units(n uint64) string {
	if n > 1<<40 {
		return "unboundedly many"
	}
	return fmt.Sprint(n)
}

// estimator tells CEL how large facts can be. A fact that turns out to be larger
// makes the evaluation run under the cost limit instead (Scope.oversize).
type estimator struct{ env *Env }

// EstimateSize implements cost.Estimator.
func (c estimator) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	path := node.Path()
	if len(path) == 0 {
		return nil
	}
	entry := len(path) > 1 && path[len(path)-1] == "@items"
	if l, ok := c.env.lists[path[0]]; ok {
		element := cost.RangedSizeEstimate(0, uint64(max(1, l.longest())))
		if entry {
			return &element
		}
		whole := cost.ListSizeEstimate(cost.FixedSizeEstimate(uint64(len(l.list.Strings)+len(l.list.Ints))), element)
		return &whole
	}
	f, ok := c.env.schema.Lookup(path[0])
	if !ok {
		return nil
	}
	text, element := cost.RangedSizeEstimate(0, maxLength), cost.RangedSizeEstimate(0, maxEntry)
	switch {
	case f.Kind == String:
		return &text
	case f.Kind == Strings && entry:
		return &element
	case f.Kind == Strings, f.Kind == Ints:
		whole := cost.ListSizeEstimate(cost.RangedSizeEstimate(0, maxEntries), element)
		return &whole
	}
	return nil
}

// EstimateCallCost implements cost.Estimator.
func (c estimator) EstimateCallCost(function, overload string, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	if overload == overloads.InList && len(args) == 2 {
		if path := args[1].Path(); len(path) == 1 && strings.HasPrefix(path[0], "lists.") {
			return cost.NewCallEstimate(cost.FixedCostEstimate(1), nil) // a hash table: constant time for any length
		}
	}
	if _, ok := c.env.functions[function]; ok {
		size := cost.RangedSizeEstimate(0, 16)
		return cost.NewCallEstimate(cost.FixedCostEstimate(5), &size)
	}
	if function == "lowerAscii" && target != nil {
		size := c.EstimateSize(*target)
		if size == nil {
			size = (*target).ComputedSize()
		}
		if size == nil {
			return nil
		}
		return cost.NewCallEstimate(size.MultiplyByCostFactor(cost.StringTraversalCostFactor), size)
	}
	return nil
}

// actualCost is the same for the cost limit while running.
type actualCost struct{}

// CallCost implements cost.ActualCostEstimator.
func (actualCost) CallCost(_, overload string, args []ref.Val, _ ref.Val) *uint64 {
	if overload == overloads.InList && len(args) == 2 {
		if _, ok := args[1].(*set); ok {
			one := uint64(1)
			return &one
		}
	}
	return nil
}
