package prove

import (
	"maps"
	"reflect"
	"slices"

	"github.com/go-air/gini/z"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/vocabulary"
)

// Remark says what is known of a rule's condition, or of a part of it.
type Remark int

const (
	// Always: the rule matches every request that it is asked about, though its condition
	// reads facts.
	Always Remark = iota
	// AlwaysPart: a part of the condition holds for every request.
	AlwaysPart
	// NeverPart: a part of the condition holds for no request.
	NeverPart
	// NeverSpares: the exception holds for no request.
	NeverSpares
	// Spares: the exception holds for no request that the condition holds for.
	Spares
	// Fails: there is a request for which the part cannot be evaluated, and which the rule
	// matches for that.
	Fails
	// HoldsUnknown: the part holds where something is not known, and without it the rule
	// (or its exception) would not, and nothing as strict matches there.
	HoldsUnknown
)

// Condition is one remark.
type Condition struct {
	Remark Remark
	Rule   int  // in file order, from 0
	Unless bool // it is about the exception
	// Node is the part, as it stands in [expr.Program.Tree].
	Node *expr.Node
	// Facts are those that it has to do with.
	Facts []string
	// Unknown is what is not known, as an index, for HoldsUnknown.
	Unknown int
	// Error is what the evaluation says, for Fails.
	Error string
	// NoValue: no request is one for which it can be evaluated, for Always.
	NoValue bool
}

// Unknown is what facts are where they are not known: "seen.known" false, and all else
// of its group zero; or "ip.country" "ZZ".
type Unknown struct {
	Name  string // of the fact that tells
	Facts map[string]any
}

// Considers reports whether a rule says what it does where something is not known: it
// reads the fact of its group that tells, or compares a single one with what it then is.
func (u Unknown) Considers(r *policy.ModelRule) bool {
	if len(u.Facts) > 1 {
		return slices.Contains(r.Reads.Facts, u.Name)
	}
	for _, p := range []*expr.Program{r.When, r.Unless} {
		if p != nil && slices.ContainsFunc(p.Tree().Literals(), func(x expr.Literal) bool { return u.asked(x.Node) }) {
			return true
		}
	}
	return false
}

// asked reports whether a condition compares the fact with what it is where it is not
// known.
func (u Unknown) asked(n *expr.Node) bool {
	if !slices.Contains(n.Facts, u.Name) {
		return false
	}
	for _, a := range n.Args {
		switch v := a.Value.(type) {
		case []string:
			text, _ := u.Facts[u.Name].(string)
			if len(v) == 0 || text != "" && slices.Contains(v, text) {
				return true
			}
		case int64: // of what is counted from 0, but for -1 where it is not known
			if v == u.Facts[u.Name] || v == 0 {
				return true
			}
		default:
			if a.Op == expr.ValueOp && v == u.Facts[u.Name] {
				return true
			}
		}
		if u.asked(a) {
			return true
		}
	}
	return n.Op == expr.Size
}

// Conditions looks for parts of conditions that say nothing, or other than they seem to.
// Every remark is certain: it is proven for all requests, or shown by one that the
// production evaluator has judged. The error says that not everything was looked at;
// what was found until then counts.
func Conditions(p *policy.Policy, unknowns []Unknown) ([]Condition, error) {
	m := p.Model()
	var q *questions
	s, err := newSolver(&m, nil, func(p *prover) []z.Lit {
		p.rules(false)
		q = p.questions(unknowns)
		return append(q.roots, p.match...)
	}, func(p *prover) { p.collectUnknowns(unknowns) })
	if err != nil {
		return nil, err
	}
	s.patience = maxTime / 10
	q.solver = s
	for i := range m.Rules {
		q.rule(i)
	}
	if q.late {
		return q.out, errTime
	}
	return q.out, nil
}

// collectUnknowns makes the atoms that facts are not known, for the rules that read them.
func (p *prover) collectUnknowns(unknowns []Unknown) {
	p.collectPerson()
	for i := range unknowns {
		if p.reads(unknowns[i]) {
			p.unknown(unknowns[i])
		}
	}
}

