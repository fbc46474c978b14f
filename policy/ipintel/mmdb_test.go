package ipintel

import (
	"bytes"
	"errors"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/oschwald/maxminddb-golang/v2"
)

const (
	yes = mmdbtype.Bool(true)
	no  = mmdbtype.Bool(false)
)

// Every type of database that is read, with a record as its publisher writes it.
func TestDatabaseTypes(t *testing.T) {
	city := m{
		"country":      m{"iso_code": s("UA")},
		"subdivisions": mmdbtype.Slice{m{"iso_code": s("43")}, m{"iso_code": s("x-y-z")}},
		"location": m{
			"latitude": mmdbtype.Float64(45.3), "longitude": mmdbtype.Float64(34.4),
			"accuracy_radius": mmdbtype.Uint16(20), "time_zone": s("Europe/Simferopol"),
		},
	}
	cityWant := Network{Country: "UA", Subdivisions: []string{"UA-43"}, Location: Location{45.3, 34.4, 20, true}, TimeZone: "Europe/Simferopol"}
	as := m{"autonomous_system_number": mmdbtype.Uint32(64500), "autonomous_system_organization": s("Example Net")}
	asWant := Network{ASN: 64500, Org: "Example Net"}

	for _, tc := range []struct {
		kind     string
		record   m
		want     Network
		provides string
	}{
		{"GeoLite2-Country", m{"country": m{"iso_code": s("KP")}}, Network{Country: "KP"}, "country"},
		{"GeoIP2-Country", m{"country": m{"iso_code": s("KP")}, "registered_country": m{"iso_code": s("CN")}}, Network{Country: "KP"}, "country"},
		{"DBIP-Country-Lite", m{"country": m{"iso_code": s("IR")}}, Network{Country: "IR"}, "country"},
		{"GeoLite2-City", city, cityWant, "country subdivisions location"},
		{"GeoIP2-City", city, cityWant, "country subdivisions location"},
		{"DBIP-City-Lite", city, cityWant, "country subdivisions location"},
		{"DBIP-Location (compat=City)", city, cityWant, "country subdivisions location"},
		{"GeoIP2-City-Shield", city, cityWant, "country subdivisions location"},
		{"GeoIP2-Enterprise", m{
			"country": m{"iso_code": s("US")},
			"traits":  m{"autonomous_system_number": mmdbtype.Uint32(64501), "isp": s("Rented Racks"), "user_type": s("hosting")},
		}, Network{Country: "US", ASN: 64501, Org: "Rented Racks", Signals: Hosting}, "country subdivisions location asn org hosting relay"},
		{"DBIP-Location-ISP (compat=Enterprise)", m{"country": m{"iso_code": s("US")}, "traits": m{"user_type": s("consumer_privacy_network")}},
			Network{Country: "US", Signals: Relay}, "country subdivisions location asn org hosting relay"},
		{"GeoLite2-ASN", as, asWant, "asn org"},
		{"DBIP-ASN-Lite (compat=GeoLite2-ASN)", as, asWant, "asn org"},
		{"GeoIP2-ISP", m{"autonomous_system_number": mmdbtype.Uint32(64500), "isp": s("Example Net")}, asWant, "asn org"},
		{"GeoIP2-Anonymous-IP", m{"is_anonymous": yes, "is_anonymous_vpn": yes, "is_hosting_provider": yes},
			Network{Signals: VPN | Hosting}, "vpn hosting tor proxy residential_proxy"},
		{"GeoIP2-Anonymous-IP", m{"is_anonymous": yes}, Network{Signals: Proxy}, "vpn hosting tor proxy residential_proxy"},
		{"GeoIP-Anonymous-Plus", m{"is_anonymous": yes, "is_tor_exit_node": yes, "is_public_proxy": yes, "is_residential_proxy": yes, "anonymizer_confidence": mmdbtype.Uint16(30)},
			Network{Signals: Tor | Proxy | ResidentialProxy}, "vpn hosting tor proxy residential_proxy provider"},
		{"GeoIP-Anonymous-Plus", m{"is_anonymous": yes, "is_anonymous_vpn": yes, "provider_name": s(" Example VPN ")},
			Network{Signals: VPN, Provider: "Example VPN"}, "vpn hosting tor proxy residential_proxy provider"},
		{"GeoIP-Residential-Proxy", m{"anonymizer_confidence": mmdbtype.Uint16(82), "provider_name": s("quickshift")},
			Network{Signals: ResidentialProxy, Provider: "quickshift"}, "residential_proxy provider"},
		{"GeoIP2-IP-Risk", m{"is_anonymous": yes, "is_anonymous_vpn": yes, "ip_risk": mmdbtype.Float64(75)},
			Network{Signals: VPN}, "vpn hosting tor proxy residential_proxy"},
		{"GeoIP2-Connection-Type", m{"connection_type": s("Cable/DSL")}, Network{}, ""},
		{"country ipvAll", m{"country_code": s("kp")}, Network{Country: "KP"}, "country"},
		{"asn ipvAll", as, asWant, "asn org"},
		{"city ipv4", m{"country_code": s("DE"), "latitude": mmdbtype.Float32(52.5), "longitude": mmdbtype.Float32(13.5), "timezone": s("Europe/Berlin")},
			Network{Country: "DE", Location: Location{52.5, 13.5, 0, true}, TimeZone: "Europe/Berlin"}, "country location"},
		{"ipinfo bundle_location_lite_sample.mmdb", m{"country": s("Iran"), "country_code": s("IR"), "asn": s("AS64502"), "as_name": s("Example")},
			Network{Country: "IR", ASN: 64502, Org: "Example"}, "country asn org"},
		{"ipinfo country_asn.mmdb", m{"country": s("IR"), "country_name": s("Iran"), "asn": s("AS64502"), "as_name": s("Example")},
			Network{Country: "IR", ASN: 64502, Org: "Example"}, "country asn org"},
		{"ipinfo standard_location.mmdb", m{"country": s("UA"), "region_code": s("43"), "lat": s("45.3"), "lng": s("34.4"), "radius": s("20"), "timezone": s("Europe/Simferopol")},
			cityWant, "country subdivisions location"},
		{"ipinfo standard_privacy_new_sample.mmdb", m{"vpn": yes, "hosting": yes, "tor": no, "proxy": no, "relay": no},
			Network{Signals: VPN | Hosting}, "vpn hosting tor proxy relay"},
		{"ipinfo standard_privacy.mmdb", m{"vpn": s("true"), "hosting": s(""), "tor": s("true"), "proxy": s(""), "relay": s("true"), "service": s("")},
			Network{Signals: VPN | Tor | Relay}, "vpn hosting tor proxy relay provider"},
		{"ipinfo standard_privacy.mmdb", m{"vpn": s("true"), "service": s("Example VPN")}, Network{Signals: VPN, Provider: "Example VPN"}, "vpn provider"},
		{"ipinfo extended_privacy_new_sample.mmdb", m{"vpn": no, "relay": yes, "confidence": mmdbtype.Uint16(1), "census": yes},
			Network{Signals: Relay}, "vpn relay"},
		{"ipinfo resproxy.mmdb", m{"service": s("example"), "last_seen": s("2026-11-01")}, Network{Signals: ResidentialProxy, Provider: "example"}, "residential_proxy provider"},
		{"Sallyport own ranges", m{"is_res_proxy": mmdbtype.Uint16(1), "tor": s("no")}, Network{Signals: ResidentialProxy}, "tor residential_proxy"},
	} {
		t.Run(tc.kind, func(t *testing.T) {
			file := mmdb{kind: tc.kind, records: map[string]mmdbtype.DataType{"198.51.100.0/24": tc.record}}.write(t, filepath.Join(t.TempDir(), "db.mmdb"))
			snap := must(t, Config{Databases: []string{file}})
			got := snap.Lookup(addr("198.51.100.7"))
			want := tc.want
			if want.Country == "" {
				want.Country = "ZZ"
			}
			want.Addr, want.Lists, want.DataFrom = addr("198.51.100.7"), []string{}, now.Add(-24*time.Hour)
			if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Network{}), cmpopts.EquateComparable(want.Addr)); d != "" {
				t.Error(d)
			}
			wantProvides := map[string]bool{}
			for _, n := range strings.Fields(tc.provides) {
				wantProvides[n] = true
			}
			if d := cmp.Diff(wantProvides, snap.Provides().Signals); d != "" {
				t.Error("provides:", d)
			}
			if other := snap.Lookup(addr("192.0.2.1")); other.Country != "ZZ" || other.Signals != 0 || other.ASN != 0 || len(other.Missing) > 0 {
				t.Errorf("an address that is not there: %+v", other)
			}
		})
	}
}

