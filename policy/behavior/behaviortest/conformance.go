package behaviortest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sallyport/authn"
	"sallyport/policy/behavior"
)

// Open returns two handles on one new, empty database, as two processes hold them.
type Open func(t *testing.T) (a, b behavior.Store)

// epoch has nanoseconds and a zone, neither of which a store keeps.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("", 3*3600))

// Person is a person to record.
func Person(id string) authn.Subject {
	return authn.Subject{Issuer: "https://idp.example.test", ID: id}
}

func sample(who string, at time.Time) behavior.Sighting {
	return behavior.Sighting{
		Subject: Person(who), First: at, At: at, Addr: netip.MustParseAddr("192.0.2.7"),
		Host: 1<<63 - 1, Network: 42, Site: 1<<63 - 2, Country: "DE", ASN: 4_200_000_000, Allowed: true,
		Point: behavior.Point{Lat: -33.8688, Lon: 151.2093, RadiusKm: 20, Known: true}, Device: "device", Session: "session",
	}
}

// TestStore is the contract of [behavior.Store] as a test.
func TestStore(t *testing.T, open Open) {
	for name, test := range map[string]func(*storeT){
		"what is written is read, in order and in pages": inOrder,
		"an hour is joined, under a new number":          joined,
		"concurrent writers share one order":             concurrent,
		"one person":                                     onePerson,
		"condensing":                                     condensing,
		"forgetting":                                     forgetting,
		"passkey events":                                 passkeyEvents,
		"days":                                           days,
		"nothing is lost between the two":                between,
		"a context that has ended":                       ended,
	} {
		t.Run(name, func(t *testing.T) {
			a, b := open(t)
			test(&storeT{T: t, a: a, b: b, ctx: t.Context()})
		})
	}
}

type storeT struct {
	*testing.T
	a, b behavior.Store
	ctx  context.Context
}

func (t *storeT) append(s ...behavior.Sighting) {
	t.Helper()
	if err := t.a.AppendBehavior(t.ctx, behavior.Batch{Sightings: s}); err != nil {
		t.Fatal(err)
	}
}

// since reads everything after a number in pages of one size.
func (t *storeT) since(after int64, page int) (all behavior.Batch, last int64) {
	t.Helper()
	for range 1000 {
		b, next, err := t.b.BehaviorSince(t.ctx, after, page)
		if err != nil {
			t.Fatal(err)
		}
		if next < after || b.Len() > 0 && next == after {
			t.Fatalf("after %d comes %d with %d rows", after, next, b.Len())
		}
		if len(b.Sightings) > page || len(b.Activity) > page || len(b.Events) > page {
			t.Fatalf("a page of %d has %d sightings and %d hours", page, len(b.Sightings), len(b.Activity))
		}
		all.Sightings = append(all.Sightings, b.Sightings...)
		all.Activity = append(all.Activity, b.Activity...)
		all.Events = append(all.Events, b.Events...)
		if b.Len() == 0 {
			return all, next
		}
		after = next
	}
	t.Fatal("no end")
	return
}

func (t *storeT) places() (list []behavior.Sighting) {
	t.Helper()
	if err := t.b.BehaviorPlaces(t.ctx, func(s behavior.Sighting) error { list = append(list, s); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b behavior.Sighting) int { return a.At.Compare(b.At) })
	return list
}

func (t *storeT) tidy(l behavior.Limits) {
	t.Helper()
	if err := t.a.TidyBehavior(t.ctx, l); err != nil {
		t.Fatal(err)
	}
}

// same compares, with times as a store keeps them.
func (t *storeT) same(what string, want, got any) {
	t.Helper()
	times := cmp.Transformer("micros", func(x time.Time) int64 { return x.UnixMicro() })
	if d := cmp.Diff(want, got, times, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s: %s", what, d)
	}
}

func inOrder(t *storeT) {
	empty, last := t.since(0, 10)
	if empty.Len() != 0 {
		t.Fatalf("an empty store holds %+v", empty)
	}
	var want []behavior.Sighting
	for i := range 7 {
		s := sample(fmt.Sprint("p", i%2), epoch.Add(time.Duration(i)*time.Minute))
		s.Country = []string{"DE", "ZZ"}[i%2]
		want = append(want, s)
	}
	want[1].Addr, want[1].Six = netip.MustParseAddr("2001:db8::7"), true
	want[2].Addr, want[2].Host, want[2].Site, want[2].Network, want[2].Point = netip.Addr{}, 0, 0, 0, behavior.Point{}
	want[3].Allowed, want[3].Flagged, want[3].Point, want[3].Device, want[3].Session = false, true, behavior.Point{}, "", ""
	want[4].Point = behavior.Point{Lat: 90, Lon: -180, RadiusKm: 20_038, Known: true}
	want[5].Point = behavior.Point{Known: true, RadiusKm: 1} // 0, 0 is a point like any other
	want[6].First = epoch.Add(-time.Hour)
	t.append(want[:4]...)
	t.append(want[4:]...)
	for _, page := range []int{1, 3, 100} {
		all, _ := t.since(last, page)
		t.same(fmt.Sprint("pages of ", page), want, all.Sightings)
	}
	_, end := t.since(last, 100)
	t.append(want[0])
	all, _ := t.since(end, 100)
	t.same("only what is new", want[:1], all.Sightings)
	if got := t.places(); len(got) != 0 {
		t.Errorf("nothing was condensed, and there is %+v", got)
	}
}

