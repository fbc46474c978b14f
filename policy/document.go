package policy

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/internal/expr"
)

// Limits on one policy file.
const (
	maxSource  = 1 << 20 // bytes
	maxRules   = 2000
	maxEntries = 100_000 // in all lists together
	maxTests   = 2000
	maxScore   = 1000
	maxCost    = 10_000_000 // worst case of all rules together, in CEL cost units: well below a second
)

// document is a policy file as written: its structure is right, its expressions have
// not been looked at.
type document struct {
	lists      map[string]*listSource
	thresholds *thresholds
	missing    Action
	rules      []*ruleSource
	tests      []*testSource
	invariants []*invariantSource
}

type listSource struct {
	node   *yaml.Node
	values expr.List
	nodes  []*yaml.Node // of the entries
}

type thresholds struct {
	stepUp, block         int // 0: not set
	stepUpNode, blockNode *yaml.Node
	maxAge                time.Duration
}

type ruleSource struct {
	node, nameNode *yaml.Node
	name           string
	when, unless   *yaml.Node
	routes         []*yaml.Node
	action         Action
	score          int
	maxAge         time.Duration
	again          *again // nil: max_age
	require        []string
	report         bool
	share          *share // nil: the rule is for everybody
	reason         string
}

type testSource struct {
	name          string
	node          *yaml.Node
	given, expect *yaml.Node
}

// defaultMaxAge is how old an assertion may be when a step_up rule does not say.
const defaultMaxAge = 15 * time.Minute

var wordPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
var listPattern = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// read takes the file apart. Mistakes go to s; the document is usable if there are none.
func (s *source) read(root *yaml.Node) *document {
	d := &document{lists: map[string]*listSource{}, missing: StepUp}
	top := s.fields(root, "the policy", policyKeys.names()...)
	if top == nil {
		return d
	}
	if v := top["version"]; v == nil {
		s.at(root, Diagnostic{Message: "the policy does not say which version of the format it is", Expected: "version: 1"})
	} else {
		s.number(v, "version", 1, 1)
	}
	if n := top["lists"]; n != nil {
		s.readLists(d, n)
	}
	if n := top["thresholds"]; n != nil {
		d.thresholds = s.readThresholds(n)
	}
	if n := top["missing_data"]; n != nil {
		d.missing = s.action(n, "missing_data", Block, StepUp, Allow)
	}
	s.readRules(d, root, top["rules"])
	if n := top["tests"]; n != nil {
		s.readTests(d, n)
	}
	if n := top["invariants"]; n != nil {
		s.readInvariants(d, n)
	}
	return d
}

func (s *source) readLists(d *document, n *yaml.Node) {
	total := 0
	for name, entries := range s.fields(n, "lists") {
		if !listPattern.MatchString(name) {
			s.at(keyNode(n, name), Diagnostic{Message: fmt.Sprintf("%q cannot name a list", name),
				Expected: "lower-case letters, digits and _, so that it can be written as lists.NAME"})
			continue
		}
		l := &listSource{node: entries, nodes: s.items(entries, "the list "+name)}
		if total += len(l.nodes); total > maxEntries {
			s.at(entries, Diagnostic{Message: fmt.Sprintf("the lists have more than %d entries", maxEntries),
				Expected: "long address lists under ip_data.lists in sallyport.yaml, which rules see in ip.lists"})
			return
		}
		for _, e := range l.nodes {
			s.readEntry(l, name, e)
		}
		d.lists[name] = l
	}
}

func (s *source) readEntry(l *listSource, list string, n *yaml.Node) {
	var number int64
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!int":
		if strings.HasPrefix(strings.TrimLeft(n.Value, "+-"), "0") && len(n.Value) > 1 || n.Decode(&number) != nil {
			s.at(n, Diagnostic{Message: fmt.Sprintf("%s is not a plain whole number", n.Value), Expected: "digits without a leading 0, or quotes if it is text"})
			return
		}
		l.values.Ints = append(l.values.Ints, number)
	default:
		text, ok := s.text(n, "an entry of the list "+list)
		if !ok {
			return
		}
		l.values.Strings = append(l.values.Strings, text)
	}
	if len(l.values.Ints) > 0 && len(l.values.Strings) > 0 {
		s.at(n, Diagnostic{Message: fmt.Sprintf("the list %s mixes text and numbers", list), Expected: "one kind: quotes around every number, if it is text"})
		l.values.Ints = nil
	}
}

