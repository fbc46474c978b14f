package ipintel

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func prefixes(e entries) string {
	var out []string
	for _, p := range e.prefixes {
		out = append(out, p.String())
	}
	return strings.Join(out, " ")
}

func TestTextList(t *testing.T) {
	e, err := parseCIDR([]byte("\xef\xbb\xbf#\n# firehol_level1\n#\n# Source File Date: Sat Nov 21 12:05:33 UTC 2026\n\n" +
		"198.51.100.7\r\n  198.51.100.0/24  \n192.0.2.0/25 ; SBL1234\n203.0.113.9 # a comment\n; another kind of comment\n" +
		"2001:db8::/32\n2001:db8::1\n::ffff:203.0.113.0/120\n198.51.100.77/24\n10.0.0.3-10.0.0.8\n2001:db8::fffe - 2001:db8::1:1\n192.0.2.9-192.0.2.9"))
	if err != nil {
		t.Fatal(err)
	}
	want := "198.51.100.7/32 198.51.100.0/24 192.0.2.0/25 203.0.113.9/32 2001:db8::/32 2001:db8::1/128 203.0.113.0/24 198.51.100.0/24 " +
		"10.0.0.3/32 10.0.0.4/30 10.0.0.8/32 2001:db8::fffe/127 2001:db8::1:0/127 192.0.2.9/32"
	if got := prefixes(e); got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
	if want := time.Date(2026, 11, 21, 12, 5, 33, 0, time.UTC); !e.declared.Equal(want) {
		t.Errorf("date %v", e.declared)
	}
}

// Every kind of fault names file and line, quotes what is there without letting it
// break out of the log line, and refuses the whole file.
func TestFaultsNameFileAndLine(t *testing.T) {
	for name, tc := range map[string]struct {
		format, data string
		line         int
		text         string
	}{
		"word":                  {"", "192.0.2.1\n\nnonsense\n", 3, "nonsense"},
		"name":                  {"", "example.com\n", 1, "example.com"},
		"leading zeros":         {"", "192.0.2.01\n", 1, "192.0.2.01"},
		"hexadecimal":           {"", "0x7f.1\n", 1, "0x7f.1"},
		"too long":              {"", "192.0.2.0/33\n", 1, "/33"},
		"no length":             {"", "192.0.2.0/\n", 1, "192.0.2.0/"},
		"port":                  {"", "192.0.2.1:80\n", 1, ":80"},
		"zone":                  {"", "fe80::1%eth0\n", 1, "eth0"},
		"two on a line":         {"", "192.0.2.1 192.0.2.2\n", 1, "192.0.2.1 192.0.2.2"},
		"everything":            {"", "192.0.2.1\n0.0.0.0/0\n", 2, "whole Internet"},
		"everything, IPv6":      {"", "::/0\n", 1, "whole Internet"},
		"everything, mapped":    {"", "::ffff:0.0.0.0/96\n", 1, "whole Internet"},
		"everything, range":     {"", "0.0.0.0-255.255.255.255\n", 1, "whole Internet"},
		"range backwards":       {"", "192.0.2.9-192.0.2.1\n", 1, "not a range"},
		"range of two kinds":    {"", "192.0.2.9-2001:db8::1\n", 1, "not a range"},
		"JSON taken for text":   {"", "{\n", 1, "{"},
		"page of HTML":          {"", "<!DOCTYPE html>\n", 1, "DOCTYPE"},
		"escape sequences":      {"", "\x1b[2Jgotcha\n", 1, `\x1b[2J`},
		"cut off in the middle": {"", "192.0.2.0/24\n198.51.1", 2, "198.51.1"},
		"JSON broken":           {"aws", "{\n\"prefixes\": [\n{]}", 3, "invalid character"},
		"JSON of other types":   {"aws", "{\n\"prefixes\": 7}", 2, "cannot unmarshal"},
		"aws, bad prefix":       {"aws", "{\"prefixes\": [\n{\"ip_prefix\": \"192.0.2.0/24\"},\n{\"ip_prefix\": \"192.0.2.0/99\"}]}", 3, "192.0.2.0/99"},
		"gcp, bad prefix":       {"gcp", "{\"prefixes\": [\n{\"ipv4Prefix\": \"x\"}]}", 2, `"x"`},
		"azure, bad prefix":     {"azure", "{\"values\": [{\"properties\": {\n\"addressPrefixes\": [\"192.0.2.0/24\",\n\"y\"]}}]}", 3, `"y"`},
		"csv, bad network":      {"csv", "network,country\n192.0.2.0/24,US\nnowhere,US\n", 3, "nowhere"},
		"csv, no network":       {"csv", "network,country\n,US\n", 2, `""`},
		"csv, bad country":      {"csv", "network,country\n192.0.2.0/24,Narnia\n", 2, "Narnia"},
		"csv, bad subdivision":  {"csv", "network,subdivision\n192.0.2.0/24,NewYork\n", 2, "NewYork"},
		"csv, bad number":       {"csv", "network,asn\n192.0.2.0/24,ASX\n", 2, "ASX"},
		"csv, bad latitude":     {"csv", "network,latitude,longitude\n192.0.2.0/24,north,8\n", 2, "north"},
		"csv, no number":        {"csv", "network,latitude,longitude\n192.0.2.0/24,NaN,8\n", 2, "NaN"},
		"csv, off the globe":    {"csv", "network,latitude,longitude\n192.0.2.0/24,91,8\n", 2, "latitude"},
		"csv, half a place":     {"csv", "network,latitude\n192.0.2.0/24,47.4\n", 2, "only together"},
		"csv, bad signal":       {"csv", "network,signal\n192.0.2.0/24,vpm\n", 2, "vpm"},
		"csv, bad column":       {"csv", "network,contry\n192.0.2.0/24,US\n", 1, "contry"},
		"csv, column twice":     {"csv", "network,country,country\n", 1, "twice"},
		"csv, too many fields":  {"csv", "network\n192.0.2.0/24,US\n", 2, "2 fields"},
		"csv, open quote":       {"csv", "network\n\"192.0.2.0/24\n", 2, `"`},
		"geofeed, bad prefix":   {"csv", "192.0.2.0/24,US,US-NY,New York,\n192.0.2/24,US\n", 2, "192.0.2/24"},
	} {
		t.Run(name, func(t *testing.T) {
			file := listFile(t, "list.txt", tc.data)
			snap, errs := Load(Config{Lists: []List{{Name: "l", Signal: "vpn", File: file, Format: tc.format}}, Now: clock})
			if len(errs) != 1 {
				t.Fatalf("errors: %v", errs)
			}
			got := errs[0].Error()
			if !strings.HasPrefix(got, fmt.Sprintf("%s:%d: ", file, tc.line)) || !strings.Contains(got, tc.text) || strings.ContainsAny(got, "\x1b\n") {
				t.Errorf("%q, want line %d and %q", got, tc.line, tc.text)
			}
			n := snap.Lookup(addr("192.0.2.1"))
			if n.Signals != 0 || len(n.Missing) != 1 {
				t.Errorf("half of a list is in use: %+v", n)
			}
		})
	}
}

