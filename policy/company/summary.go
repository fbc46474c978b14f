package company

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Summary is how several runs of one model went, one for each seed. The same seeds give
// the same summary.
type Summary struct {
	Policy string   `json:"policy"` // hash
	Days   int      `json:"days"`   // of each run
	Seeds  []uint64 `json:"seeds"`
	// Honest and Hostile are sums over the kinds of people; Kinds has each.
	Honest  GroupSummary   `json:"honest"`
	Hostile GroupSummary   `json:"hostile"`
	Kinds   []GroupSummary `json:"kinds"`
	// RatesSummary are those of the policy as a whole: of all its enforced rules that are
	// no routine.
	RatesSummary
	Exercised Exercised     `json:"exercised"`
	Rules     []RuleSummary `json:"rules"` // in the order of the file
}

// Exercised counts the enforced rules that are no routine: how many the rates of the policy
// speak of.
type Exercised struct {
	Honest  int `json:"honest"`
	Hostile int `json:"hostile"`
	Of      int `json:"of"`
}

func (x *Exercised) add(r *RuleSummary) {
	if r.Report || r.Routine {
		return
	}
	x.Of++
	if r.Honest != nil {
		x.Honest++
	}
	if r.Hostile != nil {
		x.Hostile++
	}
}

// Figure is one number over the seeds. Nine of ten runs are from Low to High.
type Figure struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Count is how many of all people, of all runs together. Of stolen sessions, the thefts.
type Count struct {
	N  int `json:"n"`
	Of int `json:"of"`
	// AtMost is set where N is 0: the share is below it with a confidence of 95 % (the rule
	// of three), as far as the model is right.
	AtMost float64 `json:"at_most,omitempty"`
}

func countOf(n, of int) Count {
	c := Count{N: n, Of: of}
	if n == 0 && of > 0 {
		c.AtMost = min(1, 3/float64(of))
	}
	return c
}

// RatesSummary are shares from 0 to 1.
type RatesSummary struct {
	FalseAlarms Figure `json:"false_alarm_rate"` // of the person-days of those who belong here
	Detection   Figure `json:"detection_rate"`   // of the person-days of those who do not
	Detected    Count  `json:"detected"`         // of those who do not belong here: met at all
	Annoyed     Count  `json:"annoyed"`          // of those who belong here: met at all
}

// GroupSummary is how it went for people of one kind. Rates are 0 to 1, of person-days.
type GroupSummary struct {
	Name        string `json:"name"`
	People      Figure `json:"people"`          // in a run
	Days        Figure `json:"days"`            // person-days with a request, in a run
	SignIns     Figure `json:"sign_ins_a_week"` // with the passkey, which no rule asks for
	Asked       Figure `json:"asked_a_week"`
	Alarms      Figure `json:"alarms_a_week"` // those of them that a rule asked for which is not routine
	AlarmDays   Figure `json:"alarm_day_rate"`
	Blocked     Figure `json:"blocked_day_rate"` // something was refused
	Stopped     Figure `json:"stopped_day_rate"` // nothing was let through
	Met         Count  `json:"met"`
	Barred      Count  `json:"barred"`
	FirstMet    Figure `json:"first_met"` // days, the median of a run; over the runs with one
	FirstBarred Figure `json:"first_barred"`
}

// RuleSummary is the effect of one rule.
type RuleSummary struct {
	Name    string `json:"name"`
	Report  bool   `json:"report,omitempty"`
	Routine bool   `json:"routine,omitempty"` // it reads nothing but ages, the request and the hour
	// Honest and Hostile are what it does to people. Nil: the model does not exercise it
	// for them, and NotExercised says why.
	Honest  *Effect `json:"honest"`
	Hostile *Effect `json:"hostile"`
	// Kinds are those who do not belong here and on whose requests it had a say, by kind.
	Kinds        map[string]Count `json:"kinds,omitempty"`
	NotExercised NotExercised     `json:"not_exercised,omitzero"`
}

// Effect is what a rule does to people, in a week of the whole company. A request is
// credited to a rule if it would have been let through, or would have met less, without it;
// of a rule in report mode, if it would not with it.
type Effect struct {
	People      Figure `json:"people_a_week"`
	Prompts     Figure `json:"prompts_a_person_and_week"` // questions and refusals, of those people
	Requests    Figure `json:"requests_a_week"`
	AlsoMatched Figure `json:"also_matched_people_a_week"` // asked or refused anyway, and it matched
	Days        Figure `json:"day_rate"`                   // share of person-days on which it had a say, alone or not
	Ever        Count  `json:"ever"`                       // people, on requests of which it ever had a say
}

// MaxSeeds bounds the time of a summary.
const MaxSeeds = 1000

