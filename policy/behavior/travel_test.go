package behavior

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"sallyport/policy"
)

// east is a point so many kilometres east of 0, 0.
func east(km, radius float64) Point {
	return Point{Lon: km / (2 * math.Pi * earthKm) * 360, RadiusKm: radius, Known: true}
}

func TestTravel(t *testing.T) {
	here := Point{RadiusKm: 5, Known: true}
	for name, c := range map[string]struct {
		from, to Point
		after    time.Duration
		known    bool
		km, kmh  float64
	}{
		"40 minutes, 900 km":            {here, east(900, 5), 40 * time.Minute, true, 890, 1335},
		"30 seconds, 3 km":              {here, east(3, 5), 30 * time.Second, true, 0, 0},
		"30 seconds, 3 km, small radii": {Point{RadiusKm: 0.1, Known: true}, east(3, 0.1), 30 * time.Second, true, 0, 0},
		"both radii are taken off":      {Point{RadiusKm: 200, Known: true}, east(1000, 300), time.Hour, true, 500, 500},
		"radii that overlap":            {Point{RadiusKm: 500, Known: true}, east(900, 500), time.Minute, true, 0, 0},
		"no radius is not precision":    {Point{Known: true}, east(1000, 0), time.Hour, true, 800, 800},
		"59 minutes are not an hour":    {here, east(1010, 5), 59 * time.Minute, true, 1000, 1000 * 60 / 59.},
		"61 minutes are not an hour":    {here, east(1010, 5), 61 * time.Minute, true, 1000, 1000 * 60 / 61.},
		"at the same moment":            {here, east(1010, 5), 0, true, 1000, 3_600_000},
		"half a second later":           {here, east(1010, 5), time.Second / 2, true, 1000, 3_600_000},
		"the clock moved back":          {here, east(1010, 5), -time.Second, false, 0, 0},
		"the clock moved back by a day": {here, east(1010, 5), -24 * time.Hour, false, 0, 0},
		"two days":                      {here, east(9610, 5), 48 * time.Hour, true, 9600, 200},
		"longer ago":                    {here, east(9610, 5), 48*time.Hour + time.Second, false, 0, 0},
		"from nowhere":                  {Point{Lat: 52, Lon: 13}, here, time.Hour, false, 0, 0},
		"to nowhere":                    {here, Point{}, time.Hour, false, 0, 0},
		"NaN":                           {here, Point{Lat: math.NaN(), Lon: 1, Known: true}, time.Hour, false, 0, 0},
		"no latitude":                   {here, Point{Lat: 91, Known: true}, time.Hour, false, 0, 0},
		"no longitude":                  {here, Point{Lon: math.Inf(1), Known: true}, time.Hour, false, 0, 0},
		"radius NaN":                    {Point{RadiusKm: math.NaN(), Known: true}, east(1000, 100), time.Hour, true, 800, 800},
		"over the date line":            {Point{Lon: 179.99, RadiusKm: 1, Known: true}, Point{Lon: -179.99, RadiusKm: 1, Known: true}, time.Second, true, 0, 0},
		"to the other end of the world": {Point{Lat: 90, RadiusKm: 1, Known: true}, Point{Lat: -90, RadiusKm: 1, Known: true}, 10 * time.Hour, true, 20013.1, 2001.3},
	} {
		t.Run(name, func(t *testing.T) {
			got := travel(waypointAt(c.from, noon), waypointAt(c.to, noon.Add(c.after)))
			near := func(want, got float64) bool { return math.Abs(got-want) <= 0.002*want }
			if got.Known != c.known || !near(c.km, got.DistanceKM) || !near(c.kmh, got.SpeedKMH) {
				t.Errorf("got %+v, want %v, %.1f km, %.1f km/h", got, c.known, c.km, c.kmh)
			}
		})
	}
}

