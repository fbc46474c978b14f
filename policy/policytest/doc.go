// Package policytest runs the tests of a policy: those under `tests:` in the policy file
// and those in files of tests (*_test.yaml) beside it.
//
// A test gives facts and says what is expected of the verdict. What it does not give is
// that of an ordinary, verified person (policy.Ordinary). It is judged by the production
// evaluator, with the grants of routes taken as given.
//
// [Run] also counts [Coverage]: whether the tests saw each rule match, not match, and
// read something that was not known.
//
// How it fails: a test that is misspelt is a mistake in its file (policy.Diagnostics),
// and the file is not run. A test that fails is a [Result], and no error here; package
// load refuses a policy file whose own tests fail.
package policytest
