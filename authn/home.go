package authn

import (
	"errors"
	"math"
	"regexp"
	"strconv"
)

// Home is about where a person lives, in tenths of a degree: the town, and not the house.
// It is personal data. It goes into no record, no header, no store and no answer; what
// leaves this process is a distance from it.
type Home struct {
	Lat, Lon float64 // degrees
	Known    bool    // false: Lat and Lon mean nothing
}

// HomeRadiusKm is how far a home may be from its rounded coordinates: half the diagonal
// of a tenth of a degree at the equator, and a bit.
const HomeRadiusKm = 10

var homeText = regexp.MustCompile(`^([+-]?[0-9]{1,3}(?:\.[0-9]{1,12})?)(?: *, *| +)([+-]?[0-9]{1,3}(?:\.[0-9]{1,12})?)$`)

// ParseHome reads a latitude and a longitude in degrees, with a space or a comma between
// them ("52.5 13.4", "-33.9, 151.2"), and rounds both. "" is a home that is not known. 0, 0 is
// refused: it is what data files write for that.
func ParseHome(text string) (Home, error) {
	if text == "" {
		return Home{}, nil
	}
	m := homeText.FindStringSubmatch(text)
	if m == nil {
		return Home{}, errors.New("it is not a latitude and a longitude in degrees")
	}
	// The pattern admits only what these can read.
	lat, _ := strconv.ParseFloat(m[1], 64)
	lon, _ := strconv.ParseFloat(m[2], 64)
	switch {
	case math.Abs(lat) > 90:
		return Home{}, errors.New("a latitude is -90 to 90, and stands first")
	case math.Abs(lon) > 180:
		return Home{}, errors.New("a longitude is -180 to 180")
	}
	h := Home{Lat: tenth(lat), Lon: tenth(lon), Known: true}
	if h.Lat == 0 && h.Lon == 0 {
		return Home{}, errors.New("0 0 is a point in the sea, and not a home")
	}
	return h, nil
}

func tenth(x float64) float64 { return math.Round(x*10)/10 + 0 } // + 0: there is no -0

// String is what [ParseHome] reads.
func (h Home) String() string {
	if !h.Known {
		return ""
	}
	return strconv.FormatFloat(h.Lat, 'f', 1, 64) + " " + strconv.FormatFloat(h.Lon, 'f', 1, 64)
}
