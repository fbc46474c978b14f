package rollout

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/policy/changes"
	"sallyport/policy/rehearse"
	"sallyport/proxy"
	"sallyport/proxy/audit"
)

const (
	RecentLines = 100_000          // of the audit log: what the guard and explain look at
	guardFor    = 20 * time.Second // for reading them; records read until then count
	guardPeople = 1000             // in a report
)

// Guard says how many people a candidate may lock out, or let in, before it is refused.
type Guard struct {
	MaxNewlyBlocked float64 // share of the people that were judged, 0 to 1
	MaxNewlyAllowed float64 // share of the people who may be let through or asked less, 0 to 1
	DataMayAllow    float64 // the same for new IP data, which changes every night
	BreakGlassGroup string  // a candidate may block no member of it; "": there is no such group
	Days            int     // how far back recorded decisions count
}

// Report is who a policy, or IP data, would lock out, and what that is known from.
type Report struct {
	Judged    bool      `json:"judged"`               // false: it was refused before that, or is in force
	Sessions  int64     `json:"sessions"`             // live ones that were judged
	Decisions int64     `json:"decisions"`            // recorded ones that were
	Since     time.Time `json:"since,omitzero"`       // when the oldest of them was made
	Note      string    `json:"note,omitempty"`       // why there are not more of them
	People    int       `json:"people"`               // who were judged
	Blocked   []Person  `json:"newly_blocked"`        // those of them that something would be blocked for which is not now
	Allowed   []Person  `json:"newly_allowed"`        // those who would get through, or be asked less, where they are not now
	AskedMore []Person  `json:"asked_more,omitempty"` // those who would be asked, or asked for more, where they are not now
	Refused   string    `json:"refused,omitempty"`    // why the change is refused; "": it is not
	Unchanged bool      `json:"unchanged,omitempty"`  // the candidate is in force already, so nothing was judged
	because   []Person  // of Blocked or Allowed, those that cause the refusal
	limit     string    // the key below policy_guard that it goes by; "": none

	At          time.Time `json:"at,omitzero"`           // of a part of Later
	Later       []Report  `json:"later,omitempty"`       // what else it would do by itself, from a day on
	JudgedUntil time.Time `json:"judged_until,omitzero"` // not all that begins or ends then or later was judged

	Closed   map[string]int `json:"closed,omitempty"`   // routes that their people could not use any more, and how many used them
	Unjudged []string       `json:"unjudged,omitempty"` // rules that are gone or say otherwise, and had no say in what was judged

	Changes []changes.Change `json:"changes,omitempty"` // what the policy says otherwise than the one in force
}

// Person is a person affected by a candidate.
type Person struct {
	User       string   `json:"user"`
	Rules      []string `json:"rules"`
	InVain     bool     `json:"asked_in_vain,omitempty"` // blocked from nothing, but asked for another kind of passkey
	AskedLess  bool     `json:"asked_less,omitempty"`    // newly allowed nothing, but asked less often, or for less
	BreakGlass bool     `json:"break_glass,omitempty"`
}

// compare evaluates, with a snapshot that is not in force, the live sessions and the
// decisions recorded in the last days, and compares with `before`: a block that `before`
// gives as well is not new, even if the record says otherwise. The snapshots differ in
// their policy or in their IP data. A person is newly blocked if anything that they do,
// or did, would be. A demand for a kind of passkey that they do not use counts as a
// block, because a person without such a passkey cannot get in any more.
//
// What policies do by themselves later is judged as well: see dates. With IP data alone it is
// not.
func (m *Manager) compare(ctx context.Context, c Configuration, before, next *proxy.Snapshot) Report {
	data := before.Policy == next.Policy
	var later []date
	var judgedUntil time.Time
	var untold []string
	if !data {
		now, was, is := time.Now(), before.Policy.Moments(), next.Policy.Moments()
		later, judgedUntil = dates(was, is, now.AddDate(0, 0, -c.Guard.Days), now)
		untold = unclear(was, is)
	}
	tallies := []*rehearse.Tally{m.config.Gate.Compare(before, next)}
	for _, d := range later {
		tallies = append(tallies, m.config.Gate.CompareAt(before, next, d.clock))
	}
	head := Report{Sessions: tallies[0].Judged, JudgedUntil: judgedUntil}
	if c.Guard.Days > 0 {
		for i, recorded := range m.judgeRecords(ctx, c, change{before, next}, later, &head) {
			tallies[i].Merge(recorded)
		}
	}
	r := affected(c.Guard, tallies[0], data)
	r.Sessions, r.Decisions, r.Since, r.Note, r.JudgedUntil = head.Sessions, head.Decisions, head.Since, head.Note, head.JudgedUntil
	if !data {
		r.Unjudged = unjudged(before.Policy, next.Policy, m.changes(c), tallies)
	}
	for i, d := range later {
		l := affected(c.Guard, tallies[i+1], data)
		l.At = d.at
		r.later(l)
	}
	r.refuseUnclear(untold)
	return r
}

