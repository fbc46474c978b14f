package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	minRetention = 30 * 24 * time.Hour // what the facts about 30 days need
	maxRetention = 10 * 366 * 24 * time.Hour
)

func (b *builder) behavior() {
	f := b.f.Behavior
	if f.Retention < minRetention || f.Retention > maxRetention {
		b.at("behavior.retention", fmt.Sprintf("%s is out of range", f.Retention), fmt.Sprintf("%s (30 days, which rules can look back) to %s", minRetention, maxRetention))
	}
	if _, given := b.places["behavior.raw_addresses"]; !given {
		f.RawAddresses = min(f.RawAddresses, f.Retention)
	}
	if f.RawAddresses > f.Retention {
		b.at("behavior.raw_addresses", "addresses cannot be kept for longer than the rest", fmt.Sprintf("at most the retention, %s; 0s to store none", f.Retention))
	}
	for i, s := range f.Offices {
		key := fmt.Sprintf("behavior.offices[%d]", i)
		p, err := parseNetwork(s)
		if err != nil {
			b.at(key, fmt.Sprintf("%q is not an address or a network", s), "the addresses that an office has on the Internet, such as 203.0.113.0/28")
			continue
		}
		if least := map[bool]int{true: 8, false: 16}[p.Addr().Is4()]; p.Bits() < least {
			b.at(key, fmt.Sprintf("%s is a large part of the Internet, where no account sharing would be noticed", s), "the addresses that an office has on the Internet, such as 203.0.113.0/28")
			continue
		}
		b.c.Behavior.Offices = append(b.c.Behavior.Offices, p.Masked())
	}
	if f.Household < 48 || f.Household > 64 {
		b.at("behavior.household", fmt.Sprintf("%d bits are no network of a household", f.Household), "48 to 64; 56 is what providers hand out, and 64 counts each network by itself")
	}
	b.c.Behavior.Household = int(f.Household)
	b.c.Behavior.Retention, b.c.Behavior.RawAddresses = f.Retention, f.RawAddresses
	b.c.Behavior.MobileASNs = b.asns("behavior.mobile_asns", f.MobileASNs)
	b.c.Behavior.SatelliteASNs = b.asns("behavior.satellite_asns", f.SatelliteASNs)
}

// asns reads the numbers of autonomous systems, as 64500 or as AS64500.
func (b *builder) asns(key string, list []string) (numbers []uint32) {
	for i, s := range list {
		digits := s
		if len(s) > 2 && strings.EqualFold(s[:2], "AS") {
			digits = s[2:]
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || n == 0 {
			b.at(fmt.Sprintf("%s[%d]", key, i), fmt.Sprintf("%q is not the number of an autonomous system", s), "a number such as 64500 or AS64500")
			continue
		}
		numbers = append(numbers, uint32(n))
	}
	return numbers
}
