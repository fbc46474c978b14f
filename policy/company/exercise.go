package company

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

// exercise finds out which rules the model can exercise at all, from what the facts of a
// run were: no list says so, and a new fact is covered as soon as a rule reads it.
//
// A rule is exercised if each thing that it asks for held at least once, in some request
// of the run. Zero matches of such a rule are a finding. Zero matches of another rule say
// something about the model, and nothing about the rule.
type exercise struct {
	model   *policy.Model
	facts   []*factValues // of the facts that rules read, in the order of the schema
	rules   [][]*part     // by rule
	open    [][]*part     // what is not settled of them, for the requests to come
	matched [][sides]int64
}

// factValues are what a fact was in a run.
type factValues struct {
	fact  expr.Fact
	seen  [sides]map[any]bool
	isNew bool   // in the request under way
	first string // the first value, as an expression spells it
	more  bool   // there was another one
}

// maxValues bounds the memory for facts that are ever different. Beyond, each value
// counts as new, which costs time only.
const maxValues = 4096

func newExercise(p *policy.Policy) *exercise {
	m := p.Model()
	x := &exercise{model: &m, matched: make([][sides]int64, len(m.Rules))}
	read := map[string]bool{}
	for i := range m.Rules {
		whole := partsOf(&m, &m.Rules[i])
		x.rules, x.open = append(x.rules, whole), append(x.open, slices.Clone(whole))
		for _, p := range whole {
			for _, f := range p.reads() {
				read[f] = true
			}
		}
	}
	for _, f := range m.Schema.Facts() {
		if read[f.Name] {
			x.facts = append(x.facts, &factValues{fact: f, seen: [sides]map[any]bool{{}, {}}})
		}
	}
	return x
}

// note adds a request: its facts, and the rules that matched.
func (x *exercise) note(at side, f *policy.Facts, o *policy.Outcomes) {
	for i := range o.Matched() {
		x.matched[i][at]++
	}
	for _, v := range x.facts {
		v.note(x.model.Schema, at, f)
	}
	scope := x.model.Env.Acquire(f)
	defer scope.Release()
	for i, open := range x.open {
		if len(open) == 0 {
			continue
		}
		for _, p := range open {
			p.note(at, scope, x.isNew, false)
		}
		x.open[i] = slices.DeleteFunc(open, (*part).settled)
	}
}

func (x *exercise) isNew(facts []string) bool {
	return slices.ContainsFunc(x.facts, func(v *factValues) bool { return v.isNew && slices.Contains(facts, v.fact.Name) })
}

func (v *factValues) note(schema *expr.Schema, at side, f *policy.Facts) {
	field := schema.Field(f, v.fact)
	var key any
	switch v.fact.Kind {
	case expr.Bool:
		key = field.Bool()
	case expr.Int, expr.Duration:
		key = field.Int()
	case expr.Double:
		key = field.Float()
	case expr.String:
		key = field.String()
	case expr.Time:
		key = field.Interface().(time.Time).UnixNano()
	default: // a list
		if field.Len() > 0 {
			key = fmt.Sprintf("%q", field.Interface())
		}
	}
	v.isNew = !v.seen[at][key]
	if !v.isNew {
		return
	}
	if len(v.seen[at]) < maxValues {
		v.seen[at][key] = true
	}
	if v.first == "" {
		v.first = schema.Format(f, v.fact)
	} else if !v.more {
		v.more = schema.Format(f, v.fact) != v.first
	}
}

// done lets go of what only further requests would need.
func (x *exercise) done() {
	x.open = nil
	for _, v := range x.facts {
		v.seen = [sides]map[any]bool{}
	}
}

// merge adds another run of the same policy.
func (x *exercise) merge(o *exercise) {
	for i := range x.rules {
		for s := range sides {
			x.matched[i][s] += o.matched[i][s]
		}
		for j, p := range x.rules[i] {
			p.merge(o.rules[i][j])
		}
	}
	for i, v := range x.facts {
		v.more = v.more || o.facts[i].more || v.first != o.facts[i].first
	}
}

// always is the one value that a fact had, "" if it had several.
func (x *exercise) always(fact string) string {
	for _, v := range x.facts {
		if v.fact.Name == fact && !v.more {
			return v.first
		}
	}
	return ""
}

// NotExercised is why the model says nothing about a rule; empty: it does.
type NotExercised struct {
	// Honest is why no request of those who belong here could have matched, Hostile the
	// same of those who do not. "": it could.
	Honest  string `json:"honest,omitempty"`
	Hostile string `json:"hostile,omitempty"`
	// Facts are those that the missing conditions read, and Constant those that the rule
	// reads and that had one value in the whole run.
	Facts    []string `json:"facts,omitempty"`
	Constant []string `json:"constant,omitempty"`
	// Never are conditions, alternatives and exceptions that held in no request: this part
	// of the rule is not exercised, whether or not another one is.
	Never []string `json:"never,omitempty"`
}

// of says what is not exercised of a rule.
func (x *exercise) of(rule int) (n NotExercised) {
	for _, f := range x.model.Rules[rule].Reads.Facts {
		if one := x.always(f); one != "" {
			n.Constant = append(n.Constant, f+" is always "+one)
		}
	}
	n.Honest, n.Hostile = x.missing(rule, honest, &n), x.missing(rule, hostile, &n)
	for _, p := range x.rules[rule] {
		p.conditions(func(c *part) {
			if !c.held[honest] && !c.held[hostile] && !slices.Contains(n.Never, c.text) {
				n.Never = append(n.Never, c.text)
			}
		})
	}
	n.Never = append(n.Never, x.exceptions(rule)...)
	return n
}

// missing says which conditions held in no request of a side, and what they read.
func (x *exercise) missing(rule int, at side, n *NotExercised) string {
	if x.matched[rule][at] > 0 {
		return ""
	}
	var reads, lacks []string
	for _, p := range x.rules[rule] {
		if p.held[at] {
			continue
		}
		for _, f := range p.reads() {
			text := f
			if one := x.always(f); one != "" {
				text += " (always " + one + ")"
			}
			if !slices.Contains(reads, text) {
				reads = append(reads, text)
			}
			if !slices.Contains(n.Facts, f) {
				n.Facts = append(n.Facts, f)
			}
		}
		lacks = append(lacks, p.String())
	}
	if len(lacks) == 0 {
		return ""
	}
	if len(reads) == 0 {
		return "it depends on nothing, and never holds"
	}
	return "reads " + strings.Join(reads, ", ") + "; no request has " + strings.Join(lacks, ", nor ")
}

// exceptions are the exceptions of a rule that no request had: what the rule does for
// these people is not exercised.
func (x *exercise) exceptions(rule int) (out []string) {
	for _, p := range x.rules[rule] {
		p.conditions(func(c *part) {
			if !c.not || len(c.facts) == 0 || c.program == nil {
				return
			}
			if !c.failed[honest] && !c.failed[hostile] {
				text := strings.TrimPrefix(c.text, "!")
				if strings.HasPrefix(text, "(") {
					text = text[1 : len(text)-1]
				}
				out = append(out, text)
			}
		})
	}
	return out
}
