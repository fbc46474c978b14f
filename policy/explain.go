package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/policy/internal/expr"
)

// Explanation is a decision with everything it rests on.
type Explanation struct {
	Decision Decision `json:"decision"`
	// Facts is what was judged, in the shape of the audit log.
	Facts *Facts `json:"facts"`
	// Unknown says of facts, by name, why their value is not known. The caller sets it.
	Unknown map[string]string `json:"unknown,omitempty"`
	// Refused says why the proxy refuses the person before it asks the policy, as it does
	// with a person that an operator has blocked. The caller sets it; Decision is the policy's
	// own all the same.
	Refused  string        `json:"refused,omitempty"`
	Baseline []RuleOutcome `json:"baseline"`
	Rules    []RuleOutcome `json:"rules"` // in file order

	values []factValue // all facts, in the order of facts.go
}

// factValue is a fact and its value, spelled as an expression would.
type factValue struct{ name, value string }

// Outcome is how a rule came out.
type Outcome string

const (
	OutcomeMatched       Outcome = "matched"        // it has a say in the verdict
	OutcomeSatisfied     Outcome = "satisfied"      // it matched, and its question is answered already
	OutcomeNoEffect      Outcome = "no_effect"      // it matched, and changes nothing here
	OutcomeReported      Outcome = "reported"       // it matched, in report mode, and would have had a say
	OutcomeExcepted      Outcome = "excepted"       // its `unless` holds, or an exception for the person
	OutcomeNotMatched    Outcome = "not_matched"    // its `when` does not hold
	OutcomeNotApplicable Outcome = "not_applicable" // it was not asked
)

// RuleOutcome is what one rule did, and why.
type RuleOutcome struct {
	Name    string        `json:"name"`
	Line    int           `json:"line,omitempty"`
	Outcome Outcome       `json:"outcome"`
	Why     string        `json:"why,omitempty"`
	Action  Action        `json:"action"` // the rule's action; allow with a score
	Score   int           `json:"score,omitempty"`
	MaxAge  time.Duration `json:"max_age,omitempty"`
	Require []string      `json:"require,omitempty"`
	Report  bool          `json:"report,omitempty"`
	Enforce string        `json:"enforce,omitempty"` // for which people, if not for all
	Every   string        `json:"every,omitempty"`   // "4h0m0s +-2h0m0s, 09:00-18:00"
	Due     time.Time     `json:"due,omitzero"`      // with every: when the last assertion stops being an answer
	When    string        `json:"when,omitempty"`
	Unless  string        `json:"unless,omitempty"`
	// Exception is the one that suspends the rule for this request.
	Exception *Exception `json:"exception,omitempty"`
	// Conditions are the parts of when and unless, with their values.
	Conditions []Condition `json:"conditions,omitempty"`
	Reads      []string    `json:"reads,omitempty"` // names of the facts that the rule reads
}

// Condition is a part of an expression, and how it came out.
type Condition struct {
	Of    string `json:"of"` // "when" or "unless"
	Expr  string `json:"expr"`
	Value string `json:"value,omitempty"` // "true", "false", an error; "": not evaluated, it did not matter
}

// Explain judges one request as Decide does and says how each rule came out and why. The
// verdict is Decide's own, the outcomes come from the same evaluation of the same rules.
func (p *Policy) Explain(f *Facts) Explanation {
	e := Explanation{Decision: p.Decide(f)}
	f = p.complete(f)
	e.Facts = f
	shown := *f
	shown.Request.PathFolded = cmp.Or(f.Request.PathFolded, FoldPath(f.Request.Path)) // also if no rule reads it
	for _, fact := range p.schema.Facts() {
		e.values = append(e.values, factValue{fact.Name, p.schema.Format(&shown, fact)})
	}
	s := p.Partial(f)
	e.Baseline = p.explainBaseline(f, s, e.Decision)
	scope := p.env.Acquire(f)
	defer scope.Release()
	var other readings
	defer other.release()
	own := p.own(f)
	for i := range p.rules {
		e.Rules = append(e.Rules, p.explainRule(&p.rules[i], own[i], s.key, scope, &other, f, e.Decision))
	}
	return e
}

