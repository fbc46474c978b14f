package reference

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"sallyport/policy"
)

// Source writes the policy as a file.
func (p *Policy) Source() string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nmissing_data: %s\n", p.MissingData)
	if p.StepUpAt+p.Block > 0 {
		b.WriteString("thresholds: {")
		if p.StepUpAt > 0 {
			fmt.Fprintf(&b, "step_up: %d, ", p.StepUpAt)
		}
		if p.Block > 0 {
			fmt.Fprintf(&b, "block: %d, ", p.Block)
		}
		fmt.Fprintf(&b, "max_age: %s}\n", p.ScoreMaxAge)
	}
	b.WriteString("rules:\n")
	for _, r := range p.Rules {
		fmt.Fprintf(&b, "  - {%s}\n", r.source())
	}
	if len(p.Invariants) > 0 {
		b.WriteString("invariants:\n")
	}
	for _, v := range p.Invariants {
		fmt.Fprintf(&b, "  - {%s, when: '%s'", v.Claim, v.When.Text)
		if len(v.Except) > 0 {
			fmt.Fprintf(&b, ", except: [%s]", strings.Join(v.Except, ", "))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// ExceptionsSource writes the exceptions as a file.
func (p *Policy) ExceptionsSource() string {
	if len(p.Exceptions) == 0 {
		return "exceptions: []\n"
	}
	var b strings.Builder
	b.WriteString("exceptions:\n")
	for _, x := range p.Exceptions {
		fmt.Fprintf(&b, "  - {id: %s, user: %s, rules: [%s], until: %s", x.ID, x.User, strings.Join(x.Rules, ", "), x.Until.Format(time.RFC3339))
		if !x.From.IsZero() {
			fmt.Fprintf(&b, ", from: %s", x.From.Format(time.RFC3339))
		}
		if x.Subject != "" {
			fmt.Fprintf(&b, ", subject: %q", x.Issuer+"|"+x.Subject)
		}
		if len(x.Routes) > 0 {
			fmt.Fprintf(&b, ", routes: [%s]", strings.Join(x.Routes, ", "))
		}
		if len(x.Countries) > 0 {
			fmt.Fprintf(&b, ", countries: [%s]", strings.Join(x.Countries, ", "))
		}
		if len(x.Networks) > 0 {
			fmt.Fprintf(&b, ", networks: %q", x.Networks)
		}
		b.WriteString(", approved_by: boss@example.org, why: test}\n")
	}
	return b.String()
}

func (r Rule) source() string {
	s := fmt.Sprintf("name: %s, when: '%s'", r.Name, r.When.Text)
	add := func(format string, args ...any) { s += ", " + fmt.Sprintf(format, args...) }
	if r.Unless != nil {
		add("unless: '%s'", r.Unless.Text)
	}
	if r.Routes != nil {
		add("routes: [%s]", strings.Join(r.Routes, ", "))
	}
	switch {
	case r.Score > 0:
		add("score: %d", r.Score)
	case r.Then == policy.Block:
		add("then: block")
	case r.Every > 0:
		add("then: step_up, every: %s, jitter: %s", r.Every, r.Jitter)
	default:
		add("then: step_up, max_age: %s", r.MaxAge)
	}
	if h := r.Hours; h != nil {
		add(`hours: "%02d:%02d-%02d:%02d"`, h.From/60, h.From%60, h.To/60, h.To%60)
	}
	if r.Require != nil {
		add("require: [%s]", strings.Join(r.Require, ", "))
	}
	if r.Report {
		add("mode: report")
	}
	if e := r.Enforce; e != nil && e.Groups == nil {
		add("enforce: {percent: %d}", e.Percent)
	} else if e != nil {
		add("enforce: {percent: %d, groups: [%s]}", e.Percent, strings.Join(e.Groups, ", "))
	}
	return s
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// Outcomes are what a rule can do, for a rule to be made from.
func Outcomes() (out []Rule) {
	out = append(out, Rule{Then: policy.Block})
	for _, require := range [][]string{nil, {"device_bound"}, {"attested"}} {
		for _, r := range []Rule{
			{MaxAge: time.Minute}, {MaxAge: 15 * time.Minute}, {MaxAge: time.Hour},
			{Every: time.Hour}, {Every: time.Hour, Jitter: 30 * time.Minute},
			{Every: time.Hour, Hours: &Hours{9 * 60, 18 * 60}},
			{Every: 30 * time.Minute, Hours: &Hours{22*60 + 15, 3*60 + 30}},
			{Every: time.Hour, Jitter: 30 * time.Minute, Hours: &Hours{8*60 + 59, 14*60 + 1}},
		} {
			r.Then, r.Require = policy.StepUp, require
			out = append(out, r)
		}
	}
	for _, score := range []int{20, 30, 50, 90} {
		out = append(out, Rule{Then: policy.Allow, Score: score})
	}
	return out
}

// Extents are the people that a rule can be for.
func Extents() []Rule {
	return []Rule{{}, {Report: true}, {Enforce: &Enforce{Percent: 0}}, {Enforce: &Enforce{Percent: 40}}, {Enforce: &Enforce{Percent: 100}},
		{Enforce: &Enforce{Groups: []string{"ops", "infra"}}}, {Enforce: &Enforce{Percent: 40, Groups: []string{"ops"}}}}
}

// Random makes a policy of a world's conditions.
func Random(r *rand.Rand, w World) *Policy {
	conditions := append(w.Conditions(), is("true", func(*policy.Facts) bool { return true }))
	var condition func(depth int) Condition
	condition = func(depth int) Condition {
		if depth == 0 || r.IntN(3) == 0 {
			return pick(r, conditions...)
		}
		switch r.IntN(8) {
		case 0:
			return choose(condition(depth-1), condition(depth-1), condition(depth-1))
		case 1, 2:
			return not(condition(depth - 1))
		case 3, 4:
			return either(condition(depth-1), condition(depth-1))
		}
		return And(condition(depth-1), condition(depth-1))
	}
	p := &Policy{MissingData: pick(r, policy.Allow, policy.StepUp, policy.Block), StepUpAt: pick(r, 0, 40, 50), Block: pick(r, 60, 90), ScoreMaxAge: pick(r, time.Minute, time.Hour)}
	outcomes, extents := Outcomes(), Extents()
	for i := range 1 + r.IntN(6) {
		rule := pick(r, outcomes...)
		if extent := pick(r, extents...); r.IntN(2) == 0 {
			rule.Report, rule.Enforce = extent.Report, extent.Enforce
		}
		rule.Name, rule.When = fmt.Sprintf("r%d", i), condition(2)
		if r.IntN(3) == 0 {
			c := condition(1)
			rule.Unless = &c
		}
		if r.IntN(5) == 0 {
			rule.Routes = pick(r, []string{"wiki"}, []string{"vault"}, []string{"wiki", "vault"})
		}
		p.Rules = append(p.Rules, rule)
	}
	if r.IntN(2) == 0 {
		p.except(r)
	}
	for range 4 {
		v := Invariant{Claim: pick(r, policy.NeverAllow, policy.AlwaysStepUp, policy.AlwaysStepUp, policy.AlwaysBlock, policy.NeverBlock), When: condition(2)}
		if r.IntN(3) == 0 { // about what a rule is about, so that some are proven
			v.When = And(pick(r, p.Rules...).When, condition(1))
		}
		if v.Claim == policy.NeverBlock {
			for _, rule := range p.Rules {
				if (rule.Then == policy.Block || rule.Score > 0) && r.IntN(3) > 0 {
					v.Except = append(v.Except, rule.Name)
				}
			}
		}
		p.Invariants = append(p.Invariants, v)
	}
	if r.IntN(2) == 0 {
		p.Grants = map[string]policy.Grant{"wiki": {Everyone: true}, "vault": {Groups: []string{"ops"}}}
	}
	return p
}

// except adds exceptions for the people, places and moments of worlds.
func (p *Policy) except(r *rand.Rand) {
	moments := Clock()[0].Values
	at := func() time.Time {
		var f policy.Facts
		pick(r, moments...)(&f)
		return f.Time.Now.Add(pick(r, -time.Second, 0, time.Second))
	}
	for i := range 1 + r.IntN(4) {
		x := Exception{ID: fmt.Sprintf("x%d", i), User: pick(r, "ann@example.com", "ben@example.com", policy.Ordinary("verified").User.Email), Until: at()}
		for _, rule := range p.Rules {
			if r.IntN(2) == 0 {
				x.Rules = append(x.Rules, rule.Name)
			}
		}
		if x.Rules == nil {
			x.Rules = []string{p.Rules[0].Name}
		}
		if r.IntN(3) == 0 {
			x.Subject, x.Issuer = pick(r, "ann", "ben", "someone"), pick(r, "https://idp.example.com", "https://idp.example.com", "https://other.example.com")
		}
		if r.IntN(2) == 0 {
			x.Until = x.Until.AddDate(1, 0, 0) // after every moment of a world
		}
		if from := at(); r.IntN(3) == 0 && from.Before(x.Until) {
			x.From = from
		}
		if r.IntN(4) == 0 {
			x.Routes = pick(r, []string{"wiki"}, []string{"vault"}, []string{"wiki", "vault"})
		}
		if r.IntN(3) == 0 {
			x.Countries = pick(r, []string{"KP"}, []string{"US"}, []string{"KP", "US"})
		}
		if r.IntN(5) == 0 {
			home := netip.MustParseAddr(policy.Ordinary("verified").IP.Address)
			x.Networks = []netip.Prefix{pick(r, netip.PrefixFrom(home, home.BitLen()), netip.MustParsePrefix("192.0.2.0/25"))}
		}
		p.Exceptions = append(p.Exceptions, x)
	}
}
