package prove

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-air/gini/z"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

// asking is the question of one rule, or of the score, as literals.
type asking struct {
	policy.Question
	here, browser z.Lit
	tooOld        z.Lit // the assertion is older than the question allows, for certain
	paused        z.Lit // the age is not asked for at this hour
}

// ask makes the question of a rule.
func (p *prover) ask(r *policy.ModelRule) asking {
	q := asking{r.Asks, p.constant(r.Asks.Here), p.constant(r.Asks.Browser), p.c.F, p.c.F}
	if a := r.Reverify; a != nil {
		q.tooOld, q.paused = p.older(a.Latest).lit(), p.pause(r)
	} else {
		q.tooOld = p.older(r.Asks.MaxAge).lit()
	}
	return q
}

// stands is the literal that a question changes the verdict. With unanswered it is judged
// as for an assertion that answers nothing: too old, unless the age is not asked for at
// this hour.
func (p *prover) stands(q asking, unanswered bool) z.Lit {
	c := p.c
	if unanswered {
		q.tooOld = c.T
	}
	open := c.Ors(p.level["verified"].lit().Not(), c.And(q.tooOld, q.paused.Not()), p.fromFuture().lit(),
		c.And(q.here, p.flag("session.verified_here").Not()),
		c.And(q.browser, c.Or(p.flag("session.ua_changed"), p.flag("session.tls_changed"))))
	bound := p.class["attested"].lit()
	if !q.Attested {
		bound = c.Or(bound, p.class["unattested"].lit())
	}
	if q.DeviceBound {
		open = c.Or(open, c.And(bound, p.flag("credential.backup_eligible").Not()).Not())
	}
	return c.Ands(open, p.purpose[policy.PurposeSignIn].lit().Not(), p.purpose[policy.PurposeStepUp].lit().Not())
}

// clock is what the hours of a rule make of the 24 hours of a day.
type clock struct {
	rule  *policy.ModelRule
	out   *atom // it is an hour in which the rule never asks; nil: there is none
	mixed *atom // it is an hour in which the rule asks for some minutes; nil: there is none
	off   z.Lit // and this is not one of them
}

// collectClock makes the atoms of a rule's hours. `time.hour(user.time_zone)` is what
// conditions call the same hour, so that what they say of it is known here. It cannot be
// evaluated exactly where the zone is not known, and there the rule asks at any hour.
func (p *prover) collectClock(r *policy.ModelRule) {
	if r.Reverify == nil || r.Reverify.Asks == nil {
		return
	}
	var out, mixed []int64
	for hour := range int64(24) {
		asks := 0
		for minute := range 60 {
			if r.Reverify.Asks(int(hour)*60 + minute) {
				asks++
			}
		}
		switch {
		case asks == 0:
			out = append(out, hour)
		case asks < 60:
			mixed = append(mixed, hour)
		}
	}
	p.clocks[r.Name] = &clock{r, p.hourIn(out), p.hourIn(mixed), p.c.Lit()}
}

// hourIn returns the atom `time.hour(user.time_zone) in hours`; nil for no hours.
func (p *prover) hourIn(hours []int64) *atom {
	if len(hours) == 0 {
		return nil
	}
	const zone, now = "user.time_zone", "time.now"
	call := &expr.Node{Op: expr.Call, Name: "time.hour", Kind: expr.Int, Text: "time.hour(user.time_zone)", Fallible: true, Facts: []string{zone, now},
		Args: []*expr.Node{{Op: expr.FactOp, Name: zone, Kind: expr.String, Facts: []string{zone}}}}
	list := strings.ReplaceAll(fmt.Sprint(hours), " ", ", ") // as CEL spells it
	return p.atom(&expr.Node{Op: expr.In, Kind: expr.Bool, Text: call.Text + " in " + list, Fallible: true, Facts: call.Facts,
		Args: []*expr.Node{call, {Op: expr.ValueOp, Kind: expr.Ints, Value: hours}}})
}

// pause is the literal that a rule does not ask for the age at this hour.
func (p *prover) pause(r *policy.ModelRule) z.Lit {
	out, k := p.c.F, p.clocks[r.Name]
	if k != nil && k.out != nil {
		out = k.out.lit()
	}
	if k != nil && k.mixed != nil {
		out = p.c.Or(out, p.c.And(k.mixed.lit(), k.off))
	}
	return out
}

// collectEnforcement makes the atoms that decide whether a rule is enforced for the
// person.
func (p *prover) collectEnforcement(e *policy.Enforcement) {
	if e == nil {
		return
	}
	if len(e.Groups) > 0 {
		l := p.list("user.groups")
		p.members[e] = p.use(&l.member, &pattern{values: e.Groups})
	}
	if e.Percent == 100 {
		p.nobody = [2]*atom{p.is("user.subject", ""), p.is("user.email", "")}
	}
}

// enforced is the literal that a rule is enforced for the person, for every draw: a
// percentage below 100 may leave any person out.
func (p *prover) enforced(r *policy.ModelRule) z.Lit {
	e := r.Enforce
	switch {
	case r.Report:
		return p.c.F
	case e == nil:
		return p.c.T
	}
	out := p.c.F
	if u := p.members[e]; u != nil {
		out = p.lists["user.groups"].exists(p, u, false)
	}
	if e.Percent == 100 {
		out = p.c.Or(out, p.c.And(p.nobody[0].lit(), p.nobody[1].lit()).Not())
	}
	return out
}

// undrawn are the literals that no rule asks at an age at which that is drawn. A
// counter-example has to fulfil them: what is drawn changes with the policy file, and so
// with a test in it.
func (p *prover) undrawn() (lits []z.Lit) {
	for i := range p.m.Rules {
		if a := p.m.Rules[i].Reverify; a != nil && a.Earliest < a.Latest {
			lits = append(lits, p.c.Or(p.older(a.Earliest).lit().Not(), p.older(a.Latest).lit()))
		}
	}
	return lits
}

// minutes are further conditions on the moment of a counter-example: of the hours in
// which a rule asks for some minutes, one of those minutes, or one of the others, as the
// request says.
func (w *witness) minutes() (asks []func(time.Time) bool) {
	for _, k := range w.clocks {
		if k.mixed == nil || !w.value(k.mixed.lit()) {
			continue
		}
		location, err := time.LoadLocation(w.fact("user.time_zone").String())
		if err != nil {
			continue
		}
		off := w.value(k.off)
		asks = append(asks, func(t time.Time) bool {
			at := t.In(location)
			return k.rule.Reverify.Asks(at.Hour()*60+at.Minute()) != off
		})
	}
	return asks
}

// redraw makes the person another one until the request breaks the invariant: which
// people are in a percentage is drawn.
func (s *solver) redraw(v policy.Invariant, f *policy.Facts) bool {
	drawn := func(r policy.ModelRule) bool { return r.Enforce != nil && r.Enforce.Percent%100 != 0 }
	if f.User.Subject == "" || !slices.ContainsFunc(s.m.Rules, drawn) {
		return false
	}
	usual := f.User.Subject
	for i := range maxPeople {
		f.User.Subject = fmt.Sprintf("%s-%d", usual, i)
		if s.breaks(v, f) {
			return true
		}
	}
	f.User.Subject = usual
	return false
}