func joined(t *storeT) {
	write := func(a ...behavior.Activity) {
		t.Helper()
		if err := t.a.AppendBehavior(t.ctx, behavior.Batch{Activity: a, Sightings: []behavior.Sighting{sample("p", epoch)}}); err != nil {
			t.Fatal(err)
		}
	}
	h := epoch.Unix() / 3600
	write(behavior.Activity{Subject: Person("p"), Hour: h, Bits: 1}, behavior.Activity{Subject: Person("q"), Hour: h, Bits: 1 << 11})
	all, last := t.since(0, 2)
	t.same("first", []behavior.Activity{{Subject: Person("p"), Hour: h, Bits: 1}, {Subject: Person("q"), Hour: h, Bits: 1 << 11}}, all.Activity)
	write(behavior.Activity{Subject: Person("p"), Hour: h, Bits: 1 | 1<<4}, behavior.Activity{Subject: Person("p"), Hour: h + 1, Bits: 3})
	all, _ = t.since(last, 1)
	t.same("then", []behavior.Activity{{Subject: Person("p"), Hour: h, Bits: 1 | 1<<4}, {Subject: Person("p"), Hour: h + 1, Bits: 3}}, all.Activity)
}

// A reader that goes on from the last number it was given must not miss a row of a
// writer that was slower.
func concurrent(t *storeT) {
	const writers, each = 4, 20
	done := make(chan error, writers)
	for w := range writers {
		store := []behavior.Store{t.a, t.b}[w%2]
		go func() {
			var err error
			for i := range each {
				s := sample(fmt.Sprintf("w%d-%d", w, i), epoch)
				err = errors.Join(err, store.AppendBehavior(t.ctx, behavior.Batch{Sightings: []behavior.Sighting{s, s}}))
			}
			done <- err
		}()
	}
	seen, after := map[string]int{}, int64(0)
	read := func() {
		b, last, err := t.b.BehaviorSince(t.ctx, after, 7)
		if err != nil {
			t.Error(err)
		}
		after = last
		for _, s := range b.Sightings {
			seen[s.Subject.ID]++
		}
	}
	for left := writers; left > 0; {
		select {
		case err := <-done:
			if left--; err != nil {
				t.Fatal(err)
			}
		default:
			read()
		}
	}
	for range writers * each {
		read()
	}
	for w := range writers {
		for i := range each {
			if id := fmt.Sprintf("w%d-%d", w, i); seen[id] != 2 {
				t.Errorf("%s was read %d times", id, seen[id])
			}
		}
	}
}

func onePerson(t *storeT) {
	old, recent := sample("p", epoch.Add(-72*time.Hour)), sample("p", epoch)
	other := authn.Subject{Issuer: "https://other.example.test", ID: "p"}
	foreign := sample("p", epoch)
	foreign.Subject = other
	t.append(old, recent, foreign, sample("q", epoch))
	if err := t.a.AppendBehavior(t.ctx, behavior.Batch{Activity: []behavior.Activity{{Subject: Person("p"), Hour: 7, Bits: 5}, {Subject: other, Hour: 7, Bits: 8}}}); err != nil {
		t.Fatal(err)
	}
	t.tidy(behavior.Limits{Condense: epoch.Add(-48 * time.Hour), Addrs: epoch.Add(-48 * time.Hour)})
	if err := t.a.AppendBehavior(t.ctx, behavior.Batch{Activity: []behavior.Activity{{Subject: Person("p"), Hour: 8, Bits: 5}}}); err != nil {
		t.Fatal(err)
	}
	b, err := t.b.BehaviorOf(t.ctx, Person("p"))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(b.Sightings, func(a, b behavior.Sighting) int { return a.At.Compare(b.At) })
	old.Addr, old.Point, old.Session = netip.Addr{}, behavior.Point{}, ""
	t.same("sightings", []behavior.Sighting{old, recent}, b.Sightings)
	t.same("activity", []behavior.Activity{{Subject: Person("p"), Hour: 8, Bits: 5}}, b.Activity)
	if b, err := t.b.BehaviorOf(t.ctx, Person("nobody")); err != nil || b.Len() != 0 {
		t.Errorf("of an unknown person: %+v, %v", b, err)
	}
}