func (s *source) readThresholds(n *yaml.Node) *thresholds {
	f := s.fields(n, "thresholds", thresholdKeys.names()...)
	t := &thresholds{maxAge: defaultMaxAge, stepUpNode: f["step_up"], blockNode: f["block"]}
	if v := f["step_up"]; v != nil {
		t.stepUp, _ = s.number(v, "step_up", 1, maxRules*maxScore)
	}
	if v := f["block"]; v != nil {
		t.block, _ = s.number(v, "block", 1, maxRules*maxScore)
	}
	if v := f["max_age"]; v != nil {
		t.maxAge = s.maxAge(v)
	}
	switch {
	case f != nil && f["step_up"] == nil && f["block"] == nil:
		s.at(n, Diagnostic{Message: "thresholds do nothing without step_up or block", Expected: "thresholds: {step_up: 50, block: 100}"})
	case t.stepUp > 0 && t.block > 0 && t.stepUp >= t.block:
		s.at(f["step_up"], Diagnostic{Message: "the score that blocks comes before the one that steps up", Expected: "step_up lower than block"})
	}
	return t
}

func (s *source) maxAge(n *yaml.Node) time.Duration {
	d, ok := s.duration(n, "max_age")
	if ok && d < time.Second {
		s.at(n, Diagnostic{Message: "no assertion can be as fresh as that", Expected: "1s or more; a few minutes in practice"})
	}
	return d
}

// action reads one of the allowed actions.
func (s *source) action(n *yaml.Node, what string, allowed ...Action) Action {
	var names []string
	for _, a := range allowed {
		if n.Kind == yaml.ScalarNode && n.Value == a.String() {
			return a
		}
		names = append(names, a.String())
	}
	d := Diagnostic{Message: fmt.Sprintf("%s cannot be %q", what, n.Value), Expected: strings.Join(names, ", "),
		Suggestion: expr.Nearest(n.Value, names)}
	if n.Value == "allow" {
		// A rule that lets people in by where they are, without a look at who they are.
		d.Message = "a rule cannot allow: rules only narrow what a route's `allow` grants"
		d.Suggestion = "an `unless` on the rules that should not hold"
	}
	s.at(n, d)
	return Block
}

func (s *source) readRules(d *document, root, n *yaml.Node) {
	if n == nil {
		s.at(root, Diagnostic{Message: "the policy has no rules", Expected: "rules: with at least one"})
		return
	}
	nodes := s.items(n, "rules")
	switch {
	case n.Kind == yaml.SequenceNode && len(nodes) == 0:
		// An emptied list of rules is an accident or an attack, not a wish.
		s.at(n, Diagnostic{Message: "the policy has no rules", Expected: "at least one"})
	case len(nodes) > maxRules:
		s.at(nodes[maxRules], Diagnostic{Message: fmt.Sprintf("the policy has more than %d rules", maxRules), Expected: "values in a list rather than a rule for each"})
		return
	}
	seen := map[string]int{}
	for _, r := range nodes {
		rule := s.readRule(r)
		if rule == nil {
			continue
		}
		if line := seen[rule.name]; line > 0 {
			s.at(rule.nameNode, Diagnostic{Message: fmt.Sprintf("there is another rule %s, in line %d", rule.name, line), Expected: "a name of its own"})
		}
		if rule.nameNode != nil {
			seen[rule.name] = rule.nameNode.Line
		}
		d.rules = append(d.rules, rule)
	}
	if d.thresholds == nil {
		for _, r := range d.rules {
			if r.score > 0 {
				s.at(r.node, Diagnostic{Message: fmt.Sprintf("%s adds to a score that nothing acts on", r.name), Expected: "thresholds: {step_up: 50, block: 100} at the top level"})
				break
			}
		}
	}
}

