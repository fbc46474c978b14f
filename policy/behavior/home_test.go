package behavior

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"sallyport/authn"
)

// place is a point at an ordinary address.
func place(p Point) Place {
	return Place{Addr: netip.MustParseAddr("203.0.113.9"), Country: "DE", ASN: 64500, Point: p}
}

func TestHomeKM(t *testing.T) {
	town := authn.Home{Lat: 52.5, Lon: 13.4, Known: true}
	change := func(f func(*Place)) Place {
		p := place(munich)
		f(&p)
		return p
	}
	for name, c := range map[string]struct {
		home authn.Home
		at   Place
		want int64
	}{
		"at home":                      {town, place(berlin), 0},
		"in Munich, less 20 km":        {town, place(munich), 482},
		"in Singapore":                 {town, place(singapore), 9896},
		"a coarse database":            {town, place(Point{Lat: munich.Lat, Lon: munich.Lon, RadiusKm: 300, Known: true}), 192},
		"a radius around home":         {town, place(Point{Lat: munich.Lat, Lon: munich.Lon, RadiusKm: 500, Known: true}), 0},
		"a database without radii":     {town, place(Point{Lat: munich.Lat, Lon: munich.Lon, Known: true}), 392},
		"a town away":                  {town, place(Point{Lat: 52.5, Lon: 14.4, RadiusKm: 1, Known: true}), 56},
		"nearer than databases know":   {town, place(Point{Lat: 52.5, Lon: 14.2, RadiusKm: 1, Known: true}), 0},
		"no coordinates":               {town, place(Point{Lat: munich.Lat, Lon: munich.Lon}), -1},
		"coordinates that are none":    {town, place(Point{Lat: math.NaN(), Lon: 0, Known: true}), -1},
		"home is not known":            {authn.Home{Lat: 52.5, Lon: 13.4}, place(munich), -1},
		"a VPN":                        {town, change(func(p *Place) { p.Flagged = true }), -1},
		"a network of ours":            {town, change(func(p *Place) { p.Private = true }), -1},
		"a mobile carrier":             {town, change(func(p *Place) { p.ASN = 21928 }), -1},
		"a carrier that is configured": {town, change(func(p *Place) { p.ASN = 64511 }), -1},
		"an office":                    {town, change(func(p *Place) { p.Addr = netip.MustParseAddr("198.51.100.7") }), -1},
		"the other side of the Earth":  {town, place(Point{Lat: -52.5, Lon: -166.6, RadiusKm: 1, Known: true}), 20004},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := func(c *Config) {
				c.MobileASNs, c.Offices = []uint32{64511}, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
			}
			v := Visit{Subject: somebody("alice"), At: noon, Place: c.at, Home: c.home}
			if got := newTracker(t, cfg).Assess(v).HomeKM; got != c.want {
				t.Errorf("%d km, want %d", got, c.want)
			}
			var alone Config
			cfg(&alone)
			if got, err := FromHome(alone, v); err != nil || got != c.want {
				t.Errorf("without a tracker: %d km, %v", got, err)
			}
			blind := newTracker(t, cfg, func(c *Config) { c.Store = neverRead{} })
			if a := blind.Assess(v); a.HomeKM != c.want || a.Seen.Known {
				t.Errorf("without a history: %d km, %+v", a.HomeKM, a.Seen)
			}
		})
	}
}

// neverRead is a store that is there and was not read.
type neverRead struct{ Store }

// A distance names no place by itself: all that is within reach of the errors of databases
// is one distance, and it is whole kilometres of a rounded place.
func TestHomesOfOneTownAreOne(t *testing.T) {
	tr := newTracker(t)
	for _, house := range []string{"52.5163 13.3777", "52.4710 13.4441", "52.5449 13.3551"} {
		h, err := authn.ParseHome(house)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []Point{berlin, munich, singapore, east(100, 1)} {
			got := tr.Assess(Visit{Subject: somebody("alice"), At: noon.Add(time.Hour), Place: place(at), Home: h}).HomeKM
			if want := tr.Assess(Visit{At: noon, Place: place(at), Home: authn.Home{Lat: 52.5, Lon: 13.4, Known: true}}).HomeKM; got != want {
				t.Errorf("%s from %+v: %d km, and of another house of the town %d", house, at, got, want)
			}
		}
	}
}
