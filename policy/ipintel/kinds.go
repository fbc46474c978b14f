package ipintel

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"
)

// kind is how one type of database is read, and what it can answer.
type kind struct {
	provides provides
	read     func(netip.Addr) (record, error)
}

var anonymity = VPN | Hosting | Tor | Proxy | ResidentialProxy

// opener opens the same database for either library. sampled is one to look around in: a
// mapped one would be resident for it.
type opener struct {
	geoip2    func() (*geoip2.Reader, error)
	maxminddb func() (*maxminddb.Reader, error)
	sampled   *maxminddb.Reader
}

// kindOf recognises the type by its name in the metadata. geoip2 reads the types that it
// knows; the others are read by maxminddb into records of our own.
func kindOf(open opener) (kind, error) {
	g, err := open.geoip2()
	if unknown := (geoip2.UnknownDatabaseTypeError{}); errors.As(err, &unknown) {
		r, err := open.maxminddb()
		if err != nil {
			return kind{}, err
		}
		return otherKind(r, open.sampled)
	}
	if err != nil {
		return kind{}, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return geoip2Kind(g, g.Metadata().DatabaseType)
}

// geoip2Kind asks geoip2 which of its methods fits, so that its list of types is the only
// one.
func geoip2Kind(g *geoip2.Reader, name string) (kind, error) {
	answers := func(err error) bool { return !errors.As(err, new(geoip2.InvalidMethodError)) }
	probe := netip.IPv4Unspecified()
	if _, err := g.Enterprise(probe); answers(err) {
		return reads(g.Enterprise, fromEnterprise, cityProvides.or(asnProvides).or(provides{signals: Hosting | Relay})), nil
	}
	if _, err := g.City(probe); answers(err) {
		if strings.Contains(name, "Country") {
			return reads(g.Country, fromCountry, provides{country: true}), nil
		}
		return reads(g.City, fromCity, cityProvides), nil
	}
	if _, err := g.ISP(probe); answers(err) {
		return reads(g.ISP, fromISP, asnProvides), nil
	}
	if _, err := g.ASN(probe); answers(err) {
		return reads(g.ASN, fromASN, asnProvides), nil
	}
	if _, err := g.AnonymousPlus(probe); answers(err) {
		return reads(g.AnonymousPlus, fromAnonymousPlus, provides{signals: anonymity, provider: true}), nil
	}
	if _, err := g.AnonymousIP(probe); answers(err) {
		return reads(g.AnonymousIP, fromAnonymousIP, provides{signals: anonymity}), nil
	}
	// Connection-Type and Domain: nothing that a rule can ask about. Harmless.
	if _, err := g.ConnectionType(probe); answers(err) {
		return reads(g.ConnectionType, func(*geoip2.ConnectionType) record { return record{} }, provides{}), nil
	}
	if _, err := g.Domain(probe); answers(err) {
		return reads(g.Domain, func(*geoip2.Domain) record { return record{} }, provides{}), nil
	}
	return kind{}, fmt.Errorf("%w: %q", errType, clip(name))
}

var (
	cityProvides = provides{country: true, subdivisions: true, location: true}
	asnProvides  = provides{asn: true, org: true}
)

// reads joins a geoip2 method and the translation of its record.
func reads[T any](get func(netip.Addr) (*T, error), from func(*T) record, p provides) kind {
	return kind{provides: p, read: func(a netip.Addr) (record, error) {
		v, err := get(a)
		if err != nil {
			return record{}, err
		}
		return from(v), nil
	}}
}

// The country is where the address is used (`country`), never where it is registered:
// a record without one stays unknown.

func fromCountry(c *geoip2.Country) record {
	return record{country: countryCode(c.Country.ISOCode)}
}

func fromCity(c *geoip2.City) record {
	rec := record{country: countryCode(c.Country.ISOCode)}
	for _, s := range c.Subdivisions {
		rec.addSubdivision(s.ISOCode)
	}
	rec.setLocation(c.Location)
	return rec
}

func fromEnterprise(e *geoip2.Enterprise) record {
	t := e.Traits
	rec := record{
		country: countryCode(e.Country.ISOCode),
		asn:     asNumber(t.AutonomousSystemNumber),
		org:     firstOf(t.AutonomousSystemOrganization, t.ISP, t.Organization),
	}
	for _, s := range e.Subdivisions {
		rec.addSubdivision(s.ISOCode)
	}
	rec.setLocation(e.Location)
	switch strings.ToLower(t.UserType) {
	case "hosting":
		rec.signals |= Hosting
	case "consumer_privacy_network":
		rec.signals |= Relay
	}
	return rec
}

func fromISP(i *geoip2.ISP) record {
	return record{asn: asNumber(i.AutonomousSystemNumber), org: firstOf(i.AutonomousSystemOrganization, i.ISP, i.Organization)}
}

func fromASN(a *geoip2.ASN) record {
	return record{asn: asNumber(a.AutonomousSystemNumber), org: tidy(a.AutonomousSystemOrganization)}
}

func fromAnonymousIP(a *geoip2.AnonymousIP) record {
	return record{signals: anonymous(a.IsAnonymous, a.IsAnonymousVPN, a.IsHostingProvider, a.IsPublicProxy, a.IsResidentialProxy, a.IsTorExitNode)}
}

func fromAnonymousPlus(a *geoip2.AnonymousPlus) record {
	return record{signals: anonymous(a.IsAnonymous, a.IsAnonymousVPN, a.IsHostingProvider, a.IsPublicProxy, a.IsResidentialProxy, a.IsTorExitNode), provider: tidy(a.ProviderName)}
}

// anonymous translates MaxMind's flags. An address that is called anonymous without
// saying how counts as a proxy: dropping it would clear it.
func anonymous(unspecified, vpn, hosting, public, residential, tor bool) Signal {
	s := pick(vpn, VPN) | pick(hosting, Hosting) | pick(public, Proxy) | pick(residential, ResidentialProxy) | pick(tor, Tor)
	if unspecified && s == 0 {
		s = Proxy
	}
	return s
}

func pick(b bool, s Signal) Signal {
	if b {
		return s
	}
	return 0
}

// addSubdivision takes the part after the hyphen; with the country it is the ISO 3166-2
// code.
func (r *record) addSubdivision(code string) {
	if r.country == "" || code == "" || len(code) > 3 {
		return
	}
	r.subdivisions = append(r.subdivisions, r.country+"-"+strings.ToUpper(code))
}

func (r *record) setLocation(l geoip2.Location) {
	r.timeZone = l.TimeZone
	if l.HasCoordinates() {
		r.location = point(*l.Latitude, *l.Longitude, int(l.AccuracyRadius))
	}
}

// point refuses what is not a place on Earth. 0, 0 is what data files write for "not
// known".
func point(lat, lon float64, radius int) Location {
	ok := math.Abs(lat) <= 90 && math.Abs(lon) <= 180 && (lat != 0 || lon != 0) // false for NaN
	if !ok {
		return Location{}
	}
	return Location{Lat: lat, Lon: lon, RadiusKm: max(0, radius), Known: true}
}

func asNumber(n uint) uint32 {
	if uint64(n) > math.MaxUint32 {
		return 0
	}
	return uint32(n)
}

func firstOf(names ...string) string {
	for _, n := range names {
		if n = tidy(n); n != "" {
			return n
		}
	}
	return ""
}

// tidy bounds an operator's name, which goes into every audit record.
func tidy(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return strings.TrimSpace(s)
}
