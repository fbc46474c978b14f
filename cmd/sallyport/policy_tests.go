package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/policy/load"
	"sallyport/policy/policytest"
	"sallyport/policy/prove"
)

type policyTestCmd struct {
	File        string `arg:"" optional:"" placeholder:"FILE" help:"Policy file (default: the configured one)."`
	JSON        bool   `name:"json" help:"One JSON object a line: each test, then each rule and what the tests saw of it, then each invariant."`
	JUnit       string `name:"junit" placeholder:"FILE" help:"Write the results as JUnit XML too."`
	MinCoverage int    `placeholder:"PERCENT" help:"Answer no if the tests see less of the rules' branches."`
}

// Run answers no if a test fails, an invariant is not proven, or too little is tested; a
// policy that is wrong otherwise is a mistake (2).
func (p policyTestCmd) Run(g *globals, std stdio) error {
	if p.MinCoverage < 0 || p.MinCoverage > 100 {
		return errors.New("--min-coverage: a percentage from 0 to 100")
	}
	c, intel, err := loadForPolicy(g, std, p.File)
	if err != nil {
		return err
	}
	loaded, err := load.Read(policyConfig(c, intel))
	if err != nil {
		return err
	}
	files, err := testFiles(c.PolicyFile)
	if err != nil {
		return err
	}
	report, err := loaded.Test(files...)
	if err != nil {
		return err
	}
	if p.JUnit != "" {
		if err := writeJUnit(p.JUnit, report.Results); err != nil {
			return err
		}
	}
	proofs := prove.Check(loaded.Policy)
	if p.JSON {
		err = errors.Join(list(std.out, true, report.Results, "", nil), list(std.out, true, report.Coverage, "", nil), list(std.out, true, proofs, "", nil))
	} else {
		printTests(std.out, report)
		printProofs(std, proofs)
	}
	switch {
	case err != nil:
		return err
	case report.Percent() < p.MinCoverage:
		fmt.Fprintf(std.err, "the tests see %d%% of the branches; --min-coverage wants %d%%\n", report.Percent(), p.MinCoverage)
		return errNo
	case report.Failed()+unproven(proofs) > 0:
		return errNo
	}
	return nil
}

// testFiles finds the files of tests beside a policy: those whose `policy:` names it, and
// of those that name none the ones that are called like it (policy_test.yaml,
// policy_travel_test.yaml for policy.yaml).
func testFiles(policyFile string) (files []policytest.File, err error) {
	names, err := filepath.Glob(filepath.Join(globSafe(filepath.Dir(policyFile)), "*_test.yaml"))
	if err != nil {
		return nil, err
	}
	stem := strings.TrimSuffix(filepath.Base(policyFile), filepath.Ext(policyFile))
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f := policytest.File{Name: name, Source: source}
		about := f.About()
		if about == "" && strings.HasPrefix(filepath.Base(name), stem+"_") || about != "" && filepath.Join(filepath.Dir(name), about) == filepath.Clean(policyFile) {
			files = append(files, f)
		}
	}
	return files, nil
}

// globSafe takes the meaning of patterns from a folder's name.
func globSafe(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

func printTests(w io.Writer, report policytest.Report) {
	for _, r := range report.Results {
		if r.Passed {
			fmt.Fprintf(w, "ok    %s\n", plain(r.Name))
			continue
		}
		fmt.Fprintf(w, "FAIL  %s\n      %s:%d: %s\n", plain(r.Name), r.File, r.Line, r.Message)
	}
	for _, c := range report.Coverage {
		if missing := unseen(c); missing != "" {
			fmt.Fprintf(w, "rule  %s (line %d): no test in which it %s\n", c.Rule, c.Line, missing)
		}
	}
	seen, of := report.Branches()
	fmt.Fprintf(w, "%d of %d branches of the rules were seen (%d%%)\n", seen, of, report.Percent())
	fmt.Fprintf(w, "%d passed, %d failed\n", len(report.Results)-report.Failed(), report.Failed())
}

func unseen(c policytest.Coverage) string {
	var missing []string
	if c.Matched == 0 {
		missing = append(missing, "matches")
	}
	if c.NotMatched == 0 {
		missing = append(missing, "does not match")
	}
	if c.CanBeUnknown && c.Unknown == 0 {
		missing = append(missing, "reads something that is not known")
	}
	return strings.Join(missing, ", or ")
}

// JUnit's XML, as build servers read it.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
	}
)

// writeJUnit writes a suite for each file that has tests.
func writeJUnit(file string, results []policytest.Result) error {
	var all junitSuites
	for _, r := range results {
		i := slices.IndexFunc(all.Suites, func(s junitSuite) bool { return s.Name == r.File })
		if i < 0 {
			i = len(all.Suites)
			all.Suites = append(all.Suites, junitSuite{Name: r.File})
		}
		s, c := &all.Suites[i], junitCase{Name: r.Name, Class: filepath.Base(r.File), File: r.File, Line: r.Line}
		if s.Tests++; !r.Passed {
			s.Failures++
			c.Failure = &junitFailure{Message: r.Message}
		}
		s.Cases = append(s.Cases, c)
	}
	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(xml.Header), append(text, '\n')...), 0o644)
}
