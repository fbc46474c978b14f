package config

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	_ "time/tzdata" // zone names must mean the same on a machine without a zone database

	"sallyport/authn"
	"sallyport/policy"
)

const (
	minSession = 10 * time.Second
	maxSession = 30 * 24 * time.Hour
	minRefresh = 10 * time.Second
)

// Roster says what the company knows about people beyond what the OpenID provider
// tells: where they work, and in which time zone.
type Roster map[authn.Email]Entry

// Entry is one person of the roster.
type Entry struct {
	Countries []string // ISO 3166-1 alpha-2, upper case
	TimeZone  string   // IANA name
}

// Complete returns p with what the roster knows. The roster wins over the
// countries claim: it is the list the company keeps.
func (r Roster) Complete(p authn.Person) authn.Person {
	e, ok := r[p.Email]
	if !ok {
		return p
	}
	if len(e.Countries) > 0 {
		p.Countries = e.Countries
	}
	if e.TimeZone != "" {
		p.TimeZone = e.TimeZone
	}
	return p
}

// ParseRoster reads CSV (RFC 4180) with a header line; the column email is
// required, countries (several separated by spaces or semicolons) and timezone are
// optional. Every mistake is reported, with its line.
func ParseRoster(file string, source []byte) (Roster, policy.Diagnostics) {
	var found policy.Diagnostics
	wrong := func(line, column int, message, expected string) {
		found = append(found, policy.Diagnostic{File: file, Line: max(line, 1), Column: max(column, 1), Message: message, Expected: expected})
	}
	rows := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(source, []byte("\xef\xbb\xbf"))))
	rows.Comment, rows.TrimLeadingSpace = '#', true
	header, err := rows.Read()
	if err != nil {
		wrong(1, 1, "the roster has no header line", "email,countries,timezone")
		return nil, found
	}
	columns := map[string]int{}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := columns[name]; twice || !member(name, "email", "countries", "timezone") {
			_, column := rows.FieldPos(i)
			wrong(1, column, fmt.Sprintf("the roster has no column %q, or has it twice", name), "email, countries, timezone")
		}
		columns[name] = i
	}
	if _, ok := columns["email"]; !ok {
		wrong(1, 1, "the column email is missing", "email,countries,timezone")
	}
	if found != nil {
		return nil, found
	}
	roster := Roster{}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return roster, found
		}
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			wrong(bad.Line, bad.Column, bad.Err.Error(), "")
			if errors.Is(bad.Err, csv.ErrFieldCount) {
				continue
			}
			return nil, found
		}
		if err != nil {
			wrong(1, 1, err.Error(), "")
			return nil, found
		}
		readPerson(rows, row, columns, roster, wrong)
	}
}

func readPerson(rows *csv.Reader, row []string, columns map[string]int, into Roster, wrong func(int, int, string, string)) {
	field := func(name string) (string, int, int) {
		i, ok := columns[name]
		if !ok {
			return "", 0, 0
		}
		line, column := rows.FieldPos(i)
		return strings.TrimSpace(row[i]), line, column
	}
	text, line, column := field("email")
	email, err := authn.ParseEmail(text)
	if err != nil {
		wrong(line, column, err.Error(), "an e-mail address")
		return
	}
	if _, twice := into[email]; twice {
		wrong(line, column, fmt.Sprintf("%s is in the roster twice", email), "one line a person")
		return
	}
	var e Entry
	text, line, column = field("countries")
	for _, c := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ';' || r == '|' }) {
		c = strings.ToUpper(c)
		if len(c) != 2 || strings.Trim(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || c == "ZZ" {
			wrong(line, column, fmt.Sprintf("%q is not a country", c), "ISO 3166-1 alpha-2 codes such as US or DE, separated by spaces or semicolons")
			continue
		}
		e.Countries = append(e.Countries, c)
	}
	e.TimeZone, line, column = field("timezone")
	if e.TimeZone != "" {
		if _, err := time.LoadLocation(e.TimeZone); err != nil || e.TimeZone == "Local" {
			wrong(line, column, fmt.Sprintf("%q is not a time zone", e.TimeZone), "an IANA name such as America/New_York")
		}
	}
	into[email] = e
}
