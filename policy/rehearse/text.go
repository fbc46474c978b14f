package rehearse

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"sallyport/policy"
)

const (
	textPeople   = 20
	textExamples = 5
)

// Text is the replay for a terminal.
func (r *Replay) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d decisions in %d records", r.Judged+r.Open, r.Records)
	if !r.First.IsZero() {
		fmt.Fprintf(&b, ", %s to %s", r.First.UTC().Format(time.DateOnly), r.Last.UTC().Format(time.DateOnly))
	}
	b.WriteString("\n\n")
	table(&b, "\tALLOW\tSTEP UP\tBLOCK", func(row func(string, ...any)) {
		row("as recorded\t%d\t%d\t%d", r.Before[policy.Allow], r.Before[policy.StepUp], r.Before[policy.Block])
		row("candidate\t%d\t%d\t%d", r.After[policy.Allow], r.After[policy.StepUp], r.After[policy.Block])
	})
	fmt.Fprintf(&b, "\nnewly blocked %d, newly stepped up %d, newly allowed %d\n", r.Blocked, r.SteppedUp, r.Allowed)
	if rules := r.ByRule(); len(rules) > 0 {
		b.WriteString("\n")
		table(&b, "RULE\tNEWLY BLOCKED\tSTEPPED UP\tALLOWED", func(row func(string, ...any)) {
			for _, c := range rules {
				row("%s\t%d\t%d\t%d", c.Rule, c.Blocked, c.SteppedUp, c.Allowed)
			}
		})
	}
	r.textPeople(&b)
	r.textOpen(&b)
	for i, e := range r.Examples() {
		if i == textExamples {
			break
		}
		fmt.Fprintf(&b, "\nexample: %s, record %d of %s, %s; it was %s", e.Rule, e.Seq, e.Time.UTC().Format(time.RFC3339), name(e.User), e.Was)
		if len(e.WasRules) > 0 {
			fmt.Fprintf(&b, " (%s)", strings.Join(e.WasRules, ", "))
		}
		b.WriteString("\n")
		b.WriteString(indent(e.Why.Brief()))
	}
	return b.String()
}

func (r *Replay) textPeople(b *strings.Builder) {
	people := r.People()
	changed := slices.DeleteFunc(slices.Clone(people), func(p Person) bool { return p.Changed() == 0 })
	fmt.Fprintf(b, "\n%d of %d people would notice\n", len(changed), len(people))
	if len(changed) == 0 {
		return
	}
	table(b, "PERSON\tNEWLY BLOCKED\tSTEPPED UP\tALLOWED\tOF\tRULES", func(row func(string, ...any)) {
		for _, p := range changed[:min(len(changed), textPeople)] {
			row("%s\t%d\t%d\t%d\t%d\t%s", name(p.User), p.Blocked, p.SteppedUp, p.Allowed, p.Judged, strings.Join(p.Rules, ", "))
		}
	})
	if more := len(changed) - textPeople; more > 0 {
		fmt.Fprintf(b, "and %d more\n", more)
	}
}

// textOpen says what could not be judged.
func (r *Replay) textOpen(b *strings.Builder) {
	if len(r.Unjudged) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%d decisions are open: their records lack facts that would decide\n", r.Open)
	for _, rule := range slices.Sorted(maps.Keys(r.Unjudged)) {
		fmt.Fprintf(b, "  %s could not be judged for %d decisions\n", rule, r.Unjudged[rule])
	}
	for _, fact := range slices.Sorted(maps.Keys(r.Lacking)) {
		fmt.Fprintf(b, "  %s is lacking in %d\n", fact, r.Lacking[fact])
	}
}

func table(b *strings.Builder, header string, rows func(row func(string, ...any))) {
	tab := tabwriter.NewWriter(b, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tab, header)
	rows(func(format string, args ...any) { fmt.Fprintf(tab, format+"\n", args...) })
	tab.Flush() // a strings.Builder does not fail
}

// name is a person for people: printable, and never empty.
func name(user string) string {
	if user == "" {
		return "(not signed in)"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return unicode.ReplacementChar
		}
		return r
	}, user)
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n  ") + "\n"
}