// Each gate, by a file that only this gate stops.
func TestAttackBrokenDatabaseGates(t *testing.T) {
	good := mmdb{kind: "GeoLite2-Country", records: countries(map[string]string{"198.51.100.0/24": "KP", "192.0.2.0/24": "US", "2001:db8::/32": "IR"})}
	with := func(f func(*mmdb)) []byte {
		d := good
		f(&d)
		return d.bytes(t)
	}
	whole := good.bytes(t)
	flipped := func(find, put string) []byte {
		out := []byte(strings.Replace(string(whole), find, put, 1))
		if string(out) == string(whole) {
			t.Fatalf("%q is not in the file", find)
		}
		return out
	}
	for name, tc := range map[string]struct {
		data []byte
		want error
	}{
		"only Verify sees it": {withoutSeparator(t, whole), errCorrupt},
		"empty file":          {nil, errCorrupt},
		"not a database":      {[]byte("<html>404</html>"), errCorrupt},
		"cut in half":         {whole[:len(whole)/2], errCorrupt},
		"cut at the front":    {whole[300:], errCorrupt},
		"unknown type":        {with(func(d *mmdb) { d.kind = "Example-Weather" }), errType},
		"no type":             {with(func(d *mmdb) { d.kind = "" }), errType},
		"known type, fields of another": {with(func(d *mmdb) {
			d.kind = "country ipvAll"
			d.records = map[string]mmdbtype.DataType{"198.51.100.0/24": m{"weather": s("rain")}}
		}), errType},
		"built in the future":     {with(func(d *mmdb) { d.built = now.Add(48 * time.Hour) }), errBuild},
		"built before the format": {with(func(d *mmdb) { d.built = time.Unix(1, 0) }), errBuild},
		"corrupt data section":    {flipped("Hiso_code", "\xffiso_code"), errCorrupt},
		"country is not a map": {with(func(d *mmdb) {
			d.records = map[string]mmdbtype.DataType{"198.51.100.0/24": m{"country": s("KP")}}
		}), errCorrupt},
		"no country in any record": {with(func(d *mmdb) {
			d.records = map[string]mmdbtype.DataType{"198.51.100.0/24": m{"country": m{"name": s("x")}}}
		}), errCorrupt},
		"no networks": {with(func(d *mmdb) { d.records = nil }), errEmpty},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "country.mmdb"), tc.data)
			snap, errs := Load(Config{Databases: []string{file}, Now: clock})
			if len(errs) != 1 || !errors.Is(errs[0], tc.want) || !strings.Contains(errs[0].Error(), file) {
				t.Fatalf("want %v for %s, got %v", tc.want, file, errs)
			}
			n := snap.Lookup(addr("198.51.100.7"))
			if n.Country != "ZZ" || len(n.Missing) != 1 || n.Missing[0] != "country.mmdb" {
				t.Errorf("a refused database must be missing, not silent: %+v", n)
			}
			if err := Check(Config{Databases: []string{file}, Now: clock}); err == nil {
				t.Error("Check accepts it")
			}
			if p := snap.Provides(); !p.Signals["country"] || !p.Signals["vpn"] {
				t.Errorf("what a database that never loaded might say is not known: %v", p.Signals)
			}
		})
	}
	t.Run("the file they were made from", func(t *testing.T) {
		must(t, Config{Databases: []string{write(t, filepath.Join(t.TempDir(), "country.mmdb"), whole)}})
	})
}

