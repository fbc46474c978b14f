package rehearse

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport/policy"
)

// Replay judges recorded decisions again with a candidate. It is not safe for
// concurrent use; several share the work and are merged.
type Replay struct {
	candidate *policy.Policy
	present   *policy.Policy // nil: compare with the recorded decisions
	batches   map[string]*pair

	// Asked makes the replay also compare what would be asked of people without a useful
	// assertion. It needs a present policy, and takes twice the time.
	Asked bool `json:"-"`

	Tally
	Records int64 `json:"records"` // lines; Judged counts the decisions that they stand for
	// Open are decisions that depend on facts which their records lack. They are in
	// none of the other counts.
	Open     int64            `json:"open"`
	Lacking  map[string]int64 `json:"lacking,omitempty"`  // by fact: decisions whose record lacks it
	Unjudged map[string]int64 `json:"unjudged,omitempty"` // by rule: decisions it applied to and could not be judged for
	// ByExceptions are recorded decisions that differ because exceptions began or ended
	// since, and for no other reason. They are in none of the other counts of differences.
	ByExceptions Counts          `json:"by_exceptions"`
	First        time.Time       `json:"first,omitzero"`
	Last         time.Time       `json:"last,omitzero"`
	Days         map[string]*Day `json:"days,omitempty"` // by UTC date

	was, is func(*policy.Facts) // see Changing; nil: as recorded

	today    *Day // that of the last record
	todayIs  int64
	examples map[string][]*Recorded // by rule
}

// Day is the recorded and the new decisions of a day.
type Day struct {
	Before ByAction `json:"before"`
	After  ByAction `json:"after"`
}

// pair are the policies, for records that lack the same facts.
type pair struct{ candidate, present *policy.Batch }

const (
	examplesPerRule = 2
	maxExamples     = 50 // rules with examples
	maxDays         = 4000
)

// New compares a candidate with the recorded decisions, or, with a present policy, with
// what that policy decides now about the same records.
func New(candidate, present *policy.Policy) *Replay {
	return &Replay{candidate: candidate, present: present, batches: map[string]*pair{},
		Lacking: map[string]int64{}, Unjudged: map[string]int64{}, Days: map[string]*Day{}, examples: map[string][]*Recorded{}}
}

// Changing has every record judged twice: by the present policy with what `was` makes of
// its facts, and by the candidate with what `is` does. It is how other data is compared,
// where the policy is the same.
func (r *Replay) Changing(was, is func(*policy.Facts)) { r.was, r.is = was, is }

// maxBatches bounds the memory for records that lack ever other facts; a program
// writes one or two kinds.
const maxBatches = 32

func (r *Replay) pair(lacking []string) *pair {
	key := strings.Join(lacking, " ")
	p := r.batches[key]
	if p == nil {
		if len(r.batches) >= maxBatches {
			clear(r.batches)
		}
		p = &pair{candidate: r.candidate.NewBatch(lacking)}
		if r.present != nil {
			p.present = r.present.NewBatch(lacking)
		}
		r.batches[key] = p
	}
	return p
}

// Add judges one record. It copies the texts that it keeps of rec, unless it keeps the
// record as an example, which it reports: then its texts must not change.
func (r *Replay) Add(rec *Recorded) (kept bool) {
	n := rec.times()
	r.Records++
	for _, fact := range rec.Lacking {
		r.Lacking[fact] += n
	}
	if r.First.IsZero() || rec.Time.Before(r.First) {
		r.First = rec.Time
	}
	if rec.Time.After(r.Last) {
		r.Last = rec.Time
	}
	p := r.pair(rec.Lacking)
	facts, present := &rec.Facts, &rec.Facts
	if r.is != nil {
		then, now := rec.Facts, rec.Facts
		facts, present = &now, &then
		r.was(present)
		r.is(facts)
	}
	least, most, unjudged := p.candidate.Bounds(facts)
	for _, rule := range unjudged {
		r.Unjudged[rule] += n
	}
	before := policy.Decision{Action: rec.Action, Rules: rec.Rules, Excepted: rec.Excepted}
	decided := least.Action == most.Action
	if p.present != nil {
		var strictest policy.Decision
		before, strictest, _ = p.present.Bounds(present)
		decided = decided && before.Action == strictest.Action
	}
	if !decided {
		r.Open += n
		return false
	}
	r.day(rec.Time, n, before.Action, least.Action)
	if p.present == nil && byExceptions(before, least) {
		r.ByExceptions.add(least.Action, n)
		r.Tally.judged(rec.User, facts, n, before, least)
		return false
	}
	r.Tally.Add(rec.User, facts, n, before, least)
	if r.Asked && r.present != nil && len(rec.Lacking) == 0 {
		r.Tally.AddAsked(rec.User, facts, n, Pair{before, r.present.Unanswered().Decide(present)}, Pair{least, r.candidate.Unanswered().Decide(facts)})
	}
	if before.Action != least.Action {
		for _, rule := range because(before, least) {
			kept = r.example(rule, rec) || kept
		}
	}
	return kept
}