// affected is what a tally says of people, and whether it is too much.
func affected(g Guard, judged *rehearse.Tally, data bool) Report {
	r := Report{Judged: true, Closed: judged.Closed()}
	for _, p := range judged.People() {
		if p.User == "" {
			continue // strangers are not people who work here
		}
		r.People++
		switch {
		case p.Blocked > 0 || p.InVain > 0:
			glass := g.BreakGlassGroup != "" && slices.Contains(p.Groups, g.BreakGlassGroup)
			r.Blocked = append(r.Blocked, Person{User: p.User, Rules: p.Rules, InVain: p.Blocked == 0, BreakGlass: glass})
		case p.AskedMore > 0: // else they are listed with those who are blocked
			r.AskedMore = append(r.AskedMore, Person{User: p.User, Rules: p.New})
		}
		if p.Allowed > 0 || p.AskedLess > 0 {
			r.Allowed = append(r.Allowed, Person{User: p.User, Rules: p.Gone, AskedLess: p.Allowed == 0})
		}
	}
	for _, list := range [][]Person{r.Blocked, r.Allowed, r.AskedMore} {
		slices.SortFunc(list, func(a, b Person) int { return strings.Compare(a.User, b.User) })
	}
	r.applyGuard(g, data)
	r.Blocked = r.Blocked[:min(len(r.Blocked), guardPeople)]
	r.Allowed = r.Allowed[:min(len(r.Allowed), guardPeople)]
	r.AskedMore = r.AskedMore[:min(len(r.AskedMore), guardPeople)]
	return r
}

// judgeRecords judges the recorded decisions, as they were and as if they came later.
func (m *Manager) judgeRecords(ctx context.Context, c Configuration, by change, later []date, r *Report) (list []*rehearse.Tally) {
	before, next := by.before, by.next
	since := time.Now().AddDate(0, 0, -c.Guard.Days)
	ctx, cancel := context.WithTimeout(ctx, guardFor)
	defer cancel()
	run := Replay{
		Lines: audit.LastLines(m.config.AuditFile, RecentLines), Candidate: next.Policy, Present: before.Policy, Was: before.Intel, Is: next.Intel, Asked: true,
		Routes: c.Policies.Enforced.Routes, Since: since,
	}
	for _, d := range later {
		run.Clocks = append(run.Clocks, d.clock)
	}
	results, err := run.RunEach(ctx, []*policy.Policy{next.Policy})
	result := results[0]
	r.Decisions, r.Since = result.Judged, result.First
	switch {
	case err != nil:
		r.Note = "not all of the audit log was read: " + err.Error()
	case result.Lines >= RecentLines && result.Skipped[BeforeSince] == 0:
		r.Note = fmt.Sprintf("the last %d lines of the audit log, which do not go back %d days", RecentLines, c.Guard.Days)
	}
	if result.Open > 0 {
		r.Note = strings.TrimPrefix(r.Note+fmt.Sprintf("; %d decisions lack facts that would decide", result.Open), "; ")
	}
	for _, at := range results {
		list = append(list, &at.Tally)
	}
	return list
}