func condensing(t *storeT) {
	at := func(h int) time.Time { return epoch.Add(time.Duration(h) * time.Hour) }
	place := func(h int, change func(*behavior.Sighting)) behavior.Sighting {
		s := sample("p", at(h))
		change(&s)
		return s
	}
	same := func(s *behavior.Sighting) {}
	t.append(
		place(0, same), place(5, func(s *behavior.Sighting) { s.Session = "another"; s.Point.Lat = 1 }), place(3, same), // one place, out of order
		place(1, func(s *behavior.Sighting) { s.Device = "phone" }),
		place(2, func(s *behavior.Sighting) { s.Allowed = false }),
		place(2, func(s *behavior.Sighting) { s.Subject = Person("q") }),
		place(20, same), // not yet
	)
	plain := func(s behavior.Sighting, first, last int) behavior.Sighting {
		s.First, s.At, s.Session, s.Point = at(first), at(last), "", behavior.Point{}
		return s
	}
	l := behavior.Limits{Condense: at(10)}
	t.tidy(l)
	phone := plain(place(1, func(s *behavior.Sighting) { s.Device = "phone" }), 1, 1)
	q := plain(place(2, func(s *behavior.Sighting) { s.Subject = Person("q") }), 2, 2)
	want := []behavior.Sighting{phone, q, plain(place(0, same), 0, 5)}
	t.same("places", want, t.places())
	all, last := t.since(0, 2)
	t.same("sightings", []behavior.Sighting{place(20, same)}, all.Sightings)
	t.tidy(l)
	t.same("a second time", want, t.places())

	// A later day joins the place that is there.
	t.tidy(behavior.Limits{Condense: at(21)})
	t.same("the next day", []behavior.Sighting{phone, q, plain(place(0, same), 0, 20)}, t.places())
	t.append(place(30, same))
	if b, _ := t.since(last, 10); len(b.Sightings) != 1 {
		t.Errorf("numbers were given twice: %d rows after %d", len(b.Sightings), last)
	}
}

func forgetting(t *storeT) {
	day := func(d int) time.Time { return epoch.AddDate(0, 0, d) }
	at := func(d int, addr string, host uint64) behavior.Sighting {
		s := sample("p", day(d))
		s.Addr, s.Host = netip.MustParseAddr(addr), host
		return s
	}
	t.append(at(0, "192.0.2.1", 1), at(10, "192.0.2.2", 2), at(20, "192.0.2.3", 3), at(30, "192.0.2.3", 3))
	if err := t.a.AppendBehavior(t.ctx, behavior.Batch{Activity: []behavior.Activity{{Subject: Person("p"), Hour: day(0).Unix() / 3600, Bits: 1}, {Subject: Person("p"), Hour: day(50).Unix() / 3600, Bits: 1}}}); err != nil {
		t.Fatal(err)
	}
	days := func(x time.Time) int { return int(x.Sub(epoch.Add(-time.Hour)).Hours() / 24) }
	show := func() (list []string) {
		for _, s := range t.places() {
			list = append(list, fmt.Sprint(s.Addr, " ", s.Host, " ", days(s.First), "-", days(s.At)))
		}
		return list
	}
	l := behavior.Limits{Condense: day(40)}
	t.tidy(l)
	t.same("condensed", []string{"192.0.2.1 1 0-0", "192.0.2.2 2 10-10", "192.0.2.3 3 20-30"}, show())
	l.Addrs = day(15)
	t.tidy(l)
	t.same("addresses", []string{"invalid IP 1 0-0", "invalid IP 2 10-10", "192.0.2.3 3 20-30"}, show())
	l.Hosts = day(15)
	t.tidy(l)
	t.same("hosts: what is left is one place", []string{"invalid IP 0 0-10", "192.0.2.3 3 20-30"}, show())
	l.Addrs, l.Hosts = day(31), day(31)
	t.tidy(l)
	t.same("all", []string{"invalid IP 0 0-30"}, show())
	all, _ := t.since(0, 10)
	t.same("activity", []behavior.Activity{{Subject: Person("p"), Hour: day(50).Unix() / 3600, Bits: 1}}, all.Activity)
	l.Forget = day(31)
	t.tidy(l)
	t.same("forgotten", []string(nil), show())

	// Addresses may have a shorter life than sightings.
	t.append(at(100, "192.0.2.9", 9))
	t.tidy(behavior.Limits{Condense: day(99), Addrs: day(101), Hosts: day(99)})
	all, _ = t.since(0, 10)
	if len(all.Sightings) != 1 || all.Sightings[0].Addr.IsValid() || all.Sightings[0].Host != 9 {
		t.Errorf("addresses are not kept, but: %+v", all.Sightings)
	}
}

