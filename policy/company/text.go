package company

import (
	"fmt"
	"io"
	"strings"
)

// Text writes the summary for a terminal: the people met, and the effect of each rule.
func (s *Summary) Text(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d days, %s, policy %.12s\n", s.Days, s.seeds(), s.Policy)
	if len(s.Seeds) > 1 {
		b.WriteString("Each figure is the mean over the seeds; (a-b) holds nine of ten of them.\n")
	}
	fmt.Fprintf(&b, "\n%-26s %6s %20s %20s %16s %16s  %s\n", "", "people", "asked a week", "by an alarm", "days with alarm", "with refusal", "met; refused (after days)")
	for _, g := range s.Kinds {
		if g.People.Mean > 0 {
			g.write(&b)
		}
	}
	b.WriteByte('\n')
	s.Honest.write(&b)
	s.Hostile.write(&b)
	fmt.Fprintf(&b, "\nBesides, those who belong here sign in %s times a week, each time with the passkey: no rule asks for that,\nand it answers what rules would have asked. The session settings decide how often.\n", s.Honest.SignIns)

	fmt.Fprintf(&b, "\nWhat each rule costs those who belong here, in a week. People: asked or refused as they would not have been\n"+
		"without this rule; also matched: asked or refused anyway. Report-only rules: had they been enforced.\n\n"+
		"%-30s %18s %20s %18s %18s\n", "RULE", "PEOPLE", "PROMPTS A PERSON", "REQUESTS", "ALSO MATCHED")
	for i := range s.Rules {
		s.Rules[i].annoys(&b)
	}
	b.WriteString("\nHow often a sign was wrong (false alarms: person-days of those who belong here on which it had a say) and right\n" +
		"(detection: person-days of those who do not, and how many of these it met at all, in all runs).\n" +
		"A routine rule reads nothing but ages, the hour and the kind of request: no sign, and not in the policy's rates.\n\n")
	fmt.Fprintf(&b, "%-30s %20s %20s  %s\n", "RULE", "FALSE ALARMS", "DETECTION", "MET")
	policy := s.policy()
	policy.rates(&b)
	fmt.Fprintf(&b, "%-30s %20s %20s\n", "  signs exercised", fmt.Sprintf("%d of %d", s.Exercised.Honest, s.Exercised.Of), fmt.Sprintf("%d of %d", s.Exercised.Hostile, s.Exercised.Of))
	for i := range s.Rules {
		s.Rules[i].rates(&b)
	}
	s.notExercised(&b)
	_, err := io.WriteString(to, b.String())
	return err
}

// policy is the policy as a whole, as if it were one rule.
func (s *Summary) policy() RuleSummary {
	all := RuleSummary{Name: "the policy"}
	if s.Exercised.Honest > 0 {
		all.Honest = &Effect{Days: s.FalseAlarms, Ever: s.Annoyed}
	}
	if s.Exercised.Hostile > 0 {
		all.Hostile = &Effect{Days: s.Detection, Ever: s.Detected}
	}
	return all
}

func (s *Summary) seeds() string {
	if len(s.Seeds) == 1 {
		return fmt.Sprintf("seed %d", s.Seeds[0])
	}
	return fmt.Sprintf("seeds %d to %d", s.Seeds[0], s.Seeds[len(s.Seeds)-1])
}

func (g *GroupSummary) write(b *strings.Builder) {
	after := func(c Count, days Figure) string {
		if c.N == 0 {
			return zero(c)
		}
		return fmt.Sprintf("%d of %d (%.0f)", c.N, c.Of, days.Mean)
	}
	fmt.Fprintf(b, "%-26s %6.4g %20s %20s %16s %16s  %s; %s\n", g.Name, g.People.Mean, g.Asked, g.Alarms, percent(g.AlarmDays), percent(g.Blocked),
		after(g.Met, g.FirstMet), after(g.Barred, g.FirstBarred))
}

// title is the rule's name, with what kind of rule it is.
func (r *RuleSummary) title() string {
	switch {
	case r.Report:
		return r.Name + " (report)"
	case r.Routine:
		return r.Name + " (routine)"
	}
	return r.Name
}

