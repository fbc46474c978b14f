package behavior

import (
	"bufio"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

var update = flag.Bool("update", false, "write zones.txt from the machine's tz database")

// Every name in the table is a zone, and every country has one.
func TestZones(t *testing.T) {
	if *update {
		if err := os.WriteFile("zones.txt", []byte(zonesFrom(t, "/usr/share/zoneinfo")), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Skip("written; run again without -update")
	}
	for line := range strings.Lines(zonesText) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, name := range strings.Fields(line)[1:] {
			if world().zones[name] == nil {
				t.Errorf("%s: there is no zone %s", line[:2], name)
			}
		}
	}
	if n := len(world().countries); n < 245 {
		t.Errorf("%d countries", n)
	}
	for c, least := range map[string]int{"US": 25, "RU": 20, "DE": 1, "CN": 1, "KP": 1, "XK": 0} {
		if n := len(world().countries[countryOf(c)]); n < least {
			t.Errorf("%s has %d zones", c, n)
		}
	}
	for _, name := range []string{"UTC", "Etc/UTC", "GMT", "Asia/Calcutta", "Asia/Kolkata", "Europe/Kiev", "Europe/Kyiv", "US/Pacific", "America/Buenos_Aires", "Asia/Saigon"} {
		if world().zones[name] == nil {
			t.Errorf("browsers say %s", name)
		}
	}
}

// zonesFrom writes the table from zone.tab and tzdata.zi.
func zonesFrom(t *testing.T, dir string) string {
	lines := func(name string, each func(fields []string)) {
		f, err := os.Open(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if fields := strings.Fields(s.Text()); len(fields) > 2 {
				each(fields)
			}
		}
	}
	version, countries, seen, more := "", map[string][]string{}, map[string]bool{"Factory": true}, []string{}
	lines("zone.tab", func(f []string) {
		if !strings.HasPrefix(f[0], "#") {
			countries[f[0]], seen[f[2]] = append(countries[f[0]], f[2]), true
		}
	})
	lines("tzdata.zi", func(f []string) {
		name := map[string]string{"Z": f[1], "L": f[2]}[f[0]]
		switch {
		case f[0] == "#" && f[1] == "version":
			version = f[2]
		case name != "" && !seen[name]:
			more = append(more, name)
		}
	})
	slices.Sort(more)
	var b strings.Builder
	fmt.Fprintf(&b, "# The time zones of each country, and the further names that browsers may use. From zone.tab and\n# tzdata.zi of the tz database, release %s, which are in the public domain (https://www.iana.org/time-zones).\n# Written by: go test ./policy/behavior -run TestZones -update\n", version)
	for _, c := range slices.Sorted(maps.Keys(countries)) {
		fmt.Fprintln(&b, c, strings.Join(countries[c], " "))
	}
	fmt.Fprintln(&b, "*", strings.Join(more, " "))
	return b.String()
}

func TestTimeZones(t *testing.T) {
	winter := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	summer := time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC)
	between := time.Date(2026, 3, 15, 12, 0, 0, 0, time.UTC) // the US has changed its clocks, Europe has not
	yes := func(d time.Duration) policy.Browser {
		return policy.Browser{TimezoneKnown: true, TimezoneOffsetDiff: d}
	}
	for name, c := range map[string]struct {
		at              time.Time
		browser         string
		country, placed string
		want            policy.Browser
	}{
		"the same zone":                           {winter, "Europe/Berlin", "DE", "Europe/Berlin", yes(0)},
		"another name for it":                     {winter, "Asia/Calcutta", "IN", "Asia/Kolkata", yes(0)},
		"another zone with the same clock":        {winter, "Europe/Paris", "DE", "Europe/Berlin", yes(0)},
		"a laptop farm":                           {winter, "Asia/Pyongyang", "US", "America/Chicago", yes(15 * time.Hour)},
		"the other way round":                     {winter, "America/Chicago", "KP", "", yes(15 * time.Hour)},
		"half an hour":                            {winter, "Asia/Kolkata", "PK", "", yes(30 * time.Minute)},
		"the address's zone before the country's": {winter, "America/Los_Angeles", "US", "America/New_York", yes(3 * time.Hour)},
		"the nearest of a country":                {winter, "America/Los_Angeles", "US", "", yes(0)},
		"the nearest, from outside":               {winter, "Europe/London", "US", "", yes(5 * time.Hour)},
		"the nearest, from the other side":        {winter, "Asia/Tokyo", "RU", "", yes(0)},
		"summer":                                  {summer, "Europe/London", "IS", "", yes(time.Hour)},
		"winter":                                  {winter, "Europe/London", "IS", "", yes(0)},
		"weeks between two changes":               {between, "Europe/Berlin", "US", "America/New_York", yes(5 * time.Hour)},
		"after both":                              {summer, "Europe/Berlin", "US", "America/New_York", yes(6 * time.Hour)},
		"a privacy browser":                       {winter, "UTC", "US", "America/New_York", yes(5 * time.Hour)},
		"the most there is":                       {winter, "Pacific/Kiritimati", "AS", "", yes(25 * time.Hour)},
		"no browser's zone":                       {winter, "", "DE", "Europe/Berlin", policy.Browser{}},
		"no zone":                                 {winter, "Europe/Berln", "DE", "Europe/Berlin", policy.Browser{}},
		"a file":                                  {winter, "../../etc/passwd", "DE", "", policy.Browser{}},
		"Local":                                   {winter, "Local", "DE", "", policy.Browser{}},
		"the address's zone is none":              {winter, "Europe/Berlin", "DE", "Nowhere/Else", yes(0)},
		"neither zone nor country":                {winter, "Europe/Berlin", "ZZ", "", policy.Browser{}},
		"a country without zones":                 {winter, "Europe/Berlin", "QQ", "", policy.Browser{}},
	} {
		t.Run(name, func(t *testing.T) {
			v := home(0)
			v.At, v.Zone, v.Place.Country, v.Place.TimeZone = c.at, c.browser, c.country, c.placed
			if got := newTracker(t).Assess(v).Browser; got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// The clocks that are kept are those of the moment that is asked about.
func TestClocksChangeOnTime(t *testing.T) {
	tr := newTracker(t)
	change := time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC) // Berlin goes from +1 to +2
	for ago, want := range map[time.Duration]time.Duration{time.Second: time.Hour, 0: 2 * time.Hour} {
		v := home(0)
		v.At, v.Zone, v.Place.TimeZone = change.Add(-ago), "Europe/Berlin", "UTC"
		if got := tr.Assess(v).Browser; got.TimezoneOffsetDiff != want {
			t.Errorf("%s before: %+v", ago, got)
		}
	}
}

// The zone is known whether or not history is.
func TestTimeZoneOfAStranger(t *testing.T) {
	v := home(0)
	v.Subject.Issuer, v.Subject.ID, v.Zone = "", "", "Europe/Berlin"
	if got := newTracker(t).Assess(v); !got.Browser.TimezoneKnown || got.Seen.Known || got.Activity.Known || got.Travel.Known {
		t.Errorf("%+v", got)
	}
}

// Where an address is not where the person is, nor is the time there theirs.
func TestClocksOfCarriers(t *testing.T) {
	newYork := func(asn uint32) func(*Visit) {
		return func(v *Visit) {
			at("203.0.113.9", "US", asn)(v)
			v.Place.TimeZone, v.Zone = "America/Los_Angeles", "America/New_York"
		}
	}
	for name, tt := range map[string]struct {
		visit Visit
		known bool
		diff  time.Duration
	}{
		"a line":              {home(0, newYork(64500)), true, 3 * time.Hour},
		"a carrier":           {home(0, newYork(21928)), true, 0},
		"a carrier elsewhere": {home(0, newYork(21928), func(v *Visit) { v.Zone = "Asia/Tokyo" }), true, 13 * time.Hour},
		"a satellite":         {home(0, newYork(14593)), false, 0},
		"a ship":              {home(0, newYork(64510)), false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracker(t, func(c *Config) { c.SatelliteASNs = []uint32{64510} })
			if got := tr.Assess(tt.visit).Browser; got != (policy.Browser{TimezoneKnown: tt.known, TimezoneOffsetDiff: tt.diff}) {
				t.Errorf("%+v, want %v %v", got, tt.known, tt.diff)
			}
		})
	}
}
