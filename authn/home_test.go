package authn

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseHome(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "",
		"52.52 13.405":           "52.5 13.4",
		"52.52, 13.405":          "52.5 13.4",
		"52.52,13.405":           "52.5 13.4",
		"-33.8688   151.2093":    "-33.9 151.2",
		"+1 -180":                "1.0 -180.0",
		"90 0":                   "90.0 0.0",
		"-0.01 0.06":             "0.0 0.1",
		"52.520008123 13.404954": "52.5 13.4",
	} {
		h, err := ParseHome(text)
		if err != nil || h.String() != want || h.Known != (text != "") {
			t.Errorf("%q: %q, %v", text, h, err)
		}
		if again, err := ParseHome(h.String()); err != nil || again != h {
			t.Errorf("%q: read again %v, %v", text, again, err)
		}
	}
}

func TestHomesThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"52.52":                                 "not a latitude",
		"52,52 13,40":                           "not a latitude", // decimal commas
		"52,52,13,40":                           "not a latitude",
		"52.52;13.40":                           "not a latitude",
		"52.52N 13.40E":                         "not a latitude",
		`52°31' 13°24'`:                         "not a latitude",
		"NaN NaN":                               "not a latitude",
		"1e1 1e1":                               "not a latitude",
		"Berlin":                                "not a latitude",
		"52.52 13.40 0":                         "not a latitude",
		"-122.42 37.77":                         "stands first",
		"90.01 0":                               "stands first",
		"37.77 180.5":                           "longitude is -180 to 180",
		"0 0":                                   "sea",
		"0.01 0.01":                             "sea", // it rounds to that
		"0.0, -0":                               "sea",
		"52.52\t13.40":                          "not a latitude",
		"52." + strings.Repeat("1", 400) + " 1": "not a latitude",
	} {
		if h, err := ParseHome(text); err == nil || !strings.Contains(err.Error(), want) || h != (Home{}) {
			t.Errorf("%q: %v, %v", text, h, err)
		}
	}
}

// A person as JSON is without where they live.
func TestHomeIsNotWritten(t *testing.T) {
	p := Person{Email: "alice@example.test", Home: Home{Lat: 52.5, Lon: 13.4, Known: true}}
	for _, v := range []any{p, Session{Person: p}} {
		text, err := json.Marshal(v)
		if err != nil || strings.Contains(string(text), "52.5") || strings.Contains(strings.ToLower(string(text)), "home") {
			t.Errorf("%s, %v", text, err)
		}
	}
}
