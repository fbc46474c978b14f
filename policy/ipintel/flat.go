package ipintel

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"
)

// flatTypes are the beginnings of the type names of databases whose records are one flat
// map: ip-location-db ("country ipvAll"), IPinfo ("ipinfo ..."), MaxMind's newer ones,
// and files that operators make themselves ("Sallyport ...").
var flatTypes = []string{
	"country ip", "city ip", "asn ip", "ipinfo ", "GeoIP-Residential-Proxy", "GeoIP2-IP-Risk", "GeoIP-IP-Risk", "Sallyport",
}

// otherKind reads what geoip2 does not know by name.
func otherKind(r, sampled *maxminddb.Reader) (kind, error) {
	name := r.Metadata.DatabaseType
	for _, t := range flatTypes {
		if strings.HasPrefix(name, t) {
			return flatKind(r, sampled, name)
		}
	}
	if strings.HasPrefix(name, "GeoIP") || strings.HasPrefix(name, "GeoLite2") || strings.HasPrefix(name, "DBIP") {
		return siblingKind(r, name)
	}
	return kind{}, fmt.Errorf("%w: %q (MaxMind, DB-IP, IPinfo and ip-location-db are)", errType, clip(name))
}

// siblingKind reads newer members of known families ("GeoIP2-City-Shield", "DBIP-City"),
// whose records are those of the older members.
func siblingKind(r *maxminddb.Reader, name string) (kind, error) {
	switch {
	case strings.Contains(name, "Enterprise"):
		return reads(decodes[geoip2.Enterprise](r), fromEnterprise, cityProvides.or(asnProvides).or(provides{signals: Hosting | Relay})), nil
	case strings.Contains(name, "Anonymous"):
		return reads(decodes[geoip2.AnonymousIP](r), fromAnonymousIP, provides{signals: anonymity}), nil
	case strings.Contains(name, "City"), strings.Contains(name, "Location"):
		return reads(decodes[geoip2.City](r), fromCity, cityProvides), nil
	case strings.Contains(name, "Country"):
		return reads(decodes[geoip2.Country](r), fromCountry, provides{country: true}), nil
	case strings.Contains(name, "ISP"), strings.Contains(name, "ASN"):
		return reads(decodes[geoip2.ISP](r), fromISP, asnProvides), nil
	}
	return kind{}, fmt.Errorf("%w: %q", errType, clip(name))
}

func decodes[T any](r *maxminddb.Reader) func(netip.Addr) (*T, error) {
	return func(a netip.Addr) (*T, error) {
		v := new(T)
		return v, r.Lookup(a).Decode(v)
	}
}

// flat is the union of the flat record layouts. The same field is a bool in one file
// and the string "true" in another, a number here and "AS64500" there, so that the fields
// are decoded as they come and read tolerantly.
type flat struct {
	CountryCode any `maxminddb:"country_code"`
	Country     any `maxminddb:"country"` // a code in old IPinfo files, a name in new ones
	RegionCode  any `maxminddb:"region_code"`
	ASN         any `maxminddb:"asn"`
	ASName      any `maxminddb:"as_name"`
	ASNumber    any `maxminddb:"autonomous_system_number"`
	ASOrg       any `maxminddb:"autonomous_system_organization"`
	Lat         any `maxminddb:"lat"`
	Lng         any `maxminddb:"lng"`
	Latitude    any `maxminddb:"latitude"`
	Longitude   any `maxminddb:"longitude"`
	Radius      any `maxminddb:"radius"`
	TimeZone    any `maxminddb:"timezone"`

	VPN     any `maxminddb:"vpn"`
	Proxy   any `maxminddb:"proxy"`
	Tor     any `maxminddb:"tor"`
	Relay   any `maxminddb:"relay"`
	Hosting any `maxminddb:"hosting"`

	IsAnonymous   any `maxminddb:"is_anonymous"`
	IsVPN         any `maxminddb:"is_vpn"`
	IsAnonVPN     any `maxminddb:"is_anonymous_vpn"`
	IsProxy       any `maxminddb:"is_proxy"`
	IsPublicProxy any `maxminddb:"is_public_proxy"`
	IsTor         any `maxminddb:"is_tor"`
	IsTorExit     any `maxminddb:"is_tor_exit_node"`
	IsRelay       any `maxminddb:"is_relay"`
	IsHosting     any `maxminddb:"is_hosting"`
	IsHostingProv any `maxminddb:"is_hosting_provider"`
	IsResProxy    any `maxminddb:"is_res_proxy"`
	IsResidential any `maxminddb:"is_residential_proxy"`
	Residential   any `maxminddb:"residential_proxy"`

	// Fields of databases in which being listed is the statement.
	Provider   any `maxminddb:"provider_name"`
	Confidence any `maxminddb:"anonymizer_confidence"`
	Service    any `maxminddb:"service"`
}

// flatKind finds out from a sample of the records which questions the file answers: type
// names of this family say too little.
func flatKind(r, sampled *maxminddb.Reader, name string) (kind, error) {
	residential := strings.Contains(name, "Residential-Proxy") || strings.Contains(name, "resproxy") || strings.Contains(name, "residential")
	p, err := sampleFields(sampled)
	if err != nil {
		return kind{}, err
	}
	if residential {
		p.signals |= ResidentialProxy
	}
	if strings.HasSuffix(name, "IP-Risk") {
		p.signals |= anonymity // flags are only written where they are true
	}
	if p == (provides{}) {
		return kind{}, fmt.Errorf("%w: %q, and its records have no field that is known", errType, clip(name))
	}
	from := func(f *flat) record {
		rec := f.record()
		if residential && (f.Provider != nil || f.Confidence != nil || f.Service != nil) {
			rec.signals |= ResidentialProxy
		}
		return rec
	}
	return reads(decodes[flat](r), from, p), nil
}

