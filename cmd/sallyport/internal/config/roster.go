package config

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zone names must mean the same on a machine without a zone database
	"unicode/utf8"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/strictyaml"
)

const (
	minSession = 10 * time.Second
	maxSession = 30 * 24 * time.Hour
	minRefresh = 10 * time.Second
)

// Roster says what the company knows about people beyond what the OpenID provider
// tells: where they work, in which region and in which time zone, and where they live.
type Roster map[authn.Email]Entry

// Entry is one person of the roster.
type Entry struct {
	Countries []string // ISO 3166-1 alpha-2, upper case
	TimeZone  string   // IANA name
	Region    string   // ISO 3166-2, such as "US-CA"
	Home      authn.Home
	Started   time.Time // first day, at midnight UTC; zero when not known
}

// Complete returns p with what the roster knows. The roster wins over the
// countries claim: it is the list the company keeps. Time zone, region, home and first day
// come from nowhere else: p has them from the roster, or not at all.
func (r Roster) Complete(p authn.Person) authn.Person {
	e := r[p.Email]
	if len(e.Countries) > 0 {
		p.Countries = e.Countries
	}
	p.TimeZone, p.Region, p.Home, p.StartedAt = e.TimeZone, e.Region, e.Home, e.Started
	return p
}

// ParseRoster reads CSV (RFC 4180) with a header line, whose fields commas separate, or
// semicolons, as spreadsheets write in many countries; the column email is required;
// countries (several separated by spaces or semicolons), timezone, region (ISO 3166-2,
// such as US-CA), home ([authn.ParseHome]: latitude and longitude with a space between
// them, which needs no quotes) and started (a date, such as 2026-03-01) are optional. The
// error is a policy.Diagnostics with every mistake, and then there is no roster: half of
// one would be wrong about the other half.
func ParseRoster(file string, source []byte) (Roster, error) {
	source = bytes.TrimPrefix(source, []byte("\xef\xbb\xbf"))
	p := rosterParser{Source: strictyaml.NewSource(file, source), rows: csv.NewReader(bytes.NewReader(source)), zones: map[string]bool{"": true}}
	p.rows.Comment, p.rows.TrimLeadingSpace = '#', true
	if header := headerLine(p.Lines()); strings.Contains(header, ";") && !strings.Contains(header, ",") {
		p.rows.Comma = ';'
	}
	roster := Roster{}
	if p.Legible() && p.header() {
		p.parseRows(roster)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return roster, nil
}

// headerLine is the first line that is neither empty nor a comment.
func headerLine(lines []string) string {
	for _, line := range lines {
		if strings.TrimSpace(line) != "" && line[0] != '#' {
			return line
		}
	}
	return ""
}

var rosterColumns = []string{"email", "countries", "timezone", "region", "home", "started"}

type rosterParser struct {
	*strictyaml.Source
	rows    *csv.Reader
	columns map[string]int
	zones   map[string]bool // names looked up before, and whether there is such a zone
}

func (p *rosterParser) header() bool {
	header, err := p.rows.Read()
	if err != nil {
		p.broken(err, "the header line email,countries,timezone")
		return false
	}
	p.columns = map[string]int{}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(name))
		_, twice := p.columns[name]
		switch {
		case twice:
			p.wrong(i, fmt.Sprintf("the column %q is there twice", name), "each column once", "")
		case !slices.Contains(rosterColumns, name):
			p.wrong(i, fmt.Sprintf("a roster has no column %q", name), strings.Join(rosterColumns, ", "), strictyaml.Nearest(name, rosterColumns))
		}
		p.columns[name] = i
	}
	if _, ok := p.columns["email"]; !ok {
		p.wrong(0, "the column email is missing", "email,countries,timezone", "")
	}
	return p.OK()
}

func (p *rosterParser) parseRows(into Roster) {
	for {
		row, err := p.rows.Read()
		switch {
		case errors.Is(err, io.EOF):
			return
		case errors.Is(err, csv.ErrFieldCount):
			p.wrong(0, fmt.Sprintf("there are %d fields", len(row)), fmt.Sprintf("%d, as in the header line; a field with a %q in it stands in quotes", len(p.columns), p.rows.Comma), "")
		case err != nil:
			p.broken(err, "CSV: a field with a quote or a comma in it stands in quotes, and a quote in it is doubled")
			return
		case p.Hopeless():
			return // hopeless: more of it would only cost time
		default:
			p.parseRow(row, into)
		}
	}
}

// broken notes what the CSV reader could not read.
func (p *rosterParser) broken(err error, expected string) {
	line, column := 1, 1
	if bad, ok := errors.AsType[*csv.ParseError](err); ok {
		line, column, err = bad.Line, p.character(bad.Line, bad.Column), bad.Err
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the roster is empty")
	}
	p.Add(line, column, strictyaml.Diagnostic{Message: err.Error(), Expected: expected})
}

