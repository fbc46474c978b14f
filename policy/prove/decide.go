package prove

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-air/gini/z"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
	"sallyport/policy/ipv4in6"
)

// decide fills in what is known of invariant i.
func (s *solver) decide(r *Result, i int) {
	g, v := s.goals[i], s.m.Invariants[i]
	switch s.solve(g.when) {
	case unsatisfiable:
		r.Status, r.Vacuous = Vacuous, true
		r.Reason = "there is no request for which its `when` holds, so it claims nothing (purpose access and level verified are meant unless it says otherwise)"
		return
	case unknown:
		r.Reason = "looking for a request for which its `when` holds took too long"
		return
	}
	if v.Claim == policy.NeverBlock && s.solve(append([]z.Lit{g.when, g.written}, s.certain...)...) == satisfiable {
		if found, ok := s.search(v, s.witness(), s.freeValues()); ok {
			s.refute(r, v, found)
			return
		}
	}
	var tried []string
	var guard z.Lit // under which candidates that are no requests are left out
	for range maxRounds {
		assume := []z.Lit{g.when, g.broken}
		if guard != z.LitNull {
			assume = append(assume, guard)
		}
		answer := s.solve(append(slices.Clone(assume), s.certain...)...)
		if answer == unsatisfiable && len(s.certain) > 0 {
			if answer = s.solve(assume...); answer == satisfiable {
				r.Reason = undecided(append(tried, "when a rule with `jitter` asks"))
				return
			}
		}
		switch answer {
		case unsatisfiable:
			if guard == z.LitNull {
				r.Status = Proven
				if r.Vacuous = s.solve(g.when, g.unruled) == unsatisfiable; r.Vacuous {
					r.Reason = "it would hold without any rule, by the baseline and `missing_data` alone, so it says nothing of the rules"
				}
				return
			}
			r.Reason = undecided(tried)
			return
		case unknown:
			r.Reason = "looking for a request that breaks it took too long"
			return
		}
		f := s.witness()
		free := s.freeValues()
		if found, ok := s.search(v, f, free); ok {
			s.refute(r, v, found)
			return
		}
		wrong := s.mistaken(free, &f)
		for _, a := range wrong {
			if d := a.describe(); !slices.Contains(tried, d) {
				tried = append(tried, d)
			}
		}
		if len(wrong) == 0 {
			if v.Claim == policy.NeverBlock {
				tried = append(tried, "how else an address or a path can be read")
			}
			break
		}
		if guard == z.LitNull {
			guard = s.sat.Lit()
		}
		clause := []z.Lit{guard.Not()}
		for _, a := range wrong {
			m := a.made.t
			if free[a] {
				m = m.Not()
			}
			clause = append(clause, m)
		}
		s.clause(clause...)
	}
	r.Reason = undecided(tried)
}

func undecided(tried []string) string {
	if len(tried) == 0 {
		return "a request that may break it was found, and could not be confirmed"
	}
	more := ""
	if len(tried) > 4 {
		tried, more = tried[:4], " and others"
	}
	return "it depends on what cannot be followed here: " + strings.Join(tried, ", ") + more
}

// breaks reports whether the production evaluator agrees that a request breaks an
// invariant.
func (s *solver) breaks(v policy.Invariant, f *policy.Facts) bool {
	if holds, err := s.m.Holds(v.When, f); err != nil || !holds {
		return false
	}
	if !s.meant(v, f) {
		return false
	}
	judge := s.m.Policy
	if v.Claim == policy.AlwaysStepUp {
		judge = judge.Unanswered()
	}
	if v.Claim == policy.NeverBlock {
		return s.blocked(v, f)
	}
	switch d := judge.Decide(f); v.Claim {
	case policy.AlwaysBlock:
		return d.Action != policy.Block
	default:
		return d.Action == policy.Allow
	}
}

// meant reports whether a request is one that the invariant is about: access by a
// verified person, unless its condition speaks of these.
func (s *solver) meant(v policy.Invariant, f *policy.Facts) bool {
	reads := v.When.Reads()
	return (f.Session.Level == "verified" || slices.Contains(reads, "session.level")) &&
		(f.Request.Purpose == policy.PurposeAccess || slices.Contains(reads, "request.purpose"))
}

