package policy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
	"sallyport/policy/internal/vocabulary"
	"sallyport/policy/strictyaml"
)

// Policy is a compiled policy. It is immutable and safe for concurrent use.
type Policy struct {
	hash       string
	name       string
	schema     *expr.Schema
	env        *expr.Env
	grants     map[string]Grant
	missing    Action
	thresholds file.Thresholds
	rules      []rule
	stable     []int // indexes of rules that read nothing of the request but route and purpose
	perRequest []int // and of the others
	words      *vocabulary.Vocabulary
	zones      *vocabulary.Zones
	draws      DrawKey
	invariants []Invariant

	exceptions     []*Exception             // all of the file
	excepted       map[string]ownExceptions // those that are asked, by address; nil: none
	exceptionsHash string

	nothingAnswers bool // see Unanswered
	readsFolded    bool // a rule reads request.path_folded
}

// rule is one compiled rule.
type rule struct {
	name, reason string
	line         int
	when, unless *expr.Program // unless may be nil
	folded       *foldedRule   // nil: it is not about paths
	routes       []string      // nil: every route
	action       Action        // Allow for a rule that adds to the score
	score        int
	maxAge       time.Duration
	reverify     *reverify // nil: maxAge
	require      []string
	report       bool
	enforce      *enforcement // nil: for all people
	reads        Reads
	causes       []Cause
}

// FactSchema returns the facts that rules can read, with their types.
var FactSchema = sync.OnceValue(func() *expr.Schema {
	schema, err := expr.NewSchema(reflect.TypeFor[Facts]())
	if err != nil {
		panic(fmt.Sprintf("facts: %v", err)) // facts.go is wrong: every test fails with it
	}
	return schema
})

// Vocabulary returns the names and values that a policy of this configuration can use.
func (c Config) Vocabulary() *vocabulary.Vocabulary {
	if c.Provides == nil {
		return vocabulary.New(c.Routes, nil, nil)
	}
	return vocabulary.New(c.Routes, c.Provides.Signals, c.Provides.Lists)
}

// Vocabulary returns the names and values that the policy was compiled with.
func (p *Policy) Vocabulary() *vocabulary.Vocabulary { return p.words }

// Ungranted returns the policy without the grants of routes, for judging people who are
// made up. Never for a policy that is to be enforced.
func (p *Policy) Ungranted() *Policy {
	q := *p
	q.grants = nil
	return &q
}

// Granting returns the policy with other grants of routes, for judging what a change of them
// would do.
func (p *Policy) Granting(grants map[string]Grant) *Policy {
	q := *p
	q.grants = grants
	return &q
}

// Enforcing returns the policy with one rule, by its index in [Policy.Rules], enforced for
// all people, or for none. It is for tools that ask what a rule alone brings about.
func (p *Policy) Enforcing(rule int, yes bool) *Policy {
	q := *p
	q.rules = slices.Clone(p.rules)
	q.rules[rule].report, q.rules[rule].enforce = !yes, nil
	return &q
}

// Hash returns the [Hash] of its source.
func (p *Policy) Hash() string { return p.hash }

// Name returns the file name the policy was compiled under.
func (p *Policy) Name() string { return p.name }

// RuleInfo describes a rule.
type RuleInfo struct {
	Name   string `json:"name"`
	Line   int    `json:"line"`
	Report bool   `json:"report,omitempty"`
	Reads  Reads  `json:"reads"`
}

// Rules describes the rules, in file order.
func (p *Policy) Rules() []RuleInfo {
	out := make([]RuleInfo, len(p.rules))
	for i, r := range p.rules {
		out[i] = RuleInfo{Name: r.name, Line: r.line, Report: r.report, Reads: r.reads}
	}
	return out
}

// DrawKey is the secret behind a policy's random choices: when it asks again, and who is
// in a percentage. Without it, a person who can read the policy and their own session
// could compute both. The zero key is not secret: tests and simulations of a policy use
// it, so that the outcome is the same everywhere.
type DrawKey [32]byte

// Keyed returns the policy with its random choices drawn with key. Compile returns one
// with the zero key.
func (p *Policy) Keyed(key DrawKey) *Policy {
	q := *p
	q.draws = key
	return &q
}

// Draws reports whether a decision can depend on the key.
func (p *Policy) Draws() bool {
	return slices.ContainsFunc(p.rules, func(r rule) bool {
		return r.reverify != nil && r.reverify.jitter > 0 || r.enforce != nil && r.enforce.percent > 0 && r.enforce.percent < 100
	})
}

