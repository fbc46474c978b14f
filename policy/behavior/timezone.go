package behavior

import (
	_ "embed"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	_ "time/tzdata" // zones must mean the same on a machine without a zone database

	"sallyport/policy"
)

//go:embed zones.txt
var zonesText string

// atlas is every zone by its name, and the names of each country's zones. A zone that is
// not in it counts as not named: no file is read for a browser's text.
type atlas struct {
	zones     map[string]*time.Location
	countries map[country][]string
}

// world is read once, as the zones take some milliseconds.
var world = sync.OnceValue(func() atlas {
	a := atlas{zones: map[string]*time.Location{}, countries: map[country][]string{}}
	for line := range strings.Lines(zonesText) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] == "#" {
			continue
		}
		for _, name := range fields[1:] {
			// A name that cannot be loaded is one that is not known; a test loads them all.
			if loc, err := time.LoadLocation(name); err == nil {
				a.zones[name] = loc
			}
		}
		if c := countryOf(fields[0]); c != 0 {
			a.countries[c] = fields[1:]
		}
	}
	return a
})

// zoneOf is a zone by its name; UTC for "" and names that are not known.
func zoneOf(name string) *time.Location {
	if loc := world().zones[name]; loc != nil {
		return loc
	}
	return time.UTC
}

// offsets is the world's clocks at one moment: seconds east of UTC.
type offsets struct {
	slot      int64
	zones     map[string]int32
	countries map[country][]int32 // each once
}

// slotLen is how often clocks may change: there is no zone in which they did so at
// another time than on a quarter of an hour.
const slotLen = 15 * 60

func offsetsAt(t time.Time) *offsets {
	w := world()
	o := &offsets{slot: t.Unix() / slotLen, zones: make(map[string]int32, len(w.zones)), countries: make(map[country][]int32, len(w.countries))}
	for name, loc := range w.zones {
		_, east := t.In(loc).Zone()
		o.zones[name] = int32(east)
	}
	for c, names := range w.countries {
		var list []int32
	next:
		for _, name := range names {
			east, ok := o.zones[name]
			for _, l := range list {
				if l == east {
					continue next
				}
			}
			if ok {
				list = append(list, east)
			}
		}
		o.countries[c] = list
	}
	return o
}

// browser compares offsets, never names: many zones have the same time. If the zone of an
// address is unknown, the zone of its country that is nearest to the browser's is used.
func (o *offsets) browser(zone string, place Place) policy.Browser {
	mine, ok := o.zones[zone]
	if !ok {
		return policy.Browser{}
	}
	if there, ok := o.zones[place.TimeZone]; ok {
		return policy.Browser{TimezoneKnown: true, TimezoneOffsetDiff: apart(mine, there)}
	}
	var b policy.Browser
	for _, there := range o.countries[countryOf(place.Country)] {
		if d := apart(mine, there); !b.TimezoneKnown || d < b.TimezoneOffsetDiff {
			b = policy.Browser{TimezoneKnown: true, TimezoneOffsetDiff: d}
		}
	}
	return b
}

func apart(a, b int32) time.Duration {
	d := time.Duration(a-b) * time.Second
	return max(d, -d)
}

// clocks keeps the offsets of the quarter of an hour that was asked about last.
type clocks struct{ now atomic.Pointer[offsets] }

func (c *clocks) at(t time.Time) *offsets {
	o := c.now.Load()
	if o == nil || o.slot != t.Unix()/slotLen {
		o = offsetsAt(t)
		c.now.Store(o)
	}
	return o
}