// wrong notes a mistake in a field of the current row.
func (p *rosterParser) wrong(field int, message, expected, suggestion string) {
	line, column := p.rows.FieldPos(field)
	p.Add(line, p.character(line, column), strictyaml.Diagnostic{Message: message, Expected: expected, Suggestion: suggestion})
}

// character turns a column in bytes into one in characters.
func (p *rosterParser) character(line, column int) int {
	text := p.Line(line)
	if column < 1 || column > len(text) {
		return column
	}
	return utf8.RuneCountInString(text[:column-1]) + 1
}

func (p *rosterParser) parseRow(row []string, into Roster) {
	field := func(name string) (string, int) {
		i, ok := p.columns[name]
		if !ok {
			return "", 0
		}
		return strings.TrimSpace(row[i]), i
	}
	text, at := field("email")
	email, err := authn.ParseEmail(text)
	if err != nil {
		p.wrong(at, err.Error(), "an e-mail address", "")
		return
	}
	if _, twice := into[email]; twice {
		p.wrong(at, fmt.Sprintf("%s is in the roster twice", email), "one line a person", "")
		return
	}
	var e Entry
	text, at = field("countries")
	e.Countries = p.countries(text, at)
	e.TimeZone, at = field("timezone")
	if !p.zone(e.TimeZone) {
		p.wrong(at, fmt.Sprintf("%q is not a time zone", e.TimeZone), "an IANA name such as America/New_York", "")
	}
	text, at = field("region")
	e.Region = p.region(text, at)
	text, at = field("home")
	e.Home = p.home(text, at)
	text, at = field("started")
	e.Started = p.date(text, at)
	into[email] = e
}

// region reads a part of a country, as IP data names it.
func (p *rosterParser) region(text string, at int) string {
	code := strings.ToUpper(text)
	if text != "" && !policy.IsRegion(code) {
		p.wrong(at, fmt.Sprintf("%q is not a region", text), "an ISO 3166-2 code: the country, a hyphen and the region, such as US-CA", "")
		return ""
	}
	return code
}

// home reads about where a person lives.
func (p *rosterParser) home(text string, at int) authn.Home {
	h, err := authn.ParseHome(text)
	if err != nil {
		const expected = "latitude and longitude in degrees, with a point and a space between them, such as 37.77 -122.42"
		p.wrong(at, fmt.Sprintf("%q is not a home: %v", text, err), expected, homeMeant(text))
	}
	return h
}

// homeMeant is what was meant with decimal commas, or with the longitude first; "" if that
// is no place either.
func homeMeant(text string) string {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ';' })
	if len(words) != 2 {
		words = strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' })
	}
	if len(words) != 2 {
		return ""
	}
	point := func(word string) string { return strings.Replace(strings.Trim(word, ","), ",", ".", 1) }
	lat, lon := point(words[0]), point(words[1])
	for _, meant := range []string{lat + " " + lon, lon + " " + lat} {
		if _, err := authn.ParseHome(meant); err == nil {
			return meant
		}
	}
	return ""
}

// date reads a day. Only one format is accepted, because others are ambiguous (day and
// month swapped); and no start date is before computers existed.
func (p *rosterParser) date(text string, at int) time.Time {
	if text == "" {
		return time.Time{}
	}
	d, err := time.Parse(time.DateOnly, text)
	if err != nil || d.Year() < 1950 || d.Year() > 2200 {
		p.wrong(at, fmt.Sprintf("%q is not a date", text), "the first day at work as YEAR-MONTH-DAY, such as 2026-03-01", "")
		return time.Time{}
	}
	return d
}

func (p *rosterParser) countries(text string, at int) (list []string) {
	for _, c := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ;,|", r) }) {
		c = strings.ToUpper(c)
		switch {
		case c == "UK":
			// Not an assigned code, and no IP source uses it: all people there would seem
			// to be abroad.
			p.wrong(at, `"UK" is not the code of a country`, "ISO 3166-1 alpha-2 codes", "GB")
		case len(c) != 2 || strings.Trim(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || c == "ZZ" || c == "EU":
			p.wrong(at, fmt.Sprintf("%q is not a country", c), "ISO 3166-1 alpha-2 codes such as US or DE, separated by spaces or semicolons", "")
		default:
			list = append(list, c)
		}
	}
	return list
}

// zone reports whether there is such a time zone, or none is named.
func (p *rosterParser) zone(name string) bool {
	known, asked := p.zones[name]
	if !asked {
		_, err := time.LoadLocation(name)
		known = err == nil && name != "Local"
		p.zones[name] = known
	}
	return known
}