// collectPerson makes the atoms that a person has no address, and the like.
func (p *prover) collectPerson() {
	for _, name := range personal {
		if p.texts[name] != nil {
			p.atom(&expr.Node{Op: expr.Equal, Kind: expr.Bool, Text: name + " is empty", Facts: []string{name},
				Args: []*expr.Node{{Op: expr.FactOp, Name: name, Kind: expr.String, Facts: []string{name}}, {Op: expr.ValueOp, Kind: expr.String, Value: ""}}})
		}
	}
}

// personal are what a signed-in person has.
var personal = []string{"user.email", "user.subject", "user.issuer"}

// person states that they have it.
func (p *prover) person() {
	for _, name := range personal {
		if none := p.atoms[name+" is empty"]; none != nil {
			p.either(p.level["none"].lit(), none.lit().Not())
		}
	}
}

func (p *prover) reads(u Unknown) bool {
	return slices.ContainsFunc(p.m.Rules, func(r policy.ModelRule) bool { return u.readBy(&r) })
}

func (u Unknown) readBy(r *policy.ModelRule) bool {
	return slices.ContainsFunc(r.Reads.Facts, func(name string) bool { _, ok := u.Facts[name]; return ok })
}

// unknown returns the atoms that facts are as they are where they are not known.
func (p *prover) unknown(u Unknown) (atoms []*atom) {
	for _, name := range slices.Sorted(maps.Keys(u.Facts)) {
		fact, ok := p.m.Schema.Lookup(name)
		if !ok {
			continue
		}
		subject := &expr.Node{Op: expr.FactOp, Name: name, Kind: fact.Kind, Facts: []string{name}}
		if u.Facts[name] == false {
			atoms = append(atoms, p.atom(subject))
			continue
		}
		atoms = append(atoms, p.atom(&expr.Node{Op: expr.Equal, Kind: expr.Bool, Text: name + " is not known", Facts: subject.Facts,
			Args: []*expr.Node{subject, {Op: expr.ValueOp, Kind: fact.Kind, Value: u.Facts[name]}}}))
	}
	return atoms
}

// questions are the literals about all rules that are asked for, made before the circuit
// is finished.
type questions struct {
	*solver
	unknowns []Unknown
	rules    []asked
	roots    []z.Lit
	given    [][]z.Lit // by unknown: that it is not known; nil: no rule reads it
	blind    [][]bool  // by unknown and rule: it reads that, and does not consider it
	seen     map[z.Lit]bool
	out      []Condition
	late     bool
}

// asked is what is asked of one rule.
type asked struct {
	applies, spares z.Lit // spares: when and unless hold
	when, unless    *piece
	holding         []holding
	failing         []failing
}

// piece is a part of a condition: that it may hold, and that it may not.
type piece struct {
	node    *expr.Node
	may     z.Lit
	mayNot  z.Lit
	parts   []*piece
	literal bool // true or false as it is written
}

// holding is a literal of a condition, with the request that it makes a difference for.
type holding struct {
	unknown int
	literal expr.Literal
	unless  bool
	lits    []z.Lit
}

type failing struct {
	node   *expr.Node
	unless bool
	lit    z.Lit
}

func (p *prover) questions(unknowns []Unknown) *questions {
	q := &questions{unknowns: unknowns, seen: map[z.Lit]bool{}}
	for _, u := range unknowns {
		var given []z.Lit
		if p.reads(u) {
			given = p.given(u)
		}
		blind := make([]bool, len(p.m.Rules))
		for j := range p.m.Rules {
			blind[j] = given != nil && u.readBy(&p.m.Rules[j]) && !u.Considers(&p.m.Rules[j])
		}
		q.given, q.blind = append(q.given, given), append(q.blind, blind)
		q.roots = append(q.roots, given...)
	}
	p.person()
	for _, zone := range p.zones { // the roster has no zone that is none
		p.either(zone.text.other.Not(), zone.fails.Not())
	}
	for i := range p.m.Rules {
		q.rules = append(q.rules, p.ask1(q, i))
	}
	return q
}

