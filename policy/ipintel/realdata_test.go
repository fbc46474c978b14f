package ipintel

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
)

// realConfig is all of the real data.
func realConfig(t testing.TB) Config {
	dir := realData(t)
	list := func(name, signal, file, format string) List {
		return List{Name: name, Signal: signal, File: filepath.Join(dir, "lists", file), Format: format}
	}
	return Config{
		Now: time.Now,
		Databases: []string{
			filepath.Join(dir, "databases", "dbip-country-lite-2026-10.mmdb"),
			filepath.Join(dir, "databases", "asn-lite.mmdb"),
			filepath.Join(dir, "databases", "geo-whois-asn-country.mmdb"),
		},
		Lists: []List{
			list("aws", "hosting", "aws-ip-ranges.json", "aws"),
			list("azure", "hosting", "azure-ServiceTags_Public.json", "azure"),
			list("gcp", "hosting", "gcp-cloud.json", "gcp"),
			list("datacenter4", "hosting", "datacenter-ipv4.txt", ""),
			list("datacenter6", "hosting", "datacenter-ipv6.txt", ""),
			list("digitalocean", "hosting", "digitalocean-ipv4.txt", ""),
			list("linode", "hosting", "linode-ipv4.txt", ""),
			list("oracle", "hosting", "oracle-ipv4.txt", ""),
			list("vultr", "hosting", "vultr-ipv4.txt", ""),
			list("vpn4", "vpn", "vpn-ipv4.txt", ""),
			list("vpn6", "vpn", "vpn-ipv6.txt", ""),
			list("tor", "tor", "tor-exits.txt", ""),
			list("private-relay", "relay", "apple-private-relay-egress-ipv4.txt", ""),
			list("cloudflare4", "", "cloudflare-ips-v4.txt", ""),
			list("cloudflare6", "", "cloudflare-ips-v6.txt", ""),
		},
	}
}

func TestRealData(t *testing.T) {
	snap, errs := Load(realConfig(t))
	if errs != nil {
		t.Fatal(errs)
	}
	for _, src := range snap.Sources() {
		t.Logf("%-34s %-40s %8d networks, built %s", src.Name, src.Type, src.Networks, src.Built.Format(time.DateOnly))
		if src.Missing || src.Networks == 0 || len(src.SHA256) != 64 {
			t.Errorf("%+v", src)
		}
	}
	for a, want := range map[string]struct {
		country string
		signals Signal
		list    string
	}{
		"175.45.176.1":  {"KP", 0, ""},
		"8.8.8.8":       {"US", 0, ""},
		"3.5.140.9":     {"KR", Hosting, "aws"},
		"102.130.113.9": {"ZA", Tor, "tor"},
		"104.28.28.1":   {"", Relay, "private-relay"},
		"2001:ac8::1":   {"", VPN, "vpn6"},
		"173.245.48.1":  {"", 0, "cloudflare4"},
		"2606:4700::1":  {"", 0, "cloudflare6"},
		"240.0.0.1":     {"ZZ", 0, ""},
	} {
		n := snap.Lookup(addr(a))
		if want.country != "" && n.Country != want.country || !n.Signals.Has(want.signals) || want.list != "" && !slices.Contains(n.Lists, want.list) || n.Missing != nil {
			t.Errorf("%s: %+v, want %+v", a, n, want)
		}
	}
	// The false alarm that every deployment meets first: VPN lists hold the privacy relays.
	relays, both := 0, 0
	data, err := os.ReadFile(filepath.Join(realData(t), "lists", "apple-private-relay-egress-ipv4.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Fields(string(data)) {
		relays++
		if snap.Lookup(netip.MustParsePrefix(line).Addr()).Signals.Has(VPN | Relay) {
			both++
		}
	}
	if both < relays*9/10 {
		t.Errorf("%d of %d relays are in the VPN list as well", both, relays)
	}
	if n := snap.Lookup(addr("8.8.8.8")); n.ASN != 15169 || n.Org == "" {
		t.Errorf("%+v", n)
	}
}

// MaxMind's own test databases and IPinfo's samples pass all gates.
func TestPublishersTestDatabases(t *testing.T) {
	dir := filepath.Join(realData(t), "maxmind-test")
	files, _ := filepath.Glob(filepath.Join(dir, "mmdb", "*.mmdb"))
	more, _ := filepath.Glob(filepath.Join(dir, "*.mmdb"))
	if files = append(files, more...); len(files) < 10 {
		t.Fatal("only ", files)
	}
	snap, errs := Load(Config{Databases: files, Now: time.Now})
	for _, err := range errs {
		t.Error(err)
	}
	for a, want := range map[string]string{
		"2.125.160.216": "GB GB-ENG,GB-WBK", // City
		"81.2.69.160":   "GB GB-ENG",
	} {
		n := snap.Lookup(addr(a))
		if got := n.Country + " " + strings.Join(n.Subdivisions, ","); got != want || !n.Location.Known || n.Location.RadiusKm == 0 || n.TimeZone != "Europe/London" {
			t.Errorf("%s: %q %+v", a, got, n)
		}
	}
	for a, want := range map[string]Signal{"1.2.0.4": ResidentialProxy, "6.1.2.1": VPN, "1.0.83.43": VPN, "6.1.0.4": ResidentialProxy} {
		if n := snap.Lookup(addr(a)); !n.Signals.Has(want) {
			t.Errorf("%s: %v", a, n.Signals)
		}
	}
}

// Every deliberately corrupt database is refused; and if the type gate were
// not there (these files are of type "Test"), the others refuse it or it does no harm.
func TestAttackCorruptDatabases(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(realData(t), "maxmind-test", "bad-data", "*.mmdb"))
	if len(files) < 25 {
		t.Fatalf("%d files", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			snap, errs := Load(Config{Databases: []string{file}, Now: time.Now})
			if len(errs) != 1 {
				t.Fatal("accepted")
			}
			t.Log(errs[0])
			if n := snap.Lookup(addr("1.1.1.1")); n.Country != "ZZ" || len(n.Missing) != 1 {
				t.Errorf("%+v", n)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			withoutTypeGate(t, data)
		})
	}
}