// applyGuard decides whether that affects too many people, or a person who must not be
// locked out. data means a change of IP data alone. There, one of several people may be
// affected, because that is the purpose of lists (an exit node that became known):
// otherwise a company of three would refuse every list that names one, and continue with
// old ones.
func (r *Report) applyGuard(g Guard, data bool) {
	var glass []string
	for _, p := range r.Blocked {
		if p.BreakGlass {
			glass = append(glass, p.User)
		}
	}
	oneOfSeveral := data && len(r.Blocked) == 1 && r.People > 1 && g.MaxNewlyBlocked > 0
	if data {
		g.MaxNewlyAllowed = g.DataMayAllow
	}
	share := func(of []Person) float64 { return float64(len(of)) / float64(max(1, r.People)) }
	switch {
	case len(glass) > 0:
		r.because, r.limit = r.Blocked, "break_glass_group"
		r.Refused = fmt.Sprintf("it would block %s of the break-glass group %s", some(glass, 5), g.BreakGlassGroup)
	case share(r.Blocked) > g.MaxNewlyBlocked && !oneOfSeveral:
		r.because, r.limit = r.Blocked, "max_newly_blocked"
		r.Refused = fmt.Sprintf("it would newly block %d of %d people (%.0f%%; policy_guard.max_newly_blocked is %g%%)", len(r.Blocked), r.People, 100*share(r.Blocked), 100*g.MaxNewlyBlocked)
	case r.closing() != "":
		r.because = r.Blocked
		r.Refused = "it would close " + r.closing()
	case share(r.Allowed) > g.MaxNewlyAllowed:
		r.because, r.limit = r.Allowed, "max_newly_allowed"
		r.Refused = fmt.Sprintf("it would newly allow, or ask less of, %d of %d people (%.0f%%; policy_guard.max_newly_allowed is %g%%)", len(r.Allowed), r.People, 100*share(r.Allowed), 100*g.MaxNewlyAllowed)
	}
}

// Text is the report for people.
func (r Report) Text() string {
	if r.Unchanged {
		return "This policy is in force already.\n"
	}
	var b strings.Builder
	if b.WriteString(changes.Text(r.Changes)); !r.Judged {
		return b.String()
	}
	fmt.Fprintf(&b, "Judged %d live sessions and %d recorded decisions of %d people", r.Sessions, r.Decisions, r.People)
	if !r.Since.IsZero() {
		fmt.Fprintf(&b, " since %s", r.Since.UTC().Format(time.DateTime))
	}
	b.WriteString(".\n")
	if r.Note != "" {
		fmt.Fprintf(&b, "Note: %s.\n", r.Note)
	}
	r.blockedText(&b)
	r.closedText(&b)
	if n := len(r.AskedMore); n > 0 {
		fmt.Fprintf(&b, "Asked, or asked more than now: %d (%s)\n", n, byRule(r.AskedMore, 1))
		for _, p := range r.AskedMore {
			p.print(&b, "")
		}
	}
	r.allowedText(&b)
	r.laterText(&b)
	if len(r.Unjudged) > 0 {
		fmt.Fprintf(&b, "Not judged, for want of a case: %s had no say in the sessions and records that were judged, so it is not known which people the change lets in.\n", some(r.Unjudged, 20))
	}
	return b.String()
}

func (r Report) closedText(b *strings.Builder) {
	for _, route := range slices.Sorted(maps.Keys(r.Closed)) {
		fmt.Fprintf(b, "No one could use the route %s any more, of the %d who did: they would be blocked, asked for a kind of passkey that they do not use, or asked again at every request.\n", route, r.Closed[route])
	}
}

func (r Report) blockedText(b *strings.Builder) {
	if len(r.Blocked) == 0 {
		b.WriteString("No one would be newly blocked.\n")
		return
	}
	fmt.Fprintf(b, "Newly blocked, now or for something they did: %d\n", len(r.Blocked))
	for _, p := range r.Blocked {
		p.print(b, map[bool]string{true: "  (asked for another kind of passkey than theirs)"}[p.InVain])
	}
}

func (r Report) allowedText(b *strings.Builder) {
	if len(r.Allowed) == 0 {
		return
	}
	fmt.Fprintf(b, "Newly allowed, or asked less than now: %d (%s)\n", len(r.Allowed), byRule(r.Allowed, 1))
	for _, p := range r.Allowed {
		p.print(b, map[bool]string{true: "  (asked less)", false: "  (allowed)"}[p.AskedLess])
	}
}

