package ipintel

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Figures measure the content of a source. They are small, so that a caller can keep them
// when the content is gone.
type Figures struct {
	Networks int     `json:"networks"`
	IPv4     float64 `json:"ipv4"` // public addresses: of a list all, of a database those with a signal
	IPv6     float64 `json:"ipv6"` // the same, in networks of a /64
	// Countries are the IPv4 addresses by country, "ZZ" for none. nil where the content
	// names no countries.
	Countries map[string]float64 `json:"countries,omitempty"`
}

// Baseline is the content that an operator last stood by: what a source held when it was
// first used, or what was last approved. Comparing each file with the one before it alone
// would let a list become anything in small steps.
type Baseline struct {
	At      time.Time
	Figures Figures
}

func (l *loaded) figures() Figures {
	return Figures{Networks: l.networks, IPv4: l.covers.v4, IPv6: l.covers.v6, Countries: l.countries}
}

// Drift says how the content of s is unlike that of the baseline, by the thresholds that
// hold for one step; nil if it is not. It does not see entries that are replaced by as
// many others.
func (s Source) Drift(b Baseline) error {
	then := "on " + b.At.UTC().Format("2006-01-02")
	if err := s.compare(b.Figures, s.Figures, then); err != nil {
		return fmt.Errorf("it has drifted from what was last approved: %w", err)
	}
	return nil
}

// compare refuses figures that are much larger or smaller than others. then says in the
// error when those were so.
func (s Source) compare(was, is Figures, then string) error {
	handKept := s.Kind == "list" && s.Signal == "" && was.Networks <= handKept
	switch {
	case is.Networks*2 < was.Networks && !handKept:
		return fmt.Errorf("%w: %d networks, %d %s", errShrunk, is.Networks, was.Networks, then)
	case is.Networks > tenfold*max(was.Networks, smallList):
		return fmt.Errorf("%w: %d networks, %d %s", errGrown, is.Networks, was.Networks, then)
	}
	if err := tenfoldOf(was.IPv4, is.IPv4, small4, handKept, "IPv4 addresses", then); err != nil {
		return err
	}
	if err := tenfoldOf(was.IPv6, is.IPv6, small6, handKept, "IPv6 networks of a /64", then); err != nil {
		return err
	}
	if was.Countries == nil {
		return nil
	}
	all := maps.Clone(was.Countries)
	maps.Copy(all, is.Countries)
	for _, c := range slices.Sorted(maps.Keys(all)) {
		if err := tenfoldOf(was.Countries[c], is.Countries[c], smallCountry, handKept, "IPv4 addresses in "+c, then); err != nil {
			return err
		}
	}
	return nil
}

// tenfoldOf refuses ten times as many, or less than a tenth. Up to small there is nothing
// to compare with.
func tenfoldOf(was, is, small float64, mayShrink bool, unit, then string) error {
	switch {
	case is > tenfold*max(was, small):
		return fmt.Errorf("%w: %.0f %s, %.0f %s", errGrown, is, unit, was, then)
	case is*tenfold < was && was > small && !mayShrink:
		return fmt.Errorf("%w: %.0f %s, %.0f %s", errShrunk, is, unit, was, then)
	}
	return nil
}

const unknownCountry = "ZZ"

func addIPv4(countries map[string]float64, country string, p netip.Prefix) {
	if p.Addr().Is4() {
		s := spanOf(p)
		countries[country] += float64(s.end - s.from)
	}
}
