package ipintel

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// All signals of an address hold together: those of a /8, of the /24 in it, of another
// list and of a database. A longest match alone would lose all but one.
func TestAllSignalsHoldTogether(t *testing.T) {
	dir := t.TempDir()
	file := func(name, data string) string { return write(t, filepath.Join(dir, name), data) }
	db := mmdb{kind: "GeoIP2-Anonymous-IP", records: map[string]mmdbtype.DataType{"45.9.20.0/24": m{"is_tor_exit_node": yes}}}
	snap := must(t, Config{
		Databases: []string{db.write(t, filepath.Join(dir, "anon.mmdb"))},
		Lists: []List{
			{Name: "wide", Signal: "hosting", File: file("wide.txt", "45.0.0.0/8\n45.9.20.0/24\n")},
			{Name: "narrow", Signal: "vpn", File: file("narrow.txt", "45.9.20.7\n")},
			{Name: "elsewhere", Signal: "relay", File: file("elsewhere.txt", "46.0.0.0/8\n")},
			{Name: "named", File: file("named.txt", "45.9.0.0/16\n")},
			{Name: "csv", File: file("csv.csv", "network,country,signal\n45.9.0.0/16,SE,proxy\n45.9.20.0/28,,residential_proxy\n"), Format: "csv"},
		},
	})
	for a, want := range map[string]struct {
		signals Signal
		lists   string
		country string
	}{
		"45.9.20.7":          {VPN | Hosting | Tor | Proxy | ResidentialProxy, "wide narrow named csv", "SE"},
		"::ffff:45.9.20.7":   {VPN | Hosting | Tor | Proxy | ResidentialProxy, "wide narrow named csv", "SE"},
		"45.9.20.200":        {Hosting | Tor | Proxy, "wide named csv", "SE"},
		"45.9.21.1":          {Hosting | Proxy, "wide named csv", "SE"},
		"45.10.0.1":          {Hosting, "wide", "ZZ"},
		"46.10.0.1":          {Relay, "elsewhere", "ZZ"},
		"47.10.0.1":          {0, "", "ZZ"},
		"64:ff9b::2d09:1407": {VPN | Hosting | Tor | Proxy | ResidentialProxy, "wide narrow named csv", "SE"},
		"2002:2d09:1407::1":  {VPN | Hosting | Tor | Proxy | ResidentialProxy, "wide narrow named csv", "SE"},
	} {
		n := snap.Lookup(addr(a))
		if got := strings.Join(n.Lists, " "); n.Signals != want.signals || got != want.lists || n.Country != want.country {
			t.Errorf("%s: %v in %q country %s, want %v in %q country %s", a, n.Signals, got, n.Country, want.signals, want.lists, want.country)
		}
	}
}

// The table of a CSV list against the definition: everything that contains the address.
func TestSupernetsAgainstBruteForce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var rows []row
	var text strings.Builder
	text.WriteString("network,signal\n")
	for range 400 {
		bits := 1 + r.IntN(32)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(r.IntN(4)), byte(r.IntN(4)), byte(r.IntN(4)), byte(r.IntN(4))}), bits).Masked()
		s := Signal(1) << r.IntN(len(signalNames))
		rows = append(rows, row{p, record{signals: s}})
		text.WriteString(p.String() + "," + s.String() + "\n")
	}
	snap := must(t, Config{Lists: []List{{Name: "random", File: listFile(t, "r.csv", text.String()), Format: "csv", Stated: true, MaxShare: 1}}})
	for range 5000 {
		a := netip.AddrFrom4([4]byte{byte(r.IntN(4)), byte(r.IntN(4)), byte(r.IntN(4)), byte(r.IntN(4))})
		var want Signal
		for _, row := range rows {
			if row.prefix.Contains(a) {
				want |= row.record.signals
			}
		}
		if got := snap.Lookup(a).Signals; got != want {
			t.Fatalf("%s: %v, want %v", a, got, want)
		}
	}
}

