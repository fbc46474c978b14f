package ipv4in6

import (
	"net/netip"
	"testing"
)

// An address that is private is never public, and none of either is counted as part of
// the Internet.
func TestPrivateIsNotPublic(t *testing.T) {
	for text, want := range map[string]struct{ private, public, internet bool }{
		"10.1.2.3": {true, false, false}, "127.0.0.1": {true, false, false}, "169.254.1.1": {true, false, false},
		"100.64.0.1": {true, false, false}, "::ffff:192.168.0.1": {true, false, false}, "fe80::1%eth0": {true, false, false},
		"0.1.2.3": {false, false, false}, "224.0.0.1": {false, false, false}, "240.0.0.1": {false, false, false},
		"255.255.255.255": {false, false, false}, "203.0.113.9": {false, true, false}, "192.0.0.1": {false, true, false},
		"8.8.8.8": {false, true, true}, "100.128.0.1": {false, true, true}, "172.32.0.1": {false, true, true},
	} {
		a := Canonical(netip.MustParseAddr(text))
		if got := Private(netip.MustParseAddr(text)); got != want.private {
			t.Errorf("%s: private %v", text, got)
		}
		if got := public(a); got != want.public {
			t.Errorf("%s: public %v", text, got)
		}
		if got := a.Is4() && !within(NotPublic4(), a); got != want.internet {
			t.Errorf("%s: of the Internet %v", text, got)
		}
	}
}
