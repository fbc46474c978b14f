package behavior

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/policy"
)

var noon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

var (
	berlin    = Point{Lat: 52.52, Lon: 13.405, RadiusKm: 10, Known: true}
	munich    = Point{Lat: 48.137, Lon: 11.575, RadiusKm: 10, Known: true}
	singapore = Point{Lat: 1.352, Lon: 103.82, RadiusKm: 10, Known: true}
)

func somebody(id string) authn.Subject {
	return authn.Subject{Issuer: "https://idp.example.test", ID: id}
}

// newTracker is one without a store, at noon.
func newTracker(t testing.TB, change ...func(*Config)) *Tracker {
	t.Helper()
	cfg := Config{Retention: 400 * day, Household: 56, Key: bytes.Repeat([]byte{7}, 32), Now: func() time.Time { return noon }}
	for _, f := range change {
		f(&cfg)
	}
	tr, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// home is an ordinary visit of alice's, so long before noon.
func home(ago time.Duration, change ...func(*Visit)) Visit {
	v := Visit{
		Subject: somebody("alice"), At: noon.Add(-ago), Device: "laptop", Session: "s1",
		Place: Place{Addr: netip.MustParseAddr("198.51.100.7"), Country: "DE", ASN: 3320, Point: berlin},
	}
	for _, f := range change {
		f(&v)
	}
	return v
}

func at(addr, country string, asn uint32) func(*Visit) {
	return func(v *Visit) {
		v.Place.Addr, v.Place.Country, v.Place.ASN = netip.MustParseAddr(addr), country, asn
	}
}

func who(id string) func(*Visit)     { return func(v *Visit) { v.Subject = somebody(id) } }
func in(p Point) func(*Visit)        { return func(v *Visit) { v.Place.Point = p } }
func device(d string) func(*Visit)   { return func(v *Visit) { v.Device = d } }
func session(s string) func(*Visit)  { return func(v *Visit) { v.Session = s } }
func flagged(v *Visit)               { v.Place.Flagged = true }
func private(v *Visit)               { v.Place.Private = true }
func allow(t *Tracker, vs ...Visit)  { record(t, policy.Allow, vs) }
func refuse(t *Tracker, vs ...Visit) { record(t, policy.Block, vs) }

func record(t *Tracker, a policy.Action, vs []Visit) {
	for _, v := range vs {
		t.Record(v, a)
	}
}
