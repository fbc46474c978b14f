package company

import (
	"bytes"
	"net/netip"
	"time"

	"sallyport/policy/behavior"
)

// newHistory is the production engine without a store: it holds all history in memory.
func newHistory(now func() time.Time, m Model, people []*person) (history, error) {
	c := behavior.Config{Now: now, Retention: m.Retention, Household: m.Household, People: 4*len(people) + 1000, Key: bytes.Repeat([]byte("a made-up company"), 2)}
	for _, p := range people {
		if p.office != nil {
			c.Offices = append(c.Offices, netip.PrefixFrom(p.office.place.Addr, 32))
		}
	}
	return behavior.New(c)
}
