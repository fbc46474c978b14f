package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"

	"sallyport/authn/session"
	"sallyport/policy"
	"sallyport/policy/behavior"
	"sallyport/policy/behavior/behaviortest"
	"sallyport/proxy/proxytest"
)

// Two handles on one file, as two processes hold them.
func TestBehaviorConformance(t *testing.T) {
	behaviortest.TestStore(t, func(t *testing.T) (a, b behavior.Store) {
		path := filepath.Join(t.TempDir(), "state", "sallyport.db")
		return open(t, path), open(t, path)
	})
}

// A file of the release before keeps what it holds.
func TestUpgradeFromVersion1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	first, err := migrations.ReadFile("migrations/0001_initial.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, fstest.MapFS{"0001_initial.sql": {Data: first}}, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`insert into sessions (id, subject_issuer, subject_id, email, name, group_names, country_codes, time_zone, created_at, expires_at, last_seen_at, provider_session)
		values ('s1', 'i', 'p', 'a@example.test', 'A', '[]', '[]', '', 1, 2, 1, '')`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	d := open(t, path)
	rs, err := d.ListSessions(t.Context(), session.Filter{})
	if err != nil || len(rs) != 1 || rs[0].ID != "s1" || !rs[0].Person.StartedAt.IsZero() {
		t.Errorf("%+v, %v", rs, err)
	}
}

// What is tidied in one call is more than one transaction's worth.
func TestTidyGoesOnAfterABatch(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "s.db"))
	var b behavior.Batch
	for i := range purgeBatch + 10 {
		at := epoch.Add(time.Duration(i) * time.Microsecond)
		b.Activity = append(b.Activity, behavior.Activity{Subject: behaviortest.Person(fmt.Sprint(i)), Hour: epoch.Unix()/3600 - 3, Bits: 1})
		b.Sightings = append(b.Sightings, behavior.Sighting{
			Subject: behaviortest.Person(fmt.Sprint(i % (tidyPeople + 7))), First: at, At: at, Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Host: 1, Allowed: true, Country: "ZZ",
		})
	}
	if err := d.AppendBehavior(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	left := func(table, where string) (n int) {
		t.Helper()
		if err := d.read.QueryRow(`select count(*) from ` + table + ` where ` + where).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	tidy := func(l behavior.Limits) {
		t.Helper()
		if err := d.TidyBehavior(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	after := epoch.Add(time.Second)
	tidy(behavior.Limits{Addrs: after})
	if n := left("behavior_sightings", "address <> ''"); n != 0 {
		t.Errorf("%d sightings have an address", n)
	}
	tidy(behavior.Limits{Addrs: after, Condense: after})
	if s, p := left("behavior_sightings", "1 = 1"), left("behavior_places", "host = 1"); s != 0 || p != tidyPeople+7 {
		t.Errorf("%d sightings, %d places", s, p)
	}
	if n := left("behavior_activity", "1 = 1"); n != 0 {
		t.Errorf("%d hours are left", n)
	}
	tidy(behavior.Limits{Hosts: after})
	if n := left("behavior_places", "host <> 0"); n != 0 {
		t.Errorf("%d places have a host", n)
	}
	tidy(behavior.Limits{Forget: after})
	if n := left("behavior_places", "1 = 1"); n != 0 {
		t.Errorf("%d places are left", n)
	}
}

// History goes through the file and comes back as it was.
func TestATrackerOnAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	start := func() (tr *behavior.Tracker, stop func()) {
		tr, err := behavior.New(behavior.Config{Retention: proxytest.BehaviorRetention, Household: proxytest.BehaviorHousehold, Store: open(t, path), Key: make([]byte, 32), RawAddresses: time.Hour, Now: func() time.Time { return epoch }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tr.Run(ctx) }()
		for !tr.HistoryKnown() {
			select {
			case err := <-done:
				t.Fatal("Run ended:", err)
			case <-time.After(time.Millisecond):
			}
		}
		return tr, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	visit := func(country string, asn uint32, lat float64) behavior.Visit {
		return behavior.Visit{
			Subject: behaviortest.Person("alice"), At: epoch, Device: "laptop", Session: "s1",
			Place: behavior.Place{Addr: netip.MustParseAddr("2001:db8::7"), Country: country, ASN: asn, Point: behavior.Point{Lat: lat, RadiusKm: 7.5, Known: true}},
		}
	}
	tr, stop := start()
	tr.Record(visit("DE", 3320, 52.52), policy.Allow)
	tr.Record(visit("SG", 4657, 1.352), policy.Block)
	tr.Active(behaviortest.Person("alice"), epoch)
	tr.Active(behaviortest.Person("alice"), epoch.Add(-time.Hour))
	want := tr.Assess(visit("SG", 4657, 1.352))
	stop()
	if !want.Travel.Known || want.Seen.Countries1h != 2 || want.Activity.ActiveHours24h != 2 || !want.Seen.NewCountry {
		t.Fatalf("%+v", want)
	}
	tr, stop = start()
	defer stop()
	if got := tr.Assess(visit("SG", 4657, 1.352)); got != want {
		t.Errorf("after a restart:\n%+v\nwant\n%+v", got, want)
	}
}

// Where addresses live for less than two days, taking them out goes through those that are left,
// and not through all of the two days.
func TestHidingAddressesUsesItsIndex(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "s.db"))
	rows, err := db.read.QueryContext(t.Context(), `explain query plan select seq from behavior_sightings where address <> '' and at < $1 limit $2`, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan += detail
	}
	if err := rows.Err(); err != nil || !strings.Contains(plan, "behavior_sightings_with_address") {
		t.Errorf("%q, %v", plan, err)
	}
}
