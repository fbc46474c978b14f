package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
	"sallyport/policy/prove"
)

// knowns are the facts that say whether the others of their group are known. Where they
// are not, those are zero, and a comparison with zero holds.
var knowns = map[string]string{"seen": "seen.known", "travel": "travel.known", "address": "address.known", "device": "device.known",
	"activity": "activity.known", "browser": "browser.timezone_known", "handoff": "handoff.known"}

// unknowable is what a fact is where it is not known, and how a condition asks for that.
type unknowable struct {
	code  string
	facts prove.Unknown
	// guard is a condition that it is known.
	guard string
	// blocks: only a rule that blocks is a finding, or whose score does, or an exception;
	// one that asks is as it should be.
	blocks bool
	says   string
}

// unknowables are what a condition may hold by accident for.
var unknowables = func() []unknowable {
	out := []unknowable{
		{code: "country-without-zz", facts: prove.Unknown{Name: "ip.country", Facts: map[string]any{"ip.country": "ZZ"}}, guard: `ip.country != "ZZ"`, says: `the country is not known ("ZZ")`},
		{code: "unknown-holds", facts: prove.Unknown{Name: "ip.asn", Facts: map[string]any{"ip.asn": int64(0)}}, guard: "ip.asn != 0", blocks: true, says: "the autonomous system is not known (ip.asn is 0)"},
		{code: "unknown-holds", facts: prove.Unknown{Name: "ip.subdivisions", Facts: map[string]any{"ip.subdivisions": []string{}}}, guard: "size(ip.subdivisions) > 0", blocks: true, says: "the region is not known (ip.subdivisions is empty)"},
		{code: "unknown-holds", facts: prove.Unknown{Name: "user.countries", Facts: map[string]any{"user.countries": []string{}}}, guard: "size(user.countries) > 0", blocks: true, says: "a person has declared no country (user.countries is empty)"},
		{code: "unknown-holds", facts: prove.Unknown{Name: "ip.org", Facts: map[string]any{"ip.org": ""}}, guard: `ip.org != ""`, blocks: true, says: `the organisation is not known (ip.org is "")`},
		{code: "unknown-holds", facts: prove.Unknown{Name: "ip.provider", Facts: map[string]any{"ip.provider": ""}}, guard: `ip.provider != ""`, blocks: true, says: `no source says whose VPN or proxy it is, or it is none (ip.provider is "")`},
		{code: "unknown-holds", facts: prove.Unknown{Name: "tls.ja4", Facts: map[string]any{"tls.ja4": ""}}, guard: `tls.ja4 != ""`, blocks: true, says: `the fingerprint is not known (tls.ja4 is "")`},
		{code: "unknown-holds", facts: prove.Unknown{Name: "user.time_zone", Facts: map[string]any{"user.time_zone": ""}}, guard: `user.time_zone != ""`, blocks: true, says: `the time zone is not known (user.time_zone is "")`},
		{code: "unknown-holds", facts: prove.Unknown{Name: "user.started_days", Facts: map[string]any{"user.started_days": int64(-1)}}, guard: "user.started_days >= 0", blocks: true, says: "the first day is not known (user.started_days is -1)"},
	}
	out = append(out,
		unknowable{code: "unknown-holds", facts: prove.Unknown{Name: "ip.region", Facts: map[string]any{"ip.region": ""}}, guard: `ip.region != ""`, blocks: true, says: `the region of the address is not known (ip.region is "")`},
		unknowable{code: "unknown-holds", facts: prove.Unknown{Name: "user.region", Facts: map[string]any{"user.region": ""}}, guard: `user.region != ""`, blocks: true, says: `the roster does not say the person's region (user.region is "")`},
		unknowable{code: "unknown-holds", facts: prove.Unknown{Name: "user.devices_30d", Facts: map[string]any{"user.devices_30d": int64(-1)}}, guard: "user.devices_30d >= 0", blocks: true, says: "the history cannot be read (user.devices_30d is -1)"},
		unknowable{code: "unknown-holds", facts: prove.Unknown{Name: "user.home_km", Facts: map[string]any{"user.home_km": int64(-1)}}, guard: "user.home_km >= 0", blocks: true, says: "it is not known where the person lives, or where the address is (user.home_km is -1)"},
		unknowable{code: "unknown-holds", facts: prove.Unknown{Name: "activity.usual_hours", Facts: map[string]any{"activity.usual_hours": int64(-1)}}, guard: "activity.usual_hours >= 0", blocks: true, says: "there is not enough history to say what is usual (activity.usual_hours is -1)"})
	for _, group := range policy.FactSchema().Groups() {
		known := knowns[group]
		if known == "" {
			continue
		}
		u := unknowable{code: "unknown-holds", facts: prove.Unknown{Name: known, Facts: map[string]any{}}, guard: known}
		for _, fact := range policy.FactSchema().Facts() {
			own := slices.ContainsFunc(out, func(o unknowable) bool { return o.facts.Name == fact.Name })
			if fact.Group == group && !own { // activity.usual_hours is not zero then
				u.facts.Facts[fact.Name] = fact.Kind.Zero()
			}
		}
		out = append(out, u)
	}
	return out
}()