// One address, one answer, however it is spelled.
func TestAttackSpellingsOfAnAddress(t *testing.T) {
	snap := must(t, Config{Lists: []List{{Name: "vpn", Signal: "vpn", File: listFile(t, "v.txt", "198.51.100.7\n2001:db8::1\n::ffff:192.0.2.0/120\n")}}})
	for _, a := range []string{"198.51.100.7", "::ffff:198.51.100.7", "::ffff:c633:6407", "2001:db8::1", "2001:db8::1%eth0", "192.0.2.255", "::ffff:192.0.2.1"} {
		n := snap.Lookup(addr(a))
		if !n.Signals.Has(VPN) {
			t.Errorf("%s walks past the list", a)
		}
		if n.Addr.Is4In6() || n.Addr.Zone() != "" || n.Facts(now).Address != n.Addr.String() {
			t.Errorf("%s: not canonical: %v", a, n.Addr)
		}
	}
	n := snap.Lookup(netip.Addr{})
	if f := n.Facts(now); n.Country != "ZZ" || f.Country != "ZZ" || f.Version != 0 || f.Address != "" {
		t.Errorf("the zero address: %+v", f)
	}
	if f := (Network{}).Facts(now); f.Country != "ZZ" {
		t.Errorf("the zero network: %+v", f)
	}
}

// Private addresses are a class of their own; databases are not asked, lists are.
func TestAttackPrivateAddresses(t *testing.T) {
	dir := t.TempDir()
	db := mmdb{kind: "GeoLite2-Country", records: countries(map[string]string{"10.0.0.0/8": "US", "100.64.0.0/10": "US", "11.0.0.0/8": "US"})}
	snap := must(t, Config{
		Databases: []string{db.write(t, filepath.Join(dir, "c.mmdb"))},
		Lists:     []List{{Name: "branch-vpn", Signal: "vpn", File: write(t, filepath.Join(dir, "b.txt"), "10.8.0.0/16\n")}},
	})
	for a, want := range map[string]bool{
		"10.0.0.1": true, "172.16.0.1": true, "172.31.255.255": true, "192.168.1.1": true, "127.0.0.1": true, "::1": true, "169.254.0.1": true,
		"fe80::1": true, "fd00::1": true, "fc00::1": true, "100.64.0.0": true, "100.127.255.255": true, "::ffff:10.0.0.1": true, "64:ff9b::a00:1": false, "2002:a00:1::": false, "2002:7f00:1::": false,
		"100.63.255.255": false, "100.128.0.0": false, "172.32.0.1": false, "11.0.0.1": false, "198.51.100.1": false, "2001:db8::1": false,
	} {
		n := snap.Lookup(addr(a))
		if f := n.Facts(now); n.Private != want || f.Private != want {
			t.Errorf("%s: private %v", a, n.Private)
		}
		if n.Private && n.Country != "ZZ" {
			t.Errorf("%s: a database was believed about a private address: %s", a, n.Country)
		}
	}
	if !snap.Lookup(addr("10.8.1.1")).Signals.Has(VPN) {
		t.Error("being private exempts from lists")
	}
}

// Where databases disagree the one named first is believed; the operator's own statement before all; an RFC 8805
// geofeed is never believed.
func TestWhoIsBelieved(t *testing.T) {
	dir := t.TempDir()
	first := mmdb{kind: "GeoLite2-Country", records: countries(map[string]string{"198.51.100.0/24": "RU", "192.0.2.0/24": "FR"})}.write(t, filepath.Join(dir, "first.mmdb"))
	second := mmdb{kind: "GeoLite2-City", records: map[string]mmdbtype.DataType{
		"198.51.100.0/24": m{"country": m{"iso_code": s("UA")}, "subdivisions": mmdbtype.Slice{m{"iso_code": s("43")}}},
		"203.0.113.0/24":  m{"country": m{"iso_code": s("DE")}},
	}}.write(t, filepath.Join(dir, "second.mmdb"))
	own := write(t, filepath.Join(dir, "own.csv"), "network,country,asn,org,note\n192.0.2.0/28,SG,64500,Example,our office\n")
	feed := write(t, filepath.Join(dir, "feed.csv"), "# geofeed\n203.0.113.0/24,US,US-NY,New York,10001\n198.18.0.0/24,US,,,\n198.18.1.0/24,US,vpn\n")
	lists := []List{{Name: "feed", File: feed, Format: "csv"}, {Name: "own", File: own, Format: "csv", Stated: true}}
	snap := must(t, Config{Databases: []string{first, second}, Lists: lists})
	for a, want := range map[string]string{
		"198.51.100.1": "RU UA-43", // a finer database still adds what the first does not say
		"192.0.2.1":    "SG ",
		"192.0.2.99":   "FR ",
		"203.0.113.1":  "DE ",
		"198.18.0.1":   "ZZ ",
	} {
		n := snap.Lookup(addr(a))
		if got := n.Country + " " + strings.Join(n.Subdivisions, ","); got != want {
			t.Errorf("%s: %q, want %q", a, got, want)
		}
	}
	if n := snap.Lookup(addr("192.0.2.1")); n.ASN != 64500 || n.Org != "Example" || !slices.Equal(n.Lists, []string{"own"}) {
		t.Errorf("%+v", n)
	}
	if n := snap.Lookup(addr("198.18.1.1")); n.Signals != VPN {
		t.Errorf("a geofeed may tighten: %+v", n)
	}
	answers := snap.Answers(addr("203.0.113.1"))
	if len(answers) != 2 || answers[0].Source != "second.mmdb" || answers[0].Country != "DE" || answers[1].Source != "feed" {
		t.Errorf("%+v", answers)
	}
	back := must(t, Config{Databases: []string{second, first}})
	if got := back.Lookup(addr("198.51.100.1")).Country; got != "UA" {
		t.Errorf("order of databases: %s", got)
	}
}