func (r *RuleSummary) annoys(b *strings.Builder) {
	e := r.Honest
	switch {
	case e == nil:
		fmt.Fprintf(b, "%-30s not exercised: %s\n", r.title(), r.NotExercised.Honest)
	case e.Requests.Mean == 0:
		line := fmt.Sprintf("%-30s %18s %20s %18s %18s", r.title(), zero(e.Ever), "-", "-", e.AlsoMatched)
		if e.Ever.N > 0 {
			line = fmt.Sprintf("%-30s %18s %20s %18s %18s", r.title(), "none alone", "-", "-", e.AlsoMatched)
		}
		b.WriteString(line + "\n")
	default:
		fmt.Fprintf(b, "%-30s %18s %20s %18s %18s\n", r.title(), e.People, e.Prompts, e.Requests, e.AlsoMatched)
	}
}

func (r *RuleSummary) rates(b *strings.Builder) {
	side := func(e *Effect) string {
		if e == nil {
			return "not exercised"
		}
		return rate(e.Days, e.Ever)
	}
	line := fmt.Sprintf("%-30s %20s %20s", r.title(), side(r.Honest), side(r.Hostile))
	if r.Hostile != nil {
		line += "  " + met(r.Hostile.Ever)
		if kinds := r.kinds(); kinds != "" {
			line += ": " + kinds
		}
	}
	b.WriteString(line + "\n")
}

// notExercised says what the figures do not speak of.
func (s *Summary) notExercised(b *strings.Builder) {
	var text strings.Builder
	for _, r := range s.Rules {
		n := r.NotExercised
		line := func(who, what string) {
			if what != "" {
				fmt.Fprintf(&text, "%-30s %s%s\n", r.Name, who, what)
			}
		}
		if n.Honest == n.Hostile {
			line("", n.Honest)
		} else {
			line("of those who belong here: ", n.Honest)
			line("of those who do not: ", n.Hostile)
		}
		if n.Honest == "" || n.Hostile == "" {
			line("a part of it: no request has ", strings.Join(n.Never, ", nor "))
		}
	}
	if text.Len() > 0 {
		b.WriteString("\nNot exercised: of this the figures above say nothing. A model file (--print-model, --model) or your own log (--audit)\nchanges that.\n\n" + text.String())
	}
}

// String is the figure with its range; two digits behind the point at most.
func (f Figure) String() string {
	if f.Low == f.High {
		return short(f.Mean)
	}
	return fmt.Sprintf("%s (%s-%s)", short(f.Mean), short(f.Low), short(f.High))
}

func short(x float64) string {
	switch {
	case x == 0:
		return "0"
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	case x < 0.01:
		return "<0.01"
	}
	return fmt.Sprintf("%.2f", x)
}

// percent is a share as a percentage.
func percent(f Figure) string {
	g := Figure{100 * f.Mean, 100 * f.Low, 100 * f.High}
	if g.Low == g.High {
		if g.Mean == 0 {
			return "none"
		}
		return short(g.Mean) + " %"
	}
	return fmt.Sprintf("%s %% (%s-%s)", short(g.Mean), short(g.Low), short(g.High))
}

// rate is a share of person-days. Days of one person are not independent, so that a zero
// is one of people.
func rate(f Figure, ever Count) string {
	if f.Mean == 0 {
		return zero(ever)
	}
	return percent(f)
}

// zero is a zero with what it is out of, and the most that it can mean.
func zero(c Count) string {
	if c.Of == 0 {
		return "of none"
	}
	return fmt.Sprintf("0 of %d (<%s %%)", c.Of, short(100*c.AtMost))
}

func met(c Count) string { return fmt.Sprintf("%d of %d", c.N, c.Of) }

// perWeek is how many of n a person has in a week of five working days.
func perWeek(n, days int) float64 { return 5 * share(n, days) }

// kinds names the kinds of hostile accounts that a rule met.
func (r *RuleSummary) kinds() string {
	var parts []string
	for k := farmed; k < kinds; k++ {
		if c := r.Kinds[k.String()]; c.N > 0 {
			parts = append(parts, fmt.Sprintf("%s %d of %d", k, c.N, c.Of))
		}
	}
	return strings.Join(parts, ", ")
}
