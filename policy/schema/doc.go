// Package schema makes the JSON Schemas (2020-12) of policy files, of files of tests and
// of files of invariants, for editors: `policy schema`.
//
// The keys come from the tables that the reader uses, and the descriptions of facts from
// the comments in policy/facts.go, so that neither can know a key that the other does
// not. A schema accepts every file that the compiler accepts. It describes shape: only
// the compiler knows what stands in conditions and whether names exist.
//
// It fails only if the tables contradict each other, which is a mistake in the program
// that its tests find.
package schema