// search changes the facts that atoms read which came out otherwise than supposed, to the
// constants in these atoms and a little around them, until they break the invariant.
func (s *solver) search(v policy.Invariant, from policy.Facts, free map[*atom]bool) (policy.Facts, bool) {
	f := &from
	folded := from // for a condition on the folded path alone
	if p := f.Request.PathFolded; p != "" && policy.FoldPath(p) == p {
		folded.Request.Path = p
	}
	for _, try := range []*policy.Facts{f, &folded} {
		if s.derive(try); s.breaks(v, try) || s.redraw(v, try) {
			return *try, true
		}
	}
	for round := range 3 {
		changed := false
		for _, a := range s.mistaken(free, f) {
			for _, name := range a.node.Facts {
				fact, _ := s.m.Schema.Lookup(name)
				if fact.Kind == expr.Bool || name == "session.level" || name == "request.purpose" || time.Until(s.deadline) < 0 {
					continue
				}
				field := s.m.Schema.Field(f, fact)
				before := *f
				for _, value := range guesses(fact, field.Interface(), a.node.Constants) {
					if text, ok := value.(string); ok && s.m.Words.Check(name, text) != nil {
						continue // it would be no request
					}
					if field.Set(reflect.ValueOf(value)); name == "request.path_folded" {
						f.Request.Path = f.Request.PathFolded
					}
					s.derive(f)
					if s.breaks(v, f) {
						return from, true
					}
					if got, ok := s.holds(a, f); ok && got == free[a] && round < 2 {
						changed = true
						break // keep it, and look at the others
					}
					*f = before
				}
			}
		}
		if !changed {
			break
		}
	}
	return from, false
}

// derive makes what follows from the address and the path follow.
func (s *solver) derive(f *policy.Facts) {
	if addr, err := netip.ParseAddr(f.IP.Address); err == nil {
		f.IP.Addr = addr
	}
	f.Request.PathFolded = policy.FoldPath(f.Request.Path)
}

// guesses are values of a fact that an atom with these constants may turn on.
func guesses(f expr.Fact, now any, constants []any) (out []any) {
	for _, c := range constants {
		switch c := c.(type) {
		case string:
			switch f.Kind {
			case expr.String:
				out = append(out, c, c+"x", "x"+c, strings.ToLower(c), strings.ToUpper(c))
			case expr.Strings:
				out = append(out, []string{c}, append(slices.Clone(now.([]string)), c), []string{c, c}, []string{c + "x"})
			}
		case int64:
			if f.Kind == expr.Int {
				out = append(out, c, c+1, c-1, 2*c)
			}
		case time.Duration:
			if f.Kind == expr.Duration {
				out = append(out, c, c+time.Second, c-time.Second, 2*c, 2*c+time.Second)
			}
		case float64:
			if f.Kind == expr.Double {
				out = append(out, c, c+1, c-1)
			}
		}
	}
	switch f.Kind {
	case expr.Int:
		out = append(out, int64(0), int64(1), int64(2))
	case expr.String:
		out = append(out, "")
	case expr.Strings:
		out = append(out, []string(nil), []string{"other"})
	case expr.Duration:
		out = append(out, time.Duration(0), time.Hour, 30*24*time.Hour)
	}
	return slices.DeleteFunc(out, func(v any) bool { return reflect.TypeOf(v) != reflect.TypeOf(now) && now != nil })
}

// holds evaluates an atom with the production evaluator; ok is false if that cannot be
// done.
func (s *solver) holds(a *atom, f *policy.Facts) (value, ok bool) {
	program, known := s.programs[a]
	if !known {
		program, _ = s.m.Env.Compile(a.node.Text)
		s.programs[a] = program
	}
	if program == nil {
		return false, false
	}
	value, err := s.m.Holds(program, f)
	return value, err == nil
}

// mistaken are the free atoms that are not what the solver supposed.
func (s *solver) mistaken(free map[*atom]bool, f *policy.Facts) (out []*atom) {
	for _, a := range s.order {
		want, ok := free[a]
		if !ok || time.Until(s.deadline) < 0 {
			continue
		}
		if got, ok := s.holds(a, f); !ok || got != want {
			out = append(out, a)
		}
	}
	return out
}

// refute fills in the counter-example, as close to the ordinary as it gets.
func (s *solver) refute(r *Result, v policy.Invariant, f policy.Facts) {
	f = s.simplify(v, f)
	s.grant(v, &f)
	f.Time.Now = f.Time.Now.UTC()
	d := s.m.Policy.Decide(&f)
	r.Status, r.Facts, r.Decision = Refuted, &f, &d
	r.Test = s.testEntry(v, &f)
}

// simplify takes back to the ordinary what does not matter: whole groups of facts, then
// single ones.
func (s *solver) simplify(v policy.Invariant, f policy.Facts) policy.Facts {
	ordinary := policy.Ordinary(f.Session.Level)
	var sets [][]expr.Fact
	for _, g := range s.m.Schema.Groups() {
		sets = append(sets, slices.DeleteFunc(slices.Clone(s.m.Schema.Facts()), func(f expr.Fact) bool { return f.Group != g }))
	}
	for _, fact := range s.m.Schema.Facts() {
		sets = append(sets, []expr.Fact{fact})
	}
	for _, facts := range sets {
		try, changed := f, false
		for _, fact := range facts {
			if fact.Name == "session.level" || fact.Name == "request.purpose" {
				continue
			}
			to, usual := s.m.Schema.Field(&try, fact), s.m.Schema.Field(&ordinary, fact)
			changed = changed || !reflect.DeepEqual(to.Interface(), usual.Interface())
			to.Set(usual)
		}
		if s.derive(&try); changed && s.consistent(&try) && s.breaks(v, &try) {
			f = try
		}
	}
	return f
}

