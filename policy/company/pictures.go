package company

import (
	"fmt"
	"io"
	"strings"
)

// Table is one line of Markdown for each rule, for a document.
func (s *Summary) Table() string {
	var b strings.Builder
	b.WriteString("| rule | people annoyed a week | false alarms, of person-days | detection | it met |\n|---|---|---|---|---|\n")
	for _, r := range s.Rules {
		name := "`" + r.Name + "`"
		if r.Report {
			name += " (report)"
		}
		people, wrong, right := "not exercised", "not exercised", "not exercised"
		if e := r.Honest; e != nil {
			people, wrong = e.People.String(), rate(e.Days, e.Ever)
			if e.Ever.N == 0 {
				people = zero(e.Ever)
			}
		}
		if e := r.Hostile; e != nil {
			right = rate(e.Days, e.Ever)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, people, wrong, right, r.kinds())
	}
	return b.String()
}

// SVG writes a chart of the policy and its rules: two bars for each, on one scale. It has
// no scripts, follows light and dark, and says in text what it shows. A rule that the
// model does not exercise for a side has words in the place of that bar.
func (s *Summary) SVG(to io.Writer) error {
	const left, right, row, wide = 230, 120, 34, 380
	type line struct {
		name  string
		sides [sides]*Effect
	}
	var lines []line
	for _, rule := range append([]RuleSummary{s.policy()}, s.Rules...) {
		lines = append(lines, line{rule.Name, [sides]*Effect{rule.Honest, rule.Hostile}})
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
		for j, e := range x.sides {
			width, top, label := 0.0, y+3+12*j, "not exercised"
			if e != nil {
				width, label = e.Days.Mean*wide, rate(e.Days, e.Ever)
				if e.Days.Mean > 0 {
					width = max(width, 1)
				}
			}
			fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="10"/><text x="%.1f" y="%d" font-size="10">%s</text>`,
				[]string{"a", "b"}[j], left, top, width, left+width+4, top+9, strings.ReplaceAll(label, "<", "&lt;"))
		}
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(to, b.String())
	return err
}
