package policy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/internal/expr"
)

// Policy is a compiled policy. It is immutable and safe for concurrent use.
type Policy struct {
	hash       string
	name       string
	schema     *expr.Schema
	env        *expr.Env
	grants     map[string]Grant
	missing    Action
	thresholds thresholds
	rules      []rule
	stable     []int // indexes of rules that read nothing of the request but route and purpose
	perRequest []int // and of the others
	tests      []test
	words      *vocabulary // for files of tests
	zones      *zones
	draws      DrawKey
	invariants []Invariant

	nothingAnswers bool // see Asked
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
	again        *again // nil: maxAge
	require      []string
	report       bool
	share        *share // nil: for everybody
	reads        Reads
	causes       []Cause
}

// Hash returns the SHA-256 of the source, in hex.
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

// DrawKey is the secret behind what a policy draws: when it asks again at random, and who is in a
// percentage. Without it, whoever can read the policy and their own session could work both out. The zero key is no
// secret: it is what a policy is tested and simulated with, so that the outcome is the same everywhere.
type DrawKey [32]byte

// Keyed returns the policy with what it draws drawn by key. One that Compile returns draws by the zero key.
func (p *Policy) Keyed(key DrawKey) *Policy {
	q := *p
	q.draws = key
	return &q
}

// Draws reports whether a decision can depend on the key.
func (p *Policy) Draws() bool {
	return slices.ContainsFunc(p.rules, func(r rule) bool {
		return r.again != nil && r.again.jitter > 0 || r.share != nil && r.share.percent > 0 && r.share.percent < 100
	})
}

// draw is a number that nobody without the key can tell from any other. The parts must be of fixed length, or
// must not be able to hold a zero byte; the first says what is drawn.
func (k DrawKey) draw(parts ...string) uint64 {
	mac := hmac.New(sha256.New, k[:])
	for _, p := range parts {
		mac.Write([]byte(p))
		mac.Write([]byte{0})
	}
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// Compile compiles a policy file and runs its tests. Its error is [Diagnostics], all that is
// wrong with the file and not only the first; a policy with a failing test is not
// compiled either.
func Compile(c Config) (*Policy, error) {
	p, _, err := compile(c)
	return p, err
}

// compile is Compile that also returns what the policy was made from.
func compile(c Config) (*Policy, *builder, error) {
	s := newSource(c.Name, nil)
	if len(c.Source) > maxSource {
		s.add(1, 1, Diagnostic{Message: fmt.Sprintf("the policy has %d bytes", len(c.Source)), Expected: fmt.Sprintf("at most %d", maxSource)})
		return nil, nil, s.diagnostics()
	}
	s = newSource(c.Name, c.Source)
	root := s.parse(c.Source)
	if root == nil {
		return nil, nil, s.diagnostics()
	}
	pinned, err := readPinned(c.Pinned)
	if err != nil {
		return nil, nil, err
	}
	d := s.read(root)
	b := &builder{source: s, config: c, document: d}
	p, err := b.build(pinned)
	if err != nil {
		return nil, nil, err
	}
	if pinned != nil {
		if err := pinned.diagnostics(); err != nil {
			return nil, nil, err
		}
	}
	if err := s.diagnostics(); err != nil {
		return nil, nil, err
	}
	for _, r := range p.RunTests() {
		if !r.Passed && !c.KeepFailingTests {
			s.add(r.Line, r.column, Diagnostic{Message: fmt.Sprintf("the test %q fails: %s", r.Name, r.Message)})
		}
	}
	if err := s.diagnostics(); err != nil {
		return nil, nil, err
	}
	return p, b, nil
}

// builder turns a document into a policy.
type builder struct {
	*source
	config   Config
	document *document
	words    *vocabulary
	cost     uint64
}

func (b *builder) build(pinned *pinned) (*Policy, error) {
	schema, err := expr.NewSchema(reflect.TypeFor[Facts]())
	if err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}
	env, err := expr.NewEnv(expr.Config{Facts: schema, Lists: b.lists(pinned), Functions: functions()})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b.config.Source)
	p := &Policy{hash: hex.EncodeToString(sum[:]), name: b.config.Name, schema: schema, env: env,
		grants: b.config.Grants, missing: b.document.missing, zones: &zones{known: map[string]zone{}}}
	if b.document.thresholds != nil {
		p.thresholds = *b.document.thresholds
	}
	b.words = newVocabulary(b.config)
	p.words = b.words
	for _, r := range b.document.rules {
		p.rules = append(p.rules, b.rule(p, r))
	}
	if pinned != nil {
		b.pin(p, pinned)
	}
	for _, v := range b.document.invariants {
		p.invariants = append(p.invariants, b.invariant(p, v))
	}
	if b.cost > maxCost {
		b.add(1, 1, Diagnostic{Message: "in the worst case the rules together take too long",
			Expected: "fewer loops (exists, all, filter, map) over long lists, fewer regular expressions"})
	}
	for i, r := range p.rules {
		if r.reads.PerRequest {
			p.perRequest = append(p.perRequest, i)
		} else {
			p.stable = append(p.stable, i)
		}
	}
	for _, t := range b.document.tests {
		p.tests = append(p.tests, b.test(p, t))
	}
	return p, nil
}

