package ipintel

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// Whose word is taken on the operator of a VPN: the configuration's, then that of stated
// lists, then of databases, then of what was downloaded.
func TestProviderOfSeveralSources(t *testing.T) {
	db := mmdb{kind: "GeoIP-Anonymous-Plus", records: map[string]mmdbtype.DataType{
		"198.51.100.0/24": m{"is_anonymous_vpn": yes, "provider_name": s("Database VPN")},
		"203.0.113.0/24":  m{"is_anonymous_vpn": yes},
	}}.write(t, filepath.Join(t.TempDir(), "db.mmdb"))
	unstated := listFile(t, "u.csv", "network,provider\n198.51.100.1,Unstated\n203.0.113.1,Unstated\n")
	stated := listFile(t, "s.csv", "network,provider\n198.51.100.2,Stated\n")
	configured := listFile(t, "c.txt", "198.51.100.3\n")
	mixed := listFile(t, "m.csv", "network,provider\n192.0.2.1,\n192.0.2.2,Its own\n")
	snap := must(t, Config{Databases: []string{db}, Lists: []List{
		{Name: "unstated", File: unstated, Format: "csv"}, {Name: "stated", File: stated, Format: "csv", Stated: true},
		{Name: "configured", File: configured, Provider: "Astrill"}, {Name: "mixed", File: mixed, Format: "csv", Provider: "Default"},
	}})
	for address, want := range map[string]string{
		"198.51.100.9": "Database VPN", "198.51.100.1": "Database VPN", "198.51.100.2": "Stated", "198.51.100.3": "Astrill",
		"203.0.113.1": "Unstated", "203.0.113.9": "", "192.0.2.1": "Default", "192.0.2.2": "Its own", "8.8.8.8": "",
	} {
		if got := snap.Lookup(addr(address)).Facts(now).Provider; got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	if got, want := snap.Provides().Providers, []string{"Astrill", "Database VPN", "Default", "Its own", "Stated", "Unstated"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	if !snap.Provides().Signals["provider"] {
		t.Error("a rule over ip.provider is refused")
	}
}

// Where not all names are known, none is called unknown.
func TestProvidersNotKnown(t *testing.T) {
	snap, errs := Load(Config{Now: clock, Databases: []string{filepath.Join(t.TempDir(), "not-there.mmdb")}})
	if len(errs) == 0 || snap.Provides().Providers != nil {
		t.Errorf("%v, %q", errs, snap.Provides().Providers)
	}
	var p providers
	for i := range maxProviders + 1 {
		p.add(string(rune('0' + i)))
	}
	if !p.many || len(p.names) != maxProviders {
		t.Errorf("%d names, many: %v", len(p.names), p.many)
	}
}

// A carried address is named too, and each reading keeps its own.
func TestProviderInsideAnAddress(t *testing.T) {
	list := listFile(t, "l.txt", "198.51.100.3\n")
	got := must(t, Config{Lists: []List{{Name: "l", File: list, Provider: "Astrill"}}}).Lookup(addr("2002:c633:6403::1")).Facts(now)
	if got.Provider != "Astrill" || len(got.Readings) != 2 || got.Readings[0].Provider != "" || got.Readings[1].Provider != "Astrill" {
		t.Errorf("%+v", got)
	}
}