// For every input: no negative, infinite or undefined number, and nothing at
// all without coordinates.
func TestTravelIsAlwaysANumber(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	odd := []float64{0, -0.0, 90, -90, 180, -180, math.NaN(), math.Inf(1), math.Inf(-1), 1e308, -1}
	value := func() float64 {
		if r.IntN(3) == 0 {
			return odd[r.IntN(len(odd))]
		}
		return r.Float64()*400 - 200
	}
	for range 20_000 {
		a, b := Point{value(), value(), value(), r.IntN(8) > 0}, Point{value(), value(), value(), r.IntN(8) > 0}
		got := travel(waypointAt(a, noon), waypointAt(b, noon.Add(time.Duration(r.Int64N(int64(60*time.Hour)))-6*time.Hour)))
		for _, x := range []float64{got.DistanceKM, got.SpeedKMH} {
			if math.IsNaN(x) || math.IsInf(x, 0) || x < 0 {
				t.Fatalf("%+v to %+v: %+v", a, b, got)
			}
		}
		if got.DistanceKM > math.Pi*earthKm || (!a.Known || !b.Known) && got != (policy.Travel{}) {
			t.Fatalf("%+v to %+v: %+v", a, b, got)
		}
	}
}

// A same-country jump with no coordinates; a 40-minute hop of 900 km; a 30 s hop of 3 km;
// the clock moves back.
func TestAttackTravelThatWasNone(t *testing.T) {
	judge := func(first, then Visit) policy.Travel {
		tr := newTracker(t)
		allow(tr, first)
		return tr.Assess(then).Travel
	}
	if got := judge(home(time.Hour, in(Point{})), home(0, at("203.0.113.9", "DE", 64500), in(Point{}))); got.Known {
		t.Errorf("without coordinates: %+v", got)
	}
	if got := judge(home(time.Hour), home(0, in(Point{}))); got.Known {
		t.Errorf("from a place to none: %+v", got)
	}
	if got := judge(home(40*time.Minute, in(east(0, 5))), home(0, in(east(900, 5)))); math.Abs(got.SpeedKMH-1335) > 1 || math.Abs(got.DistanceKM-890) > 1 {
		t.Errorf("900 km in 40 minutes: %+v", got)
	}
	if got := judge(home(30*time.Second, in(east(0, 1))), home(0, in(east(3, 1)))); got.SpeedKMH != 0 || got.DistanceKM != 0 {
		t.Errorf("3 km in 30 s: %+v", got)
	}
	if got := judge(home(-time.Hour), home(0, in(singapore))); got != (policy.Travel{}) {
		t.Errorf("from the future: %+v", got)
	}
	// A clock that was wrong for a while does not blind it for ever: the next stop counts again.
	tr := newTracker(t)
	allow(tr, home(-24*time.Hour), home(10*time.Minute, in(munich)))
	if got := tr.Assess(home(0, in(singapore))).Travel; !got.Known || got.SpeedKMH < 50_000 {
		t.Errorf("after the clock was put right: %+v", got)
	}
}