// conditions reports conditions that say nothing, that cannot be evaluated, or that hold
// by accident.
func (l *linter) conditions() {
	var unknowns []prove.Unknown
	for _, u := range unknowables {
		unknowns = append(unknowns, u.facts)
	}
	found, err := prove.Conditions(l.policy, unknowns)
	always := map[int]bool{}
	for i, c := range found {
		switch c.Remark {
		case prove.Always:
			always[c.Rule] = true
			l.always(c)
		case prove.AlwaysPart, prove.NeverPart, prove.NeverSpares, prove.Spares:
			l.dead(c)
		case prove.Fails:
			l.fails(c, alike(found, i, sameGuard))
		case prove.HoldsUnknown:
			if same := alike(found, i, sameUnknown); same != nil { // one answer for all parts
				l.holdsUnknown(same)
			}
		}
	}
	l.shut(always)
	if err != nil {
		l.at(1, 1, Finding{Code: "rules-undecided", Severity: Note,
			Message: "there may be conditions that say nothing, and not all could be found: " + err.Error(),
			Fix:     "fewer rules, or shorter lists in them"})
	}
}

// of adds a finding at a part of a condition.
func (l *linter) of(c prove.Condition, offset int, f Finding) {
	node := l.document.Rules[c.Rule].When
	if c.Unless {
		node = l.document.Rules[c.Rule].Unless
	}
	l.in(c.Rule, node, offset, f)
}

// guarded writes into a finding that a condition belongs in front of the parts that remarks
// are about, and of no other: what holds for a reason of its own still has to.
func (l *linter) guarded(f *Finding, guard string, about []prove.Condition) {
	program := l.rules[about[0].Rule].When
	if about[0].Unless {
		program = l.rules[about[0].Rule].Unless
	}
	var at []int
	for _, c := range about {
		at = append(at, c.Node.Offset)
	}
	f.Write = program.Guarded(guard, at...)
	f.Fix = guard + " && in front"
	if !strings.HasPrefix(f.Write, guard) {
		f.Fix += " of this part, in brackets with it"
	}
}

