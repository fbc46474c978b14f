package ipintel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// A download that gains a header line is believed no more for it: an embargoed country stays one. What makes
// a list the operator's own statement is the configuration.
func TestHeaderLineIsNoStatement(t *testing.T) {
	dir := t.TempDir()
	db := mmdb{kind: "GeoLite2-Country", records: countries(map[string]string{"11.0.0.0/24": "KP"})}.write(t, filepath.Join(dir, "c.mmdb"))
	list := write(t, filepath.Join(dir, "l.csv"), "network,country,asn\n11.0.0.0/25,US,64500\n12.0.0.0/24,US,64500\n")
	for stated, want := range map[bool][2]string{false: {"KP", "US"}, true: {"US", "US"}} {
		snap := must(t, Config{Databases: []string{db}, Lists: []List{{Name: "l", File: list, Format: "csv", Stated: stated}}})
		if got := [2]string{snap.Lookup(addr("11.0.0.1")).Country, snap.Lookup(addr("12.0.0.1")).Country}; got != want {
			t.Errorf("stated %v: %v, want %v", stated, got, want)
		}
		noted := slices.ContainsFunc(snap.Sources()[1].Notes, func(n string) bool { return strings.Contains(n, "stated: true") })
		if noted == stated {
			t.Errorf("stated %v: notes %q", stated, snap.Sources()[1].Notes)
		}
		if first := snap.Answers(addr("11.0.0.1"))[0].Source; (first == "l") != stated {
			t.Errorf("stated %v: most believed is %s", stated, first)
		}
	}
}

