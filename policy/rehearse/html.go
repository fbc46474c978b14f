package rehearse

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
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

//go:embed report.js
var reportJS string

// scriptHash lets the page run this script and no other.
var scriptHash = func() string {
	sum := sha256.Sum256([]byte(reportJS))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}()

var report = template.Must(template.New("report").Funcs(template.FuncMap{
	"name":   name,
	"join":   func(list []string) string { return strings.Join(list, ", ") },
	"number": number[int64],
	"count":  count[int64],
	"people": func(n int) string { return count(n, "person", "people") },
	"ints":   number[int],
	// Both are constants of this program. The template would read the script as a text to
	// escape, and the hash as a part of an address.
	"script": func() template.HTML { return template.HTML("<script>" + reportJS + "</script>") },
	"policy": func() template.HTML {
		return template.HTML(`<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src '` + scriptHash + `'">`)
	},
	"at": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
}).Parse(reportHTML))

const htmlPeople = 500

const htmlPeopleOfRule = 200

// HTML writes the replay as one page that needs nothing else: no script, no style sheet,
// no picture from anywhere. Its own script sorts tables; its policy lets no other run.
// title says what was compared.
func (r *Replay) HTML(w io.Writer, title string, notes []string) error {
	people := slices.DeleteFunc(r.People(), func(p Person) bool { return p.Changed() == 0 })
	noticed, all := r.noticed()
	return report.Execute(w, map[string]any{
		"Title": title, "Notes": notes, "R": r, "Decisions": r.Judged + r.Open,
		"Before": columns(r.Before), "After": columns(r.After), "ByRule": r.ByRule(),
		"People": people[:min(len(people), htmlPeople)], "More": max(0, len(people)-htmlPeople), "Noticed": noticed, "Known": all,
		"Prompts": r.Prompts(), "Of": r.PeopleCounts(), "PeopleOf": r.peopleOfRules(),
		"Examples": r.Examples(), "Chart": r.chart(),
	})
}

// rulePeople is a rule and who would notice it.
type rulePeople struct {
	Rule  string
	Names []string
	More  int
}

func (r *Replay) peopleOfRules() (out []rulePeople) {
	for _, c := range r.ByRule() {
		if names, more := r.PeopleOf(c.Rule, htmlPeopleOfRule); len(names) > 0 {
			out = append(out, rulePeople{c.Rule, names, more})
		}
	}
	return out
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
				c.Bars = append(c.Bars, bar{part.class + was, x + slot*0.5*float64(j), y, width, h, fmt.Sprintf("%s, %s: %s %s", d, who, number(part.n), part.verb)})
			}
		}
		if i%max(1, len(days)/6) == 0 {
			c.Labels = append(c.Labels, label{x, d})
		}
	}
	return c
}