func (b *builder) rule(p *Policy, r *ruleSource) rule {
	out := rule{name: r.name, reason: r.reason, line: r.node.Line, action: r.action, score: r.score,
		maxAge: r.maxAge, again: r.again, require: r.require, report: r.report, share: r.share}
	for _, n := range r.routes {
		if name, ok := b.text(n, "the name of a route"); ok {
			b.at1(n, b.words.route(name))
			out.routes = append(out.routes, name)
		}
	}
	out.when = b.expression(p, r.when)
	out.unless = b.expression(p, r.unless)
	out.reads = readsOf(p.schema, out.when, out.unless)
	b.fold(p, &out)
	p.readsFolded = p.readsFolded || slices.Contains(out.reads.Facts, "request.path_folded")
	out.causes = slices.Clone(out.reads.causes)
	if r.again != nil {
		out.reads.again(p.schema, r.again)
	}
	if len(r.require) > 0 && !slices.Contains(out.causes, CauseCredential) {
		out.causes = append(out.causes, CauseCredential)
	}
	if len(out.causes) == 0 { // "true": how long an assertion lasts is about the session
		out.causes = []Cause{CauseSession}
	}
	if b.config.NoAttestation && !out.report && slices.Contains(out.require, requireAttested) {
		b.at(r.node, Diagnostic{Message: fmt.Sprintf("%s requires an attested passkey, and nothing judges attestation yet: nobody could meet it", r.name),
			Expected: "require: [" + requireDeviceBound + "], or mode: report"})
	}
	// The policy that locks everybody out, those who need to mend it included.
	if out.when != nil && len(out.reads.Facts) == 0 && out.action == Block && !out.report && len(out.routes) == 0 {
		b.at(r.when, Diagnostic{Message: fmt.Sprintf("%s depends on nothing: it blocks everybody, or nobody", r.name),
			Expected: "a condition on a fact, routes that it is limited to, or mode: report"})
	}
	return out
}

// expression compiles a condition, and checks what it compares facts with.
func (b *builder) expression(p *Policy, n *yaml.Node) *expr.Program {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || strings.TrimSpace(n.Value) == "" {
		b.at(n, Diagnostic{Message: "a condition has to be an expression", Expected: `such as ip.vpn || ip.country in lists.embargoed`})
		return nil
	}
	program, problems := p.env.Compile(n.Value)
	for _, q := range problems {
		d := Diagnostic{Message: q.Message, Expected: q.Expected, Suggestion: q.Suggestion}
		if l := b.document.lists[q.List]; l != nil && q.Entry < len(l.nodes) {
			b.at(l.nodes[q.Entry], d)
			continue
		}
		b.in(n, q.Offset, d)
	}
	if program == nil {
		return nil
	}
	b.cost += program.Cost()
	for _, name := range program.Reads() {
		if d := b.words.provided(name); d != nil {
			b.in(n, max(0, runeIndex(n.Value, name)), *d)
		}
	}
	for _, c := range program.Comparisons() {
		for _, v := range c.Values {
			if d := b.words.compared(c, v.Text); d != nil {
				b.in(n, v.Offset, *d)
			}
		}
		if l := b.document.lists[c.List]; l != nil {
			for _, e := range l.nodes {
				b.at1(e, b.words.compared(c, e.Value))
			}
		}
	}
	return program
}

// at1 records a mistake if there is one.
func (b *builder) at1(n *yaml.Node, d *Diagnostic) {
	if d != nil {
		b.at(n, *d)
	}
}

// runeIndex is strings.Index in characters.
func runeIndex(s, sub string) int {
	i := strings.Index(s, sub)
	if i < 0 {
		return i
	}
	return len([]rune(s[:i]))
}
