package main

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy/ipintel"
)

// `policy explain` takes an address as the gate does.
func TestExplainedAddressHasAReadingThatIsInternal(t *testing.T) {
	intel, errs := ipintel.Load(ipintel.Config{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	c := &config.Config{Internal: []netip.Prefix{netip.MustParsePrefix("fd00::/16")}}
	ip, err := ipFacts(c, intel, netip.MustParseAddr("fd00::5efe:45.9.20.7"), time.Now())
	if err != nil || !ip.Internal || len(ip.Readings) != 2 || !ip.Readings[0].Internal || ip.Readings[1].Internal {
		t.Errorf("%+v %v", ip, err)
	}
}