func TestFacts(t *testing.T) {
	db := mmdb{kind: "GeoLite2-Country", records: countries(map[string]string{"2001:db8::/32": "IR"})}
	dir := t.TempDir()
	cfg := Config{
		Databases: []string{db.write(t, filepath.Join(dir, "c.mmdb")), filepath.Join(dir, "gone.mmdb")},
		Lists:     []List{{Name: "res", Signal: "residential_proxy", File: write(t, filepath.Join(dir, "l.txt"), "2001:db8::/48\n")}},
		Now:       clock,
	}
	snap, errs := Load(cfg)
	if len(errs) != 1 {
		t.Fatal(errs)
	}
	f := snap.Lookup(addr("2001:db8::5")).Facts(now)
	if f.Version != 6 || f.Address != "2001:db8::5" || f.Addr != addr("2001:db8::5") || f.Country != "IR" || !f.ResidentialProxy || f.VPN || f.DataAgeHours != 24 ||
		!slices.Equal(f.DataMissing, []string{"gone.mmdb"}) || !slices.Equal(f.Lists, []string{"res"}) {
		t.Errorf("%+v", f)
	}
	if got := snap.Lookup(addr("2001:db8::5")).Facts(now.Add(90 * time.Minute)).DataAgeHours; got != 25 {
		t.Errorf("age %d", got)
	}
	if got := snap.Lookup(addr("2001:db8::5")).Facts(now.Add(-1000 * time.Hour)).DataAgeHours; got != 0 {
		t.Errorf("a clock that went back: age %d", got)
	}
	warm := snap.Lookup(addr("2001:db8::5"))
	if n := testing.AllocsPerRun(100, func() { _ = snap.Lookup(warm.Addr).Facts(now) }); n > 0 {
		t.Errorf("a known address costs %v allocations", n)
	}
}

func TestSignalsAsJSON(t *testing.T) {
	n := must(t, Config{Lists: []List{{Name: "t", Signal: "tor", File: listFile(t, "t.txt", "198.51.100.1")}}}).Lookup(addr("198.51.100.1"))
	data, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"ip": "198.51.100.1", "country": "ZZ", "asn": 0.0, "org": "", "signals": []any{"tor"}, "lists": []any{"t"}, "private": false}
	delete(got, "data_from")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var back Network
	if err := json.Unmarshal(data, &back); err != nil || back.Signals != Tor {
		t.Error(back, err)
	}
	if err := json.Unmarshal([]byte(`["nonsense"]`), new(Signal)); err == nil {
		t.Error("an unknown name")
	}
}

func TestZeroSignalAndCountrySayNothing(t *testing.T) {
	var n Network
	if n.Signals.Has(VPN) || len(n.Signals.Names()) != 0 || n.Location.Known {
		t.Error("the zero value says something")
	}
	for in, want := range map[string]string{"us": "US", "KP": "KP", "": "", "ZZ": "", "EU": "", "A1": "", "USA": "", "U\n": "", "é": "", "XK": "XK"} {
		if got := countryCode(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