// byRule says of each rule how many of the people it is about, with up to `names` of them by
// name where that is more than one.
func byRule(people []Person, names int) string {
	by := map[string][]string{}
	for _, p := range people {
		for _, rule := range p.Rules {
			by[rule] = append(by[rule], p.User)
		}
	}
	var parts []string
	for _, rule := range slices.Sorted(maps.Keys(by)) {
		part := fmt.Sprintf("%s %d", rule, len(by[rule]))
		if names > 1 {
			part += ": " + some(by[rule], names)
		}
		parts = append(parts, part)
	}
	return some(parts, 20)
}

// closing names the routes that several people used and none of them could any more: for one
// person, the share of the people who are blocked decides.
func (r Report) closing() string {
	var list []string
	for _, route := range slices.Sorted(maps.Keys(r.Closed)) {
		if n := r.Closed[route]; n > 1 {
			list = append(list, fmt.Sprintf("the route %s to all %d people who used it", route, n))
		}
	}
	return some(list, 5)
}

// unjudged are the rules in force that the candidate drops or words otherwise, or whose lists
// or thresholds it changes, unless that is stricter for certain, and that had no say in
// anything that was judged.
func unjudged(now, next *policy.Policy, list []changes.Change, judged []*rehearse.Tally) (out []string) {
	from := map[string]string{} // the level from which on a rule is asked
	for _, r := range next.Model().Rules {
		from[r.Name] = r.From
	}
	for _, r := range now.Model().Rules {
		looser := func(c changes.Change) bool {
			switch c.Kind {
			case changes.Rule: // what reads the person or the passkey is not asked about strangers
				return c.Name == r.Name && c.What != changes.Added && !(tightens(c) && from[r.Name] == r.From)
			case changes.List:
				return holdsForFewer(r, c)
			}
			return c.Kind == changes.Setting && c.Name == "thresholds" && r.Score > 0
		}
		if !r.Report && slices.ContainsFunc(list, looser) && !slices.ContainsFunc(judged, func(t *rehearse.Tally) bool { return t.Said(r.Name) }) {
			out = append(out, r.Name)
		}
	}
	return out
}

// holdsForFewer reports whether a rule may match less, for what its list has lost or got.
func holdsForFewer(r policy.ModelRule, c changes.Change) bool {
	named := regexp.MustCompile(`\blists\.` + regexp.QuoteMeta(c.Name) + `\b`)
	fewer := func(p interface{ Text() string }, fewer, more []string) bool {
		return named.MatchString(p.Text()) && (len(fewer) > 0 || len(more) > 0 && strings.Contains(p.Text(), "!"))
	}
	return fewer(r.When, c.Gone, c.New) || r.Unless != nil && fewer(r.Unless, c.New, c.Gone)
}

// tightens reports whether a rule asks or blocks at least as much as before, by what its text
// says. It does not reason about conditions: of others than these it says false.
func tightens(c changes.Change) bool {
	for _, f := range c.Fields {
		was, is := f.Was, f.Is
		ok := false
		switch f.Key {
		case "reason":
			ok = true
		case "when": // another case was added; behind it stands nothing that takes from it
			more, longer := strings.CutPrefix(is, was+" || ")
			ok = longer && !strings.Contains(more, "?")
		case "unless", "routes": // a rule without them holds for more
			ok = is == ""
		case "then":
			ok = was == "step_up" && is == "block"
		case "require": // what nothing asked for before
			ok = was == ""
		case "max_age":
			a, errA := time.ParseDuration(was)
			b, errB := time.ParseDuration(is)
			ok = errA == nil && errB == nil && b <= a
		case "score":
			a, errA := strconv.Atoi(was)
			b, errB := strconv.Atoi(is)
			ok = errA == nil && errB == nil && b >= a
		}
		if !ok {
			return false
		}
	}
	return c.What == changes.Changed
}

func (p Person) print(b *strings.Builder, how string) {
	fmt.Fprintf(b, "  %s  %s%s", policy.Printable(p.User), strings.Join(p.Rules, ", "), how)
	if p.BreakGlass {
		b.WriteString("  (break-glass group)")
	}
	b.WriteByte('\n')
}

func usersOf(people []Person) []string {
	list := make([]string, len(people))
	for i, p := range people {
		list[i] = p.User
	}
	return list
}

// some names the first few.
func some(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:n], ", "), len(list)-n)
}