func (p *Policy) explainBaseline(f *Facts, s Partial, d Decision) []RuleOutcome {
	out := []RuleOutcome{
		{Name: baselineSignIn, Action: StepUp, Why: "session.level is " + f.Session.Level},
		{Name: baselineVerify, Action: StepUp, Why: "session.level is " + f.Session.Level},
		{Name: baselineGrant, Action: Block, Why: "the route's allow names this person, or is not asked here"},
		{Name: baselineData, Action: p.missing, Why: "no configured IP source is missing"},
	}
	if s.refused {
		out[2].Why = fmt.Sprintf("the allow of route %q does not name this person", f.Request.Route)
	}
	if s.missing {
		out[3].Why = "missing: " + strings.Join(f.IP.DataMissing, ", ")
	}
	for i := range out {
		out[i].Outcome = OutcomeNotMatched
		if slices.Contains(d.Rules, out[i].Name) {
			out[i].Outcome = OutcomeMatched
		} else if out[i].Name == baselineData && s.missing {
			out[i].Outcome = OutcomeNoEffect
		}
	}
	return out
}

func (p *Policy) explainRule(r *rule, own []*exception, k key, scope *scope, other *readings, f *Facts, d Decision) RuleOutcome {
	out := RuleOutcome{Name: r.name, Line: r.line, Action: r.action, Score: r.score, Require: r.require, Report: r.report, When: r.when.Text()}
	if r.action == StepUp {
		out.MaxAge = r.maxAge
	}
	if r.enforce != nil {
		out.Enforce = r.enforce.String()
	}
	if r.reverify != nil {
		out.Every = r.reverify.String()
		if k.level == levelVerified {
			out.Due = asserted(f).Add(p.drawn(r, f))
		}
	}
	if r.unless != nil {
		out.Unless = r.unless.Text()
	}
	out.Reads = r.reads.Facts
	if why := r.notApplicable(k); why != "" {
		out.Outcome, out.Why = OutcomeNotApplicable, why
		return out
	}
	o := p.evaluateReadings(r, own, f, scope, other)
	in, err := o.in, o.err
	whenProgram, unlessProgram := r.when, r.unless
	if in.path != "" { // the facts shown are the reading in which it matched
		whenProgram, unlessProgram = r.folded.when, r.folded.unless
	}
	if in.scope != nil {
		scope = in.scope
	}
	out.Conditions = steps(scope, "when", whenProgram)
	when, _ := whenProgram.Eval(scope)
	switch {
	case o.by != nil:
		out.Outcome, out.Why, out.Exception = OutcomeExcepted, o.by.text(), o.by.Exception
	case !o.matched && when:
		out.Outcome, out.Why = OutcomeExcepted, "its unless holds"
	case !o.matched:
		out.Outcome = OutcomeNotMatched
	default:
		out.Outcome, out.Why = p.outcome(r, k, f, d)
	}
	if in.address != "" {
		out.Why = strings.TrimPrefix(out.Why+"; ", "; ") + "it holds for " + in.address + ", which is a reading of the address"
	}
	if in.path != "" {
		out.Why = strings.TrimPrefix(out.Why+"; ", "; ") + "it matches the path as " + in.path + ", which some tools take it for"
	}
	if r.unless != nil && (when || err != nil) {
		out.Conditions = append(out.Conditions, steps(scope, "unless", unlessProgram)...)
	}
	if err != nil {
		out.Why = strings.TrimPrefix(out.Why+"; ", "; ") + "it could not be evaluated, so it counts as matching: " + err.Error()
	}
	return out
}

// outcome says what a rule that matched did.
func (p *Policy) outcome(r *rule, k key, f *Facts, d Decision) (Outcome, string) {
	open := unanswered(f, p.question(r, f))
	switch {
	case p.reports(r, f):
		why := "it is in report mode"
		if !r.report {
			why = "it is enforced for others (" + r.enforce.String() + ")"
		}
		if slices.ContainsFunc(d.Reported, func(w Reported) bool { return w.Rule == r.name }) {
			return OutcomeReported, why
		}
		outcome, silent := p.silent(r, k, f, d)
		return outcome, why + ", and there is nothing to report: " + silent
	case slices.Contains(d.Rules, r.name):
		if r.action == StepUp {
			return OutcomeMatched, open
		}
		if r.score > 0 {
			return OutcomeMatched, fmt.Sprintf("the score is %d", d.Score)
		}
		return OutcomeMatched, ""
	}
	return p.silent(r, k, f, d)
}

