package behavior

import (
	"math"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/ipv4in6"
)

const (
	earthKm = 6371.0088 // mean radius (IUGG)
	// vagueKm is how far an address may be from its coordinates if the source does not say.
	vagueKm = 100
	// shortestKm is the shortest way, after the radii are taken off, that is one:
	// databases move a house by more from one edition to the next.
	shortestKm = 50
)

// waypoint is a point at which a person was let through. Coordinates are in 1/10,000 of a
// degree, 11 m, so that what comes back from a store is what was put into it.
type waypoint struct {
	at       int64 // microseconds since 1970
	lat, lon int32
	radius   uint16 // km
	known    bool
}

// waypointAt is p in the form in which it is remembered. Coordinates that are none are
// not known: 0,0 for "missing" has sent people to the Gulf of Guinea and back.
func waypointAt(p Point, t time.Time) waypoint {
	if !p.Known || !(math.Abs(p.Lat) <= 90 && math.Abs(p.Lon) <= 180) { // NaN is not <= 90
		return waypoint{}
	}
	radius := p.RadiusKm
	if !(radius > 0) {
		radius = vagueKm
	}
	return waypoint{
		at: t.UnixMicro(), known: true, radius: uint16(min(math.Ceil(radius), 20_038)),
		lat: int32(math.Round(p.Lat * 1e4)), lon: int32(math.Round(p.Lon * 1e4)),
	}
}

// point is the inverse of stopAt.
func (s waypoint) point() Point {
	if !s.known {
		return Point{}
	}
	return Point{Lat: float64(s.lat) / 1e4, Lon: float64(s.lon) / 1e4, RadiusKm: float64(s.radius), Known: true}
}

// travel is the way between two waypoints, over the exact time between them. There is
// none if either is not known, if the first lies in the future, or if it is more than two
// days ago.
func travel(from, to waypoint) policy.Travel {
	elapsed := time.Duration(to.at-from.at) * time.Microsecond
	if !from.known || !to.known || elapsed < 0 || elapsed > journeyMax {
		return policy.Travel{}
	}
	km := way(from, to)
	if km == 0 {
		return policy.Travel{Known: true}
	}
	// A person cannot be in two places in the same second, but the speed has to stay a
	// number.
	return policy.Travel{Known: true, DistanceKM: km, SpeedKMH: km / max(elapsed, time.Second).Hours()}
}

// FromHome is Assessment.HomeKM of a visit for those who have no Tracker. Of c, only what
// says which networks are no person's place counts.
func FromHome(c Config, v Visit) (int64, error) {
	c.Key = make([]byte, minKey) // it names addresses in the history, and there is none
	nets, err := newNetworks(&c)
	if err != nil {
		return -1, err
	}
	v.Place.Addr = ipv4in6.Canonical(v.Place.Addr)
	return nets.fromHome(&v), nil
}

// fromHome is policy.User.HomeKM: a journey from home that took no time.
func (n *networks) fromHome(v *Visit) int64 {
	home := waypointAt(Point{Lat: v.Home.Lat, Lon: v.Home.Lon, RadiusKm: authn.HomeRadiusKm, Known: v.Home.Known}, v.At)
	here := waypointAt(v.Place.Point, v.At)
	if !home.known || !here.known || !n.travels(&v.Place) {
		return -1
	}
	return int64(way(home, here))
}

// way is how far two waypoints are apart at least, in kilometres; 0 if that is no way.
func way(a, b waypoint) float64 {
	km := distance(a, b) - float64(a.radius) - float64(b.radius)
	if km < shortestKm {
		return 0
	}
	return km
}

// distance is the great-circle distance in kilometres (haversine formula).
func distance(a, b waypoint) float64 {
	const rad = math.Pi / 180 / 1e4
	sinLat := math.Sin(float64(b.lat-a.lat) * rad / 2)
	sinLon := math.Sin(float64(b.lon-a.lon) * rad / 2)
	h := sinLat*sinLat + math.Cos(float64(a.lat)*rad)*math.Cos(float64(b.lat)*rad)*sinLon*sinLon
	return 2 * earthKm * math.Asin(math.Sqrt(min(h, 1)))
}