// always reports a rule that matches for every person. One whose condition is written out
// as true is meant, and is no finding.
func (l *linter) always(c prove.Condition) {
	r := &l.rules[c.Rule]
	f := Finding{Code: "always-matches", Severity: Warning, Fix: "a condition that does not hold for some requests",
		Message: fmt.Sprintf("%s matches every request that it is asked about: its condition always holds%s", r.Name, about(c.Facts))}
	if c.NoValue {
		f.Message = fmt.Sprintf("%s matches every request that it is asked about: its condition can be evaluated for none, and then a rule matches", r.Name)
		f.Fix = "a condition that can be evaluated: no division by 0, and no entry in front of the first"
	}
	where := "every person"
	if r.Routes != nil {
		where = "every person on " + shorten(r.Routes)
	}
	switch {
	case r.Report:
		f.Severity = Note
		f.Message += "; it only reports"
	case r.Action == policy.Block && r.Enforce == nil:
		f.Severity = Error
		f.Message += "; it blocks " + where
	case r.Action == policy.Block:
		f.Severity = Error
		f.Message += "; it blocks every person that it is enforced for"
	}
	if r.Action != policy.Block || r.Routes != nil {
		f.Fix += "; when: true, if all are meant"
	}
	if fact, values := otherThan(c.Node); fact != "" {
		f.Write = fmt.Sprintf("!(%s in [%s])", fact, strings.Join(values, ", "))
		if fact == "ip.country" {
			f.Write = `ip.country != "ZZ" && ` + f.Write
		}
		f.Fix = "&& instead of ||: what differs from one value of a fact may be the other"
	}
	if f.Write == "" {
		l.meantByAlways(&f, c.Node)
	}
	l.of(c, c.Node.Offset, f)
}

// meantByAlways recognises alternatives that are all that something is not so: together they
// always hold, and && is meant.
func (l *linter) meantByAlways(f *Finding, n *expr.Node) {
	var not, other []string
	about := map[string]bool{}
	for _, x := range n.Literals() {
		text := x.Text
		negative := x.Not || x.Op == expr.NotEqual
		if x.Not {
			text = "!" + text
			if x.Op != expr.Call && x.Op != expr.Method && x.Op != expr.Exists && x.Op != expr.FactOp {
				text = "!(" + x.Text + ")"
			}
		}
		if x.Text == "" {
			text = strings.TrimSuffix(text, "!") + x.Name
		}
		if text == "" || !alternatives(n) {
			return
		}
		if negative && len(x.Args) > 0 {
			not = append(not, text)
			about[strings.Join(x.Facts, " ")] = true
		} else {
			other = append(other, text)
		}
	}
	if len(not) < 2 || len(about) != 1 {
		return
	}
	f.Fix = "&& instead of ||: what is not the one may be the other"
	write := strings.Join(not, " && ")
	if about["ip.country"] {
		write = `ip.country != "ZZ" && ` + write
	}
	if len(other) > 0 {
		write = strings.Join(append(other, "("+write+")"), " || ")
	}
	f.Write = write
}

// alternatives reports whether a condition is made of literals with || alone.
func alternatives(n *expr.Node) bool {
	switch n.Op {
	case expr.Or:
		return alternatives(n.Args[0]) && alternatives(n.Args[1])
	case expr.And, expr.If:
		return false
	case expr.Not:
		return n.Args[0].Op != expr.And && n.Args[0].Op != expr.Or && n.Args[0].Op != expr.If
	}
	return true
}

// world is what the configuration says of requests.
func (l *linter) world() (w prove.World) {
	if l.config.Now != nil {
		w.Now = l.config.Now()
	}
	for _, fact := range policy.FactSchema().Facts() {
		if l.config.NoSource[fact.Name] == "" {
			continue
		}
		value := fact.Kind.Zero()
		if fact.Kind == expr.Strings {
			value = []string{}
		}
		for _, u := range unknowables {
			if v, ok := u.facts.Facts[fact.Name]; ok && u.facts.Name == fact.Name {
				value = v
			}
		}
		w.Absent = append(w.Absent, prove.Unknown{Name: fact.Name, Facts: map[string]any{fact.Name: value}})
	}
	return w
}

// about names facts in brackets, if there are any.
func about(facts []string) string {
	if len(facts) == 0 {
		return ""
	}
	return " (" + strings.Join(facts, ", ") + ")"
}

// moments are when people are blocked, as messages say it.
var moments = map[prove.Moment]string{
	prove.Access: "",
	prove.Signed: " as soon as they have signed in, before they can show a passkey",
	prove.SignIn: " while they sign in",
	prove.StepUp: " while they show their passkey",
}

