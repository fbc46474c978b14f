package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
	"sallyport/policy/strictyaml"
)

// Exceptions is a file of exceptions: rules that are suspended for one person each, until
// a day.
//
// An exception that holds is as if the `unless` of the rule held. It can do nothing else:
// the baseline and the grants of routes are no rules, and no file names them.
type Exceptions struct {
	Name   string // for messages
	Source []byte
	// Now is when the file is compiled: what has expired by then is never asked again, and
	// Most counts from then. Zero: all of them are asked, each at the time of its request.
	Now time.Time
	// Most is how far ahead an exception may end; 0: there is no bound.
	Most time.Duration
	// Past: what has expired by Now is asked, too, at the time of its request. It is for
	// recorded decisions, and is no more of a mistake than without it.
	Past bool
	// AnyRules: a rule that the policy does not have is no mistake. It is for policies that
	// the file was not written for: recorded ones, candidates, the one in shadow.
	AnyRules bool
}

// Exception is one entry of the file.
type Exception struct {
	ID         string         `json:"id"`
	User       string         `json:"user"`
	Subject    string         `json:"subject,omitempty"` // ISSUER|SUBJECT; "": any account that has the address
	Rules      []string       `json:"rules"`
	Routes     []string       `json:"routes,omitempty"`    // empty: everywhere
	Networks   []netip.Prefix `json:"networks,omitempty"`  // empty: from everywhere
	Countries  []string       `json:"countries,omitempty"` // empty: from everywhere
	From       time.Time      `json:"from,omitzero"`
	Until      time.Time      `json:"until"` // the first moment at which it no longer holds
	ApprovedBy string         `json:"approved_by"`
	Why        string         `json:"why"`
	Line       int            `json:"line,omitempty"`
}

// Excepted says which exception suspended a rule that would have had a say.
type Excepted struct {
	Rule       string    `json:"rule"`
	Exception  string    `json:"exception"` // its id
	Until      time.Time `json:"until"`
	ApprovedBy string    `json:"approved_by"`
	Why        string    `json:"why"`
}

// Text says it in a line for a terminal.
func (x *Excepted) Text() string {
	return fmt.Sprintf("%s, by %s until %s, approved by %s: %s", x.Rule, x.Exception, x.Until.UTC().Format(time.RFC3339), x.ApprovedBy, Printable(x.Why))
}

func (e *Exception) text() string {
	return fmt.Sprintf("the exception %s holds until %s, approved by %s: %s", e.ID, e.Until.UTC().Format(time.RFC3339), e.ApprovedBy, Printable(e.Why))
}

// exception is a compiled entry. Its condition is all that it means: the evaluator picks
// the entries of a person by an index, and asks it; package prove reasons about it.
type exception struct {
	*Exception
	condition *expr.Program
}

// ownExceptions are those of one person, by the index of the rule.
type ownExceptions map[int][]*exception

// How an exception stands at a moment.
const (
	ExceptionInForce = "in force"
	ExceptionExpired = "expired"
	ExceptionToCome  = "to come"
)

// State says how the exception stands at a moment.
func (e *Exception) State(at time.Time) string {
	switch {
	case !at.Before(e.Until):
		return ExceptionExpired
	case at.Before(e.From):
		return ExceptionToCome
	}
	return ExceptionInForce
}

// ParseMoment reads a day of UTC or a time (RFC 3339), as an exception gives them. With
// end, a day stands for the moment at which it is over; else for the one at which it begins.
func ParseMoment(text string, end bool) (time.Time, error) { return file.ParseMoment(text, end) }

// Exceptions are the entries of the file, in its order, those that have expired too.
func (p *Policy) Exceptions() []*Exception { return p.exceptions }

// ExceptionsHash is [HashExceptions] of the file of exceptions; "" without one.
func (p *Policy) ExceptionsHash() string { return p.exceptionsHash }

// Unexcepted returns the policy without its exceptions, as its tests are judged. It is at
// least as strict.
func (p *Policy) Unexcepted() *Policy {
	if p.excepted == nil && p.exceptionsHash == "" {
		return p
	}
	q := *p
	q.exceptions, q.excepted, q.exceptionsHash = nil, nil, ""
	return &q
}

// ReadExceptions reads a file of exceptions by itself: its error, [Diagnostics], is about
// what is wrong with it under any policy.
func ReadExceptions(x Exceptions) ([]*Exception, error) {
	d, err := file.ReadExceptions(x.Name, x.Source)
	if err != nil {
		return nil, err
	}
	x.AnyRules = true
	b := &builder{Document: d, words: Config{}.Vocabulary()}
	list := b.exceptions(&Policy{}, &x)
	return list, d.Err()
}