// ask1 makes the literals about one rule.
func (p *prover) ask1(q *questions, i int) asked {
	r, c := &p.m.Rules[i], p.c
	when := p.trees[r.When]
	out := asked{applies: p.applies(*r), when: p.piece(when, q), spares: c.F}
	q.roots = append(q.roots, out.applies, p.match[i].Not())
	holds, exempt := p.dualRail(when), dualRail{c.F, c.T}
	var unless *expr.Node
	if r.Unless != nil {
		unless = p.trees[r.Unless]
		out.unless, exempt = p.piece(unless, q), p.dualRail(unless)
		out.spares = c.Ands(out.applies, holds.t, exempt.t)
		q.roots = append(q.roots, out.spares)
	}
	for _, x := range when.Literals() {
		p.fails1(q, &out, x, false, c.Ands(out.applies, holds.t.Not(), holds.f.Not()))
		p.holds1(q, &out, i, x, false, func(without dualRail) z.Lit {
			return c.Ands(p.match[i], c.Or(without.f, c.And(without.t, exempt.t)))
		})
	}
	if unless == nil {
		return out
	}
	for _, x := range unless.Literals() {
		p.fails1(q, &out, x, true, c.Ands(out.applies, holds.t, exempt.t.Not(), exempt.f.Not()))
		p.holds1(q, &out, i, x, true, func(without dualRail) z.Lit { return c.And(out.spares, without.t.Not()) })
	}
	return out
}

func (p *prover) fails1(q *questions, out *asked, x expr.Literal, unless bool, where z.Lit) {
	if !x.Fallible {
		return
	}
	r := p.dualRail(x.Node)
	lit := p.c.Ands(where, r.t.Not(), r.f.Not())
	out.failing = append(out.failing, failing{x.Node, unless, lit})
	q.roots = append(q.roots, lit)
}

// holds1 makes the literals for what holds where something is not known.
func (p *prover) holds1(q *questions, out *asked, i int, x expr.Literal, unless bool, matters func(without dualRail) z.Lit) {
	tree := p.trees[p.m.Rules[i].When]
	if unless {
		tree = p.trees[p.m.Rules[i].Unless]
	}
	for k, u := range q.unknowns {
		if q.given[k] == nil || !slices.ContainsFunc(x.Facts, func(name string) bool { _, ok := u.Facts[name]; return ok }) {
			continue
		}
		lits := []z.Lit{matters(p.lacking(tree, x))}
		q.roots = append(q.roots, lits[0])
		for _, j := range stricter(p.m.Rules, i, make([]bool, len(p.m.Rules))) {
			if q.blind[k][j] { // one that matches there by accident too is no answer
				continue
			}
			lits = append(lits, p.match[j].Not())
			q.roots = append(q.roots, p.match[j].Not())
		}
		out.holding = append(out.holding, holding{k, x, unless, append(lits, q.given[k]...)})
	}
}

// lacking is a condition in which a literal does not hold.
func (p *prover) lacking(n *expr.Node, x expr.Literal) dualRail {
	c := p.c
	switch {
	case n == x.Node:
		return p.truth(p.constant(x.Not))
	case n.Op == expr.Not:
		r := p.lacking(n.Args[0], x)
		return dualRail{r.f, r.t}
	case n.Op == expr.And:
		a, b := p.lacking(n.Args[0], x), p.lacking(n.Args[1], x)
		return dualRail{c.And(a.t, b.t), c.Or(a.f, b.f)}
	case n.Op == expr.Or:
		a, b := p.lacking(n.Args[0], x), p.lacking(n.Args[1], x)
		return dualRail{c.Or(a.t, b.t), c.And(a.f, b.f)}
	}
	return p.dualRail(n)
}

func (p *prover) piece(n *expr.Node, q *questions) *piece {
	r := p.dualRail(n)
	x := &piece{node: n, may: r.f.Not(), mayNot: r.t.Not(), literal: len(n.Facts) == 0}
	q.roots = append(q.roots, x.may, x.mayNot)
	if isConnective(n) {
		for _, a := range n.Args {
			x.parts = append(x.parts, p.piece(a, q))
		}
	}
	return x
}

