package policy

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"
)

// TestFile is a file of tests beside a policy (*_test.yaml): `tests:` as in a policy, and
// optionally `policy:`, the name of the policy file that it is about.
type TestFile struct {
	Name   string // for messages
	Source []byte
}

// About returns what the file says with `policy:`, or "" if it does not say.
func (t TestFile) About() string {
	if len(t.Source) > maxSource {
		return ""
	}
	// As nodes: decoding into a struct compares each key with each other.
	root := newSource(t.Name, t.Source).parse(t.Source)
	if root == nil || root.Kind != yaml.MappingNode {
		return "" // whoever runs the tests is told
	}
	if n := keyNode(root, "policy"); n != root {
		return root.Content[slices.Index(root.Content, n)+1].Value
	}
	return ""
}

// TestReport is the outcome of a policy's tests, and what they went through.
type TestReport struct {
	Results  []TestResult
	Coverage []RuleCoverage // of each rule, in file order
}

// Failed counts the tests that did not pass.
func (r TestReport) Failed() (n int) {
	for _, t := range r.Results {
		if !t.Passed {
			n++
		}
	}
	return n
}

// Branches returns how many branches of all rules the tests went through, and how many there are.
func (r TestReport) Branches() (seen, of int) {
	for _, c := range r.Coverage {
		s, o := c.Branches()
		seen, of = seen+s, of+o
	}
	return seen, of
}

// Percent returns the share of branches that were seen, rounded down: 100 means all of them.
func (r TestReport) Percent() int {
	seen, of := r.Branches()
	if of == 0 {
		return 100
	}
	return seen * 100 / of
}

// Test runs the policy's own tests and those of the files. The grants of routes are taken as
// given. Its error is [Diagnostics] of files that are wrong; tests that fail are no error.
func (p *Policy) Test(files ...TestFile) (TestReport, error) {
	report := TestReport{Results: p.RunTests(), Coverage: p.newCoverage()}
	for i := range p.tests {
		p.cover(report.Coverage, &p.tests[i].given)
	}
	var wrong []error
	for _, f := range files {
		tests, err := p.read(f)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		report.Results = append(report.Results, p.run(f.Name, tests)...)
		for i := range tests {
			p.cover(report.Coverage, &tests[i].given)
		}
	}
	return report, errors.Join(wrong...)
}

// read compiles a file of tests.
func (p *Policy) read(f TestFile) ([]test, error) {
	s := newSource(f.Name, f.Source)
	if len(f.Source) > maxSource {
		s.add(1, 1, Diagnostic{Message: fmt.Sprintf("the file has %d bytes", len(f.Source)), Expected: fmt.Sprintf("at most %d", maxSource)})
		return nil, s.diagnostics()
	}
	root := s.parse(f.Source)
	if root == nil {
		return nil, s.diagnostics()
	}
	d := &document{}
	top := s.fields(root, "a file of tests", testFileKeys.names()...)
	if n := top["policy"]; n != nil {
		s.text(n, "policy")
	}
	if n := top["tests"]; n != nil {
		s.readTests(d, n)
	} else if top != nil {
		s.at(root, Diagnostic{Message: "the file has no tests", Expected: "tests: with at least one"})
	}
	b := &builder{source: s, document: d, words: p.words}
	var out []test
	for _, t := range d.tests {
		out = append(out, b.test(p, t))
	}
	return out, s.diagnostics()
}
