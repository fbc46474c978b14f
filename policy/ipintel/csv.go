package ipintel

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gaissmai/bart"
)

// row is one line of a CSV list.
type row struct {
	prefix netip.Prefix
	record record
}

// csvList is a parsed CSV list.
type csvList struct {
	rows   []row
	header bool // its columns have names
}

// parseCSV reads a CSV list. With a header line that begins with `network` its columns
// are strictly read. Without one it is taken for an RFC 8805 geofeed (prefix, country,
// region, city, postal code): a network's owner says what they like there, so that
// nothing in it is believed but the prefix. Fields that are the name of a signal are
// taken up all the same, since a signal can only tighten.
//
// How far any of it is believed is for the configuration to say: a file that gains a
// header line must not be believed more for it.
func parseCSV(data []byte) (csvList, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	r.Comment, r.FieldsPerRecord, r.TrimLeadingSpace, r.ReuseRecord = '#', -1, true, true
	var list csvList
	var columns []string
	for first := true; ; first = false {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			line := 1
			if bad := (*csv.ParseError)(nil); errors.As(err, &bad) {
				line, err = bad.Line, bad.Err
			}
			return csvList{}, atLine(line, err)
		}
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		line, _ := r.FieldPos(0)
		if first && strings.EqualFold(fields[0], "network") {
			if columns, err = csvHeader(fields); err != nil {
				return csvList{}, atLine(line, err)
			}
			list.header = true
			continue
		}
		if list.rows, err = appendRow(list.rows, columns, fields); err != nil {
			return csvList{}, atLine(line, err)
		}
	}
}

var csvColumns = []string{"network", "country", "subdivision", "asn", "org", "provider", "latitude", "longitude", "radius_km", "signal", "note"}

// csvHeader checks the names; only `signal` may repeat.
func csvHeader(fields []string) ([]string, error) {
	columns := make([]string, len(fields))
	for i, f := range fields {
		f = strings.ToLower(f)
		if !slices.Contains(csvColumns, f) {
			return nil, fmt.Errorf("%q is not a column (%s)", clip(f), strings.Join(csvColumns, ", "))
		}
		if f != "signal" && slices.Contains(columns, f) {
			return nil, fmt.Errorf("column %q is there twice", f)
		}
		columns[i] = f
	}
	return columns, nil
}

func appendRow(rows []row, columns, fields []string) ([]row, error) {
	var rec record
	var err error
	if columns == nil {
		for _, f := range fields[1:] {
			s, _ := ParseSignal(f)
			rec.signals |= s
		}
	} else if rec, err = statedRecord(columns, fields); err != nil {
		return rows, err
	}
	prefixes, err := appendNetworks(nil, fields[0])
	if err != nil {
		return rows, err
	}
	for _, p := range prefixes {
		rows = append(rows, row{prefix: p, record: rec})
	}
	return rows, nil
}

func statedRecord(columns, fields []string) (record, error) {
	var rec record
	place := map[string]float64{}
	if len(fields) > len(columns) {
		return rec, fmt.Errorf("%d fields under %d columns", len(fields), len(columns))
	}
	for i, f := range fields {
		if f == "" {
			continue
		}
		switch columns[i] {
		case "country":
			if rec.country = countryCode(f); rec.country == "" {
				return rec, fmt.Errorf("%q is not an ISO 3166-1 alpha-2 country code", clip(f))
			}
		case "subdivision":
			if c, part, ok := strings.Cut(f, "-"); !ok || countryCode(c) == "" || part == "" || len(part) > 3 {
				return rec, fmt.Errorf("%q is not an ISO 3166-2 subdivision code", clip(f))
			}
			rec.subdivisions = []string{strings.ToUpper(f)}
		case "asn":
			if rec.asn = flatASN(f); rec.asn == 0 {
				return rec, fmt.Errorf("%q is not an autonomous system number", clip(f))
			}
		case "org":
			rec.org = tidy(f)
		case "provider":
			rec.provider = tidy(f)
		case "latitude", "longitude", "radius_km":
			var err error
			if place[columns[i]], err = strconv.ParseFloat(f, 64); err != nil || !(math.Abs(place[columns[i]]) <= 20_000) { // NaN too
				return rec, fmt.Errorf("%q is not a number of degrees or kilometres", clip(f))
			}
		case "signal":
			for _, name := range strings.FieldsFunc(f, func(c rune) bool { return c == ' ' || c == ';' || c == '|' }) {
				s, err := ParseSignal(name)
				if err != nil {
					return rec, err
				}
				rec.signals |= s
			}
		}
	}
	if len(place) == 0 {
		return rec, nil
	}
	lat, ok1 := place["latitude"]
	lon, ok2 := place["longitude"]
	if rec.location = point(lat, lon, int(place["radius_km"])); !ok1 || !ok2 || !rec.location.Known {
		return rec, errors.New("latitude (-90 to 90) and longitude (-180 to 180) make a place only together")
	}
	return rec, nil
}