// can reports whether there is a request for which all the literals hold. What a request
// that was found says of other pieces is not asked again.
func (q *questions) can(lits ...z.Lit) bool {
	if len(lits) == 1 && q.seen[lits[0]] {
		return true
	}
	switch q.solve(lits...) {
	case unsatisfiable:
		return false
	case satisfiable:
		for i := range q.rules {
			q.note(q.rules[i].when)
			q.note(q.rules[i].unless)
		}
	default:
		q.late = true
	}
	return true
}

func (q *questions) note(x *piece) {
	if x == nil {
		return
	}
	for _, m := range []z.Lit{x.may, x.mayNot} {
		if !q.seen[m] && q.value(m) {
			q.seen[m] = true
		}
	}
	for _, part := range x.parts {
		q.note(part)
	}
}

func (q *questions) add(c Condition) { q.out = append(q.out, c) }

func (q *questions) rule(i int) {
	a := &q.rules[i]
	if !q.can(a.applies) || !q.can(q.match[i]) {
		return // it is unreachable, and there is no more to say of it
	}
	reads := len(a.when.node.Facts) > 0 || a.unless != nil // without: it is written out as true, and meant
	if reads && !q.can(a.applies, q.match[i].Not()) {
		q.add(Condition{Remark: Always, Rule: i, Node: a.when.node, Facts: q.why(a.applies, a.when), NoValue: alwaysFails(a.when.node)})
		return // what its parts say does not matter
	}
	q.pieces(i, false, a.when)
	switch {
	case a.unless == nil:
	case !q.can(a.unless.may):
		q.add(Condition{Remark: NeverSpares, Rule: i, Unless: true, Node: a.unless.node, Facts: a.unless.node.Facts})
	case !q.can(a.spares):
		q.add(Condition{Remark: Spares, Rule: i, Unless: true, Node: a.unless.node, Facts: a.unless.node.Facts})
	default:
		q.pieces(i, true, a.unless)
	}
	for _, x := range a.failing {
		if q.can(x.lit) {
			if said := q.confirmFailure(i, x); said != "" {
				q.add(Condition{Remark: Fails, Rule: i, Unless: x.unless, Node: x.node, Facts: x.node.Facts, Error: said})
			}
		}
	}
	for _, x := range a.holding {
		if q.holdsUsually(x) && q.can(x.lits...) && q.confirmHolding(i, x) {
			q.add(Condition{Remark: HoldsUnknown, Rule: i, Unless: x.unless, Node: x.literal.Node, Facts: x.literal.Facts, Unknown: x.unknown})
		}
	}
}

// pieces looks for the largest parts that always hold, or never.
func (q *questions) pieces(i int, unless bool, x *piece) {
	for _, part := range x.parts {
		switch {
		case part.literal: // true, as it is written, is meant
		case !q.can(part.may):
			q.add(Condition{Remark: NeverPart, Rule: i, Unless: unless, Node: part.node, Facts: part.node.Facts})
		case !q.can(part.mayNot):
			q.add(Condition{Remark: AlwaysPart, Rule: i, Unless: unless, Node: part.node, Facts: part.node.Facts})
		default:
			q.pieces(i, unless, part)
		}
	}
}

// why names the facts for which a condition always holds.
func (q *questions) why(applies z.Lit, x *piece) (facts []string) {
	var arms []*piece
	var take func(x *piece)
	take = func(x *piece) {
		if x.node.Op == expr.Or {
			take(x.parts[0])
			take(x.parts[1])
			return
		}
		arms = append(arms, x)
	}
	take(x)
	assume := func(arms []*piece) bool {
		lits := []z.Lit{applies}
		for _, a := range arms {
			lits = append(lits, a.mayNot)
		}
		return q.can(lits...)
	}
	for i := 0; i < len(arms) && len(arms) > 1; {
		if fewer := slices.Delete(slices.Clone(arms), i, i+1); !assume(fewer) {
			arms = fewer
		} else {
			i++
		}
	}
	for _, a := range arms {
		facts = append(facts, a.node.Facts...)
	}
	slices.Sort(facts)
	return slices.Compact(facts)
}

