// Package load brings a policy file from text to a policy that may be enforced. It is the
// one place that does: serve, reload, `policy apply`, `check` and the policy commands all
// call it.
//
// The steps are: take the file apart, compile rules and invariants, read the tests, run
// the tests, prove the invariants. Every mistake that a step finds is reported, with
// file, line and column, as policy.Diagnostics.
//
// How far a caller goes is its choice, and the name of the function says it:
//
//	Read     the file has no mistake; its tests may fail (to show the results of all)
//	Tested   and its tests pass (to judge with it without enforcing it)
//	Proven   and its invariants are proven: the only one whose policy may be enforced
//
// Exceptions are part of what is proven, and no part of what is tested: tests say what the
// rules do, and must not fail or pass by who is on leave.
//
// What it is not: it opens no file and does not know which policy is in force; that is
// package proxy/rollout.
package load

import (
	"fmt"

	"sallyport/policy"
	"sallyport/policy/internal/file"
	"sallyport/policy/policytest"
	"sallyport/policy/prove"
)

// Loaded is a policy file without mistakes.
type Loaded struct {
	Policy *policy.Policy
	// Document is the file as written, for package lint. It is large: code that enforces
	// the policy must keep the policy alone.
	Document *file.Document
	tests    []policytest.Test
}

// Read compiles a policy file with its tests, and does not run them.
func Read(c policy.Config) (*Loaded, error) {
	d, err := file.ReadPolicy(c.Name, c.Source)
	if err != nil {
		return nil, err
	}
	p, err := policy.CompileDocument(c, d)
	if err != nil {
		return nil, err
	}
	var rules []string
	for _, r := range d.Rules {
		rules = append(rules, r.Name)
	}
	tests := policytest.Read(d, rules, c.Vocabulary()) // also beside a wrong rule, to report all mistakes
	if err := d.Err(); err != nil {
		return nil, err
	}
	return &Loaded{p, d, tests}, nil
}

// Tests is the number of tests in the file.
func (l *Loaded) Tests() int { return len(l.tests) }

// Test runs the tests of the file and those of files beside it. Its error is about files
// that are wrong; a test that fails is no error.
func (l *Loaded) Test(files ...policytest.File) (policytest.Report, error) {
	return policytest.Run(l.Policy.Unexcepted(), l.tests, files...)
}

// Given returns the facts of the test with a name, in the file or in files beside it. The error
// lists the tests if none has the name.
func (l *Loaded) Given(name string, files ...policytest.File) (*policy.Facts, error) {
	return policytest.Given(l.Policy.Unexcepted(), l.tests, name, files...)
}

// pass returns an error, policy.Diagnostics, if a test of the file fails.
func (l *Loaded) pass() error {
	report, err := l.Test()
	if err != nil {
		return err
	}
	for _, r := range report.Results {
		if !r.Passed {
			l.Document.Add(r.Line, r.Column, policy.Diagnostic{Message: fmt.Sprintf("the test %q fails: %s", r.Name, r.Message)})
		}
	}
	return l.Document.Err()
}

// Tested returns a policy whose tests pass.
func Tested(c policy.Config) (*policy.Policy, error) {
	l, err := Read(c)
	if err != nil {
		return nil, err
	}
	if err := l.pass(); err != nil {
		return nil, err
	}
	return l.Policy, nil
}

// Proven returns a policy whose tests pass and whose invariants are proven, the pinned
// ones included.
func Proven(c policy.Config) (*policy.Policy, error) {
	p, err := Tested(c)
	if err != nil {
		return nil, err
	}
	if err := prove.Verify(p); err != nil {
		return nil, err
	}
	return p, nil
}