// draw is a number that looks random without the key. The parts must be of fixed length,
// or must not be able to hold a zero byte; the first says what is drawn.
func (k DrawKey) draw(parts ...string) uint64 {
	mac := hmac.New(sha256.New, k[:])
	for _, p := range parts {
		mac.Write([]byte(p))
		mac.Write([]byte{0})
	}
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// Compile compiles a policy file. Its error is [Diagnostics], all that is wrong with the
// file and not only the first.
//
// It neither runs the file's tests nor proves its invariants: a policy that is to be
// enforced must come from package load.
func Compile(c Config) (*Policy, error) {
	d, err := file.ReadPolicy(c.Name, c.Source)
	if err != nil {
		return nil, err
	}
	p, err := CompileDocument(c, d)
	if err != nil {
		return nil, err
	}
	return p, d.Err()
}

// CompileDocument is [Compile] for a file that is read already. It adds mistakes to the
// document, and then returns no policy. Its error is about everything except the
// document.
func CompileDocument(c Config, d *file.Document) (*Policy, error) {
	var pinned *file.Document
	if c.Pinned != nil {
		var err error
		if pinned, err = file.ReadPinned(c.Pinned.Name, c.Pinned.Source); err != nil {
			return nil, err
		}
	}
	b := &builder{Document: d, config: c}
	p, err := b.build(pinned)
	if err != nil {
		return nil, err
	}
	if pinned != nil {
		if err := pinned.Err(); err != nil {
			return nil, err
		}
	}
	if d.Err() != nil {
		return nil, nil
	}
	if c.Exceptions != nil { // about rules that are right
		if err := b.except(p, c.Exceptions); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// maxCost is the worst case of all rules together, in CEL cost units: well below a
// second.
const maxCost = 10_000_000

// actions by their names in the file. A rule with a score has none, and does nothing by
// itself.
var actions = map[string]Action{file.Block: Block, file.StepUp: StepUp, file.Allow: Allow, "": Allow}

// builder turns a document into a policy.
type builder struct {
	*file.Document
	config Config
	words  *vocabulary.Vocabulary
	cost   uint64
}

func (b *builder) build(pinned *file.Document) (*Policy, error) {
	schema := FactSchema()
	env, err := expr.NewEnv(expr.Config{Facts: schema, Lists: b.lists(pinned), Functions: functions()})
	if err != nil {
		return nil, err
	}
	p := &Policy{hash: Hash(b.config.Source), name: b.config.Name, schema: schema, env: env,
		grants: b.config.Grants, missing: actions[b.Missing], zones: vocabulary.NewZones()}
	if b.Thresholds != nil {
		p.thresholds = *b.Thresholds
	}
	b.words = b.config.Vocabulary()
	p.words = b.words
	for _, r := range b.Rules {
		p.rules = append(p.rules, b.rule(p, r))
	}
	if pinned != nil {
		b.pin(p, pinned)
	}
	for _, v := range b.Invariants {
		p.invariants = append(p.invariants, b.invariant(p, v))
		for _, n := range v.Except {
			names := make([]string, len(p.rules))
			for i := range p.rules {
				names[i] = p.rules[i].name
			}
			if !slices.Contains(names, n.Value) {
				b.At(n, Diagnostic{Message: fmt.Sprintf("there is no rule %q", n.Value), Suggestion: strictyaml.Nearest(n.Value, names)})
			}
		}
	}
	if b.cost > maxCost {
		b.Add(1, 1, Diagnostic{Message: "in the worst case the rules together take too long",
			Expected: "fewer loops (exists, all, filter, map) over long lists, fewer regular expressions"})
	}
	for i, r := range p.rules {
		if r.reads.PerRequest {
			p.perRequest = append(p.perRequest, i)
		} else {
			p.stable = append(p.stable, i)
		}
	}
	return p, nil
}

func (b *builder) rule(p *Policy, r *file.Rule) rule {
	out := rule{name: r.Name, reason: r.Reason, line: r.Node.Line, action: actions[r.Then], score: r.Score, maxAge: r.MaxAge,
		reverify: newReverify(r.Reverify), require: r.Require, report: r.Report, enforce: newEnforcement(r.Enforce)}
	for _, n := range r.Routes {
		if name, ok := b.Text(n, "the name of a route"); ok {
			b.at1(n, b.words.Route(name))
			out.routes = append(out.routes, name)
		}
	}
	out.when = b.expression(p, r.When)
	out.unless = b.expression(p, r.Unless)
	out.reads = readsOf(p.schema, out.when, out.unless)
	b.fold(p, &out)
	p.readsFolded = p.readsFolded || slices.Contains(out.reads.Facts, "request.path_folded")
	out.causes = slices.Clone(out.reads.causes)
	if out.reverify != nil {
		out.reads.reverify(p.schema, out.reverify)
	}
	if len(r.Require) > 0 && !slices.Contains(out.causes, CauseCredential) {
		out.causes = append(out.causes, CauseCredential)
	}
	if len(out.causes) == 0 { // "true": how long an assertion lasts is about the session
		out.causes = []Cause{CauseSession}
	}
	if b.config.NoAttestation && !out.report && slices.Contains(out.require, file.Attested) {
		b.At(r.Node, Diagnostic{Message: fmt.Sprintf("%s requires an attested passkey, and nothing judges attestation yet: no one could meet it", r.Name),
			Expected: "require: [" + file.DeviceBound + "], or mode: report"})
	}
	// The policy that locks out all people, including those who must repair it.
	if out.when != nil && len(out.reads.Facts) == 0 && out.action == Block && !out.report && len(out.routes) == 0 {
		b.At(r.When, Diagnostic{Message: fmt.Sprintf("%s depends on nothing: it blocks every person, or none", r.Name),
			Expected: "a condition on a fact, routes that it is limited to, or mode: report"})
	}
	return out
}

// expression compiles a condition, and checks the values that it compares facts with.
func (b *builder) expression(p *Policy, n *file.Node) *expr.Program {
	if n == nil {
		return nil
	}
	if !file.IsText(n) {
		b.At(n, Diagnostic{Message: "a condition has to be an expression", Expected: `such as ip.vpn || ip.country in lists.embargoed`})
		return nil
	}
	if b.swallowed(n) {
		return nil
	}
	program, problems := p.env.Compile(n.Value)
	for _, q := range problems {
		d := Diagnostic{Message: q.Message, Expected: q.Expected, Suggestion: q.Suggestion}
		if whole := b.beforeComment(n); whole != "" {
			d.Expected, d.Suggestion = "quotes around the whole condition, or no ` #` in it: there YAML begins a comment", strictyaml.SingleQuoted(whole)
		}
		if l := b.Lists[q.List]; l != nil && q.Entry < len(l.Entries) {
			b.At(l.Entries[q.Entry], d)
			continue
		}
		b.In(n, q.Offset, d)
	}
	if program == nil {
		return nil
	}
	b.cost += program.Cost()
	for _, name := range program.Reads() {
		if d := b.words.Provided(name); d != nil {
			b.In(n, max(0, strictyaml.RuneIndex(n.Value, name)), *d)
		}
	}
	for _, c := range program.Comparisons() {
		for _, v := range c.Values {
			if d := b.words.Compared(c, v.Text); d != nil {
				b.In(n, v.Offset, *d)
			}
		}
		if l := b.Lists[c.List]; l != nil {
			for _, e := range l.Entries {
				b.at1(e, b.words.Compared(c, e.Value))
			}
		}
	}
	return program
}

// plainCondition is a condition without quotes that has a line to itself.
var plainCondition = regexp.MustCompile(`^\s*(?:- )?\s*(?:when|unless):\s+([^'"|>\s].*?)\s*$`)

// beforeComment returns all of the line of a condition that YAML cut at ` #`, or "".
func (b *builder) beforeComment(n *file.Node) string {
	m := plainCondition.FindStringSubmatch(b.Line(n.Line))
	if m == nil || n.Style != 0 || !strings.HasPrefix(m[1], n.Value) || !strings.HasPrefix(strings.TrimLeft(m[1][len(n.Value):], " \t"), "#") {
		return ""
	}
	return m[1]
}

// swallowed refuses a comment that goes on to the end of a condition because YAML reads
// its lines as one: what stands on the lines below would be gone, and nothing would say so.
func (b *builder) swallowed(n *file.Node) bool {
	for _, c := range expr.Comments(n.Value) {
		comment := []rune(n.Value)[c.Start:c.End]
		line, _ := b.Position(n, c.Start)
		for i, r := range comment {
			if unicode.IsSpace(r) {
				continue
			}
			if below, _ := b.Position(n, c.Start+i); below > line {
				b.In(n, c.Start, Diagnostic{Message: fmt.Sprintf("YAML reads these lines as one, so that // makes a comment of all that follows: `%s` is gone", strings.TrimSpace(string(comment[i:]))),
					Expected: "the comment above the rule, with #; or | in the place of > and of quotes, which keeps the lines"})
				return true
			}
		}
	}
	return false
}

// at1 records a mistake if there is one.
func (b *builder) at1(n *file.Node, d *Diagnostic) {
	if d != nil {
		b.At(n, *d)
	}
}