// shut reports rules that block every person, alone or between them. always are those of
// which that is said already.
func (l *linter) shut(always map[int]bool) {
	for _, x := range prove.ShutRoutes(l.policy, l.world()) {
		names, where := []string{}, moments[x.Moment]
		for _, i := range x.Rules {
			names = append(names, fmt.Sprintf("%s (line %d)", l.rules[i].Name, l.rules[i].Line))
		}
		if x.Route != "" {
			where = " on " + x.Route + where
		}
		f := Finding{Code: "blocked-together", Severity: Error, Fix: "in one of them a condition that leaves some requests out"}
		switch len(names) {
		case 0:
			f.Message = fmt.Sprintf("every person%s is blocked: for each request the scores add up to %d or more, or a rule blocks", where, l.document.Thresholds.Block)
			f.Fix = "a higher threshold, or conditions that leave some requests out"
			l.node(l.document.Thresholds.BlockNode, f)
		case 1:
			if i := x.Rules[0]; !always[i] && !l.closes(i, x) {
				f.Code, f.Fix = "blocks-every-person", "a condition that leaves some requests out, or then: step_up"
				f.Message = fmt.Sprintf("%s blocks every person%s: it matches each request that they make then", l.rules[i].Name, where)
				l.in(i, l.document.Rules[i].When, 0, f)
			}
		default:
			f.Message = fmt.Sprintf("every person%s is blocked: one of these rules matches each request: %s", where, shorten(names))
			l.rule(x.Rules[0], f)
		}
	}
}

// closes reports whether a rule is written to close one route, and says so: it reads nothing
// else.
func (l *linter) closes(i int, x prove.Shut) bool {
	return x.Route != "" && !slices.ContainsFunc(l.rules[i].Reads.Facts, func(fact string) bool { return fact != "request.route" })
}

// otherThan recognises a != x || a != y. It returns the fact, and the values as they are
// written.
func otherThan(n *expr.Node) (fact string, values []string) {
	for _, x := range n.Literals() {
		differs := x.Op == expr.NotEqual && !x.Not || x.Op == expr.Equal && x.Not
		if !differs || x.Args[0].Op != expr.FactOp || x.Args[1].Op != expr.ValueOp || fact != "" && fact != x.Args[0].Name {
			return "", nil
		}
		fact = x.Args[0].Name
		switch v := x.Args[1].Value.(type) {
		case string:
			values = append(values, strconv.Quote(v))
		case int64:
			values = append(values, fmt.Sprint(v))
		default:
			return "", nil
		}
	}
	if len(values) < 2 {
		return "", nil
	}
	return fact, values
}

// dead reports parts of conditions that say nothing.
func (l *linter) dead(c prove.Condition) {
	name, facts := l.rules[c.Rule].Name, strings.Join(c.Facts, ", ")
	f := Finding{Code: "dead-condition", Severity: Warning, Fix: "another condition in its place, or none"}
	switch {
	case c.Remark == prove.Spares:
		f.Code, f.Fix = "idle-exception", "another exception, or none"
		f.Message = fmt.Sprintf("the exception of %s changes nothing: it holds for no request that the condition holds for (%s)", name, facts)
	case c.Remark == prove.NeverSpares:
		f.Code, f.Fix = "idle-exception", "another exception, or none"
		f.Message = fmt.Sprintf("the exception of %s can never hold (%s)", name, facts)
	case c.Remark == prove.NeverPart:
		f.Message = fmt.Sprintf("this part of %s can never hold (%s)", name, facts)
	default:
		f.Message = fmt.Sprintf("this part of %s holds for every request (%s)", name, facts)
		if fact, values := otherThan(c.Node); fact != "" {
			f.Fix = fmt.Sprintf("&& instead of ||, or !(%s in [%s])", fact, strings.Join(values, ", "))
		}
	}
	l.of(c, c.Node.Offset, f)
}