func TestCloudFiles(t *testing.T) {
	for _, tc := range []struct {
		format, data, in, out string
		built                 time.Time
	}{
		{"aws", `{"syncToken":"1","createDate":"2026-08-22-15-17-05","prefixes":[{"ip_prefix":"3.5.140.0/22","service":"AMAZON"}],"ipv6_prefixes":[{"ipv6_prefix":"2600:1ff2::/40"}]}`,
			"3.5.140.9 2600:1ff2::1", "3.5.144.1", time.Date(2026, 8, 22, 15, 17, 5, 0, time.UTC)},
		{"gcp", `{"creationTime":"2026-05-05T19:04:08.194918","prefixes":[{"ipv4Prefix":"34.1.208.0/20"},{"ipv6Prefix":"2600:1900:4280::/44"}]}`,
			"34.1.208.1 2600:1900:4280::1", "34.1.207.255", time.Date(2026, 5, 5, 19, 4, 8, 194918000, time.UTC)},
		{"azure", `{"changeNumber":398,"values":[{"name":"AzureCloud","properties":{"addressPrefixes":["4.145.74.52/30","2603:1030::/48"]}},{"name":"Empty","properties":{"addressPrefixes":[]}}]}`,
			"4.145.74.55 2603:1030::9", "4.145.74.56", now.Add(-3 * time.Hour)},
	} {
		t.Run(tc.format, func(t *testing.T) {
			file := listFile(t, "ranges.json", tc.data)
			if err := os.Chtimes(file, now, now.Add(-3*time.Hour)); err != nil {
				t.Fatal(err)
			}
			snap := must(t, Config{Lists: []List{{Name: "cloud", Signal: "hosting", File: file, Format: tc.format}}})
			for _, a := range strings.Fields(tc.in) {
				if !snap.Lookup(addr(a)).Signals.Has(Hosting) {
					t.Error(a, "is not in")
				}
			}
			if snap.Lookup(addr(tc.out)).Signals != 0 {
				t.Error(tc.out, "is in")
			}
			if src := snap.Sources()[0]; !src.Built.Equal(tc.built) || src.Networks != 2 || len(src.SHA256) != 64 {
				t.Errorf("%+v", src)
			}
		})
	}
}