// consistent reports whether facts that follow from one another do.
func (s *solver) consistent(f *policy.Facts) bool {
	c, addr, access := f.Credential, f.IP.Addr, f.Request.Purpose == policy.PurposeAccess
	eligible := c.Class == "synced" || c.Class == "attested" && c.BackupEligible
	return (f.Session.Level == "verified") == (c.Class != "none") && c.BackupEligible == eligible && (!c.BackedUp || c.BackupEligible) &&
		(!addr.IsValid() || (f.IP.Version == 4) == addr.Is4()) && ipv4in6.Private(addr) == f.IP.Private && (f.IP.Private || !f.IP.Internal) &&
		(access || f.Request.Route == "") && (len(s.m.Routes) == 0 || !access || f.Request.Route != "")
}

// grant makes the person one that the route's allow names, if that changes nothing else.
func (s *solver) grant(v policy.Invariant, f *policy.Facts) {
	g, refused := s.m.Refused(f)
	if !refused {
		return
	}
	var tries []policy.User
	for _, name := range g.Groups {
		u := f.User
		u.Groups = append(slices.Clone(u.Groups), name)
		tries = append(tries, u)
	}
	for _, email := range append(slices.Clone(g.Emails), mapped(g.Domains, "someone@")...) {
		u := f.User
		u.Email = strings.ToLower(email)
		tries = append(tries, u)
	}
	for _, u := range tries {
		try := *f
		try.User = u
		if _, refused := s.m.Refused(&try); !refused && s.breaks(v, &try) {
			*f = try
			return
		}
	}
}

func mapped(domains []string, before string) (out []string) {
	for _, d := range domains {
		out = append(out, before+d)
	}
	return out
}

// testEntry spells the counter-example as an entry of `tests:` that expects what should
// be.
func (s *solver) testEntry(v policy.Invariant, f *policy.Facts) string {
	ordinary := policy.Ordinary(f.Session.Level)
	groups := map[string][]string{}
	for _, fact := range s.m.Schema.Facts() {
		value, usual := s.m.Schema.Field(f, fact), s.m.Schema.Field(&ordinary, fact)
		level := fact.Name == "session.level" && value.String() != "verified"
		if reflect.DeepEqual(value.Interface(), usual.Interface()) && !level && !(fact.Name == "ip.version" || fact.Name == "ip.private") {
			continue
		}
		if fact.Name == "ip.version" && value.Int() == 4 || fact.Name == "ip.private" && value.Bool() == ipv4in6.Private(f.IP.Addr) || fact.Name == "request.path_folded" || fact.Name == "ip.version" && f.IP.Addr.Is6() {
			continue // as it follows from the address
		}
		groups[fact.Group] = append(groups[fact.Group], fact.Field+": "+spell(value.Interface()))
	}
	var given []string
	for _, g := range s.m.Schema.Groups() {
		if groups[g] != nil {
			given = append(given, fmt.Sprintf("%s: {%s}", g, strings.Join(groups[g], ", ")))
		}
	}
	out := fmt.Sprintf("- name: %s\n", spell("the invariant "+v.Name))
	if len(given) > 0 {
		out += fmt.Sprintf("  given: {%s}\n", strings.Join(given, ", "))
	}
	wanted := policy.Block
	switch v.Claim {
	case policy.AlwaysStepUp:
		wanted = policy.StepUp
	case policy.NeverBlock:
		wanted = s.unblocked(f)
	}
	return out + fmt.Sprintf("  expect: {action: %s}\n", wanted)
}

// unblocked is the verdict of what blocks no one: a question may stand.
func (s *solver) unblocked(f *policy.Facts) policy.Action {
	e := s.m.Policy.Explain(f)
	for _, r := range slices.Concat(e.Baseline, e.Rules) {
		if r.Outcome == policy.OutcomeMatched && r.Action == policy.StepUp {
			return policy.StepUp
		}
	}
	return policy.Allow
}

// spell writes a value in YAML's flow style.
func spell(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case []string:
		parts := make([]string, len(v))
		for i, s := range v {
			parts[i] = quote(s)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case time.Time:
		return quote(v.Format(time.RFC3339Nano))
	}
	return fmt.Sprint(v)
}

// quote writes any text so that YAML reads it as text.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufeff':
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
