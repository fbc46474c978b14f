package rehearse

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport/policy"
)

//go:embed report.html
var reportHTML string

var report = template.Must(template.New("report").Funcs(template.FuncMap{
	"name": name,
	"join": func(list []string) string { return strings.Join(list, ", ") },
	"at":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
}).Parse(reportHTML))

const htmlPeople = 500

// HTML writes the replay as one page that needs nothing else: no script, no style sheet,
// no picture from anywhere. title says what was compared.
func (r *Replay) HTML(w io.Writer, title string, notes []string) error {
	people := slices.DeleteFunc(r.People(), func(p Person) bool { return p.Changed() == 0 })
	return report.Execute(w, map[string]any{
		"Title": title, "Notes": notes, "R": r, "Decisions": r.Judged + r.Open,
		"Before": columns(r.Before), "After": columns(r.After), "ByRule": r.ByRule(),
		"People": people[:min(len(people), htmlPeople)], "More": max(0, len(people)-htmlPeople), "Noticed": len(people), "Known": len(r.people),
		"Examples": r.Examples(), "Chart": r.chart(),
	})
}

func columns(b ByAction) []int64 { return []int64{b[policy.Allow], b[policy.StepUp], b[policy.Block]} }

// bar is one part of a day in the chart: blocks or step-ups.
type bar struct {
	Class      string // "block" or "step"; "was" as recorded
	X, Y, W, H float64
	Title      string
}

type chart struct {
	Width, Height float64
	Bars          []bar
	Labels        []label
	Top           int64 // what the height stands for
}

type label struct {
	X    float64
	Text string
}

const (
	chartHeight = 160.0
	chartWidth  = 720.0
	chartDays   = 120 // the last ones
)

// chart draws for each day, side by side, the recorded blocks and step-ups and those of
// the candidate.
func (r *Replay) chart() *chart {
	days := slices.Sorted(maps.Keys(r.Days))
	days = days[max(0, len(days)-chartDays):]
	c := &chart{Width: chartWidth, Height: chartHeight + 20, Top: 1}
	for _, d := range days {
		for _, b := range []ByAction{r.Days[d].Before, r.Days[d].After} {
			c.Top = max(c.Top, b[policy.Block]+b[policy.StepUp])
		}
	}
	slot := chartWidth / float64(max(1, len(days)))
	for i, d := range days {
		x, width := slot*float64(i), max(0.5, slot*0.4)
		for j, b := range []ByAction{r.Days[d].Before, r.Days[d].After} {
			who, was := []string{"as recorded", "candidate"}[j], []string{" was", ""}[j]
			y := chartHeight
			for _, part := range []struct {
				class string
				n     int64
				verb  string
			}{{"block", b[policy.Block], "blocked"}, {"step", b[policy.StepUp], "stepped up"}} {
				h := float64(part.n) / float64(c.Top) * chartHeight
				y -= h
				c.Bars = append(c.Bars, bar{part.class + was, x + slot*0.5*float64(j), y, width, h, fmt.Sprintf("%s, %s: %d %s", d, who, part.n, part.verb)})
			}
		}
		if i%max(1, len(days)/6) == 0 {
			c.Labels = append(c.Labels, label{x, d})
		}
	}
	return c
}
