package company

import (
	"bytes"
	"net/netip"
	"time"

	"sallyport/policy/behavior"
)

// retention is longer than the year that the company lives, and household is what its
// people's providers hand out.
const (
	retention = 400 * 24 * time.Hour
	household = 56
)

// newHistory is the production engine without a store: it holds all history in memory.
func newHistory(now func() time.Time, people []*person) (history, error) {
	c := behavior.Config{Now: now, Retention: retention, Household: household, People: 4*len(people) + 1000, Key: bytes.Repeat([]byte("a made-up company"), 2)}
	for _, p := range people {
		if p.office != nil {
			c.Offices = append(c.Offices, netip.PrefixFrom(p.office.place.Addr, 32))
		}
	}
	return behavior.New(c)
}
