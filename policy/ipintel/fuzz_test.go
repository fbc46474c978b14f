package ipintel

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// sound is what every parser owes the tables: canonical prefixes, none of them everything.
func sound(t *testing.T, ps []netip.Prefix) {
	t.Helper()
	for _, p := range ps {
		if !p.IsValid() || p != p.Masked() || p.Bits() == 0 || p.Addr().Zone() != "" || p.Addr().Is4In6() && p.Bits() >= 96 {
			t.Fatalf("%v", p)
		}
	}
}

// tidyError is what every message owes the log: one line, of bounded length.
func tidyError(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if msg := err.Error(); len(msg) > 500 || strings.ContainsAny(msg, "\n\x1b") {
		t.Fatalf("%d bytes: %q", len(msg), msg)
	}
}

func fuzzParser(f *testing.F, parse func([]byte) (entries, error), seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parse(data)
		tidyError(t, err)
		if err != nil && len(e.prefixes) > 0 {
			t.Fatal("part of a refused list")
		}
		sound(t, e.prefixes)
	})
}

func FuzzCIDR(f *testing.F) {
	fuzzParser(f, parseCIDR, "# c\n192.0.2.1\n192.0.2.0/24 ; x\n", "::ffff:1.2.3.0/120", "1.2.3.4-1.2.3.9\r\n", "0.0.0.0/0", "::-ffff::", "fe80::1%a/64",
		"# Source File Date: Sat Nov 21 12:05:33 UTC 2026\n")
}

func FuzzAWS(f *testing.F) {
	fuzzParser(f, parseAWS, `{"createDate":"2026-08-22-15-17-05","prefixes":[{"ip_prefix":"3.5.140.0/22"}],"ipv6_prefixes":[{"ipv6_prefix":"2600:1ff2::/40"}]}`, `{"prefixes":[{}]}`)
}

func FuzzGCP(f *testing.F) {
	fuzzParser(f, parseGCP, `{"creationTime":"2026-05-05T19:04:08.194918","prefixes":[{"ipv4Prefix":"34.1.208.0/20"},{"ipv6Prefix":"2600:1900:4280::/44"}]}`, `[]`)
}

func FuzzAzure(f *testing.F) {
	fuzzParser(f, parseAzure, `{"values":[{"properties":{"addressPrefixes":["4.145.74.52/30","2603:1030::/48"]}}]}`, `{"values":null}`)
}

func FuzzCSV(f *testing.F) {
	for _, s := range []string{
		"network,country,subdivision,asn,org,signal,signal,note\n192.0.2.0/24,US,US-NY,AS64500,\"A, B\",vpn,tor|proxy,x\n",
		"192.0.2.0/24,US,US-NY,New York,\n", "network\n1.2.3.4-1.2.3.9\n", "\"", "network,signal\n::/0,vpn\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseCSV(data)
		tidyError(t, err)
		for _, r := range list.rows {
			sound(t, []netip.Prefix{r.prefix})
			if r.record.signals&^allSignals != 0 || r.record.country != "" && countryCode(r.record.country) != r.record.country {
				t.Fatalf("%+v", r)
			}
			if !list.header && (r.record.country != "" || r.record.subdivisions != nil || r.record.asn != 0 || r.record.org != "") {
				t.Fatalf("a geofeed is believed: %+v", r)
			}
		}
	})
}

// FuzzDatabase feeds the gates, and the look-ups with all that passes them.
func FuzzDatabase(f *testing.F) {
	for _, d := range []mmdb{
		{kind: "GeoLite2-City", records: map[string]mmdbtype.DataType{"198.51.100.0/24": m{"country": m{"iso_code": s("UA")}, "subdivisions": mmdbtype.Slice{m{"iso_code": s("43")}}, "location": m{"latitude": mmdbtype.Float64(4)}}}},
		{kind: "country ipvAll", bare: true, ip: 4, records: map[string]mmdbtype.DataType{"198.51.100.0/24": m{"country_code": s("KP")}}},
		{kind: "GeoIP2-Anonymous-IP", records: map[string]mmdbtype.DataType{"2001:db8::/32": m{"is_anonymous_vpn": yes}}},
		{kind: "ipinfo standard_privacy.mmdb", records: map[string]mmdbtype.DataType{"2001:db8::/32": m{"vpn": s("true")}}},
	} {
		f.Add(d.bytes(f))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := openDatabase(content{data: data}, now)
		if err != nil {
			return
		}
		for _, a := range []string{"198.51.100.1", "2001:db8::1", "0.0.0.0", "255.255.255.255", "::", "ffff::"} {
			if _, _, err := l.ask(addr(a)); err != nil {
				t.Logf("%s: %v", a, err) // allowed: it is told; a panic is not
			}
		}
	})
}

// Seeds of the fuzzers come as files, too, through the whole of Load.
func TestLoadSurvivesEveryByteFlip(t *testing.T) {
	data := mmdb{kind: "GeoLite2-Country", records: countries(map[string]string{"198.51.100.0/24": "KP"})}.bytes(t)
	for i := range data {
		broken := append([]byte(nil), data...)
		broken[i] ^= 0xff
		l, err := openDatabase(content{data: broken}, now)
		if err != nil {
			continue
		}
		if _, _, err := guarded(l, addr("198.51.100.1")); err != nil {
			t.Logf("byte %d: %v", i, err)
		}
	}
	dir := t.TempDir()
	for i := 0; i < len(data); i += 7 {
		file := write(t, filepath.Join(dir, "c.mmdb"), data[:i])
		if _, errs := Load(Config{Databases: []string{file}, Now: clock}); len(errs) != 1 {
			t.Fatalf("%d of %d bytes are accepted", i, len(data))
		}
	}
}
