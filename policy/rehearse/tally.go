package rehearse

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sallyport/policy"
)

// Counts are verdicts that differ, by what became of them.
type Counts struct {
	Blocked   int64 `json:"newly_blocked"`
	SteppedUp int64 `json:"newly_stepped_up"` // from allow, or from block
	Allowed   int64 `json:"newly_allowed"`
}

// Changed is how many verdicts differ.
func (c Counts) Changed() int64 { return c.Blocked + c.SteppedUp + c.Allowed }

func (c *Counts) add(after policy.Action, n int64) {
	switch after {
	case policy.Block:
		c.Blocked += n
	case policy.StepUp:
		c.SteppedUp += n
	case policy.Allow:
		c.Allowed += n
	}
}

func (c *Counts) merge(o Counts) {
	c.Blocked, c.SteppedUp, c.Allowed = c.Blocked+o.Blocked, c.SteppedUp+o.SteppedUp, c.Allowed+o.Allowed
}

// ByAction counts verdicts by their policy.Action.
type ByAction [3]int64

func (b *ByAction) merge(o ByAction) {
	for i, n := range o {
		b[i] += n
	}
}

// MarshalJSON names the actions.
func (b ByAction) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"allow":%d,"step_up":%d,"block":%d}`, b[policy.Allow], b[policy.StepUp], b[policy.Block]), nil
}

// maxPeople bounds how many people a tally tells apart. E-mail addresses come from the
// OpenID provider, so that strangers cannot fill it.
const maxPeople = 250_000

// Person is what changes for one person.
type Person struct {
	User string `json:"user"`
	Counts
	Judged int64 `json:"judged"`
	// InVain are those of the verdicts that newly ask for another kind of passkey than
	// the person used. They are no further ones: some were a step-up before.
	InVain int64    `json:"asked_in_vain,omitempty"`
	Rules  []string `json:"rules,omitempty"` // that bring it about; at most a few
	// AskedLess are verdicts that let the person do more, or ask them less, with every
	// assertion that they may have: see [Tally.AddAsked]. Gone are the rules that no
	// longer apply.
	AskedLess int64    `json:"asked_less,omitempty"`
	Gone      []string `json:"rules_gone,omitempty"`
	// AskedMore are verdicts that ask the person where none is asked now, or more: by the
	// rules in New.
	AskedMore int64    `json:"asked_more,omitempty"`
	New       []string `json:"rules_new,omitempty"`
	Groups    []string `json:"-"` // as last seen
}

const maxPersonRules = 8

// Tally counts how verdicts compare with those before. The zero value is empty. It is
// not safe for concurrent use; several are merged.
type Tally struct {
	Counts
	Judged int64 `json:"judged"`
	// Before and After are how many verdicts there were of each kind.
	Before ByAction              `json:"before"`
	After  ByAction              `json:"after"`
	Rules  map[string]*RuleTally `json:"rules,omitempty"` // by the rules that bring it about

	people map[string]*Person
	asked  map[personWeek]int64          // newly stepped up, where there is a person
	said   map[string]bool               // rules that had a say before
	routes map[string]map[string]*passed // by route and person
	others bool                          // there are more people than can be told apart
}

// Add counts n verdicts about facts of one person ("" for none).
func (t *Tally) Add(user string, f *policy.Facts, n int64, before, after policy.Decision) {
	p := t.judged(user, f, n, before, after)
	inVain := before.Action != policy.Block && after.AsksInVain(f.Credential) && !before.AsksInVain(f.Credential)
	if p != nil && inVain {
		p.InVain += n
		p.name(because(before, after))
	}
	if before.Action == after.Action {
		return
	}
	t.Counts.add(after.Action, n)
	if p != nil {
		p.Counts.add(after.Action, n)
		p.name(because(before, after))
	}
	week := personWeek{week: weekOf(f.Time.Now)}
	if p != nil {
		week.user = p.User
	}
	if after.Action == policy.StepUp && week.user != "" && len(t.asked) < maxAsked {
		t.asked[week] += n
	}
	rules := because(before, after)
	for _, rule := range rules {
		t.rule(rule).add(after.Action, n, week, len(rules) == 1)
	}
}

// judged counts n verdicts about a person, but not how they differ. It returns the person,
// or nil.
func (t *Tally) judged(user string, f *policy.Facts, n int64, before, after policy.Decision) *Person {
	t.begin()
	t.Judged += n
	t.Before[before.Action] += n
	t.After[after.Action] += n
	p := t.personOf(user)
	if p != nil {
		p.Judged += n
		p.seen(f)
	}
	return p
}

// passed says whether a person had a way through on a route.
type passed struct{ before, after bool }

// passable reports whether a person gets through, if not at once, then by an assertion that
// they can make. asked is the verdict as if no assertion answered anything.
func passable(c policy.Credential, d, asked policy.Decision) bool {
	return d.Action != policy.Block && asked.Action != policy.Block && !d.AsksInVain(c) && !asked.AsksInVain(c) &&
		(asked.Action != policy.StepUp || asked.MaxAge == 0 || asked.MaxAge >= policy.LeastMaxAge)
}

// Pair is a verdict, and the one as if no assertion answered any question
// ([policy.Policy.Unanswered]).
type Pair struct{ Given, Asked policy.Decision }

// AddAsked compares what is asked at all, beside [Tally.Add].
func (t *Tally) AddAsked(user string, f *policy.Facts, n int64, before, after Pair) {
	t.addAsked(user, n, before.Asked, after.Asked)
	for _, d := range []policy.Decision{before.Given, before.Asked} {
		for _, rule := range d.Rules {
			t.said[rule] = true
		}
	}
	p := t.people[user]
	if f.Request.Route == "" || user == "" || p == nil {
		return
	}
	t.through(f.Request.Route, p.User, passed{passable(f.Credential, before.Given, before.Asked), passable(f.Credential, after.Given, after.Asked)})
}

func (t *Tally) through(route, user string, p passed) {
	if t.routes[route] == nil {
		t.routes[strings.Clone(route)] = map[string]*passed{}
	}
	have := t.routes[route][user]
	if have == nil {
		have = new(passed)
		t.routes[route][user] = have
	}
	have.before, have.after = have.before || p.before, have.after || p.after
}

// Said reports whether a rule of the policy before had a say in any verdict that
// [Tally.AddAsked] compared.
func (t *Tally) Said(rule string) bool { return t.said[rule] }

// Closed are the routes that people had a way through on before and none of them has after,
// with their number.
func (t *Tally) Closed() map[string]int {
	out := map[string]int{}
	for route, people := range t.routes {
		had, has := 0, 0
		for _, p := range people {
			if p.before {
				had++
			}
			if p.after {
				has++
			}
		}
		if had > 0 && has == 0 {
			out[route] = had
		}
	}
	return out
}

// addAsked counts n verdicts that were made as if no assertion answered any question
// ([policy.Policy.Unanswered]): a longer max_age changes no verdict about a person who
// has just proved themselves, and yet they are asked less from now on.
func (t *Tally) addAsked(user string, n int64, before, after policy.Decision) {
	t.begin()
	less, more := after.Looser(&before), before.Looser(&after) && after.Action == policy.StepUp
	if !less && !more {
		return
	}
	p := t.personOf(user)
	if p == nil {
		return
	}
	if less {
		p.AskedLess += n
		p.Gone = few(p.Gone, only(before.Rules, after.Rules))
	}
	if more {
		p.AskedMore += n
		p.New = few(p.New, only(after.Rules, before.Rules))
	}
}

// only are the rules of a that b does not have; all of a, if b has the same: they ask for
// something else.
func only(a, b []string) []string {
	out := slices.DeleteFunc(slices.Clone(a), func(r string) bool { return slices.Contains(b, r) })
	if len(out) == 0 {
		return a
	}
	return out
}

// seen keeps the groups, as copies: f may be about to be used again.
func (p *Person) seen(f *policy.Facts) {
	if slices.Equal(p.Groups, f.User.Groups) {
		return
	}
	p.Groups = make([]string, len(f.User.Groups))
	for i, g := range f.User.Groups {
		p.Groups[i] = strings.Clone(g)
	}
}

func (p *Person) name(rules []string) { p.Rules = few(p.Rules, rules) }

// few adds names to a list that stays short.
func few(list, more []string) []string {
	for _, rule := range more {
		if len(list) < maxPersonRules && !slices.Contains(list, rule) {
			list = append(list, strings.Clone(rule))
		}
	}
	return list
}

func (t *Tally) begin() {
	if t.people == nil {
		t.Rules, t.people, t.asked = map[string]*RuleTally{}, map[string]*Person{}, map[personWeek]int64{}
		t.said, t.routes = map[string]bool{}, map[string]map[string]*passed{}
	}
}

func (t *Tally) personOf(user string) *Person {
	p := t.people[user]
	if p == nil && len(t.people) >= maxPeople {
		t.others = true
		return nil
	}
	if p == nil {
		p = &Person{User: strings.Clone(user)}
		t.people[p.User] = p
	}
	return p
}

// because names the rules that a difference comes from: those that have a say now and
// had none before if it became stricter, the other way round if it became looser.
func because(before, after policy.Decision) []string {
	has, had := after.Rules, before.Rules
	if after.Action > before.Action {
		has, had = had, has
	}
	var out []string
	for _, r := range has {
		if !slices.Contains(had, r) {
			out = append(out, r)
		}
	}
	if out == nil { // the same rules, with another action
		return has
	}
	return out
}

// Merge adds what o counted.
func (t *Tally) Merge(o *Tally) {
	t.begin()
	t.Counts.merge(o.Counts)
	t.Judged += o.Judged
	t.others = t.others || o.others
	t.Before.merge(o.Before)
	t.After.merge(o.After)
	for rule, c := range o.Rules {
		t.rule(rule).merge(c)
	}
	for week, n := range o.asked {
		t.asked[week] += n
	}
	for rule := range o.said {
		t.said[rule] = true
	}
	for route, people := range o.routes {
		for user, p := range people {
			t.through(route, user, *p)
		}
	}
	for user, q := range o.people {
		p := t.personOf(user)
		if p == nil {
			continue
		}
		p.Counts.merge(q.Counts)
		p.Judged += q.Judged
		p.InVain += q.InVain
		p.Groups = q.Groups
		p.name(q.Rules)
		p.AskedLess += q.AskedLess
		p.Gone = few(p.Gone, q.Gone)
		p.AskedMore += q.AskedMore
		p.New = few(p.New, q.New)
	}
}

// People returns all people that were judged, those with most newly blocked first,
// including "" if requests without a person were judged.
func (t *Tally) People() []Person {
	out := make([]Person, 0, len(t.people))
	for _, p := range t.people {
		for _, names := range [][]string{p.Rules, p.New, p.Gone} {
			slices.Sort(names) // which rule was met first depends on how the work was shared
		}
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Person) int {
		return cmp.Or(cmp.Compare(b.Blocked, a.Blocked), cmp.Compare(b.SteppedUp, a.SteppedUp), cmp.Compare(b.Allowed, a.Allowed), cmp.Compare(a.User, b.User))
	})
	return out
}

// noticed is how many people have a verdict that differs, of all. Requests without a person
// are of none.
func (t *Tally) noticed() (some, all int) {
	for user, p := range t.people {
		if user == "" {
			continue
		}
		all++
		if p.Changed() > 0 {
			some++
		}
	}
	return some, all
}

// PeopleCounts are how many people have verdicts that differ, by what became of them. A
// person may be in several.
func (t *Tally) PeopleCounts() (c Counts) {
	for user, p := range t.people {
		if user == "" {
			continue
		}
		for _, x := range []struct {
			n  int64
			to *int64
		}{{p.Blocked, &c.Blocked}, {p.SteppedUp, &c.SteppedUp}, {p.Allowed, &c.Allowed}} {
			if x.n > 0 {
				*x.to++
			}
		}
	}
	return c
}

// Prompts says how step-ups that are new fall on people. What is newly stepped up is
// requests, and a person who answers one question is often not asked for the next.
type Prompts struct {
	PersonWeeks int64 `json:"person_weeks"` // weeks of one person with at least one
	Most        int64 `json:"most"`         // requests of one person in one week
}

// Prompts counts them.
func (t *Tally) Prompts() (p Prompts) {
	p.PersonWeeks = int64(len(t.asked))
	for _, n := range t.asked {
		p.Most = max(p.Most, n)
	}
	return p
}
