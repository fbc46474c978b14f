package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
)

func TestRoster(t *testing.T) {
	roster, err := config.ParseRoster("people.csv", []byte("\xef\xbb\xbf# who works where\nTimezone, Email ,COUNTRIES,Started\nEurope/Berlin,Alice@Example.com,\"de, at\", 2026-03-01\n,bob@example.com,us|CA;MX,\n,carol@example.com,,\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Roster{
		"alice@example.com": {Countries: []string{"DE", "AT"}, TimeZone: "Europe/Berlin", Started: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)},
		"bob@example.com":   {Countries: []string{"US", "CA", "MX"}},
		"carol@example.com": {},
	}
	if d := cmp.Diff(want, roster); d != "" {
		t.Error(d)
	}
}

// Where people live is kept as about the town, whichever way it is spelt, and only of
// those who have it.
func TestRosterHomes(t *testing.T) {
	for _, text := range []string{"email,home\na@example.com,52.5163 13.3777\nb@example.com,\n", "email,home\na@example.com,\"52.5163, 13.3777\"\nb@example.com,\n", "email;home\na@example.com;52.5163, 13.3777\nb@example.com;\n"} {
		roster, err := config.ParseRoster("people.csv", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		want := config.Roster{"a@example.com": {Home: authn.Home{Lat: 52.5, Lon: 13.4, Known: true}}, "b@example.com": {}}
		if d := cmp.Diff(want, roster); d != "" {
			t.Error(d)
		}
		was := authn.Home{Lat: 1, Lon: 1, Known: true}
		for email, want := range map[authn.Email]authn.Home{"a@example.com": {Lat: 52.5, Lon: 13.4, Known: true}, "b@example.com": {}, "c@example.com": {}} {
			if got := roster.Complete(authn.Person{Email: email, Home: was}); got.Home != want {
				t.Errorf("%s: %v", email, got.Home)
			}
		}
	}
}

// Excel writes what its language separates lists by.
func TestRosterWithSemicolons(t *testing.T) {
	roster, err := config.ParseRoster("people.csv", []byte("\xef\xbb\xbf# people; places, zones\r\n\r\nEmail;Countries;Timezone\r\nalice@example.com;\"US;DE\";\r\nbob@example.com;at, ch;Europe/Vienna\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Roster{"alice@example.com": {Countries: []string{"US", "DE"}}, "bob@example.com": {Countries: []string{"AT", "CH"}, TimeZone: "Europe/Vienna"}}
	if d := cmp.Diff(want, roster); d != "" {
		t.Error(d)
	}
}

func TestRosterMistakes(t *testing.T) {
	for _, m := range []struct {
		name, text           string
		line, column         int
		message, expected    string
		suggestion, followed string
	}{
		{"empty", "", 1, 1, "the roster is empty", "email,countries,timezone", "", ""},
		{"comments only", "# nobody\n", 1, 1, "the roster is empty", "", "", ""},
		{"no header", "alice@example.com,US\n", 1, 1, `no column "alice@example.com"`, "email, countries, timezone, region, home, started", "", "email is missing"},
		{"unknown column", "email,country\n", 1, 7, `no column "country"`, "", "", ""},
		{"misspelt column", "emial,countries\n", 1, 1, `no column "emial"`, "", "email", "email is missing"},
		{"column twice", "email,email\n", 1, 7, "twice", "", "", ""},
		{"UTF-16", "\xff\xfee\x00m\x00a\x00i\x00l\x00\n\x00", 1, 1, "not UTF-8", "CSV UTF-8", "", ""},
		{"Latin-1 in a later line", "email\nann@example.com\nj\xf6rg@example.com\n", 3, 2, "not UTF-8: the byte 0xF6", "CSV UTF-8", "", ""},
		{"comment that an editor ends", "email\n# old\rann@example.com\n", 2, 6, "a carriage return without a line feed", "LF", "", ""},
		{"text that runs backwards", "email\n# \u202eann@example.com\n", 2, 3, "the character U+202E", "", "", ""},
		{"countries apart by what separates fields", "email;countries;timezone\na@example.com;US;DE;UTC\n", 2, 1, "there are 4 fields", "3, as in the header", "", ""},
		{"no email column", "countries\nUS\n", 1, 1, "the column email is missing", "", "", ""},
		{"email", "email\nalice\n", 2, 1, "not an e-mail address", "", "", ""},
		{"email empty", "email,countries\n,US\n", 2, 1, "not an e-mail address", "", "", ""},
		{"twice", "email\na@example.com\nA@example.com\n", 3, 1, "a@example.com is in the roster twice", "one line a person", "", ""},
		{"country", "email,countries\na@example.com,Germany\n", 2, 15, `"GERMANY" is not a country`, "ISO 3166-1", "", ""},
		{"unknown country", "email,countries\na@example.com,ZZ\n", 2, 15, `"ZZ" is not a country`, "", "", ""},
		{"UK", "email,countries\na@example.com,US;uk\n", 2, 15, `"UK" is not the code`, "", "GB", ""},
		{"zone", "email,timezone\na@example.com,Berlin\n", 2, 15, `"Berlin" is not a time zone`, "America/New_York", "", ""},
		{"zone Local", "email,timezone\na@example.com,Local\n", 2, 15, "not a time zone", "", "", ""},
		{"zone outside", "email,timezone\na@example.com,../../etc/passwd\n", 2, 15, "not a time zone", "", "", ""},
		{"region", "email,region\na@example.com,California\n", 2, 15, `"California" is not a region`, "US-CA", "", ""},
		{"region without its country", "email,region\na@example.com,CA\n", 2, 15, "not a region", "US-CA", "", ""},
		{"home with decimal commas", "email;home\na@example.com;52,52 13,40\n", 2, 15, `"52,52 13,40" is not a home`, "37.77 -122.42", "52.52 13.40", ""},
		{"home with the longitude first", "email,home\na@example.com,-122.42 37.77\n", 2, 15, "stands first", "latitude and longitude", "37.77 -122.42", ""},
		{"home with the longitude first, in quotes", "email,home\na@example.com,\"151.21, -33.87\"\n", 2, 15, "stands first", "", "-33.87 151.21", ""},
		{"home with semicolons", "email,home\na@example.com,52.52;13.40\n", 2, 15, "is not a home", "", "52.52 13.40", ""},
		{"home without quotes", "email,home\na@example.com,52.52,13.40\n", 2, 1, "there are 3 fields", "2, as in the header line; a field with a ',' in it stands in quotes", "", ""},
		{"home that is a name", "email,home\na@example.com,Berlin\n", 2, 15, `"Berlin" is not a home`, "", "", ""},
		{"home in the sea", "email,home\na@example.com,0 0\n", 2, 15, "sea", "", "", ""},
		{"home off the globe", "email,home\na@example.com,37.77 237.58\n", 2, 15, "-180 to 180", "", "", ""},
		{"date", "email,started\na@example.com,2026-02-30\n", 2, 15, `"2026-02-30" is not a date`, "2026-03-01", "", ""},
		{"date the American way", "email,started\na@example.com,03/01/2026\n", 2, 15, "not a date", "YEAR-MONTH-DAY", "", ""},
		{"date with a time", "email,started\na@example.com,2026-03-01T09:00:00Z\n", 2, 15, "not a date", "", "", ""},
		{"date nobody means", "email,started\na@example.com,0026-03-01\n", 2, 15, "not a date", "", "", ""},
		{"fields", "email,countries\na@example.com\n", 2, 1, "there are 1 fields", "2, as in the header", "", ""},
		{"goes on after fields", "email,countries\na@example.com\nb\n,US\n", 2, 1, "fields", "", "", "not an e-mail"},
		{"quote", "email,countries\na@example.com,U\"S\n", 2, 16, `bare "`, "doubled", "", ""},
		{"characters, not bytes", "email,countries,timezone\n\"é@example.com\",US,\n", 2, 1, "not accepted", "", "", ""},
	} {
		t.Run(m.name, func(t *testing.T) {
			roster, err := config.ParseRoster("people.csv", []byte(m.text))
			found, ok := errors.AsType[policy.Diagnostics](err)
			if !ok || roster != nil {
				t.Fatalf("accepted as %v, %v", roster, err)
			}
			d := found[0]
			if d.File != "people.csv" || d.Line != m.line || d.Column != m.column || !strings.Contains(d.Message, m.message) ||
				!strings.Contains(d.Expected, m.expected) || d.Suggestion != m.suggestion || !strings.Contains(err.Error(), m.followed) {
				t.Errorf("%v\nwant %d:%d %q, expected %q, suggestion %q, then %q", err, m.line, m.column, m.message, m.expected, m.suggestion, m.followed)
			}
		})
	}
}

func TestRosterIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("email,timezone\n")
	for i := range 100_000 {
		fmt.Fprintf(&b, "p%d@example.com,Nowhere/%d\n", i, i)
	}
	_, err := config.ParseRoster("people.csv", []byte(b.String()))
	if err == nil || len(err.Error()) > 64<<10 {
		t.Errorf("%d bytes", len(err.Error()))
	}
}

func TestRosterCompletesAPerson(t *testing.T) {
	first, earlier := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2020, 3, 1, 0, 0, 0, 0, time.UTC)
	r := config.Roster{"a@example.com": {Countries: []string{"DE"}, TimeZone: "Europe/Berlin", Started: first}, "b@example.com": {}}
	for _, c := range []struct{ given, want authn.Person }{
		{authn.Person{Email: "a@example.com", Countries: []string{"US"}}, authn.Person{Email: "a@example.com", Countries: []string{"DE"}, TimeZone: "Europe/Berlin", StartedAt: first}},
		{authn.Person{Email: "b@example.com", Countries: []string{"US"}}, authn.Person{Email: "b@example.com", Countries: []string{"US"}}},
		{authn.Person{Email: "b@example.com", StartedAt: earlier, TimeZone: "UTC"}, authn.Person{Email: "b@example.com"}}, // as a roster of before said
		{authn.Person{Email: "c@example.com", Countries: []string{"US"}}, authn.Person{Email: "c@example.com", Countries: []string{"US"}}},
	} {
		if d := cmp.Diff(c.want, r.Complete(c.given)); d != "" {
			t.Error(d)
		}
	}
	if got := (config.Roster)(nil).Complete(authn.Person{Email: "a@example.com"}); got.TimeZone != "" {
		t.Error("no roster completes nothing")
	}
}