// except compiles a file of exceptions into p.
func (b *builder) except(p *Policy, x *Exceptions) error {
	d, err := file.ReadExceptions(x.Name, x.Source)
	if err != nil {
		return err
	}
	in := &builder{Document: d, config: b.config, words: b.words}
	list := in.exceptions(p, x)
	p.exceptions, p.exceptionsHash = list, HashExceptions(x.Source)
	for i, e := range list {
		if !x.Past && !x.Now.IsZero() && !x.Now.Before(e.Until) {
			continue
		}
		condition := in.exceptionCondition(p, d.Exceptions[i], e)
		for rule := range p.rules {
			if condition == nil || !slices.Contains(e.Rules, p.rules[rule].name) {
				continue
			}
			if p.excepted == nil {
				p.excepted = map[string]ownExceptions{}
			}
			if p.excepted[e.User] == nil {
				p.excepted[e.User] = ownExceptions{}
			}
			p.excepted[e.User][rule] = append(p.excepted[e.User][rule], &exception{e, condition})
		}
	}
	return d.Err()
}

// exceptions checks the entries. It returns one for each of the document.
func (b *builder) exceptions(p *Policy, x *Exceptions) (list []*Exception) {
	ids := map[string]bool{}
	for _, n := range b.Document.Exceptions {
		e := &Exception{ID: n.ID, From: n.From, Until: n.Until, Why: n.Why, Line: n.Node.Line}
		expired := !x.Now.IsZero() && !x.Now.Before(e.Until)
		e.User = b.person(n.User, "user", "an exception is for one person")
		e.ApprovedBy = b.person(n.ApprovedBy, "approved_by", "one person answers for an exception")
		if e.User != "" && mailbox(e.User) == mailbox(e.ApprovedBy) {
			b.At(n.ApprovedBy, Diagnostic{Message: "a person cannot approve their own exception", Expected: "the address of another person"})
		}
		if n.Subject != nil {
			if e.Subject = n.Subject.Value; e.Subject != "" && authn.ParseSubject(e.Subject).IsZero() {
				b.At(n.Subject, Diagnostic{Message: fmt.Sprintf("subject %q names no account", e.Subject), Expected: "ISSUER|SUBJECT, which `sallyport people list --json` has; or no subject"})
			}
		}
		for _, rule := range n.Rules {
			e.Rules = append(e.Rules, rule.Value)
		}
		for _, route := range n.Routes {
			e.Routes = append(e.Routes, route.Value)
			if !expired {
				b.at1(route, b.words.Route(route.Value))
			}
		}
		for _, country := range n.Countries {
			e.Countries = append(e.Countries, country.Value)
			b.at1(country, b.words.Check("ip.country", country.Value))
		}
		for _, network := range n.Networks {
			prefix, err := ParseNetwork(network.Value)
			switch {
			case err != nil:
				b.At(network, Diagnostic{Message: err.Error()})
			case prefix.Bits() == 0:
				b.At(network, Diagnostic{Message: fmt.Sprintf("%s is every address there is", network.Value), Expected: "the networks that the person calls from; or no networks"})
			}
			e.Networks = append(e.Networks, prefix)
		}
		if len(e.Countries) > 0 && !expired {
			b.at1(n.Countries[0], b.words.Provided("ip.country"))
		}
		if most := x.Now.Add(x.Most); x.Most > 0 && !x.Now.IsZero() && e.Until.After(endOfDay(most)) {
			b.At(n.UntilNode, Diagnostic{Message: fmt.Sprintf("the exception ends more than %d days from now", int(x.Most/(24*time.Hour))),
				Expected: "until " + most.UTC().Format(time.DateOnly) + " or earlier (policy_exceptions_max_days); what lasts belongs into the rule's `unless`"})
		}
		if e.ID == "" {
			e.ID = e.DerivedID()
		}
		for _, rule := range n.Rules {
			if d := p.noRule(rule.Value, e, x.AnyRules || expired); d != nil {
				b.At(rule, *d)
			}
		}
		if ids[e.ID] {
			at := n.Node
			if n.IDNode != nil {
				at = n.IDNode
			}
			b.At(at, Diagnostic{Message: fmt.Sprintf("there is another exception %s", e.ID), Expected: "each exception once; or an id of its own"})
		}
		ids[e.ID] = true
		list = append(list, e)
	}
	return list
}

// endOfDay is when the day of a moment is over, as `until` counts days.
func endOfDay(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour) }

// person reads the address of one person.
func (b *builder) person(n *file.Node, key, one string) string {
	email, err := authn.ParseEmail(n.Value)
	d := Diagnostic{Message: fmt.Sprintf("%s is not an e-mail address: %s", key, one), Expected: "a whole address in lower case, in ASCII, such as ana@corp.example"}
	switch {
	case n.Value == "":
		return "" // said already
	case strings.ContainsAny(n.Value, "*?") || err == nil && strings.HasPrefix(n.Value, "@"):
		d.Message = fmt.Sprintf("%s cannot be a pattern: %s", key, one)
		d.Expected = "a whole address; for several people a rule's `unless`, or an exception each"
	case err == nil && string(email) == n.Value:
		return n.Value
	case err == nil:
		d.Message, d.Suggestion = fmt.Sprintf("user.email is never %q", n.Value), string(email)
	}
	b.At(n, d)
	return ""
}

