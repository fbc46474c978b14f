package authn

import (
	"net/netip"
	"testing"
)

// Who has one address of a network has all of them, and is bounded as one.
func TestBoundOfANetwork(t *testing.T) {
	for addr, want := range map[string][2]string{
		"203.0.113.7":          {"203.0.113.0/24", "203.0.0.0/16"},
		"::ffff:203.0.113.9":   {"203.0.113.0/24", "203.0.0.0/16"},
		"2001:db8:1:2::3":      {"2001:db8:1:2::/64", "2001:db8::/32"},
		"fe80::1%eth0":         {"fe80::/64", "fe80::/32"},
		"2001:db8:1:2:ffff::1": {"2001:db8:1:2::/64", "2001:db8::/32"},
	} {
		if b := BoundOf(netip.MustParseAddr(addr), 1, 2); b.Group != want[0] || b.Wide != want[1] {
			t.Errorf("%s: %+v", addr, b)
		}
	}
	if b := BoundOf(netip.Addr{}, 1, 2); b.Group == "" || b.Wide == "" || b.PerGroup != 1 || b.InAll != 2 {
		t.Errorf("an address that cannot be told: %+v", b)
	}
}
