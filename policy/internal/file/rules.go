package file

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sallyport/policy/strictyaml"

	"go.yaml.in/yaml/v4"
)

func (s *Source) readRules(d *Document, root, n *Node) {
	if n == nil {
		s.At(root, Diagnostic{Message: "the policy has no rules", Expected: "rules: with at least one"})
		return
	}
	nodes := s.Items(n, "rules")
	switch {
	case n.Kind == yaml.SequenceNode && len(nodes) == 0:
		// An emptied list of rules is an accident or an attack, not a wish.
		s.At(n, Diagnostic{Message: "the policy has no rules", Expected: "at least one"})
	case len(nodes) > MaxRules:
		s.At(nodes[MaxRules], Diagnostic{Message: fmt.Sprintf("the policy has more than %d rules", MaxRules), Expected: "values in a list rather than a rule for each"})
		return
	}
	seen := map[string]int{}
	for _, r := range nodes {
		rule := s.readRule(r)
		if rule == nil {
			continue
		}
		if line := seen[rule.Name]; line > 0 {
			s.At(rule.NameNode, Diagnostic{Message: fmt.Sprintf("there is another rule %s, in line %d", rule.Name, line), Expected: "a name of its own"})
		}
		if rule.NameNode != nil {
			seen[rule.Name] = rule.NameNode.Line
		}
		d.Rules = append(d.Rules, rule)
	}
	if d.Thresholds == nil {
		for _, r := range d.Rules {
			if r.Score > 0 {
				s.At(r.Node, Diagnostic{Message: fmt.Sprintf("%s adds to a score that nothing acts on", r.Name), Expected: "thresholds: {step_up: 50, block: 100} at the top level"})
				break
			}
		}
	}
}

func (s *Source) readRule(n *Node) *Rule {
	f := s.Fields(n, "a rule", RuleKeys.Names()...)
	if f == nil {
		return nil
	}
	r := &Rule{Node: n, NameNode: f["name"], Unless: f["unless"], When: f["when"], Then: Block}
	if r.NameNode == nil {
		s.At(n, Diagnostic{Message: "the rule has no name", Expected: "name: by which decisions refer to it"})
	} else if name, ok := s.Text(r.NameNode, "the name of a rule"); ok {
		r.Name = name
		if !wordPattern.MatchString(name) || len(name) > 64 || strings.HasPrefix(name, "baseline") {
			s.At(r.NameNode, Diagnostic{Message: fmt.Sprintf("%q cannot name a rule", name),
				Expected: "lower-case letters, digits and -, at most 64; not beginning with baseline", Suggestion: slug(name)})
		}
	}
	if r.When == nil {
		s.At(n, Diagnostic{Message: fmt.Sprintf("the rule %s has no condition", r.Name), Expected: "when: an expression"})
	}
	s.readOutcome(r, f)
	if m := f["mode"]; m != nil {
		r.Report = m.Value == "report"
		if m.Kind != yaml.ScalarNode || m.Value != "report" && m.Value != "enforce" {
			d := Diagnostic{Message: fmt.Sprintf("there is no mode %q", m.Value), Expected: "report or enforce",
				Suggestion: strictyaml.Nearest(m.Value, []string{"report", "enforce"})}
			if meant := modes[strings.ToLower(m.Value)]; meant != "" {
				d.Suggestion = meant
			}
			s.At(m, d)
		}
	}
	if v := f["enforce"]; v != nil {
		r.Enforce = s.readEnforcement(v)
		if m := f["mode"]; m != nil {
			s.At(m, Diagnostic{Message: "a rule has either mode or enforce", Expected: "enforce alone: it is enforced for some, and reports for the rest"})
		}
	}
	if v := f["routes"]; v != nil {
		r.Routes = s.Items(v, "routes")
		if v.Kind == yaml.SequenceNode && len(r.Routes) == 0 {
			s.At(v, Diagnostic{Message: "a rule for no route never applies", Expected: "names of routes, or no routes key for all"})
		}
	}
	if v := f["reason"]; v != nil {
		r.Reason, _ = s.Text(v, "reason")
	}
	return r
}

// readOutcome reads what a rule does: exactly one of then and score.
func (s *Source) readOutcome(r *Rule, f map[string]*Node) {
	then, score := f["then"], f["score"]
	switch {
	case then != nil && score != nil:
		s.At(score, Diagnostic{Message: "a rule has either then or score", Expected: "one of them"})
		return
	case then == nil && score == nil:
		s.At(r.Node, Diagnostic{Message: fmt.Sprintf("the rule %s does nothing", r.Name), Expected: "then: block, then: step_up, or score: N"})
		return
	case then != nil:
		r.Then = s.action(then, "then", Block, StepUp)
	default:
		r.Then = "" // by itself
		// Not negative: a rule that lowers the score could let a person in.
		if strings.HasPrefix(score.Value, "-") {
			s.At(score, Diagnostic{Message: "score cannot be negative: rules only tighten", Expected: fmt.Sprintf("1 to %d; unless: for what a rule does not apply to", MaxScore)})
			break
		}
		r.Score, _ = s.Number(score, "score", 1, MaxScore)
	}
	r.MaxAge = DefaultMaxAge
	for _, key := range []string{"max_age", "every", "require"} {
		if v := f[key]; v != nil && (then == nil || then.Value == "block") {
			s.At(v, Diagnostic{Message: key + " belongs to then: step_up", Expected: "no " + key + " here" +
				map[bool]string{true: "; thresholds have a max_age of their own"}[score != nil && key == "max_age"]})
			return
		}
	}
	if v := f["max_age"]; v != nil {
		r.MaxAge = s.maxAge(v, "max_age")
	}
	if r.Reverify = s.readReverify(f); r.Reverify != nil {
		r.MaxAge = r.Reverify.Every - r.Reverify.Jitter // every age at which the rule asks exceeds this
	}
	if v := f["require"]; v != nil {
		for _, n := range s.Items(v, "require") {
			if n.Kind != yaml.ScalarNode || n.Value != DeviceBound && n.Value != Attested {
				known := []string{DeviceBound, Attested}
				s.At(n, Diagnostic{Message: fmt.Sprintf("there is no requirement %q", n.Value),
					Expected: strings.Join(known, ", "), Suggestion: strictyaml.Nearest(n.Value, known)})
				continue
			}
			r.Require = append(r.Require, n.Value)
		}
	}
}

