package company

import (
	"cmp"
	"slices"

	"sallyport/policy"
)

// Report is how one run of one seed went.
type Report struct {
	Policy string `json:"policy"` // hash
	Seed   uint64 `json:"seed"`
	Days   int    `json:"days"`
	// Honest and Hostile are sums over the kinds of people; Kinds has each.
	Honest  Group   `json:"honest"`
	Hostile Group   `json:"hostile"`
	Kinds   []Group `json:"kinds"`
	// Rates are those of the policy as a whole: of all its enforced rules that are no
	// routine.
	Rates
	Rules []Rule `json:"rules"` // in the order of the file

	day    map[*person]*tally // of the day under way; thieves are counted apart
	stolen map[*person]*tally
	kinds  [kinds]*group
	rules  map[string]*rule

	exercise *exercise
}

// Rates, from 0 to 1, are how often a sign is wrong and how often it is right.
type Rates struct {
	// FalseAlarms is the share of the person-days of those who belong here on which it
	// asked or refused.
	FalseAlarms float64 `json:"false_alarm_rate"`
	// Detection is the same for those who do not belong here, and Detected the share of
	// them (of stolen sessions: of thefts) that it met at all.
	Detection float64 `json:"detection_rate"`
	Detected  float64 `json:"detected_rate"`
}

func ratesOf(honestDays, hostileDays, hostilePeople int, r *Report) Rates {
	return Rates{share(honestDays, r.Honest.Days), share(hostileDays, r.Hostile.Days), share(hostilePeople, r.Hostile.People)}
}

