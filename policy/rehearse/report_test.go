package rehearse

import (
	"encoding/xml"
	"io"
	"regexp"
	"strings"
	"testing"

	"sallyport/policy"
)

func sample(t *testing.T) *Replay {
	r := New(compile(t, "  - {name: vpn, when: ip.vpn, then: block}\n  - {name: many, when: seen.countries_24h > 3, then: block}\n"), nil)
	r.Add(recorded(1, "a@x.test"))
	r.Add(recorded(2, "<script>alert(1)</script>\x1b[31m", overVPN, func(r *Recorded) { r.Incident = `"><img src=x>` }))
	r.Add(recorded(3, "", was(policy.StepUp), func(r *Recorded) { r.Lacking = []string{"seen.countries_24h"} }))
	r.Add(recorded(4, "b@x.test", was(policy.Block, "old"), func(r *Recorded) { r.Time = noon.AddDate(0, 0, 1) }))
	return r
}

func TestText(t *testing.T) {
	text := sample(t).Text()
	for _, want := range []string{
		"4 decisions in 4 records, 2026-03-02 to 2026-03-03\n", "requests: newly blocked 1, newly stepped up 0, newly allowed 1\n", "2 of 3 people would notice: 1 newly blocked, 0 newly stepped up, 1 newly allowed\n",
		"1 decision is open", "many could not be judged for 1 decision\n", "seen.countries_24h is lacking in 1", "record 2 of 2026-03-02T12:00:00Z", "ip.vpn = true",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Error("a terminal would act on it")
	}
}

// The page needs nothing from anywhere, runs nothing, and shows what strangers wrote as
// what it is.
func TestHTMLStandsAlone(t *testing.T) {
	var b strings.Builder
	if err := sample(t).HTML(&b, "old <against> new", []string{"a note"}); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{"&lt;script&gt;alert(1)", "old &lt;against&gt; new", "default-src 'none'", "prefers-color-scheme: dark", `<rect class="block"`, `class="step was"`, "2026-03-03, as recorded: 1 blocked", "1 decision is open"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
	if bad := regexp.MustCompile(`(?i)<script[^>]|<img|<link|\son\w+=|https?:|url\(|@import`).FindString(strings.ReplaceAll(page, "http-equiv", "")); bad != "" {
		t.Errorf("it holds %q", bad)
	}
	// The picture is well-formed by itself.
	svg := page[strings.Index(page, "<svg"):strings.Index(page, "</svg>")] + "</svg>"
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := New(compile(t, "  - {name: vpn, when: ip.vpn, then: block}\n"), nil).HTML(io.Discard, "nothing at all", nil); err != nil {
		t.Error(err)
	}
}