const (
	noteUnstated = "the list has a header line and not `stated: true`: what it says is believed after every database. If these are your own statements, to be believed first, set `stated: true`"
	noteRelay    = "the list calls addresses `relay`, which policies make exceptions for, and is not believed in that: set `signal: relay` or `stated: true` if it is"
)

// openCSV builds the table of a CSV list. Rows of the same network add up.
func (s spec) openCSV(c content, now time.Time) (*loaded, error) {
	list, err := parseCSV(c.data)
	if err != nil {
		return nil, err
	}
	if s.stated && !list.header {
		return nil, atLine(1, errors.New("a list with `stated: true` begins with a line that names its columns, such as \"network,country\""))
	}
	table := new(bart.Table[record])
	l := &loaded{kind: formatCSV, rows: table, provides: provides{signals: s.signal, provider: s.provider != ""}}
	if list.header && !s.stated {
		l.notes = append(l.notes, noteUnstated)
	}
	prefixes := make([]netip.Prefix, 0, len(list.rows))
	for _, row := range list.rows {
		prefixes = append(prefixes, row.prefix)
		if loosens := row.record.signals & Relay &^ s.signal; loosens != 0 && !s.stated {
			row.record.signals &^= loosens
			if !slices.Contains(l.notes, noteRelay) {
				l.notes = append(l.notes, noteRelay)
			}
		}
		row.record.signals |= s.signal
		if row.record.provider == "" {
			row.record.provider = s.provider
		}
		l.providers.add(row.record.provider)
		table.Modify(row.prefix, func(have record, ok bool) (record, bool) {
			if ok {
				row.record.under(have)
			}
			return row.record, false
		})
		says := provides{
			country: row.record.country != "", subdivisions: row.record.subdivisions != nil,
			asn: row.record.asn != 0, org: row.record.org != "", provider: row.record.provider != "", location: row.record.location.Known, signals: row.record.signals,
		}
		f := familyOf(row.prefix)
		l.provides, l.in[f], l.has[f] = l.provides.or(says), l.in[f].or(says), true
	}
	if l.networks = table.Size(); l.networks == 0 {
		return nil, errEmpty
	}
	l.covers = coverOf(prefixes)
	if l.provides.country {
		l.countries = map[string]float64{}
		for _, row := range list.rows { // overlaps count more than once, then as now
			addIPv4(l.countries, cmp.Or(row.record.country, unknownCountry), row.prefix)
		}
	}
	if l.built, err = builtAt(time.Time{}, c.info, now); err != nil {
		return nil, err
	}
	l.ask = func(a netip.Addr) (record, bool, error) { return allOf(table, a) }
	return l, nil
}

// allOf joins what all networks around an address say. The longest match alone would
// lose the signals of the shorter ones.
func allOf(table *bart.Table[record], a netip.Addr) (rec record, found bool, err error) {
	for _, r := range table.Supernets(netip.PrefixFrom(a, a.BitLen())) { // longest first
		rec.under(r)
		found = true
	}
	return rec, found, nil
}

// under adds what a less believed record says: its signals always, the rest where r has
// no say.
func (r *record) under(less record) {
	r.signals |= less.signals
	if r.country == "" {
		r.country = less.country
	}
	if len(r.subdivisions) == 0 {
		r.subdivisions = less.subdivisions
	}
	if r.asn == 0 && r.org == "" {
		r.asn, r.org = less.asn, less.org
	}
	if r.provider == "" {
		r.provider = less.provider
	}
	if !r.location.Known && less.location.Known {
		r.location, r.timeZone = less.location, less.timeZone
	}
	if r.timeZone == "" && !r.location.Known {
		r.timeZone = less.timeZone
	}
}
