package company

import (
	"fmt"
	"io"
	"strings"
)

// Text writes the report for a terminal: the people met, and the effect of each rule.
func (r *Report) Text(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d days, seed %d, policy %.12s\n\n", r.Days, r.Seed, r.Policy)
	fmt.Fprintf(&b, "%-26s %6s %7s %9s %10s %11s %11s %12s %12s\n", "", "people", "days", "asked a", "of that by", "days with", "days with", "met", "refused")
	fmt.Fprintf(&b, "%-26s %6s %7s %9s %10s %11s %11s %12s %12s\n", "", "", "", "week", "an alarm", "an alarm", "a refusal", "(after days)", "(after days)")
	for _, g := range r.Kinds {
		if g.People > 0 {
			g.write(&b)
		}
	}
	b.WriteByte('\n')
	r.Honest.write(&b)
	r.Hostile.write(&b)
	b.WriteString("\nHow often a sign was wrong (false alarms: days of those who belong here) and right (detection: days of those\n" +
		"who do not, and how many of these were met at all). Report-only rules: had they been enforced.\n" +
		"A routine rule reads nothing but ages, the hour and the kind of request: no sign, and not in the policy's rates.\n\n")
	fmt.Fprintf(&b, "%-30s %-22s %11s  %-22s %-6s\n", "", "false alarms", "", "detection", "met")
	row := func(name string, x Rates, people int, kinds string) {
		line := fmt.Sprintf("%-30s %s %6.2f%% %4d people  %s %6.2f%% %5.1f%%  %s", name, bar(100*x.FalseAlarms), 100*x.FalseAlarms, people,
			bar(100*x.Detection), 100*x.Detection, 100*x.Detected, kinds)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	row("the policy", r.Rates, r.Honest.Met, "")
	for _, rule := range r.Rules {
		name := rule.Name
		switch {
		case rule.Report:
			name += " (report)"
		case rule.Routine:
			name += " (routine)"
		}
		row(name, rule.Rates, rule.HonestPeople, hostileKinds(rule))
	}
	_, err := io.WriteString(to, b.String())
	return err
}

func (g *Group) write(b *strings.Builder) {
	after := func(n, days int) string {
		if n == 0 {
			return "0"
		}
		return fmt.Sprintf("%d (%d)", n, days)
	}
	fmt.Fprintf(b, "%-26s %6d %7d %9.2f %10.2f %10.2f%% %10.2f%% %12s %12s\n", g.Name, g.People, g.Days, perWeek(g.Asked, g.Days), perWeek(g.Alarms, g.Days),
		percent(g.AlarmDays, g.Days), percent(g.Blocked, g.Days), after(g.Met, g.FirstMet), after(g.Barred, g.FirstBarred))
}

// perWeek is how many of n a person has in a week of five working days.
func perWeek(n, days int) float64 {
	if days == 0 {
		return 0
	}
	return 5 * float64(n) / float64(days)
}

func percent(n, of int) float64 { return 100 * share(n, of) }

const barWidth = 14

// bar is a share of person-days; a share above zero is always visible.
func bar(percent float64) string {
	full := int(percent/100*barWidth + 0.5)
	if full == 0 && percent > 0 {
		return "▏" + strings.Repeat(" ", barWidth-1)
	}
	return strings.Repeat("█", full) + strings.Repeat(" ", barWidth-full)
}

// hostileKinds names the kinds of hostile accounts that a rule met.
func hostileKinds(r Rule) string {
	var parts []string
	for k := farmed; k < kinds; k++ {
		if n := r.HostilePeople[k.String()]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", k, n))
		}
	}
	return strings.Join(parts, ", ")
}

// Table is one line of Markdown for each rule that is a signal, for a document.
func (r *Report) Table() string {
	var b strings.Builder
	b.WriteString("| rule | person-days of those who belong here | their people | person-days of those who do not | it met |\n|---|---|---|---|---|\n")
	for _, rule := range r.Rules {
		name := "`" + rule.Name + "`"
		if rule.Report {
			name += " (report)"
		}
		fmt.Fprintf(&b, "| %s | %.2f %% | %d | %.1f %% | %s |\n", name, percent(rule.HonestDays, r.Honest.Days), rule.HonestPeople,
			percent(rule.HostileDays, r.Hostile.Days), hostileKinds(rule))
	}
	return b.String()
}

// SVG writes a chart of the policy and its rules: two bars for each, on one scale. It has
// no scripts, follows light and dark, and says in text what it shows.
func (r *Report) SVG(to io.Writer) error {
	const left, right, row, wide = 230, 70, 34, 380
	type line struct {
		name string
		Rates
	}
	lines := []line{{"the policy", r.Rates}}
	for _, rule := range r.Rules {
		if rule.HonestDays+rule.HostileDays > 0 {
			lines = append(lines, line{rule.Name, rule.Rates})
		}
	}
	height := 60 + row*len(lines)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="t d" font-family="system-ui, sans-serif" font-size="13">`,
		left+wide+right, height)
	b.WriteString(`<title id="t">False alarms and detection</title><desc id="d">For the policy and for each rule, the share of person-days of those who belong here and of those who do not on which it had a say.</desc>`)
	b.WriteString(`<style>text{fill:#222}.a{fill:#3b6fb6}.b{fill:#c2543d}@media (prefers-color-scheme:dark){text{fill:#e8e8e8}.a{fill:#7fa8dc}.b{fill:#e58a74}}</style>`)
	fmt.Fprintf(&b, `<rect class="a" x="%d" y="12" width="12" height="12"/><text x="%d" y="23">false alarms</text>`, left, left+18)
	fmt.Fprintf(&b, `<rect class="b" x="%d" y="12" width="12" height="12"/><text x="%d" y="23">detection</text>`, left+190, left+208)
	for i, x := range lines {
		y := 42 + row*i
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-8, y+18, x.name) // names are letters, digits and -
		for j, p := range []float64{100 * x.FalseAlarms, 100 * x.Detection} {
			width, top := p/100*wide, y+3+12*j
			if p > 0 {
				width = max(width, 1)
			}
			fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="10"/><text x="%.1f" y="%d" font-size="10">%.2f %%</text>`,
				[]string{"a", "b"}[j], left, top, width, left+width+4, top+9, p)
		}
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(to, b.String())
	return err
}
