package file

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/internal/expr"
	"sallyport/policy/strictyaml"
)

// Limits on one file.
const (
	MaxRules      = 2000
	MaxScore      = 1000
	maxEntries    = 100_000 // in all lists together
	maxTests      = 2000
	maxInvariants = 200
)

// Actions as the file spells them.
const (
	Block  = "block"
	StepUp = "step_up"
	Allow  = "allow"
)

// Requirements on the passkey.
const (
	DeviceBound = "device_bound" // it cannot be copied to another device
	Attested    = "attested"     // and its make is proven
)

// DefaultMaxAge is how old an assertion may be when a step_up rule does not say.
const DefaultMaxAge = 15 * time.Minute

// Document is a policy file, or a file of tests, invariants or exceptions, as written: its
// structure is right if [Source.Err] is nil, and its expressions have not been looked at.
type Document struct {
	*Source
	Lists      map[string]*List
	Thresholds *Thresholds // nil: none
	Missing    string      // missing_data
	Rules      []*Rule
	Tests      []*Test
	Invariants []*Invariant
	Exceptions []*Exception
	Excepting  *Section // where the exceptions stand; nil: they do not
	About      string   // of a file of tests: `policy:`
}

// List is an entry of `lists:`.
type List struct {
	Node    *Node
	Values  expr.List
	Entries []*Node
}

// Thresholds of the score.
type Thresholds struct {
	StepUp, Block         int // 0: not set
	StepUpNode, BlockNode *Node
	MaxAge                time.Duration
}

// Rule is an entry of `rules:`.
type Rule struct {
	Node, NameNode *Node
	Name           string
	When, Unless   *Node // Unless may be nil
	Routes         []*Node
	Then           string // Block or StepUp; "" for a rule with a score
	Score          int
	MaxAge         time.Duration
	Reverify       *Reverify // nil: MaxAge
	Require        []string
	Report         bool
	Enforce        *Enforcement // nil: the rule is enforced for all people
	Reason         string
}

// Reverify is `every`, with `jitter` and `hours`.
type Reverify struct {
	Every, Jitter time.Duration
	Hours         *Hours // nil: at any hour
}

// Hours are a part of the day, in minutes from midnight. Hours that end before they begin
// go past midnight.
type Hours struct {
	Text     string
	From, To int
}

// Enforcement is `enforce`: the people for which a rule is enforced.
type Enforcement struct {
	Percent int
	Groups  []string
}

// Test is an entry of `tests:`.
type Test struct {
	Name          string
	Node          *Node // its name, or the entry
	Given, Expect *Node // Given may be nil
}

// Invariant is an entry of `invariants:`. One of Never and Always is set.
type Invariant struct {
	Node          *Node // its name, or the entry
	Name          string
	Never, Always string // an action
	When          *Node
	Except        []*Node // names of rules; of `never: block` alone
}

var wordPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
var listPattern = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// ReadPolicy takes a policy file apart. Its error, [Diagnostics], is for what is no YAML
// mapping. All other mistakes are in the document's Source, where the compiler adds those
// that it finds.
func ReadPolicy(name string, text []byte) (*Document, error) {
	s, root, err := open(name, text, Policy)
	if err != nil {
		return nil, err
	}
	d := newDocument(s)
	d.Missing = StepUp
	top := s.Fields(root, "the policy", PolicyKeys.Names()...)
	if top == nil {
		return d, nil
	}
	if v := top["version"]; v == nil {
		s.At(root, Diagnostic{Message: "the policy does not say which version of the format it is", Expected: "version: 1"})
	} else {
		s.version(v)
	}
	if n := top["lists"]; n != nil {
		s.readLists(d, n)
	}
	if n := top["thresholds"]; n != nil {
		d.Thresholds = s.readThresholds(n)
	}
	if n := top["missing_data"]; n != nil {
		d.Missing = s.action(n, "missing_data", Block, StepUp, Allow)
	}
	s.readRules(d, root, top["rules"])
	if n := top["tests"]; n != nil {
		s.readTests(d, n)
	}
	if n := top["invariants"]; n != nil {
		s.readInvariants(d, n)
	}
	return d, nil
}

// ReadTests takes a file of tests beside a policy apart, as [ReadPolicy] does a policy.
func ReadTests(name string, text []byte) (*Document, error) {
	s, root, err := open(name, text, Tests)
	if err != nil {
		return nil, err
	}
	d := newDocument(s)
	top := s.Fields(root, "a file of tests", TestFileKeys.Names()...)
	if n := top["policy"]; n != nil {
		d.About, _ = s.Text(n, "policy")
	}
	if n := top["tests"]; n != nil {
		s.readTests(d, n)
	} else if top != nil {
		s.At(root, Diagnostic{Message: "the file has no tests", Expected: "tests: with at least one"})
	}
	return d, nil
}

