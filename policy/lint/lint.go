package lint

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"sallyport/policy"
	"sallyport/policy/internal/file"
	"sallyport/policy/load"
	"sallyport/policy/policytest"
	"sallyport/policy/prove"
)

// Severity of a finding. The zero value is the one that fails a check.
type Severity int

const (
	Error   Severity = iota // it locks people out
	Warning                 // very likely a mistake
	Note                    // worth a thought, and sometimes meant
)

func (s Severity) String() string {
	return [...]string{Error: "error", Warning: "warning", Note: "note"}[s]
}

// MarshalText gives Severity its name in JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is something in a policy that compiles but that its author cannot intend. A
// finding is only made when it is certain: a rule that is called unreachable matches no
// request.
type Finding struct {
	Code     string   `json:"code"` // stable: "unreachable-rule"
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line"`   // 1-based
	Column   int      `json:"column"` // 1-based, in characters
	Rule     string   `json:"rule,omitempty"`
	Message  string   `json:"message"` // what it is, and why
	Fix      string   `json:"fix"`
	// Write is a condition to write instead of the whole one at this place; "": there is no
	// one answer. It compiles, and does not lead to this finding again.
	Write   string `json:"write,omitempty"`
	Excerpt string `json:"excerpt,omitempty"`
}

// Text returns the finding as text of several lines, as policy.Diagnostic does.
func (f Finding) Text() string {
	out := fmt.Sprintf("%s:%d:%d: %s: %s [%s]", f.File, f.Line, f.Column, f.Severity, f.Message, f.Code)
	if f.Excerpt != "" {
		out += "\n" + f.Excerpt
	}
	out += "\n    fix: " + f.Fix
	if f.Write != "" {
		out += "\n    write: " + f.Write
	}
	return out
}

// Config is what a policy is looked at with.
type Config struct {
	Policy policy.Config
	// Tests are the files of tests beside the policy.
	Tests []policytest.File
	// NoSource names facts that nothing in the configuration provides, with what would:
	// "user.time_zone": "roster in sallyport.yaml". Rules over them see only the value
	// for "not known".
	NoSource map[string]string
	// Routes are the configured ones, by name. Nil: not known.
	Routes map[string]Route
	// Hosts are those of the routes. Nil: not known.
	Hosts []string
	// People are the addresses in the roster. Nil: there is none.
	People []string
	// Now is the time of the clock. Nil: what has expired is no finding.
	Now func() time.Time
}

// Route is what a condition about the requests of a route depends on.
type Route struct {
	RPC       bool     // its requests are JSON-RPC
	PathForms []string // what its paths may have that is refused elsewhere: "double_slash"
}

// Check compiles a policy and says what is suspicious about it, the most dangerous first.
// Its error is that of package load; tests may fail.
func Check(c Config) ([]Finding, error) {
	loaded, err := load.Read(c.Policy)
	if err != nil {
		return nil, err
	}
	report, err := loaded.Test(c.Tests...)
	if err != nil {
		return nil, err
	}
	excepted := loaded.Policy
	loaded.Policy = excepted.Unexcepted() // what is said of rules holds for all people
	l := &linter{policy: loaded.Policy, document: loaded.Document, rules: loaded.Policy.Model().Rules, config: c, coverage: report.Coverage}
	l.conditions()
	l.idle(prove.Idle(l.policy))
	l.vacuous(prove.Check(excepted))
	l.exceptions(excepted.Exceptions())
	l.untested()
	l.countriesUnknown()
	l.exempt()
	l.foldedTwice()
	l.history()
	l.expired()
	l.names()
	l.organisations()
	l.rpc()
	l.paths()
	l.silent()
	l.characters()
	l.brackets()
	l.newcomers()
	l.impassable()
	l.exceptNoRule()
	l.sources()
	l.lists()
	l.reachableThresholds()
	slices.SortStableFunc(l.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.danger(), b.danger()),
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return l.found, nil
}