func TestStatedNeedsColumns(t *testing.T) {
	file := listFile(t, "l.csv", "11.0.0.0/24,US,,,\n")
	if _, errs := Load(Config{Now: clock, Lists: []List{{Name: "l", File: file, Format: "csv", Stated: true}}}); len(errs) != 1 || !strings.Contains(errs[0].Error(), "names its columns") {
		t.Error(errs)
	}
	for _, format := range []string{"", "cidr", "aws", "gcp", "azure"} {
		if _, err := Open(Config{Lists: []List{{Name: "l", File: file, Format: format, Stated: true}}}); err == nil || !strings.Contains(err.Error(), "states nothing") {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// Policies make exceptions for relays: a file that calls an attacker's address one must not make them.
func TestFileCannotCallAddressesRelays(t *testing.T) {
	file := listFile(t, "l.csv", "network,signal\n11.0.0.0/24,relay vpn\n")
	feed := listFile(t, "f.csv", "12.0.0.0/24,US,relay,,\n")
	for _, c := range []struct {
		list List
		at   string
		want Signal
	}{
		{List{File: file}, "11.0.0.1", VPN},
		{List{File: feed}, "12.0.0.1", 0},
		{List{File: file, Stated: true}, "11.0.0.1", VPN | Relay},
		{List{File: file, Signal: "relay"}, "11.0.0.1", VPN | Relay},
		{List{File: feed, Signal: "relay"}, "12.0.0.1", Relay},
	} {
		c.list.Name, c.list.Format = "l", "csv"
		snap := must(t, Config{Lists: []List{c.list}})
		if got := snap.Lookup(addr(c.at)).Signals; got != c.want {
			t.Errorf("%+v: %v, want %v", c.list, got, c.want)
		}
	}
}

// repeat writes networks from format with 0..n-1.
func repeat(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", i)
	}
	return b.String()
}

// Each way in which a list can mean all addresses is refused at the first start, too, and the share is configurable.
func TestListOfTheWholeInternet(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		most float64
		ok   bool
	}{
		"two halves":                       {"0.0.0.0/1\n128.0.0.0/1\n", 0, false},
		"one half":                         {"0.0.0.0/1\n", 0, false},
		"many /8s":                         {repeat("%d.0.0.0/8", 60), 0, false},
		"many /16s, twice":                 {repeat("20.%[1]d.0.0/16\n30.%[1]d.0.0/16", 256) + repeat("20.%[1]d.0.0/16\n30.%[1]d.0.0/16", 256), 0, true},
		"a range":                          {"1.0.0.0-126.0.0.0\n", 0, false},
		"all IPv6 unicast":                 {"2000::/3\n", 0, false},
		"IPv6 halves":                      {"::/1\n8000::/1\n", 0, false},
		"what the registries hand out":     {"2400::/11\n2600::/12\n2a00::/11\n", 0, false},
		"half, and that is meant":          {"0.0.0.0/1\n", 0.6, true},
		"half, and a third is meant":       {"0.0.0.0/1\n", 0.33, false},
		"everything that is not public":    {"10.0.0.0/8\n224.0.0.0/3\n127.0.0.0/8\nfc00::/7\n192.168.0.0/16\n", 0, true},
		"a tenth, as of all data centres":  {repeat("%d.0.0.0/8", 24), 0, true},
		"a list that is one large network": {"2600:1f00::/24\n", 0, true},
	} {
		_, errs := Load(Config{Now: clock, Lists: []List{{Name: "l", Signal: "vpn", File: listFile(t, "l.txt", c.data), MaxShare: c.most}}})
		if errors.Is(errors.Join(errs...), errShare) == c.ok || (errs == nil) != c.ok {
			t.Errorf("%s: %v", name, errs)
		}
	}
	csv := listFile(t, "l.csv", "network,country\n0.0.0.0/1,US\n")
	if _, errs := Load(Config{Now: clock, Lists: []List{{Name: "l", File: csv, Format: "csv", Stated: true}}}); !errors.Is(errors.Join(errs...), errShare) {
		t.Error("csv:", errs)
	}
	for _, bad := range []float64{-1, 1.5} {
		if _, err := Open(Config{Lists: []List{{Name: "l", File: csv, MaxShare: bad}}}); err == nil {
			t.Error(bad, "is a share")
		}
	}
}

// The same attack in a database: half of the Internet called VPN exits.
func TestDatabaseThatFlagsTheWholeInternet(t *testing.T) {
	yes := m{"is_anonymous": mmdbtype.Bool(true), "is_anonymous_vpn": mmdbtype.Bool(true)}
	for name, c := range map[string]struct {
		records map[string]mmdbtype.DataType
		ok      bool
	}{
		"halves":      {map[string]mmdbtype.DataType{"0.0.0.0/2": yes, "64.0.0.0/2": yes}, false},
		"IPv6":        {map[string]mmdbtype.DataType{"2400::/11": yes, "2a00::/11": yes, "11.0.0.0/24": yes}, false},
		"some":        {map[string]mmdbtype.DataType{"11.0.0.0/8": yes, "2600::/32": yes}, true},
		"not flagged": {map[string]mmdbtype.DataType{"0.0.0.0/2": m{}, "64.0.0.0/2": m{}, "11.0.0.0/24": yes}, true},
	} {
		file := mmdb{kind: "GeoIP2-Anonymous-IP", records: c.records}.write(t, filepath.Join(t.TempDir(), "a.mmdb"))
		if _, errs := Load(Config{Now: clock, Databases: []string{file}}); errors.Is(errors.Join(errs...), errShare) == c.ok {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

// Content that is tenfold larger or smaller than what it replaces keeps the old one in use, in networks or in what
// they cover; an operator's approval of that very content lets it pass.
func TestListThatGrowsOrShrinksTenfold(t *testing.T) {
	for name, c := range map[string]struct {
		signal, before, after string
		want                  error
	}{
		"networks":                {"vpn", repeat("11.0.0.%d", 20), repeat("11.0.%[1]d.1\n11.1.%[1]d.1", 120), errGrown},
		"not quite":               {"vpn", repeat("11.0.0.%d", 30), repeat("11.0.%d.1", 250), nil},
		"space, in as many lines": {"vpn", repeat("11.%d.0.0/24", 20), repeat("11.%d.0.0/18", 20), errGrown},
		"half the Internet, permitted share aside": {"", "11.0.0.1\n", "12.0.0.0/8\n", errGrown},
		"space shrinks":               {"vpn", repeat("11.%d.0.0/16", 20), repeat("11.%d.0.0/24", 20), errShrunk},
		"space shrinks, kept by hand": {"", repeat("11.%d.0.0/16", 20), repeat("11.%d.0.0/24", 20), nil},
		"first entries":               {"", "# none yet\n", repeat("11.%d.0.0/24", 50), nil},
		"first IPv6 networks":         {"vpn", "11.0.0.1\n", "11.0.0.1\n2a02:100::/32\n2a02:200::/32\n", nil},
		"IPv6 space":                  {"vpn", "2a02:100::/32\n", "2a02:100::/28\n", errGrown},
	} {
		t.Run(name, func(t *testing.T) {
			file := listFile(t, "l.txt", c.before)
			w := open(t, Config{Lists: []List{{Name: "l", Signal: c.signal, File: file}}})
			before := w.Current().Sources()[0].SHA256
			write(t, file, c.after)
			err := w.Reload(context.Background())
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if c.want == nil {
				return
			}
			if w.Current().Sources()[0].SHA256 != before || !strings.Contains(err.Error(), "before") {
				t.Errorf("%v; the old content is gone", err)
			}
			w.Guard(Guard{Approved: func(source, sha256 string) bool { return source == "l" && sha256 != before }})
			if err := w.Retry(context.Background()); err != nil || w.Current().Sources()[0].SHA256 == before {
				t.Error("approved, and refused:", err)
			}
		})
	}
}

// A database is believed in the order of the configuration, which was written for what it was: one that comes
// to answer other questions is not taken.
func TestDatabaseThatClaimsAnotherType(t *testing.T) {
	asn := func(kind string) mmdb {
		return mmdb{kind: kind, records: map[string]mmdbtype.DataType{"11.0.0.0/24": m{"autonomous_system_number": mmdbtype.Uint32(64500), "autonomous_system_organization": s("Example")}}}
	}
	country := mmdb{kind: "GeoLite2-Country", records: countries(map[string]string{"11.0.0.0/24": "US"})}
	other := mmdb{kind: "DBIP-Country-Lite", records: countries(map[string]string{"11.0.0.0/24": "US"})}
	for name, c := range map[string]struct {
		before, after mmdb
		ok            bool
	}{
		"networks become countries":   {asn("GeoLite2-ASN"), country, false},
		"countries become networks":   {country, asn("GeoLite2-ASN"), false},
		"another name for the same":   {country, other, true},
		"signals that are gone":       {mmdb{kind: "GeoIP2-Anonymous-IP", records: map[string]mmdbtype.DataType{"11.0.0.0/24": m{"is_anonymous_vpn": mmdbtype.Bool(true)}}}, country, false},
		"a network operator's, again": {asn("GeoLite2-ASN"), asn("DBIP-ASN-Lite"), true},
	} {
		file := c.before.write(t, filepath.Join(t.TempDir(), "d.mmdb"))
		w := open(t, Config{Databases: []string{file}})
		c.after.write(t, file)
		if err := w.Reload(context.Background()); errors.Is(err, errAnswers) == c.ok || (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The measure against the definition, over random networks: overlaps count once, private space not at all.
func TestCoverAgainstCounting(t *testing.T) {
	for _, c := range []struct {
		list string
		want cover
	}{
		{"11.0.0.0/24 11.0.0.0/25 11.0.0.7/32 11.0.1.0/24", cover{v4: 512}},
		{"0.0.0.0/0", allPublic4()},
		{"172.0.0.0/8", cover{v4: 1<<24 - 1<<20}},
		{"2600::/64 2600::1/128 2600:0:0:1::/64", cover{v6: 2}},
		{"fc00::/7 fe80::/10 ::/8", cover{}},
	} {
		var list []netip.Prefix
		for _, p := range strings.Fields(c.list) {
			list = append(list, netip.MustParsePrefix(p))
		}
		if got := coverOf(list); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.list, got, c.want)
		}
	}
}

func allPublic4() cover { return cover{v4: 3702258688} }