// A file of one provider read as another's holds nothing, and nothing is refused.
func TestListsOfNothing(t *testing.T) {
	aws := `{"createDate":"2026-08-22-15-17-05","prefixes":[{"ip_prefix":"3.5.140.0/22"}]}`
	for name, l := range map[string]struct {
		format, signal, data string
		ok                   bool
	}{
		"only comments, for a signal":     {"cidr", "vpn", "# nothing\n", false},
		"only comments, the operator's":   {"cidr", "", "# nothing yet\n", true},
		"csv with a header only":          {"csv", "", "network,country\n", false},
		"no JSON entries":                 {"aws", "hosting", "{}", false},
		"aws file as gcp":                 {"gcp", "hosting", aws, false},
		"aws file as azure":               {"azure", "hosting", aws, false},
		"aws, a declared date from later": {"aws", "hosting", strings.Replace(aws, "2026-08", "2027-08", 1), false},
		"aws, a date that is none":        {"aws", "hosting", strings.Replace(aws, "2026-08", "yester", 1), false},
	} {
		_, errs := Load(Config{Lists: []List{{Name: "l", Signal: l.signal, File: listFile(t, "f", l.data), Format: l.format}}, Now: clock})
		if (len(errs) == 0) != l.ok {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func TestConfigurationFaults(t *testing.T) {
	file := listFile(t, "l.txt", "192.0.2.1\n")
	for name, c := range map[string]Config{
		"relative database": {Databases: []string{"c.mmdb"}},
		"database twice":    {Databases: []string{file, file}},
		"relative list":     {Lists: []List{{Name: "a", File: "l.txt"}}},
		"no name":           {Lists: []List{{File: file}}},
		"name with spaces":  {Lists: []List{{Name: "a b", File: file}}},
		"name twice":        {Lists: []List{{Name: "a", File: file}, {Name: "a", File: file}}},
		"unknown signal":    {Lists: []List{{Name: "a", File: file, Signal: "vpm"}}},
		"unknown format":    {Lists: []List{{Name: "a", File: file, Format: "xml"}}},
	} {
		if err := Check(c); err == nil {
			t.Error(name, "is accepted by Check")
		}
		if w, err := Open(c); err == nil || w != nil {
			t.Error(name, "is accepted by Open")
		}
	}
	dir := t.TempDir()
	other := filepath.Join(dir, "sub", "l.mmdb")
	snap, _ := Load(Config{Databases: []string{filepath.Join(dir, "l.mmdb"), other}, Now: clock})
	if src := snap.Sources(); src[0].Name != "l.mmdb" || src[1].Name != other {
		t.Errorf("%+v", src)
	}
}

func TestProvidesComesFromConfigurationEvenWhenMissing(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	snap, errs := Load(Config{Lists: []List{{Name: "a", Signal: "vpn", File: nowhere}, {Name: "b", File: nowhere}}, Now: clock})
	p := snap.Provides()
	if len(errs) != 2 || len(p.Signals) != 1 || !p.Signals["vpn"] || !p.Lists["a"] || !p.Lists["b"] || p.Lists["c"] {
		t.Errorf("%v %v", errs, p)
	}
	p.Signals["tor"] = true
	if snap.Provides().Signals["tor"] {
		t.Error("the snapshot can be changed from outside")
	}
}

func TestTooLargeIsRefusedUnread(t *testing.T) {
	file := filepath.Join(t.TempDir(), "huge.txt")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, maxListSize+1); err != nil {
		t.Fatal(err)
	}
	_, errs := Load(Config{Lists: []List{{Name: "a", File: file}}, Now: clock})
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "more than") {
		t.Error(errs)
	}
}

// The fewest prefixes that cover a range cover it exactly.
func TestRanges(t *testing.T) {
	for from := range 64 {
		for until := from; until < 64; until++ {
			a, b := netip.AddrFrom4([4]byte{10, 0, 0, byte(from)}), netip.AddrFrom4([4]byte{10, 0, 0, byte(until)})
			ps, err := appendRange(nil, a, b)
			if err != nil {
				t.Fatal(err)
			}
			count := 0
			for i := range 256 {
				x := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
				for _, p := range ps {
					if p.Contains(x) {
						count++
						if i < from || i > until {
							t.Fatalf("%d-%d holds %d", from, until, i)
						}
					}
				}
			}
			if count != until-from+1 {
				t.Fatalf("%d-%d: %v", from, until, ps)
			}
		}
	}
	if ps, err := appendRange(nil, addr("255.255.255.254"), addr("255.255.255.255")); err != nil || len(ps) != 1 {
		t.Error(ps, err)
	}
	if ps, err := appendRange(nil, addr("::1"), addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")); err != nil || len(ps) != 128 {
		t.Error(len(ps), err)
	}
}

func TestChangingFileIsNotReadHalf(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, file string){
		"replaced": func(t *testing.T, file string) { write(t, file, "192.0.2.2\n") },
		"shorter":  func(t *testing.T, file string) { truncate(t, file, 3) },
		"longer":   func(t *testing.T, file string) { truncate(t, file, 300) },
		"removed": func(t *testing.T, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := listFile(t, "l.txt", "192.0.2.1\n")
			if _, err := readFile(file, 100); err != nil {
				t.Fatal(err)
			}
			_, err := readWith(file, 100, func(p string) (io.ReadCloser, error) {
				f, err := os.Open(p)
				change(t, file)
				return f, err
			})
			if !errors.Is(err, errChanging) && !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
		})
	}
	if sameFile(nil, mustStat(t, t.TempDir())) || !sameFile(nil, nil) {
		t.Error("absence")
	}
}

func truncate(t *testing.T, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

func mustStat(t *testing.T, file string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info
}