// byDanger are the codes in the order in which they are shown, within one severity: what
// locks people out, what protects nothing though it seems to, what decides by accident,
// and what is only untidy.
var byDanger = []string{
	"always-matches", "blocks-every-person", "blocked-together", "newcomer-refused", "impassable-max-age", "can-fail",
	"unreachable-rule", "dead-condition", "expired-condition", "invisible-character", "rpc-route", "rpc-method", "impossible-path", "unknown-email", "unknown-group", "unknown-provider", "whole-list", "silent-comparison",
	"private-exempt", "history-unconsidered", "unreachable-threshold", "vacuous-invariant", "except-without-rule", "fact-without-source", "empty-list",
	"country-without-zz", "unknown-holds", "ambiguous-brackets", "commented-out", "idle-exception", "subsumed-rule",
	"exception-of-no-one", "exception-without-effect", "exception-expired", "exception-ends-soon", "exception-of-an-address", "unknown-country-passes", "data-age-unconsidered", "whole-organisation", "unused-signal", "rules-undecided",
	"untested-rule", "unused-list", "unfolded-path", "overlapping-lists", "repeated-entry",
}

func (f Finding) danger() int { return slices.Index(byDanger, f.Code) }

type linter struct {
	policy   *policy.Policy
	document *file.Document
	rules    []policy.ModelRule // beside those of the document
	config   Config
	coverage []policytest.Coverage
	found    []Finding
}

func (l *linter) at(line, column int, f Finding) {
	f.File, f.Line, f.Column, f.Excerpt = l.document.Name, line, column, l.document.Excerpt(line, column)
	f.Message, f.Fix, f.Write = policy.Printable(f.Message), policy.Printable(f.Fix), policy.Printable(f.Write)
	l.found = append(l.found, f)
}

// node adds a finding at a node.
func (l *linter) node(n *file.Node, f Finding) { l.at(n.Line, n.Column, f) }

// rule adds a finding at a rule's name.
func (l *linter) rule(i int, f Finding) {
	f.Rule = l.rules[i].Name
	l.node(l.document.Rules[i].NameNode, f)
}

// in adds a finding within the expression of a rule, or (-1) of an invariant.
func (l *linter) in(i int, n *file.Node, offset int, f Finding) {
	if i >= 0 {
		f.Rule = l.rules[i].Name
	}
	line, column := l.document.Position(n, offset)
	l.at(line, column, f)
}

// untested finds rules that match in no test: an author who breaks one will not notice.
// It is one finding for all of them.
func (l *linter) untested() {
	first, names := -1, []string{}
	for i, c := range l.coverage {
		if c.Matched == 0 {
			if names = append(names, c.Rule); first < 0 {
				first = i
			}
		}
	}
	f := Finding{Code: "untested-rule", Severity: Warning, Fix: "a test under `tests:` in which it matches, and says what then happens"}
	switch len(names) {
	case 0:
		return
	case 1:
		f.Message = fmt.Sprintf("%s matches in no test: a mistake in it would not be noticed", names[0])
	default:
		f.Message = fmt.Sprintf("%d of %d rules match in no test (%s): a mistake in them would not be noticed", len(names), len(l.rules), shorten(names))
		f.Fix = "for each a test under `tests:` in which it matches, and says what then happens"
	}
	l.rule(first, f)
}

// reachableThresholds finds sums that no combination of rules reaches. Rules of one route
// and of all can match together; those of different routes cannot.
func (l *linter) reachableThresholds() {
	t := l.document.Thresholds
	if t == nil {
		return
	}
	everywhere, most, byRoute := 0, 0, map[string]int{}
	for i, r := range l.rules {
		switch {
		case l.document.Rules[i].Report: // a rule that is enforced for some counts
		case r.Routes == nil:
			everywhere += r.Score
		default:
			for _, name := range slices.Compact(slices.Sorted(slices.Values(r.Routes))) {
				byRoute[name] += r.Score
				most = max(most, byRoute[name])
			}
		}
	}
	most += everywhere
	apart := prove.Unreachable(l.policy, max(1, t.StepUp), max(1, t.Block)) // whose conditions hold together
	for i, of := range []struct {
		name  string
		value int
		node  *file.Node
	}{{"step_up", t.StepUp, t.StepUpNode}, {"block", t.Block, t.BlockNode}} {
		switch {
		case of.node == nil:
		case of.value <= most && apart[i]:
			l.node(of.node, Finding{Code: "unreachable-threshold", Severity: Warning,
				Message: fmt.Sprintf("no score reaches %d: the rules whose scores would add up to it match no request together", of.value),
				Fix:     fmt.Sprintf("a lower %s, higher scores, or no %[1]s", of.name)})
		case of.value > most:
			l.node(of.node, Finding{Code: "unreachable-threshold", Severity: Warning,
				Message: fmt.Sprintf("no score reaches %d: all enforced rules that can match together add up to %d", of.value, most),
				Fix:     fmt.Sprintf("a %s of at most %d, higher scores, or no %[1]s", of.name, most)})
		}
	}
}
