package ipintel

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"
)

func TestOperators(t *testing.T) {
	file := filepath.Join(t.TempDir(), "asn.mmdb")
	of := func(n uint32, name string) mmdbtype.DataType {
		return m{"autonomous_system_number": mmdbtype.Uint32(n), "autonomous_system_organization": s(name)}
	}
	mmdb{kind: "GeoLite2-ASN", ip: 6, records: map[string]mmdbtype.DataType{
		"20.0.0.0/16": of(64496, "Example Cloud"), "20.9.0.0/24": of(64496, "Example Cloud"), "2600:1::/32": of(64496, "Example Cloud"),
		"20.3.0.0/16": of(64497, "EXAMPLE DSL"), "20.4.0.0/16": of(64498, "Other"), "20.5.0.0/16": of(64496, "Example Cloud"),
	}}.write(t, file)
	// The operator's own statement takes 20.5.0.0/16 away, and has a row inside a row.
	own := listFile(t, "own.csv", "network,asn,org\n20.5.0.0/16,64499,Mine\n20.5.1.0/24,64499,Mine\n20.6.0.0/24,64496,Example Cloud\n")
	snapshot := must(t, Config{Databases: []string{file}, Lists: []List{{Name: "own", File: own, Format: "csv", Stated: true}}})
	numbered := func(n uint32) func(uint32, string) bool { return func(asn uint32, _ string) bool { return asn == n } }
	for _, c := range []struct {
		name   string
		wanted func(uint32, string) bool
		want   []string
	}{
		{"a number, in two sources", numbered(64496), []string{"64496 Example Cloud: 4, 66048, 79228162514264337593543950336, own asn.mmdb"}},
		{"a row inside a row", numbered(64499), []string{"64499 Mine: 1, 65536, 0, own"}},
		{"a name, the largest first", func(_ uint32, org string) bool { return strings.HasPrefix(strings.ToLower(org), "example") },
			[]string{"64496 Example Cloud: 4, 66048, 79228162514264337593543950336, own asn.mmdb", "64497 EXAMPLE DSL: 1, 65536, 0, asn.mmdb"}},
		{"none", numbered(64511), nil},
	} {
		operators, err := snapshot.Operators(c.wanted)
		var got []string
		for _, o := range operators {
			got = append(got, fmt.Sprintf("%d %s: %d, %d, %s, %s", o.ASN, o.Org, o.Networks, o.IPv4, o.IPv6, strings.Join(o.Sources, " ")))
			// What is shown is what rules see there.
			for _, e := range o.Examples {
				if n := snapshot.Lookup(addr(strings.Split(e, "/")[0])); n.ASN != o.ASN || n.Org != o.Org {
					t.Errorf("%s: %s is of %d %s", c.name, e, n.ASN, n.Org)
				}
			}
			if len(o.Examples) > examples {
				t.Errorf("%s: %d examples", c.name, len(o.Examples))
			}
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	mmdb{kind: "GeoLite2-ASN", ip: 6, records: map[string]mmdbtype.DataType{"20.0.0.0/16": of(64511, "Later")}}.write(t, file)
	if _, err := snapshot.Operators(numbered(64511)); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("a file that was replaced: %v", err)
	}
	places := must(t, Config{Lists: []List{{Name: "own", File: listFile(t, "p.csv", "network,country\n20.5.0.0/16,US\n"), Format: "csv"}}})
	if _, err := places.Operators(numbered(1)); err != ErrNoOperators {
		t.Errorf("no source names operators: %v", err)
	}
}