// RunSeeds runs the model once for each seed from c.Seed on, on all processors.
func RunSeeds(ctx context.Context, c Config, seeds int) (*Summary, error) {
	if seeds < 1 || seeds > MaxSeeds {
		return nil, errors.New("company: the number of seeds is 1 to 1000")
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	reports := make([]*Report, seeds)
	var next, lived atomic.Int64
	var progress sync.Mutex
	var running sync.WaitGroup
	for range min(seeds, runtime.GOMAXPROCS(0)) {
		running.Go(func() {
			for i := int(next.Add(1)) - 1; i < seeds; i = int(next.Add(1)) - 1 {
				one := c
				one.Seed = c.Seed + uint64(i)
				one.Progress = func(int, int) {
					if n := lived.Add(1); c.Progress != nil {
						progress.Lock()
						c.Progress(int(n), seeds*c.Days)
						progress.Unlock()
					}
				}
				var err error
				if reports[i], err = Run(ctx, one); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	running.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return summarize(reports), nil
}

func summarize(runs []*Report) *Summary {
	s := &Summary{Policy: runs[0].Policy, Days: runs[0].Days}
	for i, r := range runs {
		s.Seeds = append(s.Seeds, r.Seed)
		if i > 0 {
			runs[0].exercise.merge(r.exercise)
		}
	}
	s.Honest = groups(runs, func(r *Report) *Group { return &r.Honest })
	s.Hostile = groups(runs, func(r *Report) *Group { return &r.Hostile })
	for k := range runs[0].Kinds {
		s.Kinds = append(s.Kinds, groups(runs, func(r *Report) *Group { return &r.Kinds[k] }))
	}
	s.RatesSummary = RatesSummary{
		FalseAlarms: figure(runs, func(r *Report) float64 { return r.FalseAlarms }),
		Detection:   figure(runs, func(r *Report) float64 { return r.Detection }),
		Detected:    s.Hostile.Met, Annoyed: s.Honest.Met,
	}
	for i := range runs[0].Rules {
		s.Rules = append(s.Rules, ruleOf(runs, i))
		s.Exercised.add(&s.Rules[i])
	}
	return s
}

func groups(runs []*Report, of func(*Report) *Group) GroupSummary {
	share := func(n func(*Group) int) Figure {
		return figure(runs, func(r *Report) float64 { return share(n(of(r)), of(r).Days) })
	}
	first := func(n func(*Group) int) Figure {
		var with []*Report
		for _, r := range runs {
			if n(of(r)) >= 0 {
				with = append(with, r)
			}
		}
		return figure(with, func(r *Report) float64 { return float64(n(of(r))) })
	}
	met, barred, people := 0, 0, 0
	for _, r := range runs {
		g := of(r)
		met, barred, people = met+g.Met, barred+g.Barred, people+g.People
	}
	return GroupSummary{
		Name:    of(runs[0]).Name,
		People:  figure(runs, func(r *Report) float64 { return float64(of(r).People) }),
		Days:    figure(runs, func(r *Report) float64 { return float64(of(r).Days) }),
		SignIns: figure(runs, func(r *Report) float64 { return perWeek(of(r).SignIns, of(r).Days) }),
		Asked:   figure(runs, func(r *Report) float64 { return perWeek(of(r).Asked, of(r).Days) }),
		Alarms:  figure(runs, func(r *Report) float64 { return perWeek(of(r).Alarms, of(r).Days) }),

		AlarmDays: share(func(g *Group) int { return g.AlarmDays }),
		Blocked:   share(func(g *Group) int { return g.Blocked }),
		Stopped:   share(func(g *Group) int { return g.Stopped }),
		Met:       countOf(met, people), Barred: countOf(barred, people),
		FirstMet:    first(func(g *Group) int { return g.FirstMet }),
		FirstBarred: first(func(g *Group) int { return g.FirstBarred }),
	}
}

func ruleOf(runs []*Report, i int) RuleSummary {
	rule := &runs[0].Rules[i]
	out := RuleSummary{Name: rule.Name, Report: rule.Report, Routine: rule.Routine, NotExercised: runs[0].exercise.of(i)}
	if out.NotExercised.Honest == "" {
		out.Honest = effectOf(runs, honest, i)
	}
	if out.NotExercised.Hostile == "" {
		out.Hostile = effectOf(runs, hostile, i)
		out.Kinds = map[string]Count{}
	}
	for k, g := range runs[0].Kinds {
		met, of := 0, 0
		for _, r := range runs {
			met, of = met+r.Rules[i].HostilePeople[g.Name], of+r.Kinds[k].People
		}
		if met > 0 {
			out.Kinds[g.Name] = countOf(met, of)
		}
	}
	return out
}

func effectOf(runs []*Report, at side, i int) *Effect {
	aWeek := func(n func(*Rule) int) Figure {
		return figure(runs, func(r *Report) float64 { return float64(n(&r.Rules[i])) / r.weeks() })
	}
	e := &Effect{
		People:      aWeek(func(r *Rule) int { return r.Alone[at].PeopleWeeks }),
		Requests:    aWeek(func(r *Rule) int { return r.Alone[at].Requests }),
		AlsoMatched: aWeek(func(r *Rule) int { return r.Also[at].PeopleWeeks }),
		Prompts: figure(runs, func(r *Report) float64 {
			return share(r.Rules[i].Alone[at].Requests, r.Rules[i].Alone[at].PeopleWeeks)
		}),
	}
	ever, of := 0, 0
	if at == honest {
		e.Days = figure(runs, func(r *Report) float64 { return r.Rules[i].FalseAlarms })
		for _, r := range runs {
			ever, of = ever+r.Rules[i].HonestPeople, of+r.Honest.People
		}
	} else {
		e.Days = figure(runs, func(r *Report) float64 { return r.Rules[i].Detection })
		for _, r := range runs {
			for _, n := range r.Rules[i].HostilePeople {
				ever += n
			}
			of += r.Hostile.People
		}
	}
	e.Ever = countOf(ever, of)
	return e
}

// figure is the mean over the runs, with the range of nine of ten.
func figure(runs []*Report, of func(*Report) float64) (f Figure) {
	if len(runs) == 0 {
		return f
	}
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = of(r)
		f.Mean += values[i] / float64(len(runs))
	}
	slices.Sort(values)
	f.Low, f.High = quantile(values, 0.05), quantile(values, 0.95)
	return f
}

// quantile interpolates between sorted values.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