// withoutSeparator breaks the zeros between tree and data, which no look-up reads.
func withoutSeparator(t *testing.T, data []byte) []byte {
	t.Helper()
	r, err := maxminddb.OpenBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(data)
	broken[r.Metadata.NodeCount*r.Metadata.RecordSize*2/8+3] = 7
	return broken
}

// Files without a description are verified all the same: Verify alone would stop at the
// description and never see the rest.
func TestVerifyLooksBeyondAMissingDescription(t *testing.T) {
	d := mmdb{kind: "country ipvAll", bare: true, records: map[string]mmdbtype.DataType{"198.51.100.0/24": m{"country_code": s("KP")}, "192.0.2.0/24": m{"country_code": s("US")}}}
	dir := t.TempDir()
	snap := must(t, Config{Databases: []string{d.write(t, filepath.Join(dir, "bare.mmdb"))}})
	if got := snap.Lookup(addr("198.51.100.1")).Country; got != "KP" {
		t.Errorf("country %q", got)
	}
	broken := withoutSeparator(t, d.bytes(t))
	_, errs := Load(Config{Databases: []string{write(t, filepath.Join(dir, "broken.mmdb"), broken)}, Now: clock})
	if len(errs) != 1 || !errors.Is(errs[0], errCorrupt) {
		t.Errorf("got %v", errs)
	}
}