func passkeyEvents(t *storeT) {
	event := func(who string, kind behavior.EventKind, at time.Time) behavior.Event {
		return behavior.Event{Subject: Person(who), At: at, Kind: kind, Host: 1<<63 - 1, Site: 1<<63 - 2, Device: "device", Session: "session"}
	}
	old := epoch.Add(-72 * time.Hour)
	list := []behavior.Event{
		event("p", behavior.Enrolled, epoch.AddDate(0, 0, -31)), event("p", behavior.Enrolled, old), event("p", behavior.StepUpBegun, old), event("p", behavior.StepUpDone, old),
		event("q", behavior.StepUpBegun, epoch), event("p", behavior.StepUpDone, epoch),
	}
	list[4].Host, list[4].Site, list[4].Device = 0, 0, ""
	for _, part := range [][]behavior.Event{list[:2], list[2:]} {
		if err := t.a.AppendBehavior(t.ctx, behavior.Batch{Events: part, Sightings: []behavior.Sighting{sample("p", epoch)}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, page := range []int{1, 3, 100} {
		all, _ := t.since(0, page)
		t.same(fmt.Sprint("pages of ", page), list, all.Events)
	}
	b, err := t.b.BehaviorOf(t.ctx, Person("q"))
	if err != nil {
		t.Fatal(err)
	}
	t.same("of one person", list[4:5], b.Events)
	t.tidy(behavior.Limits{Hosts: epoch.AddDate(0, 0, -30), Condense: epoch.Add(-48 * time.Hour)})
	all, _ := t.since(0, 100)
	t.same("enrolments stay for a month, and step-ups for two days", []behavior.Event{list[1], list[4], list[5]}, all.Events)
}

func days(t *storeT) {
	today := epoch.Unix() / 86400
	write := func(a ...behavior.Activity) {
		t.Helper()
		if err := t.a.AppendBehavior(t.ctx, behavior.Batch{Activity: a}); err != nil {
			t.Fatal(err)
		}
	}
	write(behavior.Activity{Subject: Person("p"), Hour: 24 * today, Bits: 1}, behavior.Activity{Subject: Person("p"), Hour: 24*today + 23, Bits: 1}, behavior.Activity{Subject: Person("q"), Hour: 24 * (today - 40), Bits: 1})
	write(behavior.Activity{Subject: Person("p"), Hour: 24 * today, Bits: 2}, behavior.Activity{Subject: Person("p"), Hour: 24*today + 2, Bits: 2})
	read := func() (list []behavior.Day) {
		t.Helper()
		if err := t.b.BehaviorDays(t.ctx, func(d behavior.Day) error { list = append(list, d); return nil }); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(list, func(a, b behavior.Day) int { return int(a.Day - b.Day) })
		return list
	}
	p := behavior.Day{Subject: Person("p"), Day: today, Hours: 1 | 1<<2 | 1<<23}
	t.same("joined", []behavior.Day{{Subject: Person("q"), Day: today - 40, Hours: 1}, p}, read())
	b, err := t.b.BehaviorOf(t.ctx, Person("p"))
	if err != nil {
		t.Fatal(err)
	}
	t.same("of one person", []behavior.Day{p}, b.Days)
	t.tidy(behavior.Limits{Hosts: epoch.AddDate(0, 0, -30), Condense: epoch.AddDate(0, 0, -2)})
	t.same("a month of them", []behavior.Day{p}, read())
	stop := errors.New("stop")
	if err := t.b.BehaviorDays(t.ctx, func(behavior.Day) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the reader's own error came back as %v", err)
	}
}

// between: a reader that reads the numbered rows first and the places then has
// everything, at any time of condensing.
func between(t *storeT) {
	t.append(sample("p", epoch))
	before, _ := t.since(0, 10)
	t.tidy(behavior.Limits{Condense: epoch.Add(time.Hour)})
	if len(before.Sightings)+len(t.places()) != 2 {
		t.Error("the row was in neither")
	}
	stop := errors.New("stop")
	if err := t.b.BehaviorPlaces(t.ctx, func(behavior.Sighting) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the reader's own error came back as %v", err)
	}
}

func ended(t *storeT) {
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	if err := t.a.AppendBehavior(ctx, behavior.Batch{Sightings: []behavior.Sighting{sample("p", epoch)}}); err == nil {
		t.Error("written")
	}
	if b, _ := t.since(0, 10); b.Len() != 0 {
		t.Errorf("refused, and stored: %+v", b)
	}
}
