package company

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/behavior"
)

// city is where people live, go, and hide. The autonomous systems are from the ranges
// kept for documentation and private use (RFC 5398, RFC 6996), but for the mobile
// carriers: those have to be recognised as such.
type city struct {
	name, country, zone string
	lat, lon            float64
	carrier             uint32 // the ASN of a mobile carrier there; 0: made up
}

// unplaced reports that no coordinates are known.
func (c *city) unplaced() bool { return c.lat == 0 && c.lon == 0 }

var cities = []city{
	{"New York", "US", "America/New_York", 40.71, -74.01, 21928},
	{"San Francisco", "US", "America/Los_Angeles", 37.77, -122.42, 21928},
	{"Austin", "US", "America/Chicago", 30.27, -97.74, 20057},
	{"Chicago", "US", "America/Chicago", 41.88, -87.63, 22394},
	{"Denver", "US", "America/Denver", 39.74, -104.99, 21928},
	{"Toronto", "CA", "America/Toronto", 43.65, -79.38, 812},
	{"London", "GB", "Europe/London", 51.51, -0.13, 12576},
	{"Berlin", "DE", "Europe/Berlin", 52.52, 13.40, 3209},
	{"Zurich", "CH", "Europe/Zurich", 47.38, 8.54, 3303},
	{"Basel", "CH", "Europe/Zurich", 47.56, 7.59, 3303},
	{"Paris", "FR", "Europe/Paris", 48.86, 2.35, 5410},
	{"Lisbon", "PT", "Europe/Lisbon", 38.72, -9.14, 12353},
	{"Warsaw", "PL", "Europe/Warsaw", 52.23, 21.01, 5617},
	{"Singapore", "SG", "Asia/Singapore", 1.35, 103.82, 9506},
	{"Tokyo", "JP", "Asia/Tokyo", 35.68, 139.69, 2516},
	{"Bangalore", "IN", "Asia/Kolkata", 12.97, 77.59, 55836},
	{"São Paulo", "BR", "America/Sao_Paulo", -23.55, -46.63, 26599},
	{"Sydney", "AU", "Australia/Sydney", -33.87, 151.21, 1221},
	{"Dubai", "AE", "Asia/Dubai", 25.20, 55.27, 5384},
}

// regions are the ISO 3166-2 codes of the cities; of the others none is known.
var regions = map[string]string{
	"New York": "US-NY", "San Francisco": "US-CA", "Austin": "US-TX", "Chicago": "US-IL", "Denver": "US-CO", "Toronto": "CA-ON", "London": "GB-ENG",
	"Berlin": "DE-BE", "Zurich": "CH-ZH", "Basel": "CH-BS", "Paris": "FR-IDF", "Lisbon": "PT-11", "Tokyo": "JP-13", "Bangalore": "IN-KA",
	"São Paulo": "BR-SP", "Sydney": "AU-NSW", "Dubai": "AE-DU",
}

// providers are operators of VPNs, whose exits the data names where it lists them.
var providers = []string{"Mullvad", "NordVPN", "ExpressVPN", "Proton VPN", "Surfshark", "Astrill VPN"}

// homeOf is what a roster says of a person who lives there.
func homeOf(c city) authn.Home {
	if c.unplaced() {
		return authn.Home{}
	}
	return authn.Home{Lat: c.lat, Lon: c.lon, Known: true}
}

// The cities above in which the company has people, by their number in the list.
const homeCities = 17

// Where the hostile sit.
var (
	shenyang    = city{"Shenyang", "CN", "Asia/Shanghai", 41.80, 123.43, 9808}
	vladivostok = city{"Vladivostok", "RU", "Asia/Vladivostok", 43.12, 131.89, 8359}
	pyongyang   = city{"Pyongyang", "KP", "Asia/Pyongyang", 39.02, 125.75, 131279}
)

// network is a way to the Internet, as the IP data knows it.
type network struct {
	ip    policy.IP
	place behavior.Place
}

// world hands out networks.
type world struct {
	rng   *rand.Rand
	extra *rand.Rand // for what only some models have, so that it does not change the rest
	model Model
	next  uint32 // of the IPv4 addresses handed out
}

func newWorld(seed uint64, m Model) *world {
	return &world{rng: rand.New(rand.NewPCG(seed, 0)), extra: rand.New(rand.NewPCG(seed, 1<<32)), model: m, next: 0x0b000000} // 11.0.0.0: public, and no data lists it
}

func (w *world) addr() netip.Addr {
	w.next += 257 // another /24 each time
	return netip.AddrFrom4([4]byte{byte(w.next >> 24), byte(w.next >> 16), byte(w.next >> 8), byte(w.next)})
}

// network makes one in a city, with the radius (km) that databases give for its kind.
func (w *world) network(at city, asn uint32, org string, radius float64) network {
	return w.at(w.addr(), at, asn, org, radius)
}

