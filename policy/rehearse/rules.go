package rehearse

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"sallyport/policy"
)

// personWeek is a week of one person.
type personWeek struct {
	user string
	week int64
}

// maxAsked bounds the weeks of people that a tally tells apart, in all and for each rule.
const maxAsked = 1_000_000

// weekOf numbers the weeks; they begin on Monday, in UTC.
func weekOf(t time.Time) int64 {
	const day = 24 * 60 * 60
	return (t.Unix() + 3*day) / (7 * day)
}

// RuleTally is what one rule brings about. Counts are requests, and only those that it
// alone changes: no other rule of the same side is new. Also are those where it is one of
// several.
type RuleTally struct {
	Counts
	Also int64 `json:"also_matched"`

	people map[string]struct{}     // alone or not
	asked  map[personWeek]struct{} // newly stepped up, alone or not
}

// maxRules bounds how many rules a tally tells apart. Names come from the log as well, and a
// forged one is found to be so when all of it has been judged. A policy has 2,000 at most.
const maxRules = 20_000

// otherRules stands for those beyond maxRules. No rule has such a name.
const otherRules = "(other rules)"

func (t *Tally) rule(name string) *RuleTally {
	r := t.Rules[name]
	if r == nil && len(t.Rules) >= maxRules {
		name = otherRules
		r = t.Rules[name]
	}
	if r == nil {
		r = &RuleTally{people: map[string]struct{}{}, asked: map[personWeek]struct{}{}}
		t.Rules[strings.Clone(name)] = r
	}
	return r
}

func (r *RuleTally) add(after policy.Action, n int64, week personWeek, alone bool) {
	if alone {
		r.Counts.add(after, n)
	} else {
		r.Also += n
	}
	if week.user == "" {
		return
	}
	r.people[week.user] = struct{}{}
	if after == policy.StepUp && len(r.asked) < maxAsked {
		r.asked[week] = struct{}{}
	}
}

func (r *RuleTally) merge(o *RuleTally) {
	r.Counts.merge(o.Counts)
	r.Also += o.Also
	for p := range o.people {
		r.people[p] = struct{}{}
	}
	for w := range o.asked {
		r.asked[w] = struct{}{}
	}
}

// MarshalJSON adds the numbers of people and of their weeks.
func (r *RuleTally) MarshalJSON() ([]byte, error) { return json.Marshal(r.counts("")) }

func (r *RuleTally) counts(name string) RuleCounts {
	return RuleCounts{Rule: name, People: int64(len(r.people)), PersonWeeks: int64(len(r.asked)), Counts: r.Counts, Also: r.Also}
}

// RuleCounts is a rule and what it brings about; see [RuleTally].
type RuleCounts struct {
	Rule        string `json:"rule,omitempty"`
	People      int64  `json:"people"`       // whose verdicts differ where it has a say
	PersonWeeks int64  `json:"person_weeks"` // in which one of them is newly asked
	Counts
	Also int64 `json:"also_matched"`
}

// ByRule returns the rules that bring differences about, those first that most people
// would notice.
func (t *Tally) ByRule() []RuleCounts {
	out := make([]RuleCounts, 0, len(t.Rules))
	for name, r := range t.Rules {
		out = append(out, r.counts(name))
	}
	slices.SortFunc(out, func(a, b RuleCounts) int {
		return cmp.Or(cmp.Compare(b.People, a.People), cmp.Compare(b.Changed()+b.Also, a.Changed()+a.Also), cmp.Compare(a.Rule, b.Rule))
	})
	return out
}

// PeopleOf names the people whose verdicts differ where the rule has a say, in order, and
// how many more there are.
func (t *Tally) PeopleOf(rule string, most int) (names []string, more int) {
	r := t.Rules[rule]
	if r == nil {
		return nil, 0
	}
	for p := range r.people {
		names = append(names, p)
	}
	slices.Sort(names)
	more = max(0, len(names)-most)
	return names[:len(names)-more], more
}