func share(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// Group is how it went for people of one kind. Days are person-days with at least one
// request.
type Group struct {
	Name      string `json:"name"`
	People    int    `json:"people"` // of stolen sessions: thefts
	Days      int    `json:"days"`
	SignIns   int    `json:"sign_ins"`   // each with the passkey, which no rule asks for
	Asked     int    `json:"asked"`      // step-ups in all
	Alarms    int    `json:"alarms"`     // those of them that a rule asked for which is not routine
	AlarmDays int    `json:"alarm_days"` // days with at least one of these
	Blocked   int    `json:"blocked"`    // days on which something was refused
	Stopped   int    `json:"stopped"`    // days on which nothing was let through
	MetDays   int    `json:"met_days"`   // days on which they were asked or refused because of a sign
	// Met is how many of the people were ever asked or blocked for anything but the age
	// of their proof; Barred how many were ever blocked.
	Met    int `json:"met"`
	Barred int `json:"barred"`
	// FirstMet and FirstBarred are after how many days, the median of those it happened
	// to; -1: it happened to none.
	FirstMet    int `json:"first_met"`
	FirstBarred int `json:"first_barred"`

	visits int
}

// Rule is the effect of one rule: on how many person-days it took part in the verdict (or
// would have, in report mode), and for how many people.
type Rule struct {
	Name          string         `json:"name"`
	Report        bool           `json:"report,omitempty"`
	Routine       bool           `json:"routine,omitempty"` // it reads nothing but ages, the request and the hour
	HonestDays    int            `json:"honest_days"`
	HonestPeople  int            `json:"honest_people"`
	HostileDays   int            `json:"hostile_days"`
	HostilePeople map[string]int `json:"hostile_people"` // by kind
	Rates
	// Alone is what the rule brought about that would not have been without it, Also what
	// it matched as well.
	Alone, Also [sides]effect
}

// effect counts the people in each week that something happened to, added up over the
// weeks, and the requests.
type effect struct{ PeopleWeeks, Requests int }

// visitor is a person, or the thief of their session.
type visitor struct {
	person *person
	thief  bool
}

type group struct {
	Group
	people     map[*person]bool
	met        map[*person]int // days since they started
	barred     map[*person]int
	theftsMet  []int
	theftsStop []int
}

type rule struct {
	Rule
	honest  map[*person]bool
	hostile map[*person]kind

	alone, also [sides]map[visitor]bool // of the week under way
}

func (r *rule) note(of *[sides]map[visitor]bool, to *[sides]effect, t *tally) {
	at := t.kind.side()
	to[at].Requests++
	if v := (visitor{t.person, t.kind == cookieTheft}); !of[at][v] {
		of[at][v] = true
		to[at].PeopleWeeks++
	}
}

// tally is one person's day.
type tally struct {
	report  *Report
	person  *person
	kind    kind
	visits  int
	signIns int
	asked   int
	alarms  int
	allowed bool
	barred  bool
	met     bool
	rules   map[string]bool
}

func newReport(c Config, people []*person) *Report {
	r := &Report{Policy: c.Policy.Hash(), Seed: c.Seed, Days: c.Days, day: map[*person]*tally{}, stolen: map[*person]*tally{}, rules: map[string]*rule{}}
	for k := range kinds {
		r.kinds[k] = &group{Group: Group{Name: k.String()}, people: map[*person]bool{}, met: map[*person]int{}, barred: map[*person]int{}}
	}
	for _, p := range people {
		r.kinds[p.kind].People++
	}
	for _, info := range c.Policy.Rules() {
		r.rules[info.Name] = &rule{Rule: Rule{Name: info.Name, Report: info.Report, Routine: routine(info.Reads.Facts), HostilePeople: map[string]int{}},
			honest: map[*person]bool{}, hostile: map[*person]kind{},
			alone: [sides]map[visitor]bool{{}, {}}, also: [sides]map[visitor]bool{{}, {}}}
		r.Rules = append(r.Rules, r.rules[info.Name].Rule)
	}
	return r
}

// routineFacts change by themselves: a rule that reads nothing else asks every person.
var routineFacts = []string{"session.verified_age", "session.age", "session.level", "session.id", "credential.class", "credential.age", "user.started_days", "user.time_zone",
	"request.method", "request.path", "request.route", "request.purpose", "time.now", "ip.data_age_hours"}

func routine(facts []string) bool {
	return !slices.ContainsFunc(facts, func(f string) bool { return !slices.Contains(routineFacts, f) })
}

// open returns the tally of the visitor's day.
func (r *Report) open(v *visit) *tally {
	of, k := r.day, v.person.kind
	if v.thief {
		of, k = r.stolen, cookieTheft
	}
	t := of[v.person]
	if t == nil {
		t = &tally{report: r, person: v.person, kind: k, rules: map[string]bool{}}
		of[v.person] = t
	}
	return t
}

// judged counts a request: first is the verdict before the person could answer, last the
// one after.
func (t *tally) judged(first, last policy.Decision) {
	t.visits++
	if first.Action == policy.StepUp {
		t.asked++
	}
	t.allowed = t.allowed || last.Action == policy.Allow
	t.barred = t.barred || last.Action != policy.Allow
	for _, name := range slices.Concat(first.Rules, last.Rules) {
		t.rules[name] = true
	}
	if slices.ContainsFunc(slices.Concat(first.Rules, last.Rules), t.report.telling) {
		t.met = true
		if first.Action == policy.StepUp {
			t.alarms++
		}
	}
	for _, rep := range first.Reported {
		t.rules[rep.Rule] = true
	}
}

// credit counts what rules, by their indexes, have to do with a request.
func (t *tally) credit(alone, also []int) {
	for _, i := range alone {
		r := t.report.rules[t.report.Rules[i].Name]
		r.note(&r.alone, &r.Alone, t)
	}
	for _, i := range also {
		r := t.report.rules[t.report.Rules[i].Name]
		r.note(&r.also, &r.Also, t)
	}
}

// weeks is how long the run was; the last one need not be whole. A run of less than a week
// counts as one: people who are met in three days are not seven thirds of themselves.
func (r *Report) weeks() float64 { return max(1, float64(r.Days)/7) }

// endWeek begins the next week.
func (r *Report) endWeek() {
	for _, rule := range r.rules {
		for s := range sides {
			clear(rule.alone[s])
			clear(rule.also[s])
		}
	}
}

// telling reports whether a rule of this name reveals something about a person, rather
// than being routine.
func (r *Report) telling(name string) bool { return r.rules[name] != nil && !r.rules[name].Routine }

// endDay adds the day to the year.
func (r *Report) endDay(d int) {
	for _, day := range []map[*person]*tally{r.day, r.stolen} {
		for _, t := range day {
			r.add(d, t)
		}
		clear(day)
	}
}

func (r *Report) add(d int, t *tally) {
	g := r.kinds[t.kind]
	g.Days++
	g.visits += t.visits
	g.SignIns += t.signIns
	g.Asked += t.asked
	since := d - max(t.person.first, 0)
	theft := t.kind == cookieTheft
	if theft {
		g.People++
	}
	g.Alarms += t.alarms
	if t.alarms > 0 {
		g.AlarmDays++
	}
	if t.barred {
		g.Blocked++
		if theft {
			g.theftsStop = append(g.theftsStop, 0)
		} else if _, ok := g.barred[t.person]; !ok {
			g.barred[t.person] = since
		}
	}
	if !t.allowed {
		g.Stopped++
	}
	if t.met {
		g.MetDays++
		if theft {
			g.theftsMet = append(g.theftsMet, 0)
		} else if _, ok := g.met[t.person]; !ok {
			g.met[t.person] = since
		}
	}
	for name := range t.rules {
		rule := r.rules[name]
		switch {
		case rule == nil: // baseline
		case t.kind.hostile():
			rule.HostileDays++
			if theft {
				rule.HostilePeople[t.kind.String()]++
			} else if _, ok := rule.hostile[t.person]; !ok {
				rule.hostile[t.person] = t.kind
				rule.HostilePeople[t.kind.String()]++
			}
		default:
			rule.HonestDays++
			rule.honest[t.person] = true
		}
	}
}

func (r *Report) finish() {
	r.Honest.Name, r.Hostile.Name = "those who belong here", "those who do not"
	var all [2]group
	for k, g := range r.kinds {
		g.Met, g.Barred = len(g.met)+len(g.theftsMet), len(g.barred)+len(g.theftsStop)
		met, barred := append(daysOf(g.met), g.theftsMet...), append(daysOf(g.barred), g.theftsStop...)
		g.FirstMet, g.FirstBarred = median(met), median(barred)
		side := &all[0]
		if kind(k).hostile() {
			side = &all[1]
		}
		side.theftsMet, side.theftsStop = append(side.theftsMet, met...), append(side.theftsStop, barred...)
		side.plus(g.Group)
		r.Kinds = append(r.Kinds, g.Group)
	}
	for i, to := range []*Group{&r.Honest, &r.Hostile} {
		name := to.Name
		*to = all[i].Group
		to.Name, to.FirstMet, to.FirstBarred = name, median(all[i].theftsMet), median(all[i].theftsStop)
	}
	r.Rates = ratesOf(r.Honest.MetDays, r.Hostile.MetDays, r.Hostile.Met, r)
	for i := range r.Rules {
		rule := r.rules[r.Rules[i].Name]
		rule.HonestPeople = len(rule.honest)
		met := 0
		for _, n := range rule.HostilePeople {
			met += n
		}
		rule.Rates = ratesOf(rule.HonestDays, rule.HostileDays, met, r)
		r.Rules[i] = rule.Rule
	}
}

func (g *Group) plus(h Group) {
	g.People += h.People
	g.Days += h.Days
	g.SignIns += h.SignIns
	g.Asked += h.Asked
	g.Alarms += h.Alarms
	g.AlarmDays += h.AlarmDays
	g.Blocked += h.Blocked
	g.Stopped += h.Stopped
	g.MetDays += h.MetDays
	g.Met += h.Met
	g.Barred += h.Barred
}

func daysOf(m map[*person]int) (out []int) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

func median(v []int) int {
	if len(v) == 0 {
		return -1
	}
	slices.SortFunc(v, cmp.Compare)
	return v[len(v)/2]
}
