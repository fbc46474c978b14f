package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/policy/rehearse"
	"sallyport/proxy/audit"
)

// The memory of lines is used again, and nothing that a replay tells is a part of it: it comes to what it comes to
// with a text for each line that nothing else writes to.
func TestWhatAReplayTellsIsNotOverwritten(t *testing.T) {
	const n = 60 * replayBatch
	file, _ := writeLog(t, n, func(i int, r *audit.Record) {
		r.Facts.Request.Route = fmt.Sprint("route-", i%7)
		r.Facts.User.Groups = []string{fmt.Sprint("group-", i%11), "staff"}
		r.Facts.IP.Country = []string{"US", "SE", "DE", "NO"}[i%4]
		r.Facts.Session.VerifiedAge = time.Hour
		r.Incident = fmt.Sprintf("INC-%05d", i)
		if i%5 == 0 {
			r.Action, r.Rules = "block", []string{fmt.Sprint("recorded-", i%9), "country-us"}
		}
	})
	candidate := rehearsed(t, "  - {name: country-se, when: ip.country == 'SE', then: block}\n  - {name: group, when: \"'group-3' in user.groups\", then: step_up, max_age: 1s}\n"+
		"  - {name: closed, when: request.route == 'route-3', then: block}\n  - {name: path, when: request.path.endsWith('7'), then: step_up, max_age: 1s}\n")
	present := rehearsed(t, "  - {name: country-de, when: ip.country == 'DE', then: block}\n")
	var routes []string
	for i := range 7 {
		routes = append(routes, fmt.Sprint("route-", i))
	}
	for _, asked := range []bool{false, true} {
		run := Replay{Lines: audit.Lines(file), Candidate: candidate, Routes: routes, Asked: asked}
		want := rehearse.New(candidate, nil)
		if asked {
			run.Present = present
			want = rehearse.New(candidate, present)
		}
		want.Asked = asked
		for line, err := range audit.Lines(file) {
			if err != nil {
				t.Fatal(err)
			}
			rec, err := readRecord([]byte(strings.Clone(string(line.Raw))), candidate.FactNames())
			if err != nil {
				t.Fatal(err)
			}
			want.Add(rec)
		}
		got, err := run.Run(t.Context())
		if err != nil || got.Judged != n || got.Changed() < n/4 {
			t.Fatal(err, got)
		}
		if told(t, got.Replay) != told(t, want) {
			t.Errorf("asked %v: it tells\n%s\nwhere the records say\n%s", asked, told(t, got.Replay), told(t, want))
		}
	}
}

// told is all that a replay tells.
func told(t *testing.T, r *rehearse.Replay) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(r.Text())
	enc := json.NewEncoder(&b)
	enc.SetIndent("", " ")
	err := errors.Join(r.HTML(&b, "title", nil), enc.Encode(r), enc.Encode(r.People()), enc.Encode(r.Examples()), enc.Encode(r.Closed()))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.ByRule() {
		names, more := r.PeopleOf(c.Rule, 1000)
		fmt.Fprintln(&b, c.Rule, names, more)
	}
	for _, p := range r.People() {
		fmt.Fprintln(&b, p.User, p.Rules, p.New, p.Gone)
	}
	return b.String()
}

// A replay that is told to end leaves no goroutine behind that waits for a batch.
func TestAReplayThatEndsWaitsForNothing(t *testing.T) {
	file, _ := writeLog(t, 40*replayBatch, nil)
	for at := 1; at < 40*replayBatch; at += 3 * replayBatch {
		ctx, stop := context.WithCancel(t.Context())
		n := 0
		run := Replay{Candidate: rehearsed(t, "  - {name: a, when: ip.vpn, then: block}\n"), Routes: []string{"treasury"}}
		run.Lines = func(yield func(audit.Line, error) bool) {
			for line, err := range audit.Lines(file) {
				if n++; n == at {
					stop()
				}
				if !yield(line, err) {
					return
				}
			}
		}
		if _, err := run.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(at, err)
		}
		stop()
	}
}
