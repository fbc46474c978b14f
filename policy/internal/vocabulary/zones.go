package vocabulary

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // a policy means the same on a machine without a zone database

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/fold"
)

// Zones remembers time Zones: loading one reads a file, which a request must not wait for
// twice.
type Zones struct {
	mu    sync.RWMutex
	known map[string]zone
}

// NewZones returns one that remembers nothing yet.
func NewZones() *Zones { return &Zones{known: map[string]zone{}} }

type zone struct {
	location *time.Location
	err      error
}

// maxZones bounds what is remembered; the zone database has about 600 names.
const maxZones = 1000

// Load returns the zone of an IANA name. The error says what may have been meant.
func (z *Zones) Load(name string) (*time.Location, error) {
	z.mu.RLock()
	have, ok := z.known[name]
	z.mu.RUnlock()
	if ok {
		return have.location, have.err
	}
	// "" and "Local" would mean the proxy's own zone: not the same on two machines.
	if name == "" || name == "Local" {
		have.err = fmt.Errorf("%q is not a time zone", name)
	} else if have.location, have.err = time.LoadLocation(name); have.err != nil {
		e := &expr.ArgumentError{Message: fmt.Sprintf("there is no time zone %q", name), Expected: `an IANA name such as "Europe/Zurich" or "UTC"`}
		if near := nearestZone(name); near != "" {
			e.Suggestion = strconv.Quote(near)
		}
		have.err = e
	}
	z.mu.Lock()
	if len(z.known) < maxZones {
		z.known[name] = have
	}
	z.mu.Unlock()
	return have.location, have.err
}

// nearestZone returns the zone that a name spells in its own way (europe/zurich,
// "America/New York"), or "".
func nearestZone(name string) string {
	plain := strings.ReplaceAll(fold.Text(strings.TrimSpace(name)), " ", "_")
	title := []byte(plain)
	for i := range title {
		if i == 0 || strings.IndexByte("/_-", title[i-1]) >= 0 {
			title[i] = strings.ToUpper(plain)[i]
		}
	}
	tries := []string{string(title), strings.ToUpper(plain)}
	if !strings.Contains(plain, "/") && len(plain) > 3 { // a city without its continent
		for _, continent := range []string{"Europe", "America", "Asia", "Africa", "Australia", "Pacific", "Atlantic", "Indian"} {
			tries = append(tries, continent+"/"+string(title))
		}
	}
	for _, try := range tries {
		if try != name && try != "" && !strings.HasPrefix(try, "/") {
			if _, err := time.LoadLocation(try); err == nil {
				return try
			}
		}
	}
	return ""
}
