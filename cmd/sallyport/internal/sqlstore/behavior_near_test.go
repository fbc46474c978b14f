package sqlstore

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/policy/behavior"
	"sallyport/policy/behavior/behaviortest"
)

// Who is near is who is counted: the names say nothing that the facts do not, before and
// after rows are condensed.
func TestBehaviorNear(t *testing.T) {
	const day = 24 * time.Hour
	since := epoch.Add(-30 * day)
	ann := behaviortest.Person("ann")
	row := func(who authn.Subject, ago time.Duration, change func(*behavior.Sighting)) behavior.Sighting {
		s := behavior.Sighting{Subject: who, First: epoch.Add(-ago), At: epoch.Add(-ago), Country: "CH", Allowed: true}
		change(&s)
		return s
	}
	at := func(host, site uint64) func(*behavior.Sighting) {
		return func(s *behavior.Sighting) { s.Host, s.Site = host, site }
	}
	on := func(device string) func(*behavior.Sighting) {
		return func(s *behavior.Sighting) { s.Device = device }
	}
	b := behavior.Batch{Sightings: []behavior.Sighting{
		row(ann, 10*day, at(1, 0)), row(ann, time.Hour, at(2, 20)), row(ann, time.Hour, on("laptop")), row(ann, 31*day, at(9, 0)), row(ann, time.Hour, at(0, 0)),
		row(ann, time.Hour, func(s *behavior.Sighting) { s.Host, s.Allowed = 7, false }),
		row(behaviortest.Person("same address"), 5*day, at(1, 0)),
		row(behaviortest.Person("same household"), time.Hour, at(3, 20)),
		row(behaviortest.Person("both"), time.Hour, at(2, 20)), row(behaviortest.Person("both"), time.Hour, at(4, 20)),
		row(behaviortest.Person("same device"), 3*day, on("laptop")),
		row(authn.Subject{Issuer: "https://other.example.test", ID: "ann"}, time.Hour, on("laptop")),
		row(behaviortest.Person("elsewhere"), time.Hour, at(5, 50)),
		row(behaviortest.Person("nowhere"), time.Hour, at(0, 0)),
		row(behaviortest.Person("too long ago"), 31*day, at(1, 0)),
		row(behaviortest.Person("where she was too long ago"), time.Hour, at(9, 0)),
		row(behaviortest.Person("turned away"), time.Hour, func(s *behavior.Sighting) { s.Host, s.Allowed = 1, false }),
		row(behaviortest.Person("where she was turned away"), time.Hour, at(7, 0)),
	}}
	want := []string{
		"ann on laptop", "same device on laptop", "both at 2", "same household in 20", "same address at 1",
	}
	slices.Sort(want)
	d := open(t, filepath.Join(t.TempDir(), "s.db"))
	if err := d.AppendBehavior(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for _, condense := range []time.Time{{}, epoch.Add(-48 * time.Hour), epoch} {
		if err := d.TidyBehavior(t.Context(), behavior.Limits{Condense: condense}); err != nil {
			t.Fatal(err)
		}
		own, others, err := d.BehaviorNear(t.Context(), ann, since)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range behavior.Near(own, others) {
			switch {
			case m.Device != "":
				got = append(got, m.Other.ID+" on "+m.Device)
			case m.Host != 0:
				got = append(got, fmt.Sprint(m.Other.ID, " at ", m.Host))
			default:
				got = append(got, fmt.Sprint(m.Other.ID, " in ", m.Site))
			}
			if m.Own.First.After(m.Own.Last) || m.Their.First.Before(since) {
				t.Errorf("%s: %+v, %+v", m.Other.ID, m.Own, m.Their)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("condensed before %s: %q, want %q", condense, got, want)
		}
	}
}
