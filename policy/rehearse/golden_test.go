package rehearse

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/policy"
)

var update = flag.Bool("update", false, "write the reports of TestReports anew")

// TestReports compares what people read of a replay, whole, with what was read and found good: 40 people over three
// weeks, rules that act alone and together, someone who is let in, an exception, and facts that old records lack.
func TestReports(t *testing.T) {
	r := New(compile(t, "  - {name: vpn, when: ip.vpn, then: block}\n"+
		"  - {name: abroad, when: '!(ip.country in [\"US\", \"CH\"])', then: step_up, max_age: 10m}\n"+
		"  - {name: many, when: seen.countries_24h > 3, then: block}\n"), nil)
	for i := range 2000 {
		user := fmt.Sprintf("person-%02d@example.com", i%40)
		if i%97 == 0 {
			user = ""
		}
		r.Add(recorded(int64(i+1), user, times(int64(1+i%3)), func(r *Recorded) {
			r.Time = noon.AddDate(0, 0, i%21)
			r.Facts.Time.Now = r.Time
			r.Facts.IP.Country = []string{"US", "US", "CH", "DE", "US", "US", "US"}[i%7]
			r.Facts.IP.VPN, r.Incident = i%40 == 7 && i%3 == 0, fmt.Sprintf("INC-%04d", i)
			switch {
			case i%40 == 11:
				r.Action, r.Rules = policy.Block, []string{"old-rule"}
			case i%40 == 12:
				r.Action, r.Rules = policy.StepUp, []string{"abroad"}
			case i%400 == 39:
				r.Lacking = []string{"seen.countries_24h"}
			case i%400 == 13:
				r.Facts.IP.Country = "DE"
				r.Excepted = []policy.Excepted{{Rule: "abroad", Exception: "x-trip", Until: noon.AddDate(0, 1, 0), ApprovedBy: "ciso@example.com", Why: "trip"}}
			}
		}))
	}
	var page strings.Builder
	if err := r.HTML(&page, "policy.yaml against candidate.yaml", []string{"tests of the policy fail, so it cannot come into force"}); err != nil {
		t.Fatal(err)
	}
	js, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"replay.txt": r.Text(), "replay.html": page.String(), "replay.json": string(js) + "\n"} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is another one: look at what `go test ./policy/rehearse -run TestReports -update` changes", file)
		}
	}
}