// byExceptions reports whether a recorded verdict differs by exceptions alone: every rule
// that the difference comes from is one that an exception suspends on the other side.
func byExceptions(before, after policy.Decision) bool {
	if before.Action == after.Action {
		return false
	}
	suspended := before.Excepted
	if after.Looser(&before) {
		suspended = after.Excepted
	}
	rules := because(before, after)
	for _, rule := range rules {
		if !slices.ContainsFunc(suspended, func(x policy.Excepted) bool { return x.Rule == rule }) {
			return false
		}
	}
	return len(rules) > 0
}

func (r *Replay) day(at time.Time, n int64, before, after policy.Action) {
	if number := at.Unix() / (24 * 60 * 60); r.today == nil || number != r.todayIs { // records come in order
		key := at.UTC().Format(time.DateOnly)
		if r.Days[key] == nil && len(r.Days) >= maxDays {
			return
		}
		if r.Days[key] == nil {
			r.Days[key] = new(Day)
		}
		r.today, r.todayIs = r.Days[key], number
	}
	d := r.today
	d.Before[before] += n
	d.After[after] += n
}

// example keeps the earliest records of each rule, from all replays. It reports whether
// this is one of them.
func (r *Replay) example(rule string, rec *Recorded) bool {
	list, known := r.examples[rule]
	if !known && len(r.examples) >= maxExamples || len(list) == examplesPerRule && list[len(list)-1].Seq < rec.Seq {
		return false
	}
	kept := *rec
	list = append(list, &kept)
	slices.SortStableFunc(list, func(a, b *Recorded) int { return cmp.Compare(a.Seq, b.Seq) })
	r.examples[strings.Clone(rule)] = list[:min(len(list), examplesPerRule)]
	return true
}

// Merge adds what another replay of the same policies found.
func (r *Replay) Merge(o *Replay) {
	r.Tally.Merge(&o.Tally)
	r.Records += o.Records
	r.Open += o.Open
	r.ByExceptions.merge(o.ByExceptions)
	for k, n := range o.Lacking {
		r.Lacking[k] += n
	}
	for k, n := range o.Unjudged {
		r.Unjudged[k] += n
	}
	if r.First.IsZero() || !o.First.IsZero() && o.First.Before(r.First) {
		r.First = o.First
	}
	if o.Last.After(r.Last) {
		r.Last = o.Last
	}
	for key, d := range o.Days {
		mine := r.Days[key]
		if mine == nil {
			mine = new(Day)
			r.Days[key] = mine
		}
		mine.Before.merge(d.Before)
		mine.After.merge(d.After)
	}
	for rule, list := range o.examples {
		for _, rec := range list {
			r.example(rule, rec)
		}
	}
}

// Example is a recorded decision that would be another one, and why.
type Example struct {
	Rule     string             `json:"rule"`
	Seq      int64              `json:"seq"`
	Time     time.Time          `json:"time"`
	User     string             `json:"user"`
	Incident string             `json:"incident,omitempty"`
	Was      policy.Action      `json:"was"`
	WasRules []string           `json:"was_rules,omitempty"`
	Lacking  []string           `json:"lacking,omitempty"` // facts that the record does not have; they show as zero
	Why      policy.Explanation `json:"why"`               // by the candidate
}

// Examples explains a few decisions that would be others, by rule.
func (r *Replay) Examples() (out []Example) {
	for _, rule := range slices.Sorted(maps.Keys(r.examples)) {
		for _, rec := range r.examples[rule] {
			was := policy.Decision{Action: rec.Action, Rules: rec.Rules}
			if r.present != nil {
				was = r.present.Decide(&rec.Facts)
			}
			out = append(out, Example{Rule: rule, Seq: rec.Seq, Time: rec.Time, User: rec.User, Incident: rec.Incident,
				Was: was.Action, WasRules: was.Rules, Lacking: rec.Lacking, Why: r.candidate.Explain(&rec.Facts)})
		}
	}
	return out
}