// withoutTypeGate takes data through the gates behind the type gate, as each kind of
// database, and then looks up far and wide, regardless of what the gates said.
func withoutTypeGate(t *testing.T, data []byte) {
	t.Helper()
	r, err := maxminddb.OpenBytes(bytes.Clone(data))
	if err != nil {
		return
	}
	for _, name := range []string{"GeoIP2-City-Test", "GeoIP2-Enterprise-Test", "GeoIP2-Country-Test", "GeoIP2-ISP-Test", "GeoIP2-Anonymous-Test", "Sallyport"} {
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%s: panics: %v", name, p)
				}
			}()
			if err := verify(r); err == nil {
				t.Logf("%s: Verify sees nothing", name)
			}
			k, err := otherKind(r, r)
			if err != nil {
				return
			}
			d := &database{read: k.read, v4only: r.Metadata.IPVersion == 4}
			_, _ = d.canary(r, k)
			l := &loaded{ask: d.ask}
			for i := range 1 << 12 {
				_, _, _ = guarded(l, netip.AddrFrom4([4]byte{byte(i >> 4), byte(i << 4), byte(i), 1}))
				_, _, _ = guarded(l, netip.AddrFrom16([16]byte{byte(i >> 4), byte(i << 4), byte(i), 1}))
			}
		}()
	}
}

func mixed(n int) []netip.Addr {
	r := rand.New(rand.NewPCG(7, 7))
	addrs := make([]netip.Addr, n)
	for i := range addrs {
		addrs[i] = netip.AddrFrom4([4]byte{byte(1 + r.IntN(222)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
		if i%5 == 0 {
			addrs[i] = netip.AddrFrom16([16]byte{0x2a, byte(r.IntN(16)), byte(r.IntN(256)), byte(r.IntN(256)), 4: byte(r.IntN(256)), 15: 1})
		}
	}
	return addrs
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLoad takes all real data through all gates. heap-MB is what stays on the heap; the databases are not.
func BenchmarkLoad(b *testing.B) {
	c := realConfig(b)
	before := heap()
	var snap *Snapshot
	for b.Loop() {
		snap, _ = Load(c)
	}
	b.ReportMetric(float64(heap()-before)/1e6, "heap-MB")
	runtime.KeepAlive(snap)
}

func BenchmarkLoadEach(b *testing.B) {
	c := realConfig(b)
	one := func(name string, c Config) {
		b.Run(name, func(b *testing.B) {
			before := heap()
			var snap *Snapshot
			for b.Loop() {
				snap, _ = Load(c)
			}
			b.ReportMetric(float64(heap()-before)/1e6, "heap-MB")
			runtime.KeepAlive(snap)
		})
	}
	for _, d := range c.Databases {
		one(filepath.Base(d), Config{Databases: []string{d}})
	}
	for _, l := range c.Lists {
		one(l.Name, Config{Lists: []List{l}})
	}
}

// BenchmarkLookup: cold asks all sources; cached is what every request after a session's first pays.
func BenchmarkLookup(b *testing.B) {
	snap, errs := Load(realConfig(b))
	if errs != nil {
		b.Fatal(errs)
	}
	addrs := mixed(1 << 12)
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			_ = snap.join(addrs[i&(len(addrs)-1)])
			i++
		}
	})
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for _, a := range addrs {
			snap.Lookup(a)
		}
		i := 0
		for b.Loop() {
			_ = snap.Lookup(addrs[i&(len(addrs)-1)])
			i++
		}
	})
	b.Run("cached+facts", func(b *testing.B) {
		b.ReportAllocs()
		at := time.Now()
		i := 0
		for b.Loop() {
			_ = snap.Lookup(addrs[i&(len(addrs)-1)]).Facts(at)
			i++
		}
	})
	b.Run("distinct addresses, cache included", func(b *testing.B) {
		b.ReportAllocs()
		before := heap()
		all := mixed(4 * cacheSize)
		i := 0
		for b.Loop() {
			_ = snap.Lookup(all[i%len(all)])
			i++
		}
		b.ReportMetric(float64(heap()-before)/1e6, "cache-MB")
		runtime.KeepAlive(all)
	})
}