func (s *source) readRule(n *yaml.Node) *ruleSource {
	f := s.fields(n, "a rule", ruleKeys.names()...)
	if f == nil {
		return nil
	}
	r := &ruleSource{node: n, nameNode: f["name"], unless: f["unless"], when: f["when"], action: Block}
	if r.nameNode == nil {
		s.at(n, Diagnostic{Message: "the rule has no name", Expected: "name: by which decisions refer to it"})
	} else if name, ok := s.text(r.nameNode, "the name of a rule"); ok {
		r.name = name
		if !wordPattern.MatchString(name) || len(name) > 64 || strings.HasPrefix(name, "baseline") {
			s.at(r.nameNode, Diagnostic{Message: fmt.Sprintf("%q cannot name a rule", name),
				Expected: "lower-case letters, digits and -, at most 64; not beginning with baseline"})
		}
	}
	if r.when == nil {
		s.at(n, Diagnostic{Message: fmt.Sprintf("the rule %s has no condition", r.name), Expected: "when: an expression"})
	}
	s.readOutcome(r, f)
	if m := f["mode"]; m != nil {
		r.report = m.Value == "report"
		if m.Kind != yaml.ScalarNode || m.Value != "report" && m.Value != "enforce" {
			s.at(m, Diagnostic{Message: fmt.Sprintf("there is no mode %q", m.Value), Expected: "report or enforce",
				Suggestion: expr.Nearest(m.Value, []string{"report", "enforce"})})
		}
	}
	if v := f["enforce"]; v != nil {
		r.share = s.readShare(v)
		if m := f["mode"]; m != nil {
			s.at(m, Diagnostic{Message: "a rule has either mode or enforce", Expected: "enforce alone: it is enforced for some, and reports for the rest"})
		}
	}
	if v := f["routes"]; v != nil {
		r.routes = s.items(v, "routes")
		if v.Kind == yaml.SequenceNode && len(r.routes) == 0 {
			s.at(v, Diagnostic{Message: "a rule for no route never applies", Expected: "names of routes, or no routes key for all"})
		}
	}
	if v := f["reason"]; v != nil {
		r.reason, _ = s.text(v, "reason")
	}
	return r
}

// readOutcome reads what a rule does: exactly one of then and score.
func (s *source) readOutcome(r *ruleSource, f map[string]*yaml.Node) {
	then, score := f["then"], f["score"]
	switch {
	case then != nil && score != nil:
		s.at(score, Diagnostic{Message: "a rule has either then or score", Expected: "one of them"})
		return
	case then == nil && score == nil:
		s.at(r.node, Diagnostic{Message: fmt.Sprintf("the rule %s does nothing", r.name), Expected: "then: block, then: step_up, or score: N"})
		return
	case then != nil:
		r.action = s.action(then, "then", Block, StepUp)
	default:
		r.action = Allow // by itself
		// Not negative: a rule that lowers the score could let somebody in.
		r.score, _ = s.number(score, "score", 1, maxScore)
	}
	r.maxAge = defaultMaxAge
	for _, key := range []string{"max_age", "every", "require"} {
		if v := f[key]; v != nil && (then == nil || then.Value == "block") {
			s.at(v, Diagnostic{Message: key + " belongs to then: step_up", Expected: "no " + key + " here" +
				map[bool]string{true: "; thresholds have a max_age of their own"}[score != nil && key == "max_age"]})
			return
		}
	}
	if v := f["max_age"]; v != nil {
		r.maxAge = s.maxAge(v)
	}
	if r.again = s.readAgain(f); r.again != nil {
		r.maxAge = r.again.every - r.again.jitter // what everybody who is asked exceeds
	}
	if v := f["require"]; v != nil {
		for _, n := range s.items(v, "require") {
			if n.Kind != yaml.ScalarNode || n.Value != requireDeviceBound && n.Value != requireAttested {
				known := []string{requireDeviceBound, requireAttested}
				s.at(n, Diagnostic{Message: fmt.Sprintf("there is no requirement %q", n.Value),
					Expected: strings.Join(known, ", "), Suggestion: expr.Nearest(n.Value, known)})
				continue
			}
			r.require = append(r.require, n.Value)
		}
	}
}

func (s *source) readTests(d *document, n *yaml.Node) {
	seen := map[string]bool{}
	for i, t := range s.items(n, "tests") {
		if i == maxTests {
			s.at(t, Diagnostic{Message: fmt.Sprintf("the policy has more than %d tests", maxTests)})
			return
		}
		f := s.fields(t, "a test", testKeys.names()...)
		if f == nil {
			continue
		}
		test := &testSource{node: t, given: f["given"], expect: f["expect"]}
		if f["name"] == nil {
			s.at(t, Diagnostic{Message: "the test has no name", Expected: "name: what it shows"})
		} else {
			test.name, _ = s.text(f["name"], "the name of a test")
			test.node = f["name"]
			if seen[test.name] {
				s.at(test.node, Diagnostic{Message: fmt.Sprintf("there is another test %q", test.name), Expected: "a name of its own"})
			}
			seen[test.name] = true
		}
		if test.expect == nil {
			s.at(t, Diagnostic{Message: "the test expects nothing", Expected: "expect: {action: block}"})
			continue
		}
		d.tests = append(d.tests, test)
	}
}
