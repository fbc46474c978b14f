package ipintel

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/gaissmai/bart"
)

// List formats.
const (
	formatCIDR  = "cidr"  // an address, CIDR or range a line
	formatAWS   = "aws"   // ip-ranges.json
	formatGCP   = "gcp"   // cloud.json, goog.json
	formatAzure = "azure" // ServiceTags_Public_*.json
	formatCSV   = "csv"   // network, country, signal columns; or an RFC 8805 geofeed
)

// positionError is a fault at a line of a list; its text begins "LINE: ", so that the
// file's name and a colon before it make the usual position.
type positionError struct {
	line int
	err  error
}

func (e *positionError) Error() string { return fmt.Sprintf("%d: %v", e.line, e.err) }
func (e *positionError) Unwrap() error { return e.err }

func atLine(line int, err error) error { return &positionError{line: line, err: err} }

// entries is what a parser made of a list.
type entries struct {
	prefixes []netip.Prefix
	declared time.Time // when the publisher says the list was made; zero if it does not say
}

// openList parses a list into a table. One bad line refuses the file: a list that is half
// understood is one that clears addresses without saying so.
func (s spec) openList(c content, now time.Time) (*loaded, error) {
	if s.format == formatCSV {
		return s.openCSV(c, now)
	}
	var parse func([]byte) (entries, error)
	switch s.format {
	case formatAWS:
		parse = parseAWS
	case formatGCP:
		parse = parseGCP
	case formatAzure:
		parse = parseAzure
	default:
		parse = parseCIDR
	}
	e, err := parse(c.data)
	if err != nil {
		return nil, err
	}
	built, err := builtAt(e.declared, c.info, now)
	if err != nil {
		return nil, err
	}
	table := new(bart.Lite)
	for _, p := range e.prefixes {
		table.Insert(p)
	}
	networks, covers := table.Size(), coverOf(e.prefixes)
	if err := s.empty(networks); err != nil {
		return nil, err
	}
	table.Aggregate() // what lies inside a listed network adds nothing to a yes or no
	said := record{signals: s.signal, provider: s.provider}
	l := &loaded{
		kind: s.format, built: built, networks: networks, covers: covers, provides: provides{signals: s.signal, provider: s.provider != ""},
		ask: func(a netip.Addr) (record, bool, error) {
			if !table.Contains(a) {
				return record{}, false, nil
			}
			return said, true, nil
		},
	}
	l.providers.add(s.provider)
	for _, p := range e.prefixes {
		f := familyOf(p)
		l.in[f], l.has[f] = l.provides, true
	}
	return l, nil
}

// empty refuses a list of nothing where it feeds a signal: it is a failed download, not a
// world without VPNs. Lists of the operator's own may wait for their first entry.
func (s spec) empty(networks int) error {
	if networks == 0 && (s.signal != 0 || s.format != formatCIDR) {
		return errEmpty
	}
	return nil
}