func TestWhereJourneysBegin(t *testing.T) {
	far := home(0, in(singapore))
	satellite := func(asn uint32) func(*Visit) { return func(v *Visit) { v.Place.ASN = asn } }
	for name, c := range map[string]struct {
		before, now Visit
		known       bool
	}{
		"a home":                      {home(time.Hour), far, true},
		"from a VPN":                  {home(time.Hour, flagged), far, false},
		"to a VPN":                    {home(time.Hour), home(0, in(singapore), flagged), false},
		"from Starlink":               {home(time.Hour, satellite(14593)), far, false},
		"to a ship":                   {home(time.Hour), home(0, in(singapore), satellite(5377)), false},
		"from a configured":           {home(time.Hour, satellite(64510)), far, false},
		"a private network":           {home(time.Hour), home(0, in(singapore), private), false},
		"from a mobile carrier":       {home(time.Hour, satellite(21928)), far, false},
		"to a mobile carrier":         {home(time.Hour), home(0, in(singapore), satellite(21928)), false},
		"from a configured carrier":   {home(time.Hour, satellite(64511)), far, false},
		"to a configured carrier":     {home(time.Hour), home(0, in(singapore), satellite(64511)), false},
		"to a configured satellite":   {home(time.Hour), home(0, in(singapore), satellite(64510)), false},
		"from a VPN to a carrier":     {home(time.Hour, flagged), home(0, in(singapore), satellite(21928)), false},
		"from an office":              {home(time.Hour, at("203.0.113.9", "DE", 64500)), far, false},
		"to an office":                {home(time.Hour), home(0, at("203.0.113.9", "SG", 64500), in(singapore)), false},
		"to an office through NAT64":  {home(time.Hour), home(0, at("64:ff9b::203.0.113.9", "SG", 64500), in(singapore)), false},
		"to an office of IPv6":        {home(time.Hour), home(0, at("2001:db8:40::1", "SG", 64500), in(singapore)), false},
		"beside an office":            {home(time.Hour), home(0, at("203.0.113.19", "SG", 64500), in(singapore)), true},
		"a network that is not known": {home(time.Hour, satellite(0)), far, true},
		"somebody else":               {home(time.Hour, who("bob")), far, false},
		"nobody":                      {home(time.Hour), home(0, in(singapore), func(v *Visit) { v.Subject.Issuer, v.Subject.ID = "", "" }), false},
		"a longer time away":          {home(72 * time.Hour), far, false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracker(t, func(c *Config) {
				c.SatelliteASNs, c.MobileASNs = []uint32{64510}, []uint32{64511}
				c.Offices = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28"), netip.MustParsePrefix("2001:db8:40::/48")}
			})
			allow(tr, c.before)
			if got := tr.Assess(c.now).Travel; got.Known != c.known {
				t.Errorf("%+v", got)
			}
		})
	}
}

// The laptop at home, and the phone beside it, whose carrier lets it out 1,100 km away: no one travels.
func TestPhoneBesideTheLaptop(t *testing.T) {
	phone := func(v *Visit) { at("203.0.113.77", "DE", 21928)(v); in(east(1100, 20))(v); device("phone")(v) }
	tr := newTracker(t)
	allow(tr, home(time.Hour))
	for i, v := range []Visit{home(10*time.Minute, phone), home(9 * time.Minute), home(time.Minute, phone), home(0)} {
		if got := tr.Assess(v).Travel; got.SpeedKMH != 0 || got.DistanceKM != 0 {
			t.Errorf("visit %d: %+v", i, got)
		}
		allow(tr, v)
	}
	// What the laptop does in between counts from where the laptop was.
	if got := tr.Assess(home(-time.Minute, in(singapore))).Travel; !got.Known || got.SpeedKMH < 9000 {
		t.Errorf("the phone hid a journey: %+v", got)
	}
}

// A store has stops of before a carrier was known for one.
func TestStopsOfBeforeACarrierWasKnown(t *testing.T) {
	tr := newTracker(t)
	allow(tr, home(2*time.Hour))
	tr.remember(&Sighting{Subject: somebody("alice"), First: noon.Add(-time.Hour), At: noon.Add(-time.Hour), ASN: 21928, Country: "DE", Point: east(1100, 20), Allowed: true},
		momentOf(noon), 0)
	if got := tr.Assess(home(0)).Travel; !got.Known || got.SpeedKMH != 0 {
		t.Errorf("%+v", got)
	}
}

// A person who was turned away is not there the next time: a second try would be no journey.
func TestBlockedVisitsAreNoStops(t *testing.T) {
	for _, action := range []policy.Action{policy.Block, policy.StepUp} {
		tr := newTracker(t)
		allow(tr, home(time.Hour))
		far := home(time.Minute, in(singapore))
		tr.Record(far, action)
		far.At = noon
		if got := tr.Assess(far).Travel; got.SpeedKMH < 9000 {
			t.Errorf("%v: %+v", action, got)
		}
		allow(tr, far)
		if got := tr.Assess(far).Travel; !got.Known || got.DistanceKM != 0 {
			t.Errorf("%v: let through, and still on the way: %+v", action, got)
		}
	}
}