// ReadPinned takes a file of invariants apart that every policy has to fulfil. Here every
// mistake is an error: nothing adds to it.
func ReadPinned(name string, text []byte) (*Document, error) {
	s, root, err := open(name, text, Invariants)
	if err != nil {
		return nil, err
	}
	d := newDocument(s)
	top := s.Fields(root, "the file of invariants", pinnedKeys.Names()...)
	if v := top["version"]; v != nil {
		s.version(v)
	} else if top != nil {
		s.At(root, Diagnostic{Message: "the file does not say which version of the format it is", Expected: "version: 1"})
	}
	if n := top["lists"]; n != nil {
		s.readLists(d, n)
	}
	switch n := top["invariants"]; {
	case n != nil:
		s.readInvariants(d, n)
		if n.Kind == yaml.SequenceNode && len(n.Content) == 0 { // an accident or an attack, not a wish
			s.At(n, Diagnostic{Message: "the file has no invariants", Expected: "at least one"})
		}
	case top != nil:
		s.At(root, Diagnostic{Message: "the file has no invariants", Expected: "invariants: with at least one"})
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	return d, nil
}

// open parses a file.
func open(name string, text []byte, k Kind) (*Source, *Node, error) {
	s := NewSource(name, text)
	root := s.Parse(text, k)
	if root == nil {
		return nil, nil, s.Err()
	}
	return s, root, nil
}

func newDocument(s *Source) *Document { return &Document{Source: s, Lists: map[string]*List{}} }

func (s *Source) readLists(d *Document, n *Node) {
	total := 0
	for name, entries := range s.Fields(n, "lists") {
		if !listPattern.MatchString(name) {
			s.At(Key(n, name), Diagnostic{Message: fmt.Sprintf("%q cannot name a list", name),
				Expected: "lower-case letters, digits and _, so that it can be written as lists.NAME"})
			continue
		}
		l := &List{Node: entries, Entries: s.Items(entries, "the list "+name)}
		if total += len(l.Entries); total > maxEntries {
			s.At(entries, Diagnostic{Message: fmt.Sprintf("the lists have more than %d entries", maxEntries),
				Expected: "long address lists under ip_data.lists in sallyport.yaml, which rules see in ip.lists"})
			return
		}
		for _, e := range l.Entries {
			s.readEntry(l, name, e)
		}
		d.Lists[name] = l
	}
}

// version reads the version of the format.
func (s *Source) version(n *Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!int" && n.Value != "1" {
		s.At(n, Diagnostic{Message: fmt.Sprintf("there is no version %s of the format of this file", n.Value), Expected: "version: 1"})
		return
	}
	s.Number(n, "version", 1, 1)
}

func (s *Source) readEntry(l *List, list string, n *Node) {
	var number int64
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!int":
		if !strictyaml.PlainNumber(n.Value) || n.Decode(&number) != nil {
			d := Diagnostic{Message: fmt.Sprintf("%s is not a plain whole number", n.Value), Expected: "digits without a leading 0, or quotes if it is text"}
			if plain := strings.ReplaceAll(n.Value, "_", ""); strictyaml.PlainNumber(plain) {
				d.Suggestion = plain
			}
			s.At(n, d)
			return
		}
		l.Values.Ints = append(l.Values.Ints, number)
	default:
		text, ok := s.Text(n, "an entry of the list "+list)
		if !ok {
			return
		}
		l.Values.Strings = append(l.Values.Strings, text)
	}
	if len(l.Values.Ints) > 0 && len(l.Values.Strings) > 0 {
		d := Diagnostic{Message: fmt.Sprintf("the list %s mixes text and numbers", list), Expected: "one kind: quotes around every number, if it is text"}
		if number, ok := strictyaml.NumberMeant(n.Value); ok && n.Tag == "!!str" {
			// The rules that use the list are right about it.
			l.Values.Strings, l.Values.Ints = nil, append(l.Values.Ints, number)
			d.Suggestion = strconv.FormatInt(number, 10)
		} else {
			l.Values.Ints = nil
		}
		s.At(n, d)
	}
}

func (s *Source) readThresholds(n *Node) *Thresholds {
	f := s.Fields(n, "thresholds", thresholdKeys.Names()...)
	t := &Thresholds{MaxAge: DefaultMaxAge, StepUpNode: f["step_up"], BlockNode: f["block"]}
	if v := f["step_up"]; v != nil {
		t.StepUp, _ = s.Number(v, "step_up", 1, MaxRules*MaxScore)
	}
	if v := f["block"]; v != nil {
		t.Block, _ = s.Number(v, "block", 1, MaxRules*MaxScore)
	}
	if v := f["max_age"]; v != nil {
		t.MaxAge = s.maxAge(v, "max_age")
	}
	switch {
	case f != nil && f["step_up"] == nil && f["block"] == nil:
		s.At(n, Diagnostic{Message: "thresholds do nothing without step_up or block", Expected: "thresholds: {step_up: 50, block: 100}"})
	case t.StepUp > 0 && t.Block > 0 && t.StepUp >= t.Block:
		s.At(f["step_up"], Diagnostic{Message: "the score that blocks comes before the one that steps up", Expected: "step_up lower than block"})
	}
	return t
}

func (s *Source) maxAge(n *Node, what string) time.Duration {
	d, ok := s.Duration(n, what)
	if ok && d < time.Second {
		s.At(n, Diagnostic{Message: "no assertion can be as fresh as that", Expected: "1s or more; a few minutes in practice"})
	}
	return d
}

// action reads one of the allowed actions.
func (s *Source) action(n *Node, what string, allowed ...string) string {
	if n.Kind == yaml.ScalarNode && slices.Contains(allowed, n.Value) {
		return n.Value
	}
	d := Diagnostic{Message: fmt.Sprintf("%s cannot be %q", what, n.Value), Expected: strings.Join(allowed, " or "),
		Suggestion: strictyaml.Nearest(n.Value, allowed)}
	if n.Kind != yaml.ScalarNode {
		d.Message, d.Suggestion = what+" has to be one word", ""
	}
	if n.Value == Allow {
		// A rule that lets people in by where they are, without a look at who they are.
		d.Message = "a rule cannot allow: rules only narrow what a route's `allow` grants"
		d.Suggestion = "an `unless` on the rules that should not hold"
	}
	s.At(n, d)
	return Block
}