// mailbox is an address without what mail servers commonly ignore in it, to find a person
// who approves themselves by another spelling.
func mailbox(address string) string {
	local, domain, _ := strings.Cut(address, "@")
	local, _, _ = strings.Cut(local, "+")
	return strings.ReplaceAll(local, ".", "") + "@" + domain
}

// noRule says so if there is no rule of a name, or none that can be suspended.
func (p *Policy) noRule(name string, e *Exception, any bool) *Diagnostic {
	if strings.HasPrefix(name, "baseline") {
		return &Diagnostic{Message: fmt.Sprintf("%s holds for every person, and nothing suspends it", name),
			Expected: "a rule of the policy; who may open a route is said by its allow"}
	}
	if any {
		return nil
	}
	var names []string
	for _, r := range p.rules {
		if r.name == name {
			return nil
		}
		names = append(names, r.name)
	}
	end := "sallyport policy except end " + e.ID
	if len(e.Rules) > 1 {
		end += " --rule " + name
	}
	return &Diagnostic{Message: fmt.Sprintf("the policy has no rule %q, which the exception %s suspends", name, e.ID), Suggestion: strictyaml.Nearest(name, names),
		Expected: "the name of a rule, as an exception names each of them; if the rule is to go, end the exception first: `" + end + "`"}
}

// DerivedID is the id of an entry without one. It is made from what the exception
// suspends, when and where: the same text has the same one in any place of the file.
func (e *Exception) DerivedID() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %q %d %d", e.User, sorted(e.Rules), sorted(e.Routes), e.Networks, sorted(e.Countries), e.From.Unix(), e.Until.Unix())
	if e.Subject != "" {
		fmt.Fprintf(h, " %q", e.Subject)
	}
	return "x" + hex.EncodeToString(h.Sum(nil)[:4])
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// exceptionCondition is all that an entry means, as a condition.
func (b *builder) exceptionCondition(p *Policy, n *file.Exception, e *Exception) *expr.Program {
	if e.User == "" || b.Err() != nil {
		return nil
	}
	at := func(t time.Time) string { return `timestamp("` + t.UTC().Format(time.RFC3339Nano) + `")` }
	parts := []string{"user.email == " + strconv.Quote(e.User), "time.now < " + at(e.Until)}
	if e.Subject != "" { // the address may be another person's by now
		s := authn.ParseSubject(e.Subject)
		parts = append(parts, "user.issuer == "+strconv.Quote(s.Issuer), "user.subject == "+strconv.Quote(s.ID))
	}
	if !e.From.IsZero() {
		parts = append(parts, "time.now >= "+at(e.From))
	}
	if len(e.Routes) > 0 {
		parts = append(parts, "request.route in "+quoted(e.Routes))
	}
	if len(e.Countries) > 0 {
		parts = append(parts, "ip.country in "+quoted(e.Countries))
	}
	if len(e.Networks) > 0 {
		var networks []string
		for _, p := range e.Networks {
			networks = append(networks, p.String())
		}
		parts = append(parts, "ip.within("+quoted(networks)+")")
	}
	program, problems := p.env.Compile(strings.Join(parts, " && "))
	for _, q := range problems {
		b.At(n.Node, Diagnostic{Message: "the exception cannot be followed: " + q.Message, Expected: q.Expected})
	}
	return program
}

func quoted(texts []string) string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = strconv.Quote(t)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// own are the exceptions of the person of f; nil for nearly all people.
func (p *Policy) own(f *Facts) ownExceptions {
	if p.excepted == nil {
		return nil
	}
	return p.excepted[f.User.Email]
}

// holding returns the first of the exceptions that holds, or nil.
func holding(own []*exception, scope *scope) *exception {
	for _, x := range own {
		if holds, err := x.condition.Eval(scope); err == nil && holds {
			return x
		}
	}
	return nil
}

// exceptionReads are the facts that the exceptions from a rule read.
func (p *Policy) exceptionReads(rule int) (facts []string) {
	for _, own := range p.excepted {
		for _, x := range own[rule] {
			facts = append(facts, x.condition.Reads()...)
		}
	}
	return facts
}

// exceptionConditions are those of the exceptions from a rule, sorted.
func (p *Policy) exceptionConditions(rule int) (out []*expr.Program) {
	for _, user := range slices.Sorted(maps.Keys(p.excepted)) {
		for _, x := range p.excepted[user][rule] {
			out = append(out, x.condition)
		}
	}
	return out
}
