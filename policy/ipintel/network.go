package ipintel

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/policy"
	"sallyport/policy/ipv4in6"
)

// UnknownCountry is the country of an address that no source places (CLDR's code for it).
const UnknownCountry = "ZZ"

// Network is what the sources of one snapshot say about one address. It is a value;
// its slices are shared with other lookups and must not be written to.
type Network struct {
	// Addr is the address that was asked for, unmapped and without a zone. The zero Addr
	// if it was not valid.
	Addr netip.Addr `json:"ip"`
	// Private is what ipv4in6.Private says. No database is asked about those; lists are.
	// What an address carries makes it neither private nor public: a 6to4 address is on
	// the Internet, whichever network it names.
	Private bool `json:"private"`
	// Country is ISO 3166-1 alpha-2 in upper case, or "ZZ". Never empty.
	Country string `json:"country"`
	// Subdivisions are ISO 3166-2 codes, largest first.
	Subdivisions []string `json:"subdivisions,omitempty"`
	// ASN and Org come from the same source; 0 and "" when not known.
	ASN uint32 `json:"asn"`
	Org string `json:"org"`
	// Provider is whose VPN or proxy it is, in the words of the most believed source that
	// says; "" when none does.
	Provider string `json:"provider,omitempty"`
	// Signals is the union over all sources.
	Signals Signal `json:"signals"`
	// Lists are the names of all lists that hold the address, in configured order.
	Lists []string `json:"lists"`
	// Location is where the address is thought to be; look at Known first.
	Location Location `json:"location,omitzero"`
	// TimeZone is the IANA zone of the place, from the source that gave Location; "" when
	// not known.
	TimeZone string `json:"time_zone,omitempty"`
	// DataFrom is when the oldest loaded source was built; zero when none is loaded.
	DataFrom time.Time `json:"data_from,omitzero"`
	// Missing names the sources that had no say: never loaded, or unreadable at this
	// address.
	Missing []string `json:"data_missing,omitempty"`

	text string // Addr as text, made once per cached lookup
	// alone are, for an address that carries others, what each of them is by itself: see
	// policy.IP.Readings.
	alone []Network
}

// Location is a point with the radius within which the source places the address.
type Location struct {
	Lat float64 `json:"lat"`
	Lon float64 `json:"lon"`
	// RadiusKm is 0 when the source does not give one; that is not precision.
	RadiusKm int `json:"radius_km"`
	// Known is false when no source gave coordinates. Lat and Lon then mean nothing
	// (0, 0 is a point in the sea).
	Known bool `json:"known"`
}

// Facts is the network as rules see it at the moment now.
func (n Network) Facts(now time.Time) policy.IP {
	ip := policy.IP{
		Addr:             n.Addr,
		Address:          n.text,
		Country:          n.Country,
		Subdivisions:     n.Subdivisions,
		ASN:              int64(n.ASN),
		Org:              n.Org,
		Provider:         n.Provider,
		Private:          n.Private,
		VPN:              n.Signals.Has(VPN),
		Hosting:          n.Signals.Has(Hosting),
		Tor:              n.Signals.Has(Tor),
		Proxy:            n.Signals.Has(Proxy),
		ResidentialProxy: n.Signals.Has(ResidentialProxy),
		Relay:            n.Signals.Has(Relay),
		Lists:            n.Lists,
		DataAgeHours:     ageHours(n.DataFrom, now),
		DataMissing:      n.Missing,
	}
	if ip.Country == "" {
		ip.Country = UnknownCountry
	}
	if n.Addr.IsValid() {
		ip.Version = 6
		if n.Addr.Is4() {
			ip.Version = 4
		}
		if ip.Address == "" {
			ip.Address = n.Addr.String()
		}
	}
	for _, r := range n.alone {
		ip.Readings = append(ip.Readings, r.Facts(now))
	}
	ip.DeriveRegion()
	return ip
}

func ageHours(from, now time.Time) int64 {
	if from.IsZero() || !now.After(from) {
		return 0
	}
	return int64(now.Sub(from) / time.Hour)
}

// inner gives the IPv4 addresses inside an address, in the published forms and under the
// operator's own prefixes.
func (s *Snapshot) inner(a netip.Addr) []netip.Addr {
	list := ipv4in6.Inner(a)
	for _, p := range s.nat64 {
		if found, ok := ipv4in6.Under(p, a); ok && !slices.Contains(list, found) {
			list = append(list, found)
		}
	}
	return list
}

// countryCode gives a clean ISO 3166-1 alpha-2 code, or "" for anything else.
// The regional codes of old data files (EU, AP, A1, A2, O1) are no country.
func countryCode(s string) string {
	if len(s) != 2 {
		return ""
	}
	b := [2]byte{s[0] &^ 0x20, s[1] &^ 0x20}
	if b[0] < 'A' || b[0] > 'Z' || b[1] < 'A' || b[1] > 'Z' {
		return ""
	}
	switch c := string(b[:]); c {
	case UnknownCountry, "XX", "EU", "AP":
		return ""
	default:
		return c
	}
}
