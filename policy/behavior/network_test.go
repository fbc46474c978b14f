package behavior

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"sallyport/policy/ipv4in6"
	"time"
)

func TestConfigIsChecked(t *testing.T) {
	key := bytes.Repeat([]byte{1}, minKey)
	for name, c := range map[string]struct {
		cfg  Config
		says string
	}{
		"no key":             {Config{Retention: month, Household: 56}, "key"},
		"short key":          {Config{Key: key[1:], Retention: month, Household: 56}, "key"},
		"ASN 0 is mobile":    {Config{Key: key, Retention: month, Household: 56, MobileASNs: []uint32{0}}, "autonomous system"},
		"ASN 0 is satellite": {Config{Key: key, Retention: month, Household: 56, SatelliteASNs: []uint32{0}}, "autonomous system"},
		"no office":          {Config{Key: key, Retention: month, Household: 56, Offices: []netip.Prefix{{}}}, "office"},
		"mapped office":      {Config{Key: key, Retention: month, Household: 56, Offices: []netip.Prefix{netip.MustParsePrefix("::ffff:192.0.2.0/120")}}, "office"},
		"retention":          {Config{Key: key, Household: 56, Retention: 29 * day}, "30 days"},
		"addresses":          {Config{Key: key, Household: 56, Retention: 40 * day, RawAddresses: 41 * day}, "addresses"},
		"negative addresses": {Config{Key: key, Retention: month, Household: 56, RawAddresses: -1}, "addresses"},
		"household":          {Config{Key: key, Retention: month, Household: 40}, "household"},
		"no retention":       {Config{Key: key, Household: 56}, "30 days"},
		"no household":       {Config{Key: key, Retention: month}, "household"},
		"no people":          {Config{Key: key, Retention: month, Household: 56, People: -1}, "room"},
		"no queue":           {Config{Key: key, Retention: month, Household: 56, Queue: 1}, "room"},
	} {
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Config{Key: key, Retention: month, Household: 56}); err != nil {
		t.Errorf("no more than is required: %v", err)
	}
}

// Without the key no one can say whether an address is one of those that were kept; with it,
// every process gives an address the same name.
func TestNamesOfNetworks(t *testing.T) {
	names := func(key byte, addr string) (host, net uint64) {
		n, err := newNetworks(&Config{Household: 56, Key: bytes.Repeat([]byte{key}, 32)})
		if err != nil {
			t.Fatal(err)
		}
		s := n.places(&Place{Addr: netip.MustParseAddr(addr)})
		return s.host, s.net
	}
	h, n := names(1, "192.0.2.7")
	h2, n2 := names(1, "192.0.2.8")
	if h == h2 || n != n2 || h == n {
		t.Errorf("two addresses of one network: %x %x, %x %x", h, n, h2, n2)
	}
	if again, _ := names(1, "192.0.2.7"); again != h {
		t.Error("another process calls it otherwise")
	}
	if other, net := names(2, "192.0.2.7"); other == h || net == n {
		t.Error("the key makes no difference")
	}
	// The network 192.0.2.0/24 and the address 192.0.2.0 are not the same thing.
	if host, net := names(1, "192.0.2.0"); host == net {
		t.Error("an address is called like its network")
	}
	for _, a := range []string{"192.0.2.7", "2001:db8::1", "64:ff9b::1", "2001:0:1::1", "::1.2.3.4"} {
		if host, net := names(1, a); host == 0 || net == 0 || host>>63 != 0 || net>>63 != 0 {
			t.Errorf("%s: %x, %x", a, host, net)
		}
	}
}

func TestListsOfCarriers(t *testing.T) {
	seen := map[uint32]bool{}
	for _, a := range append(append([]uint32{}, mobileASNs...), satelliteASNs...) {
		if a == 0 || seen[a] {
			t.Errorf("%d is there twice, or none", a)
		}
		seen[a] = true
	}
	if !seen[14593] || !seen[21928] {
		t.Error("Starlink or T-Mobile is missing")
	}
}

// What comes back from a store is what was put into it.
func TestStopsAreRounded(t *testing.T) {
	for _, p := range []Point{berlin, singapore, {Lat: -89.99996, Lon: 179.99994, RadiusKm: 0.4, Known: true}, {Known: true}, {}} {
		once := waypointAt(p, noon)
		if twice := waypointAt(once.point(), noon); once != twice {
			t.Errorf("%+v: %+v, then %+v", p, once, twice)
		}
	}
}

func TestCountryOf(t *testing.T) {
	for _, code := range []string{"", "ZZ", "de", "D", "DEU", "D1", "\xff\xff", "Ä"} {
		if c := countryOf(code); c != 0 {
			t.Errorf("%q is a country: %x", code, c)
		}
	}
	if countryOf("DE") == countryOf("ED") || countryOf("DE") == 0 {
		t.Error("DE")
	}
}

func TestMomentsOfOtherCenturies(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(-5, 0), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		m := momentOf(at)
		if at.Year() < 1970 && m != 0 || at.Year() > 2106 && m != ^moment(0) {
			t.Errorf("%s: %d", at, m)
		}
	}
}

// Two people behind one translator are two households, each that of their IPv4 address.
func TestHouseholdsBehindTranslator(t *testing.T) {
	n, err := newNetworks(&Config{Key: bytes.Repeat([]byte{1}, 32), Household: 56, Translators: ipv4in6.Translators{netip.MustParsePrefix("2001:db8:64::/96")}})
	if err != nil {
		t.Fatal(err)
	}
	at := func(a string) spot { return n.places(&Place{Addr: netip.MustParseAddr(a)}) }
	alice, bob := at("2001:db8:64::203.0.113.9"), at("2001:db8:64::198.51.100.7")
	if alice.host == bob.host || alice.net == bob.net || alice.site != 0 || alice != at("203.0.113.9") {
		t.Errorf("%+v, %+v", alice, bob)
	}
	if x, y := at("2001:db8:64::10.0.0.1"), at("2001:db8:64::10.0.0.2"); x.host == y.host || x.net == y.net || x.site != 0 {
		t.Errorf("not public: %+v, %+v", x, y)
	}
}