func TestIPv4OnlyDatabaseAndIPv6Address(t *testing.T) {
	d := mmdb{kind: "GeoLite2-Country", ip: 4, records: countries(map[string]string{"198.51.100.0/24": "KP"})}
	snap := must(t, Config{Databases: []string{d.write(t, filepath.Join(t.TempDir(), "c.mmdb"))}})
	if n := snap.Lookup(addr("2001:db8::1")); n.Country != "ZZ" || len(n.Missing) != 1 || snap.faults.Load() != 0 {
		t.Errorf("not being there is missing, and not a fault: %+v", n)
	}
	if n := snap.Lookup(addr("198.51.100.1")); n.Country != "KP" {
		t.Errorf("%+v", n)
	}
}

func TestMissingFilesAndWrongKindsOfFile(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{filepath.Join(dir, "nowhere.mmdb"), dir} {
		_, errs := Load(Config{Databases: []string{file}, Now: clock})
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), file) {
			t.Errorf("%s: %v", file, errs)
		}
	}
	if _, errs := Load(Config{Databases: []string{filepath.Join(dir, "nowhere.mmdb")}, Now: clock}); !errors.Is(errs[0], os.ErrNotExist) {
		t.Error(errs)
	}
}

// A record that cannot be read where a request asks is an unknown that rules can see, not
// a clean bill of health; and a panic in a decoder costs one answer.
func TestAttackReaderErrorIsSeenByRules(t *testing.T) {
	for name, ask := range map[string]func() error{
		"error": func() error { return errCorrupt },
		"panic": func() error { panic("index out of range") },
	} {
		t.Run(name, func(t *testing.T) {
			file := mmdb{kind: "GeoLite2-Country", records: countries(map[string]string{"198.51.100.0/24": "KP"})}.write(t, filepath.Join(t.TempDir(), "c.mmdb"))
			snap := must(t, Config{Databases: []string{file}})
			snap.members[0].data.ask = (&database{read: func(a netip.Addr) (record, error) { return record{}, ask() }}).ask
			n := snap.Lookup(addr("198.51.100.7"))
			if n.Country != "ZZ" || len(n.Missing) != 1 || snap.faults.Load() != 1 {
				t.Errorf("%+v, faults %d", n, snap.faults.Load())
			}
			if f := n.Facts(now); len(f.DataMissing) != 1 {
				t.Errorf("%+v", f)
			}
			if a := snap.Answers(addr("198.51.100.7")); len(a) != 1 || a[0].Err == "" {
				t.Errorf("%+v", a)
			}
		})
	}
}

// A tree of 128 nodes whose branches are shared has 2^128 networks: Verify likes it, and a walk never ends.
func TestAttackSharedBranches(t *testing.T) {
	for name, withData := range map[string]bool{"with data": true, "without": false} {
		tree, err := mmdbwriter.New(mmdbwriter.Options{
			DatabaseType: "country ipvAll", BuildEpoch: now.Unix(), RecordSize: 24, DisableIPv4Aliasing: true, IncludeReservedNetworks: true,
			Description: map[string]string{"en": "test"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(ipnet(t, "2001:db8::1/128"), m{"country_code": s("KP")}); err != nil {
			t.Fatal(err)
		}
		var buf bytes.Buffer
		if _, err := tree.WriteTo(&buf); err != nil {
			t.Fatal(err)
		}
		data := buf.Bytes()
		for node := range 128 { // a chain: every node has one child that is not "nothing"
			left, right := data[node*6:node*6+3], data[node*6+3:node*6+6]
			switch last := node == 127; {
			case !last && left[2] == byte(node+1):
				copy(right, left)
			case !last:
				copy(left, right)
			case withData && right[2] > 128:
				copy(left, right)
			case !withData:
				copy(left, []byte{0, 0, 128})
				copy(right, left)
			}
		}
		r, err := maxminddb.OpenBytes(data)
		if err != nil || r.Metadata.NodeCount != 128 {
			t.Fatal(err, r.Metadata.NodeCount)
		}
		if err := verify(r); err != nil {
			t.Logf("%s: Verify sees it now: %v", name, err)
		}
		if _, err := openDatabase(content{data: data}, now); !errors.Is(err, errCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No coordinates, no place: a traveller must not be thought to start from the Gulf of Guinea.
func TestNoPlaceWithoutCoordinates(t *testing.T) {
	for _, p := range [][2]float64{{0, 0}, {91, 0}, {0, 181}, {math.NaN(), 1}, {1, math.NaN()}, {math.Inf(1), 1}} {
		if got := point(p[0], p[1], 5); got != (Location{}) {
			t.Errorf("%v: %+v", p, got)
		}
	}
	if got := point(-90, 180, -5); !got.Known || got.RadiusKm != 0 {
		t.Errorf("%+v", got)
	}
}