// silent says why a rule that matched has no say.
func (p *Policy) silent(r *rule, k key, f *Facts, d Decision) (Outcome, string) {
	switch {
	case r.score > 0:
		return OutcomeNoEffect, fmt.Sprintf("the score is %d, and that is below the thresholds or answered by the last passkey assertion", d.Score)
	case k.purpose == signIn || k.purpose == stepUp:
		return OutcomeNoEffect, "the person is about to prove themselves; only what blocks matters"
	default:
		return OutcomeSatisfied, fmt.Sprintf("a passkey assertion %s ago answers it%s", f.Session.VerifiedAge.Round(time.Second), p.next(r, f))
	}
}

func steps(scope *scope, of string, p *expr.Program) []Condition {
	steps, _ := p.Trace(scope) // its error, if any, is the value of a step
	out := make([]Condition, len(steps))
	for i, s := range steps {
		out[i] = Condition{of, s.Expr, s.Value}
	}
	return out
}

// Text returns the explanation for a terminal. What the author of the policy wrote is
// printed without what a terminal would obey: they need not be who reads it.
func (e Explanation) Text() string {
	var b strings.Builder
	d := e.Decision
	fmt.Fprintf(&b, "%s\n", e.verdict())
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-9s %s\n", name, value)
		}
	}
	line("refused", Printable(e.Refused))
	line("rules", strings.Join(d.Rules, ", "))
	line("reasons", Printable(strings.Join(d.Reasons, " / ")))
	if d.Action == StepUp && d.MaxAge > 0 {
		line("max age", d.MaxAge.String())
	}
	line("require", strings.Join(d.Require, ", "))
	if d.Score > 0 {
		line("score", fmt.Sprint(d.Score))
	}
	for _, r := range d.Reported {
		line("reported", r.Rule+" (would "+r.Action.String()+")")
	}
	for _, x := range d.Excepted {
		line("excepted", x.Text())
	}
	b.WriteString("\nfacts\n")
	for _, f := range e.values {
		fmt.Fprintf(&b, "  %-26s %s%s\n", f.name, f.value, e.unknown(f.name))
	}
	b.WriteString("\nbaseline\n")
	for _, r := range e.Baseline {
		fmt.Fprintf(&b, "  %-15s %s: %s\n", r.Outcome, r.Name, e.why(r))
	}
	b.WriteString("\nrules\n")
	for _, r := range e.Rules {
		e.write(&b, r)
	}
	return b.String()
}

// verdict is what the person meets.
func (e Explanation) verdict() string {
	if e.Refused == "" {
		return e.Decision.Action.String()
	}
	return fmt.Sprintf("%s (the policy alone: %s)", Block, e.Decision.Action)
}

// why is why a rule of the baseline came out so. A route that does not name a person may
// name a group of theirs that is not known here.
func (e Explanation) why(r RuleOutcome) string {
	if r.Name != baselineGrant || r.Outcome != OutcomeMatched || e.Unknown["user.groups"] == "" {
		return r.Why
	}
	return r.Why + ", but it may name a group of theirs: user.groups is not known" + e.unknown("user.groups")
}

// unknown is what stands beside the value of a fact that is not known.
func (e Explanation) unknown(fact string) string {
	if why := e.Unknown[fact]; why != "" {
		return "   (" + Printable(why) + ")"
	}
	return ""
}

func (e Explanation) write(b *strings.Builder, r RuleOutcome) {
	does := r.Action.String()
	switch {
	case r.Score > 0:
		does = fmt.Sprintf("score %d", r.Score)
	case r.Every != "":
		does += " every " + strings.Join(append([]string{r.Every}, r.Require...), " ")
	case r.Action == StepUp:
		does += " " + strings.Join(append([]string{r.MaxAge.String()}, r.Require...), " ")
	}
	if r.Report {
		does += ", report only"
	}
	if r.Enforce != "" {
		does += ", enforced for " + r.Enforce
	}
	fmt.Fprintf(b, "  %-15s %s (line %d: %s)", r.Outcome, r.Name, r.Line, does)
	if r.Why != "" {
		fmt.Fprintf(b, ": %s", r.Why)
	}
	b.WriteByte('\n')
	for _, c := range r.Conditions {
		value := c.Value
		if value == "" {
			value = "-"
		}
		fmt.Fprintf(b, "    %-7s %-7s %s\n", c.Of, value, c.Expr)
	}
	if r.Outcome == OutcomeNotApplicable {
		return
	}
	for _, f := range e.values {
		if !slices.Contains(r.Reads, f.name) {
			continue
		}
		fmt.Fprintf(b, "    %-7s %s = %s%s\n", "", f.name, f.value, e.unknown(f.name))
	}
}
