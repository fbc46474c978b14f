package rehearse

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
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
	fmt.Fprintf(&b, "%s in %s", count(r.Judged+r.Open, "decision", "decisions"), count(r.Records, "record", "records"))
	if !r.First.IsZero() {
		fmt.Fprintf(&b, ", %s to %s", r.First.UTC().Format(time.DateOnly), r.Last.UTC().Format(time.DateOnly))
	}
	b.WriteString("\n")
	r.textNoticed(&b)
	b.WriteString("\n")
	table(&b, "REQUESTS\tALLOW\tSTEP UP\tBLOCK", func(row func(string, ...any)) {
		row("as recorded\t%s\t%s\t%s", number(r.Before[policy.Allow]), number(r.Before[policy.StepUp]), number(r.Before[policy.Block]))
		row("candidate\t%s\t%s\t%s", number(r.After[policy.Allow]), number(r.After[policy.StepUp]), number(r.After[policy.Block]))
	})
	fmt.Fprintf(&b, "\nrequests: newly blocked %s, newly stepped up %s, newly allowed %s\n", number(r.Blocked), number(r.SteppedUp), number(r.Allowed))
	if c := r.ByExceptions; c.Changed() > 0 {
		fmt.Fprintf(&b, "by exceptions that began or ended, and in no other figure of differences: newly blocked %s, newly stepped up %s, newly allowed %s\n", number(c.Blocked), number(c.SteppedUp), number(c.Allowed))
	}
	if rules := r.ByRule(); len(rules) > 0 {
		b.WriteString("\n")
		table(&b, "RULE\tPEOPLE\tPERSON-WEEKS ASKED\tALONE: BLOCKED\tSTEPPED UP\tALLOWED\tALSO MATCHED", func(row func(string, ...any)) {
			for _, c := range rules {
				row("%s\t%s\t%s\t%s\t%s\t%s\t%s", c.Rule, number(c.People), number(c.PersonWeeks), number(c.Blocked), number(c.SteppedUp), number(c.Allowed), number(c.Also))
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

// textNoticed comes first: it is people who notice.
func (r *Replay) textNoticed(b *strings.Builder) {
	noticed, all := r.noticed()
	c, p := r.PeopleCounts(), r.Prompts()
	fmt.Fprintf(b, "%s of %s would notice: %s newly blocked, %s newly stepped up, %s newly allowed\n", number(noticed), count(all, "person", "people"), number(c.Blocked), number(c.SteppedUp), number(c.Allowed))
	if p.PersonWeeks > 0 {
		fmt.Fprintf(b, "newly asked in %s (one person in one week each), for at most %s in one\n", count(p.PersonWeeks, "person-week", "person-weeks"), count(p.Most, "request", "requests"))
	}
}

func (r *Replay) textPeople(b *strings.Builder) {
	changed := slices.DeleteFunc(r.People(), func(p Person) bool { return p.Changed() == 0 })
	if len(changed) == 0 {
		return
	}
	b.WriteString("\n")
	table(b, "PERSON\tNEWLY BLOCKED\tSTEPPED UP\tALLOWED\tOF\tRULES", func(row func(string, ...any)) {
		for _, p := range changed[:min(len(changed), textPeople)] {
			row("%s\t%s\t%s\t%s\t%s\t%s", name(p.User), number(p.Blocked), number(p.SteppedUp), number(p.Allowed), number(p.Judged), strings.Join(p.Rules, ", "))
		}
	})
	if more := len(changed) - textPeople; more > 0 {
		fmt.Fprintf(b, "and %s more\n", number(more))
	}
}

// textOpen says what could not be judged.
func (r *Replay) textOpen(b *strings.Builder) {
	if len(r.Unjudged) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s open: their records lack facts that would decide\n", count(r.Open, "decision is", "decisions are"))
	for _, rule := range slices.Sorted(maps.Keys(r.Unjudged)) {
		fmt.Fprintf(b, "  %s could not be judged for %s\n", rule, count(r.Unjudged[rule], "decision", "decisions"))
	}
	for _, fact := range slices.Sorted(maps.Keys(r.Lacking)) {
		fmt.Fprintf(b, "  %s is lacking in %s\n", fact, number(r.Lacking[fact]))
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

// number has commas between thousands.
func number[N int | int64](n N) string {
	text := strconv.FormatInt(int64(n), 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// count is a number of things.
func count[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// Compare is one table of several candidates over the same records.
func Compare(names []string, replays []*Replay) string {
	var b strings.Builder
	table(&b, "CANDIDATE\tPEOPLE: BLOCKED\tSTEPPED UP\tALLOWED\tPERSON-WEEKS ASKED\tREQUESTS: BLOCKED\tSTEPPED UP\tALLOWED\tOPEN", func(row func(string, ...any)) {
		for i, r := range replays {
			c, p := r.PeopleCounts(), r.Prompts()
			row("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", name(names[i]), number(c.Blocked), number(c.SteppedUp), number(c.Allowed), number(p.PersonWeeks),
				number(r.Blocked), number(r.SteppedUp), number(r.Allowed), number(r.Open))
		}
	})
	return b.String()
}
