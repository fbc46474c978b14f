// Package rehearse says what a policy would change before it does: it judges what was
// recorded, and the sessions that are alive, with the production evaluator, and counts
// how the verdicts compare.
//
// It knows facts and policies, and neither audit files nor the proxy: callers pass
// recorded decisions as [Recorded], and pairs of verdicts to [Tally.Add].
//
// How it fails: facts that a record lacks are never guessed. A verdict that depends on
// them is counted as open, with the rules that read them.
package rehearse