// fails reports conditions that cannot be evaluated for some request: then the rule
// matches, and not for what it says. alike are those that the same guard helps, for the
// first of them.
func (l *linter) fails(c prove.Condition, alike []prove.Condition) {
	r := &l.rules[c.Rule]
	f := Finding{Code: "can-fail", Severity: Warning, Fix: "a condition in front, with &&, that it can be evaluated",
		Message: fmt.Sprintf("this cannot be evaluated for some requests (%s); then %s matches, and blocks", c.Error, r.Name)}
	if r.Action != policy.Block {
		f.Severity = Note
		f.Message = fmt.Sprintf("this cannot be evaluated for some requests (%s); then %s matches", c.Error, r.Name)
	}
	if r.Report {
		f.Severity = Note
	}
	if guard := guardOf(c.Node); guard != "" {
		fix := guard + " in front, with &&"
		if alike != nil {
			l.guarded(&f, guard, alike)
			fix = f.Fix
		}
		f.Fix = fix
	}
	l.of(c, c.Node.Offset, f)
}

// guardOf is a condition under which a part can be evaluated; "": none is known.
func guardOf(n *expr.Node) string {
	switch {
	case n.Op == expr.Opaque && n.Name == "_[_]" && len(n.Args) == 2 && n.Args[0].Op == expr.FactOp:
		if i, ok := n.Args[1].Value.(int64); ok && i >= 0 {
			return fmt.Sprintf("size(%s) > %d", n.Args[0].Name, i)
		}
	case n.Op == expr.Call && n.Fallible && len(n.Args) == 1 && n.Args[0].Op == expr.FactOp:
		return n.Args[0].Name + ` != ""`
	}
	for _, a := range n.Args {
		if guard := guardOf(a); guard != "" {
			return guard
		}
	}
	return ""
}

// alike are the remarks that are the same as one, which is the first of them; nil: it is
// not.
func alike(found []prove.Condition, i int, same func(a, b prove.Condition) bool) (out []prove.Condition) {
	for j, c := range found {
		switch {
		case c.Remark != found[i].Remark || c.Rule != found[i].Rule || c.Unless != found[i].Unless || !same(c, found[i]):
		case j < i:
			return nil
		default:
			out = append(out, c)
		}
	}
	return out
}

func sameUnknown(a, b prove.Condition) bool { return a.Unknown == b.Unknown }

func sameGuard(a, b prove.Condition) bool { return guardOf(a.Node) == guardOf(b.Node) }

// blocks reports whether a rule blocks, or its score does, alone or with those of others.
func (l *linter) blocks(r *policy.ModelRule) bool {
	if r.Score == 0 || l.document.Thresholds.Block == 0 {
		return r.Action == policy.Block
	}
	sum := 0
	for i := range l.rules {
		if !l.rules[i].Report {
			sum += l.rules[i].Score
		}
	}
	return sum >= l.document.Thresholds.Block
}

// holdsUnknown reports parts of a condition that hold by accident where something is not
// known.
func (l *linter) holdsUnknown(parts []prove.Condition) {
	c := parts[0]
	u, r := &unknowables[c.Unknown], &l.rules[c.Rule]
	switch {
	case u.blocks && (r.Report || !c.Unless && !l.blocks(r)),
		slices.ContainsFunc(c.Facts, func(name string) bool { return l.config.NoSource[name] != "" }),
		u.facts.Considers(r):
		return
	}
	says, asked := u.says, "say whether that is meant"
	if says == "" {
		i := slices.IndexFunc(c.Facts, func(name string) bool { _, ok := u.facts.Facts[name]; return ok })
		says, asked = fmt.Sprintf("%s is not known (it is zero then)", c.Facts[i]), "look at "+u.facts.Name
	}
	f := Finding{Code: u.code, Severity: Warning,
		Message: fmt.Sprintf("this also holds where %s, and %s does not %s", says, r.Name, asked)}
	if l.guarded(&f, u.guard, parts); u.facts.Name == "ip.country" {
		f.Fix += `; or ip.country == "ZZ" || in front if that is meant, and brackets around the rest`
	}
	if c.Unless {
		f.Message = fmt.Sprintf("%s makes an exception also where %s, and does not %s", r.Name, says, asked)
	}
	l.of(c, c.Node.Offset, f)
}
