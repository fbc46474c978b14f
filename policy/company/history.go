package company

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"sallyport/policy/behavior"
)

// newHistory is the production engine without a store: it holds all history in memory.
func newHistory(now func() time.Time, s Settings, cal *calendar) (history, error) {
	c := behavior.Config{Now: now, Retention: s.Retention, Household: s.Household, People: 4*len(cal.people) + 1000, Key: bytes.Repeat([]byte("a made-up company"), 2),
		MobileASNs: slices.Clone(s.MobileASNs), SatelliteASNs: s.SatelliteASNs}
	for _, n := range cal.world.model.Networks {
		if n.Kind == "mobile" {
			c.MobileASNs = append(c.MobileASNs, n.ASN)
		}
	}
	for _, p := range cal.people {
		if p.office != nil {
			c.Offices = append(c.Offices, netip.PrefixFrom(p.office.place.Addr, 32))
		}
		if p.city.unplaced() {
			c.MobileASNs = append(c.MobileASNs, p.city.carrier)
		}
	}
	return behavior.New(c)
}