// evaluate asks the production evaluator about a part of a condition. ok is false if it
// cannot be asked.
func (q *questions) evaluate(n *expr.Node, f *policy.Facts) (value, ok bool, err error) {
	text := n.Text
	if n.Op == expr.FactOp {
		text = n.Name
	}
	program, _ := q.m.Env.Compile(text)
	if program == nil {
		return false, false, nil
	}
	value, err = q.m.Holds(program, f)
	return value, true, err
}

// confirmFailure returns what the production evaluator says of the request that was
// found, or of one that differs from it in a fact of the part; "": it can evaluate them.
func (q *questions) confirmFailure(i int, x failing) string {
	program := q.m.Rules[i].When
	if x.unless {
		program = q.m.Rules[i].Unless
	}
	f := q.witness()
	if said := q.failure(program, &f); said != "" {
		return said
	}
	for _, name := range x.node.Facts {
		fact, _ := q.m.Schema.Lookup(name)
		if fact.Kind == expr.Bool || name == "session.level" || name == "request.purpose" {
			continue
		}
		before := q.m.Schema.Field(&f, fact).Interface()
		for _, value := range guesses(fact, before, x.node.Constants) {
			try := f
			q.m.Schema.Field(&try, fact).Set(reflect.ValueOf(value))
			if said := q.failure(program, &try); said != "" {
				return said
			}
		}
	}
	return ""
}

// failure returns why a condition cannot be evaluated about a request that can be; "": it
// can.
func (q *questions) failure(program *expr.Program, f *policy.Facts) string {
	if q.derive(f); !q.possible(f) {
		return ""
	}
	if _, err := q.m.Holds(program, f); err != nil {
		return err.Error()
	}
	return ""
}

// possible reports whether every text and number of a request is one that its fact can be.
func (q *questions) possible(f *policy.Facts) bool {
	for _, fact := range q.m.Schema.Facts() {
		if least, most, ok := vocabulary.Range(fact.Name); ok && fact.Kind == expr.Int {
			if v := q.m.Schema.Field(f, fact).Int(); v < least || v > most {
				return false
			}
		}
		if fact.Kind == expr.String && fact.Name != "ip.address" && fact.Name != "request.route" {
			if text := q.m.Schema.Field(f, fact).String(); text != "" && q.m.Words.Check(fact.Name, text) != nil {
				return false
			}
		}
	}
	return true
}

// holdsUsually reports whether a literal holds for an ordinary request about which this is
// not known.
func (q *questions) holdsUsually(x holding) bool {
	f := policy.Ordinary("verified")
	q.forget(&f, q.unknowns[x.unknown])
	value, ok, err := q.evaluate(x.literal.Node, &f)
	return ok && err == nil && value != x.literal.Not
}

// forget makes facts what they are where they are not known.
func (q *questions) forget(f *policy.Facts, u Unknown) {
	for name, value := range u.Facts {
		if fact, ok := q.m.Schema.Lookup(name); ok {
			field := q.m.Schema.Field(f, fact)
			field.Set(reflect.ValueOf(value).Convert(field.Type()))
		}
	}
}

// confirmHolding reports whether the production evaluator sees the request that was found
// as the solver does.
func (q *questions) confirmHolding(i int, x holding) bool {
	f := q.witness()
	q.forget(&f, q.unknowns[x.unknown])
	q.derive(&f)
	if !q.possible(&f) || len(q.mistaken(q.freeValues(), &f)) > 0 {
		return false
	}
	r := &q.m.Rules[i]
	when, err := q.m.Holds(r.When, &f)
	if err != nil || !when {
		return false
	}
	if !x.unless {
		return true
	}
	exempt, err := q.m.Holds(r.Unless, &f)
	return err == nil && exempt
}
