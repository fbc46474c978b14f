package policytest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/policy"
	"sallyport/policy/strictyaml"
)

// Test is one entry of `tests:`, ready to run.
type Test struct {
	name         string
	line, column int
	given        policy.Facts
	action       policy.Action
	rules        []string // nil: not compared
	reported     []string
	score        *int
}

// Result is the outcome of one test.
type Result struct {
	Name    string          `json:"name"`
	Line    int             `json:"line"`
	File    string          `json:"file,omitempty"`
	Passed  bool            `json:"passed"`
	Message string          `json:"message,omitempty"` // what was expected and what came, when it did not pass
	Got     policy.Decision `json:"got"`
	Column  int             `json:"-"`
}

// run judges the tests of one file, with the grants of routes taken as given.
func run(p *policy.Policy, file string, tests []Test) []Result {
	p = p.Ungranted()
	out := make([]Result, len(tests))
	for i, t := range tests {
		got := p.Decide(&t.given)
		message := t.compare(got)
		out[i] = Result{Name: t.name, Line: t.line, Column: t.column, File: file, Passed: message == "", Message: message, Got: got}
	}
	return out
}

func (t *Test) compare(got policy.Decision) string {
	var wrong []string
	differ := func(what string, expected, came any) {
		wrong = append(wrong, fmt.Sprintf("expected %s %v, got %v", what, expected, came))
	}
	if t.action != got.Action {
		came := got.Action.String()
		if len(got.Rules) > 0 {
			came += " (" + strings.Join(got.Rules, ", ") + ")"
		}
		differ("action", t.action, came)
	}
	if t.rules != nil && !sameSet(t.rules, got.Rules) {
		differ("rules", t.rules, got.Rules)
	}
	if t.reported != nil {
		var came []string
		for _, r := range got.Reported {
			came = append(came, r.Rule)
		}
		if !sameSet(t.reported, came) {
			differ("reported", t.reported, came)
		}
	}
	if t.score != nil && *t.score != got.Score {
		differ("score", *t.score, got.Score)
	}
	return strings.Join(wrong, "; ")
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// Report is the outcome of a policy's tests, and what they went through.
type Report struct {
	Results  []Result
	Coverage []Coverage // of each rule, in file order
}

// Failed counts the tests that did not pass.
func (r Report) Failed() (n int) {
	for _, t := range r.Results {
		if !t.Passed {
			n++
		}
	}
	return n
}

// Branches returns how many branches of all rules the tests went through, and how many
// there are.
func (r Report) Branches() (seen, of int) {
	for _, c := range r.Coverage {
		s, o := c.Branches()
		seen, of = seen+s, of+o
	}
	return seen, of
}

// Percent returns the share of branches that were seen, rounded down: 100 means all of
// them.
func (r Report) Percent() int {
	seen, of := r.Branches()
	if of == 0 {
		return 100
	}
	return seen * 100 / of
}

// Run runs the policy's own tests and those of the files. The grants of routes are taken
// as given. Its error is policy.Diagnostics of files that are wrong; a test that fails is
// no error.
func Run(p *policy.Policy, own []Test, files ...File) (Report, error) {
	report := Report{Results: run(p, p.Name(), own), Coverage: newCoverage(p)}
	cover(report.Coverage, p, own)
	var wrong []error
	for _, f := range files {
		tests, err := f.read(p)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		report.Results = append(report.Results, run(p, f.Name, tests)...)
		cover(report.Coverage, p, tests)
	}
	return report, errors.Join(wrong...)
}

// Given returns the facts of the test with a name. The error is policy.Diagnostics of files that
// are wrong, or says which test was meant.
func Given(p *policy.Policy, own []Test, name string, files ...File) (*policy.Facts, error) {
	all := slices.Clone(own)
	for _, f := range files {
		tests, err := f.read(p)
		if err != nil {
			return nil, err
		}
		all = append(all, tests...)
	}
	names := make([]string, len(all))
	for i, t := range all {
		if t.name == name {
			return &t.given, nil
		}
		names[i] = t.name
	}
	if near := strictyaml.Nearest(name, names); near != "" {
		return nil, fmt.Errorf("there is no test %q; did you mean %q?", name, near)
	}
	return nil, fmt.Errorf("there is no test %q among the %d of the policy: `sallyport policy test` lists them", name, len(all))
}
