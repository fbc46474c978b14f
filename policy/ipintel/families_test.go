package ipintel

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// An address that a source cannot know for its family must not pass as one that it knows nothing against.
func TestSourcesOfOneFamily(t *testing.T) {
	dir := t.TempDir()
	database := func(name, kind string, ip int, records map[string]mmdbtype.DataType) string {
		return mmdb{kind: kind, ip: ip, records: records}.write(t, filepath.Join(dir, name))
	}
	as := m{"autonomous_system_number": mmdbtype.Uint32(64500)}
	vpn := m{"is_anonymous": yes, "is_anonymous_vpn": yes}
	var (
		countryV4     = database("country4", "GeoLite2-Country", 4, countries(map[string]string{"198.51.100.0/24": "KP"}))
		countryV4Tree = database("country4-tree", "GeoLite2-Country", 6, countries(map[string]string{"198.51.100.0/24": "KP"}))
		countryLocal6 = database("country-local6", "GeoLite2-Country", 6, countries(map[string]string{"198.51.100.0/24": "KP", "fd00::/8": "KP"}))
		countryV6     = database("country6", "country ipv6", 6, map[string]mmdbtype.DataType{"2a00::/16": m{"country_code": s("IR")}})
		countryBoth   = database("country", "GeoLite2-Country", 6, countries(map[string]string{"198.51.100.0/24": "KP", "2a00::/16": "IR"}))
		asnV4         = database("asn4", "GeoLite2-ASN", 4, map[string]mmdbtype.DataType{"198.51.100.0/24": as})
		asnBoth       = database("asn", "GeoLite2-ASN", 6, map[string]mmdbtype.DataType{"198.51.100.0/24": as, "2a00::/16": as})
		vpnV4         = database("vpn4", "GeoIP2-Anonymous-IP", 4, map[string]mmdbtype.DataType{"198.51.100.0/24": vpn})
	)
	list := func(name, format, signal, text string) List {
		return List{Name: name, Format: format, Signal: signal, File: listFile(t, name, text)}
	}
	for _, tt := range []struct {
		name      string
		databases []string
		lists     []List
		at        string
		missing   string
	}{
		{"both families", []string{countryBoth, asnBoth}, nil, "2a00::1", ""},
		{"both families, an address that neither has", []string{countryBoth, asnBoth}, nil, "2001:db8::1", ""},
		{"IPv4 by its metadata", []string{countryV4}, nil, "2a00::1", "country4"},
		{"at an IPv4 address", []string{countryV4}, nil, "203.0.113.7", ""},
		{"at an IPv4 address in IPv6", []string{countryV4}, nil, "::ffff:203.0.113.7", ""},
		{"nothing outside of the IPv4 part", []string{countryV4Tree}, nil, "2a00::1", "country4-tree"},
		{"nothing public outside of it", []string{countryLocal6}, nil, "2a00::1", "country-local6"},
		{"IPv6 only", []string{countryV6}, nil, "198.51.100.1", "country6"},
		{"IPv6 only, where it knows", []string{countryV6}, nil, "2a00::1", ""},
		{"one for each", []string{countryV4, countryV6}, nil, "2a00::1", ""},
		{"one for each, at IPv4", []string{countryV4, countryV6}, nil, "198.51.100.1", ""},
		{"ASN for IPv4 beside countries for both", []string{countryBoth, asnV4}, nil, "2a00::1", "asn4"},
		{"signals for IPv4", []string{countryBoth, vpnV4}, nil, "2a00::1", "vpn4"},
		{"signals for IPv4, and a list for IPv6", []string{countryBoth, vpnV4}, []List{
			list("v", "cidr", "vpn", "2a00:1::/32\n"), list("h", "cidr", "hosting", "2a00:2::/32\n"), list("t", "cidr", "tor", "2a00:3::/32\n"),
			list("p", "cidr", "proxy", "2a00:4::/32\n"), list("r", "cidr", "residential_proxy", "2a00:5::/32\n")}, "2a00::1", ""},
		{"private", []string{countryV4}, nil, "fd00::1", ""},
		{"loopback", []string{countryV4}, nil, "::1", ""},
		{"NAT64", []string{countryV4}, nil, "64:ff9b::198.51.100.1", ""},
		{"6to4", []string{countryV4}, nil, "2002:c633:6401::1", ""},
		{"a translator of one's own", []string{countryV4}, nil, "2a00:64::198.51.100.1", ""},
		{"ISATAP, which a client writes itself", []string{countryV4}, nil, "2a00::5efe:198.51.100.1", "country4"},
		{"a list of IPv4 networks", []string{countryBoth}, []List{list("exits", "cidr", "vpn", "198.51.100.0/24\n")}, "2a00::1", ""},
		{"countries in a CSV for IPv4", nil, []List{list("places", "csv", "", "network,country\n198.51.100.0/24,KP\n")}, "2a00::1", "places"},
		{"countries in a CSV for both", nil, []List{list("places", "csv", "", "network,country\n198.51.100.0/24,KP\n2a00::/16,IR\n")}, "2a00::1", ""},
		{"a CSV beside a database", []string{countryBoth}, []List{list("places", "csv", "", "network,country\n198.51.100.0/24,KP\n")}, "2a00::1", ""},
		{"what is said of a few networks", []string{countryBoth}, []List{list("places", "csv", "", "network,country,asn\n198.51.100.0/24,KP,64500\n2a00::/16,IR,\n")}, "2a00::1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			snap := must(t, Config{Databases: tt.databases, Lists: tt.lists, NAT64: []netip.Prefix{netip.MustParsePrefix("2a00:64::/96")}})
			n := snap.Lookup(addr(tt.at))
			if got := strings.Join(n.Missing, " "); got != tt.missing {
				t.Errorf("missing %q, want %q", got, tt.missing)
			}
			if !reflect.DeepEqual(n.Facts(now).DataMissing, n.Missing) {
				t.Error("the rules do not see it")
			}
			if snap.faults.Load() != 0 {
				t.Error("not being there is no fault")
			}
		})
	}
}

// The operator sees it before anyone is asked about it.
func TestSourcesOfOneFamilyAreNamed(t *testing.T) {
	d := mmdb{kind: "GeoLite2-Country", ip: 4, records: countries(map[string]string{"198.51.100.0/24": "KP"})}
	list := List{Name: "exits", Signal: "vpn", File: listFile(t, "exits", "198.51.100.0/24\n")}
	snap := must(t, Config{Databases: []string{d.write(t, filepath.Join(t.TempDir(), "c"))}, Lists: []List{list}})
	again := snap.withSources(func(i int) Source { return snap.members[i].spec.describe(snap.members[i].data) })
	for _, sources := range [][]Source{snap.Sources(), again.Sources()} {
		if got := fmt.Sprint(sources[0].Families, sources[1].Families, len(sources[1].Notes)); got != "[IPv4] [IPv4] 0" {
			t.Error(got)
		}
		if len(sources[0].Notes) != 1 || !strings.HasPrefix(sources[0].Notes[0], "IPv4 only: of IPv6 addresses no source says country;") {
			t.Error(sources[0].Notes)
		}
	}
}