var fieldProvides = map[string]provides{
	"country_code": {country: true}, "country": {country: true}, "latitude": {location: true}, "lat": {location: true}, "region_code": {subdivisions: true},
	"provider_name": {provider: true}, "service": {provider: true},
	"asn": {asn: true}, "as_name": {org: true}, "autonomous_system_number": {asn: true}, "autonomous_system_organization": {org: true},
	"vpn": {signals: VPN}, "proxy": {signals: Proxy}, "tor": {signals: Tor}, "relay": {signals: Relay}, "hosting": {signals: Hosting},
	"is_anonymous": {signals: Proxy}, "is_vpn": {signals: VPN}, "is_anonymous_vpn": {signals: VPN}, "is_proxy": {signals: Proxy},
	"is_public_proxy": {signals: Proxy}, "is_tor": {signals: Tor}, "is_tor_exit_node": {signals: Tor}, "is_relay": {signals: Relay},
	"is_hosting": {signals: Hosting}, "is_hosting_provider": {signals: Hosting}, "is_res_proxy": {signals: ResidentialProxy},
	"is_residential_proxy": {signals: ResidentialProxy}, "residential_proxy": {signals: ResidentialProxy},
}

func sampleFields(r *maxminddb.Reader) (provides, error) {
	var p provides
	_, err := walk(r, func(res maxminddb.Result) error {
		var fields map[string]any
		if err := res.Decode(&fields); err != nil {
			return err
		}
		for f := range fields {
			p = p.or(fieldProvides[f])
		}
		return nil
	})
	if err != nil {
		return p, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return p, nil
}

func (f *flat) record() record {
	rec := record{country: countryCode(text(f.CountryCode))}
	if rec.country == "" {
		rec.country = countryCode(text(f.Country))
	}
	if code := text(f.RegionCode); code != "" {
		rec.addSubdivision(strings.TrimPrefix(code, rec.country+"-"))
	}
	rec.asn = flatASN(f.ASNumber)
	if rec.asn == 0 {
		rec.asn = flatASN(f.ASN)
	}
	rec.org = firstOf(text(f.ASOrg), text(f.ASName))
	rec.provider = firstOf(text(f.Provider), text(f.Service))
	rec.timeZone = text(f.TimeZone)
	radius, _ := number(f.Radius)
	for _, at := range [][2]any{{f.Latitude, f.Longitude}, {f.Lat, f.Lng}} {
		lat, ok1 := number(at[0])
		lon, ok2 := number(at[1])
		if ok1 && ok2 && !rec.location.Known {
			rec.location = point(lat, lon, int(min(max(radius, 0), 20_000)))
		}
	}
	rec.signals = anonymous(truth(f.IsAnonymous),
		truth(f.VPN) || truth(f.IsVPN) || truth(f.IsAnonVPN),
		truth(f.Hosting) || truth(f.IsHosting) || truth(f.IsHostingProv),
		truth(f.Proxy) || truth(f.IsProxy) || truth(f.IsPublicProxy),
		truth(f.Residential) || truth(f.IsResProxy) || truth(f.IsResidential),
		truth(f.Tor) || truth(f.IsTor) || truth(f.IsTorExit))
	rec.signals |= pick(truth(f.Relay) || truth(f.IsRelay), Relay)
	return rec
}

// truth reads a flag. A value that is none of the known ways to say no means yes: a file
// that starts to write "1" or "vpn" must not clear all addresses.
func truth(v any) bool {
	switch x := v.(type) {
	case nil:
		return false
	case bool:
		return x
	case string:
		switch strings.ToLower(strings.TrimSpace(x)) {
		case "", "false", "no", "n", "f", "0", "none", "null":
			return false
		}
		return true
	}
	n, ok := number(v)
	return ok && n != 0
}

func text(v any) string {
	s, _ := v.(string)
	return strings.TrimSpace(s)
}

func number(v any) (float64, bool) {
	var n float64
	switch x := v.(type) {
	case string:
		var err error
		if n, err = strconv.ParseFloat(strings.TrimSpace(x), 64); err != nil {
			return 0, false
		}
	default:
		switch rv := reflect.ValueOf(v); {
		case rv.CanFloat():
			n = rv.Float()
		case rv.CanInt():
			n = float64(rv.Int())
		case rv.CanUint():
			n = float64(rv.Uint())
		default: // nil, maps, bytes
			return 0, false
		}
	}
	return n, !math.IsNaN(n) && !math.IsInf(n, 0)
}

func flatASN(v any) uint32 {
	if s := text(v); len(s) > 2 && strings.EqualFold(s[:2], "AS") {
		n, err := strconv.ParseUint(s[2:], 10, 32)
		if err != nil {
			return 0
		}
		return uint32(n)
	}
	n, ok := number(v)
	if !ok || n < 0 || n > math.MaxUint32 {
		return 0
	}
	return uint32(n)
}