// slug is a name as a rule may have it, or "".
func slug(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	if s := strings.Join(words, "-"); wordPattern.MatchString(s) && len(s) <= 64 && !strings.HasPrefix(s, "baseline") {
		return s
	}
	return ""
}

// modes are what others call a mode.
var modes = map[string]string{"monitor": "report", "monitoring": "report", "shadow": "report", "dry_run": "report", "dry-run": "report", "dryrun": "report", "log": "report", "audit": "report",
	"observe": "report", "detect": "report", "report_only": "report", "report-only": "report", "warn": "report", "on": "enforce", "active": "enforce", "enabled": "enforce", "block": "enforce"}

var hoursPattern = regexp.MustCompile(`^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$`)

func (s *Source) readReverify(f map[string]*Node) *Reverify {
	every := f["every"]
	for _, key := range []string{"jitter", "hours"} {
		if f[key] != nil && every == nil {
			s.At(f[key], Diagnostic{Message: key + " belongs to every", Expected: "every: 4h beside it"})
		}
	}
	if every == nil {
		return nil
	}
	if f["max_age"] != nil {
		s.At(every, Diagnostic{Message: "a rule has either max_age or every", Expected: "one of them"})
	}
	a := &Reverify{Every: s.maxAge(every, "every")}
	if n := f["jitter"]; n != nil {
		jitter, ok := s.Duration(n, "jitter")
		if ok && (jitter < 0 || jitter > a.Every-time.Second) {
			s.At(n, Diagnostic{Message: "jitter has to be less than every", Expected: "such as every: 4h, jitter: 2h: between two and six hours"})
		} else {
			a.Jitter = jitter
		}
	}
	if a.Every > math.MaxInt64/4 {
		s.At(every, Diagnostic{Message: "every is longer than any session", Expected: "such as 4h"})
	}
	if n := f["hours"]; n != nil {
		a.Hours = s.readHours(n)
	}
	return a
}

func (s *Source) readHours(n *Node) *Hours {
	m := hoursPattern.FindStringSubmatch(n.Value)
	if n.Kind != yaml.ScalarNode || m == nil || m[1] == m[3] && m[2] == m[4] {
		d := Diagnostic{Message: fmt.Sprintf("hours cannot be %q", n.Value), Expected: `such as "09:00-18:00", or "22:00-06:00" past midnight`, Suggestion: hoursMeant(n.Value)}
		if n.Kind != yaml.ScalarNode {
			d.Message = "hours has to be one span of time"
		}
		s.At(n, d)
		return nil
	}
	var at [4]int
	for i, digits := range m[1:] {
		at[i] = int(digits[0]-'0')*10 + int(digits[1]-'0')
	}
	return &Hours{Text: n.Value, From: at[0]*60 + at[1], To: at[2]*60 + at[3]}
}

func (s *Source) readEnforcement(n *Node) *Enforcement {
	f := s.Fields(n, "enforce", enforceKeys.Names()...)
	if f == nil {
		return &Enforcement{}
	}
	out := &Enforcement{}
	if len(f) == 0 {
		s.At(n, Diagnostic{Message: "enforce does not name people", Expected: "enforce: {percent: 10}, or enforce: {groups: [security]}"})
	}
	if v := f["percent"]; v != nil {
		out.Percent, _ = s.Number(v, "percent", 0, 100)
	}
	if v := f["groups"]; v != nil {
		nodes := s.Items(v, "groups")
		if v.Kind == yaml.SequenceNode && len(nodes) == 0 {
			s.At(v, Diagnostic{Message: "there is no group", Expected: "names of groups"})
		}
		for _, g := range nodes {
			if name, ok := s.Text(g, "the name of a group"); ok {
				out.Groups = append(out.Groups, name)
			}
		}
	}
	return out
}

// aTime is a time of the day as people write it: 9, 09:00, 5pm.
var aTime = regexp.MustCompile(`^(\d{1,2})(?:[:.]?([0-5]\d))?h?(am|pm)?$`)

// hoursMeant reads "9:00 - 18:00", "9-17", "9am-5pm" and "09:00–24:00"; "" if several things
// may be meant.
func hoursMeant(text string) string {
	from, to, _ := strings.Cut(strings.NewReplacer(" ", "", "–", "-", "24:00", "00:00").Replace(text), "-")
	for _, t := range []*string{&from, &to} {
		m := aTime.FindStringSubmatch(strings.ToLower(*t))
		if m == nil {
			return ""
		}
		hour, _ := strconv.Atoi(m[1]) // digits
		switch {
		case m[3] != "" && (hour < 1 || hour > 12):
			return ""
		case m[3] == "pm" && hour < 12:
			hour += 12
		case m[3] == "am" && hour == 12:
			hour = 0
		}
		*t = fmt.Sprintf("%02d:%02s", hour, m[2])
	}
	if meant := from + "-" + to; from != to && hoursPattern.MatchString(meant) {
		return strconv.Quote(meant)
	}
	return ""
}
