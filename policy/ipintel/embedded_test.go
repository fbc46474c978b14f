package ipintel

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"sallyport/policy"
)

// forms are the published ones of an IPv4 address, each as a person can call from it.
func forms(v4 netip.Addr) map[string]netip.Addr {
	b := v4.As4()
	at := func(prefix string, offset int, b [4]byte) netip.Addr {
		a := netip.MustParseAddr(prefix).As16()
		copy(a[offset:], b[:])
		return netip.AddrFrom16(a)
	}
	return map[string]netip.Addr{
		"itself": v4, "mapped": at("::ffff:0:0", 12, b), "compatible": at("::", 12, b), "translated": at("::ffff:0:0:0", 12, b), "NAT64": at("64:ff9b::", 12, b),
		"local NAT64": at("64:ff9b:1::", 12, b), "local NAT64 /64": at("64:ff9b:1:7::", 9, b), "6to4": at("2002::1", 2, b), "Teredo client": at("2001:0:c633:6401::", 12, [4]byte{^b[0], ^b[1], ^b[2], ^b[3]}),
		"Teredo server": at("2001::", 4, b), "ISATAP": at("2a00:1234::5efe:0:0", 12, b), "ISATAP, global": at("2a00:1234::200:5efe:0:0", 12, b), "our translator": at("2a00:64::", 12, b),
	}
}

// No form of a listed address walks past a list or a database.
func TestNoFormOfAnAddressIsUnlisted(t *testing.T) {
	db := mmdb{kind: "GeoLite2-Country", ip: 4, records: countries(map[string]string{"45.9.20.0/24": "KP"})}.write(t, filepath.Join(t.TempDir(), "c.mmdb"))
	snap := must(t, Config{Databases: []string{db}, Lists: []List{{Name: "exits", Signal: "vpn", File: listFile(t, "l.txt", "45.9.20.7\n")}},
		NAT64: []netip.Prefix{netip.MustParsePrefix("2a00:64::/96")}})
	for form, a := range forms(addr("45.9.20.7")) {
		n := snap.Lookup(a)
		if n.Country != "KP" || !n.Signals.Has(VPN) || !slices.Equal(n.Lists, []string{"exits"}) || n.Private {
			t.Errorf("%s, %s: %+v", form, a, n)
		}
	}
}

// A public address is not private for what it names inside, and what is inside is no reading that is.
func TestPrivateInsideIsNotPrivate(t *testing.T) {
	snap := must(t, Config{NAT64: []netip.Prefix{netip.MustParsePrefix("2a00:64::/96")}})
	for _, inside := range []string{"10.0.0.1", "127.0.0.1", "192.168.1.1", "100.64.0.1", "169.254.0.1"} {
		for form, a := range forms(addr(inside)) {
			if form == "itself" || form == "mapped" {
				continue
			}
			f := snap.Lookup(a).Facts(now)
			if f.Private || len(f.Readings) < 2 {
				t.Errorf("%s, %s: private %v, %d readings", form, a, f.Private, len(f.Readings))
			}
			for _, r := range f.Readings {
				if r.Private {
					t.Errorf("%s, %s: private as %s", form, a, r.Address)
				}
			}
		}
	}
}

// Where outside and inside are two countries, each is a reading: neither hides the other.
func TestBothPlacesAreReadings(t *testing.T) {
	list := listFile(t, "l.csv", "network,country\n2a00:1234::/32,DE\n45.9.20.0/24,KP\n")
	snap := must(t, Config{Lists: []List{{Name: "l", File: list, Format: "csv"}}})
	var got []string
	for _, r := range snap.Lookup(addr("2a00:1234::5efe:45.9.20.7")).Facts(now).Readings {
		got = append(got, r.Address+" "+r.Country)
	}
	if want := []string{"2a00:1234::5efe:2d09:1407 DE", "45.9.20.7 KP"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if f := snap.Lookup(addr("2a00:1234::1")).Facts(now); f.Readings != nil {
		t.Errorf("an address that carries nothing has readings: %+v", f.Readings)
	}
}

// Over the real lists: all that is listed is listed in every form.
func TestRealListsInEveryForm(t *testing.T) {
	snap, errs := Load(realConfig(t))
	if errs != nil {
		t.Fatal(errs)
	}
	for _, a := range []string{"102.130.113.9", "175.45.176.1", "3.5.140.9", "8.8.8.8"} {
		plain := snap.Lookup(addr(a))
		for form, in := range forms(addr(a)) {
			if form == "our translator" {
				continue // not configured here
			}
			n := snap.Lookup(in)
			if n.Signals&plain.Signals != plain.Signals {
				t.Errorf("%s as %s: %v, want %v", a, in, n.Signals, plain.Signals)
			}
			f := n.Facts(now)
			if form != "mapped" && form != "itself" && !slices.ContainsFunc(f.Readings, func(r policy.IP) bool { return r.Address == a && r.Country == plain.Country }) {
				t.Errorf("%s as %s (%s): no reading in %s", a, in, form, plain.Country)
			}
			for _, l := range plain.Lists {
				if !slices.Contains(n.Lists, l) {
					t.Errorf("%s as %s is not in %s", a, in, l)
				}
			}
		}
	}
}
