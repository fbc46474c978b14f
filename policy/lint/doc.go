// Package lint finds mistakes in a policy that compiles: rules that always match, never
// match or change nothing, conditions that hold by accident where something is not known, lists
// that nothing uses, rules that no test reaches, and others. policy/reference.md lists
// the codes.
//
// A [Finding] is only made when it is certain: a rule that is called unreachable matches
// no request. Package policy/prove does that part.
//
// What it is not: no finding stops a policy from being loaded. `policy lint` answers "no"
// if there is an [Error] or a [Warning], and `check` if there is an [Error].
package lint
