package prove

import (
	"github.com/go-air/gini/logic"
	"github.com/go-air/gini/z"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

// theory names what is known of how atoms over one fact hang together. Every kind can be
// left out (by tests, which then have to fail): that only makes the prover know less.
type theory string

const (
	intervals theory = "intervals" // a number lies in one of the intervals that constants cut
	sets      theory = "sets"      // a text is at most one of the constants it is compared with
	enums     theory = "enums"     // and one of those it can be
	patterns  theory = "patterns"  // startsWith() and the like are known for constants
	prefixes  theory = "prefixes"  // and texts that begin alike
	networks  theory = "networks"  // an address lies in networks that contain one another or do not
	entries   theory = "entries"   // a list that has an entry is not empty, and as long as it has entries
	relations theory = "relations" // a fact that is an entry of a list fact, or equal to another
	knowledge theory = "knowledge" // facts that follow from others
)

// dualRail is a condition of Kleene's three-valued logic (S. C. Kleene, Introduction to
// Metamathematics, 1952, section 64) as two literals, one for true and one for false. If
// neither holds, the condition cannot be evaluated.
type dualRail struct{ t, f z.Lit }

// atom is a condition that is not made of others, once the circuit can be built.
type atom struct {
	node *expr.Node
	make func() dualRail
	made *dualRail
	// free: its value follows from nothing that is known here, at least not always.
	free bool
}

// prover turns a policy into a circuit. First every condition is visited (collect), so
// that all constants are known; then each fact gets its variables (build); then formulas
// are made.
type prover struct {
	m       *policy.Model
	without map[theory]bool // for tests
	c       *logic.C
	must    []z.Lit   // hold for every request
	clauses [][]z.Lit // likewise
	failed  error

	trees   map[*expr.Program]*expr.Node
	atoms   map[string]*atom // by text
	order   []*atom
	flags   map[string]z.Lit // bool facts
	numbers map[string]*number
	texts   map[string]*text
	lists   map[string]*list
	links   []link
	zones   []zone
	network *network

	level, purpose, class map[string]*atom
	route                 map[string]*atom  // by rule
	clocks                map[string]*clock // of rules with hours, by name
	members               map[*policy.Enforcement]*use
	nobody                [2]*atom // the person has no subject, and no address; nil: it does not matter
	match                 []z.Lit  // of rules
	verdicts              map[verdictKey][2]z.Lit
	certain               []z.Lit // see undrawn
	goals                 []goal  // of invariants
}

// goal is a request that breaks an invariant: both hold.
type goal struct {
	when   z.Lit // and what is assumed where the condition does not say
	broken z.Lit
	// written is broken for the request as written alone, where that differs: see block.go.
	written z.Lit
	// unruled: without any rule it would be broken too.
	unruled z.Lit
}

func newProver(m *policy.Model, without map[theory]bool) *prover {
	return &prover{m: m, c: logic.NewC(), without: without, trees: map[*expr.Program]*expr.Node{}, atoms: map[string]*atom{},
		flags: map[string]z.Lit{}, numbers: map[string]*number{}, texts: map[string]*text{}, lists: map[string]*list{},
		level: map[string]*atom{}, purpose: map[string]*atom{}, class: map[string]*atom{}, route: map[string]*atom{},
		clocks: map[string]*clock{}, members: map[*policy.Enforcement]*use{}, verdicts: map[verdictKey][2]z.Lit{}}
}

func (p *prover) knows(t theory) bool { return !p.without[t] }

// always states what holds for every request.
func (p *prover) always(m z.Lit) { p.must = append(p.must, m) }

// either states that one of the literals holds.
func (p *prover) either(lits ...z.Lit) { p.clauses = append(p.clauses, lits) }

// atMostOne states that no two of the literals hold.
func (p *prover) atMostOne(lits []z.Lit) {
	if len(lits) < 7 {
		for i, a := range lits {
			for _, b := range lits[:i] {
				p.either(a.Not(), b.Not())
			}
		}
		return
	}
	var before z.Lit // one of those so far holds
	for i, m := range lits {
		upTo := p.c.Lit()
		p.either(m.Not(), upTo)
		if i > 0 {
			p.either(before.Not(), upTo)
			p.either(before.Not(), m.Not())
		}
		before = upTo
	}
}

func (p *prover) fail(err error) {
	if p.failed == nil {
		p.failed = err
	}
}

// collect visits every condition there is, and what the engine itself asks about.
func (p *prover) collect() {
	for _, v := range []string{"none", "signed_in", "verified"} {
		p.level[v] = p.is("session.level", v)
	}
	for _, v := range []string{policy.PurposeAccess, policy.PurposeSignIn, policy.PurposeEnroll, policy.PurposeStepUp} {
		p.purpose[v] = p.is("request.purpose", v)
	}
	for _, v := range []string{"none", "synced", "unattested", "attested"} {
		p.class[v] = p.is("credential.class", v)
	}
	p.route[""] = p.is("request.route", "")
	for _, name := range []string{"credential.backup_eligible", "credential.backed_up", "session.verified_here", "session.ua_changed", "session.tls_changed"} {
		p.flag(name)
	}
	p.list("ip.data_missing")
	p.older(p.m.Scored.MaxAge)
	p.older(p.m.MissingAsks.MaxAge)
	p.fromFuture()
	for i := range p.m.Rules {
		r := &p.m.Rules[i]
		p.collectProgram(r.When)
		p.collectProgram(r.Unless)
		for _, x := range r.Exceptions {
			p.collectProgram(x)
		}
		if r.Routes != nil {
			p.route[r.Name] = p.is("request.route", r.Routes...)
		}
		p.older(r.Asks.MaxAge)
		if a := r.Reverify; a != nil {
			p.older(a.Earliest)
			p.older(a.Latest)
		}
		p.collectClock(r)
		p.collectEnforcement(r.Enforce)
	}
	for _, v := range p.m.Invariants {
		p.collectProgram(v.When)
	}
	if _, ok := p.flags["ip.internal"]; ok {
		p.flag("ip.private") // it follows
	}
}

func (p *prover) collectProgram(program *expr.Program) {
	if program == nil || p.trees[program] != nil {
		return
	}
	p.trees[program] = program.Tree()
	p.visit(p.trees[program])
}

// visit finds the atoms of a condition.
func (p *prover) visit(n *expr.Node) {
	if isConnective(n) {
		for _, a := range n.Args {
			p.visit(a)
		}
		return
	}
	p.atom(n)
}

// isConnective reports whether a condition is made of other conditions.
func isConnective(n *expr.Node) bool {
	switch n.Op {
	case expr.And, expr.Or, expr.Not, expr.If:
		return true
	case expr.Equal, expr.NotEqual:
		return n.Args[0].Kind == expr.Bool && n.Args[1].Kind == expr.Bool
	}
	return false
}

// dualRail makes the circuit of a condition. As in CEL, `false && x` is false and `true
// || x` true even if x cannot be evaluated.
func (p *prover) dualRail(n *expr.Node) dualRail {
	if p.c.Len() > maxNodes {
		p.fail(errBounds)
		return p.truth(p.c.F)
	}
	var a []dualRail
	if isConnective(n) {
		for _, x := range n.Args {
			a = append(a, p.dualRail(x))
		}
	}
	c := p.c
	switch {
	case a == nil:
		return p.atom(n).dualRail()
	case n.Op == expr.And:
		return dualRail{c.And(a[0].t, a[1].t), c.Or(a[0].f, a[1].f)}
	case n.Op == expr.Or:
		return dualRail{c.Or(a[0].t, a[1].t), c.And(a[0].f, a[1].f)}
	case n.Op == expr.Not:
		return dualRail{a[0].f, a[0].t}
	case n.Op == expr.If:
		return dualRail{c.Or(c.And(a[0].t, a[1].t), c.And(a[0].f, a[2].t)), c.Or(c.And(a[0].t, a[1].f), c.And(a[0].f, a[2].f))}
	}
	same, other := c.Or(c.And(a[0].t, a[1].t), c.And(a[0].f, a[1].f)), c.Or(c.And(a[0].t, a[1].f), c.And(a[0].f, a[1].t))
	if n.Op == expr.NotEqual {
		return dualRail{other, same}
	}
	return dualRail{same, other}
}

// truth is the dualRail of a condition that can always be evaluated.
func (p *prover) truth(m z.Lit) dualRail { return dualRail{m, m.Not()} }

func (a *atom) dualRail() dualRail {
	if a.made == nil {
		r := a.make()
		a.made = &r
	}
	return *a.made
}

// lit is the atom as a literal, for those that can always be evaluated.
func (a *atom) lit() z.Lit { return a.dualRail().t }
