package policy

import (
	"cmp"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"
)

// Severity of a finding. The zero value is the one that fails a check.
type Severity int

const (
	Warning Severity = iota // very likely a mistake
	Note                    // worth a thought, and sometimes meant
)

func (s Severity) String() string { return [...]string{Warning: "warning", Note: "note"}[s] }

// MarshalText gives Severity its name in JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is something in a policy that compiles and still is not what its author can want.
// A finding is only made where it is certain: a rule that is called unreachable cannot match,
// whatever the request.
type Finding struct {
	Code     string   `json:"code"` // stable: "unreachable-rule"
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line"`   // 1-based
	Column   int      `json:"column"` // 1-based, in characters
	Rule     string   `json:"rule,omitempty"`
	Message  string   `json:"message"` // what it is, and why
	Fix      string   `json:"fix"`
	Excerpt  string   `json:"excerpt,omitempty"`
}

// Text returns the finding as text of several lines, as [Diagnostic.Error] does.
func (f Finding) Text() string {
	out := fmt.Sprintf("%s:%d:%d: %s: %s [%s]", f.File, f.Line, f.Column, f.Severity, f.Message, f.Code)
	if f.Excerpt != "" {
		out += "\n" + f.Excerpt
	}
	return out + "\n    fix: " + f.Fix
}

// LintConfig is what a policy is looked at with.
type LintConfig struct {
	Config
	// Tests are the files of tests beside the policy.
	Tests []TestFile
	// NoSource names facts that nothing in the configuration provides, with what would:
	// "user.time_zone": "roster in sallyport.yaml". Rules over them see only the value for "not known".
	NoSource map[string]string
	// Idle finds the rules that can do nothing: prove.Idle. Without it nobody looks for them. What
	// it found before its error counts.
	Idle func(*Policy) ([]Idle, error)
}

// Lint compiles a policy and says what is suspicious about it, in file order. Its error is that of
// [Compile], except that tests may fail.
func Lint(c LintConfig) ([]Finding, error) {
	c.KeepFailingTests = true
	p, b, err := compile(c.Config)
	if err != nil {
		return nil, err
	}
	report, err := p.Test(c.Tests...)
	if err != nil {
		return nil, err
	}
	l := &linter{Policy: p, builder: b, noSource: c.NoSource, coverage: report.Coverage}
	l.idle(c.Idle)
	l.untested()
	l.countries()
	l.exempt()
	l.foldedTwice()
	l.behaviour()
	l.newcomers()
	l.sources()
	l.lists()
	l.reachableThresholds()
	slices.SortStableFunc(l.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return l.found, nil
}

type linter struct {
	*Policy
	builder  *builder
	noSource map[string]string
	coverage []RuleCoverage
	found    []Finding
}

func (l *linter) at(line, column int, f Finding) {
	s := l.builder.source
	f.File, f.Line, f.Column, f.Excerpt = s.file, line, column, s.excerpt(line, column)
	f.Message, f.Fix = Printable(f.Message), Printable(f.Fix)
	l.found = append(l.found, f)
}

// node adds a finding at a node.
func (l *linter) node(n *yaml.Node, f Finding) { l.at(n.Line, n.Column, f) }

// rule adds a finding at a rule's name.
func (l *linter) rule(i int, f Finding) {
	f.Rule = l.rules[i].name
	l.node(l.builder.document.rules[i].nameNode, f)
}

// in adds a finding within a rule's expression.
func (l *linter) in(i int, n *yaml.Node, offset int, f Finding) {
	f.Rule = l.rules[i].name
	line, column := l.builder.position(n, offset)
	l.at(line, column, f)
}

// untested finds rules that match in no test: a person who breaks one will not notice.
func (l *linter) untested() {
	for i, c := range l.coverage {
		if c.Matched == 0 {
			l.rule(i, Finding{Code: "untested-rule", Severity: Warning,
				Message: fmt.Sprintf("%s matches in no test: a mistake in it would not be noticed", c.Rule),
				Fix:     "a test under `tests:` in which it matches, and says what then happens"})
		}
	}
}

// reachableThresholds finds sums that no combination of rules reaches. Rules of one route and of all can
// match together; those of different routes cannot.
func (l *linter) reachableThresholds() {
	t := l.thresholds
	if t.stepUpNode == nil && t.blockNode == nil {
		return
	}
	everywhere, most, byRoute := 0, 0, map[string]int{}
	for _, r := range l.rules {
		switch {
		case r.report:
		case r.routes == nil:
			everywhere += r.score
		default:
			for _, name := range slices.Compact(slices.Sorted(slices.Values(r.routes))) {
				byRoute[name] += r.score
				most = max(most, byRoute[name])
			}
		}
	}
	most += everywhere
	for _, of := range []struct {
		name  string
		value int
		node  *yaml.Node
	}{{"step_up", t.stepUp, t.stepUpNode}, {"block", t.block, t.blockNode}} {
		if of.node != nil && of.value > most {
			l.node(of.node, Finding{Code: "unreachable-threshold", Severity: Warning,
				Message: fmt.Sprintf("no score reaches %d: all enforced rules that can match together add up to %d", of.value, most),
				Fix:     fmt.Sprintf("a %s of at most %d, higher scores, or no %[1]s", of.name, most)})
		}
	}
}