func (w *world) at(a netip.Addr, at city, asn uint32, org string, radius float64) network {
	n := network{ip: policy.IP{Address: a.String(), Addr: a, Version: 4, Country: at.country, ASN: int64(asn), Org: org, DataAgeHours: 30}}
	if a.Is6() {
		n.ip.Version = 6
	}
	if r := regions[at.name]; r != "" {
		n.ip.Subdivisions = []string{r}
		n.ip.DeriveRegion()
	}
	n.place = behavior.Place{Addr: a, Country: at.country, ASN: asn, Org: org, TimeZone: at.zone,
		Point: behavior.Point{Lat: at.lat + w.rng.Float64()*0.2, Lon: at.lon + w.rng.Float64()*0.2, RadiusKm: radius, Known: !at.unplaced()}}
	return n
}

// provider is the ASN of the n-th access provider of a city.
func provider(at city, n int) uint32 {
	sum := uint32(0)
	for _, b := range []byte(at.name) {
		sum = sum*31 + uint32(b)
	}
	return 4200000000 + sum%100000*10 + uint32(n)
}

// provided is a network of the model for a place, or else the made-up one.
func (w *world) provided(at city, kind string, asn uint32, org string) (uint32, string) {
	draw, drawn := 0.0, false
	for _, n := range w.model.Networks {
		if n.Country != at.country || n.Kind != kind {
			continue
		}
		if !drawn {
			draw, drawn = w.extra.Float64(), true
		}
		if draw < n.Share {
			return n.ASN, n.Org
		}
		draw -= n.Share
	}
	return asn, org
}

// cityIn is a place in a country: a city that is known, in that time zone where one is
// named, or else the country without coordinates.
func (w *world) cityIn(country, zone string) city {
	var known []city
	for _, c := range cities {
		if c.country == country && (zone == "" || c.zone == zone) {
			known = append(known, c)
		}
	}
	if len(known) > 0 {
		return known[w.extra.IntN(len(known))]
	}
	c := city{name: country, country: country, zone: zone}
	if zones := behavior.Zones(country); zone == "" && len(zones) > 0 {
		c.zone = zones[0]
	}
	c.carrier = provider(c, 9)
	return c
}

// home is an access at a person's home: an IPv4 and an IPv6 address. The data may be
// wrong about it.
func (w *world) home(at city) [2]network {
	where := at
	switch p := w.rng.Float64(); {
	case p < w.model.WrongCountry:
		where = cities[w.rng.IntN(len(cities))]
	case p < w.model.WrongCountry+w.model.WrongCity:
		for _, i := range w.rng.Perm(len(cities)) {
			if cities[i].country == at.country {
				where = cities[i]
				break
			}
		}
	}
	isp := w.rng.IntN(3)
	asn, org := w.provided(at, "home", provider(at, isp), fmt.Sprintf("%s access %d", at.name, isp+1))
	v4 := w.network(where, asn, org, 20)
	six := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(w.next >> 24), byte(w.next >> 16), byte(w.next >> 8), byte(w.next), 15: 1})
	v6 := w.at(six, where, asn, org, 100)
	if w.rng.Float64() < w.model.InfectedHome {
		v4.residential()
	}
	return [2]network{v4, v6}
}

// cellular is a carrier's exit: shared by many, placed coarsely, and now and then across
// a border.
func (w *world) cellular(at city) network {
	where := at
	if w.rng.Float64() < w.model.CarrierElsewhere {
		where = w.nearby(at)
	}
	asn, org := w.provided(at, "mobile", at.carrier, at.name+" mobile")
	return w.network(where, asn, org, 150)
}

// nearby is the nearest city of another country.
func (w *world) nearby(to city) city {
	best, least := to, math.Inf(1)
	for _, c := range cities {
		if d := math.Hypot(c.lat-to.lat, c.lon-to.lon); c.country != to.country && d < least {
			best, least = c, d
		}
	}
	return best
}

// public is a café's, a hotel's or a co-working space's access.
func (w *world) public(at city) network {
	return w.network(at, provider(at, 3+w.rng.IntN(6)), at.name+" business access", 20)
}

// vpn is an exit of a commercial VPN: hosted, and listed if the data is good enough.
func (w *world) vpn(at city) network {
	asn, org := w.provided(at, "vpn", 64500+uint32(w.rng.IntN(8)), "VPN hosting")
	n := w.network(at, asn, org, 50)
	switch p := w.rng.Float64(); {
	case p < w.model.VPNListed:
		n.ip.VPN, n.ip.Lists, n.ip.Provider = true, []string{"vpn-exits"}, providers[int(asn)%len(providers)]
	case p < w.model.VPNListed+w.model.VPNSeenAsHosting:
		n.ip.Hosting, n.ip.Lists = true, []string{"hosting"}
	default:
		return n // unknown
	}
	n.place.Flagged = true
	return n
}

func (w *world) hosted(at city) network {
	asn, org := w.provided(at, "hosting", 64510, "Cloud")
	n := w.network(at, asn, org, 50)
	n.ip.Hosting, n.ip.Lists, n.place.Flagged = true, []string{"hosting"}, true
	return n
}

func (w *world) relay(at city) network {
	n := w.network(at, 64509, "Privacy relay", 100)
	n.ip.Relay, n.ip.VPN, n.ip.Lists, n.place.Flagged = true, true, []string{"relays", "vpn-exits"}, true
	return n
}

func (n *network) residential() {
	n.ip.ResidentialProxy, n.ip.Lists, n.place.Flagged = true, []string{"residential"}, true
}
